//! Kernels of kernels/attention*.cu: against f64, against the same computation rounded where the kernels round, and against the
//! CPU device for the bits of the masks. Outputs are NaN before each launch; rows beyond the batch must stay so.

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Capacity, Device, Dropout, Mask, Shape, Site, StepScalars,
        cpu::CpuDevice,
        cuda::{CudaDevice, Element},
    },
    model::BertConfig,
    random::Philox,
};
use cudarc::driver::CudaSlice;
use half::bf16;

use super::{
    reference::{self, Masks, attention_element, dot},
    support, tiny,
};

/// float32 kernels, relative to the norm of a result.
const TOLERANCE: f64 = 1e-5;
/// bf16 kernels, relative to the error of the same computation rounded at the same points.
const TIMES_PLAIN: f64 = 2.0;
const LAYER: usize = 2;
const STEP: u32 = 3;
/// Rows that buffers have beyond the batch.
const SPARE: usize = 5;

/// A batch, its masks and its inputs.
struct Case {
    config: BertConfig,
    packed: PackedBatch,
    drop_prob: f32,
    qkv: Vec<f32>,   // [T, 3C]
    d_ctx: Vec<f32>, // [T, C]
}

impl Case {
    /// Inputs that E holds exactly; q, k, v and d_ctx are of these sizes.
    fn new<E: Element>(heads: usize, head_size: usize, lengths: &[usize], drop_prob: f32, sizes: [f32; 4]) -> Self {
        let config = BertConfig { max_positions: 1024, ..tiny::config(heads, head_size, 1) };
        let packed = tiny::batch(&config, lengths, 6);
        let (tokens, c) = (packed.tokens(), config.hidden_size);
        let mut stream = tiny::stream(7000 + head_size as u32);
        let mut random = |size: f32| E::of(stream.normal() as f32 * size).value();
        let qkv = (0..tokens * 3 * c).map(|i| random(sizes[i / c % 3])).collect();
        let d_ctx = (0..tokens * c).map(|_| random(sizes[3])).collect();
        Self { config, packed, drop_prob, qkv, d_ctx }
    }

    fn dropout(&self) -> Dropout {
        let mask = Mask { philox: Philox::new(tiny::SEED), step: STEP, pass: 1, active: self.drop_prob > 0.0 };
        mask.at(Site::AttentionProbabilities { layer: LAYER }, self.drop_prob)
    }

    fn capacity(&self) -> Capacity {
        tiny::capacity(std::slice::from_ref(&self.packed))
    }

    fn ranges(&self) -> Vec<std::ops::Range<usize>> {
        self.packed.offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize).collect()
    }

    /// Columns of C of a [T, 3C] matrix, and of the first rows only.
    fn columns(&self, part: std::ops::Range<usize>, first_only: bool) -> Vec<f32> {
        let c = self.config.hidden_size;
        let rows: Vec<usize> = if first_only {
            self.ranges().iter().map(|r| r.start).collect()
        } else {
            (0..self.packed.tokens()).collect()
        };
        rows.iter()
            .flat_map(|row| self.qkv[row * 3 * c + part.start * c..row * 3 * c + part.end * c].to_vec())
            .collect()
    }

    fn first_d_ctx(&self) -> Vec<f32> {
        let c = self.config.hidden_size;
        self.ranges().iter().flat_map(|r| self.d_ctx[r.start * c..(r.start + 1) * c].to_vec()).collect()
    }
}

/// What the four operations give, in the seam's layouts.
struct Results<T> {
    ctx: Vec<T>,
    lse: Vec<T>,
    d_qkv: Vec<T>,
    ctx_first: Vec<T>,
    lse_first: Vec<T>,
    d_q: Vec<T>,
    d_kv: Vec<T>,
}

fn write<E: Element>(buffer: &mut CudaSlice<E>, values: &[f32]) {
    let values: Vec<E> = values.iter().map(|&v| E::of(v)).collect();
    let stream = buffer.stream().clone();
    stream.memcpy_htod(&values, buffer).unwrap();
}

fn matrix<E: Element>(device: &CudaDevice<E>, values: &[f32]) -> CudaSlice<E> {
    let mut buffer = device.matrix(values.len(), 1).unwrap();
    write(&mut buffer, values);
    buffer
}

fn poisoned<E: Element>(device: &CudaDevice<E>, rows: usize, cols: usize) -> CudaSlice<E> {
    matrix(device, &vec![f32::NAN; (rows + SPARE) * cols])
}

