//! Programs that are not ours, on the shared library: a ctypes script, and cudarc as the product uses it.
//!
//! Settings are read from the environment when the driver starts, so each test runs itself again in a process of its
//! own.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod devices;
mod faults;
mod graphs;
mod streams;

use std::ffi::{CString, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule, DriverError};
use cudarc::nvrtc::Ptx;

/// The library as cargo built it beside this test.
fn library() -> PathBuf {
    let beside = std::env::current_exe().expect("the test has a path");
    let folder = beside.parent().expect("the test lies in a folder");
    let found = [folder.join("libcuda.so"), folder.join("../libcuda.so")].into_iter().find(|p| p.exists());
    found.expect("cargo builds libcuda.so with the crate").canonicalize().expect("the library has a path")
}

const INNER: &str = "CUDASIM_TEST_INNER";

/// Runs a test's body in a process with these variables, the library loaded by its path as a program with `CUDASIM=1`
/// does. What it printed, for the process that started it.
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

/// The library by its path is the one that a name finds afterwards, and it has every function that cudarc calls, both
/// as a symbol and through `cuGetProcAddress`.
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
