//! Programs that are not ours, on the shared library: a ctypes script, and cudarc as the product uses it.
//!
//! Settings are read from the environment when the driver starts, so each test runs itself again in a process of its own.

mod common;

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::sys::{
    self, CUdevice_attribute as DeviceAttribute, CUevent_flags, CUfunction_attribute as FunctionAttribute,
    CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode, CUstreamCaptureStatus,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
    result,
};
use cudarc::nvrtc::Ptx;

/// The library as cargo built it beside this test.
fn library() -> PathBuf {
    let beside = std::env::current_exe().expect("the test has a path");
    let folder = beside.parent().expect("the test lies in a folder");
    let found = [folder.join("libcuda.so"), folder.join("../libcuda.so")].into_iter().find(|p| p.exists());
    found.expect("cargo builds libcuda.so with the crate").canonicalize().expect("the library has a path")
}

const INNER: &str = "CUDASIM_TEST_INNER";

/// Runs a test's body in a process with these variables, the library loaded by its path as a program with `CUDASIM=1` does.
/// What it printed, for the process that started it.
fn in_process(
    test: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce() -> Result<(), DriverError>,
) -> Option<String> {
    if std::env::var_os(INNER).is_some() {
        open_by_path();
        body().expect("cudarc's calls succeed");
        return None;
    }
    let output = Command::new(std::env::current_exe().expect("the test has a path"))
        .args([test, "--exact", "--nocapture"])
        .envs(variables.iter().copied())
        .env(INNER, "1")
        .output()
        .expect("the test starts again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    Some(text)
}

/// What the crate's documentation tells a program to do before its first driver call.
fn open_by_path() -> *mut c_void {
    let path = CString::new(library().into_os_string().into_encoded_bytes()).expect("a path has no NUL");
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    assert!(!handle.is_null());
    handle
}

fn ptx(context: &Arc<CudaContext>, name: &str, arch: &str) -> Result<Arc<CudaModule>, DriverError> {
    context.load_module(Ptx::from_src(common::compile(name, arch, &[])))
}

#[test]
fn a_ctypes_script_runs_a_ptx_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ptx, trace) = (folder.path().join("basics.ptx"), folder.path().join("trace.jsonl"));
    std::fs::write(&ptx, common::compile("basics", "sm_80", &[])).expect("the PTX is written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py");
    let output = Command::new("python3")
        .arg(script)
        .args([library(), ptx])
        .env("CUDASIM_CHECK", "all")
        .env("CUDASIM_PROFILE", "l40s")
        .env("CUDASIM_TRACE", &trace)
        .output()
        .expect("python3 starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "NVIDIA L40S (simulated)");
    assert!(!errors.contains("leak"), "{errors}");
    // The trace: a line a launch, each a JSON object that names kernel and device.
    let text = std::fs::read_to_string(&trace).expect("the trace is written");
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 1);
    let get = |name: &str| lines[0][name].clone();
    assert_eq!((get("kernel"), get("device")), ("vector_add".into(), "NVIDIA L40S (simulated)".into()));
    assert_eq!((get("grid"), get("block")), (serde_json::json!([8, 1, 1]), serde_json::json!([128, 1, 1])));
    // 1,000 elements of two inputs and an output, in whole sectors of 8.
    assert_eq!((get("global_load_sectors"), get("global_store_sectors")), (250.into(), 125.into()));
    assert_eq!((get("distinct_sectors"), get("fp32_flops")), (375.into(), 1000.into()));
    // The report: a row a kernel, a column a profile, with the floor and what sets it.
    let report = |arguments: &[&str]| {
        let run =
            Command::new(env!("CARGO_BIN_EXE_cudasim-report")).arg(&trace).args(arguments).output().expect("it starts");
        (
            run.status.success(),
            String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr),
        )
    };
    let (good, table) = report(&[]);
    let row = table.lines().find(|line| line.starts_with("vector_add")).unwrap_or_default().to_owned();
    assert!(good && ["h100", "a100", "l40s", "b200", "v100"].iter().all(|profile| table.contains(profile)), "{table}");
    assert_eq!(row.matches("memory").count(), 5, "12 KB bind every profile by memory: {row}");
    assert!(table.contains("estimate"), "{table}");
    assert!(report(&["a100"]).1.lines().next().is_some_and(|head| head.contains("a100") && !head.contains("h100")));
    let (good, message) = report(&["p100"]);
    assert!(!good && message.contains("p100"), "{message}");
}

