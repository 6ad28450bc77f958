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
