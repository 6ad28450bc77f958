//! Graphs made by capture: instantiation, launch, update.

use std::ffi::{c_uint, c_void};

use super::{api, put, put_optional};
use crate::driver::capture::Graph;
use crate::driver::result::{Code, Outcome};
use crate::driver::state::Driver;
use crate::driver::work::Work;

impl Driver {
    fn instantiate(&mut self, graph: u64) -> Outcome<u64> {
        let graph = self.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.clone();
        let handle = self.handle();
        self.execs.insert(handle, graph);
        Ok(handle)
    }

    /// Gives an instance the parameters of another graph of the same shape.
    fn update(&mut self, exec: u64, graph: u64) -> Outcome {
        let new = self.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.clone();
        let old = self.execs.get_mut(&exec).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        if !same_shape(old, &new) {
            return Err(Code::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
        }
        *old = new;
        Ok(())
    }
}

fn same_shape(a: &Graph, b: &Graph) -> bool {
    let kinds_match = |a: &Work, b: &Work| match (a, b) {
        (Work::Kernel(a), Work::Kernel(b)) => a.program.name == b.program.name,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    };
    a.nodes.len() == b.nodes.len()
        && a.nodes.iter().zip(&b.nodes).all(|(a, b)| a.after == b.after && kinds_match(&a.work, &b.work))
}

const UPDATE_SUCCESS: c_uint = 0;
const UPDATE_ERROR: c_uint = 1;

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
pub struct UpdateInfo {
    result: c_uint,
    error_node: u64,
    error_from_node: u64,
}

api! {
    call fn cuGraphCreate(graph: *mut u64, _flags: c_uint) |s| {
        let driver = s.driver()?;
        let handle = driver.handle();
        driver.graphs.insert(handle, Graph::default());
        put(graph, handle)
    }
    call fn cuGraphInstantiateWithFlags(exec: *mut u64, graph: u64, _flags: u64) |s| { put(exec, s.driver()?.instantiate(graph)?) }
    call fn cuGraphInstantiate_v2(exec: *mut u64, graph: u64, _node: *mut c_void, _log: *mut c_void, _size: usize) |s| {
        put(exec, s.driver()?.instantiate(graph)?)
    }
    call fn cuGraphUpload(exec: u64, stream: u64) |s| {
        let driver = s.driver()?;
        driver.stream(stream)?;
        driver.execs.get(&exec).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
    call fn cuGraphLaunch(exec: u64, stream: u64) |s| { s.driver()?.launch_graph(exec, stream) }
    call fn cuGraphExecUpdate_v2(exec: u64, graph: u64, info: *mut UpdateInfo) |s| {
        let outcome = s.driver()?.update(exec, graph);
        let result = if outcome.is_ok() { UPDATE_SUCCESS } else { UPDATE_ERROR };
        put_optional(info, UpdateInfo { result, error_node: 0, error_from_node: 0 });
        outcome
    }
    call fn cuGraphGetNodes(graph: u64, _nodes: *mut c_void, count: *mut usize) |s| {
        let graph = s.driver()?.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        put(count, graph.nodes.len())
    }
    call_anyway fn cuGraphDestroy(graph: u64) |s| {
        s.driver()?.graphs.remove(&graph).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
    call_anyway fn cuGraphExecDestroy(exec: u64) |s| {
        s.driver()?.execs.remove(&exec).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
}
