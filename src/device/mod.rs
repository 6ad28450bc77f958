//! The seam: what a BERT training step asks of a device, fused as a GPU wants it.
//!
//! About twenty operations, no primitive tensor arithmetic, no autograd, no dispatch on shapes or types at run time. Model code
//! knows no device; devices know no model. Every operation lists its outputs, then inputs, then sizes, then scalars; what it
//! writes is `&mut`. Matrices are row-major; `rows` says whether a matrix has a row a token or a row a sequence, the batch
//! says how many that is. Backward operations that write parameter gradients take [`Write`]: the first micro-batch of a step
//! overwrites, the others add.

mod choice;
pub mod cpu;
pub mod cuda;
mod dropout;
mod on_device;
mod optimizer;
mod shape;
mod step;
pub mod timeline;

use std::borrow::Cow;

use timeline::Span;

pub use choice::{Backend, DeviceChoice, Precision};
pub use dropout::{Dropout, Mask, Site};
pub use on_device::OnDevice;
pub use optimizer::{Follow, Mean, OptimizerOps, ParameterRange, Teacher, TrainingState, Update};
pub use shape::{Capacity, Shape, Storage};
pub use step::{Direction, Distance, ForwardWeights, LossKind, PassKey, Rows, Scope, StepScalars, Write};

use crate::{
    Result,
    data::PackedBatch,
    model::layout::{Embeddings, Linear, Norm},
};

/// What a device keeps in its memory.
pub trait Buffers: Sized {
    /// A matrix of activations in the device's working precision.
    type Matrix;
    /// float32 numbers: statistics, logits, losses.
    type Vector;
    /// A float32 arena in the layout of the parameters.
    type Arena;
    /// Weights that a forward pass reads: a float32 arena and whatever copies of it the device's precision needs.
    type Parameters;
    /// A float32 arena, and which rows of the word embeddings are not zero in it.
    type Gradients;
    /// An uploaded batch.
    type Batch;
    /// Where the losses and the gradient norm of a step arrive on the host.
    type Outcome;
}

/// All families of operations.
pub trait Device: Buffers + OptimizerOps {
    /// Whether calls return before their work is done: then the next step can be prepared while one runs.
    const QUEUES: bool;

    /// What this device is, for logs: every run names it.
    fn name(&self) -> String;

    /// How it stores matrices and weights.
    fn storage(&self) -> Storage;

    /// Memory that is still free, where the device's memory is its own.
    fn free_bytes(&self) -> Result<Option<usize>>;

    /// The step that the operations that follow belong to: for profilers.
    fn enter_step(&mut self, _step: u64) {}

    /// What the operations that follow belong to: for profilers, traces and errors.
    fn enter(&mut self, scope: Scope);

    /// From now on times are taken, for [`Device::take_spans`]; passes are no longer recorded.
    fn trace(&mut self);

    /// What the device did since the last call; waits for it. Empty without [`Device::trace`].
    fn take_spans(&mut self) -> Result<Vec<Span>>;

    fn matrix(&self, rows: usize, cols: usize) -> Result<Self::Matrix>;
    fn vector(&self, len: usize) -> Result<Self::Vector>;
    fn arena(&self, len: usize) -> Result<Self::Arena>;
    fn parameters(&self, values: &[f32]) -> Result<Self::Parameters>;
    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<Self::Gradients>;
    fn batch(&self, capacity: Capacity) -> Result<Self::Batch>;
    /// For that many losses.
    fn outcome(&self, losses: usize) -> Result<Self::Outcome>;

