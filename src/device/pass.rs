//! Passes of a step: where they are, what they belong to, and how they are recorded.

use std::fmt;

use super::{Buffers, timeline::Span};
use crate::{Result, data::PackedBatch};

/// Steps and passes, and what arrives on the host of them.
///
/// # Errors
/// All of it: [`Error::Device`](crate::Error::Device) where the device has failed.
pub trait Passes: Buffers {
    /// Whether calls return before their work is done: then the next step can be prepared while one runs.
    const QUEUES: bool;

    /// What this device is, for logs: every run names it.
    fn name(&self) -> String;

    /// The step that the operations that follow belong to: for profilers.
    fn enter_step(&mut self, _step: u64) {}

    /// What the operations that follow belong to: for profilers, traces and errors.
    fn enter(&mut self, scope: Scope);

    /// From now on times are taken, for [`Passes::take_spans`]; passes are no longer recorded.
    fn trace(&mut self);

    /// What the device did since the last call; waits for it. Empty without [`Passes::trace`].
    fn take_spans(&mut self) -> Result<Vec<Span>>;

    /// The batch, and the scalars of the pass that it is for: what a recorded launch reads from device memory.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) where the batch is larger than what was planned.
    fn upload(&mut self, batch: &mut Self::Batch, source: &PackedBatch, scalars: &StepScalars) -> Result<()>;

    /// Does what `pass` does. A device that records may launch what it recorded of an equal `key` and batches of like
    /// size instead of calling it: so a pass must depend on nothing but its buffers, the uploaded batch and the key.
    fn replay(&mut self, key: PassKey, batch: &Self::Batch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()>;

    /// Lets the losses of a step and its gradient norm come to the host, after
    /// [`OptimizerOps::update`](super::OptimizerOps::update) and without waiting. `losses` may be overwritten by the
    /// next step.
    fn send_outcome(&mut self, outcome: &mut Self::Outcome, losses: &Self::Vector) -> Result<()>;

    /// What was sent, losses and gradient norm; waits for it.
    fn receive_outcome<'a>(&mut self, outcome: &'a Self::Outcome) -> Result<(&'a [f32], f64)>;
}

/// A part of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The embeddings.
    Embeddings(Direction),
    /// A layer, by its number from 0.
    Layer(usize, Direction),
    /// Pooler and classifier.
    Head(Direction),
    /// The loss.
    Loss,
    /// The gradient norm and the update.
    Optimizer,
}

/// Which half of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From ids to logits.
    Forward,
    /// From the loss to gradients.
    Backward,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |direction| if direction == Direction::Forward { "forward" } else { "backward" };
        match *self {
            Self::Embeddings(direction) => write!(f, "embeddings {}", word(direction)),
            Self::Layer(layer, direction) => write!(f, "layer {layer} {}", word(direction)),
            Self::Head(direction) => write!(f, "head {}", word(direction)),
            Self::Loss => f.write_str("loss"),
            Self::Optimizer => f.write_str("optimizer"),
        }
    }
}

/// What a row of a matrix stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One row per packed token: T.
    Tokens,
    /// One row per sequence, its first token: B.
    Sequences,
}

/// What happens to a parameter gradient that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// What was there is lost.
    Overwrite,
    /// Is added to what is there.
    Add,
}

/// The distillation term of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    /// Mean over batch and classes of (z − z̄)², on the raw logits.
    Mse,
    /// τ² · KL(softmax(z̄ / τ) ‖ softmax(z / τ)), mean over the batch.
    Kl {
        /// τ.
        temperature: f32,
    },
    /// ½ (KL(p ‖ p') + KL(p' ‖ p)) of a sequence and its twin, which stands half a batch away: both are students, with
    /// other masks (R-Drop, arXiv 2106.14448). The target is the logits themselves, and the gradient that of both terms.
    Twins,
}

/// What the loss is, the same through a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossKind {
    /// How student and teacher differ.
    pub distance: Distance,
    /// ε, the share of the target that all classes have in equal parts.
    pub label_smoothing: f32,
}

/// Scalars that change from step to step, uploaded with the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepScalars {
    /// Optimizer step that the dropout masks belong to.
    pub step: u32,
    /// λ, the weight of the distillation term at this step.
    pub lambda: f32,
    /// 1 / Σ of the class weights of the labels of the whole optimizer step (without class weights: 1 / examples).
    pub ce_scale: f32,
    /// 1 / examples of the whole optimizer step.
    pub distill_scale: f32,
}

/// What tells one recorded pass from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassKey {
    /// Forward, loss and backward of the student; `target` numbers where the teacher's logits come from.
    Student {
        /// Where the teacher's logits come from.
        target: u8,
        /// Whether gradients are overwritten or added to.
        write: Write,
    },
    /// A forward pass without a backward one: whose weights, and the dropout pass of its masks (none without dropout).
    Forward {
        /// Whose weights.
        weights: ForwardWeights,
        /// The dropout pass.
        masks: Option<u32>,
    },
}

impl fmt::Display for PassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Student { .. } => f.write_str("student"),
            Self::Forward { weights: ForwardWeights::Student, .. } => f.write_str("student, forward only"),
            Self::Forward { weights: ForwardWeights::Teacher, .. } => f.write_str("teacher"),
            Self::Forward { weights: ForwardWeights::Average, .. } => f.write_str("average"),
            Self::Forward { weights: ForwardWeights::Stored(slot), .. } => write!(f, "stored weights {slot}"),
        }
    }
}

/// Whose weights a forward pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardWeights {
    /// The weights that are trained.
    Student,
    /// Those of the teacher.
    Teacher,
    /// The running average.
    Average,
    /// A slot of the ring of stored weights.
    Stored(usize),
}
