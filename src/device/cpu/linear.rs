//! Linear layers: y = x · Wᵀ + b with the epilogues of the encoder, and their backward forms.
//!
//! Work is cut into blocks of the output; a block's epilogue runs right after its product, while it is in the cache.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    CpuDevice,
    batch::CpuBatch,
    dropout::{TILE, fill_factors},
    gelu::{gelu, gelu_backward},
    math::add,
    product::{self, MatMut, MatRef, for_each_block, matmul, pieces},
};
use crate::{
    Result,
    device::{
        Dropout, LinearOps, Matrix, On, Rows, Sink, Write,
        linear::{check, check_first, inputs, outputs, query_and_key_value},
    },
    model::{Activation, layout::Linear},
};

impl LinearOps for CpuDevice {
    fn linear(&mut self, y: &mut Matrix<Self>, x: &Matrix<Self>, layer: Linear, on: On<'_, Self>) -> Result<()> {
        check("linear", layer, on, &[("x", Some(x))], &[("y", Some(y))]);
        let rows = on.count();
        linear(y.top_mut(rows), x.top(rows), on.weights, rows, layer);
        Ok(())
    }

    fn linear_gelu(
        &mut self,
        h: &mut Matrix<Self>,
        u: Option<&mut Matrix<Self>>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("linear with GELU", layer, on, &[("x", Some(x))], &[("h", Some(h)), ("u", u.as_deref())]);
        let (rows, outputs, activation) = (on.count(), outputs(layer), self.shape.activation);
        let (weight, bias) = (&on.weights[layer.weight.range()], &on.weights[layer.bias.range()]);
        let (h, x) = (h.top_mut(rows), x.top(rows));
        let Some(u) = u else {
            product_with(h, x, weight, rows, outputs, |_, col, block| {
                bias_gelu_in_place(block, &bias[col..], activation);
            });
            return Ok(());
        };
        let whole = Shared::new(MatMut::dense(h, rows, outputs));
        product_with(u.top_mut(rows), x, weight, rows, outputs, |first, col, block| {
            bias_gelu(whole.block(first, col, &block), block, &bias[col..], activation);
        });
        Ok(())
    }

    fn linear_dropout_residual(
        &mut self,
        r: &mut Matrix<Self>,
        x: &Matrix<Self>,
        residual: &Matrix<Self>,
        layer: Linear,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_outputs = [("r", Some(&*r)), ("the residual", Some(residual))];
        check("linear with residual", layer, on, &[("x", Some(x))], &of_outputs);
        let (rows, outputs) = (on.count(), outputs(layer));
        let (weight, bias) = (&on.weights[layer.weight.range()], &on.weights[layer.bias.range()]);
        let residual = MatRef::dense(residual.top(rows), rows, outputs);
        let drop = Drop { batch: on.batch, rows: on.rows, width: outputs, dropout };
        product_with(r.top_mut(rows), x.top(rows), weight, rows, outputs, |first, col, block| {
            let residual = residual.rows_from(first, block.rows());
            bias_dropout_residual(block, &bias[col..], residual, drop, first, col);
        });
        Ok(())
    }

    fn linear_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_y: &Matrix<Self>,
        residual: Option<&Matrix<Self>>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_inputs = [("d_x", Some(&*d_x)), ("the residual", residual)];
        check("linear backward, input", layer, on, &of_inputs, &[("d_y", Some(d_y))]);
        let rows = on.count();
        let residual = residual.map(|residual| residual.top(rows));
        linear_backward_input(d_x.top_mut(rows), d_y.top(rows), residual, on.weights, rows, layer);
        Ok(())
    }

    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Matrix<Self>,
        h: Option<&mut Matrix<Self>>,
        d_y: &Matrix<Self>,
        u: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_inputs = [("d_u", Some(&*d_u)), ("h", h.as_deref()), ("u", Some(u))];
        check("linear backward, input with GELU", layer, on, &of_inputs, &[("d_y", Some(d_y))]);
        let (rows, width, activation) = (on.count(), inputs(layer), self.shape.activation);
        let whole = h.map(|h| Shared::new(MatMut::dense(h.top_mut(rows), rows, width)));
        let u = MatRef::dense(u.top(rows), rows, width);
        input_product_with(d_u.top_mut(rows), d_y.top(rows), on.weights, rows, layer, |first, col, block| {
            let h = whole.as_ref().map(|whole| whole.block(first, col, &block));
            block_gelu_backward(block, h, u.rows_from(first, rows - first), col, activation);
        });
        Ok(())
    }

    fn linear_backward_weight(
        &mut self,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("linear backward, weight", layer, on, &[("x", Some(x))], &[("d_y", Some(d_y))]);
        let rows = on.count();
        linear_backward_weight(&mut sink.gradients.arena, d_y.top(rows), x.top(rows), rows, layer, sink.write);
        Ok(())
    }

    fn project_first(
        &mut self,
        kv: &mut Matrix<Self>,
        q: &mut Matrix<Self>,
        first: &mut Matrix<Self>,
        x: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check_first("project first tokens", qkv, on, [x, kv, q], ("the first rows", first));
        let ((query, key_value), c) = (query_and_key_value(qkv), inputs(qkv));
        let (tokens, sequences) = (on.batch.tokens(), on.batch.sequences());
        for (b, row) in first.top_mut(sequences).chunks_exact_mut(c).enumerate() {
            row.copy_from_slice(&x.elements[on.batch.sequence(b).start * c..][..c]);
        }
        linear(q.top_mut(sequences), first.top(sequences), on.weights, sequences, query);
        linear(kv.top_mut(tokens), x.top(tokens), on.weights, tokens, key_value);
        Ok(())
    }

    fn project_first_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_kv: &Matrix<Self>,
        d_q: &Matrix<Self>,
        residual: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check_first("project first tokens backward", qkv, on, [d_x, d_kv, d_q], ("the residual", residual));
        let ((query, key_value), c) = (query_and_key_value(qkv), inputs(qkv));
        let (tokens, sequences) = (on.batch.tokens(), on.batch.sequences());
        let d_x = d_x.top_mut(tokens);
        linear_backward_input(d_x, d_kv.top(tokens), None, on.weights, tokens, key_value);
        let d_first = &mut self.scratch.d_first[..sequences * c];
        let residual = Some(residual.top(sequences));
        linear_backward_input(d_first, d_q.top(sequences), residual, on.weights, sequences, query);
        for (b, row) in d_first.chunks_exact(c).enumerate() {
            for (d, &v) in d_x[on.batch.sequence(b).start * c..][..c].iter_mut().zip(row) {
                *d += v;
            }
        }
        Ok(())
    }
}

