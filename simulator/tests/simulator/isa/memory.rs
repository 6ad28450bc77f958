//! Loads, stores, atomics, asynchronous copies (ISA 9.7.9, 9.7.13.5, 9.7.13.6): every type, width and space.

use super::program::{failure, lanes, run_threads};
use crate::args;
use crate::common::{Gpu, checked};

const WORDS: usize = 512;

fn input() -> Vec<u32> {
    (0..WORDS as u32).map(|i| i.wrapping_mul(0x9e37_79b9) ^ 0x8000_7fff).collect()
}

/// The bytes of [`input`] at an address.
fn bytes_at(at: usize, count: usize) -> u64 {
    let bytes: Vec<u8> = input().iter().flat_map(|w| w.to_le_bytes()).collect();
    (0..count).fold(0, |value, k| value | u64::from(bytes[at + k]) << (8 * k))
}

#[test]
fn loads_of_every_type_extend_to_their_register() {
    for (ty, size, signed) in [
        ("u8", 1usize, false),
        ("s8", 1, true),
        ("b8", 1, false),
        ("u16", 2, false),
        ("s16", 2, true),
        ("b16", 2, false),
        ("u32", 4, false),
        ("s32", 4, true),
        ("b32", 4, false),
        ("f32", 4, false),
        ("u64", 8, false),
        ("s64", 8, true),
        ("b64", 8, false),
        ("f64", 8, false),
    ] {
        let value = |i: u32| {
            let raw = bytes_at(i as usize * size, size);
            let shift = 64 - 8 * size as u32;
            if signed { ((raw << shift) as i64 >> shift) as u64 } else { raw }
        };
        if size < 8 {
            let narrow = format!("mad.wide.u32 %d1, %lane, {size}, %in; ld.global.{ty} %r, [%d1];");
            assert_eq!(run_threads(&narrow, &input(), 32).0, lanes(|i| value(i) as u32), "{ty} to 32 bits");
        }
        // A 64-bit register takes the extension too: its upper half is seen.
        if !matches!(ty, "f32") {
            let wide = format!(
                "mad.wide.u32 %d1, %lane, {size}, %in; ld.global.{ty} %d2, [%d1]; shr.u64 %d2, %d2, 32; cvt.u32.u64 %r, %d2;"
            );
            assert_eq!(run_threads(&wide, &input(), 32).0, lanes(|i| (value(i) >> 32) as u32), "{ty} to 64 bits");
        }
        if size <= 2 {
            let short =
                format!("mad.wide.u32 %d1, %lane, {size}, %in; ld.global.{ty} %h1, [%d1]; cvt.u32.u16 %r, %h1;");
            assert_eq!(run_threads(&short, &input(), 32).0, lanes(|i| value(i) as u32 & 0xffff), "{ty} to 16 bits");
        }
    }
}

#[test]
fn vectors_hints_and_orders() {
    for (text, at) in [
        ("ld.global.v2.u32 {%x1, %r}, [%d1];", 4),
        ("ld.global.nc.v4.u32 {%x1, %x2, %x3, %r}, [%d1];", 12),
        ("ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%x1, %x2, %r, %x3}, [%d1];", 8),
        ("ld.global.v4.u8 {%x1, %x2, %x3, %r}, [%d1];", 3),
        ("ld.global.v2.u64 {%d2, %d3}, [%d1]; cvt.u32.u64 %r, %d3;", 8),
        ("ld.global.v4.u32 {_, _, %r, _}, [%d1];", 8),
        ("ld.global.cg.u32 %r, [%d1+16];", 16),
        ("ld.volatile.global.u32 %r, [%d1+-4+8];", 4),
        ("ld.relaxed.gpu.global.u32 %r, [%d1];", 0),
        ("ld.acquire.sys.global.u32 %r, [%d1];", 0),
        ("ldu.global.u32 %r, [%d1+4];", 4),
        ("ld.u32 %r, [%d1];", 0),
        ("createpolicy.fractional.L2::evict_last.b64 %d2, 1.0; ld.global.L2::cache_hint.u32 %r, [%d1+8], %d2;", 8),
        (
            "createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %d2, [%d1], 128, 256; ld.global.u32 %r, [%d1];",
            0,
        ),
        (
            "prefetch.global.L2 [%d1]; prefetchu.L1 [%d1]; applypriority.global.L2::evict_normal [%d1], 128; ld.global.u32 %r, [%d1];",
            0,
        ),
        ("cvta.to.global.u64 %d2, %d1; ld.global.u32 %r, [%d2];", 0),
    ] {
        let size = if text.contains("v4.u8") { 1 } else { 4 };
        let body = format!("mad.wide.u32 %d1, %lane, 16, %in; {text}");
        assert_eq!(
            run_threads(&body, &input(), 32).0,
            lanes(|i| bytes_at(16 * i as usize + at, size) as u32),
            "{text}"
        );
    }
}

