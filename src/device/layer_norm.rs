//! LayerNorm over the rows of a matrix.

use super::{Buffers, Dropout, Matrix, On, RowStats, Sink, check::Check};
use crate::{Result, model::layout::Norm};

/// What LayerNorm read and what it kept, as its backward pass takes it.
pub struct Normed<'a, D: Buffers> {
    /// What was normalized.
    pub r: &'a Matrix<D>, // [rows, C]
    /// Mean and 1/σ of its rows.
    pub stats: &'a RowStats<D>,
    /// Scale and shift.
    pub norm: Norm,
}

/// The gradient of what was added to the residual: that of the sum, through the dropout of its branch.
pub struct BranchGradient<'a, D: Buffers> {
    /// Receives the gradient.
    pub d: &'a mut Matrix<D>, // [rows, C]
    /// That of the branch.
    pub dropout: Dropout,
}

/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a buffer is too small for the batch.
pub trait NormOps: Buffers {
    /// y = γ · (r − mean) / σ + β, row by row; keeps mean and 1/σ.
    fn layer_norm(
        &mut self,
        y: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        r: &Matrix<Self>,
        norm: Norm,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// Overwrites d_r, the gradient of r, and `branch`, which is d_r through its dropout.
    fn layer_norm_backward(
        &mut self,
        d_r: &mut Matrix<Self>,
        branch: BranchGradient<'_, Self>,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        kept: Normed<'_, Self>,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// After the last backward operation of a batch: folds what they left in pieces.
    fn end_backward(&mut self, gradients: &mut Self::Gradients) -> Result<()>;
}

pub(super) fn check<D: Buffers>(norm: Norm, stats: &RowStats<D>, matrices: &[(&str, &Matrix<D>)], on: On<'_, D>) {
    let (rows, check) = (on.count(), Check("layer norm"));
    check.stats("the rows", stats, rows);
    for (name, matrix) in matrices {
        check.matrix(name, matrix, rows, norm.gamma.len);
    }
}
