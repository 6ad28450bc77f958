//! Graphs made by hand: nodes, what they follow, new parameters, copies of graphs; and callbacks of streams.

use std::ffi::c_void;

use cudasim::driver::api::{graph, node, stream};
use cudasim::driver::settings::Settings;

use crate::common::{Gpu, checked, compile, ok};

const INVALID_VALUE: u32 = 1;

/// `CUDA_KERNEL_NODE_PARAMS_v2` of a launch of `fill(out, value, n)` over 64 threads.
#[repr(C)]
struct Fill {
    function: u64,
    shape: [u32; 7],
    params: *const *const c_void,
    extra: *const c_void,
    more: [u64; 2],
}

fn fill<R>(gpu: &Gpu, out: u64, value: i32, count: i32, then: impl FnOnce(*const node::KernelParams) -> R) -> R {
    let params: [*const c_void; 3] = [(&raw const out).cast(), (&raw const value).cast(), (&raw const count).cast()];
    let function = gpu.function("fill");
    let (params, extra) = (params.as_ptr(), std::ptr::null());
    let params = Fill { function, shape: [1, 1, 1, 64, 1, 1, 0], params, extra, more: [0; 2] };
    then((&raw const params).cast())
}

extern "C" fn count(counter: *mut c_void) {
    unsafe { *counter.cast::<u32>() += 1 };
}

#[test]
fn nodes_added_by_hand_run_after_what_they_follow() {
    // A graph of a set, then a kernel over half of it, then a host function: right in any order that is legal.
    for seed in 1..12 {
        let gpu = Gpu::new(&compile("bugs", "sm_80", &[]), Settings { seed, ..checked() });
        let (data, one) = (gpu.alloc(256), gpu.stream());
        let mut made = 0;
        ok(unsafe { graph::cuGraphCreate(&mut made, 0) });
        let (mut set, mut kernel, mut host, mut empty) = (0, 0, 0, 0);
        let none = std::ptr::null();
        // CUDA_MEMSET_NODE_PARAMS: to, pitch, value and element size, width, height.
        let words = [data, 0, 5 | 4 << 32, 64, 1];
        ok(unsafe { node::cuGraphAddMemsetNode(&mut set, made, none, 0, words.as_ptr().cast(), 0) });
        ok(unsafe { node::cuGraphAddEmptyNode(&mut empty, made, &set, 1) });
        fill(&gpu, data, 6, 32, |params| {
            ok(unsafe { node::cuGraphAddKernelNode_v2(&mut kernel, made, &empty, 1, params) });
        });
        let mut counter = 0u32;
        let params = [count as *const () as usize, (&raw mut counter) as usize];
        ok(unsafe { node::cuGraphAddHostNode(&mut host, made, [kernel, set].as_ptr(), 2, params.as_ptr().cast()) });
        // A node of another graph, or the same one twice, is nothing to follow.
        let mut other = 0;
        ok(unsafe { graph::cuGraphCreate(&mut other, 0) });
        assert_eq!(unsafe { node::cuGraphAddEmptyNode(&mut empty, other, &set, 1) }, INVALID_VALUE);
        assert_eq!(unsafe { node::cuGraphAddEmptyNode(&mut empty, made, [set, set].as_ptr(), 2) }, INVALID_VALUE);
        let (mut list, mut length, mut kind) = ([0u64; 4], 4, 9);
        ok(unsafe { node::cuGraphGetRootNodes(made, list.as_mut_ptr(), &mut length) });
        assert_eq!((length, list[0]), (1, set));
        length = 4;
        ok(unsafe { node::cuGraphNodeGetDependencies(host, list.as_mut_ptr(), &mut length) });
        assert_eq!((length, &list[..2]), (2, &[kernel, set][..]));
        ok(unsafe { graph::cuGraphNodeGetType(host, &mut kind) });
        assert_eq!(kind, 3, "CU_GRAPH_NODE_TYPE_HOST");
        let (mut clone, mut exec) = (0, 0);
        ok(unsafe { node::cuGraphClone(&mut clone, made) });
        ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut exec, clone, 0) });
        let run = |exec: u64| {
            ok(unsafe { graph::cuGraphLaunch(exec, one) });
            ok(unsafe { stream::cuStreamSynchronize(one) });
            let got = gpu.download::<i32>(data, 64);
            (got[31], got[32])
        };
        assert_eq!((run(exec), counter), ((6, 5), 1));
        // An instance's node gets new parameters; the graph's own is another.
        fill(&gpu, data, 7, 33, |params| {
            ok(unsafe { node::cuGraphExecKernelNodeSetParams_v2(exec, kernel, params) });
            assert_eq!(unsafe { node::cuGraphExecKernelNodeSetParams_v2(exec, set, params) }, INVALID_VALUE);
        });
        assert_eq!((run(exec), counter), ((7, 7), 2));
        fill(&gpu, data, 8, 1, |params| ok(unsafe { node::cuGraphKernelNodeSetParams_v2(kernel, params) }));
        let mut second = 0;
        ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut second, made, 0) });
        assert_eq!((run(second), run(exec)), ((5, 5), (7, 7)));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("graph.dot");
        let name = std::ffi::CString::new(path.to_str().expect("a path of text")).expect("no NUL");
        ok(unsafe { node::cuGraphDebugDotPrint(made, name.as_ptr(), 0) });
        let text = std::fs::read_to_string(path).expect("the file is written");
        assert!(text.contains("label=\"fill\"") && text.contains("n0 -> n1;") && text.contains("n2 -> n3;"), "{text}");
    }
}

extern "C" fn note(stream: u64, status: u32, seen: *mut c_void) {
    unsafe { *seen.cast::<(u64, u32)>() = (stream, status) };
}

#[test]
fn callbacks_get_their_stream_and_cannot_be_captured() {
    let gpu = Gpu::empty(checked());
    let (one, mut seen, mut made) = (gpu.stream(), (0u64, 9u32), 0);
    let data: *mut c_void = (&raw mut seen).cast();
    assert_eq!(unsafe { stream::cuStreamAddCallback(one, Some(note), data, 1) }, INVALID_VALUE);
    assert_eq!(unsafe { stream::cuStreamAddCallback(one, None, data, 0) }, INVALID_VALUE);
    ok(unsafe { stream::cuStreamAddCallback(one, Some(note), data, 0) });
    ok(unsafe { stream::cuStreamSynchronize(one) });
    assert_eq!(seen, (one, 0));
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, 2) });
    assert_eq!(unsafe { stream::cuStreamAddCallback(one, Some(note), data, 0) }, 900);
    assert_eq!(unsafe { stream::cuStreamEndCapture(one, &mut made) }, 901);
}
