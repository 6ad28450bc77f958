//! The driver API called directly: contexts, errors, launches, memory, modules.

use std::ffi::{CStr, c_void};

use cudasim::driver::api::{device, launch, memory, module, pool, rectangle, stream};

use crate::args;
use crate::common::{Gpu, checked, compile, nvcc, ok};

fn basics() -> Gpu {
    Gpu::new(&compile("basics", "sm_80", &[]), checked())
}

const INVALID_VALUE: u32 = 1;
const INVALID_CONTEXT: u32 = 201;
const CONTEXT_IS_DESTROYED: u32 = 709;
const NOT_SUPPORTED: u32 = 801;

#[test]
fn contexts_are_a_stack_a_thread() {
    let _gpu = basics();
    let current = || {
        let mut context = 0;
        ok(unsafe { device::cuCtxGetCurrent(&mut context) });
        context
    };
    let first = current();
    let mut second = 0;
    ok(unsafe { device::cuCtxCreate_v2(&mut second, 0, 0) });
    assert_eq!(current(), second);
    ok(unsafe { device::cuCtxPushCurrent_v2(first) });
    assert_eq!(current(), first);
    let mut popped = 0;
    ok(unsafe { device::cuCtxPopCurrent_v2(&mut popped) });
    assert_eq!((popped, current()), (first, second));
    // Another thread has none until it takes one.
    let elsewhere = std::thread::spawn(move || {
        let mut address = 0;
        let before = unsafe { memory::cuMemAlloc_v2(&mut address, 64) };
        ok(unsafe { device::cuCtxSetCurrent(first) });
        (before, unsafe { memory::cuMemAlloc_v2(&mut address, 64) }, unsafe { memory::cuMemFree_v2(address) })
    });
    assert_eq!(elsewhere.join().expect("the thread ends"), (INVALID_CONTEXT, 0, 0));
    // A context that is gone is taken off the top; one below shows when it is used.
    ok(unsafe { device::cuCtxPushCurrent_v2(second) });
    ok(unsafe { device::cuCtxDestroy_v2(second) });
    assert_eq!(current(), second, "it was on the stack twice");
    assert_eq!(unsafe { device::cuCtxSynchronize() }, CONTEXT_IS_DESTROYED);
    assert_eq!(unsafe { device::cuCtxSetCurrent(second) }, INVALID_CONTEXT);
    ok(unsafe { device::cuCtxSetCurrent(first) });
    ok(unsafe { device::cuCtxSynchronize() });
    // Setting a context takes the place of the top one: below it lies what was there before.
    ok(unsafe { device::cuCtxPopCurrent_v2(&mut popped) });
    assert_eq!((popped, current()), (first, first));
    ok(unsafe { device::cuCtxPushCurrent_v2(first) });
    // The primary context is counted.
    let (mut primary, mut again, mut flags, mut active) = (0, 0, 0, 0);
    ok(unsafe { device::cuDevicePrimaryCtxRetain(&mut primary, 0) });
    ok(unsafe { device::cuDevicePrimaryCtxRetain(&mut again, 0) });
    ok(unsafe { device::cuDevicePrimaryCtxRelease_v2(0) });
    ok(unsafe { device::cuDevicePrimaryCtxGetState(0, &mut flags, &mut active) });
    assert_eq!((primary, active), (again, 1));
    ok(unsafe { device::cuDevicePrimaryCtxRelease_v2(0) });
    ok(unsafe { device::cuDevicePrimaryCtxGetState(0, &mut flags, &mut active) });
    assert_eq!(active, 0);
    assert_eq!(unsafe { device::cuDevicePrimaryCtxRelease_v2(0) }, INVALID_CONTEXT);
    let mut ordinal = -1;
    assert_eq!(unsafe { device::cuDeviceGet(&mut ordinal, 1) }, 101, "there is one device");
}

