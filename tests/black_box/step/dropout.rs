//! Dropout masks as the CPU device applies them: the specified bits, the keep rate, no bias, no correlation between
//! neighbours, sites, steps, passes and slots; and the same masks backward, in packed batches, and in first rows only.
//!
//! Statistical bounds: with n independent draws a mean lies within 5 standard errors of its expectation but for 1 in
//! 10⁶ tries. Seeds are fixed, so a test that passes passes always.

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        BranchGradient, Capacity, Dropout, Head, Mask, Normed, RowStats, Rows, Shape, Sink, Site, StepScalars, Write,
        cpu::CpuDevice, families::*,
    },
    model::{
        BertConfig, View,
        layout::{Linear, Norm},
    },
    random::Philox,
};

use crate::{reference, reference::Masks, tiny};

const HIDDEN: usize = 64;
const TOKENS: usize = 512;

fn config() -> BertConfig {
    BertConfig { max_positions: TOKENS, ..tiny::config(1, HIDDEN, 1) }
}

fn mask(seed: u64, step: u32, pass: u32) -> Mask {
    Mask { philox: Philox::new(seed), step, pass, active: true }
}

/// A device with an uploaded batch.
fn setup(packed: &PackedBatch) -> (CpuDevice, <CpuDevice as Buffers>::Batch, Capacity) {
    let capacity = Capacity { tokens: TOKENS, sequences: TOKENS, length: TOKENS };
    let mut device = CpuDevice::new(Shape::new(&config()), capacity);
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, packed, &StepScalars::default()).unwrap();
    (device, batch, capacity)
}

/// Factors [rows, C] of a hidden site: a linear layer with weights 0 and biases 1, dropped and added to 0.
fn hidden_factors(packed: &PackedBatch, rows: Rows, dropout: Dropout) -> Vec<f32> {
    let (mut device, batch, _) = setup(packed);
    let square = HIDDEN * HIDDEN;
    let mut values = vec![0.0; square + HIDDEN];
    values[square..].fill(1.0);
    let layer = Linear { weight: View { start: 0, len: square }, bias: View { start: square, len: HIDDEN } };
    let weights = device.parameters(&values).unwrap();
    let [mut r, zero] = [0; 2].map(|_| device.matrix(TOKENS, HIDDEN).unwrap());
    let on = tiny::on(&weights, &batch, rows);
    device.linear_dropout_residual(&mut r, &zero, &zero, layer, dropout, on).unwrap();
    let n = if rows == Rows::Tokens { packed.tokens() } else { packed.sequences() };
    device.read_matrix(&r).unwrap()[..n * HIDDEN].to_vec()
}

fn one_sequence(slot: u32, length: usize) -> PackedBatch {
    let mut packed = PackedBatch::default();
    packed.clear();
    packed.push(&vec![5; length], &vec![0; length], 0, slot);
    packed
}

/// Kept or not, as ±1 around the keep rate: mean 0 and variance 1 where all is well.
fn signs(factors: &[f32], drop_prob: f64) -> Vec<f64> {
    let deviation = (drop_prob * (1.0 - drop_prob)).sqrt();
    factors.iter().map(|&f| (f64::from(u8::from(f != 0.0)) - (1.0 - drop_prob)) / deviation).collect()
}

/// A mean of products of n independent signs is within 5 / √n of 0.
fn assert_independent(a: &[f64], b: &[f64], what: &str) {
    let n = a.len().min(b.len());
    let correlation = reference::dot(&a[..n], &b[..n]) / n as f64;
    assert!(correlation.abs() < 5.0 / (n as f64).sqrt(), "{what}: correlation {correlation:.4} over {n}");
}

#[test]
fn keep_rate_and_scale() {
    for (p, seed) in [(0.1f32, 1), (0.1, 2), (0.5, 3), (0.01, 4), (0.9, 5)] {
        let dropout = mask(seed, 3, 0).at(Site::Output(2), p);
        let factors = hidden_factors(&one_sequence(0, TOKENS), Rows::Tokens, dropout);
        let n = factors.len() as f64;
        // The probability is rounded to 1 / 65536; the scale is exact for the rounded one.
        let rounded = (f64::from(p) * 65536.0).round() / 65536.0;
        assert!((f64::from(dropout.scale) * (1.0 - rounded) - 1.0).abs() < 1e-6);
        assert!(factors.iter().all(|&f| f == 0.0 || f == dropout.scale));
        let kept = factors.iter().filter(|&&f| f != 0.0).count() as f64 / n;
        let error = (rounded * (1.0 - rounded) / n).sqrt();
        assert!((kept - (1.0 - rounded)).abs() < 5.0 * error, "drop {p}: kept {kept}");
        let mean = factors.iter().map(|&f| f64::from(f)).sum::<f64>() / n;
        assert!((mean - 1.0).abs() < 5.0 * error / (1.0 - rounded), "drop {p}: mean factor {mean}");
    }
    for inactive in [Mask::none().at(Site::Embeddings, 0.5), mask(1, 0, 0).at(Site::Embeddings, 0.0)] {
        let factors = hidden_factors(&one_sequence(0, 9), Rows::Tokens, inactive);
        assert!(!inactive.is_active() && factors.iter().all(|&f| f == 1.0));
    }
}