/// The other way to the library: the loader's search path.
#[test]
fn cudarc_finds_the_library_on_the_search_path() {
    const NAME: &str = "cudarc_finds_the_library_on_the_search_path";
    if std::env::var_os(INNER).is_some() {
        let context = CudaContext::new(0).expect("there is a device");
        assert_eq!(context.name().expect("it has a name"), "NVIDIA H100 SXM (simulated)");
        return;
    }
    let output = Command::new(std::env::current_exe().expect("the test has a path"))
        .args([NAME, "--exact"])
        .env("LD_LIBRARY_PATH", library().parent().expect("the library lies in a folder"))
        .env(INNER, "1")
        .output()
        .expect("the test starts again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The functions that cudarc 0.19.10 calls in its driver's `result` and `safe` layers, by the names it looks up.
const CALLED: [&str; 89] = [
    "cuCtxCreate_v3",
    "cuCtxCreate_v4",
    "cuCtxDestroy_v2",
    "cuCtxGetCacheConfig",
    "cuCtxGetCurrent",
    "cuCtxGetLimit",
    "cuCtxGetStreamPriorityRange",
    "cuCtxSetCacheConfig",
    "cuCtxSetCurrent",
    "cuCtxSetFlags",
    "cuCtxSetLimit",
    "cuCtxSynchronize",
    "cuDestroyExternalMemory",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetDefaultMemPool",
    "cuDeviceGetMemPool",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceSetMemPool",
    "cuDeviceTotalMem_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventElapsedTime_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuExternalMemoryGetMappedBuffer",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuFuncSetCacheConfig",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuImportExternalMemory",
    "cuInit",
    "cuLaunchCooperativeKernel",
    "cuLaunchHostFunc",
    "cuLaunchKernel",
    "cuMemAdvise_v2",
    "cuMemAllocAsync",
    "cuMemAllocFromPoolAsync",
    "cuMemAllocManaged",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemPrefetchAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoD_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyHtoD_v2",
    "cuMemcpyPeerAsync",
    "cuMemsetD8Async",
    "cuMemsetD8_v2",
    "cuModuleGetFunction",
    "cuModuleGetGlobal_v2",
    "cuModuleLoad",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuOccupancyAvailableDynamicSMemPerBlock",
    "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags",
    "cuOccupancyMaxActiveClusters",
    "cuOccupancyMaxPotentialBlockSizeWithFlags",
    "cuOccupancyMaxPotentialClusterSize",
    "cuProfilerStart",
    "cuProfilerStop",
    "cuStreamAttachMemAsync",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamEndCapture",
];
const CALLED_TOO: [&str; 6] = [
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamIsCapturing",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuGetProcAddress_v2",
];

/// The library by its path is the one that a name finds afterwards, and it has every function that cudarc calls, both as a
/// symbol and through `cuGetProcAddress`.
#[test]
fn the_library_opened_by_path_is_found_by_name_and_complete() {
    let handle = open_by_path();
    assert_eq!(unsafe { libc::dlopen(c"libcuda.so".as_ptr(), libc::RTLD_NOW) }, handle);
    let symbol = |name: &str| {
        let name = CString::new(name).expect("a name has no NUL");
        unsafe { libc::dlsym(handle, name.as_ptr()) }
    };
    type GetProcAddress = unsafe extern "C" fn(*const i8, *mut *mut c_void, c_int, u64, *mut c_int) -> u32;
    let get_address: GetProcAddress = unsafe { std::mem::transmute(symbol("cuGetProcAddress_v2")) };
    for name in CALLED.iter().chain(&CALLED_TOO) {
        assert!(!symbol(name).is_null(), "{name} is not there");
        // By the name of its family, a function of the newest version is found.
        let family = name.split("_v").next().unwrap_or(name);
        let (mut address, mut status) = (std::ptr::null_mut(), -1);
        let family = CString::new(family).expect("a name has no NUL");
        assert_eq!(unsafe { get_address(family.as_ptr(), &mut address, 13000, 0, &mut status) }, 0, "{name}");
        assert!(!address.is_null() && status == 0, "{name}");
    }
    let (mut address, mut status) = (std::ptr::null_mut(), -1);
    assert_eq!(unsafe { get_address(c"cuTeleport".as_ptr(), &mut address, 13000, 0, &mut status) }, 500);
    assert!(address.is_null() && status == 1, "CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND");
}

#[test]
fn profiles_are_devices() {
    const NAME: &str = "profiles_are_devices";
    // Name, capability, multiprocessors, most shared memory of a block, memory in GiB.
    let profiles = [
        ("h100", "NVIDIA H100 SXM (simulated)", (9, 0), 132, 227, 80),
        ("a100", "NVIDIA A100 SXM4 80GB (simulated)", (8, 0), 108, 163, 80),
        ("l40s", "NVIDIA L40S (simulated)", (8, 9), 142, 99, 48),
        ("b200", "NVIDIA B200 (simulated)", (10, 0), 148, 227, 180),
        ("v100", "Tesla V100-SXM2-32GB (simulated)", (7, 0), 80, 96, 32),
    ];
    let named = std::env::var("CUDASIM_PROFILE").unwrap_or_default();
    for (key, name, capability, multiprocessors, shared_kb, memory_gb) in profiles {
        if std::env::var_os(INNER).is_some() && key != named {
            continue;
        }
        in_process(NAME, &[("CUDASIM_PROFILE", key)], || {
            let context = CudaContext::new(0)?;
            assert_eq!((context.name()?.as_str(), context.compute_capability()?), (name, capability));
            let get = |which| context.attribute(which);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?, multiprocessors);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)?, 48 << 10);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?, shared_kb << 10);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?, 32);
            assert_eq!(context.total_mem()?, memory_gb << 30);
            // PTX for an architecture above the device's cannot be loaded.
            let (major, minor) = capability;
            for (arch, number) in [("sm_80", 80), ("sm_90", 90)] {
                let loaded = ptx(&context, "basics", arch).map(|_| ());
                let want = if number <= 10 * major + minor {
                    Ok(())
                } else {
                    Err(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU))
                };
                assert_eq!(loaded, want, "{arch} on {key}");
            }
            Ok(())
        });
    }
}