/// The names and numbers of `cuda.h`, where nvcc's headers are.
#[test]
fn every_error_of_the_header_has_its_name() {
    let header = nvcc().parent().and_then(|bin| bin.parent()).map(|root| root.join("include/cuda.h"));
    let text = header.and_then(|path| std::fs::read_to_string(path).ok()).expect("cuda.h lies beside nvcc");
    let start = text.find("typedef enum cudaError_enum").expect("it has the errors");
    let block = &text[start..start + text[start..].find("} CUresult").expect("they end")];
    let mut count = 0;
    for line in block.lines().map(str::trim).filter(|line| line.starts_with("CUDA_")) {
        let (name, number) = line.trim_end_matches(',').split_once('=').expect("each has a number");
        let code: u32 = number.trim().parse().expect("it is a number");
        let (mut given, mut text) = (std::ptr::null(), std::ptr::null());
        assert_eq!(unsafe { device::cuGetErrorName(code, &mut given) }, 0, "{name}");
        assert_eq!(unsafe { device::cuGetErrorString(code, &mut text) }, 0, "{name}");
        assert_eq!(unsafe { CStr::from_ptr(given) }.to_str(), Ok(name.trim()));
        assert!(!unsafe { CStr::from_ptr(text) }.to_bytes().is_empty());
        count += 1;
    }
    assert!(count > 100, "only {count} errors in the header");
    let mut given = c"".as_ptr();
    assert_eq!(unsafe { device::cuGetErrorName(12345, &mut given) }, INVALID_VALUE);
    assert!(given.is_null());
}

#[test]
fn launches_in_every_form() {
    let gpu = basics();
    let n = 100i32;
    let (a, b, out) = (gpu.upload(&[1f32; 100]), gpu.upload(&[2f32; 100]), gpu.alloc(400));
    let function = gpu.function("vector_add");
    // Parameters laid out in a buffer: three pointers and an int.
    let mut buffer = [out, a, b].iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<u8>>();
    buffer.extend(n.to_le_bytes());
    let size = buffer.len();
    // CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE and _END are numbers in pointers' places.
    let at = |size: *const usize| [1usize, buffer.as_ptr().expose_provenance(), 2, size.expose_provenance(), 0];
    let null = std::ptr::null();
    let extra = |size: *const usize| unsafe {
        launch::cuLaunchKernel(function, 1, 1, 1, 128, 1, 1, 0, 0, null, at(size).as_ptr().cast())
    };
    ok(extra(&size));
    assert_eq!(gpu.download::<f32>(out, 100), [3f32; 100]);
    assert_eq!(extra(&(size - 4)), INVALID_VALUE, "the buffer is too short");
    // No parameters at all, though the kernel has some.
    assert_eq!(unsafe { launch::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, 0, null, null) }, INVALID_VALUE);
    // Grid and block limits, and the kernel's own.
    let shape = |grid: [u32; 3], block: [u32; 3]| gpu.try_launch("vector_add", grid, block, 0, args![out, a, b, 0], 0);
    for (grid, block, code) in [
        ([1, 65535, 1], [1, 1, 1], 0),
        ([1, 65536, 1], [1, 1, 1], INVALID_VALUE),
        ([1, 1, 65536], [1, 1, 1], INVALID_VALUE),
        ([0, 1, 1], [1, 1, 1], INVALID_VALUE),
        ([1, 1, 1], [1, 1, 64], 0),
        ([1, 1, 1], [1, 1, 65], INVALID_VALUE),
        ([1, 1, 1], [32, 32, 2], INVALID_VALUE),
    ] {
        assert_eq!(shape(grid, block), code, "{grid:?} {block:?}");
    }
    ok(gpu.sync());
    let mut name = std::ptr::null();
    ok(unsafe { module::cuFuncGetName(&mut name, function) });
    assert_eq!(unsafe { CStr::from_ptr(name) }, c"vector_add");
}

