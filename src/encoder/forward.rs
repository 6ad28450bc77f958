//! The forward pass: embed; in each layer qkv, attention, output, norm, then feed-forward, norm; at the end the head.
//!
//! | a line of [`Pass::layer`] | in → out | kept for the backward pass |
//! |---|---|---|
//! | linear | x \[T, C\] → qkv \[T, 3A\] | x, qkv |
//! | attention | qkv → ctx \[T, A\], log-sum-exp \[H, T\] | ctx, log-sum-exp |
//! | linear, dropout, + x | ctx → r1 \[T, C\] | |
//! | layer norm | r1 → y \[T, C\] | r1, its rows' mean and 1/σ |
//! | linear, GELU | y → u, h \[T, F\] | y, u (h, or it is recomputed from u) |
//! | linear, dropout, + y | h → r2 \[T, C\] | |
//! | layer norm | r2 → x of the next layer | r2, its rows' mean and 1/σ |
//!
//! In the last layer everything after the keys and values has one row per sequence.

use super::{
    Pass, Workspace,
    workspace::{FirstRows, LayerBuffers},
};
use crate::{
    Result,
    device::{
        Device, Direction, Matrix, Rows, Scope,
        Site::{AttentionOutput, Output, Probabilities},
    },
};

impl<D: Device> Pass<'_, D> {
    /// Leaves the logits [B, N] in `workspace.logits`, and whatever the workspace keeps.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has failed.
    pub fn forward(&mut self, workspace: &mut Workspace<D>) -> Result<()> {
        let last = self.encoder.layers() - 1;
        self.device.enter(Scope::Embeddings(Direction::Forward));
        self.embed(&mut workspace.x[0], &mut workspace.embedded)?;
        for l in 0..=last {
            self.forward_layer(workspace, l)?;
        }
        self.device.enter(Scope::Head(Direction::Forward));
        let output = workspace.input(last + 1);
        let Workspace { x, all_rows, pooled, dropped, logits, .. } = workspace;
        let first = match all_rows {
            None => &x[output],
            Some(all_rows) => all_rows.gather(self, &x[output])?,
        };
        self.classify(pooled, dropped, logits, first)
    }

    /// Layer `l`, from its input in the workspace to its output there.
    pub(super) fn forward_layer(&mut self, workspace: &mut Workspace<D>, l: usize) -> Result<()> {
        self.device.enter(Scope::Layer(l, Direction::Forward));
        let (input, output) = (workspace.input(l), workspace.input(l + 1));
        let set = workspace.set(l, self.encoder.layers() - 1);
        let [x, x_next] =
            workspace.x.get_disjoint_mut([input, output]).expect("input and output of a layer are two buffers");
        self.layer(l, x_next, x, &mut workspace.layers[set], workspace.h.as_mut())
    }

    fn layer(
        &mut self,
        l: usize,
        x_next: &mut Matrix<D>,
        x: &Matrix<D>,
        kept: &mut LayerBuffers<D>,
        shared_h: Option<&mut Matrix<D>>,
    ) -> Result<()> {
        let (layer, rows) = (&self.encoder.layout.layers[l], self.encoder.rows(l));
        let residual = match &mut kept.first {
            None => {
                self.linear(&mut kept.qkv, x, layer.qkv, Rows::Tokens)?;
                self.attention(&mut kept.ctx, &mut kept.lse, &kept.qkv, Probabilities(l))?;
                x
            }
            Some(FirstRows { q, x: first }) => {
                self.project_first(&mut kept.qkv, q, first, x, layer.qkv)?;
                self.attention_first(&mut kept.ctx, &mut kept.lse, q, &kept.qkv, Probabilities(l))?;
                first
            }
        };
        let (out, norm) = (layer.attention_output, layer.attention_norm);
        self.linear_dropout_residual(&mut kept.r1, &kept.ctx, residual, out, AttentionOutput(l), rows)?;
        self.layer_norm(&mut kept.y, &mut kept.stats1, &kept.r1, norm, rows)?;
        let h = kept.h.as_mut().or(shared_h).expect("a layer has its own output of GELU, or the workspace has one");
        self.linear_gelu(h, kept.u.as_mut(), &kept.y, layer.intermediate, rows)?;
        self.linear_dropout_residual(&mut kept.r2, h, &kept.y, layer.output, Output(l), rows)?;
        self.layer_norm(x_next, &mut kept.stats2, &kept.r2, layer.output_norm, rows)
    }
}
