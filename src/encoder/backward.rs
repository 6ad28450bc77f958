//! The backward pass: from the gradient of the logits to the gradient of every parameter, layer by layer from the top.

use super::{
    Pass, Recompute, Workspace,
    workspace::{FirstRows, GradientBuffers, LayerBuffers},
};
use crate::{
    Result,
    device::{
        Attended, AttendedFirst, Device, Direction, Matrix, Normed, Pooled, Rows, Scope, Sink,
        Site::{AttentionOutput, Output, Probabilities},
        query_and_key_value,
    },
};

const KEPT: &str = "a workspace that is kept for the backward pass has these";

impl<D: Device> Pass<'_, D> {
    /// After a forward pass with the same masks: reads `workspace.gradients.d_logits`. The gradients of dense
    /// parameters are written as `sink` says; those of the embeddings are added, so
    /// [`begin_step`](crate::device::EmbeddingOps::begin_step) comes first in a step.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has failed.
    pub fn backward(&mut self, workspace: &mut Workspace<D>, sink: &mut Sink<'_, D>) -> Result<()> {
        self.device.enter(Scope::Head(Direction::Backward));
        let last = self.encoder.layers() - 1;
        self.head_backward(workspace, sink, last)?;
        for l in (0..=last).rev() {
            self.device.enter(Scope::Layer(l, Direction::Backward));
            // The shared buffers still hold the layer that the forward pass ran last.
            if self.encoder.recompute == Recompute::Layer && l + 1 < last {
                self.forward_layer(workspace, l)?;
                self.device.enter(Scope::Layer(l, Direction::Backward));
            }
            let set = workspace.set(l, last);
            let Workspace { x, layers, h, gradients, .. } = &mut *workspace;
            let flow = gradients.as_mut().expect(KEPT);
            self.layer_backward(l, flow, sink, (&x[l], &layers[set]), h.as_mut())?;
        }
        self.device.enter(Scope::Embeddings(Direction::Backward));
        let Workspace { embedded, gradients, .. } = workspace;
        self.embed_backward(sink.gradients, &gradients.as_ref().expect(KEPT).d_out, embedded)?;
        self.device.end_backward(sink.gradients)
    }

    /// Leaves the gradient of the last layer's output in `flow.d_out`.
    fn head_backward(&mut self, workspace: &mut Workspace<D>, sink: &mut Sink<'_, D>, last: usize) -> Result<()> {
        let Workspace { x, all_rows, pooled, dropped, gradients, .. } = workspace;
        let GradientBuffers { d_out, d_y, d_logits, .. } = gradients.as_mut().expect(KEPT);
        let d_y = d_y.reshaped(self.encoder.shape.hidden);
        let kept = |first| Pooled { first, pooled, dropped };
        match all_rows {
            None => self.classify_backward(d_out, sink, d_logits, kept(&x[last + 1])),
            Some(all_rows) => {
                self.classify_backward(d_y, sink, d_logits, kept(&all_rows.first))?;
                all_rows.scatter(self, d_out, d_y)
            }
        }
    }

    /// `flow.d_out`: the gradient of the layer's output on entry, of its input on return.
    fn layer_backward(
        &mut self,
        l: usize,
        flow: &mut GradientBuffers<D>,
        sink: &mut Sink<'_, D>,
        (x, kept): (&Matrix<D>, &LayerBuffers<D>),
        shared_h: Option<&mut Matrix<D>>,
    ) -> Result<()> {
        let (layer, rows, shape) = (&self.encoder.layout.layers[l], self.encoder.rows(l), self.encoder.shape);
        let (c, a) = (shape.hidden, shape.attention);
        let GradientBuffers { d_out, d_r, d_branch, d_y, d_u, d_qkv, .. } = flow;
        let (d_branch, d_y) = (d_branch.reshaped(c), d_y.reshaped(c));
        let u = kept.u.as_ref().expect(KEPT);

        let normed = Normed { r: &kept.r2, stats: &kept.stats2, norm: layer.output_norm };
        self.layer_norm_backward(d_r, (d_branch, Output(l)), sink, d_out, normed, rows)?;
        let h = match (&kept.h, shared_h) {
            (None, Some(recomputed)) => {
                self.linear_backward_input_gelu(d_u, Some(recomputed), d_branch, u, layer.output, rows)?;
                &*recomputed
            }
            (kept, _) => {
                self.linear_backward_input_gelu(d_u, None, d_branch, u, layer.output, rows)?;
                kept.as_ref().expect(KEPT)
            }
        };
        self.linear_backward_weight(sink, d_branch, h, layer.output, rows)?;
        self.linear_backward_input(d_y, d_u, Some(d_r), layer.intermediate, rows)?;
        self.linear_backward_weight(sink, d_u, &kept.y, layer.intermediate, rows)?;

        let normed = Normed { r: &kept.r1, stats: &kept.stats1, norm: layer.attention_norm };
        self.layer_norm_backward(d_r, (d_branch, AttentionOutput(l)), sink, d_y, normed, rows)?;
        let d_ctx = d_y.reshaped(a);
        self.linear_backward_input(d_ctx, d_branch, None, layer.attention_output, rows)?;
        self.linear_backward_weight(sink, d_branch, &kept.ctx, layer.attention_output, rows)?;

        let LayerBuffers { qkv, ctx, lse, .. } = kept;
        match &kept.first {
            None => {
                let d_qkv = d_qkv.reshaped(3 * a);
                self.attention_backward(d_qkv, d_ctx, Attended { qkv, ctx, lse }, Probabilities(l))?;
                self.linear_backward_input(d_out, d_qkv, Some(d_r), layer.qkv, rows)?;
                self.linear_backward_weight(sink, d_qkv, x, layer.qkv, rows)
            }
            Some(FirstRows { q, x: first }) => {
                let (d_q, d_kv) = (d_branch.reshaped(a), d_qkv.reshaped(2 * a));
                let (query, key_value) = query_and_key_value(layer.qkv);
                let attended = AttendedFirst { q, kv: qkv, ctx, lse };
                self.attention_first_backward(d_q, d_kv, d_ctx, attended, Probabilities(l))?;
                self.project_first_backward_input(d_out, d_kv, d_q, d_r, layer.qkv)?;
                self.linear_backward_weight(sink, d_kv, x, key_value, Rows::Tokens)?;
                self.linear_backward_weight(sink, d_q, first, query, rows)
            }
        }
    }
}
