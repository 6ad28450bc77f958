//! Instruction by instruction: inputs and results worked out from the ISA's text or by Rust's own arithmetic.
//!
//! A case is one instruction over up to 32 lanes. Operands are `%d`, `%a`, `%b`, `%c`, `%e`; kinds are `h` 16, `w` 32, `d` 64
//! bits and `p` predicate. What needs a warp or memory is in `isa_warp.rs`; a test here holds the table against both.

mod common;

use common::instruction::{Case, case, kernel, run};
use common::{Gpu, checked};

const fn f(x: f32) -> u64 {
    x.to_bits() as u64
}
const fn g(x: f64) -> u64 {
    x.to_bits()
}
const NAN: u64 = 0x7fff_ffff;
const QNAN: u64 = 0x7fc0_0000;
const INF: u64 = 0x7f80_0000;
const NINF: u64 = 0xff80_0000;
const NZERO: u64 = 0x8000_0000;
const DENORMAL: u64 = 1;
const M1: u64 = 0xffff_ffff;
const MIN32: u64 = 0x8000_0000;

fn integers() -> Vec<Case> {
    vec![
        case("add.s32 %d, %a, %b;", "www", &[([1, 2], 3), ([0x7fff_ffff, 1], MIN32), ([M1, 1], 0)]),
        case("add.sat.s32 %d, %a, %b;", "www", &[([0x7fff_ffff, 1], 0x7fff_ffff), ([MIN32, M1], MIN32), ([5, M1], 4)]),
        case("add.u64 %d, %a, %b;", "ddd", &[([u64::MAX, 2], 1), ([1 << 40, 1], (1 << 40) + 1)]),
        case("add.u16 %d, %a, %b;", "hhh", &[([0xffff, 2], 1)]),
        case("sub.s32 %d, %a, %b;", "www", &[([1, 2], M1), ([MIN32, 1], 0x7fff_ffff)]),
        case("sub.s64 %d, %a, %b;", "ddd", &[([0, 1], u64::MAX)]),
        case("mul.lo.s32 %d, %a, %b;", "www", &[([0x10000, 0x10000], 0), ([M1, 7], (-7i32) as u32 as u64)]),
        case("mul.hi.u32 %d, %a, %b;", "www", &[([M1, M1], 0xffff_fffe)]),
        case("mul.hi.s32 %d, %a, %b;", "www", &[([M1, M1], 0), ([MIN32, 2], M1)]),
        case("mul.wide.u32 %d, %a, %b;", "dww", &[([M1, M1], 0xffff_fffe_0000_0001)]),
        case("mul.wide.s32 %d, %a, %b;", "dww", &[([M1, M1], 1), ([MIN32, 1], 0xffff_ffff_8000_0000)]),
        case("mul.hi.u64 %d, %a, %b;", "ddd", &[([u64::MAX, u64::MAX], u64::MAX - 1)]),
        case("mul.wide.s16 %d, %a, %b;", "whh", &[([0x8000, 2], 0xffff_0000)]),
        case("mad.lo.s32 %d, %a, %b, %c;", "wwww", &[([3, 4, 5], 17), ([M1, 2, 1], M1)]),
        case("mad.hi.u32 %d, %a, %b, %c;", "wwww", &[([MIN32, 4, 5], 7)]),
        case("mad.wide.u32 %d, %a, %b, %c;", "dwwd", &[([M1, 2, 3], 0x2_0000_0001)]),
        case("mul24.lo.u32 %d, %a, %b;", "www", &[([0xff00_0003, 5], 15)]),
        case("mul24.hi.s32 %d, %a, %b;", "www", &[([0x00ff_ffff, 0x10000], M1)]),
        case("mad24.lo.s32 %d, %a, %b, %c;", "wwww", &[([0x00ff_ffff, 3, 10], 7)]),
        case("dp4a.s32.s32 %d, %a, %b, %c;", "wwww", &[([0xff02_0304, 0x0102_0304, 10], (10 - 1 + 4 + 9 + 16) as u64)]),
        case("dp4a.u32.s32 %d, %a, %b, %c;", "wwww", &[([0xff, 0xff, 0], (-255i32) as u32 as u64)]),
        case("dp2a.hi.s32.s32 %d, %a, %b, %c;", "wwww", &[([0x0002_ffff, 0x0305_0000, 1], (1 - 5 + 6) as u64)]),
        case("sad.s32 %d, %a, %b, %c;", "wwww", &[([M1, 3, 10], 14), ([3, M1, 10], 14)]),
        case(
            "div.s32 %d, %a, %b;",
            "www",
            &[([(-7i32) as u32 as u64, 2], (-3i32) as u32 as u64), ([MIN32, M1], MIN32)],
        ),
        case("div.u64 %d, %a, %b;", "ddd", &[([u64::MAX, 10], u64::MAX / 10)]),
        case("rem.s32 %d, %a, %b;", "www", &[([(-7i32) as u32 as u64, 2], M1), ([MIN32, M1], 0)]),
        case("abs.s32 %d, %a;", "ww", &[([M1], 1), ([MIN32], MIN32)]),
        case("neg.s32 %d, %a;", "ww", &[([1], M1), ([MIN32], MIN32)]),
        case("min.s32 %d, %a, %b;", "www", &[([M1, 0], M1)]),
        case("min.u32 %d, %a, %b;", "www", &[([M1, 0], 0)]),
        case("max.s64 %d, %a, %b;", "ddd", &[([u64::MAX, 0], 0)]),
        case("popc.b32 %d, %a;", "ww", &[([0xf0f0], 8), ([0], 0)]),
        case("popc.b64 %d, %a;", "wd", &[([u64::MAX], 64)]),
        case("clz.b32 %d, %a;", "ww", &[([0], 32), ([1], 31), ([M1], 0)]),
        case("bfind.u32 %d, %a;", "ww", &[([0], M1), ([0x8000], 15)]),
        case("bfind.s32 %d, %a;", "ww", &[([M1], M1), ([0xffff_fffe], 0), ([0x40], 6)]),
        case("bfind.shiftamt.u32 %d, %a;", "ww", &[([1], 31), ([0], M1)]),
        case(
            "fns.b32 %d, %a, %b, %c;",
            "wwww",
            &[([0b1011, 0, 3], 3), ([0b1011, 3, M1], 3), ([0b1011, 2, 0], M1), ([8, 3, 0], 3)],
        ),
        case("brev.b32 %d, %a;", "ww", &[([1], MIN32), ([0xf0], 0x0f00_0000)]),
        case(
            "bfe.u32 %d, %a, %b, %c;",
            "wwww",
            &[([0xabcd, 4, 8], 0xbc), ([M1, 40, 4], 0), ([M1, 0, 0], 0), ([M1, 4, 99], 0x0fff_ffff)],
        ),
        case(
            "bfe.s32 %d, %a, %b, %c;",
            "wwww",
            &[([0x80, 4, 4], 0xffff_fff8), ([0x70, 4, 4], 7), ([M1, 31, 8], M1), ([MIN32, 40, 4], M1)],
        ),
        case("bfe.s64 %d, %a, %b, %c;", "ddww", &[([1 << 63, 60, 4], 0xffff_ffff_ffff_fff8)]),
        case(
            "bfi.b32 %d, %a, %b, %c, %e;",
            "wwwww",
            &[([0xff, 0, 8, 4], 0xf00), ([M1, 0x1234, 32, 4], 0x1234), ([0, M1, 0, 0], M1)],
        ),
        case("bfi.b64 %d, %a, %b, %c, %e;", "dddww", &[([u64::MAX, 0, 32, 32], 0xffff_ffff_0000_0000)]),
        case("szext.wrap.s32 %d, %a, %b;", "www", &[([0x8, 4], 0xffff_fff8), ([0x18, 36], 0xffff_fff8), ([0xf, 0], 0)]),
        case("szext.clamp.u32 %d, %a, %b;", "www", &[([M1, 99], M1), ([0xff, 4], 0xf)]),
        case("bmsk.clamp.b32 %d, %a, %b;", "www", &[([4, 8], 0xff0), ([40, 3], 0), ([0, 99], M1)]),
        case(
            "{ .reg .b32 t; add.cc.u32 t, %a, %b; addc.u32 %d, %c, %e; }",
            "wwwww",
            &[([M1, 1, 2, 3], 6), ([1, 1, 2, 3], 5)],
        ),
        case(
            "{ .reg .b32 t; sub.cc.u32 t, %a, %b; subc.u32 %d, %c, %e; }",
            "wwwww",
            &[([0, 1, 5, 3], 1), ([1, 1, 5, 3], 2)],
        ),
        case(
            "{ .reg .b32 t; mad.lo.cc.u32 t, %a, %b, %c; madc.hi.u32 %d, %a, %b, %e; }",
            "wwwww",
            &[([M1, M1, 0xffff_ffff, 0], M1)],
        ),
    ]
}

