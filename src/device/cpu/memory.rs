//! Memory of the CPU device: vectors of float32, read and written where they lie.

use std::{borrow::Cow, cell::RefCell};

use super::{CpuBatch, CpuDevice};
use crate::{
    Result,
    device::{Buffers, Capacity, Copies, Extent, Inspect, Matrix, Memory, Shape, Storage},
    model::{View, layout::Embeddings},
};

/// Rows that one task of a LayerNorm or of the embeddings takes and whose parameter gradients are one partial sum.
pub(crate) const ROW_BLOCK: usize = 32;

impl Buffers for CpuDevice {
    type Elements = Vec<f32>;
    type Vector = Vec<f32>;
    type Arena = Vec<f32>;
    type Parameters = Vec<f32>;
    type Gradients = CpuGradients;
    type Batch = CpuBatch;
    type Outcome = CpuOutcome;
}

impl Extent for Vec<f32> {
    fn elements(&self) -> usize {
        self.len()
    }
}

impl Matrix<CpuDevice> {
    /// These values in rows of `cols`.
    ///
    /// # Panics
    /// Where they are no whole number of rows.
    pub fn from_values(values: Vec<f32>, cols: usize) -> Self {
        let rows = values.len() / cols;
        assert_eq!(values.len(), rows * cols, "whole rows of {cols}");
        Self::new(values, rows, cols)
    }

    /// The first rows.
    pub(super) fn top(&self, rows: usize) -> &[f32] {
        &self.elements[..rows * self.cols()]
    }

    pub(super) fn top_mut(&mut self, rows: usize) -> &mut [f32] {
        let len = rows * self.cols();
        &mut self.elements[..len]
    }
}

impl Memory for CpuDevice {
    fn storage(&self) -> Storage {
        Storage::FLOAT32
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        Ok(None)
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<Matrix<Self>> {
        Ok(Matrix::new(vec![0.0; rows * cols], rows, cols))
    }

    fn vector(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn arena(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn parameters(&self, values: &[f32]) -> Result<Vec<f32>> {
        Ok(values.to_vec())
    }

    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<CpuGradients> {
        Ok(CpuGradients::new(len, embeddings.word, embeddings.norm.gamma.len))
    }

    fn batch(&self, capacity: Capacity) -> Result<CpuBatch> {
        Ok(CpuBatch::new(self.shape, capacity))
    }

    fn outcome(&self, losses: usize) -> Result<CpuOutcome> {
        Ok(CpuOutcome { losses: vec![0.0; losses], norm: 0.0 })
    }
}

impl Inspect for CpuDevice {
    fn read_matrix<'a>(&self, matrix: &'a Matrix<Self>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(&matrix.elements))
    }

    fn write_matrix(&self, matrix: &mut Matrix<Self>, values: &[f32]) -> Result<()> {
        matrix.elements[..values.len()].copy_from_slice(values);
        Ok(())
    }
}

impl Copies for CpuDevice {
    fn read_vector<'a>(&self, vector: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(vector))
    }

    fn read_arena<'a>(&self, arena: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(arena))
    }

    fn read_parameters<'a>(&self, parameters: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(parameters))
    }

    fn read_gradients<'a>(&self, gradients: &'a CpuGradients) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(&gradients.arena))
    }

    fn write_vector(&self, vector: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        vector[..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn write_arena(&self, arena: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        arena.copy_from_slice(values);
        Ok(())
    }

    fn write_gradients(&self, gradients: &mut CpuGradients, values: &[f32]) -> Result<()> {
        gradients.write(values);
        Ok(())
    }

    fn write_parameters(&self, parameters: &mut Vec<f32>, values: &[f32]) -> Result<()> {
        parameters.copy_from_slice(values);
        Ok(())
    }
}

/// What operations share between them, overwritten by each.
pub(super) struct Scratch {
    /// Sums of rows for gradients of LayerNorms.
    pub row_sums: Vec<f32>, // [T / 32 rounded up, 4C]
    /// Gradient of the summed embeddings.
    pub d_sum: Vec<f32>, // [T, C]
    /// Gradients of first rows: through the classifier, and of their queries' input.
    pub d_first: Vec<f32>, // [B, C]
    /// Losses of a batch before they go to their slots.
    pub losses: Vec<f32>, // [B, 2]
}

impl Scratch {
    pub(crate) fn new(shape: Shape, capacity: Capacity) -> Self {
        let [row_sums, d_sum, d_first, losses] = Self::sizes(shape, capacity).map(|len| vec![0.0; len]);
        Self { row_sums, d_sum, d_first, losses }
    }

    /// Elements of each.
    pub(crate) fn sizes(shape: Shape, capacity: Capacity) -> [usize; 4] {
        let c = shape.hidden;
        let blocks = capacity.tokens.max(capacity.sequences).div_ceil(ROW_BLOCK);
        [blocks * 4 * c, capacity.tokens * c, capacity.sequences * c, 2 * capacity.sequences]
    }
}

thread_local! {
    /// What one task of attention needs: probabilities and their gradients; grows to the longest sequence once.
    static OF_THREAD: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with this thread's scratch of at least `len` elements.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    OF_THREAD.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        f(&mut scratch[..len])
    })
}

/// Losses of a step, and its gradient norm.
#[derive(Debug)]
pub struct CpuOutcome {
    pub(super) losses: Vec<f32>,
    pub(super) norm: f64,
}

/// Gradients, and which rows of the word embeddings this step has touched.
#[derive(Debug)]
pub struct CpuGradients {
    pub(super) arena: Vec<f32>,
    pub(super) word: View,
    pub(super) width: usize,
    pub(super) touched: Vec<bool>, // [V]
    /// The touched rows, ascending.
    pub(super) rows: Vec<u32>,
}

impl CpuGradients {
    fn new(len: usize, word: View, width: usize) -> Self {
        let vocabulary = word.len / width;
        Self {
            arena: vec![0.0; len],
            word,
            width,
            touched: vec![false; vocabulary],
            rows: Vec::with_capacity(vocabulary),
        }
    }

    /// Other values; the rows of the word embeddings that are not 0 count as touched.
    fn write(&mut self, values: &[f32]) {
        self.arena.copy_from_slice(values);
        self.rows.clear();
        for (row, touched) in self.touched.iter_mut().enumerate() {
            let start = self.word.start + row * self.width;
            *touched = values[start..start + self.width].iter().any(|&g| g != 0.0);
            self.rows.extend(touched.then_some(row as u32));
        }
    }

    /// Rows of the last step back to 0, and forgotten.
    pub(super) fn clear_rows(&mut self) {
        for &row in &self.rows {
            let start = self.word.start + row as usize * self.width;
            self.arena[start..start + self.width].fill(0.0);
            self.touched[row as usize] = false;
        }
        self.rows.clear();
    }

    pub(super) fn touch(&mut self, batch: &CpuBatch) {
        let known = self.rows.len();
        for &id in batch.run_ids() {
            if !std::mem::replace(&mut self.touched[id as usize], true) {
                self.rows.push(id);
            }
        }
        if known > 0 {
            self.rows.sort_unstable();
        }
    }
}
