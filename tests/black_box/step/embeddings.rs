//! The embedding's backward pass against sums in f64, with words that repeat within and across sequences, and with rows
//! that earlier steps touched; and the moves between rows of tokens and first rows.

use bertsd_cuda::{
    data::PackedBatch,
    device::{Capacity, Mask, RowStats, Rows, Shape, Site, StepScalars, cpu::CpuDevice, families::*},
    model::{BertConfig, Layout, View, layout::Linear},
    random::Philox,
};

use crate::{
    reference::{self, Masks, dot},
    tiny,
};

/// float32 sums of up to 300 rows, relative to the norm of the table's gradient.
const TOLERANCE: f64 = 2e-6;

fn config() -> BertConfig {
    BertConfig { vocab_size: 40, max_positions: 100, ..tiny::config(3, 24, 1) }
}

/// Word 2 in every second place: a long run; some words once; most of the others never.
fn repeating(lengths: &[usize], name: u32) -> PackedBatch {
    let mut packed = tiny::batch(&config(), lengths, name);
    for (t, id) in packed.ids.iter_mut().enumerate() {
        *id = if t % 2 == 0 { 2 } else { *id / 2 };
    }
    packed
}

/// Gradients of all tables and of the LayerNorm, in f64, added to `sums`.
fn expected(sums: &mut [f64], weights: &[f32], packed: &PackedBatch, d_x: &[f32], masks: Masks) {
    let config = config();
    let (layout, c) = (Layout::new(&config), config.hidden_size);
    let tables = layout.embeddings;
    let of = |start: usize, i: usize| weights[start + i * c..][..c].iter().map(|&w| f64::from(w));
    for b in 0..packed.sequences() {
        let start = packed.offsets[b] as usize;
        for position in 0..packed.offsets[b + 1] as usize - start {
            let t = start + position;
            let (id, kind) = (packed.ids[t] as usize, packed.types[t] as usize);
            let sum: Vec<f64> = of(tables.word.start, id)
                .zip(of(tables.position.start, position))
                .zip(of(tables.kind.start, kind))
                .map(|((a, b), c)| a + b + c)
                .collect();
            let n = c as f64;
            let mean = sum.iter().sum::<f64>() / n;
            let sigma = (sum.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + 1e-12).sqrt();
            let hat: Vec<f64> = sum.iter().map(|v| (v - mean) / sigma).collect();
            let d: Vec<f64> = (0..c)
                .map(|j| {
                    let factor = masks.factor(reference::EMBEDDINGS, 0.25, packed.slots[b], position * c + j);
                    f64::from(d_x[t * c + j]) * factor
                })
                .collect();
            let g: Vec<f64> =
                d.iter().zip(&weights[tables.norm.gamma.range()]).map(|(d, &w)| d * f64::from(w)).collect();
            let (middle, along) = (g.iter().sum::<f64>() / n, dot(&g, &hat) / n);
            for j in 0..c {
                let d_sum = (g[j] - middle - hat[j] * along) / sigma;
                for (table, row) in [(tables.word, id), (tables.position, position), (tables.kind, kind)] {
                    sums[table.start + row * c + j] += d_sum;
                }
                sums[tables.norm.gamma.start + j] += d[j] * hat[j];
                sums[tables.norm.beta.start + j] += d[j];
            }
        }
    }
}

