//! The forward pass, layer by layer, in the order of DESIGN's table: embed; qkv, attention, output, norm; feed-forward, norm; head.

use super::{Encoder, Workspace, workspace::LayerBuffers};
use crate::{
    Result,
    device::{Device, Direction, Mask, Rows, Scope, Site},
};

impl Encoder {
    /// Leaves the logits [B, N] in `workspace.logits`, and whatever the workspace keeps.
    pub fn forward<D: Device>(
        &self,
        device: &mut D,
        workspace: &mut Workspace<D>,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
    ) -> Result<()> {
        let last = self.layers() - 1;
        device.enter(Scope::Embeddings(Direction::Forward));
        let embeddings = self.dropout(mask, Site::Embeddings);
        let (mean, rstd) = (&mut workspace.embed_mean, &mut workspace.embed_rstd);
        device.embed(&mut workspace.x[0], mean, rstd, weights, batch, &self.layout.embeddings, embeddings)?;
        for l in 0..=last {
            self.forward_layer(device, workspace, l, weights, batch, mask)?;
        }
        device.enter(Scope::Head(Direction::Forward));
        let output = workspace.input(last + 1);
        let first = match self.rows(last) {
            Rows::Sequences => &workspace.x[output],
            Rows::Tokens => {
                device.gather_first(&mut workspace.first, &workspace.x[output], batch)?;
                &workspace.first
            }
        };
        device.classify(
            &mut workspace.pooled,
            &mut workspace.dropped,
            &mut workspace.logits,
            first,
            weights,
            batch,
            self.layout.pooler,
            self.layout.classifier,
            self.dropout(mask, Site::Classifier),
        )
    }

    /// Layer `l`, from its input in the workspace to its output there.
    pub(super) fn forward_layer<D: Device>(
        &self,
        device: &mut D,
        workspace: &mut Workspace<D>,
        l: usize,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
    ) -> Result<()> {
        device.enter(Scope::Layer(l, Direction::Forward));
        let (input, output, set) = (workspace.input(l), workspace.input(l + 1), workspace.set(l, self.layers() - 1));
        let [x, x_next] =
            workspace.x.get_disjoint_mut([input, output]).expect("input and output of a layer are two buffers");
        let (kept, h) = (&mut workspace.layers[set], workspace.h.as_mut());
        self.layer_forward(device, l, x, x_next, kept, h, weights, batch, mask)
    }

    fn layer_forward<D: Device>(
        &self,
        device: &mut D,
        l: usize,
        x: &D::Matrix,
        x_next: &mut D::Matrix,
        kept: &mut LayerBuffers<D>,
        shared_h: Option<&mut D::Matrix>,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
    ) -> Result<()> {
        let layer = &self.layout.layers[l];
        let rows = self.rows(l);
        let probabilities = self.dropout(mask, Site::AttentionProbabilities { layer: l });
        let residual = match (rows, &mut kept.first, &mut kept.q) {
            (Rows::Sequences, Some(first), Some(q)) => {
                device.project_first(&mut kept.qkv, q, first, x, weights, batch, layer.qkv)?;
                device.attention_first(&mut kept.ctx, &mut kept.lse, q, &kept.qkv, batch, probabilities)?;
                &*first
            }
            _ => {
                device.linear(&mut kept.qkv, x, weights, batch, Rows::Tokens, layer.qkv)?;
                device.attention(&mut kept.ctx, &mut kept.lse, &kept.qkv, batch, probabilities)?;
                x
            }
        };
        let attention_output = self.dropout(mask, Site::AttentionOutput { layer: l });
        let output = self.dropout(mask, Site::Output { layer: l });
        let out = layer.attention_output;
        device.linear_dropout_residual(
            &mut kept.r1,
            &kept.ctx,
            residual,
            weights,
            batch,
            rows,
            out,
            attention_output,
        )?;
        let (mean, rstd) = (&mut kept.mean1, &mut kept.rstd1);
        device.layer_norm(&mut kept.y, mean, rstd, &kept.r1, weights, batch, rows, layer.attention_norm)?;
        let h = kept.h.as_mut().or(shared_h).expect("a layer has its own output of GELU, or the workspace has one");
        device.linear_gelu(h, kept.u.as_mut(), &kept.y, weights, batch, rows, layer.intermediate)?;
        device.linear_dropout_residual(&mut kept.r2, h, &kept.y, weights, batch, rows, layer.output, output)?;
        let (mean, rstd) = (&mut kept.mean2, &mut kept.rstd2);
        device.layer_norm(x_next, mean, rstd, &kept.r2, weights, batch, rows, layer.output_norm)
    }
}