/// `CUlaunchConfig` and an attribute, by their layout in `cuda.h`.
#[test]
fn launches_with_attributes() {
    let gpu = Gpu::new(&compile("groups", "sm_80", &[]), checked());
    let data = gpu.upload(&(0..64).collect::<Vec<i32>>());
    let rounds = 1i32;
    let params: [*const c_void; 2] = [(&raw const data).cast(), (&raw const rounds).cast()];
    let with = |id: u32, value: [u32; 3]| {
        let mut attribute = [0u32; 18];
        attribute[0] = id;
        attribute[2..5].copy_from_slice(&value);
        #[repr(C)]
        struct Config([u32; 7], u64, *const c_void, u32);
        let config = Config([2, 1, 1, 32, 1, 1, 0], 0, attribute.as_ptr().cast(), 1);
        let config: *const launch::LaunchConfig = (&raw const config).cast();
        unsafe { launch::cuLaunchKernelEx(config, gpu.function("whole_grid"), params.as_ptr(), std::ptr::null()) }
    };
    const COOPERATIVE: u32 = 2;
    const CLUSTER: u32 = 4;
    ok(with(COOPERATIVE, [1, 0, 0]));
    assert_eq!(gpu.download::<i32>(data, 64), (0..64).map(|i| (i + 1) % 64 + 1).collect::<Vec<i32>>());
    assert_eq!(with(CLUSTER, [2, 1, 1]), NOT_SUPPORTED);
    assert_eq!(with(99, [0; 3]), NOT_SUPPORTED);
}

#[test]
fn memory_of_every_kind() {
    let gpu = basics();
    // Rows of 100 bytes in pitched memory, copied to and fro without what lies between.
    let (mut pitched, mut pitch) = (0, 0);
    ok(unsafe { memory::cuMemAllocPitch_v2(&mut pitched, &mut pitch, 100, 3, 4) });
    assert!(pitch >= 100 && pitch % 512 == 0);
    let rows: Vec<u8> = (0..300u32).map(|i| (i % 251) as u8).collect();
    let copy = |from: (u32, u64, usize), to: (u32, u64, usize)| {
        // CUDA_MEMCPY2D: x, y, type, host, device, array, pitch; the same for the target; width, height.
        let side =
            |(kind, address, pitch): (u32, u64, usize)| [0, 0, u64::from(kind), address, address, 0, pitch as u64];
        let words: Vec<u64> = side(from).into_iter().chain(side(to)).chain([100, 3]).collect();
        unsafe { rectangle::cuMemcpy2D_v2(words.as_ptr().cast()) }
    };
    let mut back = vec![0u8; 300];
    ok(copy((1, rows.as_ptr() as u64, 100), (2, pitched, pitch)));
    ok(copy((2, pitched, pitch), (1, back.as_mut_ptr() as u64, 100)));
    assert_eq!(back, rows);
    // Sets of one, two and four bytes, and of a rectangle.
    let words = gpu.alloc(64);
    ok(unsafe { memory::cuMemsetD8_v2(words, 0xab, 64) });
    ok(unsafe { memory::cuMemsetD16_v2(words + 8, 0x1234, 2) });
    ok(unsafe { memory::cuMemsetD32_v2(words + 16, 0xdead_beef, 3) });
    ok(unsafe { rectangle::cuMemsetD2D8_v2(words + 32, 16, 7, 3, 2) });
    let x = 0xabab_abab;
    let want =
        [x, x, 0x1234_1234, x, 0xdead_beef, 0xdead_beef, 0xdead_beef, x, 0xab07_0707, x, x, x, 0xab07_0707, x, x, x];
    assert_eq!(gpu.download::<u32>(words, 16), want);
    assert_eq!(unsafe { memory::cuMemsetD32_v2(words + 2, 0, 1) }, INVALID_VALUE, "misaligned");
    assert_eq!(unsafe { memory::cuMemsetD8_v2(words, 0, 65) }, INVALID_VALUE, "too long");
    // What is what, by its address.
    let (mut pinned, mut managed) = (0, 0);
    ok(unsafe { memory::cuMemHostAlloc(&mut pinned, 100, 0) });
    ok(unsafe { memory::cuMemAllocManaged(&mut managed, 100, 1) });
    let kind = |address: u64| {
        let mut kind = 0u32;
        ok(unsafe { memory::cuPointerGetAttribute((&raw mut kind).cast(), 2, address) });
        kind
    };
    assert_eq!([kind(words + 5), kind(pinned), kind(managed)], [2, 1, 2]);
    let (mut base, mut bytes) = (0, 0);
    ok(unsafe { memory::cuMemGetAddressRange_v2(&mut base, &mut bytes, words + 5) });
    assert_eq!((base, bytes), (words, 64));
    let stray = 0x1234usize;
    assert_eq!(unsafe { memory::cuPointerGetAttribute((&raw mut bytes).cast(), 2, stray as u64) }, INVALID_VALUE);
    // Host and device see managed and pinned memory at one address; the host cannot see the device's.
    unsafe { (managed as *mut i32).write(41) };
    let ones = gpu.upload(&[1f32]);
    gpu.launch("vector_add", 1, 1, args![pinned, ones, ones, 1]);
    ok(gpu.sync());
    assert_eq!(unsafe { (pinned as *const f32).read() }, 2.0);
    assert_eq!(gpu.download::<i32>(managed, 1), [41]);
    assert_eq!(unsafe { memory::cuMemFree_v2(words + 8) }, INVALID_VALUE, "not the start");
    assert_eq!(unsafe { memory::cuMemFree_v2(pinned) }, INVALID_VALUE, "pinned memory is freed by another call");
    ok(unsafe { memory::cuMemFreeHost(pinned) });
    ok(unsafe { memory::cuMemFree_v2(managed) });
    // A pool's attributes are kept.
    let (mut default, mut threshold) = (0, 1u64 << 40);
    ok(unsafe { pool::cuDeviceGetDefaultMemPool(&mut default, 0) });
    ok(unsafe { pool::cuMemPoolSetAttribute(default, 4, (&raw const threshold).cast()) });
    threshold = 0;
    ok(unsafe { pool::cuMemPoolGetAttribute(default, 4, (&raw mut threshold).cast()) });
    assert_eq!(threshold, 1 << 40);
    let (mut of_pool, one) = (0, gpu.stream());
    ok(unsafe { pool::cuMemAllocFromPoolAsync(&mut of_pool, 64, default, one) });
    ok(unsafe { memory::cuMemsetD8Async(of_pool, 1, 64, one) });
    ok(unsafe { pool::cuMemFreeAsync(of_pool, one) });
    ok(unsafe { stream::cuStreamSynchronize(one) });
    assert_eq!(unsafe { pool::cuMemFreeAsync(of_pool, one) }, INVALID_VALUE, "it is gone");
}

