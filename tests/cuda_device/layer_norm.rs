//! Kernels of kernels/layer_norm.cu: forward, backward and the fold of its sums, with a warp per row and with a block
//! per row.

mod extreme;

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        BranchGradient, Buffers, Capacity, Copies, Dropout, Inspect, Mask, Matrix, Memory, NormOps, Normed, PassKey,
        Passes, RowStats, Rows, Shape, Sink, Site, StepScalars, Write,
        cpu::CpuDevice,
        cuda::{Bf16, CudaDevice, CudaGradients, CudaParameters, Element},
    },
    model::{
        BertConfig, View,
        layout::{Embeddings, Norm},
    },
    random::Philox,
};

use super::{
    buffers::{
        assert_as_the_cpu, assert_close, matrix, on, on_cpu as cpu_on, poisoned_matrix, poisoned_stats, random, stats,
        stored, written, written_vector,
    },
    reference::{self, dot},
    support, tiny,
};

const SCALARS: StepScalars = StepScalars { step: 3, lambda: 1.0, ce_scale: 1.0, distill_scale: 1.0 };
const DROP_PROB: f32 = 0.3;
const EPS: f64 = 1e-12;

fn config(width: usize) -> BertConfig {
    BertConfig { hidden_size: width, heads: width / 8, max_positions: 512, ..tiny::config(1, 8, 1) }
}

/// Room for more than the batch, so that blocks and rows without work are there.
fn capacity(packed: &PackedBatch) -> Capacity {
    Capacity { tokens: packed.tokens() + 5, sequences: packed.sequences() + 3, length: 512 }
}

/// A norm after other parameters.
fn norm(width: usize, number: usize) -> Norm {
    let start = 8 + 2 * width * number;
    Norm { gamma: View { start, len: width }, beta: View { start: start + width, len: width } }
}

/// An arena of norms and no embeddings to speak of.
fn embeddings(len: usize) -> Embeddings {
    let none = View { start: 0, len: 8 };
    assert!(len >= 8, "{len}");
    Embeddings { word: none, position: none, kind: none, norm: Norm { gamma: none, beta: none } }
}

fn mask() -> Mask {
    Mask { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0, active: true }
}

fn dropout(active: bool) -> Dropout {
    let mask = if active { mask() } else { Mask::none() };
    mask.at(Site::Output(1), DROP_PROB)
}

/// What a row is multiplied by.
fn factors(packed: &PackedBatch, rows: Rows, width: usize, active: bool) -> Vec<f64> {
    let masks = reference::Masks { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0 };
    let places = (0..packed.sequences()).flat_map(|b| {
        let length = (packed.offsets[b + 1] - packed.offsets[b]) as usize;
        (0..if rows == Rows::Tokens { length } else { 1 }).map(move |position| (packed.slots[b], position))
    });
    places
        .flat_map(|(slot, position)| (0..width).map(move |j| (slot, position * width + j)))
        .map(|(slot, element)| if active { masks.factor(reference::output(1), DROP_PROB, slot, element) } else { 1.0 })
        .collect()
}

/// f64 of everything that forward and backward leave.
#[derive(Default)]
struct Exact {
    y: Vec<f64>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    d_r: Vec<f64>,
    d_gamma: Vec<f64>,
    d_beta: Vec<f64>,
}

impl Exact {
    fn new(r: &[f32], d_y: &[f32], gamma: &[f32], beta: &[f32]) -> Self {
        let (width, n) = (gamma.len(), gamma.len() as f64);
        let (gamma, beta) = (support::double(gamma), support::double(beta));
        let mut exact = Self { d_gamma: vec![0.0; width], d_beta: vec![0.0; width], ..Self::default() };
        for (r, d) in r.chunks(width).zip(d_y.chunks(width)) {
            let (r, d) = (support::double(r), support::double(d));
            let mean = r.iter().sum::<f64>() / n;
            let rstd = 1.0 / (r.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + EPS).sqrt();
            let hat: Vec<f64> = r.iter().map(|v| (v - mean) * rstd).collect();
            let g: Vec<f64> = d.iter().zip(&gamma).map(|(d, gamma)| d * gamma).collect();
            let (middle, along) = (g.iter().sum::<f64>() / n, dot(&g, &hat) / n);
            exact.mean.push(mean);
            exact.rstd.push(rstd);
            for j in 0..width {
                exact.y.push(hat[j] * gamma[j] + beta[j]);
                exact.d_r.push((g[j] - middle - hat[j] * along) * rstd);
                exact.d_gamma[j] += d[j] * hat[j];
                exact.d_beta[j] += d[j];
            }
        }
        exact
    }
}

/// A device with a batch and the weights of some norms.
struct Bench<E: Element> {
    device: CudaDevice<E>,
    batch: <CudaDevice<E> as Buffers>::Batch,
    weights: CudaParameters<E>,
    values: Vec<f32>,
    packed: PackedBatch,
    rows: Rows,
    count: usize,
}

