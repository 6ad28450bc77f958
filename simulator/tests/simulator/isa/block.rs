//! Barriers, fences, mbarriers (ISA 9.7.13) and control flow (9.7.12).

use super::program::{failure, lanes, run, run_threads};

#[test]
fn barriers_and_their_reductions() {
    let reduced = |text: &str| run_threads(&format!("setp.lt.u32 %p1, %lane, 40; {text}"), &[0], 64).0;
    assert_eq!(reduced("barrier.cta.red.popc.aligned.u32 %r, 0, %p1;"), vec![40; 64]);
    assert_eq!(reduced("barrier.red.popc.u32 %r, 0, 64, !%p1;"), vec![24; 64]);
    for (op, negated, want) in [("and", false, 0), ("and", true, 0), ("or", false, 1), ("or", true, 1)] {
        let p = if negated { "!%p1" } else { "%p1" };
        assert_eq!(reduced(&format!("bar.red.{op}.pred %p2, 1, {p}; selp.u32 %r, 1, 0, %p2;")), vec![want; 64]);
    }
    let all = "setp.lt.u32 %p1, %lane, 64; bar.cta.red.and.pred %p2, 15, %p1; selp.u32 %r, 1, 0, %p2;";
    assert_eq!(run_threads(all, &[0], 64).0, vec![1; 64]);
    // The first warp arrives and goes on; the second waits for it and reads what it wrote.
    let handed = "shl.b32 %x1, %lane, 2; mov.u32 %x2, box; setp.gt.u32 %p1, %lane, 31; @%p1 bra READ;
        add.u32 %x1, %x1, %x2; st.shared.u32 [%x1], %lane; membar.cta; bar.arrive 2, 64; bra END;
        READ: bar.sync 2, 64; sub.u32 %x1, %x1, 128; add.u32 %x1, %x1, %x2; ld.shared.u32 %r, [%x1]; END:";
    let want: Vec<u32> = (0..64u32).map(|i| i.saturating_sub(32)).collect();
    assert_eq!(run_threads(handed, &[0], 64).0, want);
    // Two pairs of warps meet at barriers of their own.
    let pairs = "shr.u32 %x1, %lane, 6; add.u32 %x1, %x1, 3; mov.u32 %x2, box; mad.lo.u32 %x3, %lane, 4, %x2;
        st.shared.u32 [%x3], %lane; barrier.sync %x1, 64; xor.b32 %x4, %lane, 32; mad.lo.u32 %x3, %x4, 4, %x2; ld.shared.u32 %r, [%x3];";
    assert_eq!(run_threads(pairs, &[0], 128).0, (0..128).map(|i| i ^ 32).collect::<Vec<u32>>());
    assert_eq!(failure("mov.u32 %x1, 16; bar.sync %x1;"), 719, "there are 16 barriers");
}

#[test]
fn fences_and_warp_barriers() {
    for fence in
        ["fence.acq_rel.gpu", "fence.sc.cta", "fence.acq_rel.sys", "membar.gl", "membar.sys", "fence.proxy.alias"]
    {
        // What a lane stores before, the others read after.
        let body = format!(
            "mov.u32 %x2, box; mad.lo.u32 %x3, %lane, 4, %x2; st.shared.u32 [%x3], %lane; {fence}; bar.warp.sync -1;
            xor.b32 %x4, %lane, 7; mad.lo.u32 %x3, %x4, 4, %x2; ld.shared.u32 %r, [%x3];"
        );
        assert_eq!(run(&body), lanes(|i| i ^ 7), "{fence}");
    }
}

/// Sets up an mbarrier for `count` arrivals at the start of shared memory; `%x9` is its address.
fn mbarrier(count: u32, body: &str) -> String {
    format!(
        "mov.u32 %x9, box; setp.eq.u32 %p1, %lane, 0; @%p1 mbarrier.init.shared.b64 [%x9], {count}; bar.sync 0; {body}"
    )
}

