//! Faults on demand, what a launch leaves in pinned memory when it faults, and which PTX a driver and a device take.

use std::ffi::CString;

use cudasim::checks::Checks;
use cudasim::driver::api::{device, graph, memory, module, stream};
use cudasim::driver::demand::Demand;
use cudasim::driver::settings::Settings;
use cudasim::profile::Profile;

use crate::args;
use crate::common::{ARCHITECTURES, Gpu, checked, compile, nvcc_output, ok};

const ILLEGAL_ADDRESS: u32 = 700;
const RELAXED: u32 = 2;

fn demanding(kernel: &str, launch: u64) -> Settings {
    Settings { fault: Some(Demand { kernel: kernel.to_owned(), launch }), ..checked() }
}

fn pinned(words: usize) -> (u64, &'static mut [i32]) {
    let mut address = 0;
    // CU_MEMHOSTALLOC_PORTABLE and DEVICEMAP.
    ok(unsafe { memory::cuMemHostAlloc(&mut address, 4 * words, 3) });
    let slice = unsafe { std::slice::from_raw_parts_mut(address as *mut i32, words) };
    slice.fill(0);
    (address, slice)
}

#[test]
fn the_launch_that_was_named_faults_after_its_blocks() {
    let gpu = Gpu::new(&compile("faults", "sm_80", &[]), demanding("report_around_store", 2));
    let (report, seen) = pinned(2);
    let data = gpu.alloc(4 * 64);
    gpu.launch("report_around_store", 1, 64, args![report, data, 0]);
    ok(gpu.sync());
    assert!(gpu.report().fault.is_none());
    seen.fill(0);
    gpu.launch("report_around_store", 1, 64, args![report, data, 0]);
    assert_eq!(gpu.sync(), ILLEGAL_ADDRESS);
    assert_eq!(*seen, [41, 42], "the blocks have run");
    // It is as sticky as any other, and says whose it is.
    let mut address = 0;
    assert_eq!(unsafe { memory::cuMemAlloc_v2(&mut address, 4) }, ILLEGAL_ADDRESS);
    let fault = gpu.report().fault.map(|f| f.to_string()).unwrap_or_default();
    assert!(fault.starts_with("illegal address: asked for by CUDASIM_FAULT=report_around_store:2"), "{fault}");
    // Another context is well, and later launches are.
    let (mut current, mut fresh) = (0, 0);
    ok(unsafe { device::cuCtxGetCurrent(&mut current) });
    ok(unsafe { device::cuCtxDestroy_v2(current) });
    ok(unsafe { device::cuCtxCreate_v2(&mut fresh, 0, 0) });
    let text = CString::new(compile("faults", "sm_80", &[])).expect("PTX has no NUL");
    let (mut again, mut function) = (0, 0);
    ok(unsafe { module::cuModuleLoadData(&mut again, text.as_ptr().cast()) });
    ok(unsafe { module::cuModuleGetFunction(&mut function, again, c"report_around_store".as_ptr()) });
    let (report, seen) = pinned(2);
    let data = gpu.alloc(4 * 64);
    let beyond = 0i32;
    let params = [(&raw const report).cast(), (&raw const data).cast(), (&raw const beyond).cast()];
    ok(unsafe {
        cudasim::driver::api::launch::cuLaunchKernel(
            function,
            1,
            1,
            1,
            64,
            1,
            1,
            0,
            0,
            params.as_ptr(),
            std::ptr::null(),
        )
    });
    ok(gpu.sync());
    assert_eq!(*seen, [41, 42]);
}

#[test]
fn launches_in_graphs_count_and_other_kernels_do_not() {
    let gpu = Gpu::new(&compile("bugs", "sm_80", &[]), demanding("fill", 3));
    let (data, one) = (gpu.alloc(256), gpu.stream());
    let fill = || gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 1, 64], one);
    ok(fill());
    let out = gpu.alloc(256);
    ok(gpu.try_launch("read_all", [1, 1, 1], [64, 1, 1], 0, args![out, data, 64], one));
    ok(gpu.sync());
    let (mut captured, mut exec) = (0, 0);
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, RELAXED) });
    ok(fill());
    ok(unsafe { stream::cuStreamEndCapture(one, &mut captured) });
    ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut exec, captured, 0) });
    ok(unsafe { graph::cuGraphLaunch(exec, one) });
    ok(gpu.sync());
    ok(unsafe { graph::cuGraphLaunch(exec, one) });
    assert_eq!(gpu.sync(), ILLEGAL_ADDRESS);
}

