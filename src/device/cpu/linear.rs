//! Linear layers: y = x · Wᵀ + b with the epilogues of the encoder, and their backward forms.
//!
//! Work is cut into blocks of the output; a block's epilogue runs right behind its product, while it is in the cache.

use rayon::prelude::*;

use super::{
    batch::CpuBatch,
    dropout::fill_factors,
    math::{exp, normal_cdf, simd, tanh},
    matrix::{self, MatMut, MatRef, for_each_block, matmul, pieces},
};
use crate::{
    device::{Dropout, Rows, Write},
    model::{Activation, layout::Linear},
};

/// `dst = x · Wᵀ`, block by block, each block then through `epilogue(first row, first column, block)`.
pub fn product_with(
    dst: &mut [f32],  // [rows, O]
    x: &[f32],        // [rows, I]
    weight: &[f32],   // [O, I]
    rows: usize,
    outputs: usize,
    epilogue: impl Fn(usize, usize, MatMut) + Sync,
) {
    let inputs = weight.len() / outputs;
    let (x, w) = (MatRef::dense(x, rows, inputs), MatRef::dense(weight, outputs, inputs));
    for_each_block(MatMut::dense(dst, rows, outputs), pieces(rows * weight.len()), &|row, col, mut block: MatMut| {
        let (m, n) = (block.rows(), block.cols());
        matmul(&mut block, x.rows_from(row, m), w.rows_from(col, n).t(), 1.0, matrix::Into::Overwrite);
        epilogue(row, col, block);
    });
}

/// y = x · Wᵀ + b.
pub fn linear(y: &mut [f32], x: &[f32], weights: &[f32], rows: usize, layer: Linear) {
    let bias = &weights[layer.bias.range()];
    product_with(y, x, &weights[layer.weight.range()], rows, bias.len(), |_, col, mut block| {
        simd(|| block.for_each_row(|_, row| add(row, &bias[col..])));
    });
}

#[inline(always)]
fn add(row: &mut [f32], other: &[f32]) {
    for (v, &b) in row.iter_mut().zip(other) {
        *v += b;
    }
}

/// u = x · Wᵀ + b, h = GELU(u); without `u` both live in `h`.
pub fn linear_gelu(
    h: &mut [f32],
    u: Option<&mut [f32]>,
    x: &[f32],
    weights: &[f32],
    rows: usize,
    layer: Linear,
    activation: Activation,
) {
    let bias = &weights[layer.bias.range()];
    let outputs = bias.len();
    let weight = &weights[layer.weight.range()];
    let Some(u) = u else {
        return product_with(h, x, weight, rows, outputs, |_, col, mut block| {
            simd(|| {
                block.for_each_row(|_, row| {
                    add(row, &bias[col..]);
                    gelu(row, activation);
                });
            });
        });
    };
    let whole = Shared::new(MatMut::dense(h, rows, outputs));
    product_with(u, x, weight, rows, outputs, |first, col, mut block| {
        let mut h_block = whole.block(first, col, &block);
        simd(|| {
            block.for_each_row(|i, row| {
                add(row, &bias[col..]);
                let h = h_block.row(i);
                h.copy_from_slice(row);
                gelu(h, activation);
            });
        });
    });
}

/// A second output that is written block by block along with the first.
struct Shared<'a>(std::sync::Mutex<MatMut<'a>>);

impl<'a> Shared<'a> {
    fn new(whole: MatMut<'a>) -> Self {
        Self(std::sync::Mutex::new(whole))
    }

    /// The part that lies where `like` lies, `first` rows down and `col` columns in.
    fn block(&self, first: usize, col: usize, like: &MatMut) -> MatMut<'a> {
        let whole = self.0.lock().expect("no thread panics while it holds this lock");
        // SAFETY: `for_each_block` hands out each block of the first output once, so the blocks cut here are disjoint too,
        // and the whole is borrowed for 'a.
        unsafe { whole.alias(first, col, like.rows(), like.cols()) }
    }
}

