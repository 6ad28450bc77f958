//! Stream capture and graphs: work recorded as nodes instead of being queued.

use std::collections::HashMap;

use super::result::{Code, Outcome};
use super::state::{Driver, stream_key};
use super::work::Work;

#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
}

#[derive(Clone)]
pub struct Node {
    pub work: Work,
    pub after: Vec<usize>,
}

/// A capture under way.
pub struct Capture {
    pub origin: u64,
    pub graph: Graph,
    /// The nodes that new work of each captured stream follows.
    pub tails: HashMap<u64, Vec<usize>>,
    pub invalid: bool,
}

impl Driver {
    pub fn begin_capture(&mut self, stream: u64) -> Outcome {
        let key = stream_key(stream);
        if key == 0 {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        let id = self.handle();
        let slot = &mut self.stream(key)?.capture;
        if slot.is_some() {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        *slot = Some(id);
        let tails = HashMap::from([(key, Vec::new())]);
        self.captures.insert(id, Capture { origin: key, graph: Graph::default(), tails, invalid: false });
        Ok(())
    }

    /// Ends a capture begun on this stream; the graph's handle.
    pub fn end_capture(&mut self, stream: u64) -> Outcome<u64> {
        let key = stream_key(stream);
        let Some(id) = self.stream(key)?.capture else { return Err(Code::CUDA_ERROR_INVALID_VALUE) };
        if self.captures.get(&id).is_some_and(|c| c.origin != key) {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
        }
        self.streams.values_mut().filter(|s| s.capture == Some(id)).for_each(|s| s.capture = None);
        let Some(capture) = self.captures.remove(&id) else { return Err(Code::CUDA_ERROR_INVALID_VALUE) };
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

    pub fn capture_node(&mut self, capture: u64, stream: u64, work: Work) -> Outcome {
        let capture = self.captures.get_mut(&capture).ok_or(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)?;
        if capture.invalid {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        let index = capture.graph.nodes.len();
        let after = capture.tails.insert(stream, vec![index]).unwrap_or_default();
        capture.graph.nodes.push(Node { work, after });
        Ok(())
    }

    /// A call that a capture does not allow: the capture is lost.
    pub fn refuse_in_capture(&mut self) -> Outcome {
        if self.captures.is_empty() {
            return Ok(());
        }
        self.captures.values_mut().for_each(|capture| capture.invalid = true);
        Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    }

    /// Queues a graph's nodes on a stream.
    pub fn launch_graph(&mut self, exec: u64, stream: u64) -> Outcome {
        let graph = self.execs.get(&exec).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?.clone();
        if self.stream(stream)?.capture.is_some() {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        let start = self.enqueue_after(stream, Work::Marker, &[], None)?;
        let mut ids = Vec::with_capacity(graph.nodes.len());
        for node in graph.nodes {
            let after = std::iter::once(start).chain(node.after.iter().map(|&k| ids[k])).collect();
            ids.push(self.enqueue_node(node.work, after));
        }
        self.enqueue_after(stream, Work::Marker, &ids, None).map(|_| ())
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
