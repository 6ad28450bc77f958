//! The exported functions, a file a chapter. Names and signatures are those of `cuda.h`.
//!
//! Pointers come from C: a null one is `CUDA_ERROR_INVALID_VALUE`, anything else is trusted, as every driver must.

pub mod device;
pub mod event;
pub mod graph;
pub mod launch;
pub mod library;
pub mod memory;
pub mod module;
pub mod node;
pub mod pool;
pub mod procedure;
pub mod rectangle;
pub mod stream;

use super::result::{Code, Outcome};

/// Declares exported functions and, for `cuGetProcAddress`, a lookup of them by name.
macro_rules! api {
    ($($how:ident fn $name:ident($($arg:ident: $ty:ty),* $(,)?) |$s:ident| $body:block)*) => {
        $(
            /// # Safety
            /// As in the CUDA driver API: pointers are valid for what the function does with them.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> u32 {
                $crate::driver::api::$how(move |$s| -> $crate::driver::result::Outcome { $body })
            }
        )*

        pub fn find(name: &str) -> Option<*const std::ffi::c_void> {
            match name {
                $(stringify!($name) => Some($name as *const std::ffi::c_void),)*
                _ => None,
            }
        }
    };
}
pub(crate) use api;

pub(crate) use super::session::{call, call_anyway};

/// Writes a result through a pointer from C.
pub(crate) fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller of the API function promised room for a `T`.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// As [`put`], where null means that the result is not wanted.
pub(crate) fn put_optional<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: as for `put`.
        unsafe { to.write_unaligned(value) };
    }
}

pub(crate) fn get<T: Copy>(from: *const T) -> Outcome<T> {
    if from.is_null() {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller promised a `T` there.
    Ok(unsafe { from.read_unaligned() })
}

/// A C string's bytes.
pub(crate) fn text<'a>(from: *const std::ffi::c_char) -> Outcome<&'a str> {
    if from.is_null() {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller promised a string that ends in NUL.
    unsafe { std::ffi::CStr::from_ptr(from) }.to_str().map_err(|_| Code::CUDA_ERROR_INVALID_VALUE)
}

/// Copies text with its NUL into a buffer of `length` bytes, cut to fit.
pub(crate) fn put_text(to: *mut std::ffi::c_char, length: usize, value: &str) -> Outcome {
    if to.is_null() || length == 0 {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    let bytes = &value.as_bytes()[..value.len().min(length - 1)];
    // SAFETY: the buffer has room for `length` bytes, of which these and the NUL are at most all.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), to, bytes.len());
        to.add(bytes.len()).write(0);
    }
    Ok(())
}
