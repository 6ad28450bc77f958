//! Bugs that the checks must find, each by its own check and none without it where hardware would say nothing.

use crate::args;
use crate::common::{Gpu, checked, compile};
use cuda::checks::Checks;
use cuda::driver::api::{memory, module, stream};
use cuda::driver::settings::Settings;
use cuda::error::{Fault, FaultKind};

fn bugs(settings: Settings) -> Gpu {
    Gpu::new(&compile("bugs", "sm_80", &[]), settings)
}

fn only(list: &str) -> Settings {
    Settings { checks: Checks::parse(list).expect("the list is right"), ..Settings::default() }
}

fn fault(gpu: &Gpu) -> Fault {
    assert_ne!(gpu.sync(), 0);
    gpu.report().fault.expect("a fault is reported")
}

#[test]
fn off_by_one_store() {
    let gpu = bugs(only("mem"));
    let out = gpu.alloc(4 * 100);
    gpu.launch("off_by_one", 4, 32, args![out, 100]);
    let fault = fault(&gpu);
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
    assert!(fault.message.contains("0 bytes past the end") && fault.message.contains("of 400 bytes"), "{fault}");
    let place = fault.place.expect("a place is known");
    assert_eq!((place.kernel.as_str(), place.block, place.thread), ("off_by_one", [3, 0, 0], [4, 0, 0]));
    let (file, line) = place.source.expect("-lineinfo was given");
    assert!(file.ends_with("bugs.cu"));
    assert_eq!(line, 6);
}

#[test]
fn without_the_check_it_passes_as_on_hardware() {
    let gpu = bugs(only(""));
    let out = gpu.alloc(4 * 100);
    gpu.launch("off_by_one", 4, 32, args![out, 100]);
    assert_eq!(gpu.sync(), 0);
}

#[test]
fn missing_syncthreads() {
    let gpu = bugs(only("race"));
    let out = gpu.alloc(256);
    gpu.launch("missing_syncthreads", 1, 64, args![out]);
    assert_eq!(fault(&gpu).kind, FaultKind::Race);
}

#[test]
fn race_between_blocks() {
    let gpu = bugs(only("race"));
    let out = gpu.upload(&[0i32]);
    gpu.launch("shared_counter", 2, 1, args![out]);
    assert_eq!(fault(&gpu).kind, FaultKind::Race);
}

#[test]
fn missing_cp_async_wait() {
    let ptx = compile("tensor", "sm_80", &["-DFORGET_WAIT"]);
    for (list, kind) in [("race", FaultKind::Race), ("init", FaultKind::Uninitialized)] {
        let gpu = Gpu::new(&ptx, only(list));
        let (a, b) = (gpu.upload(&[0x3f80u16; 64 * 64]), gpu.upload(&[0x3f80u16; 64 * 64]));
        let c = gpu.alloc(4 * 64 * 64);
        gpu.launch("gemm_bf16", 1, 128, args![c, a, b, 64, 64]);
        assert_eq!(fault(&gpu).kind, kind);
    }
    // Without checks the result is simply wrong: the copy is as late as it may be.
    let gpu = Gpu::new(&ptx, only(""));
    let (a, b) = (gpu.upload(&[0x3f80u16; 64 * 64]), gpu.upload(&[0x3f80u16; 64 * 64]));
    let c = gpu.alloc(4 * 64 * 64);
    gpu.launch("gemm_bf16", 1, 128, args![c, a, b, 64, 64]);
    assert_ne!(gpu.download::<f32>(c, 1), [64.0]);
}

#[test]
fn unwritten_output() {
    let gpu = bugs(only("init"));
    let (middle, out) = (gpu.alloc(256), gpu.alloc(256));
    gpu.launch("half_output", 1, 64, args![middle, 64]);
    assert_eq!(gpu.sync(), 0);
    gpu.launch("read_all", 1, 64, args![out, middle, 64]);
    let fault = fault(&gpu);
    assert_eq!(fault.kind, FaultKind::Uninitialized);
    assert_eq!(fault.place.expect("a place is known").thread, [32, 0, 0]);
}