/// `dst = x · Wᵀ`, block by block, each block then through `epilogue(first row, first column, block)`.
fn product_with(
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
        matmul(&mut block, x.rows_from(row, m), w.rows_from(col, n).t(), 1.0, product::Into::Overwrite);
        epilogue(row, col, block);
    });
}

/// y = x · Wᵀ + b.
pub(crate) fn linear(y: &mut [f32], x: &[f32], weights: &[f32], rows: usize, layer: Linear) {
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
        // SAFETY: `for_each_block` hands out each block of the first output once, so the blocks cut here are disjoint
        // too, and the whole is borrowed for 'a.
        unsafe { whole.alias(first, col, like.rows(), like.cols()) }
    }
}

/// The masks of a matrix whose rows have `width` elements.
#[derive(Clone, Copy)]
struct Drop<'a> {
    batch: &'a CpuBatch,
    rows: Rows,
    width: usize,
    dropout: Dropout,
}

/// The block lies `first` rows down and `col` columns in; `residual` begins with its rows.
#[multiversion(targets = "simd")]
fn bias_dropout_residual(mut block: MatMut, bias: &[f32], residual: MatRef, drop: Drop, first: usize, col: usize) {
    let mut factors = [1.0f32; TILE];
    for i in 0..block.rows() {
        let row = block.row(i);
        let residual = &residual.row(i)[col..];
        let (slot, position) = drop.batch.place(drop.rows, first + i);
        let element = position * drop.width + col;
        for (tile, chunk) in row.chunks_mut(TILE).enumerate() {
            let start = tile * TILE;
            if drop.dropout.is_active() {
                fill_factors(&mut factors[..chunk.len()], drop.dropout, slot, element + start);
            }
            for (((v, &b), &s), &f) in chunk.iter_mut().zip(&bias[start..]).zip(&residual[start..]).zip(&factors) {
                *v = (*v + b).mul_add(f, s);
            }
        }
    }
}

/// d_x = d_y · W (+ residual).
pub(crate) fn linear_backward_input(
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
            matmul(&mut block, d_y.rows_from(row, m), w.cols_from(col, n), 1.0, product::Into::Overwrite);
            epilogue(row, col, block);
        },
    );
}

/// d_W (+)= d_yᵀ · x, d_b (+)= column sums of d_y.
pub(crate) fn linear_backward_weight(
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
        Write::Overwrite => product::Into::Overwrite,
        Write::Add => product::Into::Add,
    };
    let d_weight = MatMut::dense(&mut gradients[layer.weight.range()], outputs, inputs);
    for_each_block(d_weight, pieces(rows * layer.weight.len), &|row, col, mut block: MatMut| {
        let (m, n) = (block.rows(), block.cols());
        matmul(&mut block, d.cols_from(row, m).t(), x.cols_from(col, n), 1.0, into);
    });
    column_sums(&mut gradients[layer.bias.range()], d_y, write);
}

/// `sums[c] (+)= Σ over rows of m[r, c]`, in partial sums of `ROWS` rows, which keeps float32 rounding small.
fn column_sums(sums: &mut [f32], m: &[f32], write: Write) {
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
