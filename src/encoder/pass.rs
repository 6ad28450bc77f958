//! A pass through the encoder: everything that operations of the seam work on, so that a layer says only which matrices
//! it takes.

use super::Encoder;
use crate::{
    Result, Stop,
    device::{
        Attended, AttendedFirst, BranchGradient, Device, Dropout, Head, Mask, Matrix, Normed, On, Pooled, RowStats,
        Rows, Sink, Site,
    },
    model::layout::{Linear, Norm},
};

/// Weights that run on a batch, with these masks.
pub struct Pass<'a, D: Device> {
    /// What runs.
    pub encoder: &'a Encoder,
    /// What it runs on.
    pub device: &'a mut D,
    /// What it runs with.
    pub weights: &'a D::Parameters,
    /// The uploaded batch.
    pub batch: &'a D::Batch,
    /// Its dropout masks.
    pub mask: Mask,
    /// Looked at before every operation of a device that does it at once. One that queues is through with a pass before
    /// anyone could ask, and what it records is not to be broken off.
    pub stop: Stop<'a>,
}

impl<'a, D: Device> Pass<'a, D> {
    /// What an operation works on.
    fn on(&self, rows: Rows) -> Result<On<'a, D>> {
        self.go_on()?;
        Ok(On { weights: self.weights, batch: self.batch, rows })
    }

    fn go_on(&self) -> Result<()> {
        if D::QUEUES { Ok(()) } else { self.stop.check() }
    }

    fn dropout(&self, site: Site) -> Dropout {
        self.encoder.dropout(self.mask, site)
    }

    fn head(&self) -> Head {
        let layout = &self.encoder.layout;
        Head { pooler: layout.pooler, classifier: layout.classifier, dropout: self.dropout(Site::Classifier) }
    }
}

/// The forward pass, operation by operation.
impl<D: Device> Pass<'_, D> {
    pub(super) fn embed(&mut self, x: &mut Matrix<D>, stats: &mut RowStats<D>) -> Result<()> {
        let (on, dropout) = (self.on(Rows::Tokens)?, self.dropout(Site::Embeddings));
        self.device.embed(x, stats, &self.encoder.layout.embeddings, dropout, on)
    }

    pub(super) fn linear(&mut self, y: &mut Matrix<D>, x: &Matrix<D>, layer: Linear, rows: Rows) -> Result<()> {
        let on = self.on(rows)?;
        self.device.linear(y, x, layer, on)
    }

    pub(super) fn linear_gelu(
        &mut self,
        h: &mut Matrix<D>,
        u: Option<&mut Matrix<D>>,
        x: &Matrix<D>,
        layer: Linear,
        rows: Rows,
    ) -> Result<()> {
        let on = self.on(rows)?;
        self.device.linear_gelu(h, u, x, layer, on)
    }

    pub(super) fn linear_dropout_residual(
        &mut self,
        r: &mut Matrix<D>,
        x: &Matrix<D>,
        residual: &Matrix<D>,
        layer: Linear,
        site: Site,
        rows: Rows,
    ) -> Result<()> {
        let (on, dropout) = (self.on(rows)?, self.dropout(site));
        self.device.linear_dropout_residual(r, x, residual, layer, dropout, on)
    }

    pub(super) fn layer_norm(
        &mut self,
        y: &mut Matrix<D>,
        stats: &mut RowStats<D>,
        r: &Matrix<D>,
        norm: Norm,
        rows: Rows,
    ) -> Result<()> {
        let on = self.on(rows)?;
        self.device.layer_norm(y, stats, r, norm, on)
    }

    pub(super) fn attention(
        &mut self,
        ctx: &mut Matrix<D>,
        lse: &mut D::Vector,
        qkv: &Matrix<D>,
        site: Site,
    ) -> Result<()> {
        self.go_on()?;
        let dropout = self.dropout(site);
        self.device.attention(ctx, lse, qkv, dropout, self.batch)
    }

    pub(super) fn project_first(
        &mut self,
        kv: &mut Matrix<D>,
        q: &mut Matrix<D>,
        first: &mut Matrix<D>,
        x: &Matrix<D>,
        qkv: Linear,
    ) -> Result<()> {
        let on = self.on(Rows::Tokens)?;
        self.device.project_first(kv, q, first, x, qkv, on)
    }

    pub(super) fn attention_first(
        &mut self,
        ctx: &mut Matrix<D>,
        lse: &mut D::Vector,
        q: &Matrix<D>,
        kv: &Matrix<D>,
        site: Site,
    ) -> Result<()> {
        self.go_on()?;
        let dropout = self.dropout(site);
        self.device.attention_first(ctx, lse, q, kv, dropout, self.batch)
    }

    pub(super) fn classify(
        &mut self,
        pooled: &mut Matrix<D>,
        dropped: &mut Matrix<D>,
        logits: &mut D::Vector,
        first: &Matrix<D>,
    ) -> Result<()> {
        let (on, head) = (self.on(Rows::Sequences)?, self.head());
        self.device.classify(pooled, dropped, logits, first, head, on)
    }
}