/// `out = a + b` by cudarc's launch builder.
fn add(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    out: &mut CudaSlice<f32>,
    a: &CudaSlice<f32>,
    b: &CudaSlice<f32>,
) -> Result<(), DriverError> {
    let count = a.len() as i32;
    let config = LaunchConfig::for_num_elems(count as u32);
    unsafe { stream.launch_builder(function).arg(out).arg(a).arg(b).arg(&count).launch(config) }.map(|_| ())
}

#[test]
fn modules_memory_and_streams() {
    let log = in_process("modules_memory_and_streams", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        let n = 1000usize;
        // A module from PTX, from fat binaries of machine code and compressed PTX, and from PTX in a fat binary alone.
        let fatbin = |options: &[&str]| Ptx::from_binary(common::nvcc_output("basics", options));
        let both = [
            "-fatbin",
            "-gencode",
            "arch=compute_90,code=sm_90",
            "-gencode",
            "arch=compute_80,code=[sm_80,compute_80]",
        ];
        let images = [
            Ptx::from_src(common::compile("basics", "sm_90", &[])),
            fatbin(&both),
            fatbin(&[&both[..], &["--compress-mode", "speed"]].concat()),
            fatbin(&[&both[..], &["--compress-mode", "none"]].concat()),
            fatbin(&["-fatbin", "-gencode", "arch=compute_80,code=compute_80"]),
            fatbin(&[
                "-fatbin",
                "-gencode",
                "arch=compute_90a,code=compute_90a",
                "-gencode",
                "arch=compute_80,code=compute_80",
            ]),
        ];
        for image in images {
            let function = context.load_module(image)?.load_function("vector_add")?;
            let (a, b) = (stream.clone_htod(&vec![1.0f32; n])?, stream.clone_htod(&vec![2.0f32; n])?);
            let mut out = stream.alloc_zeros::<f32>(n)?;
            add(&stream, &function, &mut out, &a, &b)?;
            assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
        }
        // Machine code alone cannot run here, and a module without the function says so.
        let machine_code = fatbin(&["-fatbin", "-gencode", "arch=compute_80,code=sm_80"]);
        assert_eq!(context.load_module(machine_code).err(), Some(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU)));
        let cubin = Ptx::from_binary(common::nvcc_output("basics", &["-cubin", "-arch", "sm_90"]));
        assert_eq!(context.load_module(cubin).err(), Some(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU)));
        let module = ptx(&context, "basics", "sm_90")?;
        assert_eq!(module.load_function("absent").err(), Some(DriverError(CUresult::CUDA_ERROR_NOT_FOUND)));
        // A failure of the just-in-time compiler, with the error's name and description.
        let broken = context.load_module(Ptx::from_src(".version 8.0\n.target sm_80\n.address_size 64\nnonsense"));
        let error = broken.expect_err("nonsense is refused");
        assert_eq!(error.error_name()?.to_str(), Ok("CUDA_ERROR_INVALID_PTX"));
        assert_eq!(error.error_string()?.to_str(), Ok("a PTX JIT compilation failed"));
        // Copies by pinned memory, between device slices and views, and memset.
        let mut pinned = unsafe { context.alloc_pinned::<f32>(n) }?;
        pinned.as_mut_slice()?.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        let from_pinned = stream.clone_htod(&pinned)?;
        let mut copy = stream.alloc_zeros::<f32>(n)?;
        stream.memcpy_dtod(&from_pinned, &mut copy)?;
        stream.memset_zeros(&mut copy.slice_mut(10..20))?;
        let mut back = unsafe { context.alloc_pinned::<f32>(n) }?;
        stream.memcpy_dtoh(&copy, &mut back)?;
        let want: Vec<f32> = (0..n).map(|i| if (10..20).contains(&i) { 0.0 } else { i as f32 }).collect();
        assert_eq!(back.as_slice()?, want);
        // Managed memory has one address for both.
        let unified = unsafe { context.alloc_unified::<f32>(64, true) }?;
        assert_eq!(unified.len(), 64);
        // Memory that is taken is not free.
        let (free, total) = context.mem_get_info()?;
        let taken = unsafe { stream.alloc::<u8>(1 << 20) }?;
        assert_eq!(context.mem_get_info()?, (free - (1 << 20), total));
        drop(taken);
        stream.synchronize()?;
        assert_eq!(context.mem_get_info()?, (free, total));
        // Too much of it is refused.
        assert_eq!(unsafe { stream.alloc::<u8>(total) }.err(), Some(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        // Streams of other priorities, forks and joins.
        let (low, high) = (context.new_stream_with_priority(0)?, context.new_stream_with_priority(-5)?);
        let fork = low.fork()?;
        high.join(&fork)?;
        high.synchronize()?;
        // Work of the host in a stream's order.
        extern "C" fn count(counter: *mut c_void) {
            unsafe { *counter.cast::<u32>() += 1 };
        }
        let mut counter = 0u32;
        unsafe { result::stream::launch_host_function(fork.cu_stream(), count, (&raw mut counter).cast())? };
        fork.synchronize()?;
        assert_eq!(counter, 1);
        context.check_err()
    });
    assert!(log.is_none_or(|log| !log.contains("leak check")), "cudarc frees all it allocated");
}

