//! What the driver does with captures and graphs: captures begin and end, some calls are refused meanwhile, instances
//! of graphs are launched.

use super::capture::{Capture, Mode, thread_mode};
use super::result::{Code, Outcome};
use super::state::{Driver, stream_key};
use super::work::Work;

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
        self.captures.insert(id, Capture::new(key, mode));
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

    /// A call that a capture does not allow, by the capture's mode: the capture is lost.
    pub fn refuse_in_capture(&mut self) -> Outcome {
        if thread_mode() == Mode::Relaxed {
            return Ok(());
        }
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

    /// Queues a graph's nodes on a stream, or adds them to the capture under way there.
    pub fn launch_graph(&mut self, exec: u64, stream: u64) -> Outcome {
        let exec_handle = exec;
        let exec = self.execs.get(&exec).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let (graph, previous) = (exec.graph.clone(), exec.last);
        let key = stream_key(stream);
        if let Some(capture) = self.stream(key)?.capture {
            return self.capture(capture)?.add_graph(key, graph);
        }
        let start = self.enqueue_after(stream, Work::Marker, previous.as_slice(), None)?;
        let ends = graph.ends();
        let mut ids = Vec::with_capacity(graph.nodes.len());
        for node in graph.nodes {
            let after = std::iter::once(start).chain(node.after.iter().map(|&k| ids[k])).collect();
            ids.push(self.enqueue_node(node.work, after));
        }
        let last: Vec<u64> = ends.into_iter().map(|node| ids[node]).collect();
        let end = self.enqueue_after(stream, Work::Marker, &last, None)?;
        if let Some(exec) = self.execs.get_mut(&exec_handle) {
            exec.last = Some(end);
        }
        Ok(())
    }
}