#[test]
fn stores_of_every_type_and_vector() {
    for (text, want) in [
        ("st.global.u8 [%d1+3], 0x1ff;", [0xff00_0000u32, 0, 0, 0]),
        ("st.global.u16 [%d1+2], 0x12345;", [0x2345_0000, 0, 0, 0]),
        ("st.global.u32 [%d1], %x1;", [7, 0, 0, 0]),
        ("st.global.u64 [%d1+8], %d2;", [0, 0, 9, 1]),
        ("st.global.v2.u32 [%d1+8], {%x1, 5};", [0, 0, 7, 5]),
        ("st.global.v4.u32 [%d1], {1, 2, 3, %x1};", [1, 2, 3, 7]),
        ("st.global.v2.u64 [%d1], {%d2, 3};", [9, 1, 3, 0]),
        ("st.global.v4.u8 [%d1+4], {1, 2, 3, 4};", [0, 0x0403_0201, 0, 0]),
        ("st.global.v2.u16 [%d1+4], {258, 3};", [0, 0x0003_0102, 0, 0]),
        ("st.global.wt.f32 [%d1+4], 0f3F800000;", [0, 0x3f80_0000, 0, 0]),
        ("st.volatile.global.u32 [%d1], 3;", [3, 0, 0, 0]),
        ("st.release.gpu.global.u32 [%d1], 4;", [4, 0, 0, 0]),
        ("st.relaxed.sys.global.u32 [%d1], 5;", [5, 0, 0, 0]),
        ("st.u32 [%d1+12], 6;", [0, 0, 0, 6]),
        ("st.global.u32 [%d1], 3; discard.global.L2 [%in+1024], 128;", [3, 0, 0, 0]),
    ] {
        let body = format!("mov.u32 %x1, 7; mov.u64 %d2, 0x100000009; mad.wide.u32 %d1, %lane, 16, %in; {text}");
        let left = run_threads(&body, &[0; WORDS], 32).1;
        assert!(left[..128].chunks(4).all(|got| got == want), "{text}: {:x?}", &left[..8]);
    }
}

#[test]
fn spaces_and_generic_addresses() {
    let get = |body: &str| run_threads(body, &input(), 32).0;
    let constant = "and.b32 %x1, %lane, 3; mov.u64 %d1, table; mad.wide.u32 %d1, %x1, 4, %d1; ld.const.u32 %r, [%d1];";
    assert_eq!(get(constant), lanes(|i| (i % 4 + 1) * 10));
    let generic_constant = "cvta.const.u64 %d1, table; ld.u32 %r, [%d1+8];";
    assert_eq!(
        get(&generic_constant.replace("cvta.const.u64 %d1, table", "mov.u64 %d1, table; cvta.const.u64 %d1, %d1")),
        lanes(|_| 30)
    );
    let generic = "mov.u64 %d1, box; cvta.shared.u64 %d1, %d1; mad.wide.u32 %d1, %lane, 4, %d1; st.u32 [%d1], %lane;
        ld.u32 %r, [%d1]; isspacep.shared %p1, %d1; isspacep.global %p2, %in; @!%p1 mov.u32 %r, 77; @!%p2 mov.u32 %r, 78;
        isspacep.global %p1, %d1; @%p1 mov.u32 %r, 79; isspacep.local %p1, %d1; @%p1 mov.u32 %r, 80;
        cvta.to.shared.u64 %d2, %d1; ld.shared.u32 %x1, [%d2]; setp.ne.u32 %p1, %x1, %r; @%p1 mov.u32 %r, 81;";
    assert_eq!(get(generic), lanes(|i| i));
    let local = ".local .align 8 .b8 mine[64]; mov.u64 %d1, mine; st.local.v2.u32 [mine+8], {%lane, 5};
        ld.local.u32 %x1, [%d1+12]; cvta.local.u64 %d2, %d1; isspacep.local %p1, %d2; ld.u32 %r, [%d2+8]; add.u32 %r, %r, %x1;
        @!%p1 mov.u32 %r, 82;";
    assert_eq!(get(local), lanes(|i| i + 5));
    // Some lanes point to shared memory and some to global, in one load.
    let mixed = "mov.u32 %x1, box; mad.lo.u32 %x1, %lane, 4, %x1; st.shared.u32 [%x1], %lane; mov.u64 %d1, box;
        cvta.shared.u64 %d1, %d1; setp.lt.u32 %p1, %lane, 16; selp.b64 %d2, %d1, %in, %p1; mad.wide.u32 %d2, %lane, 4, %d2;
        ld.u32 %r, [%d2];";
    assert_eq!(get(mixed), lanes(|i| if i < 16 { i } else { bytes_at(4 * i as usize, 4) as u32 }));
}

