//! Libraries and kernels: modules and functions that belong to no context. There is one context's worth of them here,
//! so that a library is its module and a kernel its function.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::module::{Logs, attribute, image_bytes, list_functions, load, set_attribute};
use super::{api, put, put_optional, text};
use crate::driver::result::Code;

/// Offset and size of a kernel's parameter.
fn parameter(
    params: &[(usize, usize)],
    index: usize,
    offset: *mut usize,
    bytes: *mut usize,
) -> crate::driver::result::Outcome {
    let &(at, size) = params.get(index).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
    put_optional(bytes, size);
    put(offset, at)
}

api! {
    call_anyway fn cuLibraryLoadData(
        library: *mut u64, code: *const c_void, options: *const c_uint, values: *mut *mut c_void, count: c_uint,
        _library_options: *const c_uint, _library_values: *mut *mut c_void, _library_count: c_uint,
    ) |s| {
        load(s, library, image_bytes(code)?, &Logs { count, options, values })
    }
    call_anyway fn cuLibraryLoadFromFile(
        library: *mut u64, path: *const c_char, options: *const c_uint, values: *mut *mut c_void, count: c_uint,
        _library_options: *const c_uint, _library_values: *mut *mut c_void, _library_count: c_uint,
    ) |s| {
        let bytes = std::fs::read(text(path)?).map_err(|_| Code::CUDA_ERROR_FILE_NOT_FOUND)?;
        load(s, library, &bytes, &Logs { count, options, values })
    }
    call_anyway fn cuLibraryUnload(library: u64) |s| { super::module::unload(s, library) }
    call_anyway fn cuLibraryGetKernel(kernel: *mut u64, library: u64, name: *const c_char) |s| {
        let name = text(name)?;
        put(kernel, s.driver()?.function_handle(library, name)?)
    }
    call_anyway fn cuLibraryGetKernelCount(count: *mut c_uint, library: u64) |s| {
        let image = s.driver()?.images.get(&library).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        put(count, image.programs.len() as c_uint)
    }
    call_anyway fn cuLibraryEnumerateKernels(kernels: *mut u64, room: c_uint, library: u64) |s| {
        list_functions(s.driver()?, kernels, room, library)
    }
    call_anyway fn cuLibraryGetModule(module: *mut u64, library: u64) |s| {
        s.driver()?.images.get(&library).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        put(module, library)
    }
    call_anyway fn cuLibraryGetGlobal(address: *mut u64, bytes: *mut usize, library: u64, name: *const c_char) |s| {
        let image = s.driver()?.images.get(&library).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        let &(at, size) = image.variables.get(text(name)?).ok_or(Code::CUDA_ERROR_NOT_FOUND)?;
        put_optional(address, at);
        put_optional(bytes, size as usize);
        Ok(())
    }
    call_anyway fn cuKernelGetFunction(function: *mut u64, kernel: u64) |s| {
        s.driver()?.function(kernel)?;
        put(function, kernel)
    }
    call_anyway fn cuKernelGetLibrary(library: *mut u64, kernel: u64) |s| {
        put(library, s.driver()?.function(kernel)?.module)
    }
    call_anyway fn cuKernelGetName(name: *mut *const c_char, kernel: u64) |s| {
        put(name, s.driver()?.function(kernel)?.name.as_ptr())
    }
    call_anyway fn cuKernelGetAttribute(value: *mut c_int, which: c_int, kernel: u64, ordinal: c_int) |s| {
        super::device::device(ordinal)?;
        let driver = s.driver()?;
        let capability = driver.settings.profile.architecture();
        put(value, attribute(driver.function(kernel)?, which, capability)?)
    }
    call_anyway fn cuKernelSetAttribute(which: c_int, value: c_int, kernel: u64, ordinal: c_int) |s| {
        super::device::device(ordinal)?;
        set_attribute(s.driver()?, kernel, which, value)
    }
    call_anyway fn cuKernelSetCacheConfig(kernel: u64, _config: c_uint, ordinal: c_int) |s| {
        super::device::device(ordinal)?;
        s.driver()?.function(kernel).map(|_| ())
    }
    call_anyway fn cuKernelGetParamInfo(kernel: u64, index: usize, offset: *mut usize, bytes: *mut usize) |s| {
        parameter(&s.driver()?.function(kernel)?.program.params, index, offset, bytes)
    }
    call fn cuFuncGetParamInfo(function: u64, index: usize, offset: *mut usize, bytes: *mut usize) |s| {
        parameter(&s.driver()?.function(function)?.program.params, index, offset, bytes)
    }
}
