//! LayerNorm over the rows of a matrix (kernels/layer_norm.cu).

use std::marker::PhantomData;

use cudarc::driver::{CudaSlice, PushKernelArg};

use super::{
    CudaDevice, CudaGradients, Setup,
    arguments::{DropoutArgs, RowsArgs},
    element::Element,
    kernels::{Kernel, geometry},
    row_sums::{Destination, RowShape, RowSums},
};
use crate::{
    Result,
    device::{BranchGradient, Matrix, NormOps, Normed, On, RowStats, Sink, layer_norm::check},
    model::layout::Norm,
};

/// Kernels, and the sums that backward passes leave.
pub(crate) struct LayerNorms<E: Element> {
    forward: Kernel,
    backward: Kernel,
    pub shape: RowShape,
    pub row_sums: RowSums,
    element: PhantomData<E>,
}

impl<E: Element> LayerNorms<E> {
    pub(crate) fn new(setup: &Setup, shape: RowShape, sums: CudaSlice<f32>) -> Result<Self> {
        let [forward, backward] = [
            shape.choose(
                ["layer_norm_forward_bf16", "layer_norm_forward_f32"],
                ["layer_norm_forward_wide_bf16", "layer_norm_forward_wide_f32"],
            ),
            shape.choose(
                ["layer_norm_backward_bf16", "layer_norm_backward_f32"],
                ["layer_norm_backward_wide_bf16", "layer_norm_backward_wide_f32"],
            ),
        ]
        .map(|[bf16, f32]| setup.kernels.of::<E>(bf16, f32));
        Ok(Self {
            forward: forward?,
            backward: backward?,
            shape,
            row_sums: RowSums::new(setup, sums, shape)?,
            element: PhantomData,
        })
    }
}

impl<E: Element> NormOps for CudaDevice<E> {
    fn layer_norm(
        &mut self,
        y: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        r: &Matrix<Self>,
        norm: Norm,
        on: On<'_, Self>,
    ) -> Result<()> {
        check(norm, stats, &[("y", y), ("r", r)], on);
        let LayerNorms { forward, shape, .. } = &self.layer_norm;
        let (gamma, beta) = (on.weights.vector(norm.gamma), on.weights.vector(norm.beta));
        let (grid, eps) = ([shape.blocks(on.batch.bucket_rows(on.rows)), 1, 1], self.shape.layer_norm_eps);
        let rows = RowsArgs::new(on.rows, on.batch);
        // SAFETY: checked above: the matrices have a row of `width`, mean and rstd an element for each row of the
        // batch; the views of γ and β have `width`.
        unsafe {
            self.launcher.launch(forward, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut y.elements).arg(&mut stats.mean).arg(&mut stats.rstd).arg(&r.elements);
                args.arg(&gamma).arg(&beta).arg(&rows).arg(&shape.width).arg(&eps);
            })
        }
    }

    fn layer_norm_backward(
        &mut self,
        d_r: &mut Matrix<Self>,
        branch: BranchGradient<'_, Self>,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        kept: Normed<'_, Self>,
        on: On<'_, Self>,
    ) -> Result<()> {
        let (Normed { r, stats, norm }, BranchGradient { d: d_branch, dropout }) = (kept, branch);
        check(norm, stats, &[("d_r", d_r), ("the gradient of the branch", d_branch), ("d_y", d_y), ("r", r)], on);
        let LayerNorms { backward, row_sums, shape, .. } = &mut self.layer_norm;
        let (rows, dropout) = (RowsArgs::new(on.rows, on.batch), DropoutArgs::new(dropout, on.batch));
        let (first, second) = (norm.gamma.start, Some(norm.beta.start));
        let to = Destination { first, second, write: sink.write, count: rows.count_address() };
        let grid = [row_sums.blocks(), 1, 1];
        let mut sums = row_sums.take(&self.launcher, sink.gradients, to)?;
        let (gamma, header) = (on.weights.vector(norm.gamma), on.batch.header());
        // SAFETY: checked above: the matrices have a row of `width`, mean and rstd an element for each row of the
        // batch; the view of γ has `width`, the slot 2 · `width` for each block.
        unsafe {
            self.launcher.launch(backward, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut d_r.elements).arg(&mut d_branch.elements).arg(&mut sums);
                args.arg(&d_y.elements).arg(&r.elements).arg(&stats.mean).arg(&stats.rstd).arg(&gamma);
                args.arg(&header).arg(&rows).arg(&shape.width).arg(&dropout);
            })
        }
    }

    /// Folds what the pass has left in slots.
    fn end_backward(&mut self, gradients: &mut CudaGradients) -> Result<()> {
        self.layer_norm.row_sums.fold(&self.launcher, gradients)
    }
}