#[test]
fn events_time_and_order() {
    in_process("events_time_and_order", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let function = ptx(&context, "tensor", "sm_90")?.load_function("ffma_chains")?;
        let stream = context.new_stream()?;
        let mut out = stream.alloc_zeros::<f32>(256)?;
        let timed = |rounds: i32, out: &mut CudaSlice<f32>| -> Result<f32, DriverError> {
            let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
            let mut launch = stream.launch_builder(&function);
            launch.record_kernel_launch(CUevent_flags::CU_EVENT_DEFAULT);
            launch.arg(out).arg(&0.5f32).arg(&0.25f32).arg(&rounds);
            let (start, end) = unsafe { launch.launch(config) }?.expect("events were asked for");
            start.elapsed_ms(&end)
        };
        let (short, long) = (timed(1, &mut out)?, timed(2000, &mut out)?);
        assert!(short > 0.0 && long > 4.0 * short, "{short} ms and {long} ms");
        // An event that nothing reached is not ready; one that was recorded and waited for is.
        let done = stream.record_event(None)?;
        done.synchronize()?;
        assert!(done.try_is_complete()?);
        // Without timing there is no time between.
        let other = stream.record_event(None)?;
        assert_eq!(done.elapsed_ms(&other), Err(DriverError(CUresult::CUDA_ERROR_INVALID_HANDLE)));
        context.check_err()
    });
}

