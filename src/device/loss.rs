//! The loss of logits with its gradient, and the sums of logits that vote.

use super::{Buffers, LossKind, Shape, Uploaded, Write, check::Check};
use crate::Result;

/// What the loss is made of.
pub struct LossInputs<'a, D: Buffers> {
    /// The student's.
    pub logits: &'a D::Vector, // [B, N]
    /// The teacher's logits.
    pub target: Option<&'a D::Vector>, // [B, N]
    /// Weight of each class in the cross-entropy; none: all 1.
    pub class_weights: Option<&'a D::Vector>, // [N]
}

// Not derived: that would ask for a device that can be copied.
impl<D: Buffers> Clone for LossInputs<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Buffers> Copy for LossInputs<'_, D> {}

/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a buffer is too small for the batch, or has no place for one of its slots.
pub trait LossOps: Buffers {
    /// losses \[2, E\], by the example's slot among the E of a step: its weighted cross-entropy (unscaled), then its
    /// distillation term (mean over classes for MSE). d_logits \[B, N\]: gradient of `ce_scale · Σ ce + λ ·
    /// distill_scale · Σ distill`. λ and the two scales are those of the uploaded batch.
    fn distillation_loss(
        &mut self,
        losses: &mut Self::Vector,
        d_logits: &mut Self::Vector,
        inputs: LossInputs<'_, Self>,
        loss: LossKind,
        batch: &Self::Batch,
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
}

pub(super) fn check<D: Buffers>(
    shape: &Shape,
    losses: &D::Vector,
    d_logits: &D::Vector,
    inputs: LossInputs<'_, D>,
    batch: &D::Batch,
) {
    let (limits, classes) = (batch.limits(), shape.labels);
    let len = limits.sequences * classes;
    let mut check = Check("the loss")
        .vector("losses", losses, 2 * limits.slots)
        .vector("the logits", inputs.logits, len)
        .vector("the gradient of the logits", d_logits, len);
    if let Some(target) = inputs.target {
        check = check.vector("the target", target, len);
    }
    if let Some(weights) = inputs.class_weights {
        check.vector("class weights", weights, classes);
    }
}

/// `logits` are the logits or the target.
pub(super) fn check_votes<D: Buffers>(shape: &Shape, votes: &D::Vector, logits: &D::Vector, batch: &D::Batch) {
    let (limits, classes) = (batch.limits(), shape.labels);
    Check("votes").vector("votes", votes, limits.slots * classes).vector(
        "the logits",
        logits,
        limits.sequences * classes,
    );
}
