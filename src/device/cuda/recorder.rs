//! Passes as CUDA graphs: recorded once per key and bucket, launched again with one call.
//!
//! What changes between two launches of a graph lies in device memory: the batch, its true sizes, the step, λ and the scales. Its
//! grids and arguments are those of the recording, which equal those of an eager pass of the same bucket; so both give the same
//! bits. Nothing may be allocated while recording, and nothing is: the devices' buffers are planned before the first step.

use std::{collections::HashMap, sync::Arc};

use cudarc::driver::{
    CudaGraph, CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::{
    CudaBatch, CudaDevice,
    element::Element,
    fault::{Place, driver_error},
    ranges::Level,
};
use crate::{
    Result,
    device::{Capacity, PassKey},
};

/// Most graphs of a run; passes beyond are launched kernel by kernel.
const MOST_GRAPHS: usize = 128;

/// The recorded passes of a device.
pub struct Recorder {
    enabled: bool,
    graphs: HashMap<(PassKey, Capacity, u64), CudaGraph>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { enabled: true, graphs: HashMap::new() }
    }
}

impl Recorder {
    /// Records from now on, or launches every pass kernel by kernel.
    pub fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Graphs recorded so far.
    pub fn len(&self) -> usize {
        self.graphs.len()
    }
}

pub fn replay<E: Element>(
    device: &mut CudaDevice<E>,
    key: PassKey,
    batch: &CudaBatch,
    pass: impl FnOnce(&mut CudaDevice<E>) -> Result<()>,
) -> Result<()> {
    device.launcher.ranges.enter(Level::Pass, key);
    let key = (key, batch.bucket(), batch.header());
    let name = &device.launcher.device;
    if let Some(graph) = device.recorder.graphs.get(&key).filter(|_| device.recorder.enabled) {
        return graph.launch().map_err(driver_error(name, "launch a recorded pass"));
    }
    if !device.recorder.enabled || device.recorder.graphs.len() == MOST_GRAPHS {
        return pass(device);
    }
    let stream = Arc::clone(&device.launcher.stream);
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).map_err(driver_error(name, "record a pass"))?;
    batch.record(true);
    let passed = pass(device);
    batch.record(false);
    let recorded = end(&stream, &device.launcher.device);
    passed?;
    let graph = recorded?;
    graph.launch().map_err(driver_error(&device.launcher.device, "launch a recorded pass"))?;
    device.recorder.graphs.insert(key, graph);
    Ok(())
}

/// Ends the recording, whatever became of it.
fn end(stream: &Arc<CudaStream>, device: &Place) -> Result<CudaGraph> {
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).map_err(driver_error(device, "make a graph of a pass"))?;
    graph.ok_or_else(|| device.error("the driver recorded nothing of a pass"))
}
