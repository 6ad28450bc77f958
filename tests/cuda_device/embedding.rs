//! Kernels of kernels/embedding.cu: the gather, the scatter of its gradient in order, what a step clears, and first
//! rows that come and go.

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Capacity, Copies, Device, Dropout, EmbeddingOps, Inspect, Mask, Memory, NormOps, On, Rows, Shape, Site,
        StepScalars,
        cpu::CpuDevice,
        cuda::{Bf16, Element},
    },
    model::{BertConfig, Layout, View, layout::Linear},
    random::Philox,
};

use super::{
    buffers::{
        assert_as_the_cpu, assert_close, matrix, on, on_cpu, poisoned_matrix, poisoned_stats, random, stats, stored,
        written, written_vector,
    },
    reference::{self, Masks, dot},
    support::{self, double},
    tiny,
};

const SCALARS: StepScalars = StepScalars { step: 5, lambda: 1.0, ce_scale: 1.0, distill_scale: 1.0 };
const DROP_PROB: f32 = 0.25;

fn config(width: usize, types: usize) -> BertConfig {
    BertConfig {
        vocab_size: 40,
        hidden_size: width,
        heads: width / 8,
        max_positions: 70,
        type_vocab_size: types,
        ..tiny::config(1, 8, 1)
    }
}

/// Word 2 in every second place: a long run; some words once, most of the others never. All types, slots out of order.
fn repeating(config: &BertConfig, lengths: &[usize], name: u32) -> PackedBatch {
    let mut packed = tiny::batch(config, lengths, name);
    for (t, id) in packed.ids.iter_mut().enumerate() {
        *id = if t % 2 == 0 { 2 } else { *id / 2 };
    }
    let types = config.type_vocab_size as u32;
    packed.types.iter_mut().enumerate().for_each(|(t, kind)| *kind = t as u32 * 7 / 3 % types);
    packed.slots.reverse();
    packed
}

fn dropout() -> Dropout {
    let mask = Mask { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0, active: true };
    mask.at(Site::Embeddings, DROP_PROB)
}

fn factor(packed: &PackedBatch, b: usize, element: usize) -> f64 {
    let masks = Masks { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0 };
    masks.factor(reference::EMBEDDINGS, DROP_PROB, packed.slots[b], element)
}

/// Everything in f64 from weights in the device's precision.
struct Exact {
    x: Vec<f64>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    d_sum: Vec<f64>,
    d_gamma: Vec<f64>,
    d_beta: Vec<f64>,
}

/// Sequence, position and token, one after the other.
fn tokens(packed: &PackedBatch) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..packed.sequences()).flat_map(|b| {
        let (start, end) = (packed.offsets[b] as usize, packed.offsets[b + 1] as usize);
        (start..end).map(move |t| (b, t - start, t))
    })
}

impl Exact {
    fn new<E: Element>(config: &BertConfig, weights: &[f32], packed: &PackedBatch, d_x: &[f32]) -> Self {
        let (c, n, tables) = (config.hidden_size, config.hidden_size as f64, Layout::new(config).embeddings);
        let of = |view: View, i: usize| double(&weights[view.start + i * c..][..c]);
        let working = |view: View, i: usize| stored::<E>(&of(view, i));
        let (gamma, beta) = (of(tables.norm.gamma, 0), of(tables.norm.beta, 0));
        let mut exact = Self {
            x: Vec::new(),
            mean: Vec::new(),
            rstd: Vec::new(),
            d_sum: Vec::new(),
            d_gamma: vec![0.0; c],
            d_beta: vec![0.0; c],
        };
        for (b, position, t) in tokens(packed) {
            let word = working(tables.word, packed.ids[t] as usize);
            let (place, kind) = (working(tables.position, position), working(tables.kind, packed.types[t] as usize));
            let r: Vec<f64> = (0..c).map(|j| word[j] + kind[j] + place[j]).collect();
            let mean = r.iter().sum::<f64>() / n;
            let rstd = 1.0 / (r.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + 1e-12).sqrt();
            let hat: Vec<f64> = r.iter().map(|v| (v - mean) * rstd).collect();
            let masks: Vec<f64> = (0..c).map(|j| factor(packed, b, position * c + j)).collect();
            let d: Vec<f64> = (0..c).map(|j| f64::from(d_x[t * c + j]) * masks[j]).collect();
            let g: Vec<f64> = d.iter().zip(&gamma).map(|(d, gamma)| d * gamma).collect();
            let (middle, along) = (g.iter().sum::<f64>() / n, dot(&g, &hat) / n);
            exact.mean.push(mean);
            exact.rstd.push(rstd);
            for j in 0..c {
                exact.x.push((hat[j] * gamma[j] + beta[j]) * masks[j]);
                exact.d_sum.push((g[j] - middle - hat[j] * along) * rstd);
                exact.d_gamma[j] += d[j] * hat[j];
                exact.d_beta[j] += d[j];
            }
        }
        exact
    }