impl<E: Element> Bench<E> {
    fn new(
        width: usize,
        lengths: &[usize],
        rows: Rows,
        norms: usize,
        capacity: impl Fn(&PackedBatch) -> Capacity,
    ) -> Self {
        let config = config(width);
        let mut packed = tiny::batch(&config, lengths, 2);
        let sequences = packed.sequences() as u32;
        packed.slots.iter_mut().for_each(|slot| *slot = (*slot * 7 + 3) % (7 * sequences));
        let capacity = capacity(&packed);
        let mut device = support::device::<E>(Shape::new(&config), capacity);
        let batch = support::upload(&mut device, &packed, capacity, &SCALARS);
        let len = (8 + 2 * width * norms).next_multiple_of(16);
        let values = random::<E>(1, len, 0.5, 1.0);
        let weights = device.parameters(&values).unwrap();
        let count = if rows == Rows::Tokens { packed.tokens() } else { packed.sequences() };
        Self { device, batch, weights, values, packed, rows, count }
    }

    fn gradients(&self) -> CudaGradients {
        self.device.gradients(self.values.len(), &embeddings(self.values.len())).unwrap()
    }

    fn forward(
        &mut self,
        y: &mut Matrix<CudaDevice<E>>,
        stats: &mut RowStats<CudaDevice<E>>,
        r: &Matrix<CudaDevice<E>>,
        norm: Norm,
    ) {
        let Self { device, batch, weights, rows, .. } = self;
        device.layer_norm(y, stats, r, norm, on(weights, batch, *rows)).unwrap();
    }

    fn backward(
        &mut self,
        [d_r, d_branch]: [&mut Matrix<CudaDevice<E>>; 2],
        (gradients, write): (&mut CudaGradients, Write),
        d_y: &Matrix<CudaDevice<E>>,
        kept: Normed<'_, CudaDevice<E>>,
        dropout: Dropout,
    ) {
        let Self { device, batch, weights, rows, .. } = self;
        let (branch, mut sink) = (BranchGradient { d: d_branch, dropout }, Sink { gradients, write });
        device.layer_norm_backward(d_r, branch, &mut sink, d_y, kept, on(weights, batch, *rows)).unwrap();
    }
}

fn check<E: Element>(width: usize, lengths: &[usize], rows: Rows, active: bool) {
    let mut bench = Bench::<E>::new(width, lengths, rows, 2, capacity);
    let count = bench.count;
    let what = format!("{} {count} rows of {width}, {rows:?}, dropout {active}", E::NAME);
    let (norm, len) = (norm(width, 1), count * width);
    // A mean far from 0 shows a variance computed in one pass.
    let (r_values, d_values) = (random::<E>(2, len, 1.0, 20.0), random::<E>(3, len, 1.0, 0.0));
    let exact = Exact::new(&r_values, &d_values, &bench.values[norm.gamma.range()], &bench.values[norm.beta.range()]);
    let (r, d_y) = (matrix(&bench.device, &r_values, width), matrix(&bench.device, &d_values, width));
    let [mut y, mut d_r, mut d_branch] = [0; 3].map(|_| poisoned_matrix(&bench.device, count + 1, width));
    let mut stats = poisoned_stats(&bench.device, count + 1);
    bench.forward(&mut y, &mut stats, &r, norm);
    let [cpu_y, cpu_mean, cpu_rstd, cpu_d_r, cpu_branch, cpu_d_gamma, cpu_d_beta] =
        on_cpu(&bench, &r_values, &d_values, norm, dropout(active));
    let found = written(&bench.device, &y, len, &what);
    assert_as_the_cpu::<E>(&found, &cpu_y, &exact.y, &stored::<E>(&exact.y), &what);
    let found = written_vector(&bench.device, &stats.mean, count, &what);
    assert_as_the_cpu::<f32>(&found, &cpu_mean, &exact.mean, &exact.mean, &what);
    let found = written_vector(&bench.device, &stats.rstd, count, &what);
    assert_as_the_cpu::<f32>(&found, &cpu_rstd, &exact.rstd, &exact.rstd, &what);

    let mut gradients = bench.gradients();
    let poison = vec![f32::NAN; gradients.arena.len()];
    bench.device.write_gradients(&mut gradients, &poison).unwrap();
    let branch: Vec<f64> =
        exact.d_r.iter().zip(factors(&bench.packed, rows, width, active)).map(|(d, f)| d * f).collect();
    for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0)] {
        let kept = Normed { r: &r, stats: &stats, norm };
        bench.backward([&mut d_r, &mut d_branch], (&mut gradients, write), &d_y, kept, dropout(active));
        bench.device.end_backward(&mut gradients).unwrap();
        let found = written(&bench.device, &d_r, len, &what);
        assert_as_the_cpu::<E>(&found, &cpu_d_r, &exact.d_r, &stored::<E>(&exact.d_r), &what);
        let found = written(&bench.device, &d_branch, len, &what);
        assert_as_the_cpu::<E>(&found, &cpu_branch, &branch, &stored::<E>(&branch), &what);
        let zeros = |values: &mut dyn Iterator<Item = bool>| values.collect::<Vec<_>>();
        assert_eq!(
            zeros(&mut found.iter().map(|&v| v == 0.0)),
            zeros(&mut cpu_branch.iter().map(|&v| v == 0.0)),
            "{what}: the mask"
        );
        let found = bench.device.read_gradients(&gradients).unwrap();
        let scaled = |values: &[f64]| values.iter().map(|v| v * times).collect::<Vec<_>>();
        for (view, cpu, exact) in [(norm.gamma, &cpu_d_gamma, &exact.d_gamma), (norm.beta, &cpu_d_beta, &exact.d_beta)]
        {
            let cpu: Vec<f32> = cpu.iter().map(|v| v * times as f32).collect();
            let exact = scaled(exact);
            assert_as_the_cpu::<f32>(&found[view.range()], &cpu, &exact, &exact, &what);
        }
        let others = (0..found.len()).filter(|i| !norm.gamma.range().contains(i) && !norm.beta.range().contains(i));
        assert!(others.into_iter().all(|i| found[i].is_nan()), "{what}: other gradients are left alone");
    }
}

