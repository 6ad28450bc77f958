//! What one optimizer pass does: AdamW on the student, and whatever follows the student in the same pass over memory.
//!
//! θ is the student. AdamW (Loshchilov and Hutter 2019), with g already clipped:
//!
//! ```text
//! θ ← θ · (1 − lr · decay)
//! m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//! θ ← θ − lr / (1 − β₁ⁿ) · m / (√(v / (1 − β₂ⁿ)) + ε)          n = updates done, this one included
//! ```
//!
//! A teacher or an average is lent to the pass as a [`Follower`]: the buffers that move, and how. Which of them a run
//! has, and when they move, is decided in `distillation`; here nothing is decided.

use super::{Buffers, Memory};
use crate::Result;

/// A stretch of the arena with one learning rate and one decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterRange {
    /// First element in the arena.
    pub start: usize,
    /// Elements.
    pub len: usize,
    /// Learning rate at this step.
    pub lr: f32,
    /// Weight decay, 0 for biases and LayerNorms.
    pub decay: f32,
    /// Width of a row, if the range is the word embedding table: rows that no batch has touched skip their moments.
    pub sparse_row: Option<usize>,
}

/// The weights in training, and their moments.
pub struct Student<D: Buffers> {
    /// θ.
    pub weights: D::Parameters,
    /// m.
    pub first_moment: D::Arena,
    /// v.
    pub second_moment: D::Arena,
}

impl<D: Memory> Student<D> {
    /// Before the first update: `weights` are θ_0, the moments are 0.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn new(device: &D, weights: &[f32]) -> Result<Self> {
        Ok(Self {
            weights: device.parameters(weights)?,
            first_moment: device.arena(weights.len())?,
            second_moment: device.arena(weights.len())?,
        })
    }
}

/// A running mean of iterates in two floats a parameter: `value` is the mean, `rest` what float32 rounded off it.
/// Without the rest a mean over 10⁵ steps would stop moving, its increments being less than half a unit in the last
/// place.
pub struct Mean<D: Buffers> {
    /// The mean.
    pub value: D::Parameters,
    /// What float32 rounds off the mean.
    pub rest: D::Arena,
}

impl<D: Memory> Mean<D> {
    /// A mean that is `weights` until it moves.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn new(device: &D, weights: &[f32]) -> Result<Self> {
        Ok(Self { value: device.parameters(weights)?, rest: device.arena(weights.len())? })
    }
}

/// The last K iterates in a ring of K slots, and their mean. Iterate n stands in slot n modulo K.
///
/// Both devices keep the same mean, in float32, each in the way that suits its memory:
///
/// - The CPU adds the slots up at each update. This is the plain mean, which the other is held to; it reads 4 K bytes a
///   parameter.
/// - CUDA moves the mean by (newest − oldest) / K, 8 bytes a parameter whatever K is. Each move rounds once. So that
///   roundings do not pile up, the slots are added up while the ring fills, and once a round after that: when an
///   iterate takes the last slot.
///
/// How far the mean is off, to first order, where u = 2⁻²⁴ and no iterate of the window is larger than M: a sum of K
/// numbers rounds partial sums of up to 2 M … K M, and a division by K makes (K + 1) / 2 · u M of that; 1 / K and the
/// product round once each. That is (K + 5) / 2 · u M on the CPU. On CUDA up to K − 1 moves come on top, each of which
/// rounds a number of up to M once, and an increment of up to 2 M / K twice: (3 K + 11) / 2 · u M in all, M being of
/// the iterates since the slots were last added up.
pub struct Window<D: Buffers> {
    /// Mean of the slots that are filled.
    pub mean: D::Parameters,
    ring: Vec<D::Arena>,
}

impl<D: Memory> Window<D> {
    /// An empty window of `size` iterates, whose mean is `weights` until it has one.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn new(device: &D, size: usize, weights: &[f32]) -> Result<Self> {
        let ring = (0..size).map(|_| device.arena(weights.len())).collect::<Result<_>>()?;
        Ok(Self { mean: device.parameters(weights)?, ring })
    }
}

