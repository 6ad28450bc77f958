//! Attention and its gradients in f64, head by head, rounded where one likes.

use bertsd_cuda::{device::cuda::Element, random::Philox};

use super::{
    super::{
        reference::{self, Masks, attention_element, dot},
        tiny,
    },
    case::{Case, LAYER, Results, STEP},
};

/// Where a computation rounds: probabilities and their gradients, and results.
#[derive(Clone, Copy)]
pub struct Rounding {
    pub inner: fn(f64) -> f64,
    pub result: fn(f64) -> f64,
}

pub fn exactly(x: f64) -> f64 {
    x
}

pub fn rounded<E: Element>(x: f64) -> f64 {
    f64::from(E::from_f32(x as f32).value())
}

pub type Matrix = Vec<Vec<f64>>;

/// One head of one sequence, of its first `q.len()` queries.
pub struct HeadResults {
    ctx: Matrix,
    lse: Vec<f64>,
    d_q: Matrix,
    d_k: Matrix,
    d_v: Matrix,
}

/// The formulas of kernels/attention.cuh; `factors[i][j]` is what the mask multiplies by.
pub fn head(q: &Matrix, k: &Matrix, v: &Matrix, d: &Matrix, factors: &Matrix, rounding: Rounding) -> HeadResults {
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
            for (sum_of, v) in r.ctx[i].iter_mut().zip(&v[j]) {
                *sum_of += p * factors[i][j] / sum * v;
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
pub fn place(to: &mut [f64], width: usize, from: usize, column: usize, rows: &Matrix) {
    for (i, row) in rows.iter().enumerate() {
        let at = (from + i) * width + column;
        to[at..at + row.len()].copy_from_slice(row);
    }
}

pub fn in_f64(case: &Case, rounding: Rounding) -> Results<f64> {
    let (tokens, sequences, a) = (case.packed.tokens(), case.packed.sequences(), case.config.attention_size());
    let (heads, d, stride) = (case.config.heads, case.config.head_size(), case.config.padded_head_size());
    let masks = Masks { philox: Philox::new(tiny::SEED), step: STEP, pass: 1 };
    let zeros = |len: usize| vec![0.0; len];
    let mut r = Results {
        ctx: zeros(tokens * a),
        lse: zeros(heads * tokens),
        d_qkv: zeros(tokens * 3 * a),
        ctx_first: zeros(sequences * a),
        lse_first: zeros(sequences * heads),
        d_q: zeros(sequences * a),
        d_kv: zeros(tokens * 2 * a),
    };
    for (b, range) in case.ranges().into_iter().enumerate() {
        for h in 0..heads {
            let rows = |x: &[f32], width: usize, column: usize| -> Matrix {
                let row =
                    |t: usize| x[t * width + column..t * width + column + d].iter().map(|&v| f64::from(v)).collect();
                range.clone().map(row).collect()
            };
            let [q, k, v] = [0, 1, 2].map(|part| rows(&case.qkv, 3 * a, part * a + h * stride));
            let d_out = rows(&case.d_ctx, a, h * stride);
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
            place(&mut r.ctx, a, start, h * stride, &all.ctx);
            r.lse[h * tokens + start..h * tokens + start + length].copy_from_slice(&all.lse);
            for (part, rows) in [&all.d_q, &all.d_k, &all.d_v].into_iter().enumerate() {
                place(&mut r.d_qkv, 3 * a, start, part * a + h * stride, rows);
            }
            // The first-token kernels round nothing on the way.
            let first =
                head(&q[..1].to_vec(), &k, &v, &d_out[..1].to_vec(), &factors, Rounding { inner: exactly, ..rounding });
            place(&mut r.ctx_first, a, b, h * stride, &first.ctx);
            r.lse_first[b * heads + h] = first.lse[0];
            place(&mut r.d_q, a, b, h * stride, &first.d_q);
            place(&mut r.d_kv, 2 * a, start, h * stride, &first.d_k);
            place(&mut r.d_kv, 2 * a, start, a + h * stride, &first.d_v);
        }
    }
    r
}