fn logic() -> Vec<Case> {
    vec![
        case("and.b32 %d, %a, %b;", "www", &[([0xff0, 0x0ff], 0x0f0)]),
        case("or.b64 %d, %a, %b;", "ddd", &[([1 << 63, 1], 1 << 63 | 1)]),
        case("xor.pred %d, %a, %b;", "ppp", &[([1, 1], 0), ([1, 0], 1)]),
        case("not.b16 %d, %a;", "hh", &[([0xff], 0xff00)]),
        case("not.pred %d, %a;", "pp", &[([1], 0), ([0], 1)]),
        case("cnot.b32 %d, %a;", "ww", &[([0], 1), ([7], 0)]),
        case("lop3.b32 %d, %a, %b, %c, 0xe8;", "wwww", &[([0b1100, 0b1010, 0b1001], 0b1000)]),
        case("lop3.b32 %d, %a, %b, %c, 0x1a;", "wwww", &[([0xf0, 0xcc, 0xaa], 0x1a)]),
        case("shl.b32 %d, %a, %b;", "www", &[([1, 31], MIN32), ([1, 32], 0), ([1, 300], 0)]),
        case("shl.b64 %d, %a, %b;", "ddw", &[([1, 63], 1 << 63), ([1, 64], 0)]),
        case("shl.b16 %d, %a, %b;", "hhw", &[([0x8001, 1], 2), ([1, 16], 0)]),
        case("shr.u32 %d, %a, %b;", "www", &[([MIN32, 31], 1), ([M1, 32], 0)]),
        case("shr.s32 %d, %a, %b;", "www", &[([MIN32, 31], M1), ([MIN32, 99], M1)]),
        case("shr.s16 %d, %a, %b;", "hhw", &[([0x8000, 15], 0xffff)]),
        case("shf.l.wrap.b32 %d, %a, %b, %c;", "wwww", &[([0x8000_0000, 1, 1], 3), ([1, 2, 32], 2)]),
        case("shf.r.clamp.b32 %d, %a, %b, %c;", "wwww", &[([0, 1, 1], MIN32), ([1, 2, 40], 2)]),
        case(
            "prmt.b32 %d, %a, %b, %c;",
            "wwww",
            &[([0x3322_1100, 0x7766_5544, 0x7140], 0x7711_4400), ([0x80, 0, 0x8888], M1)],
        ),
        case("prmt.b32.b4e %d, %a, %b, %c;", "wwww", &[([0x3322_1100, 0x7766_5544, 1], 0x6677_0011)]),
        case("mov.b32 %d, %a;", "ww", &[([5], 5)]),
        case("mov.b64 %d, {%a, %b};", "dww", &[([1, 2], 0x2_0000_0001)]),
        case("{ .reg .b32 t; mov.b64 {t, %d}, %a; }", "wd", &[([0x2_0000_0001], 2)]),
        case("setp.lt.s32 %d, %a, %b;", "pww", &[([M1, 0], 1), ([0, 0], 0)]),
        case("setp.lo.u32 %d, %a, %b;", "pww", &[([M1, 0], 0), ([0, 1], 1)]),
        case("setp.ge.and.s32 %d, %a, %b, !%c;", "pwwp", &[([1, 0, 1], 0), ([1, 0, 0], 1)]),
        case("setp.neu.f32 %d, %a, %b;", "pww", &[([QNAN, QNAN], 1), ([f(1.0), f(1.0)], 0)]),
        case("setp.ne.f32 %d, %a, %b;", "pww", &[([QNAN, 0], 0), ([f(1.0), 0], 1)]),
        case("setp.gtu.f32 %d, %a, %b;", "pww", &[([QNAN, 0], 1), ([f(1.0), f(2.0)], 0)]),
        case("setp.eq.f32 %d, %a, %b;", "pww", &[([NZERO, 0], 1), ([QNAN, QNAN], 0), ([DENORMAL, 0], 0)]),
        case("setp.eq.ftz.f32 %d, %a, %b;", "pww", &[([DENORMAL, 0], 1)]),
        case("setp.nan.f64 %d, %a, %b;", "pdd", &[([g(f64::NAN), 0], 1), ([0, 0], 0)]),
        case("setp.num.f32 %d, %a, %b;", "pww", &[([QNAN, 0], 0), ([0, 0], 1)]),
        case("set.lt.u32.f32 %d, %a, %b;", "www", &[([f(1.0), f(2.0)], M1), ([f(2.0), f(1.0)], 0)]),
        case("set.gt.f32.s32 %d, %a, %b;", "www", &[([1, M1], f(1.0)), ([M1, 1], 0)]),
        case("selp.b32 %d, %a, %b, %c;", "wwwp", &[([1, 2, 1], 1), ([1, 2, 0], 2)]),
        case("slct.b32.s32 %d, %a, %b, %c;", "wwww", &[([1, 2, 0], 1), ([1, 2, M1], 2)]),
        case("slct.b32.f32 %d, %a, %b, %c;", "wwww", &[([1, 2, NZERO], 1), ([1, 2, QNAN], 2)]),
    ]
}

