//! Streams and events.

use std::ffi::{c_int, c_uint, c_void};

use crate::driver::{self, Callback};
use crate::state::{put, ready, runtime};

runtime! {
    fn cudaStreamCreate(stream: *mut u64) { ready()?; driver::cuStreamCreateWithPriority(stream, 0, 0) }
    fn cudaStreamCreateWithFlags(stream: *mut u64, flags: c_uint) {
        ready()?;
        driver::cuStreamCreateWithPriority(stream, flags, 0)
    }
    fn cudaStreamCreateWithPriority(stream: *mut u64, flags: c_uint, priority: c_int) {
        ready()?;
        driver::cuStreamCreateWithPriority(stream, flags, priority)
    }
    fn cudaStreamDestroy(stream: u64) { ready()?; driver::cuStreamDestroy_v2(stream) }
    fn cudaStreamSynchronize(stream: u64) { ready()?; driver::cuStreamSynchronize(stream) }
    fn cudaStreamQuery(stream: u64) { ready()?; driver::cuStreamQuery(stream) }
    fn cudaStreamWaitEvent(stream: u64, event: u64, flags: c_uint) {
        ready()?;
        driver::cuStreamWaitEvent(stream, event, flags)
    }
    fn cudaStreamAddCallback(stream: u64, callback: Callback, data: *mut c_void, flags: c_uint) {
        ready()?;
        driver::cuStreamAddCallback(stream, callback, data, flags)
    }
    fn cudaStreamGetPriority(stream: u64, priority: *mut c_int) {
        ready()?;
        driver::cuStreamGetPriority(stream, priority)
    }
    fn cudaStreamGetFlags(stream: u64, flags: *mut c_uint) { ready()?; driver::cuStreamGetFlags(stream, flags) }
    fn cudaStreamGetId(stream: u64, id: *mut u64) { ready()?; driver::cuStreamGetId(stream, id) }
    fn cudaStreamGetDevice(_stream: u64, device: *mut c_int) { put(device, 0) }
    fn cudaStreamAttachMemAsync(_stream: u64, _address: u64, _bytes: usize, _flags: c_uint) { ready() }
    fn cudaStreamSetAttribute(stream: u64, which: c_uint, value: *const c_void) {
        ready()?;
        driver::cuStreamSetAttribute(stream, which, value)
    }
    fn cudaStreamGetAttribute(stream: u64, which: c_uint, value: *mut c_void) {
        ready()?;
        driver::cuStreamGetAttribute(stream, which, value)
    }
    fn cudaStreamCopyAttributes(to: u64, from: u64) { ready()?; driver::cuStreamCopyAttributes(to, from) }
    fn cudaStreamBeginCapture(stream: u64, mode: c_uint) { ready()?; driver::cuStreamBeginCapture_v2(stream, mode) }
    fn cudaStreamEndCapture(stream: u64, graph: *mut u64) { ready()?; driver::cuStreamEndCapture(stream, graph) }
    fn cudaStreamIsCapturing(stream: u64, status: *mut c_uint) { ready()?; driver::cuStreamIsCapturing(stream, status) }
    // Releases differ in what follows the number; what they agree on is answered.
    fn cudaStreamGetCaptureInfo(stream: u64, status: *mut c_uint, id: *mut u64) {
        let (graph, nodes, count) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ready()?;
        driver::cuStreamGetCaptureInfo_v2(stream, status, id, graph, nodes, count)
    }
    fn cudaStreamGetCaptureInfo_v2(
        stream: u64, status: *mut c_uint, id: *mut u64, graph: *mut u64, nodes: *mut *const u64, count: *mut usize,
    ) {
        ready()?;
        driver::cuStreamGetCaptureInfo_v2(stream, status, id, graph, nodes, count)
    }
    fn cudaThreadExchangeStreamCaptureMode(mode: *mut c_uint) {
        ready()?;
        driver::cuThreadExchangeStreamCaptureMode(mode)
    }
    fn cudaCtxResetPersistingL2Cache() { ready() }

    fn cudaEventCreate(event: *mut u64) { ready()?; driver::cuEventCreate(event, 0) }
    fn cudaEventCreateWithFlags(event: *mut u64, flags: c_uint) { ready()?; driver::cuEventCreate(event, flags) }
    fn cudaEventDestroy(event: u64) { ready()?; driver::cuEventDestroy_v2(event) }
    fn cudaEventRecord(event: u64, stream: u64) { ready()?; driver::cuEventRecord(event, stream) }
    fn cudaEventRecordWithFlags(event: u64, stream: u64, _flags: c_uint) {
        ready()?;
        driver::cuEventRecord(event, stream)
    }
    fn cudaEventSynchronize(event: u64) { ready()?; driver::cuEventSynchronize(event) }
    fn cudaEventQuery(event: u64) { ready()?; driver::cuEventQuery(event) }
    fn cudaEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) {
        ready()?;
        driver::cuEventElapsedTime(milliseconds, start, end)
    }
    fn cudaEventElapsedTime_v2(milliseconds: *mut f32, start: u64, end: u64) {
        ready()?;
        driver::cuEventElapsedTime(milliseconds, start, end)
    }
}
