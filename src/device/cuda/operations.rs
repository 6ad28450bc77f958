//! The CUDA device's side of the seam: allocation and copies here, each operation in its family's file.

use std::{borrow::Cow, cell::RefCell};

use cudarc::driver::CudaSlice;

use super::{
    CudaBatch, CudaDevice, CudaGradients, CudaOutcome, CudaParameters, attention, element::Element, embedding,
    fault::driver_error, head, layer_norm, linear, loss, memory, optimizer, outcome, ranges::Level, recorder,
    tracer::Tracer,
};
use crate::{
    Result,
    data::PackedBatch,
    device::{
        Buffers, Capacity, Device, Dropout, LossKind, PassKey, Rows, Scope, StepScalars, Storage, Write, timeline::Span,
    },
    model::layout::{Embeddings, Linear, Norm},
};

impl<E: Element> Buffers for CudaDevice<E> {
    type Matrix = CudaSlice<E>;
    type Vector = CudaSlice<f32>;
    type Arena = CudaSlice<f32>;
    type Parameters = CudaParameters<E>;
    type Gradients = CudaGradients;
    type Batch = CudaBatch;
    type Outcome = CudaOutcome;
}

impl<E: Element> Device for CudaDevice<E> {
    const QUEUES: bool = true;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn storage(&self) -> Storage {
        E::STORAGE
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        let free = self.context.mem_get_info().map(|(free, _)| Some(free));
        free.map_err(driver_error(&self.launcher.device, "ask for free memory"))
    }

    fn enter_step(&mut self, step: u64) {
        self.launcher.ranges.enter(Level::Step, format!("step {step}"));
    }

    fn enter(&mut self, scope: Scope) {
        self.launcher.enter(scope);
    }

    fn trace(&mut self) {
        self.record(false);
        self.launcher.tracer = Some(RefCell::new(Tracer::new(&self.context)));
    }