#[test]
fn mbarriers() {
    let flag = "selp.u32 %r, 1, 0, %p2;";
    // All arrive, and the phase of the token each got is over.
    let token = "mbarrier.arrive.shared.b64 %d1, [%x9]; bar.sync 0; mbarrier.test_wait.shared.b64 %p2, [%x9], %d1;";
    assert_eq!(run(&mbarrier(32, &format!("{token} {flag}"))), lanes(|_| 1));
    // One arrival is missing.
    assert_eq!(run(&mbarrier(33, &format!("{token} {flag}"))), lanes(|_| 0));
    // Parities: phase 0 is over, phase 1 is not.
    let parity = |p: u32| {
        format!(
            "mbarrier.arrive.shared::cta.b64 _, [%x9]; bar.sync 0; mbarrier.try_wait.parity.shared.b64 %p2, [%x9], {p}; {flag}"
        )
    };
    assert_eq!(run(&mbarrier(32, &parity(0))), lanes(|_| 1));
    assert_eq!(run(&mbarrier(32, &parity(1))), lanes(|_| 0));
    // One thread arrives for several; the count left is in the token of the last.
    let several =
        "@%p1 mbarrier.arrive.noComplete.shared.b64 %d1, [%x9], 3; @%p1 mbarrier.arrive.shared.b64 %d1, [%x9];
        @%p1 mbarrier.pending_count.b64 %r, %d1;";
    assert_eq!(run(&mbarrier(5, several))[0], 2);
    // Those who drop out are not waited for in the next phase.
    let dropped = "setp.lt.u32 %p3, %lane, 8; @%p3 mbarrier.arrive_drop.shared.b64 %d1, [%x9]; @!%p3 mbarrier.arrive.shared.b64 %d1, [%x9];
        bar.sync 0; @!%p3 mbarrier.arrive.shared.b64 %d1, [%x9]; bar.sync 0; mbarrier.test_wait.parity.shared.b64 %p2, [%x9], 1;";
    assert_eq!(run(&mbarrier(32, &format!("{dropped} {flag}"))), lanes(|_| 1));
    // Bytes that are expected hold the phase open until they have come.
    let bytes = |done: u32| {
        format!(
        "@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [%x9], 64; @%p1 mbarrier.expect_tx.relaxed.cta.shared.b64 [%x9], 16; bar.sync 0;
        @%p1 mbarrier.complete_tx.relaxed.cta.shared.b64 [%x9], {done}; bar.sync 0; mbarrier.test_wait.parity.shared.b64 %p2, [%x9], 0; {flag}"
    )
    };
    assert_eq!(run(&mbarrier(1, &bytes(80))), lanes(|_| 1));
    assert_eq!(run(&mbarrier(1, &bytes(79))), lanes(|_| 0));
    // Asynchronous copies arrive by themselves.
    let copies =
        "add.u32 %x1, %x9, 16; mad.lo.u32 %x1, %lane, 16, %x1; mad.wide.u32 %d1, %lane, 4, %in; and.b64 %d1, %d1, -16;
        cp.async.ca.shared.global [%x1], [%d1], 16; cp.async.mbarrier.arrive.noinc.shared.b64 [%x9];
        WAIT: mbarrier.test_wait.parity.shared.b64 %p2, [%x9], 0; @!%p2 bra WAIT; ld.shared.u32 %r, [%x1];";
    let words: Vec<u32> = (0..64).map(|i| i * 3).collect();
    assert_eq!(run_threads(&mbarrier(32, copies), &words, 32).0, lanes(|i| i / 4 * 4 * 3));
    assert_eq!(run(&mbarrier(32, "bar.sync 0; @%p1 mbarrier.inval.shared.b64 [%x9]; mov.u32 %r, 4;")), lanes(|_| 4));
    assert_eq!(failure(&mbarrier(3, "mbarrier.arrive.shared.b64 %d1, [%x9], 4;")), 719, "more arrivals than expected");
}

