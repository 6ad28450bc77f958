//! Graphs made by hand: nodes with what each follows, and new parameters for those of an instance.

use std::ffi::{c_char, c_uint, c_void};
use std::fmt::Write;

use super::graph::{node_handle, node_type, split_handle};
use super::rectangle::Copy3d;
use super::{api, get, put, text};
use crate::driver::graph::{Graph, Node};
use crate::driver::result::{Code, Outcome};
use crate::driver::state::Driver;
use crate::driver::work::{HostFunction, Work};

/// `CUDA_KERNEL_NODE_PARAMS_v2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelParams {
    function: u64,
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    params: *const *const c_void,
    extra: *const *const c_void,
}

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SetParams {
    to: u64,
    pitch: usize,
    value: c_uint,
    element_bytes: c_uint,
    width: usize,
    height: usize,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostParams {
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
}

impl Driver {
    fn kernel_work(&mut self, params: *const KernelParams) -> Outcome<Work> {
        let p = get(params)?;
        let kernel = self.kernel(p.function, p.grid, p.block, p.shared_bytes, (p.params, p.extra), false)?;
        Ok(Work::Kernel(kernel))
    }

    fn set_work(&mut self, params: *const SetParams) -> Outcome<Work> {
        let SetParams { to, pitch, value, element_bytes, width, height } = get(params)?;
        if ![1, 2, 4].contains(&element_bytes) || !to.is_multiple_of(element_bytes.into()) || height == 0 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let row = width.checked_mul(element_bytes as usize).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let last = (height - 1).checked_mul(pitch).and_then(|rows| rows.checked_add(row));
        self.device_end(to, last.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?)?;
        let (width_bytes, count, rows) = (element_bytes as u8, width as u64, height as u64);
        Ok(Work::Set { to, value, width: width_bytes, count, rows, pitch: pitch as u64 })
    }

    fn add_node(&mut self, node: *mut u64, graph: u64, after: (*const u64, usize), work: Work) -> Outcome {
        if node.is_null() {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let mut follows = Vec::with_capacity(after.1);
        let of = self.graphs.get_mut(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        for k in 0..after.1 {
            match split_handle(get(after.0.wrapping_add(k))?) {
                Some((owner, index)) if owner == graph && index < of.nodes.len() && !follows.contains(&index) => {
                    follows.push(index);
                }
                _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
            }
        }
        of.nodes.push(Node { work, after: follows });
        put(node, node_handle(graph, of.nodes.len() - 1))
    }

    fn graph_node(&mut self, handle: u64) -> Outcome<&mut Node> {
        let (graph, index) = split_handle(handle).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let nodes = self.graphs.get_mut(&graph).map(|graph| &mut graph.nodes);
        nodes.and_then(|nodes| nodes.get_mut(index)).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }

    /// New parameters for the node of an instance that came from a graph's node, if it is of the same type.
    fn set_in_instance(&mut self, exec: u64, node: u64, work: Work) -> Outcome {
        let (_, index) = split_handle(node).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let exec = self.execs.get_mut(&exec).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let old = exec.graph.nodes.get_mut(index).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        replace(&mut old.work, work)
    }
}

fn replace(old: &mut Work, new: Work) -> Outcome {
    if !old.is_like(&new) {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    *old = new;
    Ok(())
}

fn host_work(params: *const HostParams) -> Outcome<Work> {
    let params = get(params)?;
    let function = params.function.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
    Ok(Work::Host(HostFunction { function, data: params.data as usize }))
}

/// The graph in the language of Graphviz.
fn dot(graph: &Graph) -> String {
    const TYPES: [&str; 12] =
        ["kernel", "memcpy", "memset", "host", "graph", "empty", "wait", "record", "", "", "alloc", "free"];
    let mut out = String::from("digraph dot {\n");
    for (k, node) in graph.nodes.iter().enumerate() {
        let label = match &node.work {
            Work::Kernel(kernel) => kernel.program.name.as_str(),
            work => TYPES[node_type(work) as usize],
        };
        let _ = writeln!(out, "  n{k} [label=\"{label}\"];");
        node.after.iter().for_each(|from| {
            let _ = writeln!(out, "  n{from} -> n{k};");
        });
    }
    out.push_str("}\n");
    out
}

/// Copies a list of handles, as many as there is room for; without room, only counts them.
fn list(handles: &[u64], to: *mut u64, count: *mut usize) -> Outcome {
    if !to.is_null() {
        for (k, &handle) in handles.iter().take(get(count)?).enumerate() {
            put(to.wrapping_add(k), handle)?;
        }
    }
    put(count, handles.len())
}

api! {
    call fn cuGraphAddKernelNode_v2(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const KernelParams,
    ) |s| {
        let driver = s.driver()?;
        let work = driver.kernel_work(params)?;
        driver.add_node(node, graph, (after, count), work)
    }
    call fn cuGraphAddMemsetNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const SetParams, _context: u64,
    ) |s| {
        let driver = s.driver()?;
        let work = driver.set_work(params)?;
        driver.add_node(node, graph, (after, count), work)
    }
    call fn cuGraphAddMemcpyNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const Copy3d, _context: u64,
    ) |s| {
        let driver = s.driver()?;
        let work = driver.copy_work(&get(params)?)?;
        driver.add_node(node, graph, (after, count), work)
    }
    call fn cuGraphExecMemcpyNodeSetParams(exec: u64, node: u64, params: *const Copy3d, _context: u64) |s| {
        let driver = s.driver()?;
        let work = driver.copy_work(&get(params)?)?;
        driver.set_in_instance(exec, node, work)
    }
    call fn cuGraphAddHostNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const HostParams,
    ) |s| {
        s.driver()?.add_node(node, graph, (after, count), host_work(params)?)
    }
    call fn cuGraphAddEmptyNode(node: *mut u64, graph: u64, after: *const u64, count: usize) |s| {
        s.driver()?.add_node(node, graph, (after, count), Work::Marker)
    }
    call fn cuGraphKernelNodeSetParams_v2(node: u64, params: *const KernelParams) |s| {
        let driver = s.driver()?;
        let work = driver.kernel_work(params)?;
        replace(&mut driver.graph_node(node)?.work, work)
    }
    call fn cuGraphExecKernelNodeSetParams_v2(exec: u64, node: u64, params: *const KernelParams) |s| {
        let driver = s.driver()?;
        let work = driver.kernel_work(params)?;
        driver.set_in_instance(exec, node, work)
    }
    call fn cuGraphExecMemsetNodeSetParams(exec: u64, node: u64, params: *const SetParams, _context: u64) |s| {
        let driver = s.driver()?;
        let work = driver.set_work(params)?;
        driver.set_in_instance(exec, node, work)
    }
    call fn cuGraphExecHostNodeSetParams(exec: u64, node: u64, params: *const HostParams) |s| {
        s.driver()?.set_in_instance(exec, node, host_work(params)?)
    }
    call fn cuGraphClone(clone: *mut u64, graph: u64) |s| {
        let driver = s.driver()?;
        let copy = driver.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.clone();
        let handle = driver.handle();
        put(clone, handle)?;
        driver.graphs.insert(handle, copy);
        Ok(())
    }
    call fn cuGraphGetRootNodes(graph: u64, nodes: *mut u64, count: *mut usize) |s| {
        let of = s.driver()?.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let roots = (0..of.nodes.len()).filter(|&k| of.nodes[k].after.is_empty());
        list(&roots.map(|k| node_handle(graph, k)).collect::<Vec<_>>(), nodes, count)
    }
    call fn cuGraphNodeGetDependencies(node: u64, nodes: *mut u64, count: *mut usize) |s| {
        let graph = split_handle(node).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.0;
        let after = s.driver()?.graph_node(node)?.after.clone();
        list(&after.into_iter().map(|k| node_handle(graph, k)).collect::<Vec<_>>(), nodes, count)
    }
    call fn cuGraphDebugDotPrint(graph: u64, path: *const c_char, _flags: c_uint) |s| {
        let of = s.driver()?.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        std::fs::write(text(path)?, dot(of)).map_err(|_| Code::CUDA_ERROR_OPERATING_SYSTEM)
    }
}