impl<D: Buffers> Window<D> {
    /// The slots, taken or not.
    pub fn ring(&self) -> &[D::Arena] {
        &self.ring
    }

    /// The slots, and beside them the mean.
    pub fn parts(&mut self) -> (&mut D::Parameters, &mut [D::Arena]) {
        (&mut self.mean, &mut self.ring)
    }

    /// Where iterate `number` goes.
    pub fn turn(&self, number: u64) -> Turn {
        Turn::new(number, self.ring.len())
    }
}

/// An iterate's place in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The slot that it takes.
    pub slot: usize,
    /// Slots in use once it has: the first so many.
    pub filled: usize,
}

impl Turn {
    /// The turn of update `number` in a window of `size` slots.
    pub fn new(number: u64, size: usize) -> Self {
        let size = size as u64;
        Self { slot: (number % size) as usize, filled: size.min(number + 1) as usize }
    }

    /// Whether no slot after this one is in use: the ring fills, or a round ends.
    pub fn is_last(self) -> bool {
        self.slot + 1 == self.filled
    }
}

/// A mean that moves: mean ← mean + weight · (iterate − mean).
pub struct Blend<'a, D: Buffers> {
    /// What moves.
    pub mean: &'a mut Mean<D>,
    /// Weight of the student in it.
    pub weight: f64,
}

/// What follows the student in an update, θ before it and θ' after it.
pub enum Follower<'a, D: Buffers> {
    /// θ, which is iterate `number`, takes its slot in the window; the mean becomes that of the slots in use.
    Window {
        /// The window.
        window: &'a mut Window<D>,
        /// Number of the update.
        number: u64,
    },
    /// The copy becomes θ.
    Copy(&'a mut D::Parameters),
    /// The mean moves towards θ.
    Before(Blend<'a, D>),
    /// The mean moves towards θ'.
    After(Blend<'a, D>),
}

/// One optimizer update.
pub struct Update<'a, D: Buffers> {
    /// Number of the step, from 1. The n of the update is smaller by the steps that were skipped.
    pub step_number: u64,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε.
    pub eps: f32,
    /// Largest gradient norm: gradients are multiplied by min(1, clip / (‖g‖ + 1e-6)), as
    /// torch.nn.utils.clip_grad_norm_ does. Infinite: no clipping.
    pub clip: f32,
    /// The teacher that follows the student.
    pub teacher: Option<Follower<'a, D>>,
    /// Moves towards θ'.
    pub average: Option<Blend<'a, D>>,
}

/// The gradient norm, and the update of everything that training keeps.
pub trait OptimizerOps: Buffers {
    /// ‖g‖₂ over all parameters, with a fixed order of summation. It stays on the device for [`OptimizerOps::update`].
    fn gradient_norm(&mut self, gradients: &Self::Gradients) -> Result<()>;

    /// One pass over the arenas: clip, AdamW, teacher, average. Where the gradient norm is not finite, weights and
    /// moments stay, and teacher and average take them in once more; the device counts such steps, as the host will
    /// know of them too late.
    fn update(
        &mut self,
        student: &mut Student<Self>,
        gradients: &Self::Gradients,
        ranges: &[ParameterRange],
        update: Update<Self>,
    ) -> Result<()>;

    /// The steps that were skipped before a run goes on.
    fn set_skips(&mut self, skips: u64) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterates_take_turns_in_a_ring() {
        let turns = |size| (0..6).map(|number| Turn::new(number, size)).collect::<Vec<_>>();
        let turn = |slot, filled| Turn { slot, filled };
        assert_eq!(turns(3), [turn(0, 1), turn(1, 2), turn(2, 3), turn(0, 3), turn(1, 3), turn(2, 3)]);
        let last: Vec<bool> = turns(3).into_iter().map(Turn::is_last).collect();
        assert_eq!(last, [true, true, true, false, false, true], "while it fills, and once a round");
        assert_eq!(turns(1), [turn(0, 1); 6]);
    }
}
