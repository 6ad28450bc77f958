//! What operations read and write: matrices that know their rows and columns, statistics of rows, and what an operation
//! works on.

use super::{Buffers, Memory, Rows, Write};
use crate::Result;

/// A row-major matrix in the working precision of a device. Its rows are those that there is room for; the batch says
/// how many of them are in use.
pub struct Matrix<D: Buffers> {
    pub(super) elements: D::Elements,
    /// How many elements there are.
    room: usize,
    cols: usize,
}

impl<D: Buffers> Matrix<D> {
    /// For a device, which has made sure that there are `rows · cols` elements.
    pub(super) fn new(elements: D::Elements, rows: usize, cols: usize) -> Self {
        Self { elements, room: rows * cols, cols }
    }

    /// Rows that there is room for.
    pub fn rows(&self) -> usize {
        self.room / self.cols.max(1)
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The same memory with rows of `cols` elements, as many as there is room for: buffers take turns as matrices of
    /// different widths. What they held is no longer where it was.
    pub fn reshaped(&mut self, cols: usize) -> &mut Self {
        self.cols = cols;
        self
    }

    /// The memory itself.
    pub fn elements(&self) -> &D::Elements {
        &self.elements
    }
}

/// How many elements a buffer has.
pub trait Extent {
    /// How many there are.
    fn elements(&self) -> usize;
}

/// What a LayerNorm keeps of each row.
pub struct RowStats<D: Buffers> {
    /// Of each row.
    pub mean: D::Vector, // [rows]
    /// Reciprocal of the standard deviation of each row.
    pub rstd: D::Vector, // [rows], 1/σ
}

impl<D: Memory> RowStats<D> {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has no memory for it.
    pub fn new(device: &D, rows: usize) -> Result<Self> {
        Ok(Self { mean: device.vector(rows)?, rstd: device.vector(rows)? })
    }
}

/// What an operation works on, beside its matrices.
pub struct On<'a, D: Buffers> {
    /// What the pass runs with.
    pub weights: &'a D::Parameters,
    /// What it runs on.
    pub batch: &'a D::Batch,
    /// What rows of the matrices stand for, where an operation takes either.
    pub rows: Rows,
}

// Not derived: that would ask for a device that can be copied.
impl<D: Buffers> Clone for On<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Buffers> Copy for On<'_, D> {}

/// Where gradients of parameters go, and what becomes of those that are there.
pub struct Sink<'a, D: Buffers> {
    /// Where they are.
    pub gradients: &'a mut D::Gradients,
    /// Whether they are overwritten or added to.
    pub write: Write,
}
