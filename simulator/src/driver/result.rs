//! Driver error codes, their names and descriptions.

macro_rules! codes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// A `CUresult`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Code { $($name = $value,)* }

        impl Code {
            pub fn of(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// The constant's name and a sentence, both ending in NUL for C.
            pub fn texts(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => (concat!(stringify!($name), "\0"), concat!($text, "\0")),)* }
            }
        }
    };
}

#[allow(non_camel_case_types, clippy::enum_variant_names)]
mod names {
    codes! {
        CUDA_SUCCESS = 0, "no error";
        CUDA_ERROR_INVALID_VALUE = 1, "invalid argument";
        CUDA_ERROR_OUT_OF_MEMORY = 2, "out of memory";
        CUDA_ERROR_NOT_INITIALIZED = 3, "initialization error";
        CUDA_ERROR_DEINITIALIZED = 4, "driver shutting down";
        CUDA_ERROR_NO_DEVICE = 100, "no CUDA-capable device is detected";
        CUDA_ERROR_INVALID_DEVICE = 101, "invalid device ordinal";
        CUDA_ERROR_INVALID_IMAGE = 200, "device kernel image is invalid";
        CUDA_ERROR_INVALID_CONTEXT = 201, "invalid device context";
        CUDA_ERROR_NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
        CUDA_ERROR_INVALID_PTX = 218, "a PTX JIT compilation failed";
        CUDA_ERROR_INVALID_SOURCE = 300, "device kernel image is invalid";
        CUDA_ERROR_FILE_NOT_FOUND = 301, "file not found";
        CUDA_ERROR_INVALID_HANDLE = 400, "invalid resource handle";
        CUDA_ERROR_NOT_FOUND = 500, "named symbol not found";
        CUDA_ERROR_NOT_READY = 600, "device not ready";
        CUDA_ERROR_ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
        CUDA_ERROR_LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
        CUDA_ERROR_CONTEXT_IS_DESTROYED = 709, "context is destroyed";
        CUDA_ERROR_ASSERT = 710, "device-side assert triggered";
        CUDA_ERROR_HARDWARE_STACK_ERROR = 714, "hardware stack error";
        CUDA_ERROR_MISALIGNED_ADDRESS = 716, "misaligned address";
        CUDA_ERROR_INVALID_PC = 718, "invalid program counter";
        CUDA_ERROR_LAUNCH_FAILED = 719, "unspecified launch failure";
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720, "too many blocks in cooperative launch";
        CUDA_ERROR_NOT_SUPPORTED = 801, "operation not supported";
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
        CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903, "capture was not initiated in this stream";
        CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904, "capture sequence contains a fork that was not joined";
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
        CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906, "operation would make the legacy stream depend on a capturing blocking stream";
        CUDA_ERROR_CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
        CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910, "the graph update was not performed because it included changes which violated constraints";
        CUDA_ERROR_UNKNOWN = 999, "unknown error";
    }
}

pub use names::Code;
pub type Outcome<T = ()> = Result<T, Code>;
