//! Graphs.

use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::driver::{self, HostFn};
use crate::error::Outcome;
use crate::launch::Dim3;
use crate::memory::{BoxCopy, BoxParams};
use crate::state::{function, get, ready, runtime};

/// `cudaKernelNodeParams`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelParams {
    function: *const c_void,
    grid: Dim3,
    block: Dim3,
    shared: c_uint,
    params: *const *const c_void,
    extra: *const *const c_void,
}

/// The driver's `CUDA_KERNEL_NODE_PARAMS`.
#[repr(C)]
struct DriverKernelParams {
    function: u64,
    grid: Dim3,
    block: Dim3,
    shared: c_uint,
    params: *const *const c_void,
    extra: *const *const c_void,
    kernel: u64,
    context: u64,
}

fn kernel(params: *const KernelParams) -> Outcome<DriverKernelParams> {
    let KernelParams { function: host, grid, block, shared, params, extra } = get(params)?;
    let function = function(host as usize)?;
    Ok(DriverKernelParams { function, grid, block, shared, params, extra, kernel: 0, context: 0 })
}

/// `cudaHostNodeParams`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostParams {
    function: HostFn,
    data: *mut c_void,
}

runtime! {
    fn cudaGraphCreate(graph: *mut u64, flags: c_uint) { ready()?; driver::cuGraphCreate(graph, flags) }
    fn cudaGraphDestroy(graph: u64) { ready()?; driver::cuGraphDestroy(graph) }
    fn cudaGraphClone(clone: *mut u64, graph: u64) { ready()?; driver::cuGraphClone(clone, graph) }
    fn cudaGraphInstantiate(exec: *mut u64, graph: u64, flags: u64) {
        ready()?;
        driver::cuGraphInstantiateWithFlags(exec, graph, flags)
    }
    fn cudaGraphInstantiateWithFlags(exec: *mut u64, graph: u64, flags: u64) {
        ready()?;
        driver::cuGraphInstantiateWithFlags(exec, graph, flags)
    }
    fn cudaGraphExecDestroy(exec: u64) { ready()?; driver::cuGraphExecDestroy(exec) }
    fn cudaGraphLaunch(exec: u64, stream: u64) { ready()?; driver::cuGraphLaunch(exec, stream) }
    fn cudaGraphUpload(exec: u64, stream: u64) { ready()?; driver::cuGraphUpload(exec, stream) }
    fn cudaGraphExecUpdate(exec: u64, graph: u64, info: *mut c_void) {
        ready()?;
        driver::cuGraphExecUpdate_v2(exec, graph, info)
    }
    fn cudaGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) {
        ready()?;
        driver::cuGraphGetNodes(graph, nodes, count)
    }
    fn cudaGraphGetRootNodes(graph: u64, nodes: *mut u64, count: *mut usize) {
        ready()?;
        driver::cuGraphGetRootNodes(graph, nodes, count)
    }
    fn cudaGraphNodeGetType(node: u64, kind: *mut c_uint) { ready()?; driver::cuGraphNodeGetType(node, kind) }
    fn cudaGraphDebugDotPrint(graph: u64, path: *const c_char, flags: c_uint) {
        ready()?;
        driver::cuGraphDebugDotPrint(graph, path, flags)
    }
    fn cudaGraphAddKernelNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const KernelParams,
    ) {
        let params = kernel(params)?;
        driver::cuGraphAddKernelNode_v2(node, graph, after, count, (&raw const params).cast())
    }
    fn cudaGraphExecKernelNodeSetParams(exec: u64, node: u64, params: *const KernelParams) {
        let params = kernel(params)?;
        driver::cuGraphExecKernelNodeSetParams_v2(exec, node, (&raw const params).cast())
    }
    fn cudaGraphAddMemsetNode(node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const c_void) {
        ready()?;
        // Laid out as the driver's.
        driver::cuGraphAddMemsetNode(node, graph, after, count, params, 0)
    }
    fn cudaGraphAddMemcpyNode(node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const BoxParams) {
        ready()?;
        driver::cuGraphAddMemcpyNode(node, graph, after, count, BoxCopy::from_params(params)?.as_ptr(), 0)
    }
    fn cudaGraphAddMemcpyNode1D(
        node: *mut u64, graph: u64, after: *const u64, count: usize, to: u64, from: u64, bytes: usize, _kind: c_int,
    ) {
        ready()?;
        driver::cuGraphAddMemcpyNode(node, graph, after, count, BoxCopy::line(to, from, bytes).as_ptr(), 0)
    }
    fn cudaGraphAddHostNode(node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const HostParams) {
        ready()?;
        driver::cuGraphAddHostNode(node, graph, after, count, params.cast())
    }
    fn cudaGraphAddEmptyNode(node: *mut u64, graph: u64, after: *const u64, count: usize) {
        ready()?;
        driver::cuGraphAddEmptyNode(node, graph, after, count)
    }
}
