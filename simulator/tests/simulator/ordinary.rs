//! What ordinary programs do, in `programs.cu`: loops that returns leave, blocks that wait for later ones, output and
//! memory from within kernels, values that are loaded and dropped.

use cudasim::driver::settings::Settings;
use cudasim::error::FaultKind;
use cudasim::launch::Checks;

use crate::args;
use crate::common::{Gpu, checked, compile, nvcc_output, ok};

fn gpu(settings: Settings) -> Gpu {
    Gpu::new(&compile("programs", "sm_80", &[]), settings)
}

fn only(list: &str) -> Settings {
    Settings { checks: Checks::parse(list).expect("the list is right"), ..Settings::default() }
}

#[test]
fn lanes_meet_in_a_loop_that_a_return_leaves() {
    let gpu = gpu(checked());
    let out = gpu.upload(&[0i32; 65]);
    gpu.launch("persistent", 1, 64, args![out, 3]);
    let mut want = [3; 65];
    want[1..].fill(1 + 2);
    assert_eq!(gpu.download::<i32>(out, 65), want);
    // Five barriers of two warps.
    assert_eq!(gpu.report().launches[0].totals.barriers, 10);
}

#[test]
fn a_block_may_wait_for_a_later_one() {
    for (blocks, threads) in [(2, 1), (4, 1), (9, 2), (70, 2)] {
        let gpu = gpu(Settings { threads, ..checked() });
        let (flag, out) = (gpu.upload(&[0i32]), gpu.upload(&vec![-1i32; 64 * blocks]));
        gpu.launch("wait_for_last", blocks as u32, 64, args![flag, out]);
        let got = gpu.download::<i32>(out, 64 * blocks);
        let want = |i: usize| if i < 64 * (blocks - 1) { i as i32 % 64 } else { -1 };
        assert!(got.iter().enumerate().all(|(i, &x)| x == want(i)), "{blocks}");
    }
}

#[test]
fn a_gap_lies_behind_each_allocation_where_bounds_are_checked() {
    let gpu = gpu(only("mem"));
    let (first, _second) = (gpu.alloc(512), gpu.alloc(512));
    gpu.launch("one_too_far", 1, 128, args![first]);
    assert_ne!(gpu.sync(), 0);
    let fault = gpu.report().fault.expect("a fault").to_string();
    assert!(fault.contains("0 bytes past the end of the allocation") && fault.contains("of 512 bytes"), "{fault}");
}

#[test]
fn the_width_of_a_warp_and_components_of_a_vector() {
    let gpu = gpu(checked());
    let (widths, numbers) = (gpu.alloc(128), gpu.upload(&[2f32, 7.0, 0.0]));
    gpu.launch("width_of_warp", 1, 32, args![widths]);
    gpu.launch("vector_register", 1, 1, args![numbers]);
    assert_eq!(gpu.download::<i32>(widths, 32), [32; 32]);
    assert_eq!(gpu.download::<f32>(numbers, 3), [2.0, 7.0, 5.0]);
}

#[test]
fn nodes_from_the_heap() {
    let gpu = gpu(checked());
    let out = gpu.alloc(4 * 64);
    for _ in 0..3 {
        gpu.launch("lists", 1, 64, args![out, 100]);
        let got = gpu.download::<i32>(out, 64);
        assert!(got.iter().zip(1..).all(|(&sum, thread)| sum == 5050 * thread));
    }
}

#[test]
fn what_is_loaded_and_dropped_is_no_mistake() {
    let written = |gpu: &Gpu, count: usize| {
        let memory = gpu.alloc(4 * 64);
        gpu.write(memory, &vec![1f32; count]);
        memory
    };
    let gpu_init = gpu(only("init"));
    let out = gpu_init.alloc(4 * 64);
    gpu_init.launch("edge", 1, 32, args![out, written(&gpu_init, 20), 20]);
    assert_eq!(gpu_init.sync(), 0, "{:?}", gpu_init.report().fault.map(|f| f.to_string()));
    gpu_init.launch("through_shared", 1, 64, args![out, written(&gpu_init, 32)]);
    assert_eq!(gpu_init.sync(), 0, "{:?}", gpu_init.report().fault.map(|f| f.to_string()));
    drop(gpu_init);
    for (kernel, count, how) in [
        ("edge", 0, "stored to global memory"),
        ("through_shared", 20, "stored to global memory"),
        ("decide", 20, "used in a decision"),
        ("index", 20, "used as an address"),
    ] {
        let gpu = gpu(only("init"));
        let (out, memory) = (gpu.alloc(4 * 64), written(&gpu, count));
        match kernel {
            "edge" => gpu.launch(kernel, 1, 32, args![out, memory, 20]),
            "through_shared" => gpu.launch(kernel, 1, 64, args![out, memory]),
            _ => gpu.launch(kernel, 1, 32, args![out, memory]),
        }
        assert_ne!(gpu.sync(), 0, "{kernel}");
        let fault = gpu.report().fault.expect("a fault");
        assert_eq!(fault.kind, FaultKind::Uninitialized);
        assert!(fault.to_string().contains(how), "{kernel}: {fault}");
    }
}

#[test]
fn rows_belong_to_the_lanes_that_receive_them() {
    let gpu = gpu(checked());
    let out = gpu.alloc(128);
    gpu.launch("read_rows_and_write", 1, 32, args![out]);
    assert_eq!(gpu.download::<u32>(out, 32), std::array::from_fn::<u32, 32, _>(|i| i as u32 + 1));
}