fn check_both(width: usize, lengths: &[usize], rows: Rows, active: bool) {
    check::<f32>(width, lengths, rows, active);
    check::<Bf16>(width, lengths, rows, active);
}

#[test]
fn rows_at_every_tail_of_a_warp() {
    for (lengths, width) in [
        (vec![1], 8),
        (vec![3, 4], 64),
        (vec![8], 72),
        (vec![2, 7], 200),
        (vec![31], 256),
        (vec![1, 30, 2], 264),
        (vec![1, 5], 768),
        (vec![9], 1024),
    ] {
        check_both(width, &lengths, Rows::Tokens, true);
    }
    check_both(72, &[5, 1, 12, 3, 2, 4, 7, 8, 300, 2, 6], Rows::Sequences, true);
}

#[test]
fn rows_that_blocks_take_in_turn() {
    // 1,024 rows are a round of the backward pass: the second has a few.
    check_both(16, &[512, 1, 7, 511], Rows::Tokens, true);
    check::<f32>(8, &[512, 512, 512, 512, 27], Rows::Tokens, false);
}

#[test]
fn rows_wider_than_a_warp() {
    for (lengths, width) in [(vec![1], 1032), (vec![2, 3], 2048), (vec![127, 2], 1096), (vec![1], 8192)] {
        check_both(width, &lengths, Rows::Tokens, true);
    }
}

#[test]
fn a_row_wider_than_a_block_is_refused() {
    support::choose_driver();
    let config = config(8200);
    let error = CudaDevice::<f32>::new(0, Shape::new(&config), Capacity { tokens: 1, sequences: 1, length: 1 });
    assert!(error.err().unwrap().to_string().contains("at most 8192"));
}

/// More norms than slots: the fold comes in between.
#[test]
fn many_norms_of_a_pass_are_folded_each_to_its_place() {
    const NORMS: usize = 70;
    let width = 24;
    let mut bench = Bench::<f32>::new(width, &[5, 8], Rows::Tokens, NORMS, capacity);
    let len = bench.count * width;
    let stats = stats(&bench.device, &vec![0.25; bench.count], &vec![1.5; bench.count]);
    let [mut d_r, mut d_branch] = [0; 2].map(|_| poisoned_matrix(&bench.device, bench.count, width));
    let mut gradients = bench.gradients();
    let before = random::<f32>(8, gradients.arena.len(), 1.0, 0.0);
    bench.device.write_gradients(&mut gradients, &before).unwrap();
    let mut expected = support::double(&before);
    for number in 0..NORMS {
        let (r, d) =
            (random::<f32>(100 + number as u32, len, 1.0, 0.0), random::<f32>(300 + number as u32, len, 1.0, 0.0));
        let norm = norm(width, number);
        let write = if number % 3 == 0 { Write::Add } else { Write::Overwrite };
        if write == Write::Overwrite {
            expected[norm.gamma.range()].fill(0.0);
            expected[norm.beta.range()].fill(0.0);
        }
        for (i, (&r, &d)) in r.iter().zip(&d).enumerate() {
            expected[norm.gamma.start + i % width] += f64::from(d) * (f64::from(r) - 0.25) * 1.5;
            expected[norm.beta.start + i % width] += f64::from(d);
        }
        let (r, d) = (matrix(&bench.device, &r, width), matrix(&bench.device, &d, width));
        let kept = Normed { r: &r, stats: &stats, norm };
        bench.backward([&mut d_r, &mut d_branch], (&mut gradients, write), &d, kept, dropout(false));
    }
    bench.device.end_backward(&mut gradients).unwrap();
    assert_close(&bench.device.read_gradients(&gradients).unwrap(), &expected, "all norms");
    // Nothing is left in the slots.
    bench.device.end_backward(&mut gradients).unwrap();
    assert_close(&bench.device.read_gradients(&gradients).unwrap(), &expected, "a second fold");
}

