//! Passes as CUDA graphs: recorded once per key and bucket, launched again with one call.
//!
//! What changes between two launches of a graph lies in device memory: the batch, its true sizes, the step, λ and the
//! scales. Its grids and arguments are those of the recording, which equal those of an eager pass of the same bucket;
//! so both give the same bits. Nothing may be allocated while recording, and nothing is: the devices' buffers are
//! planned before the first step.

use std::{collections::HashMap, sync::Arc};

use cudarc::driver::{
    CudaGraph, CudaStream, DriverError,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::{CudaBatch, CudaDevice, batch::buckets, element::Element, fault::driver_error, ranges::Level};
use crate::{
    Result,
    device::{Capacity, Limits, PassKey, Uploaded},
};

/// Most graphs of a run; passes beyond are launched kernel by kernel.
const MOST_GRAPHS: usize = 128;

/// Passes of a run that a bucket of sizes may be recorded for: the student's with and without a target, for the first
/// micro-batch and for those after it; the teacher's; those that score student, teacher and average.
const PASSES: usize = 8;
/// Launches of a pass: of a layer forward and backward, and of what is before and after the layers.
const LAYER_LAUNCHES: usize = 20;
const OTHER_LAUNCHES: usize = 16;
/// Device memory that a graph takes for a launch: its descriptor, 256 to 384 bytes, and the bank of constants that its
/// parameters lie in, of which the driver has the first 352 to 528 bytes and most kernels here take 100 to 200. The one
/// fold of a backward pass takes 1.6 KB.
const LAUNCH_BYTES: usize = 1 << 10;

/// Device memory that the graphs of a run may take. The driver takes it when a graph is made, in the midst of training.
/// (The kernels' code needs no room: it is on the device before the plan asks what is free.)
pub(crate) fn bytes(layers: usize, sizes: Capacity, batches: Option<usize>) -> usize {
    let graphs = PASSES.saturating_mul(buckets(sizes).min(batches.unwrap_or(usize::MAX))).min(MOST_GRAPHS);
    graphs * (LAYER_LAUNCHES * layers + OTHER_LAUNCHES) * LAUNCH_BYTES
}

/// The recorded passes of a device.
pub(crate) struct Recorder {
    enabled: bool,
    graphs: HashMap<(PassKey, Capacity, u64), Recorded>,
}

/// A recorded pass, and the largest sizes that its buffers have been checked for.
struct Recorded {
    graph: CudaGraph,
    checked: Limits,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { enabled: true, graphs: HashMap::new() }
    }
}

impl Recorder {
    /// Records from now on, or launches every pass kernel by kernel.
    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Graphs recorded so far.
    pub(crate) fn len(&self) -> usize {
        self.graphs.len()
    }
}

pub(crate) fn replay<E: Element>(
    device: &mut CudaDevice<E>,
    key: PassKey,
    batch: &CudaBatch,
    pass: impl FnOnce(&mut CudaDevice<E>) -> Result<()>,
) -> Result<()> {
    device.launcher.ranges.enter(Level::Pass, key);
    let (key, sizes) = ((key, batch.bucket(), batch.header()), *batch.limits());
    let recorded = device.recorder.graphs.get(&key).filter(|_| device.recorder.enabled);
    if let Some(Recorded { graph, checked }) = recorded {
        if sizes.fits(checked) {
            return graph.launch().map_err(driver_error(&device.launcher.device, "launch a recorded pass"));
        }
        // Larger than any before it: launched kernel by kernel, each of which checks its buffers, to the same result.
        let checked = sizes.join(checked);
        pass(device)?;
        device.recorder.graphs.entry(key).and_modify(|recorded| recorded.checked = checked);
        return Ok(());
    }
    if !device.recorder.enabled || device.recorder.graphs.len() == MOST_GRAPHS {
        return pass(device);
    }
    let stream = Arc::clone(&device.launcher.stream);
    let begun = Recording::begin(&stream).map_err(driver_error(&device.launcher.device, "record a pass"));
    let recording = begun?;
    let passed = pass(device);
    let recorded = recording.end();
    passed?;
    let name = &device.launcher.device;
    let graph = recorded.map_err(driver_error(name, "make a graph of a pass"))?;
    let graph = graph.ok_or_else(|| name.error("the driver recorded nothing of a pass"))?;
    graph.launch().map_err(driver_error(name, "launch a recorded pass"))?;
    device.recorder.graphs.insert(key, Recorded { graph, checked: sizes });
    Ok(())
}

/// A recording under way. One that a panic breaks off is ended and forgotten, so that the stream goes on.
struct Recording<'a> {
    stream: &'a Arc<CudaStream>,
    is_open: bool,
}

impl<'a> Recording<'a> {
    fn begin(stream: &'a Arc<CudaStream>) -> Result<Self, DriverError> {
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        Ok(Self { stream, is_open: true })
    }

    /// Whatever became of the pass.
    fn end(mut self) -> Result<Option<CudaGraph>, DriverError> {
        self.is_open = false;
        self.stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            // The panic is what the caller has to hear of.
            let _ = self.stream.end_capture(flags);
        }
    }
}
