//! Forward passes of which only the logits are wanted: a teacher's, and those of evaluation.

use crate::{
    Result, Stop,
    device::{Device, ForwardWeights, Mask, PassKey},
    encoder::{Encoder, Pass, Workspace},
    random::Philox,
};

/// Dropout masks of a run.
#[derive(Clone, Copy, Debug)]
pub struct Masks {
    /// That of the run's dropout.
    pub seed: u64,
    /// Passes other than the student's run with dropout.
    pub teacher_dropout: bool,
}

impl Masks {
    /// Those of a step: pass 0 is the student's, pass k that of teacher k.
    pub fn at(self, step: u64, pass: usize) -> Mask {
        let active = pass == 0 || self.teacher_dropout;
        Mask { philox: Philox::new(self.seed), step: step as u32, pass: pass as u32, active }
    }
}

/// What runs them.
pub struct Forward<'a, D: Device> {
    /// What runs.
    pub encoder: &'a Encoder,
    /// Where it keeps activations.
    pub workspace: &'a mut Workspace<D>,
    /// Which masks it drops with.
    pub masks: Masks,
    /// See [`Pass::stop`].
    pub stop: Stop<'a>,
}

impl<D: Device> Forward<'_, D> {
    /// Leaves the logits of the uploaded batch in the workspace; `name` says whose weights these are.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Interrupted`](crate::Error::Interrupted) when the pass was called off.
    pub fn run(
        &mut self,
        device: &mut D,
        name: ForwardWeights,
        weights: &D::Parameters,
        batch: &D::Batch,
        mask: Mask,
    ) -> Result<()> {
        let key = PassKey::Forward { weights: name, masks: mask.active.then_some(mask.pass) };
        let Self { encoder, workspace, stop, .. } = self;
        device
            .replay(key, batch, |device| Pass { encoder, device, weights, batch, mask, stop: *stop }.forward(workspace))
    }
}
