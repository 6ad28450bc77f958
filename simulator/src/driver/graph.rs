//! Graphs: work as nodes with what each follows, and instances of them.

use std::sync::Arc;

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
    /// What it takes of the device's memory while it lives, if anything: nothing reads it.
    pub _held: Option<GraphMemory>,
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
            } else if !a.work.is_like(&b.work) {
                Some(Difference::NodeType(k))
            } else {
                None
            }
        })
    }
}