#[test]
fn branches_and_tables() {
    let table = "T: .branchtargets A, B, C; rem.u32 %x1, %lane, 3; brx.idx %x1, T; A: mov.u32 %r, 100; bra E;
        B: mov.u32 %r, 200; bra.uni E; C: mov.u32 %r, 300; E: add.u32 %r, %r, 1;";
    assert_eq!(run(table), lanes(|i| (i % 3 + 1) * 100 + 1));
    assert_eq!(failure("T: .branchtargets A; mov.u32 %x1, 1; brx.idx %x1, T; A:"), 718, "beyond the table");
    // Each lane leaves the loop at its own time, and all meet behind it: the vote counts 32.
    let lopsided =
        "mov.u32 %x1, 0; L: setp.ge.u32 %p1, %x1, %lane; @%p1 bra D; add.u32 %r, %r, %x1; add.u32 %x1, %x1, 1; bra L;
        D: activemask.b32 %x2; popc.b32 %x2, %x2; mad.lo.u32 %r, %x2, 1000, %r;";
    assert_eq!(run(lopsided), lanes(|i| 32_000 + i * i.saturating_sub(1) / 2));
}

#[test]
fn calls_direct_and_through_pointers() {
    let called =
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %lane; call.uni (b), twice, (a); ld.param.b32 %r, [b]; }";
    assert_eq!(run(called), lanes(|i| 2 * i));
    let some =
        "setp.gt.u32 %p1, %lane, 9; { .param .b32 a; .param .b32 b; st.param.b32 [b], %lane; st.param.b32 [a], %lane;
        @%p1 call (b), twice, (a); ld.param.b32 %r, [b]; }";
    assert_eq!(run(some), lanes(|i| if i > 9 { 2 * i } else { i }));
    let pointer = "mov.u64 %d1, twice; { .param .b32 a; .param .b32 b; st.param.b32 [a], %lane;
        P: .callprototype (.param .b32 _) _ (.param .b32 _); call (b), %d1, (a), P; ld.param.b32 %r, [b]; }";
    assert_eq!(run(pointer), lanes(|i| 2 * i));
    let wild = pointer.replace("mov.u64 %d1, twice;", "mov.u64 %d1, 4096;");
    assert_eq!(failure(&wild), 718, "no function");
}

#[test]
fn ends_and_small_things() {
    assert_eq!(
        run("nanosleep.u32 20; pmevent 3; griddepcontrol.wait; griddepcontrol.launch_dependents; mov.u32 %r, 4;"),
        lanes(|_| 4)
    );
    for body in ["trap;", "brkpt;"] {
        assert_eq!(failure(body), 719);
    }
    // A trap that no lane reaches does nothing.
    assert_eq!(run("setp.gt.u32 %p1, %lane, 31; @%p1 trap; mov.u32 %r, 1;"), lanes(|_| 1));
    // Lanes that exit or return early are not waited for at the barrier: what they would store stays as it was.
    let early = "setp.lt.u32 %p1, %lane, 4; @%p1 exit; setp.lt.u32 %p1, %lane, 8; @%p1 ret; bar.sync 0; mov.u32 %r, 6;
        mad.wide.u32 %d1, %lane, 4, %in; st.global.u32 [%d1], %r;";
    assert_eq!(run_stored(early), lanes(|i| if i < 8 { 9 } else { 6 }));
}

/// The words a body stores at `%in`, which hold 9 before.
fn run_stored(body: &str) -> Vec<u32> {
    let stop = format!("{body} exit;");
    run_threads_stored(&stop)
}

fn run_threads_stored(body: &str) -> Vec<u32> {
    use crate::args;
    use crate::common::{Gpu, checked};
    let gpu = Gpu::new(&super::program::program(body), checked());
    let (data, out) = (gpu.upload(&[9u32; 32]), gpu.alloc(128));
    gpu.launch("k", 1, 32, args![out, data]);
    gpu.download(data, 32)
}