/// `x = GELU(x)`.
#[inline(always)]
fn gelu(x: &mut [f32], activation: Activation) {
    match activation {
        Activation::GeluErf => {
            for v in x {
                *v *= normal_cdf(*v).0;
            }
        }
        Activation::GeluTanh => {
            for v in x {
                *v *= 0.5 * (1.0 + tanh(tanh_argument(*v)));
            }
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_56;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn tanh_argument(u: f32) -> f32 {
    SQRT_2_OVER_PI * u * (CUBIC * u * u + 1.0)
}

/// `h = GELU(u)`, `d = d · GELU'(u)`.
#[inline(always)]
fn gelu_backward(d: &mut [f32], h: &mut [f32], u: &[f32], activation: Activation) {
    /// 1 / √(2π).
    const DENSITY: f32 = 0.398_942_28;
    match activation {
        Activation::GeluErf => {
            for ((d, h), &u) in d.iter_mut().zip(h).zip(u) {
                let (cdf, gauss) = normal_cdf(u);
                *h = u * cdf;
                *d *= (u * DENSITY).mul_add(gauss, cdf);
            }
        }
        Activation::GeluTanh => {
            for ((d, h), &u) in d.iter_mut().zip(h).zip(u) {
                // tanh z = 1 − 2s and 1 − tanh² z = 4 s (1 − s), with s = 1 / (1 + e^(2z)).
                let s = 1.0 / (1.0 + exp(2.0 * tanh_argument(u)));
                let half = 1.0 - s;
                *h = u * half;
                *d *= half + 2.0 * u * s * half * SQRT_2_OVER_PI * (3.0 * CUBIC * u * u + 1.0);
            }
        }
    }
}

/// r = residual + dropout(x · Wᵀ + b).
pub fn linear_dropout_residual(
    r: &mut [f32],
    x: &[f32],
    residual: &[f32],
    weights: &[f32],
    batch: &CpuBatch,
    rows: Rows,
    layer: Linear,
    dropout: Dropout,
) {
    let bias = &weights[layer.bias.range()];
    let outputs = bias.len();
    product_with(r, x, &weights[layer.weight.range()], batch.rows(rows), outputs, |first, col, mut block| {
        simd(|| {
            block.for_each_row(|i, row| {
                let start = (first + i) * outputs + col;
                let residual = &residual[start..start + row.len()];
                let bias = &bias[col..col + row.len()];
                if dropout.is_active() {
                    let (slot, position) = batch.place(rows, first + i);
                    with_factors(dropout, slot, position * outputs + col, row, |v, j, factor| {
                        *v = (*v + bias[j]).mul_add(factor, residual[j]);
                    });
                } else {
                    for ((v, &b), &s) in row.iter_mut().zip(bias).zip(residual) {
                        *v = (*v + b) + s;
                    }
                }
            });
        });
    });
}

/// Calls `f(element, its index, its dropout factor)` for a row whose first element has number `first` in the mask.
#[inline(always)]
pub fn with_factors(
    dropout: Dropout,
    slot: u32,
    first: usize,
    row: &mut [f32],
    mut f: impl FnMut(&mut f32, usize, f32),
) {
    const TILE: usize = 256;
    let mut factors = [0.0f32; TILE];
    for (tile, chunk) in row.chunks_mut(TILE).enumerate() {
        let start = tile * TILE;
        fill_factors(&mut factors[..chunk.len()], dropout, slot, first + start);
        for (j, (v, &factor)) in chunk.iter_mut().zip(&factors).enumerate() {
            f(v, start + j, factor);
        }
    }
}

/// d_x = d_y · W (+ residual).
pub fn linear_backward_input(
    d_x: &mut [f32],
    d_y: &[f32],
    residual: Option<&[f32]>,
    weights: &[f32],
    rows: usize,
    layer: Linear,
) {
    input_product_with(d_x, d_y, weights, rows, layer, |first, col, inputs, mut block| {
        if let Some(residual) = residual {
            simd(|| {
                block.for_each_row(|i, row| {
                    let start = (first + i) * inputs + col;
                    add(row, &residual[start..start + row.len()]);
                });
            });
        }
    });
}

/// d_u = (d_y · W) ∘ GELU'(u), h = GELU(u).
pub fn linear_backward_input_gelu(
    d_u: &mut [f32],
    h: &mut [f32],
    d_y: &[f32],
    u: &[f32],
    weights: &[f32],
    rows: usize,
    layer: Linear,
    activation: Activation,
) {
    let width = layer.weight.len / layer.bias.len;
    let whole = Shared::new(MatMut::dense(h, rows, width));
    input_product_with(d_u, d_y, weights, rows, layer, |first, col, inputs, mut block| {
        let mut h_block = whole.block(first, col, &block);
        simd(|| {
            block.for_each_row(|i, row| {
                let start = (first + i) * inputs + col;
                gelu_backward(row, h_block.row(i), &u[start..start + row.len()], activation);
            });
        });
    });
}

fn input_product_with(
    dst: &mut [f32], // [rows, I]
    d_y: &[f32],     // [rows, O]
    weights: &[f32],
    rows: usize,
    layer: Linear,
    epilogue: impl Fn(usize, usize, usize, MatMut) + Sync,
) {
    let outputs = layer.bias.len;
    let inputs = layer.weight.len / outputs;
    let d_y = MatRef::dense(d_y, rows, outputs);
    let w = MatRef::dense(&weights[layer.weight.range()], outputs, inputs);
    for_each_block(MatMut::dense(dst, rows, inputs), pieces(rows * layer.weight.len), &|row, col, mut block: MatMut| {
        let (m, n) = (block.rows(), block.cols());
        matmul(&mut block, d_y.rows_from(row, m), w.cols_from(col, n), 1.0, matrix::Into::Overwrite);
        epilogue(row, col, inputs, block);
    });
}

/// d_W (+)= d_yᵀ · x, d_b (+)= column sums of d_y.
pub fn linear_backward_weight(
    gradients: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    rows: usize,
    layer: Linear,
    write: Write,
) {
    let outputs = layer.bias.len;
    let inputs = layer.weight.len / outputs;
    let d = MatRef::dense(d_y, rows, outputs);
    let x = MatRef::dense(x, rows, inputs);
    let into = match write {
        Write::Overwrite => matrix::Into::Overwrite,
        Write::Add => matrix::Into::Add,
    };
    let d_weight = MatMut::dense(&mut gradients[layer.weight.range()], outputs, inputs);
    for_each_block(d_weight, pieces(rows * layer.weight.len), &|row, col, mut block: MatMut| {
        let (m, n) = (block.rows(), block.cols());
        matmul(&mut block, d.cols_from(row, m).t(), x.cols_from(col, n), 1.0, into);
    });
    column_sums(&mut gradients[layer.bias.range()], d_y, write);
}

/// `sums[c] (+)= Σ over rows of m[r, c]`, in partial sums of `ROWS` rows, which keeps float32 rounding small.
pub fn column_sums(sums: &mut [f32], m: &[f32], write: Write) {
    const COLS: usize = 64;
    const ROWS: usize = 32;
    let width = sums.len();
    sums.par_chunks_mut(COLS).enumerate().for_each(|(stripe, sums)| {
        if write == Write::Overwrite {
            sums.fill(0.0);
        }
        simd(|| {
            for rows in m.chunks(ROWS * width) {
                let mut partial = [0.0f32; COLS];
                for row in rows.chunks_exact(width) {
                    add(&mut partial, &row[stripe * COLS..][..sums.len()]);
                }
                add(sums, &partial);
            }
        });
    });
}
