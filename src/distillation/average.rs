//! The mean of the iterates: what `se` evaluates, and any method may keep beside its own.

use crate::{
    Result,
    device::{Blend, Buffers, Mean, Memory},
};

/// The mean of iterates `from`, `from` + 1, …; until the first of them it is θ_0.
pub struct Average<D: Buffers> {
    mean: Mean<D>,
    from: u64,
}

impl<D: Memory> Average<D> {
    /// # Errors
    /// Where the device has no memory for it.
    pub fn new(device: &D, from: u64, weights: &[f32]) -> Result<Self> {
        Ok(Self { mean: Mean::new(device, weights)?, from })
    }
}

impl<D: Buffers> Average<D> {
    /// How it moves in update t, whose result is iterate t + 1.
    pub fn blend(&mut self, step: u64) -> Option<Blend<'_, D>> {
        let taken = (step + 2).checked_sub(self.from).filter(|&taken| taken > 0)?; // this iterate included
        Some(Blend { mean: &mut self.mean, weight: 1.0 / taken as f64 })
    }

    /// Whether it has taken in an iterate after `steps` updates.
    pub fn has_begun(&self, steps: u64) -> bool {
        steps >= self.from
    }

    /// The average so far.
    pub fn weights(&self) -> &D::Parameters {
        &self.mean.value
    }

    /// Its two buffers.
    pub fn mean(&mut self) -> &mut Mean<D> {
        &mut self.mean
    }
}
