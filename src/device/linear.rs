//! Linear layers: y = x · Wᵀ + b with what follows in the encoder, and their backward forms.

use super::{Buffers, Dropout, Matrix, On, Rows, Sink, batch_index::rows, check::Check};
use crate::{Result, model::layout::Linear};

/// I and O are the inputs and outputs of a layer, whose weight is \[O, I\]; rows are those of [`On::rows`].
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a matrix is too small for the batch, or has other columns than the layer.
pub trait LinearOps: Buffers {
    /// y = x · Wᵀ + b, x \[rows, I\], y \[rows, O\].
    fn linear(&mut self, y: &mut Matrix<Self>, x: &Matrix<Self>, layer: Linear, on: On<'_, Self>) -> Result<()>;

    /// u = x · Wᵀ + b, h = GELU(u), both \[rows, F\]; u is kept only where a backward pass will want it.
    fn linear_gelu(
        &mut self,
        h: &mut Matrix<Self>,
        u: Option<&mut Matrix<Self>>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// r = residual + dropout(x · Wᵀ + b), \[rows, C\].
    fn linear_dropout_residual(
        &mut self,
        r: &mut Matrix<Self>,
        x: &Matrix<Self>,
        residual: &Matrix<Self>,
        layer: Linear,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// d_x = d_y · W, or residual + d_y · W. Overwrites d_x \[rows, I\].
    fn linear_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_y: &Matrix<Self>,
        residual: Option<&Matrix<Self>>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// d_u = (d_y · W) ∘ GELU'(u), and where it is wanted h = GELU(u), recomputed in the same pass. Overwrites both
    /// \[rows, F\].
    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Matrix<Self>,
        h: Option<&mut Matrix<Self>>,
        d_y: &Matrix<Self>,
        u: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// d_W = d_yᵀ · x, d_b = column sums of d_y.
    fn linear_backward_weight(
        &mut self,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// The projections of the last layer: kv = x · \[Wk; Wv\]ᵀ + b \[T, 2A\], first \[B, C\] = the first row of each
    /// sequence of x, q = first · Wqᵀ + b \[B, A\].
    fn project_first(
        &mut self,
        kv: &mut Matrix<Self>,
        q: &mut Matrix<Self>,
        first: &mut Matrix<Self>,
        x: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// d_x = d_kv · \[Wk; Wv\], and in the first row of each sequence + d_q · Wq + residual \[B, C\]. Overwrites d_x
    /// \[T, C\].
    fn project_first_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_kv: &Matrix<Self>,
        d_q: &Matrix<Self>,
        residual: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()>;
}

/// Inputs of a layer.
pub(super) fn inputs(layer: Linear) -> usize {
    layer.weight.len / layer.bias.len
}

/// Outputs of a layer.
pub(super) fn outputs(layer: Linear) -> usize {
    layer.bias.len
}

/// A part of a linear layer's outputs: rows `from..from + outputs` of its weight and bias.
fn part_of_outputs(layer: Linear, inputs: usize, from: usize, outputs: usize) -> Linear {
    Linear { weight: layer.weight.part(from * inputs, outputs * inputs), bias: layer.bias.part(from, outputs) }
}

/// The rows of the query's projection, and those of the key's and the value's.
pub fn query_and_key_value(qkv: Linear) -> (Linear, Linear) {
    let (c, a) = (inputs(qkv), outputs(qkv) / 3);
    (part_of_outputs(qkv, c, 0, a), part_of_outputs(qkv, c, a, 2 * a))
}

/// `x` has the inputs of a layer in the rows of `on`, `y` and `others` the outputs.
pub(super) fn check<D: Buffers>(
    operation: &'static str,
    layer: Linear,
    on: On<'_, D>,
    of_inputs: &[(&str, Option<&Matrix<D>>)],
    of_outputs: &[(&str, Option<&Matrix<D>>)],
) {
    let rows = on.count();
    for (matrices, cols) in [(of_inputs, inputs(layer)), (of_outputs, outputs(layer))] {
        for &(name, matrix) in matrices {
            Check(operation).any(name, matrix, rows, cols);
        }
    }
}

/// Of first tokens: x [T, C], kv [T, 2A], q [B, A], and another [B, C].
pub(super) fn check_first<D: Buffers>(
    operation: &'static str,
    qkv: Linear,
    on: On<'_, D>,
    [x, kv, q]: [&Matrix<D>; 3],
    (name, other): (&str, &Matrix<D>),
) {
    let (tokens, sequences) = (rows::<D>(on.batch, Rows::Tokens), rows::<D>(on.batch, Rows::Sequences));
    let (c, a) = (inputs(qkv), outputs(qkv) / 3);
    Check(operation).matrix("x", x, tokens, c).matrix("kv", kv, tokens, 2 * a);
    Check(operation).matrix("q", q, sequences, a).matrix(name, other, sequences, c);
}
