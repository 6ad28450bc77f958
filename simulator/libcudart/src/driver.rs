//! The driver: `libcuda.so` beside this library, or `libcuda.so.1` as the loader finds it. A function is looked up when
//! it is first called, so that a program fails where it uses what its driver lacks.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::error::{Code, INSUFFICIENT_DRIVER, Outcome};

/// The folder that this library was loaded from.
fn own_folder() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is one of this library's functions, and the structure is written when the call succeeds.
    let info =
        unsafe { (libc::dladdr(own_folder as *const c_void, info.as_mut_ptr()) != 0).then(|| info.assume_init())? };
    // SAFETY: the loader's own string.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes()));
    path.canonicalize().ok()?.parent().map(PathBuf::from)
}

fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    let open = || {
        let beside = own_folder().map(|folder| folder.join("libcuda.so")).filter(|path| path.exists());
        let names = beside.into_iter().chain([PathBuf::from("libcuda.so.1"), PathBuf::from("libcuda.so")]);
        // SAFETY: a CUDA driver's initialization has no demands on the program.
        names.into_iter().find_map(|name| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL).ok() })
    };
    LIBRARY.get_or_init(open).as_ref()
}

/// The address of a function of the driver, by its name with a NUL.
fn find(name: &str) -> *mut c_void {
    // SAFETY: only the address is taken.
    let symbol = library().and_then(|library| unsafe { library.get::<*mut c_void>(name.as_bytes()).ok() });
    symbol.map_or(std::ptr::null_mut(), |symbol| symbol.as_raw_ptr())
}

macro_rules! driver {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?);)*) => {$(
        #[allow(
            clippy::too_many_arguments,
            clippy::not_unsafe_ptr_arg_deref,
            reason = "signatures are the driver's; pointers are those of the program's call, which promised that they are valid"
        )]
        pub fn $name($($arg: $ty),*) -> Outcome {
            static ADDRESS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            let mut address = ADDRESS.load(Ordering::Relaxed);
            if address.is_null() {
                address = find(concat!(stringify!($name), "\0"));
                ADDRESS.store(address, Ordering::Relaxed);
            }
            if address.is_null() {
                return Err(INSUFFICIENT_DRIVER);
            }
            // SAFETY: the driver's function of this name has this signature; its pointers are those of the program's
            // call.
            let code: Code = unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ty),*) -> Code>(address)($($arg),*)
            };
            if code == 0 { Ok(()) } else { Err(code) }
        }
    )*};
}

/// A function that a stream calls.
pub type HostFn = Option<extern "C" fn(*mut c_void)>;
pub type Callback = Option<extern "C" fn(u64, c_uint, *mut c_void)>;

