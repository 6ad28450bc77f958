//! Graphs: instantiation, launch, update. Nodes added by hand are in `node`.

use std::ffi::{c_uint, c_void};

use super::{api, put, put_optional};
use crate::driver::graph::{Difference, Executable, Graph, GraphMemory};
use crate::driver::result::{Code, Outcome};
use crate::driver::state::Driver;
use crate::driver::work::Work;
use crate::memory::Kind;

/// `CUgraphInstantiate_flags`.
const AUTO_FREE_ON_LAUNCH: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const ALL_FLAGS: u64 = 15;

/// Node handles: the graph's, and a number that starts at one.
const NODES_OF_GRAPH: u64 = 1 << 24;

pub(super) fn node_handle(graph: u64, index: usize) -> u64 {
    graph * NODES_OF_GRAPH + index as u64 + 1
}

/// A node's graph and its number in it.
pub(super) fn split_handle(node: u64) -> Option<(u64, usize)> {
    let number = (node % NODES_OF_GRAPH).checked_sub(1)?;
    Some((node / NODES_OF_GRAPH, number as usize))
}

impl Driver {
    fn instantiate(&mut self, graph: u64, flags: u64) -> Outcome<u64> {
        let graph = self.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.clone();
        if flags & !ALL_FLAGS != 0 || flags & DEVICE_LAUNCH != 0 && flags & AUTO_FREE_ON_LAUNCH != 0 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(Code::CUDA_ERROR_NOT_SUPPORTED);
        }
        let bytes = self.settings.graph_node_bytes * graph.nodes.len() as u64;
        let held = match bytes {
            0 => None,
            _ => {
                let address = self.memory.allocate(bytes, Kind::Module).ok_or(Code::CUDA_ERROR_OUT_OF_MEMORY)?;
                Some(GraphMemory::new(address, bytes, &self.memory))
            }
        };
        let handle = self.handle();
        self.execs.insert(handle, Executable { graph, _held: held, last: None });
        Ok(handle)
    }

    /// Gives an instance the parameters of another graph of the same shape.
    fn update(&mut self, exec: u64, graph: u64) -> Outcome<UpdateInfo> {
        let new = self.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.clone();
        let old = self.execs.get_mut(&exec).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let at = |node: Option<usize>| node.map_or(0, |k| node_handle(graph, k));
        let (result, node) = match old.graph.difference(&new) {
            None => {
                old.graph = new;
                (UPDATE_SUCCESS, 0)
            }
            Some(Difference::Topology(node)) => (UPDATE_TOPOLOGY_CHANGED, at(node)),
            Some(Difference::NodeType(node)) => (UPDATE_NODE_TYPE_CHANGED, at(Some(node))),
        };
        Ok(UpdateInfo { result, error_node: node, error_from_node: 0 })
    }

    fn node(&self, handle: u64) -> Outcome<&Work> {
        let (graph, index) = split_handle(handle).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let graph = self.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        graph.nodes.get(index).map(|node| &node.work).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
}

const UPDATE_SUCCESS: c_uint = 0;
const UPDATE_TOPOLOGY_CHANGED: c_uint = 2;
const UPDATE_NODE_TYPE_CHANGED: c_uint = 3;

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateInfo {
    pub result: c_uint,
    pub error_node: u64,
    pub error_from_node: u64,
}

/// `CUgraphNodeType`.
pub(super) fn node_type(work: &Work) -> c_uint {
    match work {
        Work::Kernel(_) => 0,
        Work::Copy { .. } | Work::Rows(_) => 1,
        Work::Set { .. } => 2,
        Work::Host(_) => 3,
        Work::Marker => 5,
        Work::Renew { freed: false, .. } => 10,
        Work::Renew { freed: true, .. } | Work::Free(_) => 11,
    }
}

/// Copies the handles of a graph's nodes, as many as there is room for; without room, only counts them.
fn list_nodes(graph: u64, of: &Graph, nodes: *mut u64, count: *mut usize) -> Outcome {
    if !nodes.is_null() {
        let room = super::get(count)?.min(of.nodes.len());
        for k in 0..room {
            put(nodes.wrapping_add(k), node_handle(graph, k))?;
        }
    }
    put(count, of.nodes.len())
}

api! {
    call fn cuGraphCreate(graph: *mut u64, flags: c_uint) |s| {
        if flags != 0 { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        let driver = s.driver()?;
        let handle = driver.handle();
        driver.graphs.insert(handle, Graph::default());
        put(graph, handle)
    }
    call fn cuGraphInstantiateWithFlags(exec: *mut u64, graph: u64, flags: u64) |s| {
        put(exec, s.driver()?.instantiate(graph, flags)?)
    }
    call fn cuGraphInstantiate_v2(exec: *mut u64, graph: u64, _node: *mut c_void, _log: *mut c_void, _size: usize) |s| {
        put(exec, s.driver()?.instantiate(graph, 0)?)
    }
    call fn cuGraphUpload(exec: u64, stream: u64) |s| {
        let driver = s.driver()?;
        driver.stream(stream)?;
        driver.execs.get(&exec).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
    call fn cuGraphLaunch(exec: u64, stream: u64) |s| { s.driver()?.launch_graph(exec, stream) }
    call fn cuGraphExecUpdate_v2(exec: u64, graph: u64, info: *mut UpdateInfo) |s| {
        let outcome = s.driver()?.update(exec, graph)?;
        put_optional(info, outcome);
        if outcome.result == UPDATE_SUCCESS { Ok(()) } else { Err(Code::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE) }
    }
    call fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) |s| {
        let found = s.driver()?.graphs.get(&graph).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        list_nodes(graph, found, nodes, count)
    }
    call fn cuGraphNodeGetType(node: u64, kind: *mut c_uint) |s| { put(kind, node_type(s.driver()?.node(node)?)) }
    call_anyway fn cuGraphDestroy(graph: u64) |s| {
        s.driver()?.graphs.remove(&graph).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
    call_anyway fn cuGraphExecDestroy(exec: u64) |s| {
        s.driver()?.execs.remove(&exec).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
}
