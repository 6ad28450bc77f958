//! Streams.

use std::ffi::{c_int, c_uint, c_void};

use super::{api, get, put, put_optional};
use crate::driver::capture::{self, Mode};
use crate::driver::current;
use crate::driver::result::{Code, Outcome};
use crate::driver::state::{Attribute, Driver, Stream, stream_key};
use crate::driver::work::{HostFunction, Work};

const NON_BLOCKING: c_uint = 1;

type Callback = Option<extern "C" fn(u64, c_uint, *mut c_void)>;

/// A stream's callback and what it gets.
struct Called {
    stream: u64,
    callback: extern "C" fn(u64, c_uint, *mut c_void),
    data: *mut c_void,
}

extern "C" fn call_back(called: *mut c_void) {
    // SAFETY: made from a box when the callback was queued, and work runs once.
    let called = unsafe { Box::from_raw(called.cast::<Called>()) };
    (called.callback)(called.stream, Code::CUDA_SUCCESS as c_uint, called.data);
}

impl Driver {
    fn create_stream(&mut self, flags: c_uint, priority: c_int) -> Outcome<u64> {
        if flags > NON_BLOCKING {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let handle = self.handle();
        let blocking = flags & NON_BLOCKING == 0;
        self.streams.insert(handle, Stream::new(blocking, priority.clamp(-5, 0)));
        Ok(handle)
    }

    /// A stream waits for an event; in a capture this is how other streams join it.
    fn wait_event(&mut self, stream: u64, event: u64) -> Outcome {
        let key = stream_key(stream);
        let event = self.events.get(&event).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        if let Some((capture, nodes)) = event.captured.clone() {
            let slot = &mut self.stream(key)?.capture;
            if slot.is_some_and(|other| other != capture) {
                return Err(Code::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
            }
            *slot = Some(capture);
            let capture = self.captures.get_mut(&capture).ok_or(Code::CUDA_ERROR_CAPTURED_EVENT)?;
            let tail = capture.tails.entry(key).or_default();
            tail.extend(nodes);
            tail.sort_unstable();
            tail.dedup();
            return Ok(());
        }
        let operation = event.operation;
        if self.stream(key)?.capture.is_some() {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
        }
        if let Some(operation) = operation {
            self.enqueue_after(stream, Work::Marker, &[operation], None)?;
        }
        Ok(())
    }

    /// A `CUstreamCaptureStatus` and the capture's number.
    fn capture_status(&mut self, stream: u64) -> Outcome<(c_uint, u64)> {
        let capture = self.stream(stream)?.capture;
        let invalid = capture.and_then(|c| self.captures.get(&c)).is_some_and(|c| c.invalid);
        Ok((if invalid { 2 } else { c_uint::from(capture.is_some()) }, capture.unwrap_or(0)))
    }

    /// The operation that a wait for a stream waits for.
    fn stream_end(&mut self, stream: u64) -> Outcome<Option<u64>> {
        self.refuse_captured(stream)?;
        if stream_key(stream) == 0 {
            // The legacy stream's end is everything blocking before it.
            return self.enqueue(stream, Work::Marker, None);
        }
        Ok(self.stream(stream)?.last)
    }
}

/// The answers of `cuStreamGetCaptureInfo`. The graph itself is the capture's until it ends, so neither it nor its
/// nodes have handles yet.
fn capture_info(
    driver: &mut Driver,
    stream: u64,
    (status, id): (*mut c_uint, *mut u64),
    (graph, nodes, count): (*mut u64, *mut *const u64, *mut usize),
) -> Outcome {
    let (found, capture) = driver.capture_status(stream)?;
    put_optional(id, capture);
    put_optional(graph, 0);
    put_optional(nodes, std::ptr::null());
    put_optional(count, 0);
    put(status, found)
}

api! {
    call fn cuStreamCreate(stream: *mut u64, flags: c_uint) |s| { put(stream, s.driver()?.create_stream(flags, 0)?) }
    call fn cuStreamCreateWithPriority(stream: *mut u64, flags: c_uint, priority: c_int) |s| {
        put(stream, s.driver()?.create_stream(flags, priority)?)
    }
    call_anyway fn cuStreamDestroy_v2(stream: u64) |s| {
        // Its work goes on; only the handle is gone.
        if stream_key(stream) == 0 {
            return Err(Code::CUDA_ERROR_INVALID_HANDLE);
        }
        s.driver()?.streams.remove(&stream).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
    }
    call fn cuStreamSynchronize(stream: u64) |s| {
        match s.driver()?.stream_end(stream)? {
            Some(operation) => s.wait(Some(operation)),
            None => Ok(()),
        }
    }
    call fn cuStreamQuery(stream: u64) |s| {
        match s.driver()?.stream_end(stream)? {
            Some(operation) => s.poll(operation),
            None => Ok(()),
        }
    }
    call fn cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint) |s| {
        // CU_EVENT_WAIT_EXTERNAL is all there is.
        if flags > 1 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        s.driver()?.wait_event(stream, event)
    }
    call fn cuStreamGetPriority(stream: u64, priority: *mut c_int) |s| {
        put(priority, s.driver()?.stream(stream)?.priority)
    }
    call fn cuStreamGetFlags(stream: u64, flags: *mut c_uint) |s| {
        put(flags, c_uint::from(!s.driver()?.stream(stream)?.blocking))
    }
    call fn cuStreamGetCtx(stream: u64, context: *mut u64) |s| {
        s.driver()?.stream(stream)?;
        put(context, current::get())
    }
    call fn cuStreamGetId(stream: u64, id: *mut u64) |s| {
        s.driver()?.stream(stream)?;
        put(id, stream_key(stream))
    }
    call fn cuStreamAddCallback(stream: u64, callback: Callback, data: *mut c_void, flags: c_uint) |s| {
        if flags != 0 { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        let callback = callback.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let driver = s.driver()?;
        // Callbacks, unlike host functions, cannot be captured.
        driver.refuse_captured(stream)?;
        let data = Box::into_raw(Box::new(Called { stream, callback, data }));
        driver.enqueue(stream, Work::Host(HostFunction { function: call_back, data: data as usize }), None).map(|_| ())
    }
    call fn cuStreamAttachMemAsync(_stream: u64, _address: u64, _bytes: usize, _flags: c_uint) |_s| { Ok(()) }
    call fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint) |s| {
        s.driver()?.begin_capture(stream, Mode::from_number(mode)?)
    }
    call fn cuStreamEndCapture(stream: u64, graph: *mut u64) |s| {
        super::put_optional(graph, 0);
        put(graph, s.driver()?.end_capture(stream)?)
    }
    call fn cuStreamIsCapturing(stream: u64, status: *mut c_uint) |s| {
        put(status, s.driver()?.capture_status(stream)?.0)
    }
    call fn cuStreamGetCaptureInfo(stream: u64, status: *mut c_uint, id: *mut u64) |s| {
        let (found, capture) = s.driver()?.capture_status(stream)?;
        put_optional(id, capture);
        put(status, found)
    }
    call fn cuStreamGetCaptureInfo_v2(
        stream: u64, status: *mut c_uint, id: *mut u64, graph: *mut u64, nodes: *mut *const u64, count: *mut usize,
    ) |s| {
        capture_info(s.driver()?, stream, (status, id), (graph, nodes, count))
    }
    call fn cuStreamGetCaptureInfo_v3(
        stream: u64, status: *mut c_uint, id: *mut u64, graph: *mut u64, nodes: *mut *const u64, edges: *mut *const
        c_void, count: *mut usize,
    ) |s| {
        put_optional(edges, std::ptr::null());
        capture_info(s.driver()?, stream, (status, id), (graph, nodes, count))
    }
    call_anyway fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint) |_s| {
        let new = Mode::from_number(get(mode)?)?;
        put(mode, capture::exchange_thread_mode(new) as c_uint)
    }
    call fn cuStreamSetAttribute(stream: u64, which: c_uint, value: *const Attribute) |s| {
        let value = get(value)?;
        s.driver()?.stream(stream)?.attributes.insert(which, value);
        Ok(())
    }
    call fn cuStreamGetAttribute(stream: u64, which: c_uint, value: *mut Attribute) |s| {
        let known = s.driver()?.stream(stream)?.attributes.get(&which).copied();
        put(value, known.unwrap_or_default())
    }
    call fn cuStreamCopyAttributes(to: u64, from: u64) |s| {
        let driver = s.driver()?;
        let attributes = driver.stream(from)?.attributes.clone();
        driver.stream(to)?.attributes = attributes;
        Ok(())
    }
}