    /// Adds the gradients, the sum of embeddings' being `d_sum`.
    fn scatter(&self, sums: &mut [f64], config: &BertConfig, packed: &PackedBatch, d_sum: &[f64]) {
        let (c, tables) = (config.hidden_size, Layout::new(config).embeddings);
        for (_, position, t) in tokens(packed) {
            let (id, kind) = (packed.ids[t] as usize, packed.types[t] as usize);
            for (table, row) in [(tables.word, id), (tables.position, position), (tables.kind, kind)] {
                for j in 0..c {
                    sums[table.start + row * c + j] += d_sum[t * c + j];
                }
            }
        }
        for j in 0..c {
            sums[tables.norm.gamma.start + j] += self.d_gamma[j];
            sums[tables.norm.beta.start + j] += self.d_beta[j];
        }
    }
}

fn capacity(packed: &[PackedBatch]) -> Capacity {
    let Capacity { tokens, sequences, .. } = tiny::capacity(packed);
    Capacity { tokens: tokens + 9, sequences: sequences + 2, length: 70 }
}

/// Steps of micro-batches, and the weights.
struct Case {
    config: BertConfig,
    weights: Vec<f32>,
    steps: Vec<Vec<PackedBatch>>,
}

impl Case {
    /// Two steps: one of two micro-batches, and one that touches few rows.
    fn new(width: usize, types: usize, lengths: &[usize]) -> Self {
        let config = config(width, types);
        let batch = |lengths: &[usize], name: u32| repeating(&config, lengths, name);
        let steps = vec![vec![batch(lengths, 1), batch(&[lengths[0], 3], 2)], vec![batch(&[2], 3)]];
        Self { weights: tiny::weights(&config, 1), config, steps }
    }

    /// The tables of embeddings become something else, row by row.
    fn rows(mut self, by: impl Fn(&mut [f32])) -> Self {
        let tables = Layout::new(&self.config).embeddings;
        for view in [tables.word, tables.position, tables.kind] {
            self.weights[view.range()].chunks_mut(self.config.hidden_size).for_each(&by);
        }
        self
    }

    fn check_both(&self) {
        check::<f32>(self);
        check::<Bf16>(self);
    }
}