    fn take_spans(&mut self) -> Result<Vec<Span>> {
        self.launcher.take_spans()
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<CudaSlice<E>> {
        self.zeros(rows * cols)
    }

    fn vector(&self, len: usize) -> Result<CudaSlice<f32>> {
        self.zeros(len)
    }

    fn arena(&self, len: usize) -> Result<CudaSlice<f32>> {
        self.zeros(len)
    }

    fn parameters(&self, values: &[f32]) -> Result<CudaParameters<E>> {
        let working = if E::STORAGE.copies_weights { Some(self.zeros(values.len())?) } else { None };
        let mut parameters = CudaParameters { master: self.zeros(values.len())?, working };
        self.write_parameters(&mut parameters, values)?;
        Ok(parameters)
    }

    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<CudaGradients> {
        let vocabulary = embeddings.word.len / self.shape.hidden;
        Ok(CudaGradients { arena: self.zeros(len)?, touched: self.zeros(vocabulary)?, word: embeddings.word })
    }

    fn batch(&self, capacity: Capacity) -> Result<CudaBatch> {
        CudaBatch::new(&self.context, &self.launcher.stream, &self.launcher.device, capacity)
    }

    fn outcome(&self, losses: usize) -> Result<CudaOutcome> {
        CudaOutcome::new(&self.context, &self.launcher.device, losses)
    }

    fn read_matrix<'a>(&self, matrix: &'a CudaSlice<E>) -> Result<Cow<'a, [f32]>> {
        self.download(matrix)
    }

    fn read_vector<'a>(&self, vector: &'a CudaSlice<f32>) -> Result<Cow<'a, [f32]>> {
        self.download(vector)
    }

    fn read_arena<'a>(&self, arena: &'a CudaSlice<f32>) -> Result<Cow<'a, [f32]>> {
        self.download(arena)
    }

    fn read_parameters<'a>(&self, parameters: &'a CudaParameters<E>) -> Result<Cow<'a, [f32]>> {
        self.download(&parameters.master)
    }

    fn read_gradients<'a>(&self, gradients: &'a CudaGradients) -> Result<Cow<'a, [f32]>> {
        self.download(&gradients.arena)
    }

    fn write_matrix(&self, matrix: &mut CudaSlice<E>, values: &[f32]) -> Result<()> {
        let values: Vec<E> = values.iter().map(|&v| E::of(v)).collect();
        memory::write(&self.launcher.stream, &self.launcher.device, matrix, &values)
    }

    fn write_vector(&self, vector: &mut CudaSlice<f32>, values: &[f32]) -> Result<()> {
        self.write(vector, values)
    }

    fn write_arena(&self, arena: &mut CudaSlice<f32>, values: &[f32]) -> Result<()> {
        self.write(arena, values)
    }

    fn write_gradients(&self, gradients: &mut CudaGradients, values: &[f32]) -> Result<()> {
        let CudaGradients { arena, touched, word } = gradients;
        let rows = values[word.range()].chunks_exact(self.shape.hidden);
        let flags: Vec<u8> = rows.map(|row| row.iter().any(|&g| g != 0.0).into()).collect();
        memory::write(&self.launcher.stream, &self.launcher.device, touched, &flags)?;
        self.write(arena, values)
    }

    fn write_parameters(&self, parameters: &mut CudaParameters<E>, values: &[f32]) -> Result<()> {
        self.write(&mut parameters.master, values)?;
        match &mut parameters.working {
            Some(working) => optimizer::working_copy(self, working, &parameters.master),
            None => Ok(()),
        }
    }

    fn upload(&mut self, batch: &mut CudaBatch, source: &PackedBatch, scalars: &StepScalars) -> Result<()> {
        batch.upload(&self.launcher.stream, source, scalars)
    }

    fn replay(&mut self, key: PassKey, batch: &CudaBatch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        recorder::replay(self, key, batch, pass)
    }

    fn embed(
        &mut self,
        x: &mut CudaSlice<E>,
        mean: &mut CudaSlice<f32>,
        rstd: &mut CudaSlice<f32>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()> {
        embedding::embed(self, x, mean, rstd, weights, batch, table, dropout)
    }

    fn embed_backward(
        &mut self,
        gradients: &mut CudaGradients,
        d_x: &CudaSlice<E>,
        mean: &CudaSlice<f32>,
        rstd: &CudaSlice<f32>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()> {
        embedding::embed_backward(self, gradients, d_x, mean, rstd, weights, batch, table, dropout)
    }

    fn linear(
        &mut self,
        y: &mut CudaSlice<E>,
        x: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        linear::linear(self, y, x, weights, batch, rows, layer)
    }

    fn linear_gelu(
        &mut self,
        h: &mut CudaSlice<E>,
        u: Option<&mut CudaSlice<E>>,
        x: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        linear::linear_gelu(self, h, u, x, weights, batch, rows, layer)
    }

    fn linear_dropout_residual(
        &mut self,
        r: &mut CudaSlice<E>,
        x: &CudaSlice<E>,
        residual: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
        dropout: Dropout,
    ) -> Result<()> {
        linear::linear_dropout_residual(self, r, x, residual, weights, batch, rows, layer, dropout)
    }

    fn layer_norm(
        &mut self,
        y: &mut CudaSlice<E>,
        mean: &mut CudaSlice<f32>,
        rstd: &mut CudaSlice<f32>,
        r: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        norm: Norm,
    ) -> Result<()> {
        layer_norm::layer_norm(self, y, mean, rstd, r, weights, batch, rows, norm)
    }

    fn layer_norm_backward(
        &mut self,
        d_r: &mut CudaSlice<E>,
        d_branch: &mut CudaSlice<E>,
        gradients: &mut CudaGradients,
        d_y: &CudaSlice<E>,
        r: &CudaSlice<E>,
        mean: &CudaSlice<f32>,
        rstd: &CudaSlice<f32>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        norm: Norm,
        dropout: Dropout,
        write: Write,
    ) -> Result<()> {
        layer_norm::layer_norm_backward(
            self, d_r, d_branch, gradients, d_y, r, mean, rstd, weights, batch, rows, norm, dropout, write,
        )
    }

    fn linear_backward_input(
        &mut self,
        d_x: &mut CudaSlice<E>,
        d_y: &CudaSlice<E>,
        residual: Option<&CudaSlice<E>>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        linear::linear_backward_input(self, d_x, d_y, residual, weights, batch, rows, layer)
    }

    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut CudaSlice<E>,
        h: Option<&mut CudaSlice<E>>,
        d_y: &CudaSlice<E>,
        u: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()> {
        linear::linear_backward_input_gelu(self, d_u, h, d_y, u, weights, batch, rows, layer)
    }

    fn linear_backward_weight(
        &mut self,
        gradients: &mut CudaGradients,
        d_y: &CudaSlice<E>,
        x: &CudaSlice<E>,
        batch: &CudaBatch,
        rows: Rows,
        layer: Linear,
        write: Write,
    ) -> Result<()> {
        linear::linear_backward_weight(self, gradients, d_y, x, batch, rows, layer, write)
    }

    fn attention(
        &mut self,
        ctx: &mut CudaSlice<E>,
        lse: &mut CudaSlice<f32>,
        qkv: &CudaSlice<E>,
        batch: &CudaBatch,
        dropout: Dropout,
    ) -> Result<()> {
        attention::attention(self, ctx, lse, qkv, batch, dropout)
    }

    fn attention_backward(
        &mut self,
        d_qkv: &mut CudaSlice<E>,
        d_ctx: &CudaSlice<E>,
        qkv: &CudaSlice<E>,
        ctx: &CudaSlice<E>,
        lse: &CudaSlice<f32>,
        batch: &CudaBatch,
        dropout: Dropout,
    ) -> Result<()> {
        attention::attention_backward(self, d_qkv, d_ctx, qkv, ctx, lse, batch, dropout)
    }

    fn attention_first(
        &mut self,
        ctx: &mut CudaSlice<E>,
        lse: &mut CudaSlice<f32>,
        q: &CudaSlice<E>,
        kv: &CudaSlice<E>,
        batch: &CudaBatch,
        dropout: Dropout,
    ) -> Result<()> {
        attention::attention_first(self, ctx, lse, q, kv, batch, dropout)
    }

    fn attention_first_backward(
        &mut self,
        d_q: &mut CudaSlice<E>,
        d_kv: &mut CudaSlice<E>,
        d_ctx: &CudaSlice<E>,
        q: &CudaSlice<E>,
        kv: &CudaSlice<E>,
        ctx: &CudaSlice<E>,
        lse: &CudaSlice<f32>,
        batch: &CudaBatch,
        dropout: Dropout,
    ) -> Result<()> {
        attention::attention_first_backward(self, d_q, d_kv, d_ctx, q, kv, ctx, lse, batch, dropout)
    }

    fn project_first(
        &mut self,
        kv: &mut CudaSlice<E>,
        q: &mut CudaSlice<E>,
        first: &mut CudaSlice<E>,
        x: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        qkv: Linear,
    ) -> Result<()> {
        linear::project_first(self, kv, q, first, x, weights, batch, qkv)
    }

    fn project_first_backward_input(
        &mut self,
        d_x: &mut CudaSlice<E>,
        d_first: &mut CudaSlice<E>,
        d_kv: &CudaSlice<E>,
        d_q: &CudaSlice<E>,
        residual: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        qkv: Linear,
    ) -> Result<()> {
        linear::project_first_backward_input(self, d_x, d_first, d_kv, d_q, residual, weights, batch, qkv)
    }

    fn gather_first(&mut self, first: &mut CudaSlice<E>, x: &CudaSlice<E>, batch: &CudaBatch) -> Result<()> {
        embedding::gather_first(self, first, x, batch)
    }

    fn scatter_first(&mut self, d_x: &mut CudaSlice<E>, first: &CudaSlice<E>, batch: &CudaBatch) -> Result<()> {
        embedding::scatter_first(self, d_x, first, batch)
    }

    fn classify(
        &mut self,
        pooled: &mut CudaSlice<E>,
        dropped: &mut CudaSlice<E>,
        logits: &mut CudaSlice<f32>,
        first: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
    ) -> Result<()> {
        head::classify(self, pooled, dropped, logits, first, weights, batch, pooler, classifier, dropout)
    }

    fn classify_backward(
        &mut self,
        d_first: &mut CudaSlice<E>,
        gradients: &mut CudaGradients,
        d_logits: &CudaSlice<f32>,
        first: &CudaSlice<E>,
        pooled: &CudaSlice<E>,
        dropped: &CudaSlice<E>,
        weights: &CudaParameters<E>,
        batch: &CudaBatch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
        write: Write,
    ) -> Result<()> {
        head::classify_backward(
            self, d_first, gradients, d_logits, first, pooled, dropped, weights, batch, pooler, classifier, dropout,
            write,
        )
    }

    fn distillation_loss(
        &mut self,
        losses: &mut CudaSlice<f32>,
        d_logits: &mut CudaSlice<f32>,
        logits: &CudaSlice<f32>,
        target: Option<&CudaSlice<f32>>,
        class_weights: Option<&CudaSlice<f32>>,
        batch: &CudaBatch,
        loss: LossKind,
    ) -> Result<()> {
        loss::distillation_loss(self, losses, d_logits, logits, target, class_weights, batch, loss)
    }

    fn add_votes(
        &mut self,
        votes: &mut CudaSlice<f32>,
        logits: &CudaSlice<f32>,
        batch: &CudaBatch,
        write: Write,
    ) -> Result<()> {
        loss::add_votes(self, votes, logits, batch, write)
    }

    fn mean_of_votes(
        &mut self,
        target: &mut CudaSlice<f32>,
        votes: &CudaSlice<f32>,
        batch: &CudaBatch,
        count: u32,
    ) -> Result<()> {
        loss::mean_of_votes(self, target, votes, batch, count)
    }

    fn begin_step(&mut self, gradients: &mut CudaGradients, table: &Embeddings) -> Result<()> {
        embedding::begin_step(self, gradients, table)
    }

    fn end_backward(&mut self, gradients: &mut CudaGradients, batch: &CudaBatch) -> Result<()> {
        layer_norm::end_backward(self, gradients, batch)
    }

    fn send_outcome(&mut self, outcome: &mut CudaOutcome, losses: &CudaSlice<f32>) -> Result<()> {
        outcome::send(self, outcome, losses)
    }

    fn receive_outcome<'a>(&mut self, outcome: &'a CudaOutcome) -> Result<(&'a [f32], f64)> {
        outcome::receive(self, outcome)
    }
}

impl<E: Element> CudaDevice<E> {
    fn zeros<T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits>(
        &self,
        len: usize,
    ) -> Result<CudaSlice<T>> {
        memory::zeros(&self.launcher.stream, &self.launcher.device, len)
    }

    fn download<'a, T: Element>(&self, buffer: &CudaSlice<T>) -> Result<Cow<'a, [f32]>> {
        memory::download(&self.launcher.stream, &self.launcher.device, buffer)
    }

    fn write(&self, buffer: &mut CudaSlice<f32>, values: &[f32]) -> Result<()> {
        memory::write(&self.launcher.stream, &self.launcher.device, buffer, values)
    }
}