    fn read_matrix<'a>(&self, matrix: &'a Self::Matrix) -> Result<Cow<'a, [f32]>>;
    fn read_vector<'a>(&self, vector: &'a Self::Vector) -> Result<Cow<'a, [f32]>>;
    fn read_arena<'a>(&self, arena: &'a Self::Arena) -> Result<Cow<'a, [f32]>>;
    fn read_parameters<'a>(&self, parameters: &'a Self::Parameters) -> Result<Cow<'a, [f32]>>;
    fn read_gradients<'a>(&self, gradients: &'a Self::Gradients) -> Result<Cow<'a, [f32]>>;
    fn write_matrix(&self, matrix: &mut Self::Matrix, values: &[f32]) -> Result<()>;
    fn write_vector(&self, vector: &mut Self::Vector, values: &[f32]) -> Result<()>;
    fn write_arena(&self, arena: &mut Self::Arena, values: &[f32]) -> Result<()>;
    fn write_gradients(&self, gradients: &mut Self::Gradients, values: &[f32]) -> Result<()>;
    fn write_parameters(&self, parameters: &mut Self::Parameters, values: &[f32]) -> Result<()>;

    /// The batch, and the scalars of the pass that it is for: what a recorded launch reads from device memory.
    fn upload(&mut self, batch: &mut Self::Batch, source: &PackedBatch, scalars: &StepScalars) -> Result<()>;

    /// Does what `pass` does. A device that records may launch what it recorded of an equal `key` and batches of like size
    /// instead of calling it: so a pass must depend on nothing but its buffers, the uploaded batch and the key.
    fn replay(&mut self, key: PassKey, batch: &Self::Batch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()>;

    /// x = dropout(LayerNorm(word\[id\] + position\[p\] + type\[k\])), x \[T, C\]; keeps each row's mean and 1/σ \[T\].
    fn embed(
        &mut self,
        x: &mut Self::Matrix,
        mean: &mut Self::Vector,
        rstd: &mut Self::Vector,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()>;

    /// d_x \[T, C\] → gradients of the three tables and of the LayerNorm; adds (see [`Device::begin_step`]).
    fn embed_backward(
        &mut self,
        gradients: &mut Self::Gradients,
        d_x: &Self::Matrix,
        mean: &Self::Vector,
        rstd: &Self::Vector,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        table: &Embeddings,
        dropout: Dropout,
    ) -> Result<()>;

    /// y = x · Wᵀ + b, x \[rows, I\], W \[O, I\], y \[rows, O\].
    fn linear(
        &mut self,
        y: &mut Self::Matrix,
        x: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()>;

    /// u = x · Wᵀ + b, h = GELU(u), both \[rows, F\]; u is kept only where a backward pass will want it.
    fn linear_gelu(
        &mut self,
        h: &mut Self::Matrix,
        u: Option<&mut Self::Matrix>,
        x: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()>;

    /// r = residual + dropout(x · Wᵀ + b), \[rows, C\].
    fn linear_dropout_residual(
        &mut self,
        r: &mut Self::Matrix,
        x: &Self::Matrix,
        residual: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
        dropout: Dropout,
    ) -> Result<()>;

    /// y = γ · (r − mean) / σ + β, row by row; keeps mean and 1/σ.
    fn layer_norm(
        &mut self,
        y: &mut Self::Matrix,
        mean: &mut Self::Vector,
        rstd: &mut Self::Vector,
        r: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        norm: Norm,
    ) -> Result<()>;

    /// Overwrites d_r, the gradient of r, and d_branch = d_r through the dropout of the branch that was added to the residual.
    fn layer_norm_backward(
        &mut self,
        d_r: &mut Self::Matrix,
        d_branch: &mut Self::Matrix,
        gradients: &mut Self::Gradients,
        d_y: &Self::Matrix,
        r: &Self::Matrix,
        mean: &Self::Vector,
        rstd: &Self::Vector,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        norm: Norm,
        dropout: Dropout,
        write: Write,
    ) -> Result<()>;

    /// d_x = d_y · W, or residual + d_y · W. Overwrites d_x \[rows, I\].
    fn linear_backward_input(
        &mut self,
        d_x: &mut Self::Matrix,
        d_y: &Self::Matrix,
        residual: Option<&Self::Matrix>,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()>;

    /// d_u = (d_y · W) ∘ GELU'(u), and where it is wanted h = GELU(u) made again in the same pass. Overwrites both \[rows, F\].
    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Self::Matrix,
        h: Option<&mut Self::Matrix>,
        d_y: &Self::Matrix,
        u: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
    ) -> Result<()>;

    /// d_W = d_yᵀ · x, d_b = column sums of d_y.
    fn linear_backward_weight(
        &mut self,
        gradients: &mut Self::Gradients,
        d_y: &Self::Matrix,
        x: &Self::Matrix,
        batch: &Self::Batch,
        rows: Rows,
        layer: Linear,
        write: Write,
    ) -> Result<()>;

    /// ctx = dropout(softmax(q kᵀ / √D)) v, sequence by sequence, head by head; keeps the log-sum-exp of each row \[H, T\].
    fn attention(
        &mut self,
        ctx: &mut Self::Matrix,
        lse: &mut Self::Vector,
        qkv: &Self::Matrix,
        batch: &Self::Batch,
        dropout: Dropout,
    ) -> Result<()>;

    /// Overwrites d_qkv \[T, 3C\]. Probabilities are made again from qkv and the log-sum-exp.
    fn attention_backward(
        &mut self,
        d_qkv: &mut Self::Matrix,
        d_ctx: &Self::Matrix,
        qkv: &Self::Matrix,
        ctx: &Self::Matrix,
        lse: &Self::Vector,
        batch: &Self::Batch,
        dropout: Dropout,
    ) -> Result<()>;

    /// Attention of each sequence's first token only: q \[B, C\], kv \[T, 2C\] → ctx \[B, C\], log-sum-exp \[B, H\].
    fn attention_first(
        &mut self,
        ctx: &mut Self::Matrix,
        lse: &mut Self::Vector,
        q: &Self::Matrix,
        kv: &Self::Matrix,
        batch: &Self::Batch,
        dropout: Dropout,
    ) -> Result<()>;

    /// Overwrites d_q \[B, C\] and d_kv \[T, 2C\].
    fn attention_first_backward(
        &mut self,
        d_q: &mut Self::Matrix,
        d_kv: &mut Self::Matrix,
        d_ctx: &Self::Matrix,
        q: &Self::Matrix,
        kv: &Self::Matrix,
        ctx: &Self::Matrix,
        lse: &Self::Vector,
        batch: &Self::Batch,
        dropout: Dropout,
    ) -> Result<()>;

    /// The projections of the last layer: kv = x · \[Wk; Wv\]ᵀ + b \[T, 2C\], first \[B, C\] = the first row of each sequence of x,
    /// q = first · Wqᵀ + b \[B, C\].
    fn project_first(
        &mut self,
        kv: &mut Self::Matrix,
        q: &mut Self::Matrix,
        first: &mut Self::Matrix,
        x: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        qkv: Linear,
    ) -> Result<()>;

    /// d_x = d_kv · \[Wk; Wv\], and in the first row of each sequence + d_q · Wq + residual \[B, C\]. Overwrites d_x \[T, C\];
    /// d_first \[B, C\] is scratch.
    fn project_first_backward_input(
        &mut self,
        d_x: &mut Self::Matrix,
        d_first: &mut Self::Matrix,
        d_kv: &Self::Matrix,
        d_q: &Self::Matrix,
        residual: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        qkv: Linear,
    ) -> Result<()>;

    /// first \[B, C\] = the first row of each sequence of x \[T, C\].
    fn gather_first(&mut self, first: &mut Self::Matrix, x: &Self::Matrix, batch: &Self::Batch) -> Result<()>;

    /// d_x \[T, C\] = first \[B, C\] in the first row of each sequence, 0 in the others.
    fn scatter_first(&mut self, d_x: &mut Self::Matrix, first: &Self::Matrix, batch: &Self::Batch) -> Result<()>;

    /// pooled = tanh(first · Wpᵀ + bp), dropped = dropout(pooled), logits = dropped · Wcᵀ + bc, logits \[B, N\].
    fn classify(
        &mut self,
        pooled: &mut Self::Matrix,
        dropped: &mut Self::Matrix,
        logits: &mut Self::Vector,
        first: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
    ) -> Result<()>;

    /// Gradients of pooler and classifier, and d_first \[B, C\] (overwritten).
    fn classify_backward(
        &mut self,
        d_first: &mut Self::Matrix,
        gradients: &mut Self::Gradients,
        d_logits: &Self::Vector,
        first: &Self::Matrix,
        pooled: &Self::Matrix,
        dropped: &Self::Matrix,
        weights: &Self::Parameters,
        batch: &Self::Batch,
        pooler: Linear,
        classifier: Linear,
        dropout: Dropout,
        write: Write,
    ) -> Result<()>;

    /// losses \[2, E\], by the example's slot among the E of a step: its weighted cross-entropy (unscaled), then its distillation
    /// term (mean over classes for MSE). d_logits \[B, N\]: gradient of `ce_scale · Σ ce + λ · distill_scale · Σ distill`.
    /// `target` \[B, N\] are the teacher's logits, `class_weights` \[N\]. λ and the two scales are those of the uploaded batch.
    fn distillation_loss(
        &mut self,
        losses: &mut Self::Vector,
        d_logits: &mut Self::Vector,
        logits: &Self::Vector,
        target: Option<&Self::Vector>,
        class_weights: Option<&Self::Vector>,
        batch: &Self::Batch,
        loss: LossKind,
    ) -> Result<()>;

    /// votes \[E, N\], by the example's slot among the E of a step: its logits, a row of \[B, N\].
    fn add_votes(
        &mut self,
        votes: &mut Self::Vector,
        logits: &Self::Vector,
        batch: &Self::Batch,
        write: Write,
    ) -> Result<()>;

    /// target \[B, N\] = the votes \[E, N\] of the batch's examples, divided by how many voted.
    fn mean_of_votes(
        &mut self,
        target: &mut Self::Vector,
        votes: &Self::Vector,
        batch: &Self::Batch,
        count: u32,
    ) -> Result<()>;

    /// Before the first backward pass of an optimizer step: clears the gradients that [`Device::embed_backward`] adds to.
    fn begin_step(&mut self, gradients: &mut Self::Gradients, table: &Embeddings) -> Result<()>;

    /// Behind the last backward operation of a batch: folds what they left in pieces.
    fn end_backward(&mut self, gradients: &mut Self::Gradients, batch: &Self::Batch) -> Result<()>;

    /// Lets the losses of a step and its gradient norm come to the host, after [`OptimizerOps::update`] and without waiting.
    /// `losses` may be overwritten by the next step.
    fn send_outcome(&mut self, outcome: &mut Self::Outcome, losses: &Self::Vector) -> Result<()>;

    /// What was sent, losses and gradient norm; waits for it.
    fn receive_outcome<'a>(&mut self, outcome: &'a Self::Outcome) -> Result<(&'a [f32], f64)>;
}

/// A part of a linear layer's outputs: rows `from..from + outputs` of its weight and bias.
pub fn outputs_of(layer: Linear, inputs: usize, from: usize, outputs: usize) -> Linear {
    Linear { weight: layer.weight.part(from * inputs, outputs * inputs), bias: layer.bias.part(from, outputs) }
}