#[test]
fn what_cannot_be_accessed_faults() {
    assert_eq!(failure("ld.global.u32 %r, [%in+2];"), 716, "misaligned");
    assert_eq!(failure("ld.global.u64 %d1, [%in+4];"), 716, "misaligned for its size");
    assert_eq!(failure("ld.global.v4.u32 {%x1, %x2, %x3, %r}, [%in+8];"), 716, "misaligned for the vector");
    assert_eq!(failure("ld.global.u32 %r, [%in+256];"), 700, "past the end");
    assert_eq!(failure("mov.u64 %d1, 0; ld.global.u32 %r, [%d1];"), 700, "null");
    assert_eq!(failure("mov.u32 %x1, box; ld.shared.u32 %r, [%x1+1024];"), 700, "past shared memory");
    assert_eq!(failure("ld.global.u32 %r, [%o];"), 719, "never written");
}

/// An atomic by 32 lanes on one word: what it leaves, and what it gives each lane.
type Atomic = (&'static str, u32, fn(u32) -> u32);

const ON_WORDS: [Atomic; 16] = [
    ("add.u32 X, 2", 64, |i| 2 * i),
    ("add.s32 X, -3", (-96i32) as u32, |i| (-3 * i as i32) as u32),
    ("inc.u32 X, 9", 2, |i| i % 10),
    ("dec.u32 X, 9", 8, |i| (10 - i % 10) % 10),
    ("exch.b32 X, %lane", 31, |i| i.saturating_sub(1)),
    ("max.s32 X, %lane", 31, |i| i.saturating_sub(1)),
    ("min.s32 X, %x1", (-31i32) as u32, |i| if i < 2 { 0 } else { 1u32.wrapping_sub(i) }),
    ("max.u32 X, %x1", u32::MAX, |i| if i < 2 { 0 } else { u32::MAX }),
    ("min.u32 X, 5", 0, |_| 0),
    ("cas.b32 X, %lane, 7", 7, |i| if i == 0 { 0 } else { 7 }),
    ("and.b32 X, 3", 0, |_| 0),
    ("or.b32 X, 4", 4, |i| if i == 0 { 0 } else { 4 }),
    ("xor.b32 X, 5", 0, |i| i % 2 * 5),
    ("add.f32 X, 0f3F800000", 32f32.to_bits(), |i| (i as f32).to_bits()),
    ("add.noftz.f16x2 X, %x2", 0x5000_5000, |i| u32::from(half::f16::from_f32(i as f32).to_bits()) * 0x1_0001),
    ("add.noftz.bf16x2 X, %x3", 0x4200_4200, |i| u32::from(half::bf16::from_f32(i as f32).to_bits()) * 0x1_0001),
];

const ATOMIC_SETUP: &str = "sub.s32 %x1, 0, %lane; mov.u32 %x2, 0x3c003c00; mov.u32 %x3, 0x3f803f80;";

#[test]
fn atomics_on_words_in_both_spaces() {
    for (text, left, old) in ON_WORDS {
        let in_global = text.replace('X', "%r, [%in]");
        let (got, data) = run_threads(&format!("{ATOMIC_SETUP} atom.global.{in_global};"), &[0], 32);
        assert_eq!((got, data[0]), (lanes(old), left), "atom.global.{text}");
        // In shared memory, and by a generic address, the result is read back after a barrier.
        for (space, address) in [("shared", "%x9"), ("", "%d5")] {
            let op = text.replace('X', &format!("%x5, [{address}]"));
            let (op, dot) = (op, if space.is_empty() { String::new() } else { format!(".{space}") });
            let body = format!(
                "{ATOMIC_SETUP} mov.u32 %x9, box; mov.u64 %d5, box; cvta.shared.u64 %d5, %d5;
                setp.eq.u32 %p1, %lane, 0; @%p1 st.shared.u32 [%x9], 0; bar.sync 0; atom{dot}.{op}; bar.sync 0;
                ld.shared.u32 %r, [%x9];"
            );
            assert_eq!(run_threads(&body, &[0], 32).0, lanes(|_| left), "atom{dot}.{text}");
        }
        // A `red` does the same and gives nothing.
        if !text.starts_with("exch") && !text.starts_with("cas") {
            let op = text.replace('X', "[%in]");
            assert_eq!(
                run_threads(&format!("{ATOMIC_SETUP} red.relaxed.gpu.global.{op};"), &[0], 32).1[0],
                left,
                "red.{text}"
            );
        }
    }
}

#[test]
fn atomics_on_double_words_and_halves() {
    let cases: [(&str, u64); 12] = [
        ("add.u64 X, 0x100000001", 32 * 0x1_0000_0001),
        ("min.s64 X, %d1", (-31i64) as u64),
        ("max.u64 X, %d1", u64::MAX),
        ("max.s64 X, %d1", 0),
        ("exch.b64 X, 0x500000006", 0x5_0000_0006),
        ("cas.b64 X, 0, 0x700000000", 0x7_0000_0000),
        ("or.b64 X, 0x900000000", 0x9_0000_0000),
        ("and.b64 X, 1", 0),
        ("xor.b64 X, 0x900000000", 0),
        ("add.f64 X, 0d3FF0000000000000", 32f64.to_bits()),
        ("cas.b16 X, %h1, %h2", 7),
        ("add.noftz.f16 X, %h3", 0x5000),
    ];
    for (text, left) in cases {
        let half = text.contains("16 ");
        let result = if half { "%h0" } else { "%d2" };
        let op = text.replace('X', &format!("{result}, [%in]"));
        let body = format!(
            "cvt.s64.s32 %d1, %lane; neg.s64 %d1, %d1; mov.u16 %h1, 0; mov.u16 %h2, 7; mov.b16 %h3, 0x3c00; atom.acq_rel.gpu.global.{op};"
        );
        let data = run_threads(&body, &[0, 0], 32).1;
        assert_eq!(u64::from(data[0]) | u64::from(data[1]) << 32, left, "{text}");
    }
    let bf16 = run_threads("mov.b16 %h1, 0x3f80; red.global.add.noftz.bf16 [%in], %h1;", &[0], 32).1[0];
    assert_eq!(bf16, 0x4200);
}

/// Vectors are added element by element; a source register may be another element's destination.
#[test]
fn atomics_on_vectors() {
    let one = |bits: u32, half: bool| if half { bits | bits << 16 } else { bits };
    for (op, elements, first, source, left) in [
        ("add.v2.f32", 2, 0, 1f32.to_bits(), 32f32.to_bits()),
        ("add.v4.f32", 4, 0, 0.5f32.to_bits(), 16f32.to_bits()),
        ("add.noftz.v2.f16x2", 2, 0, one(0x3c00, true), one(0x5000, true)),
        ("add.noftz.v4.bf16x2", 4, 0, one(0x3f80, true), one(0x4200, true)),
        // 2 and -3 from 1; the number from a NaN.
        ("max.noftz.v2.f16x2", 2, one(0x3c00, true), 0x4000_c200, 0x4000_3c00),
        ("min.noftz.v2.bf16x2", 2, 0x7fc0_3f80, 0x4000_c040, 0x4000_c040),
        ("min.noftz.v2.f16x2", 2, 0x0000_8000, 0x8000_0000, 0x8000_8000),
    ] {
        let float = op.ends_with(".f32");
        let (name, ty) = if float { ("%f", "f32") } else { ("%x", "b32") };
        let list = ["0", "1", "2", "3"].map(|k| format!("{name}{k}"))[..elements].join(", ");
        let fill: String = (0..elements).map(|k| format!("mov.{ty} {name}{k}, {source}; ")).collect();
        let fill = if float { fill.replace(&format!(" {source};"), &format!(" 0f{source:08X};")) } else { fill };
        let data = run_threads(&format!("{fill} red.global.{op} [%in], {{{list}}};"), &[first; 4], 32).1;
        let want: Vec<u32> = (0..4).map(|k| if k < elements { left } else { first }).collect();
        assert_eq!(data, want, "red.{op}");
    }
    // Each lane gets what was there; the elements change places between sources and results.
    let swap = "mov.f32 %f0, 0f3F800000; mov.f32 %f1, 0f40000000;
        atom.global.add.v2.f32 {%f1, %f0}, [%in], {%f0, %f1}; mov.b32 %r, %f0;";
    let (got, data) = run_threads(swap, &[0, 0], 32);
    assert_eq!(data, [32f32.to_bits(), 64f32.to_bits()]);
    assert_eq!(got, lanes(|i| (2.0 * i as f32).to_bits()));
    // The vector has one place, aligned as a whole.
    let head = "mov.f32 %f0, 0f3F800000;";
    assert_eq!(failure(&format!("{head} red.global.add.v2.f32 [%in+4], {{%f0, %f0}};")), 716);
    for wrong in [
        "red.shared.add.v2.f32 [box], {%f0, %f0};",
        "red.global.add.v2.u32 [%in], {%x0, %x0};",
        "red.global.max.v2.f32 [%in], {%f0, %f0};",
        "red.global.add.v8.f32 [%in], {%f0, %f0};",
    ] {
        assert!(Gpu::refusal(&super::program::program(wrong)).contains("is not supported"), "{wrong}");
    }
}

#[test]
fn asynchronous_copies() {
    let words: Vec<u32> = (0..256).collect();
    let sum4 =
        "ld.shared.v4.u32 {%r, %x2, %x3, %x4}, [%x1]; add.u32 %r, %r, %x2; add.u32 %r, %r, %x3; add.u32 %r, %r, %x4;";
    let place = "mov.u32 %x1, box; mad.lo.u32 %x1, %lane, 16, %x1; mad.wide.u32 %d1, %lane, 16, %in;";
    fn all(i: u32) -> u32 {
        (4 * i..4 * i + 4).sum()
    }
    for (copy, want) in [
        ("cp.async.cg.shared.global [%x1], [%d1], 16;", all as fn(u32) -> u32),
        ("cp.async.ca.shared.global.L2::128B [%x1], [%d1], 16;", all),
        // Of 16 bytes, the first 8 come from memory and the rest are zeros; or none comes.
        ("cp.async.ca.shared.global [%x1], [%d1], 16, 8;", |i| 4 * i + 4 * i + 1),
        ("cp.async.cg.shared.global [%x1], [%d1], 16, 0;", |_| 0),
        (
            "setp.ge.u32 %p1, %lane, 8; cp.async.cg.shared.global [%x1], [%d1], 16, %p1;",
            |i| if i < 8 { all(i) } else { 0 },
        ),
    ] {
        for wait in ["cp.async.commit_group; cp.async.wait_group 0;", "cp.async.wait_all;"] {
            let body = format!("{place} {copy} {wait} {sum4}");
            assert_eq!(run_threads(&body, &words, 32).0, lanes(want), "{copy}");
        }
    }
    for (bytes, want) in [(4, 1u32), (8, 3)] {
        let zero = "st.shared.v4.u32 [%x1], {0, 0, 0, 0};";
        let copy = format!("cp.async.ca.shared.global [%x1], [%d1+{bytes}], {bytes};");
        let body = format!("{place} {zero} {copy} cp.async.wait_all; {sum4}");
        let sum =
            |i: u32| (want..want * 2 + 1).take(bytes / 4).map(|k| 4 * i + if bytes == 4 { 1 } else { k - 1 }).sum();
        assert_eq!(run_threads(&body, &words, 32).0, lanes(sum), "{bytes} bytes");
    }
    // Of two groups the older is there when one may be pending.
    let groups = format!(
        "{place} cp.async.cg.shared.global [%x1], [%d1], 16; cp.async.commit_group;
        cp.async.cg.shared.global [%x1+512], [%d1], 16; cp.async.commit_group; cp.async.wait_group 1; {sum4} cp.async.wait_all;"
    );
    assert_eq!(run_threads(&groups, &words, 32).0, lanes(all));
}

/// An access of several lanes to one place: which store stays is open, but it is one of them.
#[test]
fn colliding_stores_leave_one_of_their_values() {
    let gpu = Gpu::new(&super::program::program("st.global.u32 [%in], %lane;"), checked());
    let (data, out) = (gpu.upload(&[99u32]), gpu.alloc(128));
    gpu.launch("k", 1, 32, args![out, data]);
    assert!(gpu.download::<u32>(data, 1)[0] < 32);
}