#[test]
fn no_correlation_between_neighbours_sites_steps_passes_slots_and_seeds() {
    let p = 0.25f64;
    let draw = |seed, step, pass, site: Site, slot| {
        let dropout = mask(seed, step, pass).at(site, p as f32);
        signs(&hidden_factors(&one_sequence(slot, TOKENS), Rows::Tokens, dropout), p)
    };
    let site = Site::AttentionOutput(0);
    let base = draw(7, 10, 0, site, 3);
    for lag in (1..=17).chain([HIDDEN, 2 * HIDDEN, 128]) {
        assert_independent(&base, &base[lag..], &format!("elements {lag} apart"));
    }
    let others = [
        ("the same site again, 1 step on", draw(7, 11, 0, site, 3)),
        ("2 steps on", draw(7, 12, 0, site, 3)),
        ("the teacher's pass 1", draw(7, 10, 1, site, 3)),
        ("the teacher's pass 2", draw(7, 10, 2, site, 3)),
        ("another slot", draw(7, 10, 0, site, 4)),
        ("the next seed", draw(8, 10, 0, site, 3)),
        ("a seed of other high bits", draw(7 | 1 << 32, 10, 0, site, 3)),
        ("embeddings", draw(7, 10, 0, Site::Embeddings, 3)),
        ("classifier", draw(7, 10, 0, Site::Classifier, 3)),
        ("probabilities", draw(7, 10, 0, Site::Probabilities(0), 3)),
        ("output", draw(7, 10, 0, Site::Output(0), 3)),
        ("layer 1", draw(7, 10, 0, Site::AttentionOutput(1), 3)),
        ("layer 11", draw(7, 10, 0, Site::AttentionOutput(11), 3)),
    ];
    for (i, (name, other)) in others.iter().enumerate() {
        assert_independent(&base, other, name);
        for (second, another) in &others[..i] {
            assert_independent(other, another, &format!("{name} and {second}"));
        }
    }
}

#[test]
fn hidden_masks_are_the_specified_bits_however_a_batch_is_packed() {
    let (p, site, step, pass) = (0.3, Site::Output(1), 9, 2);
    let dropout = mask(tiny::SEED, step, pass).at(site, p);
    let masks = Masks { philox: Philox::new(tiny::SEED), step, pass };
    let packed = tiny::batch(&config(), &[5, 33, 1, 64, 9], 1);
    for packed in [tiny::part(&packed, [3, 1, 0, 4, 2]), tiny::part(&packed, [4]), packed] {
        let found = hidden_factors(&packed, Rows::Tokens, dropout);
        let first_rows = hidden_factors(&packed, Rows::Sequences, dropout);
        for b in 0..packed.sequences() {
            let start = packed.offsets[b] as usize;
            for position in 0..packed.offsets[b + 1] as usize - start {
                for column in 0..HIDDEN {
                    let element = position * HIDDEN + column;
                    let expected = masks.factor(reference::output(1), p, packed.slots[b], element) as f32;
                    assert_eq!(found[(start + position) * HIDDEN + column], expected);
                    if position == 0 {
                        assert_eq!(first_rows[b * HIDDEN + column], expected);
                    }
                }
            }
        }
    }
}

/// Factors of attention: scores are 0, so probabilities 1 / S; values are unit vectors, so that column k of ctx is key
/// k's.
#[test]
fn attention_masks_are_the_specified_bits_in_all_rows_and_in_first_rows() {
    let (p, step, pass, layer) = (0.4, 4, 1, 3);
    let dropout = mask(tiny::SEED, step, pass).at(Site::Probabilities(layer), p);
    let masks = Masks { philox: Philox::new(tiny::SEED), step, pass };
    let packed = tiny::part(&tiny::batch(&config(), &[7, 64, 1, 13, 40], 2), [2, 1, 4, 0, 3]);
    let (mut device, batch, _) = setup(&packed);
    let (mut qkv, mut kv) = (vec![0.0; TOKENS * 3 * HIDDEN], vec![0.0; TOKENS * 2 * HIDDEN]);
    for span in packed.offsets.windows(2) {
        for (key, t) in (span[0] as usize..span[1] as usize).enumerate() {
            qkv[t * 3 * HIDDEN + 2 * HIDDEN + key] = 1.0;
            kv[t * 2 * HIDDEN + HIDDEN + key] = 1.0;
        }
    }
    let [mut ctx, mut ctx_first, q] = [0; 3].map(|_| device.matrix(TOKENS, HIDDEN).unwrap());
    let [mut lse, mut lse_first] = [0; 2].map(|_| device.vector(TOKENS).unwrap());
    let (qkv, kv) = (tiny::matrix(&qkv, 3 * HIDDEN), tiny::matrix(&kv, 2 * HIDDEN));
    device.attention(&mut ctx, &mut lse, &qkv, dropout, &batch).unwrap();
    device.attention_first(&mut ctx_first, &mut lse_first, &q, &kv, dropout, &batch).unwrap();
    let (ctx, ctx_first) = (ctx.elements(), ctx_first.elements());
    for b in 0..packed.sequences() {
        let (start, end) = (packed.offsets[b] as usize, packed.offsets[b + 1] as usize);
        let length = end - start;
        for query in 0..length {
            for key in 0..length {
                let element = reference::attention_element(length, 0, query, key);
                let factor = masks.factor(reference::probabilities(layer), p, packed.slots[b], element);
                let close = |found: f32| (f64::from(found) * length as f64 - factor).abs() < 1e-5; // a few roundings
                assert!(close(ctx[(start + query) * HIDDEN + key]), "sequence {b}, {query}, {key}");
                assert!(query > 0 || close(ctx_first[b * HIDDEN + key]), "sequence {b}, first row, {key}");
            }
        }
    }
}