#[test]
fn repeated_words_and_micro_batches_add_up() {
    let config = config();
    let layout = Layout::new(&config);
    let weights = tiny::weights(&config, 1);
    let capacity = Capacity { tokens: 300, sequences: 12, length: 100 };
    let mut device = CpuDevice::new(Shape::new(&config), capacity);
    let parameters = device.parameters(&weights).unwrap();
    let mut batch = device.batch(capacity).unwrap();
    let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
    let mut x = device.matrix(300, config.hidden_size).unwrap();
    let mut stats = RowStats::new(&device, 300).unwrap();
    // Steps of one and of two micro-batches, one after another on the same buffers.
    let steps: [&[&[usize]]; 4] = [&[&[100, 33, 64]], &[&[1], &[31, 2]], &[&[65, 1, 1, 7], &[97, 3], &[5]], &[&[32]]];
    for (t, micro) in steps.into_iter().enumerate() {
        let mask = Mask { philox: Philox::new(tiny::SEED), step: t as u32, pass: 0, active: true };
        let masks = Masks { philox: mask.philox, step: t as u32, pass: 0 };
        let dropout = mask.at(Site::Embeddings, 0.25);
        let mut sums = vec![0.0; layout.len];
        device.begin_step(&mut gradients, &layout.embeddings).unwrap();
        for (m, lengths) in micro.iter().enumerate() {
            let packed = repeating(lengths, (10 * t + m) as u32);
            let mut stream = tiny::stream(900 + (10 * t + m) as u32);
            let d_x: Vec<f32> = (0..300 * config.hidden_size).map(|_| stream.normal() as f32).collect();
            device.upload(&mut batch, &packed, &StepScalars::default()).unwrap();
            let table = &layout.embeddings;
            let on = tiny::on(&parameters, &batch, Rows::Tokens);
            device.embed(&mut x, &mut stats, table, dropout, on).unwrap();
            let d_rows = tiny::matrix(&d_x, config.hidden_size);
            device.embed_backward(&mut gradients, &d_rows, &stats, table, dropout, on).unwrap();
            expected(&mut sums, &weights, &packed, &d_x, masks);
        }
        let found = device.read_gradients(&gradients).unwrap();
        for segment in layout.segments.iter().filter(|segment| segment.name.contains("embeddings")) {
            let range = segment.view.range();
            let error = tiny::norm(range.clone().map(|i| f64::from(found[i]) - sums[i]));
            let size = tiny::norm(range.clone().map(|i| sums[i]));
            assert!(error <= TOLERANCE * size, "step {t}, {}: {error:e} of {size:e}", segment.name);
            let zeros = |i: usize| sums[i] != 0.0 || found[i] == 0.0;
            assert!(range.clone().all(zeros), "step {t}, {}: rows of earlier steps are left", segment.name);
        }
        device.gradient_norm(&gradients).unwrap();
        let mut outcome = device.outcome(0).unwrap();
        device.send_outcome(&mut outcome, &Vec::new()).unwrap();
        let (_, norm) = device.receive_outcome(&outcome).unwrap();
        let size = tiny::norm(sums.iter().copied());
        assert!((norm - size).abs() <= TOLERANCE * size, "{norm} {size}");
    }
}

#[test]
fn first_rows_are_gathered_and_scattered() {
    let config = config();
    let c = config.hidden_size;
    let packed = tiny::batch(&config, &[1, 5, 2, 33, 1], 1);
    let tokens = packed.tokens();
    let capacity = Capacity { tokens, sequences: 5, length: 33 };
    let mut device = CpuDevice::new(Shape::new(&config), capacity);
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, &packed, &StepScalars::default()).unwrap();
    let x: Vec<f32> = (0..tokens * c).map(|i| i as f32).collect();
    // Through a projection of zeros, forward and back.
    let (square, width) = (3 * c * c, 3 * c);
    let layer = Linear { weight: View { start: 0, len: square }, bias: View { start: square, len: width } };
    let weights = vec![0.0; square + width];
    let on = tiny::on(&weights, &batch, Rows::Tokens);
    let [mut kv, no_kv] = [0; 2].map(|_| device.matrix(tokens, 2 * c).unwrap());
    let [mut q, no_q, mut first] = [0; 3].map(|_| device.matrix(5, c).unwrap());
    device.project_first(&mut kv, &mut q, &mut first, &tiny::matrix(&x, c), layer, on).unwrap();
    let is_first = |t: usize| packed.offsets[..5].iter().position(|&o| o as usize == t);
    for (b, &offset) in packed.offsets[..5].iter().enumerate() {
        assert_eq!(first.elements()[b * c..(b + 1) * c], x[offset as usize * c..][..c]);
    }
    let mut written = tiny::matrix(&x, c);
    device.project_first_backward_input(&mut written, &no_kv, &no_q, &first, layer, on).unwrap();
    let written = written.elements();
    for t in 0..tokens {
        for i in t * c..(t + 1) * c {
            assert_eq!(written[i], if is_first(t).is_some() { x[i] } else { 0.0 });
        }
    }
}
