//! Instructions that need a warp, a block or memory: exchange, barriers, atomics, matrices, control flow.
//!
//! A program is the body of a kernel of 32 threads (or more) that leaves a word in `%r` for each; it may use `%lane`, the
//! pointer `%in`, and 1 KB of shared memory `box`. Fragment layouts are those of the ISA's figures, lane by lane.

mod common;

use common::{Gpu, checked, numbers};

const HEAD: &str = ".version 8.6\n.target sm_90\n.address_size 64\n";

fn program(body: &str) -> String {
    format!(
        "{HEAD}
.func (.param .b32 result) twice(.param .b32 x) {{ .reg .b32 %v; ld.param.b32 %v, [x]; add.u32 %v, %v, %v; st.param.b32 [result], %v; ret; }}
.const .align 4 .b32 table[4] = {{10, 20, 30, 40}};
.visible .entry k(.param .u64 out, .param .u64 in) {{
.reg .b64 %o, %in, %d<9>; .reg .b32 %lane, %r, %x<16>; .reg .b16 %h<4>; .reg .pred %p<4>; .reg .f32 %f<4>;
.shared .align 16 .b8 box[1024];
ld.param.u64 %o, [out]; ld.param.u64 %in, [in]; mov.u32 %lane, %tid.x; mov.u32 %r, 0;
{body}
mad.wide.u32 %o, %lane, 4, %o; st.global.u32 [%o], %r; ret; }}\n"
    )
}

/// Runs a body over `threads` threads with `input` words.
fn run_threads(body: &str, input: &[u32], threads: u32) -> (Vec<u32>, Vec<u32>) {
    let gpu = Gpu::new(&program(body), checked());
    let (data, out) = (gpu.upload(input), gpu.alloc(4 * threads as usize));
    gpu.launch("k", 1, threads, args![out, data]);
    (gpu.download(out, threads as usize), gpu.download(data, input.len()))
}

fn run(body: &str) -> Vec<u32> {
    run_threads(body, &[0; 64], 32).0
}

