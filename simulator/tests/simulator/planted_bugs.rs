//! Bugs that the checks must find, each by its own check and none by the others, in a report that names the place.

use cudasim::checks::Checks;
use cudasim::driver::api::{device, event, memory, module, pool, stream};
use cudasim::driver::settings::Settings;
use cudasim::error::{Fault, FaultKind};

use crate::args;
use crate::common::{Gpu, checked, compile, ok};

fn bugs(settings: Settings) -> Gpu {
    Gpu::new(&compile("bugs", "sm_80", &[]), settings)
}

fn only(list: &str) -> Settings {
    Settings { checks: Checks::parse(list).expect("the list is right"), ..Settings::default() }
}

/// Every check but one.
fn without(check: &str) -> Settings {
    let others = ["mem", "race", "init", "sync", "leak"].into_iter().filter(|&c| c != check);
    only(&others.collect::<Vec<_>>().join(","))
}

fn fault(gpu: &Gpu) -> Fault {
    assert_ne!(gpu.sync(), 0);
    gpu.report().fault.expect("a fault is reported")
}

/// Whether `bugs.cu` marks a line as the place of a bug.
fn is_place_of(bug: &str, line: u32) -> bool {
    let text = include_str!("../cuda/bugs.cu").lines().nth(line as usize - 1).unwrap_or_default();
    text.ends_with(&format!("// bug: {bug}"))
}

struct Bug {
    kernel: &'static str,
    check: &'static str,
    kind: FaultKind,
    /// What the message says.
    message: &'static str,
    /// Where the report points: block and thread; `None` where it is any of several.
    place: Option<(u32, u32)>,
    run: fn(&Gpu),
}

const BUGS: [Bug; 11] = [
    Bug {
        kernel: "off_by_one",
        check: "mem",
        kind: FaultKind::IllegalAddress,
        message: "0 bytes past the end of the allocation",
        place: Some((3, 4)),
        run: |gpu| gpu.launch("off_by_one", 4, 32, args![gpu.alloc(4 * 100), 100]),
    },
    Bug {
        kernel: "fill",
        check: "mem",
        kind: FaultKind::UseAfterFree,
        message: "that was freed",
        place: Some((0, 0)),
        run: |gpu| {
            let data = gpu.alloc(256);
            gpu.free(data);
            gpu.launch("fill", 1, 64, args![data, 1, 64]);
        },
    },
    Bug {
        kernel: "missing_syncthreads",
        check: "race",
        kind: FaultKind::Race,
        message: "with nothing to order them",
        place: None,
        run: |gpu| gpu.launch("missing_syncthreads", 1, 64, args![gpu.alloc(256)]),
    },
    Bug {
        kernel: "missing_syncwarp",
        check: "race",
        kind: FaultKind::Race,
        message: "read after write at shared",
        place: Some((0, 0)),
        run: |gpu| gpu.launch("missing_syncwarp", 1, 32, args![gpu.alloc(128)]),
    },
    Bug {
        kernel: "reused_buffer",
        check: "race",
        kind: FaultKind::Race,
        message: "with nothing to order them",
        place: None,
        run: |gpu| gpu.launch("reused_buffer", 1, 64, args![gpu.alloc(256), 3]),
    },
    Bug {
        kernel: "global_neighbour",
        check: "race",
        kind: FaultKind::Race,
        message: "with nothing to order them",
        place: None,
        run: |gpu| gpu.launch("global_neighbour", 1, 64, args![gpu.upload(&[0i32; 192])]),
    },
    Bug {
        kernel: "shared_counter",
        check: "race",
        kind: FaultKind::Race,
        message: "with nothing to order them",
        place: None,
        run: |gpu| gpu.launch("shared_counter", 2, 1, args![gpu.upload(&[0i32])]),
    },
    Bug {
        kernel: "read_all",
        check: "init",
        kind: FaultKind::Uninitialized,
        message: "4 bytes at 0x",
        place: Some((0, 32)),
        run: |gpu| {
            let (middle, out) = (gpu.alloc(256), gpu.alloc(256));
            gpu.launch("half_output", 1, 64, args![middle, 64]);
            ok(gpu.sync());
            gpu.launch("read_all", 1, 64, args![out, middle, 64]);
        },
    },
    Bug {
        kernel: "unwritten_shared",
        check: "init",
        kind: FaultKind::Uninitialized,
        message: "4 bytes at shared 0x80",
        place: Some((0, 32)),
        run: |gpu| gpu.launch("unwritten_shared", 1, 64, args![gpu.alloc(256)]),
    },
    Bug {
        kernel: "divergent_barrier",
        check: "sync",
        kind: FaultKind::Barrier,
        message: "only lanes 0xaaaaaaaa of 0xffffffff reach this barrier",
        place: Some((0, 1)),
        run: |gpu| gpu.launch("divergent_barrier", 1, 64, args![gpu.alloc(256)]),
    },
    Bug {
        kernel: "inactive_shuffle",
        check: "sync",
        kind: FaultKind::Barrier,
        message: "shuffles from lane",
        place: None,
        run: |gpu| gpu.launch("inactive_shuffle", 1, 32, args![gpu.alloc(128), gpu.upload(&[1i32; 32])]),
    },
];

