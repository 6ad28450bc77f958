//! Libraries and kernels without a context, attributes of streams, copies as nodes of graphs.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicU8, Ordering};

use cudasim::driver::api::{device, graph, launch, library, module, node, rectangle, stream};

use crate::common::{Gpu, checked, compile, ok};

#[test]
fn the_loading_mode_needs_no_context() {
    let _gpu = Gpu::empty(checked());
    let mut context = 0;
    ok(unsafe { device::cuCtxPopCurrent_v2(&mut context) });
    let mut mode = 0;
    ok(unsafe { module::cuModuleGetLoadingMode(&mut mode) });
    assert_eq!(mode, 1);
    ok(unsafe { device::cuCtxPushCurrent_v2(context) });
}

#[test]
fn kernels_of_a_library_are_launched_like_functions() {
    let gpu = Gpu::empty(checked());
    let text = CString::new(compile("basics", "sm_80", &[])).expect("PTX has no NUL");
    let (mut handle, mut kernel, mut count) = (0, 0, 0);
    let (none, nothing) = (std::ptr::null(), std::ptr::null_mut());
    ok(unsafe { library::cuLibraryLoadData(&mut handle, text.as_ptr().cast(), none, nothing, 0, none, nothing, 0) });
    ok(unsafe { library::cuLibraryGetKernel(&mut kernel, handle, c"vector_add".as_ptr()) });
    ok(unsafe { library::cuLibraryGetKernelCount(&mut count, handle) });
    let mut kernels = vec![0u64; count as usize];
    ok(unsafe { library::cuLibraryEnumerateKernels(kernels.as_mut_ptr(), count, handle) });
    assert!(kernels.contains(&kernel));
    let (mut function, mut owner, mut name) = (0, 0, std::ptr::null::<c_char>());
    ok(unsafe { library::cuKernelGetFunction(&mut function, kernel) });
    ok(unsafe { library::cuKernelGetLibrary(&mut owner, kernel) });
    ok(unsafe { library::cuKernelGetName(&mut name, kernel) });
    assert_eq!((owner, unsafe { CStr::from_ptr(name) }), (handle, c"vector_add"));
    let (mut offset, mut bytes, mut threads) = (0, 0, 0);
    ok(unsafe { library::cuKernelGetParamInfo(kernel, 3, &mut offset, &mut bytes) });
    assert_eq!((offset, bytes), (24, 4));
    assert_eq!(unsafe { library::cuKernelGetParamInfo(kernel, 4, &mut offset, &mut bytes) }, 1);
    ok(unsafe { library::cuKernelGetAttribute(&mut threads, 0, kernel, 0) });
    assert_eq!(threads, 1024);
    let (out, ones, count) = (gpu.alloc(128), gpu.upload(&[1f32; 32]), 32i32);
    let params =
        [(&raw const out).cast(), (&raw const ones).cast(), (&raw const ones).cast(), (&raw const count).cast()];
    ok(unsafe { launch::cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, 0, params.as_ptr(), std::ptr::null()) });
    assert_eq!(gpu.download::<f32>(out, 32), [2.0; 32]);
    ok(unsafe { library::cuLibraryUnload(handle) });
    assert_ne!(unsafe { library::cuLibraryGetKernelCount(&mut 0, handle) }, 0);
}

#[test]
fn a_stream_keeps_its_attributes() {
    let gpu = Gpu::empty(checked());
    let (one, two) = (gpu.stream(), gpu.stream());
    let value = [7u64, 1, 2, 3, 4, 5, 6, 8];
    let mut got = [1u64; 8];
    ok(unsafe { stream::cuStreamGetAttribute(one, 1, &mut got) });
    assert_eq!(got, [0; 8]);
    ok(unsafe { stream::cuStreamSetAttribute(one, 1, &value) });
    ok(unsafe { stream::cuStreamCopyAttributes(two, one) });
    ok(unsafe { stream::cuStreamGetAttribute(two, 1, &mut got) });
    assert_eq!(got, value);
}

#[test]
fn a_capture_is_known_by_its_number() {
    let gpu = Gpu::empty(checked());
    let stream = gpu.stream();
    let info = || {
        let (mut status, mut id) = (9, 9);
        ok(unsafe { stream::cuStreamGetCaptureInfo(stream, &mut status, &mut id) });
        (status, id)
    };
    assert_eq!(info(), (0, 0));
    ok(unsafe { stream::cuStreamBeginCapture_v2(stream, 0) });
    let (status, id) = info();
    assert!(status == 1 && id != 0);
    // A thread that has said that it knows what it does may allocate meanwhile.
    let (mut mode, mut address) = (2, 0);
    ok(unsafe { stream::cuThreadExchangeStreamCaptureMode(&mut mode) });
    ok(unsafe { cudasim::driver::api::memory::cuMemAlloc_v2(&mut address, 64) });
    ok(unsafe { stream::cuThreadExchangeStreamCaptureMode(&mut mode) });
    assert_eq!(mode, 2);
    let mut captured = 0;
    ok(unsafe { stream::cuStreamEndCapture(stream, &mut captured) });
    assert_eq!(info(), (0, 0));
    gpu.free(address);
}

/// A box of two rows of 8 bytes, from memory of the program that is read when the graph runs.
#[test]
fn a_copy_is_a_node_of_a_graph() {
    let gpu = Gpu::new(&compile("basics", "sm_80", &[]), checked());
    let target = gpu.upload(&[0u8; 64]);
    let rows = [[1u8; 16], [2; 16]].map(|row| row.map(AtomicU8::new));
    let (mut made, mut copy, mut exec) = (0, 0, 0);
    ok(unsafe { graph::cuGraphCreate(&mut made, 0) });
    let params = rectangle::Copy3d::between(rows.as_ptr() as usize, 16, target as usize, 32, (8, 2, 1));
    ok(unsafe { node::cuGraphAddMemcpyNode(&mut copy, made, std::ptr::null(), 0, &params, 0) });
    let mut kind = 9;
    ok(unsafe { graph::cuGraphNodeGetType(copy, &mut kind) });
    assert_eq!(kind, 1);
    ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut exec, made, 0) });
    rows[1][0].store(9, Ordering::SeqCst);
    ok(unsafe { graph::cuGraphLaunch(exec, 0) });
    ok(gpu.sync());
    let got = gpu.download::<u8>(target, 64);
    assert_eq!(
        (&got[..9], &got[32..41]),
        ([1, 1, 1, 1, 1, 1, 1, 1, 0].as_slice(), [9, 2, 2, 2, 2, 2, 2, 2, 0].as_slice())
    );
}
