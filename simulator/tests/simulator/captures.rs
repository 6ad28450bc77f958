//! Stream capture: what its modes refuse, how captures fork and join, memory of graphs.

use cudasim::driver::api::{device, event, graph, memory, pool, stream};
use cudasim::driver::settings::Settings;

use crate::args;
use crate::common::{Gpu, checked, compile, ok};

fn bugs(seed: u64) -> Gpu {
    Gpu::new(&compile("bugs", "sm_80", &[]), Settings { seed, ..checked() })
}

const INVALID_VALUE: u32 = 1;
const UNSUPPORTED: u32 = 900;
const INVALIDATED: u32 = 901;

const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;

#[test]
fn captures_refuse_what_their_mode_says() {
    let gpu = bugs(1);
    let one = gpu.stream();
    let mut graph = 0;
    // An allocation by this thread or another while a capture of each mode is under way here.
    let mut context = 0;
    ok(unsafe { device::cuCtxGetCurrent(&mut context) });
    let allocate = || {
        let mut address = 0;
        unsafe { memory::cuMemAlloc_v2(&mut address, 64) }
    };
    let elsewhere = || {
        std::thread::spawn(move || {
            ok(unsafe { device::cuCtxSetCurrent(context) });
            let mut address = 0;
            unsafe { memory::cuMemAlloc_v2(&mut address, 64) }
        })
        .join()
        .expect("the thread ends")
    };
    for (mode, here, there) in [(GLOBAL, UNSUPPORTED, UNSUPPORTED), (THREAD_LOCAL, UNSUPPORTED, 0), (RELAXED, 0, 0)] {
        for (code, other_thread) in [(here, false), (there, true)] {
            ok(unsafe { stream::cuStreamBeginCapture_v2(one, mode) });
            let got = if other_thread { elsewhere() } else { allocate() };
            assert_eq!(got, code, "mode {mode}");
            let ended = unsafe { stream::cuStreamEndCapture(one, &mut graph) };
            assert_eq!(ended, if code == 0 { 0 } else { INVALIDATED }, "mode {mode}");
        }
    }
    // Only the thread that began a capture ends it, unless it is relaxed.
    for (mode, code) in [(THREAD_LOCAL, 908), (RELAXED, 0)] {
        ok(unsafe { stream::cuStreamBeginCapture_v2(one, mode) });
        let other = std::thread::spawn(move || {
            ok(unsafe { device::cuCtxSetCurrent(context) });
            let mut graph = 0;
            unsafe { stream::cuStreamEndCapture(one, &mut graph) }
        });
        assert_eq!(other.join().expect("the thread ends"), code);
        if code != 0 {
            ok(unsafe { stream::cuStreamEndCapture(one, &mut graph) });
        }
    }
    assert_eq!(unsafe { stream::cuStreamEndCapture(one, &mut graph) }, 401, "nothing is being captured");
    assert_eq!(unsafe { stream::cuStreamBeginCapture_v2(one, 3) }, INVALID_VALUE);
    assert_eq!(unsafe { stream::cuStreamBeginCapture_v2(0, RELAXED) }, UNSUPPORTED, "the legacy stream");
    // Asking for an event is not allowed either.
    let mut other = 0;
    ok(unsafe { event::cuEventCreate(&mut other, 0) });
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, THREAD_LOCAL) });
    assert_eq!(unsafe { event::cuEventQuery(other) }, UNSUPPORTED);
    assert_eq!(unsafe { stream::cuStreamEndCapture(one, &mut graph) }, INVALIDATED);
    // The stream being captured cannot be waited for in any mode.
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, RELAXED) });
    assert_eq!(unsafe { stream::cuStreamBeginCapture_v2(one, RELAXED) }, 401);
    assert_eq!(unsafe { stream::cuStreamSynchronize(one) }, UNSUPPORTED);
    let mut status = 0;
    ok(unsafe { stream::cuStreamIsCapturing(one, &mut status) });
    assert_eq!(status, 2, "CU_STREAM_CAPTURE_STATUS_INVALIDATED");
    assert_eq!(unsafe { stream::cuStreamEndCapture(one, &mut graph) }, INVALIDATED);
    assert_eq!(graph, 0);
}