#[test]
fn lanes_that_only_the_compiler_brings_together() {
    for (list, together, found) in [("aligned", 0, true), ("aligned", 1, false), ("all", 0, false)] {
        let gpu = gpu(only(list));
        let out = gpu.upload(&[0f32; 64]);
        gpu.launch("product_after_branch", 1, 32, args![out, together]);
        assert_eq!(gpu.sync() != 0, found, "{list} {together}");
        if found {
            let fault = gpu.report().fault.expect("a fault");
            assert_eq!(fault.kind, FaultKind::Convergence);
            assert!(fault.to_string().contains("mma") && fault.to_string().contains("programs.cu"), "{fault}");
        }
    }
}

#[test]
fn an_estimate_of_registers_keeps_out_nothing() {
    let n = 4096;
    let run = |gpu: &Gpu| {
        let (out, input) = (gpu.upload(&vec![0f32; n]), gpu.upload(&vec![1f32; n]));
        gpu.launch("many_registers", 1, 1024, args![out, input, n as i32]);
        assert_eq!(gpu.download::<f32>(out, 1), [80.0]);
    };
    let from_text = gpu(Settings::default());
    run(&from_text);
    assert_eq!(from_text.attribute("many_registers", 0), 1024);
    drop(from_text);
    // With machine code for the device its count is known, and what it does not allow is refused.
    let options = ["-fatbin", "-gencode", "arch=compute_80,code=compute_80", "-gencode", "arch=compute_90,code=sm_90"];
    let binary = nvcc_output("programs", &options);
    let gpu = Gpu::of_image(&binary, Settings::default());
    let known = gpu.attribute("many_registers", 4);
    assert!((40..=64).contains(&known), "{known}");
    run(&gpu);
}

#[test]
fn code_for_one_architecture_comes_before_code_for_all() {
    let options =
        ["-fatbin", "-gencode", "arch=compute_90,code=compute_90", "-gencode", "arch=compute_90a,code=compute_90a"];
    let gpu = Gpu::of_image(&nvcc_output("programs", &options), Settings::default());
    let out = gpu.upload(&[-1i32]);
    gpu.launch("feature", 1, 1, args![out]);
    assert_eq!(gpu.download::<i32>(out, 1), [1]);
}

#[test]
fn a_kernel_is_refused_and_the_others_run() {
    const PTX: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
        .visible .entry good(.param .u64 p) { .reg .b64 %rd<2>; ld.param.u64 %rd1, [p]; st.global.u32 [%rd1], 7; ret; }\n\
        .visible .entry bad(.param .u64 p) { .reg .b32 %r<5>; tex.1d.v4.s32.s32 {%r1, %r2, %r3, %r4}, [tx, {%r1}]; ret; }\n\
        .visible .entry worse(.param .u64 p) { frobnicate.b32 1; ret; }\n";
    let gpu = Gpu::new(PTX, checked());
    let out = gpu.alloc(4);
    for (kernel, what) in [("bad", "tex"), ("worse", "`frobnicate.b32`: instruction is not supported")] {
        assert_eq!(gpu.try_launch(kernel, [1, 1, 1], [1, 1, 1], 0, args![out], 0), 218, "CUDA_ERROR_INVALID_PTX");
        let refusal = gpu.report().refusal.expect("it is reported");
        assert!(refusal.contains(what) && refusal.contains(kernel), "{refusal}");
    }
    gpu.launch("good", 1, 1, args![out]);
    assert_eq!(gpu.download::<i32>(out, 1), [7]);
}

#[test]
fn architectures_of_a_function() {
    let gpu =
        Gpu::new(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(){ret;}\n", Settings::default());
    assert_eq!((gpu.attribute("k", 5), gpu.attribute("k", 6)), (80, 90));
}

/// Host functions and memory that the program looks at without asking the driver.
#[test]
fn work_goes_on_without_a_call() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use cudasim::driver::api::{launch, memory};

    static CALLED: AtomicBool = AtomicBool::new(false);
    extern "C" fn set(_data: *mut std::ffi::c_void) {
        CALLED.store(true, Ordering::SeqCst);
    }
    let gpu = Gpu::empty(Settings { idle_ms: 50, ..Settings::default() });
    let stream = gpu.stream();
    ok(unsafe { launch::cuLaunchHostFunc(stream, Some(set), std::ptr::null_mut()) });
    let start = Instant::now();
    while !CALLED.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(CALLED.load(Ordering::SeqCst));
    let mut word = 0u64;
    ok(unsafe { memory::cuMemHostAlloc(&mut word, 4, 2) });
    let word_now = || unsafe { (word as *const u32).read_volatile() };
    ok(unsafe { memory::cuMemsetD32Async(word, 7, 1, stream) });
    assert_eq!(word_now(), 0, "as late as the program allows");
    let start = Instant::now();
    while word_now() == 0 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(word_now(), 7);
}

#[test]
fn registered_memory_is_the_device_s_too() {
    use cudasim::driver::api::memory;

    let gpu = gpu(checked());
    let mut own = vec![0i32; 300];
    let address = own.as_mut_ptr() as u64;
    let register = |address, bytes| unsafe { memory::cuMemHostRegister_v2(address, bytes, 0) };
    ok(register(address, 4 * 64));
    assert_eq!(register(address + 16, 64), 712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED");
    gpu.launch("width_of_warp", 1, 64, args![address]);
    ok(gpu.sync());
    assert_eq!(own[..65], [[32; 64].as_slice(), &[0]].concat());
    ok(unsafe { memory::cuMemHostUnregister(address) });
    assert_eq!(unsafe { memory::cuMemHostUnregister(address) }, 713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED");
    gpu.launch("width_of_warp", 1, 64, args![address]);
    assert_ne!(gpu.sync(), 0);
}
