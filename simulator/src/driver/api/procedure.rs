//! `cuGetProcAddress`: functions by name, in the newest form that the caller's release has.

use std::ffi::{c_char, c_int, c_void};

use super::{
    device, event, graph, launch, library, memory, module, node, pool, put, put_optional, rectangle, stream, text,
};
use crate::driver::result::Code;

type Find = fn(&str) -> Option<*const c_void>;

const CHAPTERS: [Find; 11] = [
    device::find,
    event::find,
    graph::find,
    launch::find,
    library::find,
    memory::find,
    module::find,
    node::find,
    pool::find,
    rectangle::find,
    stream::find,
];

fn find(name: &str) -> Option<*const c_void> {
    let special = match name {
        "cuInit" => Some(device::cuInit as *const c_void),
        "cuDriverGetVersion" => Some(device::cuDriverGetVersion as *const c_void),
        "cuGetErrorName" => Some(device::cuGetErrorName as *const c_void),
        "cuGetErrorString" => Some(device::cuGetErrorString as *const c_void),
        "cuGetProcAddress" | "cuGetProcAddress_v2" => Some(cuGetProcAddress_v2 as *const c_void),
        _ => None,
    };
    special.or_else(|| CHAPTERS.iter().find_map(|find| find(name)))
}

/// `CUdriverProcAddressQueryResult`
const FOUND: c_int = 0;
const NOT_FOUND: c_int = 1;
const VERSION_NOT_SUFFICIENT: c_int = 2;

/// The first release of functions that came after CUDA 10, by the start of their names; the longest match counts.
const SINCE: [(&str, c_int); 44] = [
    ("cuCtxCreate_v3", 11040),
    ("cuCtxCreate_v4", 12050),
    ("cuCtxGetId", 12000),
    ("cuCtxResetPersistingL2Cache", 11000),
    ("cuDeviceGetDefaultMemPool", 11020),
    ("cuDeviceGetMemPool", 11020),
    ("cuDeviceGetUuid_v2", 11040),
    ("cuDevicePrimaryCtxRelease_v2", 11000),
    ("cuDevicePrimaryCtxReset_v2", 11000),
    ("cuDevicePrimaryCtxSetFlags_v2", 11000),
    ("cuDeviceSetMemPool", 11020),
    ("cuEventElapsedTime_v2", 12080),
    ("cuEventRecordWithFlags", 11010),
    ("cuFuncGetModule", 11000),
    ("cuFuncGetName", 12030),
    ("cuFuncGetParamInfo", 12040),
    ("cuGetProcAddress", 11030),
    ("cuGetProcAddress_v2", 12000),
    ("cuGraphAddKernelNode_v2", 12000),
    ("cuGraphDebugDotPrint", 11030),
    ("cuGraphExecKernelNodeSetParams_v2", 12000),
    ("cuGraphExecUpdate_v2", 12000),
    ("cuGraphInstantiateWithFlags", 11040),
    ("cuGraphInstantiate_v2", 11000),
    ("cuGraphKernelNodeSetParams_v2", 12000),
    ("cuGraphUpload", 11010),
    ("cuKernel", 12000),
    ("cuKernelGetName", 12030),
    ("cuKernelGetParamInfo", 12040),
    ("cuLaunchKernelEx", 11060),
    ("cuLibrary", 12000),
    ("cuLibraryEnumerateKernels", 12040),
    ("cuLibraryGetKernelCount", 12040),
    ("cuMemAdvise_v2", 12020),
    ("cuMemAllocAsync", 11020),
    ("cuMemAllocFromPoolAsync", 11020),
    ("cuMemFreeAsync", 11020),
    ("cuMemPool", 11020),
    ("cuMemPrefetchAsync_v2", 12020),
    ("cuModuleEnumerateFunctions", 12040),
    ("cuModuleGetFunctionCount", 12040),
    ("cuModuleGetLoadingMode", 11070),
    ("cuStreamGetCaptureInfo_v2", 11030),
    ("cuStreamGetCaptureInfo_v3", 12030),
];

fn since(name: &str) -> c_int {
    let known = SINCE.iter().filter(|(start, _)| name.starts_with(start)).max_by_key(|(start, _)| start.len());
    known.map_or(0, |&(_, version)| version)
}

/// The forms that the header of a release gives to a name, newest first.
fn forms(name: &str, version: c_int) -> Vec<String> {
    let instantiate =
        (name == "cuGraphInstantiate" && version >= 12000).then(|| "cuGraphInstantiateWithFlags".to_owned());
    instantiate.into_iter().chain(["_v4", "_v3", "_v2", ""].map(|suffix| format!("{name}{suffix}"))).collect()
}

/// # Safety
/// `symbol` is a C string, the others point to room for their results (`status` may be null).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    symbol: *const c_char,
    function: *mut *const c_void,
    version: c_int,
    _flags: u64,
    status: *mut c_int,
) -> u32 {
    let Ok(name) = text(symbol) else { return Code::CUDA_ERROR_INVALID_VALUE as u32 };
    let known: Vec<(String, *const c_void)> =
        forms(name, version).into_iter().filter_map(|form| find(&form).map(|address| (form, address))).collect();
    let found = known.iter().find(|(form, _)| since(form) <= version).map(|&(_, address)| address);
    let missing = if known.is_empty() { NOT_FOUND } else { VERSION_NOT_SUFFICIENT };
    put_optional(status, if found.is_some() { FOUND } else { missing });
    match put(function, found.unwrap_or(std::ptr::null())) {
        Err(code) => code as u32,
        Ok(()) if found.is_none() => Code::CUDA_ERROR_NOT_FOUND as u32,
        Ok(()) => 0,
    }
}

/// # Safety
/// As [`cuGetProcAddress_v2`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress(
    symbol: *const c_char,
    function: *mut *const c_void,
    version: c_int,
    flags: u64,
) -> u32 {
    // SAFETY: the caller's promise is the same.
    unsafe { cuGetProcAddress_v2(symbol, function, version, flags, std::ptr::null_mut()) }
}