#[test]
fn captures_join_what_they_fork() {
    let gpu = bugs(1);
    let (one, two, data) = (gpu.stream(), gpu.stream(), gpu.upload(&[0i32; 64]));
    let (mut forked, mut joined, mut graph) = (0, 0, 0);
    ok(unsafe { event::cuEventCreate(&mut forked, 2) });
    ok(unsafe { event::cuEventCreate(&mut joined, 2) });
    let fork = |join: bool| {
        ok(unsafe { stream::cuStreamBeginCapture_v2(one, RELAXED) });
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 1, 64], one));
        ok(unsafe { event::cuEventRecord(forked, one) });
        ok(unsafe { stream::cuStreamWaitEvent(two, forked, 0) });
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 2, 64], two));
        if join {
            ok(unsafe { event::cuEventRecord(joined, two) });
            ok(unsafe { stream::cuStreamWaitEvent(one, joined, 0) });
        }
    };
    fork(false);
    // An event of a capture is no event for the host, and the fork's stream does not end what it did not begin.
    assert_eq!(unsafe { event::cuEventSynchronize(forked) }, 907);
    assert_eq!(unsafe { stream::cuStreamEndCapture(two, &mut graph) }, 903);
    assert_eq!(unsafe { stream::cuStreamEndCapture(one, &mut graph) }, 904, "the fork was not joined");
    fork(true);
    ok(unsafe { stream::cuStreamEndCapture(one, &mut graph) });
    let (mut nodes, mut count, mut kind) = ([0u64; 4], 4, 9);
    ok(unsafe { graph::cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count) });
    assert_eq!(count, 2);
    for &node in &nodes[..2] {
        ok(unsafe { graph::cuGraphNodeGetType(node, &mut kind) });
        assert_eq!(kind, 0, "CU_GRAPH_NODE_TYPE_KERNEL");
    }
    // Uncaptured work cannot be waited for in a capture.
    let mut before = 0;
    ok(unsafe { event::cuEventCreate(&mut before, 2) });
    ok(unsafe { event::cuEventRecord(before, two) });
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, RELAXED) });
    assert_eq!(unsafe { stream::cuStreamWaitEvent(one, before, 0) }, 905);
    // A graph launched in a capture is part of what is captured.
    let mut exec = 0;
    ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut exec, graph, 0) });
    ok(unsafe { graph::cuGraphLaunch(exec, one) });
    ok(gpu.try_launch("fill", [1, 1, 1], [32, 1, 1], 0, args![data, 3, 32], one));
    let mut outer = 0;
    ok(unsafe { stream::cuStreamEndCapture(one, &mut outer) });
    let mut whole = 0;
    ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut whole, outer, 0) });
    // The graphs may go; their instances stay.
    ok(unsafe { graph::cuGraphDestroy(graph) });
    ok(unsafe { graph::cuGraphDestroy(outer) });
    ok(unsafe { graph::cuGraphLaunch(whole, one) });
    ok(unsafe { stream::cuStreamSynchronize(one) });
    let want: Vec<i32> = (0..64).map(|i| if i < 32 { 3 } else { 2 }).collect();
    assert_eq!(gpu.download::<i32>(data, 64), want);
    for flags in [16, 5] {
        assert_eq!(unsafe { graph::cuGraphInstantiateWithFlags(&mut whole, exec, flags) }, INVALID_VALUE);
    }
}

/// What a graph allocates is new at each launch, and goes with the last of its instances.
#[test]
fn memory_of_a_graph() {
    let gpu = bugs(1);
    let (one, out, mut graph, mut exec) = (gpu.stream(), gpu.alloc(256), 0, 0);
    let free = || {
        let (mut free, mut total) = (0, 0);
        ok(unsafe { memory::cuMemGetInfo_v2(&mut free, &mut total) });
        free
    };
    let before = free();
    let mut scratch = 0;
    ok(unsafe { stream::cuStreamBeginCapture_v2(one, THREAD_LOCAL) });
    ok(unsafe { pool::cuMemAllocAsync(&mut scratch, 256, one) });
    // It is read before this launch of the graph has written it.
    ok(gpu.try_launch("read_all", [1, 1, 1], [64, 1, 1], 0, args![out, scratch, 64], one));
    ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![scratch, 1, 64], one));
    ok(unsafe { pool::cuMemFreeAsync(scratch, one) });
    ok(unsafe { stream::cuStreamEndCapture(one, &mut graph) });
    ok(unsafe { graph::cuGraphInstantiateWithFlags(&mut exec, graph, 1) });
    ok(unsafe { graph::cuGraphDestroy(graph) });
    assert!(free() < before);
    // Written from outside, it is old contents to the graph.
    gpu.write(scratch, &[1i32; 64]);
    ok(unsafe { graph::cuGraphLaunch(exec, one) });
    assert_ne!(unsafe { stream::cuStreamSynchronize(one) }, 0);
    assert!(gpu.report().fault.is_some_and(|f| f.to_string().contains("nothing wrote")));
    ok(unsafe { graph::cuGraphExecDestroy(exec) });
    cudasim::driver::reset();
    assert_eq!(free(), before);
}
