//! What training takes in device memory, reckoned before anything is allocated.

use crate::{
    Error, Result,
    device::{Capacity, Storage},
    distillation::{Plan, Source},
    encoder::{Encoder, Keep},
};

const FLOAT_BYTES: usize = size_of::<f32>();

/// Bytes by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    pub rows: Vec<(&'static str, usize)>,
}

impl MemoryPlan {
    /// `training` is the largest micro-batch, `inference` the largest batch of the teacher and of evaluation; `scratch_bytes` is
    /// what the device's operations keep for themselves.
    pub fn new(
        encoder: &Encoder,
        plan: &Plan,
        training: Capacity,
        inference: Capacity,
        storage: Storage,
        scratch_bytes: usize,
    ) -> Self {
        let arena = encoder.layout.len * FLOAT_BYTES;
        // Weights of a forward pass have a copy in the working precision, where that is not float32.
        let weights = if storage.copies_weights { arena + encoder.layout.len * storage.matrix_bytes } else { arena };
        let teacher = match (plan.source(), plan.window()) {
            (Source::None | Source::LookAhead, _) => 0,
            (Source::Stored, window) => window * weights,
            // A mean of two floats a parameter, or a window's mean and its iterates.
            (Source::Weights, 0) => weights + arena,
            (Source::Weights, window) => weights + window * arena,
        };
        let workspace = |capacity, keep| encoder.footprint(capacity, keep).bytes(storage.matrix_bytes);
        Self {
            rows: vec![
                ("weights", weights),
                ("gradients", arena),
                ("moments", 2 * arena),
                ("teacher", teacher),
                ("average", if plan.averages() { weights + arena } else { 0 }),
                ("activations", workspace(training, Keep::ForBackward)),
                ("teacher and evaluation activations", workspace(inference, Keep::Logits)),
                ("scratch", scratch_bytes),
            ],
        }
    }

    pub fn total_bytes(&self) -> usize {
        self.rows.iter().map(|(_, bytes)| bytes).sum()
    }

    /// What does not depend on the size of a batch.
    fn fixed_bytes(&self) -> usize {
        let varies = |name: &str| name.contains("activations") || name == "scratch";
        self.rows.iter().filter(|(name, _)| !varies(name)).map(|(_, bytes)| bytes).sum()
    }

    /// # Errors
    /// [`Error::Device`] where the plan does not fit into what is free, with the micro-batch that would.
    pub fn check(&self, device: &str, free_bytes: usize, sequences: usize) -> Result<()> {
        let total = self.total_bytes();
        if total <= free_bytes {
            return Ok(());
        }
        let fixed = self.fixed_bytes();
        // Activations grow in step with the sequences of a micro-batch.
        let fits = free_bytes.saturating_sub(fixed) as u128 * sequences as u128 / (total - fixed).max(1) as u128;
        let advice = match fits {
            0 => "no batch fits beside the weights, moments and teacher: take a smaller --teacher window, another method or a \
                  smaller model"
                .to_owned(),
            fits => format!("a --batch-size of {fits} would fit; --grad-accum keeps the step as large as it is"),
        };
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        let message = format!(
            "this run needs {} MiB ({} of them for batches of {sequences} sequences) and {} MiB are free; {advice}",
            mib(total),
            mib(total - fixed),
            mib(free_bytes)
        );
        Err(Error::Device { device: device.to_owned(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fixed: usize, activations: usize) -> MemoryPlan {
        MemoryPlan { rows: vec![("weights", fixed), ("activations", activations)] }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let mib = 1 << 20;
        assert!(plan(100 * mib, 320 * mib).check("cuda:0", 420 * mib, 32).is_ok());
        let error = plan(100 * mib, 320 * mib).check("cuda:0", 419 * mib, 32).unwrap_err().to_string();
        assert!(
            error.contains("420 MiB") && error.contains("419 MiB") && error.contains("--batch-size of 31"),
            "{error}"
        );
        let error = plan(100 * mib, 320 * mib).check("cuda:0", 99 * mib, 32).unwrap_err().to_string();
        assert!(error.contains("no batch fits"), "{error}");
    }
}
