//! Linear layers: y = x · Wᵀ + b with the epilogues of the encoder, and their backward forms.
//!
//! Work is cut into blocks of the output; a block's epilogue runs right behind its product, while it is in the cache.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    batch::CpuBatch,
    dropout::{TILE, fill_factors},
    math::{add, exp, normal_cdf},
    matrix::{self, MatMut, MatRef, for_each_block, matmul, pieces},
};
use crate::{
    device::{Dropout, Rows, Write},
    model::{Activation, layout::Linear},
};

/// `dst = x · Wᵀ`, block by block, each block then through `epilogue(first row, first column, block)`.
pub fn product_with(
    dst: &mut [f32], // [rows, O]
    x: &[f32],       // [rows, I]
    weight: &[f32],  // [O, I]
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
    product_with(y, x, &weights[layer.weight.range()], rows, bias.len(), |_, col, block| {
        add_bias(block, &bias[col..]);
    });
}

#[multiversion(targets = "simd")]
fn add_bias(mut block: MatMut, bias: &[f32]) {
    for i in 0..block.rows() {
        add(block.row(i), bias);
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
        return product_with(h, x, weight, rows, outputs, |_, col, block| {
            bias_gelu_in_place(block, &bias[col..], activation);
        });
    };
    let whole = Shared::new(MatMut::dense(h, rows, outputs));
    product_with(u, x, weight, rows, outputs, |first, col, block| {
        bias_gelu(whole.block(first, col, &block), block, &bias[col..], activation);
    });
}

#[multiversion(targets = "simd")]
fn bias_gelu_in_place(mut block: MatMut, bias: &[f32], activation: Activation) {
    for i in 0..block.rows() {
        let row = block.row(i);
        add(row, bias);
        gelu(row, activation);
    }
}

#[multiversion(targets = "simd")]
fn bias_gelu(mut h: MatMut, mut u: MatMut, bias: &[f32], activation: Activation) {
    for i in 0..u.rows() {
        let (h, u) = (h.row(i), u.row(i));
        add(u, bias);
        h.copy_from_slice(u);
        gelu(h, activation);
    }
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
                *v *= tanh_shares(unsaturated(*v)).0;
            }
        }
    }
}

/// √(2/π).
const SQRT_2_OVER_PI: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBIC: f32 = 0.044_715;

/// ½ (1 + tanh z) and 1 minus it, z = √(2/π) · (u + 0.044715 u³). A product keeps the digits of a small share, on which the slope
/// at a large −u hangs; 1 − rest would not.
#[inline(always)]
fn tanh_shares(u: f32) -> (f32, f32) {
    let e = exp(2.0 * SQRT_2_OVER_PI * u * (CUBIC * u * u + 1.0));
    let rest = 1.0 / (1.0 + e);
    (e * rest, rest)
}

/// Beyond these the share is 1 or 0 to float32, and so is the slope: u³ would soon outgrow what is left of e^(−2z), and then
/// float32.
#[inline(always)]
fn unsaturated(u: f32) -> f32 {
    const LEAST: f32 = -10.5;
    const MOST: f32 = 9.0;
    let u = if u > MOST { MOST } else { u };
    if u < LEAST { LEAST } else { u }
}

/// `d = d · GELU'(u)`, and where it is wanted `h = GELU(u)`.
#[inline(always)]
fn gelu_backward(d: &mut [f32], h: Option<&mut [f32]>, u: &[f32], activation: Activation) {
    match activation {
        Activation::GeluErf => gelu_backward_by(d, h, u, erf_form),
        Activation::GeluTanh => gelu_backward_by(d, h, u, tanh_form),
    }
}

#[inline(always)]
fn gelu_backward_by(d: &mut [f32], h: Option<&mut [f32]>, u: &[f32], form: impl Fn(f32) -> (f32, f32)) {
    match h {
        None => {
            for (d, &u) in d.iter_mut().zip(u) {
                *d *= form(u).1;
            }
        }
        Some(h) => {
            for ((d, h), &u) in d.iter_mut().zip(h).zip(u) {
                let (value, slope) = form(u);
                *h = value;
                *d *= slope;
            }
        }
    }
}

/// GELU(u) by the error function, and its slope.
#[inline(always)]
fn erf_form(u: f32) -> (f32, f32) {
    /// 1 / √(2π).
    const DENSITY: f32 = 0.5 * SQRT_2_OVER_PI;
    let (cdf, gauss) = normal_cdf(u);
    (u * cdf, (u * DENSITY).mul_add(gauss, cdf))
}

/// GELU(u) by the hyperbolic tangent, and its slope.
#[inline(always)]
fn tanh_form(u: f32) -> (f32, f32) {
    let v = unsaturated(u);
    let (share, rest) = tanh_shares(v);
    (u * share, share + 2.0 * v * rest * share * SQRT_2_OVER_PI * (3.0 * CUBIC * v * v + 1.0))
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
    product_with(r, x, &weights[layer.weight.range()], batch.rows(rows), outputs, |first, col, block| {
        let residual = MatRef::dense(residual, batch.rows(rows), outputs).rows_from(first, block.rows());
        let origin = Origin { row: first, col, width: outputs };
        bias_dropout_residual(block, &bias[col..], residual, batch, rows, origin, dropout);
    });
}

