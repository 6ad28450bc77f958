//! The CPU device's side of the seam: each operation finds its slices and calls its family's file.

use std::borrow::Cow;

use super::{
    CpuBatch, CpuDevice, CpuGradients, CpuOutcome, attention, attention_first, embedding, head, layer_norm, linear,
    loss,
};
use crate::{
    Result,
    data::PackedBatch,
    device::{
        Buffers, Capacity, Device, Dropout, LossKind, PassKey, Rows, Scope, StepScalars, Storage, Write, outputs_of,
        timeline::{ScopeClock, Span},
    },
    model::layout::{Embeddings, Linear, Norm},
};

impl Buffers for CpuDevice {
    type Matrix = Vec<f32>;
    type Vector = Vec<f32>;
    type Arena = Vec<f32>;
    type Parameters = Vec<f32>;
    type Gradients = CpuGradients;
    type Batch = CpuBatch;
    type Outcome = CpuOutcome;
}

impl Device for CpuDevice {
    const QUEUES: bool = false;

    fn name(&self) -> String {
        Self::description()
    }

    fn storage(&self) -> Storage {
        Storage::FLOAT32
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        Ok(None)
    }

    fn enter(&mut self, scope: Scope) {
        if let Some(clock) = &mut self.clock {
            clock.enter(scope);
        }
    }

    fn trace(&mut self) {
        self.clock = Some(ScopeClock::default());
    }