#[test]
fn the_classifier_and_the_embeddings_have_the_specified_masks() {
    let (p, step, pass) = (0.3, 6, 0);
    let masks = Masks { philox: Philox::new(tiny::SEED), step, pass };
    let config = config();
    let layout = bertsd_cuda::model::Layout::new(&config);
    let packed = tiny::part(&tiny::batch(&config, &[7, 3, 1, 13], 3), [2, 1, 3, 0]);
    let (mut device, batch, _) = setup(&packed);
    let mut values = vec![0.0; layout.len];
    values[layout.embeddings.norm.beta.range()].fill(1.0); // γ = 0: every embedding is 1
    values[layout.pooler.bias.range()].fill(1.0);
    let weights = device.parameters(&values).unwrap();
    let [mut x, mut pooled, mut dropped] = [0; 3].map(|_| device.matrix(TOKENS, HIDDEN).unwrap());
    let (mut stats, mut logits) =
        (RowStats::new(&device, TOKENS).unwrap(), device.vector(TOKENS * config.labels).unwrap());
    let of = |site| mask(tiny::SEED, step, pass).at(site, p);
    let on = tiny::on(&weights, &batch, Rows::Tokens);
    device.embed(&mut x, &mut stats, &layout.embeddings, of(Site::Embeddings), on).unwrap();
    let (pooler, classifier) = (layout.pooler, layout.classifier);
    let head = Head { pooler, classifier, dropout: of(Site::Classifier) };
    device.classify(&mut pooled, &mut dropped, &mut logits, &x, head, on).unwrap();
    let (x, pooled, dropped) = (x.elements(), pooled.elements(), dropped.elements());
    for b in 0..packed.sequences() {
        let (start, end, slot) = (packed.offsets[b] as usize, packed.offsets[b + 1] as usize, packed.slots[b]);
        for element in 0..(end - start) * HIDDEN {
            assert_eq!(
                f64::from(x[start * HIDDEN + element]),
                factor_f32(&masks, reference::EMBEDDINGS, p, slot, element)
            );
        }
        for column in 0..HIDDEN {
            let factor = factor_f32(&masks, reference::CLASSIFIER, p, slot, column) as f32;
            assert_eq!(dropped[b * HIDDEN + column], pooled[b * HIDDEN + column] * factor);
        }
    }
}

fn factor_f32(masks: &Masks, site: u32, p: f32, slot: u32, element: usize) -> f64 {
    f64::from(masks.factor(site, p, slot, element) as f32)
}

/// The gradient of the dropped branch is the gradient of the sum times the forward mask, element by element.
#[test]
fn the_backward_mask_is_the_forward_mask() {
    let dropout = mask(tiny::SEED, 2, 0).at(Site::Output(0), 0.35);
    let packed = tiny::batch(&config(), &[5, 33, 1, 64, 9], 1);
    for rows in [Rows::Tokens, Rows::Sequences] {
        let forward = hidden_factors(&packed, rows, dropout);
        let (mut device, batch, _) = setup(&packed);
        let norm = Norm { gamma: View { start: 0, len: HIDDEN }, beta: View { start: HIDDEN, len: HIDDEN } };
        let mut stream = tiny::stream(5);
        let mut random = |len: usize| (0..len).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let weights = device.parameters(&random(2 * HIDDEN)).unwrap();
        let [r, d_y] = [0; 2].map(|_| tiny::matrix(&random(TOKENS * HIDDEN), HIDDEN));
        let [mut y, mut d_r, mut d_branch] = [0; 3].map(|_| device.matrix(TOKENS, HIDDEN).unwrap());
        let mut stats = RowStats::new(&device, TOKENS).unwrap();
        let layout = bertsd_cuda::model::Layout::new(&config());
        let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
        let on = tiny::on(&weights, &batch, rows);
        device.layer_norm(&mut y, &mut stats, &r, norm, on).unwrap();
        let branch = BranchGradient { d: &mut d_branch, dropout };
        let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
        device
            .layer_norm_backward(&mut d_r, branch, &mut sink, &d_y, Normed { r: &r, stats: &stats, norm }, on)
            .unwrap();
        let (d_r, d_branch) = (d_r.elements(), d_branch.elements());
        for (i, &factor) in forward.iter().enumerate() {
            assert!(d_r[i] != 0.0);
            assert_eq!(d_branch[i], d_r[i] * factor, "{rows:?} {i}");
        }
    }
}
