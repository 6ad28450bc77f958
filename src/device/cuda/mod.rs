//! The CUDA device: the operations of the seam on our own kernels, driven through cudarc.
//!
//! One stream; everything is allocated before the first step. Activations and the forward pass's weights are `E`: bf16
//! (default), float32, or float32 multiplied as tf32. Grids are made for a bucket of
//! batch sizes, true sizes lie in device memory (see `batch`), so that a pass can be recorded once per bucket and
//! launched again. One file per family of operations, as in kernels/ and in the CPU device.

mod arguments;
mod attention;
mod batch;
mod buffer;
mod driver;
mod element;
mod embedding;
mod fault;
mod head;
mod images;
mod kernels;
mod last_begun;
mod launch;
mod layer_norm;
mod linear;
mod linear_tiles;
mod loss;
mod memory;
mod optimizer;
mod outcome;
mod pass;
mod pinned;
mod ranges;
mod recorder;
mod row_sums;
mod scratch;
mod tracer;

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

pub use batch::CudaBatch;
pub use driver::{CudaInfo, check, cuda_devices, first_usable};
pub use element::{Element, Tf32};
pub use half::bf16 as Bf16;
pub use images::{IMAGES, Image};
pub use memory::{CudaGradients, CudaParameters};
pub use outcome::CudaOutcome;

use self::{
    fault::{DeviceLabel, driver_error},
    kernels::Kernels,
    last_begun::LastBegun,
    launch::Launcher,
    linear_tiles::Multiprocessors,
    recorder::Recorder,
    row_sums::RowShape,
    scratch::Scratch,
};
use super::{Capacity, Matrix, Shape};
use crate::Result;

/// What the operation families are made from.
struct Setup<'a> {
    kernels: &'a Kernels,
    stream: &'a Arc<CudaStream>,
    device: &'a DeviceLabel,
    shape: Shape,
    capacity: Capacity,
    multiprocessors: Multiprocessors,
}

/// A GPU (or a simulated one), the kernels on it, and the scratch that its operations share.
pub struct CudaDevice<E: Element> {
    context: Arc<CudaContext>,
    launcher: Launcher,
    name: String,
    shape: Shape,
    linear: linear::Linears<E>,
    attention: attention::Attention<E>,
    layer_norm: layer_norm::LayerNorms<E>,
    embedding: embedding::Embedder<E>,
    head: head::Classifier<E>,
    loss: loss::Loss,
    optimizer: optimizer::Optimizer<E>,
    recorder: Recorder,
}

impl<E: Element> CudaDevice<E> {
    /// Opens the device of this number and loads the kernels.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device): no driver, no such device, too old a device or driver, out of memory.
    pub fn new(ordinal: usize, shape: Shape, capacity: Capacity) -> Result<Self> {
        let label = DeviceLabel::new(ordinal);
        let context = driver::open(ordinal, &label)?;
        let last_begun = LastBegun::new(&context).map_err(driver_error(&label, "allocate pinned memory"))?;
        let last_begun = Arc::new(last_begun);
        let device = label.with_last_begun(Arc::clone(&last_begun));
        let stream = context.new_stream().map_err(driver_error(&device, "create a stream"))?;
        let kernels = Kernels::load(&context, &device)?;
        let multiprocessors = Multiprocessors(driver::multiprocessors(&context, &device)?);
        let setup = Setup { kernels: &kernels, stream: &stream, device: &device, shape, capacity, multiprocessors };
        // Before memory is taken for rows that no kernel holds.
        let rows = RowShape::new(&setup)?;
        let Scratch { parts, arrivals, statistics, row_sums, d_sum, d_pre } =
            Scratch::<E, _>::new(&setup, multiprocessors, shape, capacity)?;
        let width = shape.hidden;
        Ok(Self {
            linear: linear::Linears::new(&setup, parts, arrivals)?,
            attention: attention::Attention::new(&setup, statistics)?,
            layer_norm: layer_norm::LayerNorms::new(&setup, rows, row_sums)?,
            embedding: embedding::Embedder::new(&setup, rows, Matrix::new(d_sum, capacity.tokens, width))?,
            head: head::Classifier::new(&setup, Matrix::new(d_pre, capacity.sequences, width))?,
            loss: loss::Loss::new(&setup)?,
            optimizer: optimizer::Optimizer::new(&setup)?,
            name: driver::describe(&context, &device, E::NAME)?,
            context,
            shape,
            recorder: Recorder::default(),
            launcher: Launcher::new(stream, device, last_begun),
        })
    }

    /// Bytes of the scratch that [`CudaDevice::new`] allocates on a GPU of so many multiprocessors.
    pub fn scratch_bytes(multiprocessors: usize, shape: Shape, capacity: Capacity) -> usize {
        scratch::bytes::<E>(Multiprocessors(multiprocessors), shape, capacity)
    }

    /// Bytes that the graphs of recorded passes may take, of a model of so many layers and batches up to a size, of which
    /// there are so many, if that is known.
    pub fn graph_bytes(layers: usize, sizes: Capacity, batches: Option<usize>) -> usize {
        recorder::bytes(layers, sizes, batches)
    }

    /// Whether passes are recorded as graphs (the default) or launched kernel by kernel; the results are the same.
    pub fn record(&mut self, enabled: bool) {
        self.recorder.enable(enabled);
    }

    /// Passes recorded so far.
    pub fn recorded(&self) -> usize {
        self.recorder.len()
    }
}