/// Where a block lies in its matrix.
#[derive(Clone, Copy)]
struct Origin {
    row: usize,
    col: usize,
    width: usize,
}

#[multiversion(targets = "simd")]
fn bias_dropout_residual(
    mut block: MatMut,
    bias: &[f32],
    residual: MatRef,
    batch: &CpuBatch,
    rows: Rows,
    origin: Origin,
    dropout: Dropout,
) {
    let mut factors = [1.0f32; TILE];
    for i in 0..block.rows() {
        let row = block.row(i);
        let residual = &residual.row(i)[origin.col..];
        let (slot, position) = batch.place(rows, origin.row + i);
        let element = position * origin.width + origin.col;
        for (tile, chunk) in row.chunks_mut(TILE).enumerate() {
            let start = tile * TILE;
            if dropout.is_active() {
                fill_factors(&mut factors[..chunk.len()], dropout, slot, element + start);
            }
            for (((v, &b), &s), &f) in chunk.iter_mut().zip(&bias[start..]).zip(&residual[start..]).zip(&factors) {
                *v = (*v + b).mul_add(f, s);
            }
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
    let inputs = layer.weight.len / layer.bias.len;
    let residual = residual.map(|residual| MatRef::dense(residual, rows, inputs));
    input_product_with(d_x, d_y, weights, rows, layer, |first, col, block| {
        if let Some(residual) = residual {
            add_block(block, residual.rows_from(first, residual.rows() - first), col);
        }
    });
}

/// `block += other[.., col..]`.
#[multiversion(targets = "simd")]
fn add_block(mut block: MatMut, other: MatRef, col: usize) {
    for i in 0..block.rows() {
        add(block.row(i), &other.row(i)[col..]);
    }
}

/// d_u = (d_y · W) ∘ GELU'(u), and where it is wanted h = GELU(u).
pub fn linear_backward_input_gelu(
    d_u: &mut [f32],
    h: Option<&mut [f32]>,
    d_y: &[f32],
    u: &[f32],
    weights: &[f32],
    rows: usize,
    layer: Linear,
    activation: Activation,
) {
    let width = layer.weight.len / layer.bias.len;
    let whole = h.map(|h| Shared::new(MatMut::dense(h, rows, width)));
    let u = MatRef::dense(u, rows, width);
    input_product_with(d_u, d_y, weights, rows, layer, |first, col, block| {
        let h = whole.as_ref().map(|whole| whole.block(first, col, &block));
        block_gelu_backward(block, h, u.rows_from(first, rows - first), col, activation);
    });
}

#[multiversion(targets = "simd")]
fn block_gelu_backward(mut d: MatMut, mut h: Option<MatMut>, u: MatRef, col: usize, activation: Activation) {
    for i in 0..d.rows() {
        gelu_backward(d.row(i), h.as_mut().map(|h| h.row(i)), &u.row(i)[col..], activation);
    }
}

fn input_product_with(
    dst: &mut [f32], // [rows, I]
    d_y: &[f32],     // [rows, O]
    weights: &[f32],
    rows: usize,
    layer: Linear,
    epilogue: impl Fn(usize, usize, MatMut) + Sync,
) {
    let outputs = layer.bias.len;
    let inputs = layer.weight.len / outputs;
    let d_y = MatRef::dense(d_y, rows, outputs);
    let w = MatRef::dense(&weights[layer.weight.range()], outputs, inputs);
    for_each_block(
        MatMut::dense(dst, rows, inputs),
        pieces(rows * layer.weight.len),
        &|row, col, mut block: MatMut| {
            let (m, n) = (block.rows(), block.cols());
            matmul(&mut block, d_y.rows_from(row, m), w.cols_from(col, n), 1.0, matrix::Into::Overwrite);
            epilogue(row, col, block);
        },
    );
}

/// d_W (+)= d_yᵀ · x, d_b (+)= column sums of d_y.
pub fn linear_backward_weight(gradients: &mut [f32], d_y: &[f32], x: &[f32], rows: usize, layer: Linear, write: Write) {
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
        add_stripe::<ROWS, COLS>(sums, m, width, stripe * COLS);
    });
}

#[multiversion(targets = "simd")]
fn add_stripe<const ROWS: usize, const COLS: usize>(sums: &mut [f32], m: &[f32], width: usize, col: usize) {
    for rows in m.chunks(ROWS * width) {
        let mut partial = [0.0f32; COLS];
        for row in rows.chunks_exact(width) {
            add(&mut partial, &row[col..][..sums.len()]);
        }
        add(sums, &partial);
    }
}
