//! What the driver says to calls that are wrong: each error code, and that the call changed nothing.

use cudasim::driver::api::{device, event, launch, memory, module, pool, procedure, stream};

use crate::args;
use crate::common::{Gpu, checked, compile, ok};

const INVALID_VALUE: u32 = 1;
const INVALID_DEVICE: u32 = 101;
const UNSUPPORTED_LIMIT: u32 = 215;
const INVALID_HANDLE: u32 = 400;

fn basics() -> Gpu {
    Gpu::new(&compile("basics", "sm_80", &[]), checked())
}

#[test]
fn the_null_stream_is_not_destroyed() {
    let gpu = basics();
    for null in [0, 1, 2] {
        assert_eq!(unsafe { stream::cuStreamDestroy_v2(null) }, INVALID_HANDLE);
    }
    let (a, out) = (gpu.upload(&[1f32]), gpu.alloc(4));
    gpu.launch("vector_add", 1, 32, args![out, a, a, 1]);
    assert_eq!(gpu.download::<f32>(out, 1), [2.0]);
}

#[test]
fn flags_attributes_and_limits_that_do_not_exist() {
    let gpu = basics();
    let (mut handle, mut value, mut size) = (0, 0, 0);
    for flags in [8, 0x100, 4] {
        // The last: between processes there is no timing.
        assert_eq!(unsafe { event::cuEventCreate(&mut handle, flags) }, INVALID_VALUE, "{flags}");
    }
    ok(unsafe { event::cuEventCreate(&mut handle, 6) });
    for which in [-1, 0, 9999] {
        assert_eq!(unsafe { device::cuDeviceGetAttribute(&mut value, which, 0) }, INVALID_VALUE, "{which}");
    }
    assert_eq!(unsafe { device::cuCtxGetLimit(&mut size, 77) }, UNSUPPORTED_LIMIT);
    assert_eq!(unsafe { device::cuCtxSetLimit(77, 1) }, UNSUPPORTED_LIMIT);
    ok(unsafe { device::cuCtxSetLimit(0, 4096) });
    ok(unsafe { device::cuCtxGetLimit(&mut size, 0) });
    assert_eq!(size, 4096);
    let function = gpu.function("vector_add");
    for threads in [0, -32] {
        let code = unsafe { launch::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut value, function, threads, 0) };
        assert_eq!(code, INVALID_VALUE);
    }
    assert_eq!(unsafe { module::cuFuncGetAttribute(&mut value, 99, function) }, INVALID_VALUE);
}

#[test]
fn pinned_memory_keeps_its_flags() {
    let gpu = basics();
    let (mut address, mut flags) = (0, 9);
    assert_eq!(unsafe { memory::cuMemHostAlloc(&mut address, 64, 0x80) }, INVALID_VALUE);
    ok(unsafe { memory::cuMemHostAlloc(&mut address, 64, 3) });
    ok(unsafe { memory::cuMemHostGetFlags(&mut flags, address + 8) });
    assert_eq!(flags, 3);
    let mut mapped = 0;
    assert_eq!(unsafe { memory::cuMemHostGetDevicePointer_v2(&mut mapped, address, 5) }, INVALID_VALUE);
    ok(unsafe { memory::cuMemHostGetDevicePointer_v2(&mut mapped, address, 0) });
    assert_eq!(mapped, address);
    assert_eq!(unsafe { memory::cuMemHostGetFlags(&mut flags, gpu.alloc(64)) }, INVALID_VALUE, "not pinned");
    ok(unsafe { memory::cuMemFreeHost(address) });
    ok(unsafe { memory::cuMemAllocHost_v2(&mut address, 64) });
    ok(unsafe { memory::cuMemHostGetFlags(&mut flags, address) });
    assert_eq!(flags, 0, "asked for without any");
}

#[test]
fn pools_that_are_not_there() {
    let gpu = basics();
    let (mut default, mut address, mut word) = (0, 0, 0u64);
    assert_eq!(unsafe { pool::cuDeviceGetDefaultMemPool(&mut default, 1) }, INVALID_DEVICE);
    ok(unsafe { pool::cuDeviceGetDefaultMemPool(&mut default, 0) });
    assert_eq!(unsafe { pool::cuMemPoolDestroy(default) }, INVALID_VALUE);
    for which in [0, 9] {
        assert_eq!(unsafe { pool::cuMemPoolGetAttribute(default, which, (&raw mut word).cast()) }, INVALID_VALUE);
    }
    assert_eq!(unsafe { pool::cuMemAllocFromPoolAsync(&mut address, 4, 0x3330, 0) }, INVALID_VALUE);
    // Each pool has its own attributes; reuse is allowed to begin with.
    let (mut own, properties, threshold) = (0, [0u64; 11], 1u64 << 33);
    ok(unsafe { pool::cuMemPoolCreate(&mut own, properties.as_ptr().cast()) });
    ok(unsafe { pool::cuMemPoolSetAttribute(own, 4, (&raw const threshold).cast()) });
    ok(unsafe { pool::cuMemPoolGetAttribute(default, 4, (&raw mut word).cast()) });
    assert_eq!(word, 0);
    let mut reuse = 0i32;
    ok(unsafe { pool::cuMemPoolGetAttribute(own, 1, (&raw mut reuse).cast()) });
    assert_eq!(reuse, 1);
    ok(unsafe { pool::cuMemAllocFromPoolAsync(&mut address, 4, own, 0) });
    ok(unsafe { pool::cuMemPoolDestroy(own) });
    assert_eq!(unsafe { pool::cuMemPoolDestroy(own) }, INVALID_VALUE);
    gpu.free(address);
}

/// A client gets the form of a function that the header of its release has.
#[test]
fn functions_by_name_and_release() {
    let find = |name: &std::ffi::CStr, version: i32| {
        let (mut address, mut status) = (std::ptr::null(), -1);
        let code = unsafe { procedure::cuGetProcAddress_v2(name.as_ptr(), &mut address, version, 0, &mut status) };
        (code, address, status)
    };
    let found = |address: *const std::ffi::c_void| (0, address, 0);
    let none = std::ptr::null::<std::ffi::c_void>();
    assert_eq!(find(c"cuCtxCreate", 11000), found(device::cuCtxCreate_v2 as *const _));
    assert_eq!(find(c"cuCtxCreate", 12000), found(device::cuCtxCreate_v3 as *const _));
    assert_eq!(find(c"cuCtxCreate", 13000), found(device::cuCtxCreate_v4 as *const _));
    let instantiate = cudasim::driver::api::graph::cuGraphInstantiateWithFlags as *const _;
    assert_eq!(find(c"cuGraphInstantiate", 12000), found(instantiate));
    let older = cudasim::driver::api::graph::cuGraphInstantiate_v2 as *const _;
    assert_eq!(find(c"cuGraphInstantiate", 11000), found(older));
    // Known, but newer than the caller; and not known at all.
    assert_eq!(find(c"cuMemAllocAsync", 11010), (500, none, 2));
    assert_eq!(find(c"cuMemAllocAsync", 11020), found(pool::cuMemAllocAsync as *const _));
    assert_eq!(find(c"cuTeleport", 13000), (500, none, 1));
}