#[test]
fn each_bug_is_found_by_its_check_and_told_where_it_is() {
    for bug in &BUGS {
        let gpu = bugs(only(bug.check));
        (bug.run)(&gpu);
        let fault = fault(&gpu);
        let text = fault.to_string();
        assert_eq!(fault.kind, bug.kind, "{text}");
        assert_eq!(fault.kind.check(), bug.check);
        assert!(text.contains(bug.message), "{}: {text}", bug.kernel);
        let place = fault.place.expect("a place is known");
        assert_eq!(place.kernel, bug.kernel);
        // An intrinsic is a function of a header, inlined: the call is what the program's author wrote.
        let (file, line) = place.caller.or(place.source).expect("-lineinfo was given");
        assert!(file.ends_with("bugs.cu"), "{file}");
        assert!(is_place_of(bug.kernel, line), "{text}");
        if let Some((block, thread)) = bug.place {
            assert_eq!((place.block, place.thread), ([block, 0, 0], [thread, 0, 0]), "{text}");
        }
    }
}

/// The other checks have nothing to say, and the program goes on as it would on hardware.
#[test]
fn no_bug_is_found_by_another_check() {
    for bug in &BUGS {
        let gpu = bugs(without(bug.check));
        (bug.run)(&gpu);
        if bug.kernel == "divergent_barrier" {
            // Threads that wait for ever would hang a GPU: that is said whatever is watched.
            assert!(fault(&gpu).to_string().contains("never come"));
            continue;
        }
        assert_eq!(gpu.sync(), 0, "{}: {:?}", bug.kernel, gpu.report().fault.map(|f| f.to_string()));
    }
}

#[test]
fn a_mask_without_the_lane_itself() {
    let gpu = bugs(only("sync"));
    gpu.launch("foreign_mask", 1, 32, args![gpu.alloc(128)]);
    // Lane 0 is named and never comes: that is found first, and by whatever is on.
    assert_eq!(fault(&gpu).kind, FaultKind::Barrier);
}

#[test]
fn missing_cp_async_wait() {
    let ptx = compile("tensor", "sm_80", &["-DFORGET_WAIT"]);
    let product = |gpu: &Gpu| {
        let (a, b) = (gpu.upload(&[0x3f80u16; 64 * 64]), gpu.upload(&[0x3f80u16; 64 * 64]));
        let c = gpu.alloc(4 * 64 * 64);
        gpu.launch("gemm_bf16", 1, 128, args![c, a, b, 64, 64]);
        c
    };
    for (list, kind, message) in [
        ("race", FaultKind::Race, "by a cp.async nobody waited for"),
        ("init", FaultKind::Uninitialized, "16 bytes at shared"),
    ] {
        let gpu = Gpu::new(&ptx, only(list));
        product(&gpu);
        let fault = fault(&gpu);
        assert_eq!(fault.kind, kind);
        assert!(fault.to_string().contains(message) && fault.to_string().contains("ldmatrix"), "{fault}");
    }
    // Without checks the result is simply wrong: the copy is as late as it may be.
    let gpu = Gpu::new(&ptx, only(""));
    let c = product(&gpu);
    assert_ne!(gpu.download::<f32>(c, 1), [64.0]);
    drop(gpu);
    // With the wait there is nothing to find.
    let gpu = Gpu::new(&compile("tensor", "sm_80", &[]), checked());
    let c = product(&gpu);
    assert_eq!(gpu.download::<f32>(c, 64 * 64), [64.0; 64 * 64]);
}