fn lanes(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles() {
    assert_eq!(run("shfl.sync.bfly.b32 %r, %lane, 5, 31, -1;"), lanes(|i| i ^ 5));
    assert_eq!(run("shfl.sync.up.b32 %r, %lane, 3, 0, -1;"), lanes(|i| if i >= 3 { i - 3 } else { i }));
    assert_eq!(
        run("shfl.sync.down.b32 %r|%p1, %lane, 3, 31, -1; @!%p1 mov.u32 %r, 99;"),
        lanes(|i| if i < 29 { i + 3 } else { 99 })
    );
    // Segments of eight lanes: the mask is 24 in bits 8 to 12.
    assert_eq!(run("shfl.sync.idx.b32 %r, %lane, 2, 0x181f, -1;"), lanes(|i| i / 8 * 8 + 2));
}

#[test]
fn votes_matches_and_reductions() {
    assert_eq!(run("setp.lt.u32 %p1, %lane, 5; vote.sync.ballot.b32 %r, %p1, -1;"), lanes(|_| 31));
    assert_eq!(
        run("setp.lt.u32 %p1, %lane, 5; vote.sync.any.pred %p2, %p1, -1; selp.u32 %r, 1, 0, %p2;"),
        lanes(|_| 1)
    );
    assert_eq!(
        run("setp.lt.u32 %p1, %lane, 5; vote.sync.all.pred %p2, !%p1, -1; selp.u32 %r, 1, 0, %p2;"),
        lanes(|_| 0)
    );
    assert_eq!(run("and.b32 %x1, %lane, 3; match.any.sync.b32 %r, %x1, -1;"), lanes(|i| 0x1111_1111 << (i % 4)));
    assert_eq!(run("mov.u64 %d1, 7; match.all.sync.b64 %r|%p1, %d1, -1;"), lanes(|_| u32::MAX));
    assert_eq!(run("redux.sync.add.u32 %r, %lane, -1;"), lanes(|_| 31 * 16));
    assert_eq!(run("sub.s32 %x1, 3, %lane; redux.sync.min.s32 %r, %x1, -1;"), lanes(|_| -28i32 as u32));
    assert_eq!(run("redux.sync.xor.b32 %r, %lane, -1;"), lanes(|_| 0));
    assert_eq!(
        run("elect.sync _|%p1, 0xfffffff0; selp.u32 %r, 1, 0, %p1;".replace("0xfffffff0", "-1").as_str()),
        lanes(|i| u32::from(i == 0))
    );
    assert_eq!(
        run("setp.gt.u32 %p1, %lane, 7; @%p1 bra HIGH; bra END; HIGH: activemask.b32 %r; END:"),
        lanes(|i| if i > 7 { 0xffff_ff00 } else { 0 })
    );
}

#[test]
fn special_registers() {
    assert_eq!(run("mov.u32 %r, %lanemask_lt;"), lanes(|i| (1u32 << i) - 1));
    assert_eq!(run("mov.u32 %r, %lanemask_ge;"), lanes(|i| u32::MAX << i));
    assert_eq!(
        run("mov.u32 %x1, %ntid.x; mov.u32 %x2, %nctaid.x; mov.u32 %x3, %laneid; mad.lo.u32 %r, %x1, %x2, %x3;"),
        lanes(|i| 32 + i)
    );
}

#[test]
fn barriers() {
    let reduced = "setp.lt.u32 %p1, %lane, 40; barrier.cta.red.popc.aligned.u32 %r, 0, %p1;";
    assert_eq!(run_threads(reduced, &[0], 64).0, vec![40; 64]);
    let all = "setp.lt.u32 %p1, %lane, 40; bar.red.and.pred %p2, 1, !%p1; selp.u32 %r, 1, 0, %p2;";
    assert_eq!(run_threads(all, &[0], 64).0, vec![0; 64]);
    // The first warp arrives and goes on; the second waits for it and reads what it wrote.
    let handed = "shl.b32 %x1, %lane, 2; mov.u32 %x2, box; setp.gt.u32 %p1, %lane, 31; @%p1 bra READ;
        add.u32 %x1, %x1, %x2; st.shared.u32 [%x1], %lane; membar.cta; bar.arrive 2, 64; bra END;
        READ: bar.sync 2, 64; sub.u32 %x1, %x1, 128; add.u32 %x1, %x1, %x2; ld.shared.u32 %r, [%x1]; END:";
    let want: Vec<u32> = (0..64u32).map(|i| i.saturating_sub(32)).collect();
    assert_eq!(run_threads(handed, &[0], 64).0, want);
    assert_eq!(run("fence.acq_rel.gpu; bar.warp.sync -1; mov.u32 %r, 1;"), lanes(|_| 1));
}

#[test]
fn atomics() {
    // Instruction, what it leaves in memory, and what it gives each lane.
    type Case = (&'static str, u32, fn(u32) -> u32);
    let cases: [Case; 8] = [
        ("atom.global.add.u32 %r, [%in], 2;", 64, |i| 2 * i),
        ("atom.global.inc.u32 %r, [%in], 9;", 2, |i| i % 10),
        ("atom.global.dec.u32 %r, [%in], 9;", 8, |i| (10 - i % 10) % 10),
        ("atom.global.exch.b32 %r, [%in], %lane;", 31, |i| i.saturating_sub(1)),
        ("atom.global.max.s32 %r, [%in], %lane;", 31, |i| i.saturating_sub(1)),
        ("atom.global.cas.b32 %r, [%in], %lane, 7;", 7, |i| if i == 0 { 0 } else { 7 }),
        ("atom.global.or.b32 %r, [%in], 4;", 4, |i| if i == 0 { 0 } else { 4 }),
        ("red.global.add.f32 [%in], 0f3F800000;", 32f32.to_bits(), |_| 0),
    ];
    for (body, left, old) in cases {
        let (got, data) = run_threads(body, &[0], 32);
        assert_eq!((got, data[0]), (lanes(old), left), "{body}");
    }
    let pairs = run_threads("mov.u32 %x1, 0x3f803f80; atom.global.add.noftz.bf16x2 %r, [%in], %x1;", &[0], 8);
    assert_eq!(pairs.1[0], 0x4100_4100);
}

#[test]
fn loads_stores_and_spaces() {
    let input: Vec<u32> = (0..128).map(|i| i * 0x0101_0101).collect();
    let get = |body: &str| run_threads(body, &input, 32).0;
    assert_eq!(
        get("mad.wide.u32 %d1, %lane, 16, %in; ld.global.nc.v4.u32 {%x1, %x2, %x3, %r}, [%d1];"),
        lanes(|i| (4 * i + 3) * 0x0101_0101)
    );
    assert_eq!(
        get("mad.wide.u32 %d1, %lane, 16, %in; ld.global.s8 %r, [%d1+516+-516];"),
        lanes(|i| (4 * i) as u8 as i8 as u32)
    );
    assert_eq!(
        get("mad.wide.u32 %d1, %lane, 8, %in; ld.global.u64 %d2, [%d1+8]; shr.u64 %d2, %d2, 32; cvt.u32.u64 %r, %d2;"),
        lanes(|i| (2 * i + 3) * 0x0101_0101)
    );
    assert_eq!(
        get("and.b32 %x1, %lane, 3; mov.u64 %d1, table; mad.wide.u32 %d1, %x1, 4, %d1; ld.const.u32 %r, [%d1];"),
        lanes(|i| (i % 4 + 1) * 10)
    );
    assert_eq!(
        get(
            "cvta.to.global.u64 %d1, %in; ldu.global.u32 %r, [%d1+4]; prefetch.global.L2 [%d1]; prefetchu.L1 [%d1]; applypriority.global.L2::evict_normal [%d1], 128; discard.global.L2 [%d1], 128; createpolicy.fractional.L2::evict_last.b64 %d2, 1.0;"
        ),
        lanes(|_| 0x0101_0101)
    );
    let generic = "mov.u64 %d1, box; cvta.shared.u64 %d1, %d1; mad.wide.u32 %d1, %lane, 4, %d1; st.u32 [%d1], %lane; ld.u32 %r, [%d1]; isspacep.shared %p1, %d1; isspacep.global %p2, %in; @!%p1 mov.u32 %r, 77; @!%p2 mov.u32 %r, 78;";
    assert_eq!(get(generic), lanes(|i| i));
    let local = ".local .align 8 .b8 mine[64]; mov.u64 %d1, mine; st.local.v2.u32 [mine+8], {%lane, 5}; ld.local.u32 %x1, [%d1+12]; ld.local.u32 %r, [%d1+8]; add.u32 %r, %r, %x1;";
    assert_eq!(get(local), lanes(|i| i + 5));
}

#[test]
fn control_flow() {
    let table = "T: .branchtargets A, B, C; rem.u32 %x1, %lane, 3; brx.idx %x1, T; A: mov.u32 %r, 100; bra E; B: mov.u32 %r, 200; bra E; C: mov.u32 %r, 300; E: add.u32 %r, %r, 1;";
    assert_eq!(run(table), lanes(|i| (i % 3 + 1) * 100 + 1));
    let called =
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %lane; call.uni (b), twice, (a); ld.param.b32 %r, [b]; }";
    assert_eq!(run(called), lanes(|i| 2 * i));
    let some = "setp.gt.u32 %p1, %lane, 9; { .param .b32 a; .param .b32 b; st.param.b32 [b], %lane; st.param.b32 [a], %lane; @%p1 call (b), twice, (a); ld.param.b32 %r, [b]; }";
    assert_eq!(run(some), lanes(|i| if i > 9 { 2 * i } else { i }));
    assert_eq!(run("nanosleep.u32 20; pmevent 3; griddepcontrol.wait; mov.u32 %r, 4;"), lanes(|_| 4));
    for (body, code) in [("trap;", 719), ("brkpt;", 719)] {
        let gpu = Gpu::new(&program(body), checked());
        let (data, out) = (gpu.upload(&[0u32]), gpu.alloc(128));
        gpu.launch("k", 1, 32, args![out, data]);
        assert_eq!(gpu.sync(), code);
    }
    // Lanes that exit or return early are not waited for.
    let gpu = Gpu::new(
        &program(
            "setp.lt.u32 %p1, %lane, 4; @%p1 exit; setp.lt.u32 %p1, %lane, 8; @%p1 ret; bar.sync 0; mov.u32 %r, 6;",
        ),
        common::checked(),
    );
    let (data, out) = (gpu.upload(&[0u32]), gpu.upload(&[9u32; 32]));
    gpu.launch("k", 1, 32, args![out, data]);
    assert_eq!(gpu.download::<u32>(out, 32), lanes(|i| if i < 8 { 9 } else { 6 }));
}

#[test]
fn asynchronous_copies() {
    let copy = "mov.u32 %x1, box; mad.lo.u32 %x1, %lane, 16, %x1; mad.wide.u32 %d1, %lane, 8, %in; and.b64 %d1, %d1, -16;
        cp.async.ca.shared.global [%x1], [%d1], 16, 8; cp.async.commit_group; cp.async.wait_group 0; ld.shared.v4.u32 {%r, %x2, %x3, %x4}, [%x1]; add.u32 %r, %r, %x2; add.u32 %r, %r, %x3; add.u32 %r, %r, %x4;";
    let input: Vec<u32> = (0..64).collect();
    assert_eq!(run_threads(copy, &input, 32).0, lanes(|i| 2 * (i / 2 * 4) + 1));
}

/// Element (row, column) of an 8×8 tile stored with 16-byte rows is `row * 8 + column`.
fn tile_word(low: u32, high: u32) -> u32 {
    low | high << 16
}

const STORE_ROWS: &str = "mov.u32 %x9, box; mad.lo.u32 %x9, %lane, 16, %x9; mad.wide.u32 %d1, %lane, 16, %in;
    ld.global.v4.u32 {%x1, %x2, %x3, %x4}, [%d1]; st.shared.v4.u32 [%x9], {%x1, %x2, %x3, %x4}; bar.sync 0;";

#[test]
fn ldmatrix_and_stmatrix_lane_by_lane() {
    // 32 rows of eight 16-bit elements: four tiles, tile i holding 64·i + 8·row + column.
    let input: Vec<u32> = (0..128).map(|w| tile_word(2 * w, 2 * w + 1)).collect();
    for tile in 0..4u32 {
        let registers = format!(
            "{STORE_ROWS} ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%x1, %x2, %x3, %x4}}, [%x9]; mov.u32 %r, %x{};",
            tile + 1
        );
        let at = |row: u32, column: u32| 64 * tile + 8 * row + column;
        assert_eq!(
            run_threads(&registers, &input, 32).0,
            lanes(|i| tile_word(at(i / 4, i % 4 * 2), at(i / 4, i % 4 * 2 + 1)))
        );
        let transposed = registers.replace(".x4", ".x4.trans");
        assert_eq!(
            run_threads(&transposed, &input, 32).0,
            lanes(|i| tile_word(at(i % 4 * 2, i / 4), at(i % 4 * 2 + 1, i / 4)))
        );
    }
    // A tile stored and read back as rows: lane l reads word l, so row l / 4, columns 2·(l mod 4).
    let stored = "mov.u32 %x9, box; and.b32 %x1, %lane, 7; mad.lo.u32 %x8, %x1, 16, %x9; shl.b32 %x2, %lane, 1; add.u32 %x3, %x2, 1; shl.b32 %x3, %x3, 16; or.b32 %x2, %x2, %x3;
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [%x8], {%x2}; bar.sync 0; mad.lo.u32 %x9, %lane, 4, %x9; ld.shared.u32 %r, [%x9];";
    assert_eq!(run(stored), lanes(|i| tile_word(2 * i, 2 * i + 1)));
    let across = stored.replace(".x1.shared", ".x1.trans.shared");
    let held = |row: u32, column: u32| row * 8 + column;
    assert_eq!(run(&across), lanes(|i| tile_word(held(i % 4 * 2, i / 4), held(i % 4 * 2 + 1, i / 4))));
    let moved = "shl.b32 %x2, %lane, 1; add.u32 %x3, %x2, 1; shl.b32 %x3, %x3, 16; or.b32 %x2, %x2, %x3; movmatrix.sync.aligned.m8n8.trans.b16 %r, %x2;";
    assert_eq!(run(moved), lanes(|i| tile_word(held(i % 4 * 2, i / 4), held(i % 4 * 2 + 1, i / 4))));
}

/// One mma over 32 lanes: registers of A, B and C from memory, all of D back.
fn mma(shape: &str, counts: [usize; 4], words: &[u32]) -> Vec<[u32; 4]> {
    let [d, a, b, c] = counts;
    let list = |base: usize, n: usize| (0..n).map(|k| format!("%v{}", base + k)).collect::<Vec<_>>().join(", ");
    let total = a + b + c;
    let mut text = format!(
        "{HEAD}.visible .entry k(.param .u64 out, .param .u64 in) {{ .reg .b64 %o, %i; .reg .b32 %l, %v<20>;\nld.param.u64 %o, [out]; ld.param.u64 %i, [in]; mov.u32 %l, %tid.x; mad.wide.u32 %o, %l, 16, %o; mad.wide.u32 %i, %l, {}, %i;\n",
        4 * total
    );
    (0..total).for_each(|k| text += &format!("ld.global.u32 %v{k}, [%i+{}];\n", 4 * k));
    text += &format!(
        "mma.sync.aligned.{shape} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n",
        list(12, d),
        list(0, a),
        list(a, b),
        list(a + b, c)
    );
    (0..d).for_each(|k| text += &format!("st.global.u32 [%o+{}], %v{};\n", 4 * k, 12 + k));
    let gpu = Gpu::new(&(text + "ret; }\n"), checked());
    let (input, out) = (gpu.upload(words), gpu.upload(&[[0u32; 4]; 32]));
    gpu.launch("k", 1, 32, args![out, input]);
    gpu.download(out, 32)
}

/// A 16-bit, 8-bit or tf32 element format for the reference.
struct Kind {
    shape: &'static str,
    k: usize,
    /// Elements a register holds.
    packed: usize,
    encode: fn(i32) -> u32,
    integer: bool,
}

#[test]
fn mma_fragments_lane_by_lane() {
    let bf16 = |x: i32| (x as f32).to_bits() >> 16;
    let f16 = |x: i32| u32::from(half::f16::from_f32(x as f32).to_bits());
    let tf32 = |x: i32| (x as f32).to_bits();
    let s8 = |x: i32| x as u8 as u32;
    let kinds = [
        Kind { shape: "m16n8k16.row.col.f32.bf16.bf16.f32", k: 16, packed: 2, encode: bf16, integer: false },
        Kind { shape: "m16n8k8.row.col.f32.bf16.bf16.f32", k: 8, packed: 2, encode: bf16, integer: false },
        Kind { shape: "m16n8k16.row.col.f32.f16.f16.f32", k: 16, packed: 2, encode: f16, integer: false },
        Kind { shape: "m16n8k8.row.col.f32.f16.f16.f32", k: 8, packed: 2, encode: f16, integer: false },
        Kind { shape: "m16n8k8.row.col.f32.tf32.tf32.f32", k: 8, packed: 1, encode: tf32, integer: false },
        Kind { shape: "m16n8k4.row.col.f32.tf32.tf32.f32", k: 4, packed: 1, encode: tf32, integer: false },
        Kind { shape: "m16n8k32.row.col.s32.s8.s8.s32", k: 32, packed: 4, encode: s8, integer: true },
        Kind { shape: "m16n8k16.row.col.s32.s8.s8.s32", k: 16, packed: 4, encode: s8, integer: true },
    ];
    for kind in kinds {
        let mut next = numbers(31);
        let mut small = || (next() % 15) as i32 - 7;
        let a: Vec<Vec<i32>> = (0..16).map(|_| (0..kind.k).map(|_| small()).collect()).collect();
        let b: Vec<Vec<i32>> = (0..kind.k).map(|_| (0..8).map(|_| small()).collect()).collect();
        let c: Vec<Vec<i32>> = (0..16).map(|_| (0..8).map(|_| small()).collect()).collect();
        let (p, bits) = (kind.packed, 32 / kind.packed);
        let (registers_a, registers_b) = (kind.k * 16 / 32 / p, kind.k * 8 / 32 / p);
        let number = |x: i32| if kind.integer { x as u32 } else { (x as f32).to_bits() };
        let mut words = Vec::new();
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            let pack =
                |f: &dyn Fn(usize) -> i32| (0..p).fold(0u32, |word, e| word | (kind.encode)(f(e)) << (e * bits % 32));
            for r in 0..registers_a {
                words.push(pack(&|e| a[g + 8 * (r % 2)][r / 2 * 4 * p + t * p + e]));
            }
            for r in 0..registers_b {
                words.push(pack(&|e| b[r * 4 * p + t * p + e][g]));
            }
            for r in 0..4 {
                words.push(number(c[g + 8 * (r / 2)][2 * t + r % 2]));
            }
        }
        let got = mma(kind.shape, [4, registers_a, registers_b, 4], &words);
        for (lane, got) in got.iter().enumerate() {
            for (r, &got) in got.iter().enumerate() {
                let (row, column) = (lane / 4 + 8 * (r / 2), lane % 4 * 2 + r % 2);
                let sum: i32 = (0..kind.k).map(|k| a[row][k] * b[k][column]).sum();
                assert_eq!(got, number(sum + c[row][column]), "{} lane {lane} register {r}", kind.shape);
            }
        }
    }
}

#[test]
fn mma_with_f16_accumulators() {
    // A and B all ones, C counts: every sum is k + c, exact in f16.
    let word = |x: u16, y: u16| u32::from(x) | u32::from(y) << 16;
    let one = half::f16::ONE.to_bits();
    let c = |row: usize, column: usize| half::f16::from_f32((row * 8 + column) as f32).to_bits();
    let mut words = Vec::new();
    for lane in 0..32 {
        words.extend([word(one, one); 6]);
        words.extend((0..2).map(|r| word(c(lane / 4 + 8 * r, lane % 4 * 2), c(lane / 4 + 8 * r, lane % 4 * 2 + 1))));
    }
    let got = mma("m16n8k16.row.col.f16.f16.f16.f16", [2, 4, 2, 2], &words);
    for (lane, got) in got.iter().enumerate() {
        for (r, &got) in got.iter().take(2).enumerate() {
            let want =
                |h: usize| half::f16::from_f32(((lane / 4 + 8 * r) * 8 + lane % 4 * 2 + h) as f32 + 16.0).to_bits();
            assert_eq!(got, word(want(0), want(1)));
        }
    }
}
