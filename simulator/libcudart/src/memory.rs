//! Memory: allocation, copies, sets, pools. The direction of a copy follows from its addresses, so that the kind is not
//! looked at.

use std::ffi::{c_int, c_uint, c_void};

use crate::driver;
use crate::error::{INVALID_VALUE, Outcome};
use crate::state::{get, put, ready, runtime};

/// `CU_MEMORYTYPE_UNIFIED`: the address says what it is.
const UNIFIED: c_uint = 4;

/// One end of the driver's `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct BoxEnd {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: c_uint,
    host: usize,
    device: u64,
    array: usize,
    reserved: usize,
    pitch: usize,
    height: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct BoxCopy {
    source: BoxEnd,
    target: BoxEnd,
    width: usize,
    height: usize,
    depth: usize,
}

/// `cudaPitchedPtr`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pitched {
    address: u64,
    pitch: usize,
    width: usize,
    height: usize,
}

/// `cudaExtent`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Extent {
    width: usize,
    height: usize,
    depth: usize,
}

/// `cudaMemcpy3DParms`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BoxParams {
    source_array: usize,
    source_at: [usize; 3],
    source: Pitched,
    target_array: usize,
    target_at: [usize; 3],
    target: Pitched,
    extent: Extent,
    kind: c_uint,
}

impl BoxEnd {
    fn new(pitched: Pitched, [x, y, z]: [usize; 3]) -> Self {
        let Pitched { address, pitch, height, .. } = pitched;
        Self { x, y, z, kind: UNIFIED, device: address, pitch, height, ..Self::default() }
    }
}

impl BoxCopy {
    fn plane(to: u64, to_pitch: usize, from: u64, from_pitch: usize, width: usize, height: usize) -> Self {
        let end = |address, pitch| BoxEnd { kind: UNIFIED, device: address, pitch, height, ..BoxEnd::default() };
        Self { source: end(from, from_pitch), target: end(to, to_pitch), width, height, depth: 1 }
    }

    /// # Errors
    /// For copies from or to arrays, which are not supported.
    pub fn from_params(params: *const BoxParams) -> Outcome<Self> {
        let p = get(params)?;
        if p.source_array != 0 || p.target_array != 0 {
            return Err(crate::error::NOT_SUPPORTED);
        }
        let Extent { width, height, depth } = p.extent;
        let (source, target) = (BoxEnd::new(p.source, p.source_at), BoxEnd::new(p.target, p.target_at));
        Ok(Self { source, target, width, height, depth })
    }

    /// A copy of bytes that lie together.
    pub fn line(to: u64, from: u64, bytes: usize) -> Self {
        Self::plane(to, bytes, from, bytes, bytes, 1)
    }

    pub fn as_ptr(&self) -> *const c_void {
        (&raw const *self).cast()
    }
}

/// `cudaPointerAttributes`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PointerAttributes {
    kind: c_uint,
    device: c_int,
    device_pointer: u64,
    host_pointer: u64,
    reserved: [u64; 8],
}

const UNREGISTERED: c_uint = 0;
const HOST: c_uint = 1;
const DEVICE: c_uint = 2;
const MANAGED: c_uint = 3;

fn pointer_attributes(address: u64) -> PointerAttributes {
    let known = |which: c_int| {
        let mut value = 0u32;
        driver::cuPointerGetAttribute((&raw mut value).cast(), which, address).ok().map(|()| value)
    };
    match (known(2), known(8)) {
        (Some(_), Some(1)) => {
            PointerAttributes { kind: MANAGED, device_pointer: address, host_pointer: address, ..Default::default() }
        }
        (Some(HOST), _) => {
            PointerAttributes { kind: HOST, device_pointer: address, host_pointer: address, ..Default::default() }
        }
        (Some(_), _) => PointerAttributes { kind: DEVICE, device_pointer: address, ..Default::default() },
        _ => PointerAttributes { kind: UNREGISTERED, device: -2, host_pointer: address, ..Default::default() },
    }
}