fn check<E: Element>(case: &Case) {
    let Case { config, weights, steps } = case;
    let (layout, width, types) = (Layout::new(config), config.hidden_size, config.type_vocab_size);
    let tables = layout.embeddings;
    let capacity = capacity(&steps.concat());
    let mut device = support::device::<E>(Shape::new(config), capacity);
    let mut cpu = CpuDevice::new(Shape::new(config), capacity);
    let parameters = device.parameters(weights).unwrap();
    // The CPU device gets the tables as the other stores them.
    let mut cpu_weights = weights.clone();
    for view in [tables.word, tables.position, tables.kind] {
        cpu_weights[view.range()].iter_mut().for_each(|w| *w = E::from_f32(*w).value());
    }
    let mut gradients = device.gradients(layout.len, &tables).unwrap();
    let mut cpu_gradients = cpu.gradients(layout.len, &tables).unwrap();
    let embedding = tables.word.start..tables.norm.beta.range().end;
    // What the step before left; and what belongs to others.
    let mut before = vec![0.0; layout.len];
    before[tables.word.start + (config.vocab_size - 1) * width..][..width].fill(3.0);
    before[tables.position.start..embedding.end].fill(5.0);
    before[embedding.end..].fill(7.0);
    device.write_gradients(&mut gradients, &before).unwrap();
    cpu.write_gradients(&mut cpu_gradients, &before).unwrap();
    for step in steps {
        device.begin_step(&mut gradients, &tables).unwrap();
        cpu.begin_step(&mut cpu_gradients, &tables).unwrap();
        let (mut exact_sums, mut plain_sums) = (vec![0.0; layout.len], vec![0.0; layout.len]);
        for packed in step {
            let batch = support::upload(&mut device, packed, capacity, &SCALARS);
            let cpu_batch = support::upload(&mut cpu, packed, capacity, &SCALARS);
            let (tokens, len) = (packed.tokens(), packed.tokens() * width);
            let what = format!("{} {tokens} tokens of {width}, {types} types", E::NAME);
            let d_values = random::<E>(9, len, 1.0, 0.0);
            let exact = Exact::new::<E>(config, weights, packed, &d_values);
            let mut x = poisoned_matrix(&device, tokens + 1, width);
            let mut stats = poisoned_stats(&device, tokens + 1);
            let all = on(&parameters, &batch, Rows::Tokens);
            device.embed(&mut x, &mut stats, &tables, dropout(), all).unwrap();
            let mut cpu_x = poisoned_matrix(&cpu, tokens, width);
            let mut cpu_stats = poisoned_stats(&cpu, tokens);
            let of_cpu = on_cpu(&cpu_weights, &cpu_batch, Rows::Tokens);
            cpu.embed(&mut cpu_x, &mut cpu_stats, &tables, dropout(), of_cpu).unwrap();
            let cpu_x = cpu_x.elements();
            let found = written(&device, &x, len, &what);
            assert_as_the_cpu::<E>(&found, cpu_x, &exact.x, &stored::<E>(&exact.x), &what);
            assert!(found.iter().zip(cpu_x).all(|(&a, &b)| (a == 0.0) == (b == 0.0)), "{what}: the mask");
            for (name, found, cpu, exact) in [
                ("mean", &stats.mean, &cpu_stats.mean, &exact.mean),
                ("1/σ", &stats.rstd, &cpu_stats.rstd, &exact.rstd),
            ] {
                let found = written_vector(&device, found, tokens, &what);
                assert_as_the_cpu::<f32>(&found, cpu, exact, exact, &format!("{what}, {name}"));
            }
            let d_x = matrix(&device, &d_values, width);
            device.embed_backward(&mut gradients, &d_x, &stats, &tables, dropout(), all).unwrap();
            device.end_backward(&mut gradients).unwrap();
            let (to, d_x) = (&mut cpu_gradients, matrix(&cpu, &d_values, width));
            cpu.embed_backward(to, &d_x, &cpu_stats, &tables, dropout(), of_cpu).unwrap();
            cpu.end_backward(to).unwrap();
            exact.scatter(&mut exact_sums, config, packed, &exact.d_sum);
            exact.scatter(&mut plain_sums, config, packed, &stored::<E>(&exact.d_sum));
        }
        let found = device.read_gradients(&gradients).unwrap();
        let expected = cpu.read_gradients(&cpu_gradients).unwrap();
        let what = format!("{} width {width}, {types} types", E::NAME);
        for (name, view) in [("words", tables.word), ("positions", tables.position), ("types", tables.kind)] {
            let (exact, plain, range) = (&exact_sums[view.range()], &plain_sums[view.range()], view.range());
            let what = format!("{what}, {name}");
            assert_as_the_cpu::<E>(&found[range.clone()], &expected[range.clone()], exact, plain, &what);
            let untouched = found[range].iter().zip(exact).filter(|&(_, &exact)| exact == 0.0);
            assert!(untouched.into_iter().all(|(&v, _)| v == 0.0), "{what}: rows of the step before");
        }
        for (name, view) in [("gamma", tables.norm.gamma), ("beta", tables.norm.beta)] {
            let exact = &exact_sums[view.range()];
            let (found, expected) = (&found[view.range()], &expected[view.range()]);
            assert_as_the_cpu::<f32>(found, expected, exact, exact, &format!("{what}, {name}"));
        }
        assert_eq!(found[embedding.end..], before[embedding.end..], "{what}: other gradients are left alone");
    }
}

