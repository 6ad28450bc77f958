//! Exchange between the lanes of a warp (ISA 9.7.9.6, 9.7.13.8 to 9.7.13.16) and special registers (chapter 10).

use super::program::{lanes, run, run_threads};
use crate::common::numbers;

/// The lane that lane `i` reads from, by the ISA's pseudocode, and whether it is in range.
fn source(i: u32, mode: &str, b: u32, c: u32) -> (u32, bool) {
    let (segmask, bval, cval) = (c >> 8 & 0x1f, b & 0x1f, c & 0x1f);
    let max_lane = (i & segmask) | (cval & !segmask & 0x1f);
    let min_lane = i & segmask;
    let (j, valid) = match mode {
        "up" => (i.wrapping_sub(bval) as i32, i as i32 - bval as i32 >= max_lane as i32),
        "down" => ((i + bval) as i32, i + bval <= max_lane),
        "bfly" => ((i ^ bval) as i32, i ^ bval <= max_lane),
        _ => {
            let j = min_lane | (bval & !segmask & 0x1f);
            (j as i32, j <= max_lane)
        }
    };
    if valid { (j as u32, true) } else { (i, false) }
}

#[test]
fn shuffles_in_every_mode_and_segment() {
    for mode in ["up", "down", "bfly", "idx"] {
        for b in [0, 1, 3, 5, 16, 31] {
            // Whole warps, segments of 16, 8 and 4 lanes, and a clamp in the middle.
            for c in [0, 0x1f, 0x1000, 0x101f, 0x1800, 0x181f, 0x1c03, 0x14] {
                let body = format!("shfl.sync.{mode}.b32 %r|%p1, %lane, {b}, {c}, -1; @!%p1 add.u32 %r, %r, 100;");
                let want = lanes(|i| match source(i, mode, b, c) {
                    (j, true) => j,
                    (j, false) => j + 100,
                });
                assert_eq!(run(&body), want, "{body}");
            }
        }
    }
    // Each lane may name its own source; the predicate is optional.
    assert_eq!(run("sub.u32 %x1, 31, %lane; shfl.sync.idx.b32 %r, %lane, %x1, 31, -1;"), lanes(|i| 31 - i));
}

#[test]
fn parts_of_a_warp_exchange_by_themselves() {
    let halves = "setp.lt.u32 %p1, %lane, 16; @%p1 bra LOW;
        shfl.sync.bfly.b32 %r, %lane, 1, 31, 0xffff0000; bra END;
        LOW: shfl.sync.bfly.b32 %r, %lane, 2, 31, 0xffff; END:";
    assert_eq!(run(halves), lanes(|i| if i < 16 { i ^ 2 } else { i ^ 1 }));
    // One instruction, reached by two parts that do not wait for each other.
    let masks = "setp.lt.u32 %p1, %lane, 8; selp.b32 %x1, 0xff, 0xffffff00, %p1; redux.sync.add.u32 %r, 1, %x1;";
    assert_eq!(run(masks), lanes(|i| if i < 8 { 8 } else { 24 }));
}

#[test]
fn votes() {
    let five = "setp.lt.u32 %p1, %lane, 5;";
    let flag = |text: &str| run(&format!("{five} {text} selp.u32 %r, 1, 0, %p2;"))[7];
    assert_eq!(run(&format!("{five} vote.sync.ballot.b32 %r, %p1, -1;")), lanes(|_| 0x1f));
    assert_eq!(run(&format!("{five} vote.sync.ballot.b32 %r, !%p1, -1;")), lanes(|_| !0x1f));
    assert_eq!(flag("vote.sync.any.pred %p2, %p1, -1;"), 1);
    assert_eq!(flag("vote.sync.all.pred %p2, %p1, -1;"), 0);
    assert_eq!(flag("vote.sync.uni.pred %p2, %p1, -1;"), 0);
    let all = "setp.lt.u32 %p1, %lane, 32;";
    assert_eq!(run(&format!("{all} vote.sync.all.pred %p2, %p1, -1; selp.u32 %r, 1, 0, %p2;")), lanes(|_| 1));
    assert_eq!(run(&format!("{all} vote.sync.uni.pred %p2, !%p1, -1; selp.u32 %r, 1, 0, %p2;")), lanes(|_| 1));
    assert_eq!(run(&format!("{all} vote.sync.any.pred %p2, !%p1, -1; selp.u32 %r, 1, 0, %p2;")), lanes(|_| 0));
}