#[test]
fn barrier_in_divergent_code() {
    let gpu = bugs(only("sync"));
    let out = gpu.alloc(256);
    gpu.launch("divergent_barrier", 1, 64, args![out]);
    assert_eq!(fault(&gpu).kind, FaultKind::Barrier);
}

#[test]
fn missing_stream_wait() {
    // The copy on the second stream does not wait for the kernel on the first: some legal order shows it.
    let stale = (1..=16u64).any(|seed| {
        let gpu = bugs(Settings { seed, ..checked() });
        let (data, one, two) = (gpu.upload(&[1i32; 64]), gpu.stream(), gpu.stream());
        let copy = gpu.upload(&[0i32; 64]);
        crate::common::ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 7, 64], one));
        crate::common::ok(unsafe { memory::cuMemcpyDtoDAsync_v2(copy, data, 256, two) });
        crate::common::ok(unsafe { stream::cuStreamSynchronize(one) });
        crate::common::ok(unsafe { stream::cuStreamSynchronize(two) });
        gpu.download::<i32>(copy, 1) == [1]
    });
    assert!(stale);
}

#[test]
fn an_order_that_was_asked_for_is_kept() {
    use cuda::driver::api::event;
    for seed in 1..=16 {
        let gpu = bugs(Settings { seed, ..checked() });
        let (data, one, two) = (gpu.upload(&[1i32; 64]), gpu.stream(), gpu.stream());
        let (copy, mut done) = (gpu.upload(&[0i32; 64]), 0);
        crate::common::ok(unsafe { event::cuEventCreate(&mut done, 0) });
        crate::common::ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 7, 64], one));
        crate::common::ok(unsafe { event::cuEventRecord(done, one) });
        crate::common::ok(unsafe { stream::cuStreamWaitEvent(two, done, 0) });
        crate::common::ok(unsafe { memory::cuMemcpyDtoDAsync_v2(copy, data, 256, two) });
        crate::common::ok(unsafe { stream::cuStreamSynchronize(two) });
        assert_eq!(gpu.download::<i32>(copy, 1), [7]);
    }
}

#[test]
fn use_after_free() {
    let gpu = bugs(only("mem"));
    let data = gpu.alloc(256);
    gpu.free(data);
    gpu.launch("fill", 1, 64, args![data, 1, 64]);
    assert_eq!(fault(&gpu).kind, FaultKind::UseAfterFree);
}

#[test]
fn shared_memory_beyond_48_kb_needs_the_attribute() {
    let gpu = bugs(checked());
    let out = gpu.alloc(4 * 64);
    let bytes = 49 * 1024;
    let launch = || gpu.try_launch("big_shared", [1, 1, 1], [64, 1, 1], bytes, args![out], 0);
    assert_eq!(launch(), 1);
    assert_eq!(unsafe { module::cuFuncSetAttribute(gpu.function("big_shared"), 8, 228 * 1024) }, 1);
    crate::common::ok(unsafe { module::cuFuncSetAttribute(gpu.function("big_shared"), 8, bytes as i32) });
    assert_eq!(launch(), 0);
    assert_eq!(gpu.sync(), 0);
}

#[test]
fn misalignment_and_endless_loops() {
    let gpu = bugs(Settings { timeout_ms: 200, ..only("") });
    let data = gpu.upload(&[0i32; 4]);
    gpu.launch("forever", 1, 32, args![data]);
    assert_eq!(gpu.sync(), 702);
    drop(gpu);
    let gpu = bugs(only(""));
    let data = gpu.upload(&[0i32; 4]);
    gpu.launch("misaligned", 1, 1, args![data]);
    assert_eq!(gpu.sync(), 716);
}

#[test]
fn leaks_are_reported_when_the_context_goes() {
    use cuda::driver::api::device;
    let gpu = bugs(only("leak"));
    let (kept, freed) = (gpu.alloc(1000), gpu.alloc(24));
    gpu.free(freed);
    let mut context = 0;
    crate::common::ok(unsafe { device::cuCtxGetCurrent(&mut context) });
    crate::common::ok(unsafe { device::cuCtxDestroy_v2(context) });
    assert_ne!(kept, 0);
    assert_eq!(gpu.report().leaks, [1000]);
}
