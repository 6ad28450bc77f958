//! A device that allocates nothing and counts what it is asked for: how much memory a run takes is known from the
//! constructors that will take it.

use std::cell::Cell;

use super::{Buffers, Capacity, Extent, Limits, Matrix, Memory, Storage, Uploaded, batch_index};
use crate::{Result, model::layout::Embeddings};

/// Counts bytes as a device with this storage would take them.
pub struct Counter {
    storage: Storage,
    bytes: Cell<usize>,
}

impl Counter {
    /// Bytes of what `allocate` makes.
    ///
    /// # Errors
    /// Those of `allocate`; the counter has none.
    pub fn count<T>(storage: Storage, allocate: impl FnOnce(&Self) -> Result<T>) -> Result<usize> {
        let counter = Self { storage, bytes: Cell::new(0) };
        allocate(&counter)?;
        Ok(counter.bytes.get())
    }

    fn add(&self, elements: usize, element_bytes: usize) {
        self.bytes.set(self.bytes.get() + elements * element_bytes);
    }

    fn floats(&self, len: usize) {
        self.add(len, size_of::<f32>());
    }
}

/// How many numbers a vector would have.
pub struct CountedVector(usize);

impl Extent for CountedVector {
    fn elements(&self) -> usize {
        self.0
    }
}

/// A batch that nothing is uploaded to.
#[derive(Default)]
pub struct CountedBatch(Limits);

impl Uploaded for CountedBatch {
    fn limits(&self) -> &Limits {
        &self.0
    }
}

impl Buffers for Counter {
    type Elements = ();
    type Vector = CountedVector;
    type Arena = ();
    type Parameters = ();
    type Gradients = ();
    type Batch = CountedBatch;
    type Outcome = ();
}

impl Memory for Counter {
    fn storage(&self) -> Storage {
        self.storage
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        Ok(None)
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<Matrix<Self>> {
        self.add(rows * cols, self.storage.matrix_bytes);
        Ok(Matrix::new((), rows, cols))
    }

    fn vector(&self, len: usize) -> Result<CountedVector> {
        self.floats(len);
        Ok(CountedVector(len))
    }

    fn arena(&self, len: usize) -> Result<()> {
        self.floats(len);
        Ok(())
    }

    fn parameters(&self, values: &[f32]) -> Result<()> {
        self.floats(values.len());
        if self.storage.copies_weights {
            self.add(values.len(), self.storage.matrix_bytes);
        }
        Ok(())
    }

    /// The arena, and a flag for each word.
    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<()> {
        self.floats(len);
        self.add(embeddings.word.len / embeddings.norm.gamma.len, size_of::<u8>());
        Ok(())
    }

    fn batch(&self, capacity: Capacity) -> Result<CountedBatch> {
        self.add(batch_index::words(capacity), size_of::<u32>());
        Ok(CountedBatch::default())
    }

    /// The host's memory.
    fn outcome(&self, _: usize) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::cpu::CpuDevice,
        encoder::{Encoder, Keep, LastLayer, Recompute, Workspace},
        model::{Activation, BertConfig},
    };

    fn allocated(workspace: &Workspace<CpuDevice>) -> usize {
        let Workspace { x, embedded, layers, h, pooled, dropped, logits, gradients, .. } = workspace;
        let mut matrices: Vec<_> = x.iter().chain(h).chain([pooled, dropped]).collect();
        let mut vectors = vec![&embedded.mean, &embedded.rstd, logits];
        for layer in layers {
            matrices.extend([&layer.qkv, &layer.ctx, &layer.r1, &layer.y, &layer.r2]);
            matrices.extend(layer.first.iter().flat_map(|first| [&first.q, &first.x]).chain(&layer.u).chain(&layer.h));
            let (stats1, stats2) = (&layer.stats1, &layer.stats2);
            vectors.extend([&layer.lse, &stats1.mean, &stats1.rstd, &stats2.mean, &stats2.rstd]);
        }
        if let Some(g) = gradients {
            matrices.extend([&g.d_out, &g.d_r, &g.d_branch, &g.d_y, &g.d_u, &g.d_qkv]);
            vectors.push(&g.d_logits);
        }
        let elements = matrices.iter().map(|matrix| matrix.elements().len()).chain(vectors.iter().map(|v| v.len()));
        elements.sum::<usize>() * size_of::<f32>()
    }

    #[test]
    fn it_counts_what_a_workspace_allocates() {
        let mut config = BertConfig {
            vocab_size: 11,
            hidden_size: 16,
            layers: 3,
            heads: 2,
            intermediate_size: 24,
            max_positions: 40,
            type_vocab_size: 2,
            labels: 5,
            activation: Activation::GeluErf,
            layer_norm_eps: 1e-12,
            hidden_drop_prob: 0.1,
            attention_drop_prob: 0.1,
            classifier_drop_prob: 0.1,
            initializer_range: 0.02,
        };
        let capacity = Capacity { tokens: 37, sequences: 4, length: 19 };
        for (layers, recompute) in [
            (1, Recompute::None),
            (1, Recompute::Gelu),
            (3, Recompute::Gelu),
            (3, Recompute::Layer),
            (3, Recompute::None),
        ] {
            config.layers = layers;
            let encoder = Encoder::new(&config, LastLayer::FirstRows).with_recompute(recompute);
            let device = CpuDevice::new(encoder.shape, capacity);
            for keep in [Keep::ForBackward, Keep::Logits] {
                let workspace = Workspace::new(&device, &encoder, capacity, keep).unwrap();
                let counted =
                    Counter::count(Storage::FLOAT32, |counter| Workspace::new(counter, &encoder, capacity, keep));
                assert_eq!(counted.unwrap(), allocated(&workspace), "{layers} {recompute:?} {keep:?}");
            }
        }
    }
}