/// The backward pass, operation by operation.
impl<D: Device> Pass<'_, D> {
    pub(super) fn classify_backward(
        &mut self,
        d_first: &mut Matrix<D>,
        sink: &mut Sink<'_, D>,
        d_logits: &D::Vector,
        kept: Pooled<'_, D>,
    ) -> Result<()> {
        let (on, head) = (self.on(Rows::Sequences)?, self.head());
        self.device.classify_backward(d_first, sink, d_logits, kept, head, on)
    }

    /// `d_branch` is the gradient of what was dropped at `site` and added to the residual.
    pub(super) fn layer_norm_backward(
        &mut self,
        d_r: &mut Matrix<D>,
        (d_branch, site): (&mut Matrix<D>, Site),
        sink: &mut Sink<'_, D>,
        d_y: &Matrix<D>,
        kept: Normed<'_, D>,
        rows: Rows,
    ) -> Result<()> {
        let (on, branch) = (self.on(rows)?, BranchGradient { d: d_branch, dropout: self.dropout(site) });
        self.device.layer_norm_backward(d_r, branch, sink, d_y, kept, on)
    }

    pub(super) fn linear_backward_input(
        &mut self,
        d_x: &mut Matrix<D>,
        d_y: &Matrix<D>,
        residual: Option<&Matrix<D>>,
        layer: Linear,
        rows: Rows,
    ) -> Result<()> {
        let on = self.on(rows)?;
        self.device.linear_backward_input(d_x, d_y, residual, layer, on)
    }

    pub(super) fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Matrix<D>,
        h: Option<&mut Matrix<D>>,
        d_y: &Matrix<D>,
        u: &Matrix<D>,
        layer: Linear,
        rows: Rows,
    ) -> Result<()> {
        let on = self.on(rows)?;
        self.device.linear_backward_input_gelu(d_u, h, d_y, u, layer, on)
    }

    pub(super) fn linear_backward_weight(
        &mut self,
        sink: &mut Sink<'_, D>,
        d_y: &Matrix<D>,
        x: &Matrix<D>,
        layer: Linear,
        rows: Rows,
    ) -> Result<()> {
        let on = self.on(rows)?;
        self.device.linear_backward_weight(sink, d_y, x, layer, on)
    }

    pub(super) fn attention_backward(
        &mut self,
        d_qkv: &mut Matrix<D>,
        d_ctx: &Matrix<D>,
        kept: Attended<'_, D>,
        site: Site,
    ) -> Result<()> {
        self.go_on()?;
        let dropout = self.dropout(site);
        self.device.attention_backward(d_qkv, d_ctx, kept, dropout, self.batch)
    }

    pub(super) fn attention_first_backward(
        &mut self,
        d_q: &mut Matrix<D>,
        d_kv: &mut Matrix<D>,
        d_ctx: &Matrix<D>,
        kept: AttendedFirst<'_, D>,
        site: Site,
    ) -> Result<()> {
        self.go_on()?;
        let dropout = self.dropout(site);
        self.device.attention_first_backward(d_q, d_kv, d_ctx, kept, dropout, self.batch)
    }

    pub(super) fn project_first_backward_input(
        &mut self,
        d_x: &mut Matrix<D>,
        d_kv: &Matrix<D>,
        d_q: &Matrix<D>,
        residual: &Matrix<D>,
        qkv: Linear,
    ) -> Result<()> {
        let on = self.on(Rows::Tokens)?;
        self.device.project_first_backward_input(d_x, d_kv, d_q, residual, qkv, on)
    }

    pub(super) fn embed_backward(
        &mut self,
        gradients: &mut D::Gradients,
        d_x: &Matrix<D>,
        stats: &RowStats<D>,
    ) -> Result<()> {
        let (on, dropout) = (self.on(Rows::Tokens)?, self.dropout(Site::Embeddings));
        self.device.embed_backward(gradients, d_x, stats, &self.encoder.layout.embeddings, dropout, on)
    }
}
