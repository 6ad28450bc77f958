//! The CPU device: float32, all cores, the widest vector instructions the machine has; the product where there is no GPU, and
//! the oracle that the kernels are checked against.
//!
//! One file an operation family. Nothing is allocated inside a step beyond the packing buffers of `gemm`.

mod attention;
mod attention_first;
mod batch;
mod dropout;
mod embedding;
mod head;
mod layer_norm;
mod linear;
mod loss;
mod math;
mod matrix;
mod operations;
mod optimizer;

pub use batch::CpuBatch;

use super::{Capacity, Shape, timeline::ScopeClock};
use crate::model::View;

/// State of the CPU device: the model's shape and the scratch its operations share.
pub struct CpuDevice {
    shape: Shape,
    /// LayerNorm partial sums, [T / 32 rounded up, 4C].
    partial: Vec<f32>,
    /// Gradient of the summed embeddings, [T, C].
    d_sum: Vec<f32>,
    /// Gradient through the classifier, [B, C].
    d_pooled: Vec<f32>,
    /// Losses of a batch before they go to their slots, [B, 2].
    losses: Vec<f32>,
    norm_partials: Vec<f64>,
    /// ‖g‖₂ of the last [`Device::gradient_norm`](super::Device::gradient_norm).
    norm: f64,
    /// Updates that its not being finite has left out.
    skips: u64,
    clock: Option<ScopeClock>,
}

impl CpuDevice {
    pub fn new(shape: Shape, capacity: Capacity) -> Self {
        let [partial, d_sum, d_pooled, losses] = scratch_sizes(shape, capacity).map(|len| vec![0.0; len]);
        Self { shape, partial, d_sum, d_pooled, losses, norm_partials: Vec::new(), norm: 0.0, skips: 0, clock: None }
    }

    /// Bytes of the scratch that [`CpuDevice::new`] allocates.
    pub fn scratch_bytes(shape: Shape, capacity: Capacity) -> usize {
        scratch_sizes(shape, capacity).iter().sum::<usize>() * size_of::<f32>()
    }

    /// What the processor offers: threads, vector instructions, precision.
    pub fn description() -> String {
        format!("cpu ({} threads, {}, float32)", rayon::current_num_threads(), math::instruction_set())
    }
}

/// Elements of `partial`, `d_sum`, `d_pooled` and `losses`.
fn scratch_sizes(shape: Shape, capacity: Capacity) -> [usize; 4] {
    let c = shape.hidden;
    let blocks = capacity.tokens.max(capacity.sequences).div_ceil(layer_norm::BLOCK);
    [blocks * 4 * c, capacity.tokens * c, capacity.sequences * c, 2 * capacity.sequences]
}

/// Losses of a step, and its gradient norm.
#[derive(Debug)]
pub struct CpuOutcome {
    losses: Vec<f32>,
    norm: f64,
}

/// Gradients, and which rows of the word embeddings this step has touched.
#[derive(Debug)]
pub struct CpuGradients {
    arena: Vec<f32>,
    word: View,
    width: usize,
    touched: Vec<bool>, // [V]
    /// The touched rows, ascending.
    rows: Vec<u32>,
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
    fn clear_rows(&mut self) {
        for &row in &self.rows {
            let start = self.word.start + row as usize * self.width;
            self.arena[start..start + self.width].fill(0.0);
            self.touched[row as usize] = false;
        }
        self.rows.clear();
    }

    fn touch(&mut self, batch: &CpuBatch) {
        let known = self.rows.len();
        for run in &batch.runs {
            if !std::mem::replace(&mut self.touched[run.id as usize], true) {
                self.rows.push(run.id);
            }
        }
        if known > 0 {
            self.rows.sort_unstable();
        }
    }
}