#[test]
fn functions_their_limits_and_occupancy() {
    in_process("functions_their_limits_and_occupancy", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        let big = ptx(&context, "bugs", "sm_90")?.load_function("big_shared")?;
        let mut out = stream.alloc_zeros::<i32>(64)?;
        let mut launch = |shared: u32, threads: u32| {
            let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared };
            unsafe { stream.launch_builder(&big).arg(&mut out).launch(config) }.map(|_| ())
        };
        let invalid = Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE));
        // Beyond 48 KB only after the opt-in, and up to what the device has.
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(launch(49 << 10, 64), invalid);
        assert_eq!(big.set_attribute(attribute, 228 << 10), invalid);
        big.set_attribute(attribute, 227 << 10)?;
        assert_eq!(big.get_attribute(attribute)?, 227 << 10);
        launch(227 << 10, 64)?;
        assert_eq!(launch((227 << 10) + 1, 64), invalid);
        // Blocks and grids have limits.
        assert_eq!(launch(512, 1025), invalid);
        assert_eq!(launch(512, 0), invalid);
        stream.synchronize()?;
        // A multiprocessor of 228 KB holds two blocks of 100 KB and one of 200, of which it keeps 1 KB each; 64 of 32 threads
        // and no shared memory to speak of are more than its 32 blocks.
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(64, 100 << 10, None)?, 2);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(64, 200 << 10, None)?, 1);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(32, 128, None)?, 32);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(1024, 128, None)?, 2);
        assert_eq!(big.occupancy_available_dynamic_smem_per_block(2, 64)?, 113 << 10);
        extern "C" fn none(_threads: c_int) -> usize {
            0
        }
        let (grid, block) = big.occupancy_max_potential_block_size(none, 0, 0, None)?;
        assert_eq!((grid, block), (2 * 132, 1024));
        assert_eq!((big.shared_size_bytes()?, big.local_size_bytes()?, big.max_threads_per_block()?), (0, 0, 1024));
        assert!((16..=255).contains(&big.num_regs()?) && big.ptx_version()? >= 80);
        // Launch bounds are a limit of the function.
        let bounded = ptx(&context, "language", "sm_90")?.load_function("bounded")?;
        assert_eq!((bounded.max_threads_per_block()?, bounded.num_regs()? <= 32), (1024, true));
        // Threads of all blocks of a cooperative launch wait for each other.
        let grid = ptx(&context, "groups", "sm_90")?.load_function("whole_grid")?;
        let mut data = stream.clone_htod(&(0..96).collect::<Vec<i32>>())?;
        let config = LaunchConfig { grid_dim: (3, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        unsafe { stream.launch_builder(&grid).arg(&mut data).arg(&2i32).launch_cooperative(config) }?;
        assert_eq!(stream.clone_dtoh(&data)?, (0..96).map(|i| (i + 2) % 96 + 2).collect::<Vec<i32>>());
        let huge = LaunchConfig { grid_dim: (132 * 32 + 1, 1, 1), ..config };
        let refused = unsafe { stream.launch_builder(&grid).arg(&mut data).arg(&2i32).launch_cooperative(huge) };
        assert_eq!(refused.err(), Some(DriverError(CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE)));
        context.check_err()
    });
}