#[test]
fn forward_and_backward_at_every_tail() {
    for (width, types, lengths) in [
        (8, 2, vec![1, 1]),
        (64, 1, vec![7, 1]),
        (72, 3, vec![31, 64, 5]),
        (200, 2, vec![33, 1, 9]),
        (256, 4, vec![8]),
        (264, 2, vec![70, 2]),
        (1024, 2, vec![3]),
        (1032, 3, vec![5, 2]),
    ] {
        Case::new(width, types, &lengths).check_both();
    }
}

#[test]
fn tokens_that_blocks_take_in_turn() {
    let lengths: Vec<usize> = (0..18).map(|i| 70 - i).collect();
    check::<f32>(&Case::new(8, 2, &lengths));
    check::<Bf16>(&Case::new(16, 3, &lengths));
}

/// One row of the word table takes all tokens: one writer, whatever the number.
#[test]
fn every_token_the_same_word() {
    for (width, lengths) in [(40, vec![70, 1, 33]), (8, vec![70; 9])] {
        let mut case = Case::new(width, 2, &lengths);
        for packed in case.steps.iter_mut().flatten() {
            let word = packed.ids[0];
            packed.ids.fill(word);
        }
        case.check_both();
    }
}

/// Ids that no 16 bits hold, the last of them among them; and every position, in one sequence.
#[test]
fn a_vocabulary_beyond_sixteen_bits() {
    let config = BertConfig { vocab_size: 70_001, ..config(16, 2) };
    let mut packed = tiny::batch(&config, &[70, 29, 1], 8);
    packed.ids[3] = 70_000;
    packed.ids[4] = 70_000 - 65_536;
    assert!(packed.ids.iter().filter(|&&id| id > 65_535).count() > 2);
    Case { weights: tiny::weights(&config, 1), config, steps: vec![vec![packed]] }.check_both();
}

/// Rows without deviation, where 1/σ is 1/√ε; rows of denormal numbers, and rows whose squares are near the largest
/// float.
#[test]
fn extreme_rows() {
    let case = || Case::new(72, 2, &[31, 5]);
    case().rows(|row| row.fill((8.0 * row[0]).round() / 8.0)).check_both();
    for size in [1e-39, 1e-30, 1e17] {
        case().rows(|row| row.iter_mut().for_each(|w| *w *= size)).check_both();
    }
}

/// Rows that no step touches keep the bits of 0; the same bits as those of the CPU where sums are added in the same
/// order.
#[test]
fn words_and_positions_are_added_in_the_order_of_the_cpu() {
    let config = config(40, 2);
    let (layout, weights) = (Layout::new(&config), tiny::weights(&config, 1));
    let (tables, packed) = (layout.embeddings, repeating(&config, &[40, 70, 33, 1], 4));
    let capacity = capacity(std::slice::from_ref(&packed));
    let d_x = random::<f32>(9, packed.tokens() * 40, 1.0, 0.0);
    let mut cpu = CpuDevice::new(Shape::new(&config), capacity);
    let mut gpu = support::device::<f32>(Shape::new(&config), capacity);
    let (mut x, mut cpu_stats) = (poisoned_matrix(&cpu, packed.tokens(), 40), poisoned_stats(&cpu, packed.tokens()));
    let batch = support::upload(&mut cpu, &packed, capacity, &SCALARS);
    let parameters = cpu.parameters(&weights).unwrap();
    let mut expected = cpu.gradients(layout.len, &tables).unwrap();
    let of_cpu = on_cpu(&parameters, &batch, Rows::Tokens);
    cpu.embed(&mut x, &mut cpu_stats, &tables, dropout(), of_cpu).unwrap();
    cpu.embed_backward(&mut expected, &matrix(&cpu, &d_x, 40), &cpu_stats, &tables, dropout(), of_cpu).unwrap();
    let batch = support::upload(&mut gpu, &packed, capacity, &SCALARS);
    let parameters = gpu.parameters(&weights).unwrap();
    let mut found = gpu.gradients(layout.len, &tables).unwrap();
    let (d_x, stats) = (matrix(&gpu, &d_x, 40), stats(&gpu, &cpu_stats.mean, &cpu_stats.rstd));
    let all = on(&parameters, &batch, Rows::Tokens);
    gpu.embed_backward(&mut found, &d_x, &stats, &tables, dropout(), all).unwrap();
    gpu.end_backward(&mut found).unwrap();
    let (found, expected) = (gpu.read_gradients(&found).unwrap(), cpu.read_gradients(&expected).unwrap());
    assert_close(&found, &double(&expected), "all gradients of the embeddings");
    let zero = |values: &[f32]| values.iter().map(|v| v.to_bits() == 0).collect::<Vec<_>>();
    assert_eq!(zero(&found[tables.word.range()]), zero(&expected[tables.word.range()]));
    assert_eq!(zero(&found[tables.position.range()]), zero(&expected[tables.position.range()]));
}

