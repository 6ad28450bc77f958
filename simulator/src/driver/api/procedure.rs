//! `cuGetProcAddress`: functions by name, the newest version first.

use std::ffi::{c_char, c_int, c_void};

use super::{device, event, graph, launch, memory, module, pool, put, put_optional, stream, text};
use crate::driver::result::Code;

type Find = fn(&str) -> Option<*const c_void>;

const CHAPTERS: [Find; 8] =
    [device::find, event::find, graph::find, launch::find, memory::find, module::find, pool::find, stream::find];

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

/// # Safety
/// `symbol` is a C string, the others point to room for their results (`status` may be null).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    symbol: *const c_char,
    function: *mut *const c_void,
    _version: c_int,
    _flags: u64,
    status: *mut c_int,
) -> u32 {
    let Ok(name) = text(symbol) else { return Code::CUDA_ERROR_INVALID_VALUE as u32 };
    let versions = ["_v4", "_v3", "_v2", ""];
    let found = versions.iter().find_map(|version| find(&format!("{name}{version}")));
    put_optional(status, if found.is_some() { FOUND } else { NOT_FOUND });
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
