//! A model on a device, for scoring: weights, one workspace without a backward pass, one batch.

use std::borrow::Cow;

use crate::{
    Error, Result,
    data::{EvaluationPlan, Examples, PackedBatch},
    device::{Capacity, Device, ForwardWeights, Mask, PassKey, StepScalars},
    encoder::{Encoder, Keep, LastLayer, Workspace},
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
    packed: PackedBatch,
    capacity: Capacity,
}

impl<D: Device> Classifier<D> {
    /// Copies the weights of `model` to the device; the model's own may be dropped afterwards.
    pub fn new(device: D, model: &Model, capacity: Capacity) -> Result<Self> {
        let encoder = Encoder::new(&model.config, LastLayer::FirstRows);
        Ok(Self {
            weights: device.parameters(&model.weights)?,
            workspace: Workspace::new(&device, &encoder, capacity, Keep::Logits)?,
            batch: device.batch(capacity)?,
            packed: PackedBatch::default(),
            device,
            encoder,
            capacity,
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
    /// [`Error::Misuse`] when the batch is larger than the capacity, or empty.
    pub fn logits(&mut self, batch: &PackedBatch) -> Result<Cow<'_, [f32]>> {
        let longest = batch.offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0) as usize;
        let Capacity { tokens, sequences, length } = self.capacity;
        if batch.tokens() > tokens || batch.sequences() > sequences || longest > length || batch.sequences() == 0 {
            let message = format!(
                "{} tokens in {} sequences of up to {longest} were asked for; planned are 1 to {tokens} in up to \
                 {sequences} of up to {length}",
                batch.tokens(),
                batch.sequences()
            );
            return Err(Error::misuse("Classifier::logits", message));
        }
        let Self { device, encoder, workspace, weights, batch: uploaded, .. } = self;
        device.upload(uploaded, batch, &StepScalars::default())?;
        let key = PassKey::Forward { weights: ForwardWeights::Student, masks: None };
        device.replay(key, uploaded, |device| encoder.forward(device, workspace, weights, uploaded, Mask::none()))?;
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
    pub fn sweep(&mut self, examples: &Examples, plan: &EvaluationPlan, visit: &mut Visit<'_>) -> Result<()> {
        let mut packed = std::mem::take(&mut self.packed);
        for batch in plan.batches() {
            examples.fill(batch, 0, &mut packed);
            visit(batch, &self.logits(&packed)?)?;
        }
        self.packed = packed;
        Ok(())
    }
}