/// y, mean, 1/σ, d_r, d_branch, d_γ and d_β of the CPU device.
fn on_cpu<E: Element>(bench: &Bench<E>, r: &[f32], d_y: &[f32], norm: Norm, dropout: Dropout) -> [Vec<f32>; 7] {
    let width = norm.gamma.len;
    let mut cpu = CpuDevice::new(Shape::new(&config(width)), capacity(&bench.packed));
    let batch = support::upload(&mut cpu, &bench.packed, capacity(&bench.packed), &SCALARS);
    let (r, d_y) = (matrix(&cpu, r, width), matrix(&cpu, d_y, width));
    let [mut y, mut d_r, mut d_branch] = [0; 3].map(|_| poisoned_matrix(&cpu, bench.count, width));
    let mut stats = poisoned_stats(&cpu, bench.count);
    let mut gradients = cpu.gradients(bench.values.len(), &embeddings(bench.values.len())).unwrap();
    let all = cpu_on(&bench.values, &batch, bench.rows);
    cpu.layer_norm(&mut y, &mut stats, &r, norm, all).unwrap();
    let branch = BranchGradient { d: &mut d_branch, dropout };
    let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
    let kept = Normed { r: &r, stats: &stats, norm };
    cpu.layer_norm_backward(&mut d_r, branch, &mut sink, &d_y, kept, all).unwrap();
    let gradients = cpu.read_gradients(&gradients).unwrap();
    let [d_gamma, d_beta] = [norm.gamma, norm.beta].map(|view| gradients[view.range()].to_vec());
    let [y, d_r, d_branch] = [&y, &d_r, &d_branch].map(|matrix| matrix.elements().clone());
    [y, stats.mean, stats.rstd, d_r, d_branch, d_gamma, d_beta]
}

/// The same bits from a larger plan and from a recorded pass.
#[test]
fn bits_do_not_depend_on_the_plan_or_on_recording() {
    let (width, lengths) = (40, [300, 1, 77]);
    let run = |room: usize, record: bool| {
        let mut bench = Bench::<Bf16>::new(width, &lengths, Rows::Tokens, 1, |packed| {
            let Capacity { tokens, sequences, length } = capacity(packed);
            Capacity { tokens: tokens + room, sequences: sequences + room, length }
        });
        let (norm, len) = (norm(width, 0), bench.count * width);
        let r = matrix(&bench.device, &random::<Bf16>(5, len, 1.0, 0.0), width);
        let d = matrix(&bench.device, &random::<Bf16>(6, len, 1.0, 0.0), width);
        let [mut y, mut d_r, mut d_branch] = [0; 3].map(|_| poisoned_matrix(&bench.device, bench.count, width));
        let mut stats = poisoned_stats(&bench.device, bench.count);
        let mut gradients = bench.gradients();
        let Bench { device, batch, weights, .. } = &mut bench;
        device.record(record);
        let times = 3;
        for _ in 0..times {
            let write = Write::Overwrite;
            device
                .replay(PassKey::Student { target: 0, write }, batch, |device| {
                    let all = on(weights, batch, Rows::Tokens);
                    device.layer_norm(&mut y, &mut stats, &r, norm, all)?;
                    let branch = BranchGradient { d: &mut d_branch, dropout: dropout(true) };
                    let mut sink = Sink { gradients: &mut gradients, write };
                    let kept = Normed { r: &r, stats: &stats, norm };
                    device.layer_norm_backward(&mut d_r, branch, &mut sink, &d, kept, all)?;
                    device.end_backward(&mut gradients)
                })
                .unwrap();
        }
        assert_eq!(device.recorded(), usize::from(record));
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let gradients = device.read_gradients(&gradients).unwrap();
        let found = [
            bits(&device.read_matrix(&y).unwrap()),
            bits(&device.read_matrix(&d_branch).unwrap()),
            bits(&gradients[norm.gamma.range()]),
            bits(&gradients[norm.beta.range()]),
        ];
        (found, batch.bucket())
    };
    let (expected, bucket) = run(0, false);
    assert!(run(0, true).0 == expected, "recorded");
    let (found, larger) = run(20_000, false);
    assert!(larger.tokens > bucket.tokens, "{larger:?} is a larger bucket than {bucket:?}");
    assert!(found == expected, "a larger plan");
}
