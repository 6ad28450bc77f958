//! What nvcc's code calls by itself: a program's fat binaries, kernels and variables are made known before `main`, and
//! a launch's configuration is kept between `<<<…>>>` and the call of the kernel's stand-in.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};

use crate::error::{Code, MISSING_CONFIGURATION, finish};
use crate::launch::{Dim3, launch};
use crate::state;
use crate::state::{put, runtime};

/// A launch's grid, block, bytes of shared memory and stream.
type Configuration = (Dim3, Dim3, usize, u64);

thread_local! {
    static CONFIGURATIONS: RefCell<Vec<Configuration>> = const { RefCell::new(Vec::new()) };
}

/// The handle of a fat binary is a box with its number.
fn number(handle: *mut *mut c_void) -> usize {
    // SAFETY: a handle is what `__cudaRegisterFatBinary` has given, and lives as long as the program.
    unsafe { *handle.cast::<usize>() }
}

/// # Safety
/// `image` is the wrapper of a fat binary that lives as long as it is registered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaRegisterFatBinary(image: *mut c_void) -> *mut *mut c_void {
    Box::into_raw(Box::new(state::add_binary(image as usize))).cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn __cudaRegisterFatBinaryEnd(_handle: *mut *mut c_void) {}

/// # Safety
/// `handle` comes from [`__cudaRegisterFatBinary`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaUnregisterFatBinary(handle: *mut *mut c_void) {
    if !handle.is_null() {
        state::unload_binary(number(handle));
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn __cudaInitModule(_handle: *mut *mut c_void) -> c_char {
    1
}

/// # Safety
/// `handle` comes from [`__cudaRegisterFatBinary`], `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaRegisterFunction(
    handle: *mut *mut c_void,
    host: *const c_char,
    _device: *mut c_char,
    name: *const c_char,
    _thread_limit: c_int,
    _thread: *mut c_void,
    _block: *mut c_void,
    _block_size: *mut c_void,
    _grid_size: *mut c_void,
    _warp_size: *mut c_int,
) {
    // SAFETY: as promised.
    let name = unsafe { CStr::from_ptr(name) };
    state::add_kernel(number(handle), host as usize, name.to_owned());
}

/// # Safety
/// `handle` comes from [`__cudaRegisterFatBinary`], `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaRegisterVar(
    handle: *mut *mut c_void,
    host: *mut c_char,
    _device: *mut c_char,
    name: *const c_char,
    _external: c_int,
    _bytes: usize,
    _constant: c_int,
    _global: c_int,
) {
    // SAFETY: as promised.
    let name = unsafe { CStr::from_ptr(name) };
    state::add_variable(number(handle), host as usize, name.to_owned());
}

#[unsafe(no_mangle)]
pub extern "C" fn __cudaPushCallConfiguration(grid: Dim3, block: Dim3, shared: usize, stream: u64) -> c_int {
    CONFIGURATIONS.with_borrow_mut(|all| all.push((grid, block, shared, stream)));
    0
}

runtime! {
    fn __cudaPopCallConfiguration(grid: *mut Dim3, block: *mut Dim3, shared: *mut usize, stream: *mut u64) {
        let last = CONFIGURATIONS.with_borrow_mut(Vec::pop).ok_or(MISSING_CONFIGURATION)?;
        put(grid, last.0)?;
        put(block, last.1)?;
        put(shared, last.2)?;
        put(stream, last.3)
    }
    fn __cudaGetKernel(kernel: *mut u64, host: *const c_void) {
        put(kernel, state::function(host as usize)?)
    }
}

/// # Safety
/// As `cudaLaunchKernel`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaLaunchKernel(
    kernel: u64,
    grid: Dim3,
    block: Dim3,
    params: *const *const c_void,
    shared: usize,
    stream: u64,
) -> Code {
    finish(
        state::function(kernel as usize)
            .and_then(|function| launch(function, grid, block, params, shared, stream, false)),
    )
}

/// # Safety
/// As `cudaLaunchKernel`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cudaLaunchKernel_ptsz(
    kernel: u64,
    grid: Dim3,
    block: Dim3,
    params: *const *const c_void,
    shared: usize,
    stream: u64,
) -> Code {
    // SAFETY: the caller's promise is the same.
    unsafe { __cudaLaunchKernel(kernel, grid, block, params, shared, stream) }
}