/// The host's view of pinned memory, by its host address, under each check and all of them: after a sync, and after a
/// fault in a later part of the launch that wrote it.
#[test]
fn pinned_memory_keeps_what_a_launch_wrote_before_it_faulted() {
    let each = ["mem", "race", "init", "sync", "leak", "all", "mem,race,init,sync,leak"];
    for (arch, list) in ARCHITECTURES.into_iter().flat_map(|arch| each.map(|list| (arch, list))) {
        let checks = Checks::parse(list).expect("these are checks");
        let gpu = Gpu::new(&compile("faults", arch, &[]), Settings { checks, ..Settings::default() });
        let (report, seen) = pinned(2);
        let data = gpu.alloc(4 * 64);
        gpu.launch("report_around_store", 1, 64, args![report, data, 0]);
        ok(gpu.sync());
        assert_eq!(*seen, [41, 42], "{list}");
        seen.fill(0);
        // 4 TiB away: outside every allocation, with or without the check.
        gpu.launch("report_around_store", 1, 64, args![report, data + (1 << 42), 0]);
        assert_eq!(gpu.sync(), ILLEGAL_ADDRESS, "{list}");
        assert_eq!(*seen, [41, 0], "{list}");
    }
}

/// The code and log with which an image is refused.
fn load(image: &[u8]) -> u32 {
    let image = [image, &[0]].concat();
    let mut handle = 0;
    unsafe { module::cuModuleLoadData(&mut handle, image.as_ptr().cast()) }
}

#[test]
fn a_driver_takes_ptx_of_its_release_and_older() {
    const UNSUPPORTED_PTX_VERSION: u32 = 222;
    let ptx = |version: &str, target: &str| {
        format!(".version {version}\n.target {target}\n.address_size 64\n.visible .entry k() {{ ret; }}\n").into_bytes()
    };
    let with = |driver: u32| Settings { driver_version: Some(driver), ..checked() };
    for (driver, newest, too_new) in
        [(11080, "7.8", "8.0"), (12040, "8.4", "8.5"), (12060, "8.5", "8.6"), (13010, "9.1", "9.2")]
    {
        let _gpu = Gpu::empty(with(driver));
        let mut version = 0;
        assert_eq!(unsafe { device::cuDriverGetVersion(&mut version) }, 0);
        assert_eq!(version, driver as i32);
        ok(load(&ptx(newest, "sm_70")));
        assert_eq!(load(&ptx(too_new, "sm_70")), UNSUPPORTED_PTX_VERSION, "{driver}");
        // What the text goes on to say matters no more.
        assert_eq!(
            load(format!("// c\n.version {too_new}\n.target sm_999\nnonsense").as_bytes()),
            UNSUPPORTED_PTX_VERSION
        );
    }
    // Fat binaries of this nvcc: PTX too new for the driver serves only as the stand-in of machine code for the device.
    let fat = |codes: &[&str]| {
        let options: Vec<&str> = std::iter::once("-fatbin").chain(codes.iter().flat_map(|c| ["-gencode", c])).collect();
        nvcc_output("faults", &options)
    };
    let (ptx_only, ptx_and_other) =
        (fat(&["arch=compute_80,code=compute_80"]), fat(&["arch=compute_80,code=[sm_80,compute_80]"]));
    let other_only = fat(&["arch=compute_80,code=sm_80"]);
    let with_own = fat(&["arch=compute_80,code=compute_80", "arch=compute_90,code=sm_90"]);
    {
        let _gpu = Gpu::empty(with(12040));
        assert_eq!(load(&ptx_only), UNSUPPORTED_PTX_VERSION);
        assert_eq!(load(&ptx_and_other), UNSUPPORTED_PTX_VERSION);
        assert_eq!(load(&other_only), 209, "CUDA_ERROR_NO_BINARY_FOR_GPU");
        ok(load(&with_own));
    }
    let _gpu = Gpu::empty(checked());
    ok(load(&ptx_only));
    let mut version = 0;
    assert_eq!(unsafe { device::cuDriverGetVersion(&mut version) }, 0);
    assert!(version >= 13000);
}

#[test]
fn an_older_gpu_takes_no_ptx_for_newer_ones() {
    let profile = Profile::named("v100").expect("it is known");
    let gpu = Gpu::empty(Settings { profile, ..checked() });
    let ptx = |target: &str| {
        format!(".version 8.0\n.target {target}\n.address_size 64\n.visible .entry k() {{ ret; }}\n").into_bytes()
    };
    ok(load(&ptx("sm_70")));
    ok(load(&ptx("sm_60")));
    for target in ["sm_75", "sm_80", "sm_90a"] {
        assert_eq!(load(&ptx(target)), 209, "{target}");
    }
    drop(gpu);
    // 96 KB a block after the opt-in, of which the system keeps nothing: one block of 96 KB, two of 48, fits.
    let gpu = Gpu::new(&compile("bugs", "sm_80", &[]).replace("sm_80", "sm_70"), Settings { profile, ..checked() });
    let function = gpu.function("big_shared");
    assert_eq!(unsafe { module::cuFuncSetAttribute(function, 8, (96 << 10) + 1) }, 1);
    ok(unsafe { module::cuFuncSetAttribute(function, 8, 96 << 10) });
    let mut blocks = 0;
    for (shared, fit) in [(96, 1), (48, 2), (32, 3)] {
        ok(unsafe {
            cudasim::driver::api::launch::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                function,
                32,
                shared << 10,
            )
        });
        assert_eq!(blocks, fit, "{shared} KB");
    }
}