/// One above 1, and what rounding modes do to a sum with a quarter of its distance.
const EPS: f32 = f32::EPSILON;

fn floats() -> Vec<Case> {
    let tiny = f32::from_bits(0x2f80_0000); // 2^-32, far below half a unit of 1
    vec![
        case(
            "add.f32 %d, %a, %b;",
            "www",
            &[([f(1.5), f(2.25)], f(3.75)), ([INF, NINF], NAN), ([NZERO, NZERO], NZERO), ([DENORMAL, DENORMAL], 2)],
        ),
        case("add.rp.f32 %d, %a, %b;", "www", &[([f(1.0), f(tiny)], f(1.0 + EPS)), ([f(f32::MAX), f(f32::MAX)], INF)]),
        case(
            "add.rm.f32 %d, %a, %b;",
            "www",
            &[([f(1.0), f(tiny)], f(1.0)), ([f(1.0), f(-1.0)], NZERO), ([f(f32::MAX), f(f32::MAX)], f(f32::MAX))],
        ),
        case("add.rz.f32 %d, %a, %b;", "www", &[([f(-1.0), f(tiny)], f(-1.0 + EPS / 2.0))]),
        case("add.ftz.f32 %d, %a, %b;", "www", &[([DENORMAL, DENORMAL], 0), ([0x8000_0001, 0x8000_0001], NZERO)]),
        case("add.sat.f32 %d, %a, %b;", "www", &[([f(3.0), f(1.0)], f(1.0)), ([f(-3.0), f(1.0)], 0), ([QNAN, 0], 0)]),
        case("add.rz.f64 %d, %a, %b;", "ddd", &[([g(1.0), g(-1e-30)], g(1.0 - f64::EPSILON / 2.0))]),
        case("sub.f64 %d, %a, %b;", "ddd", &[([g(1.0), g(0.25)], g(0.75))]),
        case(
            "mul.f32 %d, %a, %b;",
            "www",
            &[([f(3.0), f(-2.0)], f(-6.0)), ([0, INF], NAN), ([f(f32::MAX), f(2.0)], INF)],
        ),
        case("mul.rp.f32 %d, %a, %b;", "www", &[([f(1.0 + EPS), f(1.0 + EPS)], f(1.0 + 3.0 * EPS))]),
        case("mul.rz.f64 %d, %a, %b;", "ddd", &[([g(f64::MAX), g(2.0)], g(f64::MAX))]),
        case("fma.rn.f32 %d, %a, %b, %c;", "wwww", &[([f(1.0 + EPS), f(1.0 - EPS), f(-1.0)], f(-EPS * EPS))]),
        case(
            "fma.rm.f32 %d, %a, %b, %c;",
            "wwww",
            &[([f(1.0), f(1.0), f(-tiny)], f(1.0 - EPS / 2.0)), ([f(1.0), f(1.0), f(-1.0)], NZERO)],
        ),
        case("fma.rn.f64 %d, %a, %b, %c;", "dddd", &[([g(3.0), g(4.0), g(5.0)], g(17.0))]),
        case("fma.rp.f64 %d, %a, %b, %c;", "dddd", &[([g(1.0), g(1.0), g(1e-40)], g(1.0 + f64::EPSILON))]),
        case("mad.rn.f32 %d, %a, %b, %c;", "wwww", &[([f(3.0), f(4.0), f(5.0)], f(17.0))]),
        case("div.rn.f32 %d, %a, %b;", "www", &[([f(1.0), f(3.0)], f(1.0 / 3.0)), ([f(1.0), 0], INF), ([0, 0], NAN)]),
        case("div.rz.f32 %d, %a, %b;", "www", &[([f(2.0), f(3.0)], 0x3f2a_aaaa)]),
        case("div.full.f32 %d, %a, %b;", "www", &[([f(6.0), f(3.0)], f(2.0))]),
        case("div.approx.f32 %d, %a, %b;", "www", &[([f(6.0), f(3.0)], f(2.0)), ([f(1.0), f(f32::MAX)], 0)]),
        case("div.rp.f64 %d, %a, %b;", "ddd", &[([g(1.0), g(3.0)], g(1.0 / 3.0) + 1)]),
        case("rcp.rn.f32 %d, %a;", "ww", &[([f(3.0)], f(1.0 / 3.0)), ([NZERO], NINF)]),
        case("rcp.approx.ftz.f32 %d, %a;", "ww", &[([f(4.0)], f(0.25)), ([DENORMAL], INF)]),
        case("rcp.rn.f64 %d, %a;", "dd", &[([g(3.0)], g(1.0 / 3.0))]),
        case(
            "sqrt.rn.f32 %d, %a;",
            "ww",
            &[([f(2.0)], f(std::f32::consts::SQRT_2)), ([f(-1.0)], NAN), ([NZERO], NZERO)],
        ),
        case("sqrt.rm.f32 %d, %a;", "ww", &[([f(4.0)], f(2.0)), ([f(2.0)], 0x3fb5_04f3)]),
        case("sqrt.approx.f32 %d, %a;", "ww", &[([f(9.0)], f(3.0))]),
        case("abs.f32 %d, %a;", "ww", &[([f(-1.5)], f(1.5))]),
        case("neg.f64 %d, %a;", "dd", &[([g(1.5)], g(-1.5))]),
        case("neg.ftz.f32 %d, %a;", "ww", &[([DENORMAL], NZERO)]),
        case("min.f32 %d, %a, %b;", "www", &[([QNAN, f(1.0)], f(1.0)), ([0, NZERO], NZERO), ([QNAN, QNAN], NAN)]),
        case("max.f32 %d, %a, %b;", "www", &[([NZERO, 0], 0), ([f(1.0), f(2.0)], f(2.0))]),
        case("max.NaN.f32 %d, %a, %b;", "www", &[([QNAN, f(1.0)], NAN)]),
        case("copysign.f32 %d, %a, %b;", "www", &[([f(-1.0), f(2.0)], f(-2.0))]),
        case("testp.subnormal.f32 %d, %a;", "pw", &[([DENORMAL], 1), ([f(1.0)], 0)]),
        case("testp.infinite.f64 %d, %a;", "pd", &[([g(f64::INFINITY)], 1), ([0], 0)]),
        case("ex2.approx.f32 %d, %a;", "ww", &[([f(3.0)], f(8.0)), ([NINF], 0), ([INF], INF)]),
        case("ex2.approx.ftz.f32 %d, %a;", "ww", &[([f(-149.0)], 0), ([DENORMAL], f(1.0))]),
        case(
            "lg2.approx.f32 %d, %a;",
            "ww",
            &[([f(8.0)], f(3.0)), ([0], NINF), ([f(-1.0)], NAN), ([DENORMAL], f(-149.0))],
        ),
        case("rsqrt.approx.f32 %d, %a;", "ww", &[([f(4.0)], f(0.5)), ([0], INF), ([NZERO], NINF), ([INF], 0)]),
        case("sin.approx.f32 %d, %a;", "ww", &[([0], 0), ([NZERO], NZERO), ([INF], NAN)]),
        case("cos.approx.f32 %d, %a;", "ww", &[([0], f(1.0)), ([INF], NAN)]),
        case("tanh.approx.f32 %d, %a;", "ww", &[([0], 0), ([INF], f(1.0)), ([NINF], f(-1.0))]),
    ]
}

