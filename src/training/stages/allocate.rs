//! Allocate: the device, the classifier on it, and all memory that its training takes.

use super::{BaseModel, Batches, RunData};
use crate::{
    Result,
    data::EncodeSettings,
    device::{Capacity, Device, Shape},
    encoder::{Encoder, LastLayer},
    inference::TrainedWith,
    model::Model,
    training::{Learner, MemoryPlan, OwnMemory, RunOptions, Watch},
};

/// A classifier on its device, with everything that a step needs.
pub struct Workbench<D: Device> {
    /// What is exported in the end; its weights have gone to the learner.
    pub model: Model,
    /// With all of its memory.
    pub learner: Learner<D>,
}

impl<D: Device> Workbench<D> {
    /// # Errors
    /// [`crate::Error::Device`] when the memory does not suffice, and as [`Model::load`].
    pub fn allocate(
        options: &RunOptions,
        base: &BaseModel,
        data: &RunData,
        batches: &Batches,
        make: impl FnOnce(Shape, Capacity) -> Result<D>,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut model = base.classifier(options, data.labels.names().to_vec(), watch)?;
        serving(options, data.encode).store(&mut model);
        model.tokenizer.replace(base.tokenizer.exported(data.encode, model.tokenizer.get("vocab.txt")));
        let encoder = Encoder::new(&model.config, LastLayer::FirstRows).with_recompute(options.recompute);
        let settings = batches.step_settings(options);
        let device = make(encoder.shape, batches.inference)?;
        if let Some(free_bytes) = device.free_bytes()? {
            // What the device's operations need, they have by now.
            let (method, examples) = (settings.method, settings.max_examples);
            let (sizes, count) = batches.sizes(options);
            let head_room_bytes = device.head_room_bytes(model.config.layers, sizes, count);
            let own = OwnMemory { scratch_bytes: 0, head_room_bytes };
            let plan = |training| {
                MemoryPlan::new(&encoder, &method, training, batches.inference, examples, device.storage(), own)
            };
            let needs = |examples| plan(batches.fewer(examples)).total_bytes();
            plan(batches.training).check(
                &device.name(),
                free_bytes,
                batches.training.sequences / batches.copies,
                needs,
            )?;
        }
        let weights = std::mem::take(&mut model.weights);
        let learner = Learner::new(device, encoder, settings, batches.training, batches.inference, &weights)?;
        Ok(Self { model, learner })
    }
}

/// What `eval` and `predict` need to read data as training did.
fn serving(options: &RunOptions, encode: EncodeSettings) -> TrainedWith {
    TrainedWith {
        text: options.text_columns(),
        text_pair: options.text_pair.clone(),
        label: options.label_column(),
        no_header: options.no_header == Some(true),
        max_length: Some(encode.max_length),
        truncate: Some(encode.truncation.to_string()),
        delimiter: options.delimiter,
        ignore_label: options.ignore_label.clone(),
        label_map: options.label_map.clone(),
    }
}
