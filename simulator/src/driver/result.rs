//! Driver error codes, their names and descriptions.

macro_rules! codes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// A `CUresult`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Code { $($name = $value,)* }

        impl Code {
            pub fn from_number(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// The constant's name and a sentence, both ending in NUL for C.
            pub fn texts(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => (concat!(stringify!($name), "\0"), concat!($text, "\0")),)* }
            }
        }
    };
}

// Every code of `cuda.h`: a program may ask for the name of one that this driver never gives.
#[allow(non_camel_case_types, clippy::enum_variant_names)]
mod names {
    codes! {
        CUDA_SUCCESS = 0, "no error";
        CUDA_ERROR_INVALID_VALUE = 1, "invalid argument";
        CUDA_ERROR_OUT_OF_MEMORY = 2, "out of memory";
        CUDA_ERROR_NOT_INITIALIZED = 3, "initialization error";
        CUDA_ERROR_DEINITIALIZED = 4, "driver shutting down";
        CUDA_ERROR_PROFILER_DISABLED = 5, "profiler disabled";
        CUDA_ERROR_PROFILER_NOT_INITIALIZED = 6, "profiler not initialized";
        CUDA_ERROR_PROFILER_ALREADY_STARTED = 7, "profiler already started";
        CUDA_ERROR_PROFILER_ALREADY_STOPPED = 8, "profiler already stopped";
        CUDA_ERROR_STUB_LIBRARY = 34, "the library is a stub";
        CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER = 36, "the call requires a newer driver";
        CUDA_ERROR_DEVICE_UNAVAILABLE = 46, "the device is busy or unavailable";
        CUDA_ERROR_MULTICAST_RESOURCE_FULL = 47, "multicast resources are used up";
        CUDA_ERROR_NO_DEVICE = 100, "no CUDA-capable device is detected";
        CUDA_ERROR_INVALID_DEVICE = 101, "invalid device ordinal";
        CUDA_ERROR_DEVICE_NOT_LICENSED = 102, "the device has no licence";
        CUDA_ERROR_INVALID_IMAGE = 200, "device kernel image is invalid";
        CUDA_ERROR_INVALID_CONTEXT = 201, "invalid device context";
        CUDA_ERROR_CONTEXT_ALREADY_CURRENT = 202, "context already current";
        CUDA_ERROR_MAP_FAILED = 205, "mapping of a buffer failed";
        CUDA_ERROR_UNMAP_FAILED = 206, "unmapping of a buffer failed";
        CUDA_ERROR_ARRAY_IS_MAPPED = 207, "array is mapped";
        CUDA_ERROR_ALREADY_MAPPED = 208, "resource already mapped";
        CUDA_ERROR_NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
        CUDA_ERROR_ALREADY_ACQUIRED = 210, "resource already acquired";
        CUDA_ERROR_NOT_MAPPED = 211, "resource not mapped";
        CUDA_ERROR_NOT_MAPPED_AS_ARRAY = 212, "resource not mapped as array";
        CUDA_ERROR_NOT_MAPPED_AS_POINTER = 213, "resource not mapped as pointer";
        CUDA_ERROR_ECC_UNCORRECTABLE = 214, "uncorrectable ECC error encountered";
        CUDA_ERROR_UNSUPPORTED_LIMIT = 215, "limit is not supported on this architecture";
        CUDA_ERROR_CONTEXT_ALREADY_IN_USE = 216, "context is in exclusive use by another thread";
        CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217, "peer access is not supported between these two devices";
        CUDA_ERROR_INVALID_PTX = 218, "a PTX JIT compilation failed";
        CUDA_ERROR_INVALID_GRAPHICS_CONTEXT = 219, "invalid graphics context";
        CUDA_ERROR_NVLINK_UNCORRECTABLE = 220, "uncorrectable NVLink error";
        CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221, "PTX JIT compiler library not found";
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222, "the PTX was compiled with an unsupported toolchain";
        CUDA_ERROR_JIT_COMPILATION_DISABLED = 223, "PTX JIT compilation was disabled";
        CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY = 224, "execution affinity is not supported";
        CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC = 225, "device-side synchronization is not supported";
        CUDA_ERROR_CONTAINED = 226, "an error was contained to the process";
        CUDA_ERROR_INSUFFICIENT_LOADER_VERSION = 227, "the loader is too old for the module";
        CUDA_ERROR_INVALID_SOURCE = 300, "device kernel image is invalid";
        CUDA_ERROR_FILE_NOT_FOUND = 301, "file not found";
        CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND = 302, "shared object symbol not found";
        CUDA_ERROR_SHARED_OBJECT_INIT_FAILED = 303, "shared object initialization failed";
        CUDA_ERROR_OPERATING_SYSTEM = 304, "a call to the operating system failed";
        CUDA_ERROR_INVALID_HANDLE = 400, "invalid resource handle";
        CUDA_ERROR_ILLEGAL_STATE = 401, "the operation cannot be performed in the present state";
        CUDA_ERROR_LOSSY_QUERY = 402, "the query would lose information";
        CUDA_ERROR_NOT_FOUND = 500, "named symbol not found";
        CUDA_ERROR_NOT_READY = 600, "device not ready";
        CUDA_ERROR_ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
        CUDA_ERROR_LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
        CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING = 703, "launch uses incompatible texturing mode";
        CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704, "peer access is already enabled";
        CUDA_ERROR_PEER_ACCESS_NOT_ENABLED = 705, "peer access has not been enabled";
        CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708, "the primary context is active";
        CUDA_ERROR_CONTEXT_IS_DESTROYED = 709, "context is destroyed";
        CUDA_ERROR_ASSERT = 710, "device-side assert triggered";
        CUDA_ERROR_TOO_MANY_PEERS = 711, "peer mapping resources exhausted";
        CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712, "part or all of the memory range is already registered";
        CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713, "pointer does not correspond to a registered memory region";
        CUDA_ERROR_HARDWARE_STACK_ERROR = 714, "hardware stack error";
        CUDA_ERROR_ILLEGAL_INSTRUCTION = 715, "an illegal instruction was encountered";
        CUDA_ERROR_MISALIGNED_ADDRESS = 716, "misaligned address";
        CUDA_ERROR_INVALID_ADDRESS_SPACE = 717, "operation not supported on this address space";
        CUDA_ERROR_INVALID_PC = 718, "invalid program counter";
        CUDA_ERROR_LAUNCH_FAILED = 719, "unspecified launch failure";
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720, "too many blocks in cooperative launch";
        CUDA_ERROR_TENSOR_MEMORY_LEAK = 721, "a block exited without freeing its tensor memory";
        CUDA_ERROR_NOT_PERMITTED = 800, "operation not permitted";
        CUDA_ERROR_NOT_SUPPORTED = 801, "operation not supported";
        CUDA_ERROR_SYSTEM_NOT_READY = 802, "system not yet initialized";
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803, "system has unsupported display driver / CUDA driver combination";
        CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804, "forward compatibility is not supported on this device";
        CUDA_ERROR_MPS_CONNECTION_FAILED = 805, "no connection to the MPS control daemon";
        CUDA_ERROR_MPS_RPC_FAILURE = 806, "a call to the MPS server failed";
        CUDA_ERROR_MPS_SERVER_NOT_READY = 807, "the MPS server is not ready";
        CUDA_ERROR_MPS_MAX_CLIENTS_REACHED = 808, "the MPS server has as many clients as it takes";
        CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED = 809, "the MPS server has as many connections as it takes";
        CUDA_ERROR_MPS_CLIENT_TERMINATED = 810, "the MPS client was terminated";
        CUDA_ERROR_CDP_NOT_SUPPORTED = 811, "the module uses dynamic parallelism, which the device lacks";
        CUDA_ERROR_CDP_VERSION_MISMATCH = 812, "modules use different versions of dynamic parallelism";
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
        CUDA_ERROR_STREAM_CAPTURE_MERGE = 902, "operation would merge two captures";
        CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903, "capture was not initiated in this stream";
        CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904, "capture sequence contains a fork that was not joined";
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
        CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906, "operation would make the legacy stream depend on a capturing blocking stream";
        CUDA_ERROR_CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
        CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908, "attempt to end a capture from another thread than the one that began it";
        CUDA_ERROR_TIMEOUT = 909, "wait operation timed out";
        CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910, "the graph update was not performed because it included changes which violated constraints";
        CUDA_ERROR_EXTERNAL_DEVICE = 911, "an error occurred on a device outside of CUDA";
        CUDA_ERROR_INVALID_CLUSTER_SIZE = 912, "invalid cluster size";
        CUDA_ERROR_FUNCTION_NOT_LOADED = 913, "the function is not loaded";
        CUDA_ERROR_INVALID_RESOURCE_TYPE = 914, "invalid resource type";
        CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION = 915, "invalid resource configuration";
        CUDA_ERROR_KEY_ROTATION = 916, "a key rotation is under way";
        CUDA_ERROR_STREAM_DETACHED = 917, "the stream is detached";
        CUDA_ERROR_GRAPH_RECAPTURE_FAILURE = 918, "the graph could not be captured again";
        CUDA_ERROR_FABRIC_NOT_READY = 919, "the fabric is not ready";
        CUDA_ERROR_UNKNOWN = 999, "unknown error";
    }
}

pub use names::Code;
pub type Outcome<T = ()> = Result<T, Code>;