/// Half formats: 0x3c00 is 1 in f16, 0x3f80 is 1 in bf16.
fn halves() -> Vec<Case> {
    vec![
        case(
            "add.f16 %d, %a, %b;",
            "hhh",
            &[([0x3c00, 0x3c00], 0x4000), ([0x7bff, 0x7bff], 0x7c00), ([0x3c00, 0x1000], 0x3c00)],
        ),
        case("add.bf16x2 %d, %a, %b;", "www", &[([0x3f80_4000, 0x3f80_3f80], 0x4000_4040)]),
        case("sub.f16x2 %d, %a, %b;", "www", &[([0x4000_3c00, 0x3c00_3c00], 0x3c00_0000)]),
        case("mul.f16 %d, %a, %b;", "hhh", &[([0x0001, 0x3800], 0), ([0x4000, 0x4200], 0x4600)]),
        case(
            "fma.rn.bf16 %d, %a, %b, %c;",
            "hhhh",
            &[([0x3f83, 0x3f83, 0xbf80], 0x3d42), ([0x3f80, 0x3f80, 0x3f80], 0x4000)],
        ),
        // (1 + 3·2⁻¹⁰)² − 1 = 2⁻⁸·(1.5 + 9·2⁻¹²): in one rounding the last bits survive.
        case("fma.rn.f16 %d, %a, %b, %c;", "hhhh", &[([0x3c03, 0x3c03, 0xbc00], 0x1e02)]),
        case("fma.rn.relu.bf16x2 %d, %a, %b, %c;", "wwww", &[([0x3f80_bf80, 0x3f80_3f80, 0], 0x3f80_0000)]),
        case("max.bf16x2 %d, %a, %b;", "www", &[([0x3f80_7fc0, 0x4000_3f80], 0x4000_3f80)]),
        case("neg.bf16x2 %d, %a;", "ww", &[([0x3f80_bf80], 0xbf80_3f80)]),
        case("ex2.approx.f16 %d, %a;", "hh", &[([0x4000], 0x4400)]),
        case(
            "cvt.rn.bf16x2.f32 %d, %a, %b;",
            "www",
            &[
                ([f(1.0), f(2.0)], 0x3f80_4000),
                ([QNAN, 0x3f80_8000], 0x7fff_3f80),
                ([0x3f81_8000, 0x3f80_8001], 0x3f82_3f81),
            ],
        ),
        case("cvt.rz.bf16x2.f32 %d, %a, %b;", "www", &[([0x3f80_ffff, 0xbf80_ffff], 0x3f80_bf80)]),
        case("cvt.rn.relu.bf16x2.f32 %d, %a, %b;", "www", &[([f(-1.0), f(1.0)], 0x3f80)]),
        case("cvt.rn.f16.f32 %d, %a;", "hw", &[([f(65520.0)], 0x7c00), ([f(65519.0)], 0x7bff), ([QNAN], 0x7fff)]),
        case("cvt.rz.f16.f32 %d, %a;", "hw", &[([f(65520.0)], 0x7bff)]),
        case("cvt.f32.f16 %d, %a;", "wh", &[([0x0001], 0x3380_0000), ([0xfc00], NINF)]),
        case("cvt.f32.bf16 %d, %a;", "wh", &[([0x3f80], f(1.0))]),
        case("cvt.rna.tf32.f32 %d, %a;", "ww", &[([0x3f80_1000], 0x3f80_2000), ([0x3f80_0fff], 0x3f80_0000)]),
        case("cvt.rn.f32.s32 %d, %a;", "ww", &[([16_777_217], f(16_777_216.0)), ([M1], f(-1.0))]),
        case("cvt.rp.f32.s32 %d, %a;", "ww", &[([16_777_217], f(16_777_218.0))]),
        case("cvt.rn.f32.u64 %d, %a;", "wd", &[([u64::MAX], f(1.8446744e19))]),
        case("cvt.rzi.s32.f32 %d, %a;", "ww", &[([f(-1.9)], M1), ([f(3e9)], 0x7fff_ffff), ([QNAN], 0)]),
        case("cvt.rni.s32.f32 %d, %a;", "ww", &[([f(2.5)], 2), ([f(3.5)], 4)]),
        case("cvt.rmi.f32.f32 %d, %a;", "ww", &[([f(-1.5)], f(-2.0))]),
        case("cvt.rpi.u32.f32 %d, %a;", "ww", &[([f(1.1)], 2), ([f(-5.0)], 0)]),
        case("cvt.rzi.s64.f64 %d, %a;", "dd", &[([g(-1e10)], (-10_000_000_000i64) as u64)]),
        case("cvt.f64.f32 %d, %a;", "dw", &[([f(1.5)], g(1.5))]),
        case("cvt.rn.f32.f64 %d, %a;", "wd", &[([g(1e300)], INF), ([g(0.1)], f(0.1))]),
        case("cvt.rz.f32.f64 %d, %a;", "wd", &[([g(1e300)], f(f32::MAX))]),
        case("cvt.sat.f32.f32 %d, %a;", "ww", &[([f(1.5)], f(1.0)), ([QNAN], 0)]),
        case("cvt.s64.s32 %d, %a;", "dw", &[([M1], u64::MAX)]),
        case("cvt.u64.u32 %d, %a;", "dw", &[([M1], 0xffff_ffff)]),
        case("cvt.s32.s8 %d, %a;", "ww", &[([0x180], 0xffff_ff80)]),
        case("cvt.u32.u8 %d, %a;", "ww", &[([0x1ff], 0xff)]),
        case("cvt.sat.u8.s32 %d, %a;", "ww", &[([300], 255), ([M1], 0)]),
        case(
            "cvt.rn.satfinite.e4m3x2.f32 %d, %a, %b;",
            "hww",
            &[([f(1.0), f(1e9)], 0x387e), ([f(-448.0), f(0.0019)], 0xfe01)],
        ),
        case("cvt.rn.f16x2.e5m2x2 %d, %a;", "wh", &[([0x3c7c], 0x3c00_7c00)]),
        case("cvt.pack.sat.u8.s32.b32 %d, %a, %b, %c;", "wwww", &[([300, M1, 0x1234_5678], 0x5678_ff00)]),
    ]
}