#[test]
fn matches() {
    assert_eq!(run("and.b32 %x1, %lane, 3; match.any.sync.b32 %r, %x1, -1;"), lanes(|i| 0x1111_1111 << (i % 4)));
    let wide =
        "cvt.u64.u32 %d1, %lane; shl.b64 %d1, %d1, 30; and.b64 %d1, %d1, 0x300000000; match.any.sync.b64 %r, %d1, -1;";
    // Bits 2 and 3 of the lane end at bits 32 and 33.
    assert_eq!(run(wide), lanes(|i| (0..32).fold(0, |m, j| m | u32::from(i >> 2 & 3 == j >> 2 & 3) << j)));
    assert_eq!(run("mov.u64 %d1, 7; match.all.sync.b64 %r|%p1, %d1, -1; @!%p1 mov.u32 %r, 5;"), lanes(|_| u32::MAX));
    let differ = "shr.u32 %x1, %lane, 4; match.all.sync.b32 %r|%p1, %x1, -1; @%p1 mov.u32 %r, 5;";
    assert_eq!(run(differ), lanes(|_| 0));
}

#[test]
fn reductions() {
    let mut next = numbers(17);
    let words: Vec<u32> = (0..32).map(|_| next() as u32).collect();
    let get = |op: &str| {
        let body = format!("mad.wide.u32 %d1, %lane, 4, %in; ld.global.u32 %x1, [%d1]; redux.sync.{op} %r, %x1, -1;");
        run_threads(&body, &words, 32).0
    };
    let signed = || words.iter().map(|&w| w as i32);
    let unsigned = || words.iter().copied();
    assert_eq!(get("add.u32"), lanes(|_| unsigned().fold(0, u32::wrapping_add)));
    assert_eq!(get("add.s32"), lanes(|_| unsigned().fold(0, u32::wrapping_add)));
    assert_eq!(get("min.u32"), lanes(|_| unsigned().min().unwrap_or(0)));
    assert_eq!(get("max.u32"), lanes(|_| unsigned().max().unwrap_or(0)));
    assert_eq!(get("min.s32"), lanes(|_| signed().min().unwrap_or(0) as u32));
    assert_eq!(get("max.s32"), lanes(|_| signed().max().unwrap_or(0) as u32));
    assert_eq!(get("and.b32"), lanes(|_| unsigned().fold(u32::MAX, |a, b| a & b)));
    assert_eq!(get("or.b32"), lanes(|_| unsigned().fold(0, |a, b| a | b)));
    assert_eq!(get("xor.b32"), lanes(|_| unsigned().fold(0, |a, b| a ^ b)));
}

#[test]
fn leaders_and_active_lanes() {
    assert_eq!(run("elect.sync _|%p1, -1; selp.u32 %r, 1, 0, %p1;"), lanes(|i| u32::from(i == 0)));
    let upper = "setp.lt.u32 %p1, %lane, 9; @%p1 bra END; elect.sync %x1|%p2, 0xfffffe00; selp.u32 %r, 100, 0, %p2;
        add.u32 %r, %r, %x1; END:";
    assert_eq!(
        run(upper),
        lanes(|i| match i {
            0..9 => 0,
            9 => 109,
            _ => 9,
        })
    );
    assert_eq!(
        run("setp.gt.u32 %p1, %lane, 7; @%p1 bra HIGH; bra END; HIGH: activemask.b32 %r; END:"),
        lanes(|i| if i > 7 { 0xffff_ff00 } else { 0 })
    );
}

#[test]
fn special_registers() {
    let get = |name: &str| run(&format!("mov.u32 %r, {name};"));
    assert_eq!(get("%lanemask_lt"), lanes(|i| (1u32 << i) - 1));
    assert_eq!(get("%lanemask_le"), lanes(|i| (1u32 << i) | ((1 << i) - 1)));
    assert_eq!(get("%lanemask_eq"), lanes(|i| 1 << i));
    assert_eq!(get("%lanemask_ge"), lanes(|i| u32::MAX << i));
    assert_eq!(get("%lanemask_gt"), lanes(|i| u32::MAX.checked_shl(i + 1).unwrap_or(0)));
    assert_eq!(get("%laneid"), lanes(|i| i));
    for (name, value) in [
        ("%ntid.x", 32),
        ("%ntid.y", 1),
        ("%ctaid.z", 0),
        ("%nctaid.x", 1),
        ("%warpid", 0),
        ("%nwarpid", 1),
        ("%smid", 0),
        ("%nsmid", 132),
        ("%dynamic_smem_size", 0),
        ("%total_smem_size", 1024),
        ("%cluster_nctarank", 1),
        ("%cluster_ctarank", 0),
    ] {
        assert_eq!(get(name), lanes(|_| value), "{name}");
    }
    // Time passes.
    let clocks = "mov.u64 %d1, %clock64; nanosleep.u32 20; mov.u64 %d2, %clock64; setp.gt.u64 %p1, %d2, %d1; selp.u32 %r, 1, 0, %p1;";
    assert_eq!(run(clocks), lanes(|_| 1));
    // Threads of a second warp know their own.
    let second = run_threads("mov.u32 %x1, %warpid; mov.u32 %x2, %laneid; mad.lo.u32 %r, %x1, 100, %x2;", &[0], 64).0;
    assert_eq!(second, (0..64).map(|i| i / 32 * 100 + i % 32).collect::<Vec<u32>>());
}