fn pointer(slice: &CudaSlice<f32>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}

#[test]
fn graphs_by_capture() {
    in_process("graphs_by_capture", &[("CUDASIM_CHECK", "all"), ("CUDASIM_SEED", "5")], || {
        let context = CudaContext::new(0)?;
        // What the product does: cudarc's events would be recorded outside the capture.
        unsafe { context.disable_event_tracking() };
        let function = ptx(&context, "basics", "sm_90")?.load_function("vector_add")?;
        let stream = context.new_stream()?;
        let side = context.new_stream()?;
        let n = 1000usize;
        let b = stream.clone_htod(&vec![2.0f32; n])?;
        let mut out = stream.clone_htod(&vec![3.0f32; n])?;
        let target = pointer(&out, &stream);
        let (config, count) = (LaunchConfig::for_num_elems(n as u32), n as i32);
        let local = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        // out += b twice, on two streams one behind the other; nothing runs until the graph is launched.
        stream.begin_capture(local)?;
        assert_eq!(stream.capture_status()?, CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
        unsafe { stream.launch_builder(&function).arg(&target).arg(&target).arg(&b).arg(&count).launch(config) }?;
        side.join(&stream)?;
        unsafe { side.launch_builder(&function).arg(&target).arg(&target).arg(&b).arg(&count).launch(config) }?;
        stream.join(&side)?;
        let graph = stream.end_capture(flags)?.expect("work was captured");
        assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
        graph.upload()?;
        for _ in 0..3 {
            graph.launch()?;
        }
        assert_eq!(stream.clone_dtoh(&out)?, vec![3.0 + 2.0 * 6.0f32; n]);
        // Another capture of the same shape gives the instance its parameters: three b instead of two.
        let more = stream.clone_htod(&vec![10.0f32; n])?;
        let capture = |b: &CudaSlice<f32>, twice: bool| {
            stream.begin_capture(local)?;
            for _ in 0..1 + usize::from(twice) {
                unsafe {
                    stream.launch_builder(&function).arg(&target).arg(&target).arg(b).arg(&count).launch(config)
                }?;
            }
            stream.end_capture(flags)
        };
        let (first, second, longer) = (capture(&b, false)?, capture(&more, false)?, capture(&b, true)?);
        let (first, second, longer) = (first.expect("captured"), second.expect("captured"), longer.expect("captured"));
        let mut info = unsafe { std::mem::zeroed::<sys::CUgraphExecUpdateResultInfo>() };
        let update = |graph: sys::CUgraph, info: &mut sys::CUgraphExecUpdateResultInfo| {
            unsafe { sys::cuGraphExecUpdate_v2(first.cu_graph_exec(), graph, info) }.result()
        };
        update(second.cu_graph(), &mut info)?;
        assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS);
        first.launch()?;
        assert_eq!(stream.clone_dtoh(&out)?, vec![25.0f32; n]);
        assert_eq!(
            update(longer.cu_graph(), &mut info),
            Err(DriverError(CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE))
        );
        assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
        // Allocation in a capture, which the product's design forbids, loses it.
        stream.begin_capture(local)?;
        let mut address = 0;
        let refused = unsafe { sys::cuMemAlloc_v2(&mut address, 64) }.result();
        assert_eq!(refused, Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)));
        let lost = stream.end_capture(flags).err();
        assert_eq!(lost, Some(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)));
        // Memory of the stream's order may be allocated in a capture: it is the graph's.
        stream.begin_capture(local)?;
        let mut scratch = unsafe { stream.alloc::<f32>(n) }?;
        stream.memcpy_dtod(&b, &mut scratch)?;
        stream.memcpy_dtod(&scratch, &mut out)?;
        drop(scratch);
        let with_memory = stream.end_capture(flags)?.expect("work was captured");
        for _ in 0..2 {
            with_memory.launch()?;
        }
        assert_eq!(stream.clone_dtoh(&out)?, vec![2.0f32; n]);
        // Pageable memory in a capture is read when the graph runs.
        let mut host = vec![7.0f32; n];
        stream.begin_capture(local)?;
        stream.memcpy_htod(&host, &mut out)?;
        let upload = stream.end_capture(flags)?.expect("work was captured");
        host.fill(8.0);
        upload.launch()?;
        assert_eq!(stream.clone_dtoh(&out)?, vec![8.0f32; n]);
        context.check_err()
    });
}

