//! The orders that streams and events allow, and what is asynchronous.

use std::ffi::c_void;

use cudasim::driver::api::{device, event, launch, memory, stream};
use cudasim::driver::settings::Settings;

use crate::args;
use crate::common::{Gpu, checked, compile, ok};

fn bugs(seed: u64) -> Gpu {
    Gpu::new(&compile("bugs", "sm_80", &[]), Settings { seed, ..checked() })
}

const NOT_READY: u32 = 600;
const NOT_PERMITTED: u32 = 800;

/// Pageable memory is read when a copy is queued; pinned memory when it runs, which may be any time before it is waited
/// for.
#[test]
fn copies_are_as_asynchronous_as_on_hardware() {
    let gpu = bugs(3);
    let (data, one) = (gpu.alloc(256), gpu.stream());
    let mut host = [5i32; 64];
    ok(unsafe { memory::cuMemcpyHtoDAsync_v2(data, host.as_ptr().cast(), 256, one) });
    host.fill(6);
    ok(unsafe { stream::cuStreamSynchronize(one) });
    assert_eq!(gpu.download::<i32>(data, 64), [5; 64]);
    let mut pinned = 0;
    ok(unsafe { memory::cuMemHostAlloc(&mut pinned, 256, 0) });
    let numbers = unsafe { std::slice::from_raw_parts_mut(pinned as *mut i32, 64) };
    numbers.fill(7);
    ok(unsafe { memory::cuMemcpyHtoDAsync_v2(data, numbers.as_ptr().cast(), 256, one) });
    numbers.fill(8);
    ok(unsafe { stream::cuStreamSynchronize(one) });
    assert_eq!(gpu.download::<i32>(data, 64), [8; 64], "the copy had not happened yet");
    // A copy to pageable memory has happened when the call returns.
    ok(unsafe { memory::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), data, 256, one) });
    assert_eq!(host, [8; 64]);
    ok(unsafe { memory::cuMemFreeHost(pinned) });
}

/// Whether some seed lets `effect` happen.
fn some_order(effect: impl Fn(u64) -> bool) -> bool {
    (1..=24).any(effect)
}

#[test]
fn streams_keep_the_order_of_the_legacy_stream() {
    // A blocking stream waits for the legacy stream and is waited for; a non-blocking one is not.
    let run = |seed: u64, flags: u32| {
        let gpu = bugs(seed);
        let data = gpu.upload(&[1i32; 64]);
        let mut other = 0;
        ok(unsafe { stream::cuStreamCreate(&mut other, flags) });
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 2, 64], other));
        // On the legacy stream, and seen by the copy behind it.
        let copy = gpu.upload(&[0i32; 64]);
        ok(unsafe { memory::cuMemcpyDtoDAsync_v2(copy, data, 256, 0) });
        gpu.download::<i32>(copy, 1)[0]
    };
    assert!(!some_order(|seed| run(seed, 0) != 2));
    assert!(some_order(|seed| run(seed, 1) == 1));
    assert!(some_order(|seed| run(seed, 1) == 2));
}

#[test]
fn events_are_ready_when_their_work_is() {
    let gpu = bugs(0);
    let (data, one) = (gpu.upload(&[1i32; 64]), gpu.stream());
    let (mut never, mut done) = (0, 0);
    ok(unsafe { event::cuEventCreate(&mut never, 0) });
    ok(unsafe { event::cuEventCreate(&mut done, 0) });
    assert_eq!(unsafe { event::cuEventQuery(never) }, 0, "an event that was never recorded is complete");
    for _ in 0..3 {
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 2, 64], one));
    }
    ok(unsafe { event::cuEventRecord(done, one) });
    assert_eq!(unsafe { event::cuEventQuery(done) }, NOT_READY);
    let mut milliseconds = 0.0;
    assert_eq!(unsafe { event::cuEventElapsedTime(&mut milliseconds, never, done) }, 400, "one was never recorded");
    // A program that only asks gets there.
    let asked = (0..100).position(|_| unsafe { event::cuEventQuery(done) } == 0);
    assert!(asked.is_some());
    ok(unsafe { event::cuEventElapsedTime(&mut milliseconds, done, done) });
    assert_eq!(milliseconds, 0.0);
    ok(unsafe { event::cuEventDestroy_v2(done) });
    assert_eq!(unsafe { event::cuEventRecord(done, one) }, 400);
}

extern "C" fn calls_the_driver(code: *mut c_void) {
    // SAFETY: the test passes a pointer to its code.
    unsafe { *code.cast::<u32>() = device::cuCtxSynchronize() };
}

#[test]
fn host_functions_may_not_call_the_driver() {
    let gpu = bugs(1);
    let (mut code, one) = (0u32, gpu.stream());
    ok(unsafe { launch::cuLaunchHostFunc(one, Some(calls_the_driver), (&raw mut code).cast()) });
    ok(unsafe { stream::cuStreamSynchronize(one) });
    assert_eq!(code, NOT_PERMITTED);
}
