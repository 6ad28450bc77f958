//! What training takes in device memory, reckoned before anything is allocated.

use crate::{
    Error, Result,
    device::{Capacity, Counter, Memory, Storage, Student},
    distillation::{Average, LogitSizes, MethodSettings, Teacher},
    encoder::{Encoder, Keep, Workspace},
};

/// What a device needs for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnMemory {
    /// What its operations keep.
    pub scratch_bytes: usize,
    /// What it takes beside all buffers while it trains.
    pub head_room_bytes: usize,
}

/// Bytes by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What for, and how many bytes.
    pub rows: Vec<(&'static str, usize)>,
}

impl MemoryPlan {
    /// `training` is the largest micro-batch, `inference` the largest batch of the teacher and of evaluation,
    /// `step_examples` what the micro-batches of a step hold; `own` is what the device needs for itself.
    ///
    /// # Panics
    /// For settings that [`MethodSettings::check`] refuses.
    pub fn new(
        encoder: &Encoder,
        method: &MethodSettings,
        training: Capacity,
        inference: Capacity,
        step_examples: usize,
        storage: Storage,
        own: OwnMemory,
    ) -> Self {
        const NEVER: &str = "a counter allocates nothing that could fail, and the settings were checked";
        let bytes = |allocate: &dyn Fn(&Counter) -> Result<()>| Counter::count(storage, allocate).expect(NEVER);
        let (layout, labels) = (&encoder.layout, encoder.shape.labels);
        let logits = LogitSizes { step: step_examples * labels, batch: training.sequences * labels };
        // Zeros that nothing touches take no memory.
        let zeros = vec![0.0f32; layout.len];
        let weights = bytes(&|counter| counter.parameters(&zeros));
        let average = |from| bytes(&|counter| Average::new(counter, from, &zeros).map(drop));
        let workspace = |capacity, keep| bytes(&|counter| Workspace::new(counter, encoder, capacity, keep).map(drop));
        Self {
            rows: vec![
                ("weights", weights),
                ("gradients", bytes(&|counter| counter.gradients(layout.len, &layout.embeddings))),
                ("moments", bytes(&|counter| Student::new(counter, &zeros).map(drop)) - weights),
                ("teacher", bytes(&|counter| Teacher::new(counter, method, &zeros, logits).map(drop))),
                ("average", method.average_from.map_or(0, average)),
                ("activations", workspace(training, Keep::ForBackward)),
                ("teacher and evaluation activations", workspace(inference, Keep::Logits)),
                ("scratch", own.scratch_bytes),
                ("recorded passes", own.head_room_bytes),
            ],
        }
    }

    /// The sum.
    pub fn total_bytes(&self) -> usize {
        self.rows.iter().map(|(_, bytes)| bytes).sum()
    }

    /// # Errors
    /// [`Error::Device`] where the plan for micro-batches of `sequences` does not fit into what is free, with the
    /// micro-batch that would; `needs` gives the bytes for fewer sequences.
    pub fn check(
        &self,
        device: &str,
        free_bytes: usize,
        sequences: usize,
        needs: impl Fn(usize) -> usize,
    ) -> Result<()> {
        let total = self.total_bytes();
        if total <= free_bytes {
            return Ok(());
        }
        let advice = match largest_that_fits(sequences, free_bytes, needs) {
            None => "no batch fits beside the weights, moments and teacher: take a smaller --teacher window, another \
                     method, --recompute layer, or a smaller model"
                .to_owned(),
            Some(fits) => format!("a --batch-size of {fits} would fit; --grad-accum keeps the step as large as it is"),
        };
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        let (needed, free) = (mib(total), mib(free_bytes));
        let message =
            format!("batches of {sequences} sequences need {needed} MiB in all and {free} MiB are free; {advice}");
        Err(Error::Device { device: device.to_owned(), message })
    }
}

/// The most sequences of a micro-batch, at most `sequences`, of which `needs` gives the bytes.
pub fn largest_that_fits(sequences: usize, free_bytes: usize, needs: impl Fn(usize) -> usize) -> Option<usize> {
    (1..=sequences).rev().find(|&fewer| needs(fewer) <= free_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let mib = 1 << 20;
        let needs = |sequences: usize| (100 + 10 * sequences) * mib;
        let plan = MemoryPlan { rows: vec![("weights", 100 * mib), ("activations", 320 * mib)] };
        let check = |free: usize| plan.check("cuda:0", free * mib, 32, needs);
        assert!(check(420).is_ok());
        let error = check(419).unwrap_err().to_string();
        assert!(
            error.contains("420 MiB") && error.contains("419 MiB") && error.contains("--batch-size of 31"),
            "{error}"
        );
        assert!(check(109).unwrap_err().to_string().contains("no batch fits"));
        assert!(check(110).unwrap_err().to_string().contains("--batch-size of 1 "));
    }
}