#[test]
fn modules_list_their_functions_and_variables() {
    let gpu = Gpu::new(&compile("language", "sm_80", &[]), checked());
    let mut count = 0;
    ok(unsafe { module::cuModuleGetFunctionCount(&mut count, gpu.module()) });
    let mut functions = vec![0u64; count as usize];
    ok(unsafe { module::cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, gpu.module()) });
    let names: Vec<String> = functions
        .iter()
        .map(|&function| {
            let mut name = std::ptr::null();
            ok(unsafe { module::cuFuncGetName(&mut name, function) });
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        })
        .collect();
    assert!(names.contains(&"switches".to_owned()) && names.is_sorted(), "{names:?}");
    assert_eq!(gpu.global("weights").1, 16);
    let mut address = 0;
    let absent =
        unsafe { module::cuModuleGetGlobal_v2(&mut address, std::ptr::null_mut(), gpu.module(), c"absent".as_ptr()) };
    assert_eq!(absent, 500);
    // Variables beyond what a module may have are refused before any is placed.
    let large = c".version 8.0\n.target sm_80\n.address_size 64\n.global .b8 a[1073741824];\n.global .b8 b[1];\n";
    assert_eq!(unsafe { module::cuModuleLoadData(&mut address, large.as_ptr().cast()) }, 2, "out of memory");
    // Unloaded, its functions are gone.
    ok(unsafe { module::cuModuleUnload(gpu.module()) });
    let mut version = 0;
    assert_eq!(unsafe { module::cuFuncGetAttribute(&mut version, 5, functions[0]) }, 400);
}