    fn take_spans(&mut self) -> Result<Vec<Span>> {
        Ok(self.clock.as_mut().map(ScopeClock::take).unwrap_or_default())
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; rows * cols])
    }

    fn vector(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn arena(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn parameters(&self, values: &[f32]) -> Result<Vec<f32>> {
        Ok(values.to_vec())
    }

    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<CpuGradients> {
        Ok(CpuGradients::new(len, embeddings.word, embeddings.norm.gamma.len))
    }

    fn batch(&self, capacity: Capacity) -> Result<CpuBatch> {
        Ok(CpuBatch::with_capacity(capacity))
    }

    fn outcome(&self, losses: usize) -> Result<CpuOutcome> {
        Ok(CpuOutcome { losses: vec![0.0; losses], norm: 0.0 })
    }

    fn read_matrix<'a>(&self, matrix: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(matrix))
    }

    fn read_vector<'a>(&self, vector: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(vector))
    }

    fn read_arena<'a>(&self, arena: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(arena))
    }

    fn read_parameters<'a>(&self, parameters: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(parameters))
    }

    fn read_gradients<'a>(&self, gradients: &'a CpuGradients) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(&gradients.arena))
    }

    fn write_matrix(&self, matrix: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        matrix[..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn write_vector(&self, vector: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        vector[..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn write_arena(&self, arena: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        arena.copy_from_slice(values);
        Ok(())
    }

    fn write_gradients(&self, gradients: &mut CpuGradients, values: &[f32]) -> Result<()> {
        gradients.write(values);
        Ok(())
    }

    fn write_parameters(&self, parameters: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        parameters.copy_from_slice(values);
        Ok(())
    }

    fn upload(&mut self, batch: &mut CpuBatch, source: &PackedBatch, scalars: &StepScalars) -> Result<()> {
        batch.fill(source, *scalars);
        Ok(())
    }

    fn replay(&mut self, _: PassKey, _: &CpuBatch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        pass(self)
    }

    fn embed(
        &mut self,
        x: &mut Vec<f32>,
        mean: &mut Vec<f32>,
        rstd: &mut Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()> {
        let tokens = batch.tokens();
        let x = &mut x[..tokens * self.shape.hidden];
        let (mean, rstd) = (&mut mean[..tokens], &mut rstd[..tokens]);
        embedding::embed(x, mean, rstd, weights, batch, table, dropout, self.shape.layer_norm_eps);
        Ok(())
    }

    fn embed_backward(
        &mut self,
        gradients: &mut CpuGradients,
        d_x: &Vec<f32>,
        mean: &Vec<f32>,
        rstd: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()> {
        gradients.touch(batch);
        let (tokens, c) = (batch.tokens(), self.shape.hidden);
        let blocks = tokens.div_ceil(layer_norm::BLOCK);
        let scratch =
            embedding::Scratch { d_sum: &mut self.d_sum[..tokens * c], partial: &mut self.partial[..blocks * 4 * c] };
        let d_x = &d_x[..tokens * c];
        embedding::embed_backward(
            &mut gradients.arena,
            scratch,
            d_x,
            (&mean[..tokens], &rstd[..tokens]),
            weights,
            batch,
            table,
            dropout,
        );
        Ok(())
    }

    fn linear(
        &mut self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        let rows = batch.rows(rows);
        linear::linear(&mut y[..rows * layer.bias.len], &x[..rows * inputs(layer)], weights, rows, layer);
        Ok(())
    }

    fn linear_gelu(
        &mut self,
        h: &mut Vec<f32>,
        u: Option<&mut Vec<f32>>,
        x: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        let rows = batch.rows(rows);
        let len = rows * layer.bias.len;
        let (h, u) = (&mut h[..len], u.map(|u| &mut u[..len]));
        linear::linear_gelu(h, u, &x[..rows * inputs(layer)], weights, rows, layer, self.shape.activation);
        Ok(())
    }

    fn linear_dropout_residual(
        &mut self,
        r: &mut Vec<f32>,
        x: &Vec<f32>,
        residual: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
        dropout: Dropout,
    ) -> Result<()> {
        let n = batch.rows(rows);
        let outputs = n * layer.bias.len;
        let (r, x) = (&mut r[..outputs], &x[..n * inputs(layer)]);
        linear::linear_dropout_residual(r, x, &residual[..outputs], weights, batch, rows, layer, dropout);
        Ok(())
    }

    fn layer_norm(
        &mut self,
        y: &mut Vec<f32>,
        mean: &mut Vec<f32>,
        rstd: &mut Vec<f32>,
        r: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        norm: Norm,
    ) -> Result<()> {
        let n = batch.rows(rows);
        let len = n * self.shape.hidden;
        let (mean, rstd) = (&mut mean[..n], &mut rstd[..n]);
        layer_norm::layer_norm(&mut y[..len], mean, rstd, &r[..len], weights, norm, self.shape.layer_norm_eps);
        Ok(())
    }

    fn layer_norm_backward(
        &mut self,
        d_r: &mut Vec<f32>,
        d_branch: &mut Vec<f32>,
        gradients: &mut CpuGradients,
        d_y: &Vec<f32>,
        r: &Vec<f32>,
        mean: &Vec<f32>,
        rstd: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        norm: Norm,
        dropout: Dropout,
        write: Write,
    ) -> Result<()> {
        let n = batch.rows(rows);
        let len = n * self.shape.hidden;
        let out = layer_norm::Backward {
            d_r: &mut d_r[..len],
            d_branch: &mut d_branch[..len],
            gradients: &mut gradients.arena,
            partial: &mut self.partial,
        };
        let statistics = (&mean[..n], &rstd[..n]);
        layer_norm::layer_norm_backward(
            out,
            &d_y[..len],
            &r[..len],
            statistics,
            weights,
            batch,
            rows,
            norm,
            dropout,
            write,
        );
        Ok(())
    }

    fn linear_backward_input(
        &mut self,
        d_x: &mut Vec<f32>,
        d_y: &Vec<f32>,
        residual: Option<&Vec<f32>>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        let rows = batch.rows(rows);
        let len = rows * inputs(layer);
        let residual = residual.map(|residual| &residual[..len]);
        let d_y = &d_y[..rows * layer.bias.len];
        linear::linear_backward_input(&mut d_x[..len], d_y, residual, weights, rows, layer);
        Ok(())
    }

    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Vec<f32>,
        h: Option<&mut Vec<f32>>,
        d_y: &Vec<f32>,
        u: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        let rows = batch.rows(rows);
        let len = rows * inputs(layer);
        let (d_u, h, d_y) = (&mut d_u[..len], h.map(|h| &mut h[..len]), &d_y[..rows * layer.bias.len]);
        linear::linear_backward_input_gelu(d_u, h, d_y, &u[..len], weights, rows, layer, self.shape.activation);
        Ok(())
    }

    fn linear_backward_weight(
        &mut self,
        gradients: &mut CpuGradients,
        d_y: &Vec<f32>,
        x: &Vec<f32>,
        batch: &CpuBatch,
        rows: Rows,
        layer: Linear,
        write: Write,
    ) -> Result<()> {
        let rows = batch.rows(rows);
        let (d_y, x) = (&d_y[..rows * layer.bias.len], &x[..rows * inputs(layer)]);
        linear::linear_backward_weight(&mut gradients.arena, d_y, x, rows, layer, write);
        Ok(())
    }

    fn attention(
        &mut self,
        ctx: &mut Vec<f32>,
        lse: &mut Vec<f32>,
        qkv: &Vec<f32>,
        batch: &CpuBatch,
        dropout: Dropout,
    ) -> Result<()> {
        let (tokens, c) = (batch.tokens(), self.shape.hidden);
        let lse = &mut lse[..self.shape.heads * tokens];
        attention::attention(&mut ctx[..tokens * c], lse, &qkv[..tokens * 3 * c], batch, &self.shape, dropout);
        Ok(())
    }

    fn attention_backward(
        &mut self,
        d_qkv: &mut Vec<f32>,
        d_ctx: &Vec<f32>,
        qkv: &Vec<f32>,
        ctx: &Vec<f32>,
        lse: &Vec<f32>,
        batch: &CpuBatch,
        dropout: Dropout,
    ) -> Result<()> {
        let (tokens, c) = (batch.tokens(), self.shape.hidden);
        let d_qkv = &mut d_qkv[..tokens * 3 * c];
        attention::attention_backward(d_qkv, d_ctx, qkv, ctx, lse, batch, &self.shape, dropout);
        Ok(())
    }

    fn attention_first(
        &mut self,
        ctx: &mut Vec<f32>,
        lse: &mut Vec<f32>,
        q: &Vec<f32>,
        kv: &Vec<f32>,
        batch: &CpuBatch,
        dropout: Dropout,
    ) -> Result<()> {
        let sequences = batch.sequences();
        let ctx = &mut ctx[..sequences * self.shape.hidden];
        let lse = &mut lse[..sequences * self.shape.heads];
        attention_first::attention_first(ctx, lse, q, kv, batch, &self.shape, dropout);
        Ok(())
    }

    fn attention_first_backward(
        &mut self,
        d_q: &mut Vec<f32>,
        d_kv: &mut Vec<f32>,
        d_ctx: &Vec<f32>,
        q: &Vec<f32>,
        kv: &Vec<f32>,
        ctx: &Vec<f32>,
        lse: &Vec<f32>,
        batch: &CpuBatch,
        dropout: Dropout,
    ) -> Result<()> {
        let c = self.shape.hidden;
        let d_q = &mut d_q[..batch.sequences() * c];
        let d_kv = &mut d_kv[..batch.tokens() * 2 * c];
        let row = (&d_ctx[..], &ctx[..], &lse[..]);
        attention_first::attention_first_backward(d_q, d_kv, row, (q, kv), batch, &self.shape, dropout);
        Ok(())
    }

    fn project_first(
        &mut self,
        kv: &mut Vec<f32>,
        q: &mut Vec<f32>,
        first: &mut Vec<f32>,
        x: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        qkv: Linear,
    ) -> Result<()> {
        let c = self.shape.hidden;
        self.gather_first(first, x, batch)?;
        self.linear(q, first, weights, batch, Rows::Sequences, outputs_of(qkv, c, 0, c))?;
        self.linear(kv, x, weights, batch, Rows::Tokens, outputs_of(qkv, c, c, 2 * c))
    }

    fn project_first_backward_input(
        &mut self,
        d_x: &mut Vec<f32>,
        d_first: &mut Vec<f32>,
        d_kv: &Vec<f32>,
        d_q: &Vec<f32>,
        residual: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        qkv: Linear,
    ) -> Result<()> {
        let c = self.shape.hidden;
        self.linear_backward_input(d_x, d_kv, None, weights, batch, Rows::Tokens, outputs_of(qkv, c, c, 2 * c))?;
        let query = outputs_of(qkv, c, 0, c);
        self.linear_backward_input(d_first, d_q, Some(residual), weights, batch, Rows::Sequences, query)?;
        for (b, row) in d_first.chunks_exact(c).take(batch.sequences()).enumerate() {
            for (d, &v) in d_x[batch.sequence(b).start * c..][..c].iter_mut().zip(row) {
                *d += v;
            }
        }
        Ok(())
    }

    fn gather_first(&mut self, first: &mut Vec<f32>, x: &Vec<f32>, batch: &CpuBatch) -> Result<()> {
        let c = self.shape.hidden;
        for (b, row) in first.chunks_exact_mut(c).take(batch.sequences()).enumerate() {
            row.copy_from_slice(&x[batch.sequence(b).start * c..][..c]);
        }
        Ok(())
    }

    fn scatter_first(&mut self, d_x: &mut Vec<f32>, first: &Vec<f32>, batch: &CpuBatch) -> Result<()> {
        let c = self.shape.hidden;
        d_x[..batch.tokens() * c].fill(0.0);
        for (b, row) in first.chunks_exact(c).take(batch.sequences()).enumerate() {
            d_x[batch.sequence(b).start * c..][..c].copy_from_slice(row);
        }
        Ok(())
    }

    fn classify(
        &mut self,
        pooled: &mut Vec<f32>,
        dropped: &mut Vec<f32>,
        logits: &mut Vec<f32>,
        first: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
    ) -> Result<()> {
        let sequences = batch.sequences();
        let len = sequences * self.shape.hidden;
        let logits = &mut logits[..sequences * self.shape.labels];
        let (pooled, dropped) = (&mut pooled[..len], &mut dropped[..len]);
        head::classify(pooled, dropped, logits, &first[..len], weights, batch, pooler, classifier, dropout);
        Ok(())
    }

    fn classify_backward(
        &mut self,
        d_first: &mut Vec<f32>,
        gradients: &mut CpuGradients,
        d_logits: &Vec<f32>,
        first: &Vec<f32>,
        pooled: &Vec<f32>,
        dropped: &Vec<f32>,
        weights: &Vec<f32>,
        batch: &CpuBatch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
        write: Write,
    ) -> Result<()> {
        let sequences = batch.sequences();
        let len = sequences * self.shape.hidden;
        let kept = head::Kept { first: &first[..len], pooled: &pooled[..len], dropped: &dropped[..len] };
        head::classify_backward(
            &mut d_first[..len],
            &mut gradients.arena,
            &mut self.d_pooled[..len],
            &d_logits[..sequences * self.shape.labels],
            kept,
            weights,
            batch,
            pooler,
            classifier,
            dropout,
            write,
        );
        Ok(())
    }

    fn distillation_loss(
        &mut self,
        losses: &mut Vec<f32>,
        d_logits: &mut Vec<f32>,
        logits: &Vec<f32>,
        target: Option<&Vec<f32>>,
        class_weights: Option<&Vec<f32>>,
        batch: &CpuBatch,
        kind: LossKind,
    ) -> Result<()> {
        let sequences = batch.sequences();
        let len = sequences * self.shape.labels;
        loss::distillation_loss(
            losses,
            &mut self.losses[..2 * sequences],
            &mut d_logits[..len],
            &logits[..len],
            target.map(|target| &target[..len]),
            class_weights.map(Vec::as_slice),
            &batch.packed,
            kind,
            &batch.scalars,
        );
        Ok(())
    }

    fn add_votes(&mut self, votes: &mut Vec<f32>, logits: &Vec<f32>, batch: &CpuBatch, write: Write) -> Result<()> {
        loss::add_votes(votes, logits, &batch.packed.slots, self.shape.labels, write);
        Ok(())
    }

    fn mean_of_votes(&mut self, target: &mut Vec<f32>, votes: &Vec<f32>, batch: &CpuBatch, count: u32) -> Result<()> {
        loss::mean_of_votes(target, votes, &batch.packed.slots, self.shape.labels, count);
        Ok(())
    }

    fn begin_step(&mut self, gradients: &mut CpuGradients, table: &Embeddings) -> Result<()> {
        gradients.clear_rows();
        for view in [table.position, table.kind, table.norm.gamma, table.norm.beta] {
            gradients.arena[view.range()].fill(0.0);
        }
        Ok(())
    }

    fn end_backward(&mut self, _: &mut CpuGradients, _: &CpuBatch) -> Result<()> {
        Ok(())
    }

    fn send_outcome(&mut self, outcome: &mut CpuOutcome, losses: &Vec<f32>) -> Result<()> {
        outcome.losses.copy_from_slice(losses);
        outcome.norm = self.norm;
        Ok(())
    }

    fn receive_outcome<'a>(&mut self, outcome: &'a CpuOutcome) -> Result<(&'a [f32], f64)> {
        Ok((&outcome.losses, outcome.norm))
    }
}

fn inputs(layer: Linear) -> usize {
    layer.weight.len / layer.bias.len
}
