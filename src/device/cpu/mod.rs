//! The CPU device: float32, all cores, the widest vector instructions the machine has; the product where there is no
//! GPU, and the oracle that the kernels are checked against.
//!
//! One file per family of operations. Nothing is allocated inside a step beyond the packing buffers of `gemm`.

mod attention;
mod attention_first;
mod batch;
mod dropout;
mod embedding;
mod gelu;
mod head;
mod layer_norm;
mod linear;
mod loss;
mod math;
mod memory;
mod optimizer;
mod pass;
mod product;

pub use batch::CpuBatch;
pub use memory::{CpuGradients, CpuOutcome};

use self::memory::Scratch;
use super::{Capacity, Shape, timeline::ScopeClock};

/// State of the CPU device: the model's shape and the scratch its operations share.
pub struct CpuDevice {
    shape: Shape,
    scratch: Scratch,
    norm_partials: Vec<f64>,
    /// ‖g‖₂ of the last [`gradient_norm`](super::OptimizerOps::gradient_norm).
    norm: f64,
    /// Updates that its not being finite has left out.
    skips: u64,
    clock: Option<ScopeClock>,
}

impl CpuDevice {
    /// A device for a model of this shape and batches up to this size.
    pub fn new(shape: Shape, capacity: Capacity) -> Self {
        let scratch = Scratch::new(shape, capacity);
        Self { shape, scratch, norm_partials: Vec::new(), norm: 0.0, skips: 0, clock: None }
    }

    /// Bytes of the scratch that [`CpuDevice::new`] allocates.
    pub fn scratch_bytes(shape: Shape, capacity: Capacity) -> usize {
        Scratch::sizes(shape, capacity).iter().sum::<usize>() * size_of::<f32>()
    }

    /// What the processor offers: threads, vector instructions, precision.
    pub fn description() -> String {
        format!("cpu ({} threads, {}, float32)", rayon::current_num_threads(), math::instruction_set())
    }
}