fn poisoned_vector<E: Element>(device: &CudaDevice<E>, len: usize) -> CudaSlice<f32> {
    let mut buffer = device.vector(len + SPARE).unwrap();
    write(&mut buffer, &vec![f32::NAN; len + SPARE]);
    buffer
}

/// The first `len` numbers of a buffer, all of them written; what is beyond is not.
fn written<E: Element>(buffer: &CudaSlice<E>, len: usize) -> Vec<f32> {
    let values: Vec<f32> = buffer.stream().clone_dtoh(buffer).unwrap().into_iter().map(E::value).collect();
    assert!(values[len..].iter().all(|v| v.is_nan()), "rows beyond the batch are left alone");
    values[..len].to_vec()
}

fn on_cuda<E: Element>(case: &Case) -> Results<f32> {
    let (tokens, sequences, c) = (case.packed.tokens(), case.packed.sequences(), case.config.hidden_size);
    let (heads, dropout, capacity) = (case.config.heads, case.dropout(), case.capacity());
    let mut device = support::device::<E>(Shape::new(&case.config), capacity);
    let scalars = StepScalars { step: STEP, ..StepScalars::default() };
    let batch = support::upload(&mut device, &case.packed, capacity, &scalars);

    let (qkv, d_ctx) = (matrix(&device, &case.qkv), matrix(&device, &case.d_ctx));
    let (mut ctx, mut d_qkv) = (poisoned(&device, tokens, c), poisoned(&device, tokens, 3 * c));
    let mut lse = poisoned_vector(&device, heads * tokens);
    device.attention(&mut ctx, &mut lse, &qkv, &batch, dropout).unwrap();
    device.attention_backward(&mut d_qkv, &d_ctx, &qkv, &ctx, &lse, &batch, dropout).unwrap();

    let (q, kv) = (matrix(&device, &case.columns(0..1, true)), matrix(&device, &case.columns(1..3, false)));
    let d_first = matrix(&device, &case.first_d_ctx());
    let [mut ctx_first, mut d_q] = [0; 2].map(|_| poisoned(&device, sequences, c));
    let mut d_kv = poisoned(&device, tokens, 2 * c);
    let mut lse_first = poisoned_vector(&device, sequences * heads);
    device.attention_first(&mut ctx_first, &mut lse_first, &q, &kv, &batch, dropout).unwrap();
    device
        .attention_first_backward(&mut d_q, &mut d_kv, &d_first, &q, &kv, &ctx_first, &lse_first, &batch, dropout)
        .unwrap();
    Results {
        ctx: written(&ctx, tokens * c),
        lse: written(&lse, heads * tokens),
        d_qkv: written(&d_qkv, tokens * 3 * c),
        ctx_first: written(&ctx_first, sequences * c),
        lse_first: written(&lse_first, sequences * heads),
        d_q: written(&d_q, sequences * c),
        d_kv: written(&d_kv, tokens * 2 * c),
    }
}

fn on_cpu(case: &Case) -> Results<f32> {
    let (tokens, sequences, c) = (case.packed.tokens(), case.packed.sequences(), case.config.hidden_size);
    let (heads, dropout, capacity) = (case.config.heads, case.dropout(), case.capacity());
    let mut device = CpuDevice::new(Shape::new(&case.config), capacity);
    let scalars = StepScalars { step: STEP, ..StepScalars::default() };
    let batch = support::upload(&mut device, &case.packed, capacity, &scalars);
    let (q, kv, d_first) = (case.columns(0..1, true), case.columns(1..3, false), case.first_d_ctx());
    let mut r = Results {
        ctx: vec![0.0; tokens * c],
        lse: vec![0.0; heads * tokens],
        d_qkv: vec![0.0; tokens * 3 * c],
        ctx_first: vec![0.0; sequences * c],
        lse_first: vec![0.0; sequences * heads],
        d_q: vec![0.0; sequences * c],
        d_kv: vec![0.0; tokens * 2 * c],
    };
    device.attention(&mut r.ctx, &mut r.lse, &case.qkv, &batch, dropout).unwrap();
    device.attention_backward(&mut r.d_qkv, &case.d_ctx, &case.qkv, &r.ctx, &r.lse, &batch, dropout).unwrap();
    device.attention_first(&mut r.ctx_first, &mut r.lse_first, &q, &kv, &batch, dropout).unwrap();
    let (ctx, lse) = (&r.ctx_first, &r.lse_first);
    device.attention_first_backward(&mut r.d_q, &mut r.d_kv, &d_first, &q, &kv, ctx, lse, &batch, dropout).unwrap();
    r
}

/// Where a computation rounds: probabilities and their gradients, and results.
#[derive(Clone, Copy)]
struct Rounding {
    inner: fn(f64) -> f64,
    result: fn(f64) -> f64,
}

