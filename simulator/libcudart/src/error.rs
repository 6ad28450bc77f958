//! Errors of the runtime: numbers that are mostly the driver's, and names of their own.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

/// A `cudaError_t`.
pub type Code = u32;
pub type Outcome<T = ()> = Result<T, Code>;

pub const INVALID_VALUE: Code = 1;
pub const INVALID_CONFIGURATION: Code = 9;
pub const INVALID_SYMBOL: Code = 13;
pub const INSUFFICIENT_DRIVER: Code = 35;
pub const MISSING_CONFIGURATION: Code = 52;
pub const INVALID_DEVICE_FUNCTION: Code = 98;
pub const INVALID_DEVICE: Code = 101;
pub const NOT_READY: Code = 600;
pub const NOT_SUPPORTED: Code = 801;

/// Names and descriptions, both ending in NUL for C.
const TEXTS: [(Code, &str, &str); 52] = [
    (0, "cudaSuccess\0", "no error\0"),
    (1, "cudaErrorInvalidValue\0", "invalid argument\0"),
    (2, "cudaErrorMemoryAllocation\0", "out of memory\0"),
    (3, "cudaErrorInitializationError\0", "initialization error\0"),
    (4, "cudaErrorCudartUnloading\0", "driver shutting down\0"),
    (9, "cudaErrorInvalidConfiguration\0", "invalid configuration argument\0"),
    (13, "cudaErrorInvalidSymbol\0", "invalid device symbol\0"),
    (17, "cudaErrorInvalidDevicePointer\0", "invalid device pointer\0"),
    (21, "cudaErrorInvalidMemcpyDirection\0", "invalid copy direction for memcpy\0"),
    (35, "cudaErrorInsufficientDriver\0", "CUDA driver version is insufficient for CUDA runtime version\0"),
    (52, "cudaErrorMissingConfiguration\0", "__global__ function call is not configured\0"),
    (98, "cudaErrorInvalidDeviceFunction\0", "invalid device function\0"),
    (100, "cudaErrorNoDevice\0", "no CUDA-capable device is detected\0"),
    (101, "cudaErrorInvalidDevice\0", "invalid device ordinal\0"),
    (200, "cudaErrorInvalidKernelImage\0", "device kernel image is invalid\0"),
    (201, "cudaErrorDeviceUninitialized\0", "invalid device context\0"),
    (209, "cudaErrorNoKernelImageForDevice\0", "no kernel image is available for execution on the device\0"),
    (217, "cudaErrorPeerAccessUnsupported\0", "peer access is not supported between these two devices\0"),
    (218, "cudaErrorInvalidPtx\0", "a PTX JIT compilation failed\0"),
    (222, "cudaErrorUnsupportedPtxVersion\0", "the provided PTX was compiled with an unsupported toolchain.\0"),
    (300, "cudaErrorInvalidSource\0", "device kernel image is invalid\0"),
    (301, "cudaErrorFileNotFound\0", "file not found\0"),
    (304, "cudaErrorOperatingSystem\0", "OS call failed or operation not supported on this OS\0"),
    (400, "cudaErrorInvalidResourceHandle\0", "invalid resource handle\0"),
    (401, "cudaErrorIllegalState\0", "the operation cannot be performed in the present state\0"),
    (500, "cudaErrorSymbolNotFound\0", "named symbol not found\0"),
    (600, "cudaErrorNotReady\0", "device not ready\0"),
    (700, "cudaErrorIllegalAddress\0", "an illegal memory access was encountered\0"),
    (701, "cudaErrorLaunchOutOfResources\0", "too many resources requested for launch\0"),
    (702, "cudaErrorLaunchTimeout\0", "the launch timed out and was terminated\0"),
    (704, "cudaErrorPeerAccessAlreadyEnabled\0", "peer access is already enabled\0"),
    (705, "cudaErrorPeerAccessNotEnabled\0", "peer access has not been enabled\0"),
    (709, "cudaErrorContextIsDestroyed\0", "context is destroyed\0"),
    (710, "cudaErrorAssert\0", "device-side assert triggered\0"),
    (712, "cudaErrorHostMemoryAlreadyRegistered\0", "part or all of the requested memory range is already mapped\0"),
    (713, "cudaErrorHostMemoryNotRegistered\0", "pointer does not correspond to a registered memory region\0"),
    (714, "cudaErrorHardwareStackError\0", "hardware stack error\0"),
    (715, "cudaErrorIllegalInstruction\0", "an illegal instruction was encountered\0"),
    (716, "cudaErrorMisalignedAddress\0", "misaligned address\0"),
    (717, "cudaErrorInvalidAddressSpace\0", "operation not supported on global/shared address space\0"),
    (718, "cudaErrorInvalidPc\0", "invalid program counter\0"),
    (719, "cudaErrorLaunchFailure\0", "unspecified launch failure\0"),
    (720, "cudaErrorCooperativeLaunchTooLarge\0", "too many blocks in cooperative launch\0"),
    (800, "cudaErrorNotPermitted\0", "operation not permitted\0"),
    (801, "cudaErrorNotSupported\0", "operation not supported\0"),
    (900, "cudaErrorStreamCaptureUnsupported\0", "operation not permitted when stream is capturing\0"),
    (901, "cudaErrorStreamCaptureInvalidated\0", "operation failed due to a previous error during capture\0"),
    (904, "cudaErrorStreamCaptureUnjoined\0", "capturing stream has unjoined work\0"),
    (905, "cudaErrorStreamCaptureIsolation\0", "dependency created on uncaptured work in another stream\0"),
    (
        906,
        "cudaErrorStreamCaptureImplicit\0",
        "operation would make the legacy stream depend on a capturing blocking stream\0",
    ),
    (
        910,
        "cudaErrorGraphExecUpdateFailure\0",
        "the graph update was not performed because it included changes which violated constraints\0",
    ),
    (999, "cudaErrorUnknown\0", "unknown error\0"),
];

thread_local! {
    static LAST: Cell<Code> = const { Cell::new(0) };
}

/// What an API function returns; a thread remembers the last error. Work that is not done is none.
pub fn finish(outcome: Outcome) -> Code {
    let code = outcome.err().unwrap_or(0);
    if code != 0 && code != NOT_READY {
        LAST.set(code);
    }
    code
}

#[unsafe(no_mangle)]
pub extern "C" fn cudaGetLastError() -> Code {
    LAST.replace(0)
}

#[unsafe(no_mangle)]
pub extern "C" fn cudaPeekAtLastError() -> Code {
    LAST.get()
}

fn texts(code: c_int) -> (&'static str, &'static str) {
    let known = TEXTS.iter().find(|(number, ..)| i64::from(*number) == i64::from(code));
    known.map_or(("cudaErrorUnknown\0", "unrecognized error code\0"), |&(_, name, text)| (name, text))
}

#[unsafe(no_mangle)]
pub extern "C" fn cudaGetErrorName(code: c_int) -> *const c_char {
    texts(code).0.as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn cudaGetErrorString(code: c_int) -> *const c_char {
    texts(code).1.as_ptr().cast()
}