#[test]
fn missing_stream_wait() {
    // The copy on the second stream does not wait for the kernel on the first: some legal order shows it.
    let stale = (1..=16u64).any(|seed| {
        let gpu = bugs(Settings { seed, ..checked() });
        let (data, one, two) = (gpu.upload(&[1i32; 64]), gpu.stream(), gpu.stream());
        let copy = gpu.upload(&[0i32; 64]);
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 7, 64], one));
        ok(unsafe { memory::cuMemcpyDtoDAsync_v2(copy, data, 256, two) });
        ok(unsafe { stream::cuStreamSynchronize(one) });
        ok(unsafe { stream::cuStreamSynchronize(two) });
        gpu.download::<i32>(copy, 1) == [1]
    });
    assert!(stale);
}

#[test]
fn an_order_that_was_asked_for_is_kept() {
    for seed in 1..=16 {
        let gpu = bugs(Settings { seed, ..checked() });
        let (data, one, two) = (gpu.upload(&[1i32; 64]), gpu.stream(), gpu.stream());
        let (copy, mut done) = (gpu.upload(&[0i32; 64]), 0);
        ok(unsafe { event::cuEventCreate(&mut done, 0) });
        ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 7, 64], one));
        ok(unsafe { event::cuEventRecord(done, one) });
        ok(unsafe { stream::cuStreamWaitEvent(two, done, 0) });
        ok(unsafe { memory::cuMemcpyDtoDAsync_v2(copy, data, 256, two) });
        ok(unsafe { stream::cuStreamSynchronize(two) });
        assert_eq!(gpu.download::<i32>(copy, 1), [7]);
    }
}

/// Freed in a stream's order, and used behind that by a kernel of the same stream.
#[test]
fn use_after_a_free_on_a_stream() {
    let gpu = bugs(only("mem"));
    let (one, mut data) = (gpu.stream(), 0);
    ok(unsafe { pool::cuMemAllocAsync(&mut data, 256, one) });
    ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 1, 64], one));
    ok(unsafe { pool::cuMemFreeAsync(data, one) });
    ok(gpu.try_launch("fill", [1, 1, 1], [64, 1, 1], 0, args![data, 2, 64], one));
    assert_eq!(fault(&gpu).kind, FaultKind::UseAfterFree);
}

#[test]
fn shared_memory_beyond_48_kb_needs_the_attribute() {
    let gpu = bugs(checked());
    let out = gpu.alloc(4 * 64);
    let bytes = 49 * 1024;
    let launch = || gpu.try_launch("big_shared", [1, 1, 1], [64, 1, 1], bytes, args![out], 0);
    assert_eq!(launch(), 1);
    assert_eq!(unsafe { module::cuFuncSetAttribute(gpu.function("big_shared"), 8, 228 * 1024) }, 1);
    ok(unsafe { module::cuFuncSetAttribute(gpu.function("big_shared"), 8, bytes as i32) });
    assert_eq!(launch(), 0);
    assert_eq!(gpu.sync(), 0);
}

/// What hardware faults at too, whatever the checks.
#[test]
fn misalignment_and_endless_loops() {
    let gpu = bugs(Settings { timeout_ms: 200, ..only("") });
    gpu.launch("forever", 1, 32, args![gpu.upload(&[0i32; 4])]);
    assert_eq!(gpu.sync(), 702);
    assert!(gpu.report().fault.is_some_and(|f| f.to_string().contains("forever")));
    drop(gpu);
    let gpu = bugs(only(""));
    gpu.launch("misaligned", 1, 1, args![gpu.upload(&[0i32; 4])]);
    assert_eq!(gpu.sync(), 716);
    let place = gpu.report().fault.and_then(|f| f.place).expect("a place is known");
    assert!(place.source.is_some_and(|(_, line)| is_place_of("misaligned", line)));
}

#[test]
fn leaks_are_reported_when_the_context_goes() {
    for (list, leaks) in [("leak", vec![1000]), ("mem,race,init,sync", vec![])] {
        let gpu = bugs(only(list));
        let (kept, freed) = (gpu.alloc(1000), gpu.alloc(24));
        gpu.free(freed);
        let mut context = 0;
        ok(unsafe { device::cuCtxGetCurrent(&mut context) });
        ok(unsafe { device::cuCtxDestroy_v2(context) });
        assert_ne!(kept, 0);
        assert_eq!(gpu.report().leaks, leaks);
    }
}
