//! Events: places in streams, with the time at which work passed them.

use std::ffi::c_uint;

use super::{api, put};
use crate::driver::result::{Code, Outcome};
use crate::driver::state::{Driver, Event, stream_key};
use crate::driver::work::Work;

const DISABLE_TIMING: c_uint = 2;
const INTERPROCESS: c_uint = 4;
const ALL_FLAGS: c_uint = 7;

impl Driver {
    fn record(&mut self, event: u64, stream: u64) -> Outcome {
        let key = stream_key(stream);
        if !self.events.contains_key(&event) {
            return Err(Code::CUDA_ERROR_INVALID_HANDLE);
        }
        let captured = self.stream(key)?.capture;
        let nodes = captured.and_then(|c| Some((c, self.captures.get(&c)?.tails.get(&key)?.clone())));
        let operation = if captured.is_some() { None } else { self.enqueue(stream, Work::Marker, Some(event))? };
        if let Some(event) = self.events.get_mut(&event) {
            (event.captured, event.operation, event.stamp) = (nodes, operation, None);
        }
        Ok(())
    }

    fn event(&self, event: u64) -> Outcome<&Event> {
        let event = self.events.get(&event).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        if event.captured.is_some() { Err(Code::CUDA_ERROR_CAPTURED_EVENT) } else { Ok(event) }
    }

    fn elapsed_ms(&self, start: u64, end: u64) -> Outcome<f32> {
        let (start, end) = (self.event(start)?, self.event(end)?);
        if !start.timing || !end.timing || start.operation.is_none() || end.operation.is_none() {
            return Err(Code::CUDA_ERROR_INVALID_HANDLE);
        }
        match (start.stamp, end.stamp) {
            (Some(a), Some(b)) if b >= a => Ok((b - a).as_secs_f32() * 1e3),
            (Some(a), Some(b)) => Ok(-(a - b).as_secs_f32() * 1e3),
            _ => Err(Code::CUDA_ERROR_NOT_READY),
        }
    }
}

api! {
    call fn cuEventCreate(event: *mut u64, flags: c_uint) |s| {
        let timed_between_processes = flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0;
        if flags & !ALL_FLAGS != 0 || timed_between_processes {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let driver = s.driver()?;
        let handle = driver.handle();
        driver.events.insert(handle, Event { timing: flags & DISABLE_TIMING == 0, ..Event::default() });
        put(event, handle)
    }
    call_anyway fn cuEventDestroy_v2(event: u64) |s| {
        s.driver()?.events.remove(&event).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
    }
    call fn cuEventRecord(event: u64, stream: u64) |s| { s.driver()?.record(event, stream) }
    call fn cuEventRecordWithFlags(event: u64, stream: u64, _flags: c_uint) |s| { s.driver()?.record(event, stream) }
    call fn cuEventSynchronize(event: u64) |s| {
        s.driver()?.refuse_in_capture()?;
        match s.driver()?.event(event)?.operation {
            Some(operation) => s.wait(Some(operation)),
            None => Ok(()),
        }
    }
    call fn cuEventQuery(event: u64) |s| {
        s.driver()?.refuse_in_capture()?;
        match s.driver()?.event(event)?.operation {
            Some(operation) => s.poll(operation),
            None => Ok(()),
        }
    }
    call fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) |s| {
        put(milliseconds, s.driver()?.elapsed_ms(start, end)?)
    }
    call fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: u64, end: u64) |s| {
        put(milliseconds, s.driver()?.elapsed_ms(start, end)?)
    }
}