#[test]
fn a_fault_stays_with_its_context() {
    let log = in_process("a_fault_stays_with_its_context", &[("CUDASIM_CHECK", "mem")], || {
        let context = CudaContext::new(0)?;
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let module = ptx(&context, "bugs", "sm_90")?;
        let function = module.load_function("off_by_one")?;
        let out = stream.alloc_zeros::<i32>(100)?;
        let config = LaunchConfig { grid_dim: (4, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        // The launch itself succeeds; the fault is found when the work runs, and from then on by every call.
        unsafe { stream.launch_builder(&function).arg(&out).arg(&100i32).launch(config) }?;
        let illegal = DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(stream.synchronize(), Err(illegal));
        assert_eq!(stream.clone_dtoh(&out).err(), Some(illegal));
        assert_eq!(context.synchronize(), Err(illegal));
        assert_eq!(illegal.error_name()?, c"CUDA_ERROR_ILLEGAL_ADDRESS");
        // A new context, made when the old one is gone, is well.
        drop((out, function, module, stream));
        drop(context);
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        assert_eq!(stream.clone_dtoh(&stream.clone_htod(&[1, 2, 3])?)?, [1, 2, 3]);
        Ok(())
    });
    let Some(log) = log else { return };
    let report = log.lines().find(|line| line.contains("mem check")).unwrap_or_default();
    for part in [
        "illegal address",
        "0 bytes past the end",
        "of 400 bytes",
        "off_by_one",
        "bugs.cu:6",
        "block (3,0,0)",
        "thread (4,0,0)",
    ] {
        assert!(report.contains(part), "{part} is not in: {report}");
    }
}

/// cudarc's own names for error codes are those of the driver.
#[test]
fn errors_have_the_names_of_the_driver() {
    in_process("errors_have_the_names_of_the_driver", &[], || {
        for (code, name) in [
            (CUresult::CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"),
            (CUresult::CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"),
            (CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
            (CUresult::CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN"),
        ] {
            let error = DriverError(code);
            assert_eq!(error.error_name()?.to_str(), Ok(name));
            assert!(!error.error_string()?.to_bytes().is_empty());
        }
        let mut text = std::ptr::null();
        let mut name = |code: u32| {
            let outcome = unsafe { sys::cuGetErrorName(std::mem::transmute::<u32, CUresult>(code), &mut text) };
            (outcome, if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }.to_owned()) })
        };
        assert_eq!(name(0), (CUresult::CUDA_SUCCESS, Some(c"CUDA_SUCCESS".to_owned())));
        Ok(())
    });
}
