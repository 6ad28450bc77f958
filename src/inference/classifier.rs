//! A model on a device, for scoring: weights, one workspace without a backward pass, one batch.

use std::{borrow::Cow, ops::ControlFlow};

use crate::{
    Error, Result, Stop,
    data::{EvaluationPlan, Examples, PackedBatch},
    device::{Capacity, Device, ForwardWeights, Mask, PassKey, StepScalars},
    encoder::{Encoder, Keep, LastLayer, Pass, Workspace},
    model::Model,
};

/// What a sweep calls: with the numbers of a batch's examples \[B\] and their logits \[B, N\].
pub type Visit<'a> = dyn FnMut(&[u32], &[f32]) -> Result<()> + 'a;

/// Memory is planned once, for the capacity; classifying allocates nothing on the device.
pub struct Classifier<D: Device> {
    device: D,
    encoder: Encoder,
    weights: D::Parameters,
    workspace: Workspace<D>,
    batch: D::Batch,
}

impl<D: Device> Classifier<D> {
    /// Copies the weights of `model` to the device; the model's own may be dropped afterwards.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device has no memory for it or fails.
    pub fn new(device: D, model: &Model, capacity: Capacity) -> Result<Self> {
        let encoder = Encoder::new(&model.config, LastLayer::FirstRows);
        Ok(Self {
            weights: device.parameters(&model.weights)?,
            workspace: Workspace::new(&device, &encoder, capacity, Keep::Logits)?,
            batch: device.batch(capacity)?,
            device,
            encoder,
        })
    }

    /// N.
    pub fn classes(&self) -> usize {
        self.encoder.shape.labels
    }

    /// What the device is.
    pub fn device_name(&self) -> String {
        self.device.name()
    }

    /// Logits \[B, N\] of a batch.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the batch is empty, or larger than what was planned.
    pub fn logits(&mut self, batch: &PackedBatch) -> Result<Cow<'_, [f32]>> {
        if batch.sequences() == 0 {
            return Err(Error::misuse("Classifier::logits", "the batch is empty"));
        }
        let Self { device, encoder, workspace, weights, batch: uploaded, .. } = self;
        device.upload(uploaded, batch, &StepScalars::default())?;
        let key = PassKey::Forward { weights: ForwardWeights::Student, masks: None };
        device.replay(key, uploaded, |device| {
            Pass { encoder, device, weights, batch: uploaded, mask: Mask::none(), stop: Stop::NEVER }.forward(workspace)
        })?;
        let used = batch.sequences() * encoder.shape.labels;
        Ok(match device.read_vector(&workspace.logits)? {
            Cow::Borrowed(all) => Cow::Borrowed(&all[..used]),
            Cow::Owned(mut all) => {
                all.truncate(used);
                Cow::Owned(all)
            }
        })
    }

    /// Every example once, in the batches of `plan`.
    ///
    /// # Errors
    /// Of the device, or of what is done with each batch.
    pub fn sweep(&mut self, examples: &Examples, plan: &EvaluationPlan, visit: &mut Visit<'_>) -> Result<()> {
        let seen = plan.sweep(examples, |numbers, batch| {
            visit(numbers, &self.logits(batch)?)?;
            Ok(ControlFlow::Continue(()))
        });
        seen.map(drop)
    }
}
