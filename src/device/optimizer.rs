//! The state that training carries from step to step, and what one optimizer pass does to it.
//!
//! θ is the student. AdamW (Loshchilov and Hutter 2019), with g already clipped:
//!
//! ```text
//! θ ← θ · (1 − lr · decay)
//! m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//! θ ← θ − lr / (1 − β₁ⁿ) · m / (√(v / (1 − β₂ⁿ)) + ε)          n = updates done, this one included
//! ```
//!
//! In the same pass over memory the teacher and the average follow (see [`Follow`]).

use super::Buffers;
use crate::Result;

/// A stretch of the arena with one learning rate and one decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterRange {
    pub start: usize,
    pub len: usize,
    /// Learning rate at this step.
    pub lr: f32,
    /// Weight decay, 0 for biases and LayerNorms.
    pub decay: f32,
    /// Width of a row, if the range is the word embedding table: rows that no batch has touched skip their moments.
    pub sparse_row: Option<usize>,
}

/// How a mean moves with the student, θ before an update and θ' after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Follow {
    /// Ring slot ← θ, mean ← mean of the `filled` slots in use.
    Window { slot: usize, filled: usize },
    /// Ring slot ← θ; no mean.
    Store { slot: usize },
    /// mean ← mean + weight · (θ − mean).
    Before { weight: f64 },
    /// mean ← mean + weight · (θ' − mean).
    After { weight: f64 },
    /// The mean stays as it is.
    Keep,
}

/// One optimizer update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Number of the step, from 1. The n of the update is smaller by the steps that were skipped.
    pub step_number: u64,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    /// Largest gradient norm: gradients are multiplied by min(1, clip / (‖g‖ + 1e-6)), as torch.nn.utils.clip_grad_norm_
    /// does. Infinite: no clipping.
    pub clip: f32,
    pub teacher: Follow,
    pub average: Follow,
}

/// A running mean of iterates in two floats a parameter: `value` is the mean, `rest` what float32 rounded off it. Without the
/// rest a mean over 10⁵ steps would stop moving, its increments being less than half a unit in the last place.
pub struct Mean<D: Buffers> {
    pub value: D::Parameters,
    pub rest: D::Arena,
}

/// The weights that teach.
pub enum Teacher<D: Buffers> {
    /// Mean of the last K iterates, and those iterates.
    Window { mean: D::Parameters, ring: Vec<D::Arena> },
    /// A cumulative or exponential mean.
    Mean(Mean<D>),
    /// The last K iterates themselves.
    Stored { ring: Vec<D::Parameters> },
}

/// Everything an optimizer step changes.
pub struct TrainingState<D: Buffers> {
    pub student: D::Parameters,
    pub first_moment: D::Arena,
    pub second_moment: D::Arena,
    pub teacher: Option<Teacher<D>>,
    pub average: Option<Mean<D>>,
}

/// The gradient norm, and the update of everything that training keeps.
pub trait OptimizerOps: Buffers {
    /// ‖g‖₂ over all parameters, with a fixed order of summation. It stays on the device for [`OptimizerOps::update`].
    fn gradient_norm(&mut self, gradients: &Self::Gradients) -> Result<()>;

    /// One pass over the arenas: clip, AdamW, teacher, average. Where the gradient norm is not finite, weights and moments stay,
    /// and teacher and average take them in once more; the device counts such steps, as the host will know of them too late.
    fn update(
        &mut self,
        state: &mut TrainingState<Self>,
        gradients: &Self::Gradients,
        ranges: &[ParameterRange],
        update: &Update,
    ) -> Result<()>;

    /// The steps that were skipped before a run goes on.
    fn set_skips(&mut self, skips: u64) -> Result<()>;
}