fn exactly(x: f64) -> f64 {
    x
}

fn rounded<E: Element>(x: f64) -> f64 {
    f64::from(E::of(x as f32).value())
}

type Matrix = Vec<Vec<f64>>;

/// One head of one sequence, of its first `q.len()` queries.
struct HeadResults {
    ctx: Matrix,
    lse: Vec<f64>,
    d_q: Matrix,
    d_k: Matrix,
    d_v: Matrix,
}

/// The formulas of kernels/attention.cuh; `factors[i][j]` is what the mask multiplies by.
fn head(q: &Matrix, k: &Matrix, v: &Matrix, d: &Matrix, factors: &Matrix, rounding: Rounding) -> HeadResults {
    let (length, size) = (k.len(), k[0].len());
    let scale = 1.0 / (size as f64).sqrt();
    let zeros = |rows: usize| vec![vec![0.0; size]; rows];
    let mut r = HeadResults {
        ctx: zeros(q.len()),
        lse: Vec::new(),
        d_q: zeros(q.len()),
        d_k: zeros(length),
        d_v: zeros(length),
    };
    for i in 0..q.len() {
        let scores: Vec<f64> = k.iter().map(|k| scale * dot(&q[i], k)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = reference::log_sum_exp(&scores);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        for j in 0..length {
            // The kernels multiply by the factor of what is kept after rounding.
            let p = if factors[i][j] == 0.0 { 0.0 } else { (rounding.inner)((scores[j] - largest).exp()) };
            for c in 0..size {
                r.ctx[i][c] += p * factors[i][j] / sum * v[j][c];
            }
        }
        r.ctx[i].iter_mut().for_each(|x| *x = (rounding.result)(*x));
        let delta = dot(&d[i], &r.ctx[i]);
        for j in 0..length {
            let p = (scores[j] - lse).exp();
            let d_s = (rounding.inner)(p * (factors[i][j] * dot(&d[i], &v[j]) - delta));
            let p = (rounding.inner)(p);
            for c in 0..size {
                r.d_v[j][c] += p * factors[i][j] * d[i][c];
                r.d_q[i][c] += scale * d_s * k[j][c];
                r.d_k[j][c] += scale * d_s * q[i][c];
            }
        }
        r.lse.push(lse);
    }
    for row in [&mut r.d_q, &mut r.d_k, &mut r.d_v].into_iter().flatten().flatten() {
        *row = (rounding.result)(*row);
    }
    r
}

/// Puts the columns of a head into rows `from..` of a matrix of `width` columns.
fn place(to: &mut [f64], width: usize, from: usize, column: usize, rows: &Matrix) {
    for (i, row) in rows.iter().enumerate() {
        let at = (from + i) * width + column;
        to[at..at + row.len()].copy_from_slice(row);
    }
}

fn in_f64(case: &Case, rounding: Rounding) -> Results<f64> {
    let (tokens, sequences, c) = (case.packed.tokens(), case.packed.sequences(), case.config.hidden_size);
    let (heads, d) = (case.config.heads, case.config.head_size());
    let masks = Masks { philox: Philox::new(tiny::SEED), step: STEP, pass: 1 };
    let zeros = |len: usize| vec![0.0; len];
    let mut r = Results {
        ctx: zeros(tokens * c),
        lse: zeros(heads * tokens),
        d_qkv: zeros(tokens * 3 * c),
        ctx_first: zeros(sequences * c),
        lse_first: zeros(sequences * heads),
        d_q: zeros(sequences * c),
        d_kv: zeros(tokens * 2 * c),
    };
    for (b, range) in case.ranges().into_iter().enumerate() {
        for h in 0..heads {
            let rows = |x: &[f32], width: usize, column: usize| -> Matrix {
                let row =
                    |t: usize| x[t * width + column..t * width + column + d].iter().map(|&v| f64::from(v)).collect();
                range.clone().map(row).collect()
            };
            let [q, k, v] = [0, 1, 2].map(|part| rows(&case.qkv, 3 * c, part * c + h * d));
            let d_out = rows(&case.d_ctx, c, h * d);
            let (start, length, slot) = (range.start, range.len(), case.packed.slots[b]);
            let factor = |query: usize, key: usize| match case.drop_prob > 0.0 {
                true => {
                    let element = attention_element(length, h, query, key);
                    masks.factor(reference::probabilities(LAYER), case.drop_prob, slot, element)
                }
                false => 1.0,
            };
            let factors: Matrix = (0..length).map(|i| (0..length).map(|j| factor(i, j)).collect()).collect();
            let all = head(&q, &k, &v, &d_out, &factors, rounding);
            place(&mut r.ctx, c, start, h * d, &all.ctx);
            r.lse[h * tokens + start..h * tokens + start + length].copy_from_slice(&all.lse);
            for (part, rows) in [&all.d_q, &all.d_k, &all.d_v].into_iter().enumerate() {
                place(&mut r.d_qkv, 3 * c, start, part * c + h * d, rows);
            }
            // The first-token kernels round nothing on the way.
            let first =
                head(&q[..1].to_vec(), &k, &v, &d_out[..1].to_vec(), &factors, Rounding { inner: exactly, ..rounding });
            place(&mut r.ctx_first, c, b, h * d, &first.ctx);
            r.lse_first[b * heads + h] = first.lse[0];
            place(&mut r.d_q, c, b, h * d, &first.d_q);
            place(&mut r.d_kv, 2 * c, start, h * d, &first.d_k);
            place(&mut r.d_kv, 2 * c, start, c + h * d, &first.d_v);
        }
    }
    r
}

impl<T: Copy> Results<T> {
    /// The results in groups that are judged together. Gradients of q and k vanish for one token, so d_v is with them.
    fn groups(&self) -> [(&'static str, Vec<T>); 6] {
        let together = |a: &[T], b: &[T]| [a, b].concat();
        [
            ("ctx", self.ctx.clone()),
            ("lse", self.lse.clone()),
            ("d_qkv", self.d_qkv.clone()),
            ("ctx of first tokens", self.ctx_first.clone()),
            ("lse of first tokens", self.lse_first.clone()),
            ("d_q and d_kv of first tokens", together(&self.d_q, &self.d_kv)),
        ]
    }
}

fn error(found: &[f64], expected: &[f64]) -> f64 {
    tiny::norm(found.iter().zip(expected).map(|(a, b)| a - b))
}

fn check<E: Element>(case: &Case, what: &str) {
    let found = on_cuda::<E>(case);
    let exact = in_f64(case, Rounding { inner: exactly, result: exactly });
    let plain = in_f64(case, Rounding { inner: rounded::<E>, result: rounded::<E> });
    let what = format!("{what}, {}, {} × {}", E::NAME, case.config.heads, case.config.head_size());
    for (((name, found), (_, exact)), (_, plain)) in found.groups().into_iter().zip(exact.groups()).zip(plain.groups())
    {
        let (found, size) = (support::double(&found), tiny::norm(exact.iter().copied()));
        let float32 = E::NAME == f32::NAME || name.starts_with("lse");
        let allowed = if float32 { TOLERANCE * size } else { TIMES_PLAIN * error(&plain, &exact) };
        let error = error(&found, &exact);
        eprintln!("{what}, {name}: error {:.2e}, allowed {:.2e}", error / size, allowed / size);
        assert!(error <= allowed, "{what}, {name}: {error:e}, allowed {allowed:e}, of {size:e}");
    }
}

/// Lengths around the fragments of 8 and 16, the groups of 32 and the tiles of 64, and primes.
const LENGTHS: [&[usize]; 4] =
    [&[1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33], &[63, 64, 65, 5], &[127, 1, 128, 129], &[97, 23, 201]];

fn every_head_size<E: Element>() {
    for (i, head_size) in [16, 32, 64, 96, 128, 8, 24, 72, 120].into_iter().enumerate() {
        let lengths = LENGTHS[i % 2];
        check::<E>(&Case::new::<E>(2, head_size, lengths, 0.0, [1.0; 4]), "no dropout");
        check::<E>(&Case::new::<E>(2, head_size, lengths, 0.1, [1.0; 4]), "dropout");
    }
}

#[test]
fn every_head_size_bf16() {
    every_head_size::<bf16>();
}

#[test]
fn every_head_size_f32() {
    every_head_size::<f32>();
}

fn longer_sequences<E: Element>() {
    check::<E>(&Case::new::<E>(1, 64, LENGTHS[2], 0.1, [1.0; 4]), "tiles of 64");
    check::<E>(&Case::new::<E>(3, 32, LENGTHS[3], 0.3, [1.0; 4]), "primes");
    check::<E>(&Case::new::<E>(1, 32, &[512, 3, 511], 0.1, [1.0; 4]), "512");
    check::<E>(&Case::new::<E>(16, 64, &[33, 4], 0.1, [1.0; 4]), "C = 1024");
}

#[test]
fn longer_sequences_bf16() {
    longer_sequences::<bf16>();
}

#[test]
fn longer_sequences_f32() {
    longer_sequences::<f32>();
}