/// As `cudaMalloc`: no bytes are no memory.
fn allocate(to: *mut u64, bytes: usize, how: impl FnOnce(*mut u64) -> Outcome) -> Outcome {
    ready()?;
    if bytes == 0 { put(to, 0) } else { how(to) }
}

runtime! {
    fn cudaMalloc(to: *mut u64, bytes: usize) { allocate(to, bytes, |to| driver::cuMemAlloc_v2(to, bytes)) }
    fn cudaMallocHost(to: *mut u64, bytes: usize) { allocate(to, bytes, |to| driver::cuMemHostAlloc(to, bytes, 0)) }
    fn cudaHostAlloc(to: *mut u64, bytes: usize, flags: c_uint) {
        allocate(to, bytes, |to| driver::cuMemHostAlloc(to, bytes, flags))
    }
    fn cudaMallocManaged(to: *mut u64, bytes: usize, flags: c_uint) {
        allocate(to, bytes, |to| driver::cuMemAllocManaged(to, bytes, flags))
    }
    fn cudaMallocPitch(to: *mut u64, pitch: *mut usize, width: usize, height: usize) {
        ready()?;
        driver::cuMemAllocPitch_v2(to, pitch, width, height, 4)
    }
    fn cudaMalloc3D(to: *mut Pitched, extent: Extent) {
        ready()?;
        let Extent { width, height, depth } = extent;
        let (mut address, mut pitch) = (0, 0);
        let rows = height.checked_mul(depth).ok_or(INVALID_VALUE)?;
        driver::cuMemAllocPitch_v2(&mut address, &mut pitch, width, rows, 4)?;
        put(to, Pitched { address, pitch, width, height })
    }
    fn cudaFree(address: u64) { ready()?; driver::cuMemFree_v2(address) }
    fn cudaFreeHost(address: u64) { ready()?; driver::cuMemFreeHost(address) }
    fn cudaHostRegister(address: u64, bytes: usize, flags: c_uint) {
        ready()?;
        driver::cuMemHostRegister_v2(address, bytes, flags)
    }
    fn cudaHostUnregister(address: u64) { ready()?; driver::cuMemHostUnregister(address) }
    fn cudaHostGetDevicePointer(to: *mut u64, host: u64, flags: c_uint) {
        ready()?;
        driver::cuMemHostGetDevicePointer_v2(to, host, flags)
    }
    fn cudaHostGetFlags(flags: *mut c_uint, host: u64) { ready()?; driver::cuMemHostGetFlags(flags, host) }
    fn cudaMemGetInfo(free: *mut usize, total: *mut usize) { ready()?; driver::cuMemGetInfo_v2(free, total) }
    fn cudaPointerGetAttributes(to: *mut PointerAttributes, address: u64) {
        ready()?;
        put(to, pointer_attributes(address))
    }
    fn cudaMemPrefetchAsync(_address: u64, _bytes: usize, _location: u64, _flags: c_uint, _stream: u64) { ready() }
    fn cudaMemAdvise(_address: u64, _bytes: usize, _advice: c_uint, _location: u64) { ready() }

    fn cudaMemcpy(to: u64, from: u64, bytes: usize, _kind: c_uint) { ready()?; driver::cuMemcpy(to, from, bytes) }
    fn cudaMemcpyAsync(to: u64, from: u64, bytes: usize, _kind: c_uint, stream: u64) {
        ready()?;
        driver::cuMemcpyAsync(to, from, bytes, stream)
    }
    fn cudaMemcpyPeer(to: u64, _to_device: c_int, from: u64, _from_device: c_int, bytes: usize) {
        ready()?;
        driver::cuMemcpy(to, from, bytes)
    }
    fn cudaMemcpyPeerAsync(to: u64, _to_device: c_int, from: u64, _from_device: c_int, bytes: usize, stream: u64) {
        ready()?;
        driver::cuMemcpyAsync(to, from, bytes, stream)
    }
    fn cudaMemcpy2D(
        to: u64, to_pitch: usize, from: u64, from_pitch: usize, width: usize, height: usize, _kind: c_uint,
    ) {
        ready()?;
        driver::cuMemcpy3D_v2(BoxCopy::plane(to, to_pitch, from, from_pitch, width, height).as_ptr())
    }
    fn cudaMemcpy2DAsync(
        to: u64, to_pitch: usize, from: u64, from_pitch: usize, width: usize, height: usize, _kind: c_uint, stream: u64,
    ) {
        ready()?;
        driver::cuMemcpy3DAsync_v2(BoxCopy::plane(to, to_pitch, from, from_pitch, width, height).as_ptr(), stream)
    }
    fn cudaMemcpy3D(params: *const BoxParams) {
        ready()?;
        driver::cuMemcpy3D_v2(BoxCopy::from_params(params)?.as_ptr())
    }
    fn cudaMemcpy3DAsync(params: *const BoxParams, stream: u64) {
        ready()?;
        driver::cuMemcpy3DAsync_v2(BoxCopy::from_params(params)?.as_ptr(), stream)
    }

    fn cudaMemset(to: u64, value: c_int, count: usize) { ready()?; driver::cuMemsetD8_v2(to, value as u8, count) }
    fn cudaMemsetAsync(to: u64, value: c_int, count: usize, stream: u64) {
        ready()?;
        driver::cuMemsetD8Async(to, value as u8, count, stream)
    }
    fn cudaMemset2D(to: u64, pitch: usize, value: c_int, width: usize, height: usize) {
        ready()?;
        driver::cuMemsetD2D8_v2(to, pitch, value as u8, width, height)
    }
    fn cudaMemset2DAsync(to: u64, pitch: usize, value: c_int, width: usize, height: usize, stream: u64) {
        ready()?;
        driver::cuMemsetD2D8Async(to, pitch, value as u8, width, height, stream)
    }
    fn cudaMemset3D(to: Pitched, value: c_int, extent: Extent) {
        ready()?;
        (0..extent.depth).try_for_each(|z| {
            let slice = to.address + (z * to.pitch * to.height) as u64;
            driver::cuMemsetD2D8_v2(slice, to.pitch, value as u8, extent.width, extent.height)
        })
    }

    fn cudaMallocAsync(to: *mut u64, bytes: usize, stream: u64) {
        allocate(to, bytes, |to| driver::cuMemAllocAsync(to, bytes, stream))
    }
    fn cudaMallocFromPoolAsync(to: *mut u64, bytes: usize, pool: u64, stream: u64) {
        allocate(to, bytes, |to| driver::cuMemAllocFromPoolAsync(to, bytes, pool, stream))
    }
    fn cudaFreeAsync(address: u64, stream: u64) { ready()?; driver::cuMemFreeAsync(address, stream) }
    fn cudaDeviceGetDefaultMemPool(pool: *mut u64, device: c_int) {
        ready()?;
        driver::cuDeviceGetDefaultMemPool(pool, device)
    }
    fn cudaDeviceGetMemPool(pool: *mut u64, device: c_int) { ready()?; driver::cuDeviceGetMemPool(pool, device) }
    fn cudaDeviceSetMemPool(device: c_int, pool: u64) { ready()?; driver::cuDeviceSetMemPool(device, pool) }
    fn cudaMemPoolCreate(pool: *mut u64, properties: *const c_void) {
        ready()?;
        driver::cuMemPoolCreate(pool, properties)
    }
    fn cudaMemPoolDestroy(pool: u64) { ready()?; driver::cuMemPoolDestroy(pool) }
    fn cudaMemPoolTrimTo(pool: u64, bytes: usize) { ready()?; driver::cuMemPoolTrimTo(pool, bytes) }
    fn cudaMemPoolSetAttribute(pool: u64, which: c_uint, value: *const c_void) {
        ready()?;
        driver::cuMemPoolSetAttribute(pool, which, value)
    }
    fn cudaMemPoolGetAttribute(pool: u64, which: c_uint, value: *mut c_void) {
        ready()?;
        driver::cuMemPoolGetAttribute(pool, which, value)
    }
}