#[test]
fn integer_instructions() {
    run(&integers());
}

#[test]
fn logic_and_comparison() {
    run(&logic());
}

#[test]
fn floating_point() {
    run(&floats());
}

#[test]
fn half_formats_and_conversions() {
    run(&halves());
}

#[test]
fn approximations_stay_within_the_documented_error() {
    type Function = (&'static str, fn(f64) -> f64, f64);
    let functions: [Function; 4] = [
        ("ex2.approx.f32", f64::exp2, 2f64.powi(-22)),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 2f64.powi(-22)),
        ("tanh.approx.f32", f64::tanh, 2f64.powi(-10)),
        ("lg2.approx.f32", f64::log2, 2f64.powi(-22)),
    ];
    for (name, exact, error) in functions {
        let ptx = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n{}",
            kernel(0, &Case { text: "", kinds: "ww", rows: vec![] }).replacen(
                "cvt.u64",
                &format!("{name} %d, %a;\ncvt.u64"),
                1
            )
        );
        let gpu = Gpu::new(&ptx, checked());
        let values: Vec<f32> = common::floats(21, 1024).iter().map(|x| x.abs() * 3.0 + 0.01).collect();
        let input: Vec<[u64; 4]> = values.iter().map(|x| [f(*x), 0, 0, 0]).collect();
        let (input, out) = (gpu.upload(&input), gpu.alloc(8 * 1024));
        gpu.launch("k0", 1, 1024, args![out, input]);
        for (x, got) in values.iter().zip(gpu.download::<u64>(out, 1024)) {
            let (got, want) = (f64::from(f32::from_bits(got as u32)), exact(f64::from(*x)));
            assert!((got - want).abs() <= error * want.abs().max(0.1), "{name}({x}) = {got}, not {want}");
        }
    }
}

#[test]
fn every_row_of_the_table_has_a_test() {
    let mut text =
        [integers(), logic(), floats(), halves()].iter().flatten().map(|c| c.text).collect::<Vec<_>>().join("\n");
    text += include_str!("isa_warp.rs");
    text += include_str!("cuda/tensor.cu");
    let missing: Vec<&str> = cuda::isa::TABLE
        .iter()
        .flat_map(|rows| rows.iter())
        .map(|row| row.opcode)
        .filter(|opcode| ![".", " ", ";"].iter().any(|end| text.contains(&format!("{opcode}{end}"))))
        .collect();
    assert!(missing.is_empty(), "no test of {missing:?}");
    assert!(cuda::isa::TABLE.iter().flat_map(|rows| rows.iter()).all(|row| row.section.starts_with("9.7.")));
}
