//! A capture: work recorded as a graph's nodes instead of being queued.

use std::cell::Cell;
use std::collections::HashMap;
use std::thread::ThreadId;

use super::graph::{Graph, Node};
use super::result::{Code, Outcome};
use super::work::Work;

/// `CUstreamCaptureMode`: which threads may not make calls that a capture cannot record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

impl Mode {
    pub fn from_number(value: u32) -> Outcome<Self> {
        match value {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
        }
    }
}

thread_local! {
    /// What this thread has asked for itself: with `Relaxed` it may call what captures do not allow.
    static THREAD_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Sets this thread's mode; the one before.
pub fn exchange_thread_mode(new: Mode) -> Mode {
    THREAD_MODE.replace(new)
}

pub fn thread_mode() -> Mode {
    THREAD_MODE.get()
}

/// A capture under way.
pub struct Capture {
    pub origin: u64,
    pub graph: Graph,
    /// The nodes that new work of each captured stream follows.
    pub tails: HashMap<u64, Vec<usize>>,
    pub invalid: bool,
    pub mode: Mode,
    pub thread: ThreadId,
}

impl Capture {
    /// A capture that this thread begins on a stream.
    pub fn new(origin: u64, mode: Mode) -> Self {
        let tails = HashMap::from([(origin, Vec::new())]);
        let thread = std::thread::current().id();
        Self { origin, graph: Graph::default(), tails, invalid: false, mode, thread }
    }

    fn valid(&mut self) -> Outcome<&mut Self> {
        if self.invalid { Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED) } else { Ok(self) }
    }

    /// Adds work of a stream.
    pub fn add(&mut self, stream: u64, work: Work) -> Outcome {
        let Self { graph, tails, .. } = self.valid()?;
        let index = graph.nodes.len();
        let after = tails.insert(stream, vec![index]).unwrap_or_default();
        graph.nodes.push(Node { work, after });
        Ok(())
    }

    /// A graph launched in a capture becomes part of it.
    pub fn add_graph(&mut self, stream: u64, launched: Graph) -> Outcome {
        let Self { graph, tails, .. } = self.valid()?;
        if launched.nodes.is_empty() {
            return Ok(());
        }
        let first = graph.nodes.len();
        graph.memory.extend(launched.memory.iter().cloned());
        let ends = launched.ends().into_iter().map(|k| first + k).collect();
        let before = tails.insert(stream, ends).unwrap_or_default();
        graph.nodes.extend(launched.nodes.into_iter().map(|node| {
            let inner = node.after.iter().map(|&k| first + k);
            Node { after: if node.after.is_empty() { before.clone() } else { inner.collect() }, work: node.work }
        }));
        Ok(())
    }

    /// Whether every node leads to what the origin stream does last.
    pub fn joined(&self) -> bool {
        let mut reached = vec![false; self.graph.nodes.len()];
        let mut stack = self.tails.get(&self.origin).cloned().unwrap_or_default();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                stack.extend(&self.graph.nodes[node].after);
            }
        }
        reached.into_iter().all(|r| r)
    }
}