driver! {
    fn cuInit(flags: c_uint);
    fn cuDriverGetVersion(version: *mut c_int);
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int);
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int);
    fn cuDeviceGetPCIBusId(id: *mut c_char, length: c_int, device: c_int);
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int);
    fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, device: c_int);
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int);
    fn cuDevicePrimaryCtxReset_v2(device: c_int);
    fn cuDeviceGetDefaultMemPool(pool: *mut u64, device: c_int);
    fn cuDeviceGetMemPool(pool: *mut u64, device: c_int);
    fn cuDeviceSetMemPool(device: c_int, pool: u64);
    fn cuCtxGetCurrent(context: *mut u64);
    fn cuCtxSetCurrent(context: u64);
    fn cuCtxSynchronize();
    fn cuCtxGetLimit(value: *mut usize, limit: c_uint);
    fn cuCtxSetLimit(limit: c_uint, value: usize);
    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int);
    fn cuModuleLoadData(module: *mut u64, image: *const c_void);
    fn cuModuleUnload(module: u64);
    fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char);
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: u64, name: *const c_char);
    fn cuFuncGetAttribute(value: *mut c_int, which: c_int, function: u64);
    fn cuFuncSetAttribute(function: u64, which: c_int, value: c_int);
    fn cuFuncSetCacheConfig(function: u64, config: c_uint);
    fn cuFuncGetName(name: *mut *const c_char, function: u64);
    fn cuLaunchKernelEx(
        config: *const c_void, function: u64, params: *const *const c_void, extra: *const *const c_void,
    );
    fn cuLaunchHostFunc(stream: u64, function: HostFn, data: *mut c_void);
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int, function: u64, threads: c_int, shared: usize, flags: c_uint,
    );
    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: *mut usize, function: u64, blocks: c_int, threads: c_int);
    fn cuOccupancyMaxActiveClusters(count: *mut c_int, function: u64, config: *const c_void);
    fn cuOccupancyMaxPotentialClusterSize(size: *mut c_int, function: u64, config: *const c_void);
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize);
    fn cuMemAllocPitch_v2(address: *mut u64, pitch: *mut usize, width: usize, height: usize, element: c_uint);
    fn cuMemAllocManaged(address: *mut u64, bytes: usize, flags: c_uint);
    fn cuMemHostAlloc(address: *mut u64, bytes: usize, flags: c_uint);
    fn cuMemFree_v2(address: u64);
    fn cuMemFreeHost(address: u64);
    fn cuMemHostRegister_v2(address: u64, bytes: usize, flags: c_uint);
    fn cuMemHostUnregister(address: u64);
    fn cuMemHostGetDevicePointer_v2(address: *mut u64, host: u64, flags: c_uint);
    fn cuMemHostGetFlags(flags: *mut c_uint, host: u64);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64);
    fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, pool: u64, stream: u64);
    fn cuMemFreeAsync(address: u64, stream: u64);
    fn cuMemPoolCreate(pool: *mut u64, properties: *const c_void);
    fn cuMemPoolDestroy(pool: u64);
    fn cuMemPoolTrimTo(pool: u64, bytes: usize);
    fn cuMemPoolSetAttribute(pool: u64, which: c_uint, value: *const c_void);
    fn cuMemPoolGetAttribute(pool: u64, which: c_uint, value: *mut c_void);
    fn cuMemcpy(to: u64, from: u64, bytes: usize);
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemcpy3D_v2(copy: *const c_void);
    fn cuMemcpy3DAsync_v2(copy: *const c_void, stream: u64);
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize);
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64);
    fn cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, width: usize, height: usize);
    fn cuMemsetD2D8Async(to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: u64);
    fn cuPointerGetAttribute(to: *mut c_void, which: c_int, address: u64);
    fn cuStreamCreateWithPriority(stream: *mut u64, flags: c_uint, priority: c_int);
    fn cuStreamDestroy_v2(stream: u64);
    fn cuStreamSynchronize(stream: u64);
    fn cuStreamQuery(stream: u64);
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint);
    fn cuStreamGetPriority(stream: u64, priority: *mut c_int);
    fn cuStreamGetFlags(stream: u64, flags: *mut c_uint);
    fn cuStreamGetId(stream: u64, id: *mut u64);
    fn cuStreamAddCallback(stream: u64, callback: Callback, data: *mut c_void, flags: c_uint);
    fn cuStreamSetAttribute(stream: u64, which: c_uint, value: *const c_void);
    fn cuStreamGetAttribute(stream: u64, which: c_uint, value: *mut c_void);
    fn cuStreamCopyAttributes(to: u64, from: u64);
    fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint);
    fn cuStreamEndCapture(stream: u64, graph: *mut u64);
    fn cuStreamIsCapturing(stream: u64, status: *mut c_uint);
    fn cuStreamGetCaptureInfo_v2(
        stream: u64, status: *mut c_uint, id: *mut u64, graph: *mut u64, nodes: *mut *const u64, count: *mut usize,
    );
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint);
    fn cuEventCreate(event: *mut u64, flags: c_uint);
    fn cuEventDestroy_v2(event: u64);
    fn cuEventRecord(event: u64, stream: u64);
    fn cuEventSynchronize(event: u64);
    fn cuEventQuery(event: u64);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64);
    fn cuGraphCreate(graph: *mut u64, flags: c_uint);
    fn cuGraphDestroy(graph: u64);
    fn cuGraphClone(clone: *mut u64, graph: u64);
    fn cuGraphInstantiateWithFlags(exec: *mut u64, graph: u64, flags: u64);
    fn cuGraphExecDestroy(exec: u64);
    fn cuGraphLaunch(exec: u64, stream: u64);
    fn cuGraphUpload(exec: u64, stream: u64);
    fn cuGraphExecUpdate_v2(exec: u64, graph: u64, info: *mut c_void);
    fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize);
    fn cuGraphGetRootNodes(graph: u64, nodes: *mut u64, count: *mut usize);
    fn cuGraphNodeGetType(node: u64, kind: *mut c_uint);
    fn cuGraphDebugDotPrint(graph: u64, path: *const c_char, flags: c_uint);
    fn cuGraphAddKernelNode_v2(node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const c_void);
    fn cuGraphExecKernelNodeSetParams_v2(exec: u64, node: u64, params: *const c_void);
    fn cuGraphAddMemsetNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const c_void, context: u64,
    );
    fn cuGraphAddMemcpyNode(
        node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const c_void, context: u64,
    );
    fn cuGraphAddHostNode(node: *mut u64, graph: u64, after: *const u64, count: usize, params: *const c_void);
    fn cuGraphAddEmptyNode(node: *mut u64, graph: u64, after: *const u64, count: usize);
    fn cuGetProcAddress_v2(
        symbol: *const c_char, function: *mut *const c_void, version: c_int, flags: u64, status: *mut c_int,
    );
}