/// The first rows of x, and those rows among zeros: projections of a layer whose products are not looked at, or are 0.
fn first_rows<D: Device + Inspect>(
    mut device: D,
    packed: &PackedBatch,
    capacity: Capacity,
    width: usize,
    values: &[f32],
) {
    let batch = support::upload(&mut device, packed, capacity, &SCALARS);
    let (tokens, sequences) = (packed.tokens(), packed.sequences());
    let layer = Linear {
        weight: View { start: 0, len: 3 * width * width },
        bias: View { start: 3 * width * width, len: 3 * width },
    };
    let parameters =
        device.parameters(&random::<f32>(5, layer.bias.range().end.next_multiple_of(16), 1.0, 0.0)).unwrap();
    let on = On { weights: &parameters, batch: &batch, rows: Rows::Tokens };
    let x = matrix(&device, values, width);
    let mut kv = poisoned_matrix(&device, tokens, 2 * width);
    let [mut q, mut first] = [0; 2].map(|_| poisoned_matrix(&device, sequences + 1, width));
    device.project_first(&mut kv, &mut q, &mut first, &x, layer, on).unwrap();
    let mut expected = vec![0.0; tokens * width];
    let mut rows = Vec::new();
    for &start in &packed.offsets[..sequences] {
        let row = start as usize * width..(start as usize + 1) * width;
        rows.extend_from_slice(&values[row.clone()]);
        expected[row.clone()].copy_from_slice(&values[row]);
    }
    assert_eq!(written(&device, &first, sequences * width, "first rows"), rows);
    let mut d_x = poisoned_matrix(&device, tokens + 1, width);
    let (no_kv, no_q) = (device.matrix(tokens, 2 * width).unwrap(), device.matrix(sequences, width).unwrap());
    device.project_first_backward_input(&mut d_x, &no_kv, &no_q, &first, layer, on).unwrap();
    assert_eq!(written(&device, &d_x, tokens * width, "all rows"), expected);
}

fn first_rows_on_both<E: Element>(width: usize, lengths: &[usize]) {
    let config = config(width, 2);
    let packed = repeating(&config, lengths, 6);
    let capacity = capacity(std::slice::from_ref(&packed));
    let values = random::<E>(4, packed.tokens() * width, 1.0, 0.0);
    first_rows(support::device::<E>(Shape::new(&config), capacity), &packed, capacity, width, &values);
    first_rows(CpuDevice::new(Shape::new(&config), capacity), &packed, capacity, width, &values);
}

#[test]
fn first_rows_come_and_go() {
    for (width, lengths) in [(8, vec![1]), (72, vec![1, 1, 5, 70, 1]), (200, vec![33, 2, 1]), (1032, vec![3, 4])] {
        first_rows_on_both::<f32>(width, &lengths);
        first_rows_on_both::<Bf16>(width, &lengths);
    }
}
