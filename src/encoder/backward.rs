//! The backward pass: from the gradient of the logits to the gradient of every parameter, layer by layer from the top.

use super::{Encoder, Recompute, Workspace, workspace::GradientBuffers, workspace::LayerBuffers};
use crate::{
    Result,
    device::{Device, Direction, Mask, Rows, Scope, Site, Write, outputs_of},
};

const KEPT: &str = "a workspace that is kept for the backward pass has these";

impl Encoder {
    /// Reads `workspace.gradients.d_logits`; `mask` is that of the forward pass. The gradients of dense parameters are written
    /// as `write` says; those of the embeddings are added, so [`Device::begin_step`] comes first in a step.
    pub fn backward<D: Device>(
        &self,
        device: &mut D,
        workspace: &mut Workspace<D>,
        gradients: &mut D::Gradients,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
        write: Write,
    ) -> Result<()> {
        device.enter(Scope::Head(Direction::Backward));
        let last = self.layers() - 1;
        let flow = workspace.gradients.as_mut().expect(KEPT);
        let first_rows = self.rows(last) == Rows::Sequences;
        let first = if first_rows { &workspace.x[last + 1] } else { &workspace.first };
        let d_first = if first_rows { &mut flow.d_out } else { &mut flow.d_y };
        device.classify_backward(
            d_first,
            gradients,
            &flow.d_logits,
            first,
            &workspace.pooled,
            &workspace.dropped,
            weights,
            batch,
            self.layout.pooler,
            self.layout.classifier,
            self.dropout(mask, Site::Classifier),
            write,
        )?;
        if !first_rows {
            device.scatter_first(&mut flow.d_out, &flow.d_y, batch)?;
        }
        for l in (0..=last).rev() {
            device.enter(Scope::Layer(l, Direction::Backward));
            // The shared buffers still hold the layer that the forward pass ran last.
            if self.recompute == Recompute::Layer && l + 1 < last {
                self.forward_layer(device, workspace, l, weights, batch, mask)?;
                device.enter(Scope::Layer(l, Direction::Backward));
            }
            let set = workspace.set(l, last);
            let flow = workspace.gradients.as_mut().expect(KEPT);
            let (x, kept) = (&workspace.x[l], &workspace.layers[set]);
            self.layer_backward(
                device,
                l,
                x,
                kept,
                flow,
                workspace.h.as_mut(),
                gradients,
                weights,
                batch,
                mask,
                write,
            )?;
        }
        device.enter(Scope::Embeddings(Direction::Backward));
        device.embed_backward(
            gradients,
            &workspace.gradients.as_ref().expect(KEPT).d_out,
            &workspace.embed_mean,
            &workspace.embed_rstd,
            weights,
            batch,
            &self.layout.embeddings,
            self.dropout(mask, Site::Embeddings),
        )?;
        device.end_backward(gradients, batch)
    }

    /// `flow.d_out`: the gradient of the layer's output on entry, of its input on return.
    fn layer_backward<D: Device>(
        &self,
        device: &mut D,
        l: usize,
        x: &D::Matrix,
        kept: &LayerBuffers<D>,
        flow: &mut GradientBuffers<D>,
        shared_h: Option<&mut D::Matrix>,
        gradients: &mut D::Gradients,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
        write: Write,
    ) -> Result<()> {
        let layer = &self.layout.layers[l];
        let rows = self.rows(l);
        let GradientBuffers { d_out, d_r, d_branch, d_y, d_u, d_qkv, .. } = flow;
        let u = kept.u.as_ref().expect("a workspace that is kept for the backward pass has it");

        let output = self.dropout(mask, Site::Output { layer: l });
        let (mean, rstd) = (&kept.mean2, &kept.rstd2);
        let norm = layer.output_norm;
        device.layer_norm_backward(
            d_r, d_branch, gradients, d_out, &kept.r2, mean, rstd, weights, batch, rows, norm, output, write,
        )?;
        let h = match (&kept.h, shared_h) {
            (None, Some(again)) => {
                device.linear_backward_input_gelu(d_u, Some(again), d_branch, u, weights, batch, rows, layer.output)?;
                &*again
            }
            (kept, _) => {
                device.linear_backward_input_gelu(d_u, None, d_branch, u, weights, batch, rows, layer.output)?;
                kept.as_ref().expect(KEPT)
            }
        };
        device.linear_backward_weight(gradients, d_branch, h, batch, rows, layer.output, write)?;
        device.linear_backward_input(d_y, d_u, Some(d_r), weights, batch, rows, layer.intermediate)?;
        device.linear_backward_weight(gradients, d_u, &kept.y, batch, rows, layer.intermediate, write)?;

        let attention_output = self.dropout(mask, Site::AttentionOutput { layer: l });
        let (mean, rstd) = (&kept.mean1, &kept.rstd1);
        let norm = layer.attention_norm;
        device.layer_norm_backward(
            d_r,
            d_branch,
            gradients,
            d_y,
            &kept.r1,
            mean,
            rstd,
            weights,
            batch,
            rows,
            norm,
            attention_output,
            write,
        )?;
        let d_ctx = d_y;
        device.linear_backward_input(d_ctx, d_branch, None, weights, batch, rows, layer.attention_output)?;
        device.linear_backward_weight(gradients, d_branch, &kept.ctx, batch, rows, layer.attention_output, write)?;

        let probabilities = self.dropout(mask, Site::AttentionProbabilities { layer: l });
        let c = self.shape.hidden;
        let (qkv, ctx, lse) = (&kept.qkv, &kept.ctx, &kept.lse);
        if let (Rows::Sequences, Some(first), Some(q)) = (rows, &kept.first, &kept.q) {
            let (d_q, d_kv) = (d_branch, d_qkv);
            let (query, key_value) = (outputs_of(layer.qkv, c, 0, c), outputs_of(layer.qkv, c, c, 2 * c));
            device.attention_first_backward(d_q, d_kv, d_ctx, q, qkv, ctx, lse, batch, probabilities)?;
            let d_first = d_ctx;
            device.project_first_backward_input(d_out, d_first, d_kv, d_q, d_r, weights, batch, layer.qkv)?;
            device.linear_backward_weight(gradients, d_kv, x, batch, Rows::Tokens, key_value, write)?;
            device.linear_backward_weight(gradients, d_q, first, batch, Rows::Sequences, query, write)
        } else {
            device.attention_backward(d_qkv, d_ctx, qkv, ctx, lse, batch, probabilities)?;
            device.linear_backward_input(d_out, d_qkv, Some(d_r), weights, batch, Rows::Tokens, layer.qkv)?;
            device.linear_backward_weight(gradients, d_qkv, x, batch, Rows::Tokens, layer.qkv, write)
        }
    }
}
