//! Graphs: work as nodes with what each follows; instances of them, launched onto streams.

use std::sync::Arc;

use super::result::{Code, Outcome};
use super::state::{Driver, stream_key};
use super::work::Work;
use crate::memory::Memory;

#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// What its allocation nodes allocate, kept until the graph and all its instances are gone.
    pub memory: Vec<Arc<GraphMemory>>,
}

/// Memory that a graph owns: at one address in every launch.
pub struct GraphMemory {
    pub address: u64,
    pub bytes: u64,
    memory: Arc<Memory>,
}

impl GraphMemory {
    pub fn new(address: u64, bytes: u64, memory: &Arc<Memory>) -> Self {
        Self { address, bytes, memory: Arc::clone(memory) }
    }
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        self.memory.free(self.address);
    }
}

#[derive(Clone)]
pub struct Node {
    pub work: Work,
    pub after: Vec<usize>,
}

/// An instance of a graph, which runs once at a time.
pub struct Executable {
    pub graph: Graph,
    /// The end of its last launch.
    pub last: Option<u64>,
}

/// Why an instance cannot take another graph's parameters: a `CUgraphExecUpdateResult` and the node.
pub enum Difference {
    Topology(Option<usize>),
    NodeType(usize),
}

impl Graph {
    /// Nodes that no other follows.
    pub fn ends(&self) -> Vec<usize> {
        let mut followed = vec![false; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.after).for_each(|&k| followed[k] = true);
        (0..self.nodes.len()).filter(|&k| !followed[k]).collect()
    }

    /// The first respect in which another graph is not this one with other parameters.
    pub fn difference(&self, new: &Self) -> Option<Difference> {
        if self.nodes.len() != new.nodes.len() {
            return Some(Difference::Topology(None));
        }
        self.nodes.iter().zip(&new.nodes).enumerate().find_map(|(k, (a, b))| {
            if a.after != b.after {
                Some(Difference::Topology(Some(k)))
            } else if std::mem::discriminant(&a.work) != std::mem::discriminant(&b.work) {
                Some(Difference::NodeType(k))
            } else {
                None
            }
        })
    }
}

impl Driver {
    /// Queues a graph's nodes on a stream, or adds them to the capture under way there.
    pub fn launch_graph(&mut self, exec: u64, stream: u64) -> Outcome {
        let exec_handle = exec;
        let exec = self.execs.get(&exec).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let (graph, previous) = (exec.graph.clone(), exec.last);
        let key = stream_key(stream);
        if let Some(capture) = self.stream(key)?.capture {
            return self.capture_graph(capture, key, graph);
        }
        let start = self.enqueue_after(stream, Work::Marker, previous.as_slice(), None)?;
        let mut ids = Vec::with_capacity(graph.nodes.len());
        for node in graph.nodes {
            let after = std::iter::once(start).chain(node.after.iter().map(|&k| ids[k])).collect();
            ids.push(self.enqueue_node(node.work, after));
        }
        let end = self.enqueue_after(stream, Work::Marker, &ids, None)?;
        if let Some(exec) = self.execs.get_mut(&exec_handle) {
            exec.last = Some(end);
        }
        Ok(())
    }
}
