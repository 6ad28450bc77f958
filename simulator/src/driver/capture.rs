//! Stream capture: work recorded as a graph's nodes instead of being queued.

use std::collections::HashMap;
use std::thread::ThreadId;

use super::graph::{Graph, Node};
use super::result::{Code, Outcome};
use super::state::{Driver, stream_key};
use super::work::Work;

/// `CUstreamCaptureMode`: which threads may not make calls that a capture cannot record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

impl Mode {
    pub fn of(value: u32) -> Outcome<Self> {
        match value {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
        }
    }
}

/// A capture under way.
pub struct Capture {
    pub origin: u64,
    pub graph: Graph,
    /// The nodes that new work of each captured stream follows.
    pub tails: HashMap<u64, Vec<usize>>,
    pub invalid: bool,
    mode: Mode,
    thread: ThreadId,
}

impl Driver {
    pub fn begin_capture(&mut self, stream: u64, mode: Mode) -> Outcome {
        let key = stream_key(stream);
        if key == 0 {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        let id = self.handle();
        let slot = &mut self.stream(key)?.capture;
        if slot.is_some() {
            return Err(Code::CUDA_ERROR_ILLEGAL_STATE);
        }
        *slot = Some(id);
        let tails = HashMap::from([(key, Vec::new())]);
        let thread = std::thread::current().id();
        let capture = Capture { origin: key, graph: Graph::default(), tails, invalid: false, mode, thread };
        self.captures.insert(id, capture);
        Ok(())
    }

    /// Ends a capture begun on this stream; the graph's handle.
    pub fn end_capture(&mut self, stream: u64) -> Outcome<u64> {
        let key = stream_key(stream);
        let Some(id) = self.stream(key)?.capture else { return Err(Code::CUDA_ERROR_ILLEGAL_STATE) };
        if let Some(capture) = self.captures.get(&id) {
            if capture.origin != key {
                return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
            }
            if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
                return Err(Code::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
            }
        }
        self.streams.values_mut().filter(|s| s.capture == Some(id)).for_each(|s| s.capture = None);
        let Some(capture) = self.captures.remove(&id) else { return Err(Code::CUDA_ERROR_ILLEGAL_STATE) };
        if capture.invalid {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        if !capture.joined() {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
        }
        let handle = self.handle();
        self.graphs.insert(handle, capture.graph);
        Ok(handle)
    }

    fn valid_capture(&mut self, capture: u64) -> Outcome<&mut Capture> {
        match self.captures.get_mut(&capture) {
            Some(capture) if !capture.invalid => Ok(capture),
            _ => Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
        }
    }

    pub fn capture_node(&mut self, capture: u64, stream: u64, work: Work) -> Outcome {
        let capture = self.valid_capture(capture)?;
        let index = capture.graph.nodes.len();
        let after = capture.tails.insert(stream, vec![index]).unwrap_or_default();
        capture.graph.nodes.push(Node { work, after });
        Ok(())
    }

    /// A graph launched in a capture becomes part of it.
    pub fn capture_graph(&mut self, capture: u64, stream: u64, graph: Graph) -> Outcome {
        let capture = self.valid_capture(capture)?;
        if graph.nodes.is_empty() {
            return Ok(());
        }
        let first = capture.graph.nodes.len();
        capture.graph.memory.extend(graph.memory.iter().cloned());
        let ends = graph.ends().into_iter().map(|k| first + k).collect();
        let before = capture.tails.insert(stream, ends).unwrap_or_default();
        capture.graph.nodes.extend(graph.nodes.into_iter().map(|node| {
            let inner = node.after.iter().map(|&k| first + k);
            Node { after: if node.after.is_empty() { before.clone() } else { inner.collect() }, work: node.work }
        }));
        Ok(())
    }

    /// A call that a capture does not allow, by the capture's mode: the capture is lost.
    pub fn refuse_in_capture(&mut self) -> Outcome {
        let here = std::thread::current().id();
        let mut refused = false;
        for capture in self.captures.values_mut() {
            let concerned = match capture.mode {
                Mode::Global => true,
                Mode::ThreadLocal => capture.thread == here,
                Mode::Relaxed => false,
            };
            capture.invalid |= concerned;
            refused |= concerned;
        }
        if refused { Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    /// A stream that records work cannot be waited for or asked whether it is done.
    pub fn refuse_captured(&mut self, stream: u64) -> Outcome {
        let Some(id) = self.stream(stream)?.capture else { return Ok(()) };
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.invalid = true;
        }
        Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    }
}

impl Capture {
    /// Whether every node leads to what the origin stream does last.
    fn joined(&self) -> bool {
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
