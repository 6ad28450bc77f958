//! f32 and f64 arithmetic (ISA 9.7.3) in every rounding mode, with and without `.ftz` and `.sat`, against exact
//! arithmetic.

use super::case::{Case, Want, case, run, sweep_over};
use super::exact::{F32, F64, Format, MODES, Mode, Number, edges, product, quotient, square_root, sum};

const fn f(x: f32) -> u64 {
    x.to_bits() as u64
}
const NAN: u64 = 0x7fff_ffff;
const QNAN: u64 = 0x7fc0_0000;
const INF: u64 = 0x7f80_0000;
const NINF: u64 = 0xff80_0000;
const NZERO: u64 = 0x8000_0000;
const DENORMAL: u64 = 1;

/// What happens to operands and results beside rounding.
#[derive(Clone, Copy, PartialEq)]
pub struct Options {
    pub ftz: bool,
    pub sat: bool,
}

/// A result's bits: rounded, flushed, saturated, with the ISA's NaN.
pub fn finish(format: Format, exact: &Number, mode: Mode, options: Options) -> Want {
    let Some(bits) = exact.write(format, mode) else {
        return match format.nan {
            _ if options.sat => Want::Bits(0),
            Some(nan) => Want::Bits(nan),
            None => Want::AnyNan(64),
        };
    };
    let bits = if options.ftz { format.flush(bits) } else { bits };
    if !options.sat {
        return Want::Bits(bits);
    }
    // To [+0, 1]: what is negative, −0 too, becomes +0.
    let one = Number::of_integer(1).write(format, Mode::Nearest).unwrap_or(0);
    let negative = bits >> (format.bits - 1) == 1;
    Want::Bits(if negative { 0 } else { bits.min(one) })
}

fn read(format: Format, bits: u64, options: Options) -> Number {
    if options.ftz { format.read_flushed(bits) } else { format.read(bits) }
}

type Binary = fn(&Number, &Number, Mode) -> Number;

const BINARY: [(&str, Binary); 3] =
    [("add", sum as Binary), ("sub", |a, b, mode| sum(a, &b.clone().negate(), mode)), ("mul", |a, b, _| product(a, b))];

fn f32_options() -> Vec<(&'static str, Options)> {
    vec![
        ("", Options { ftz: false, sat: false }),
        (".ftz", Options { ftz: true, sat: false }),
        (".sat", Options { ftz: false, sat: true }),
        (".ftz.sat", Options { ftz: true, sat: true }),
    ]
}

const PLAIN: Options = Options { ftz: false, sat: false };

fn sums_and_products() -> Vec<Case> {
    let mut cases = Vec::new();
    let (singles, doubles) = (edges(F32), edges(F64));
    for (op, answer) in BINARY {
        for (name, mode) in MODES {
            for (suffix, options) in f32_options() {
                cases.push(sweep_over(format!("{op}.{name}{suffix}.f32 %d, %a, %b;"), "www", &singles, |v| {
                    finish(F32, &answer(&read(F32, v[0], options), &read(F32, v[1], options), mode), mode, options)
                }));
            }
            cases.push(sweep_over(format!("{op}.{name}.f64 %d, %a, %b;"), "ddd", &doubles, |v| {
                finish(F64, &answer(&F64.read(v[0]), &F64.read(v[1]), mode), mode, PLAIN)
            }));
        }
        // Without a mode: to nearest.
        cases.push(sweep_over(format!("{op}.f32 %d, %a, %b;"), "www", &singles, |v| {
            finish(F32, &answer(&F32.read(v[0]), &F32.read(v[1]), Mode::Nearest), Mode::Nearest, PLAIN)
        }));
        cases.push(sweep_over(format!("{op}.f64 %d, %a, %b;"), "ddd", &doubles, |v| {
            finish(F64, &answer(&F64.read(v[0]), &F64.read(v[1]), Mode::Nearest), Mode::Nearest, PLAIN)
        }));
    }
    cases
}

fn fused() -> Vec<Case> {
    let mut cases = Vec::new();
    let (singles, doubles) = (edges(F32), edges(F64));
    let answer = |a: &Number, b: &Number, c: &Number, mode| sum(&product(a, b), c, mode);
    for op in ["fma", "mad"] {
        for (name, mode) in MODES {
            for (suffix, options) in f32_options() {
                cases.push(sweep_over(format!("{op}.{name}{suffix}.f32 %d, %a, %b, %c;"), "wwww", &singles, |v| {
                    let at = |k: usize| read(F32, v[k], options);
                    finish(F32, &answer(&at(0), &at(1), &at(2), mode), mode, options)
                }));
            }
            cases.push(sweep_over(format!("{op}.{name}.f64 %d, %a, %b, %c;"), "dddd", &doubles, |v| {
                finish(F64, &answer(&F64.read(v[0]), &F64.read(v[1]), &F64.read(v[2]), mode), mode, PLAIN)
            }));
        }
    }
    cases
}

fn quotients_and_roots() -> Vec<Case> {
    let mut cases = Vec::new();
    let (singles, doubles) = (edges(F32), edges(F64));
    let one = || Number::of_integer(1);
    for (name, mode) in MODES {
        for (suffix, options) in &f32_options()[..2] {
            let at = move |bits| read(F32, bits, *options);
            cases.push(sweep_over(format!("div.{name}{suffix}.f32 %d, %a, %b;"), "www", &singles, |v| {
                finish(F32, &quotient(&at(v[0]), &at(v[1])), mode, *options)
            }));
            cases.push(sweep_over(format!("rcp.{name}{suffix}.f32 %d, %a;"), "ww", &singles, |v| {
                finish(F32, &quotient(&one(), &at(v[0])), mode, *options)
            }));
            cases.push(sweep_over(format!("sqrt.{name}{suffix}.f32 %d, %a;"), "ww", &singles, |v| {
                finish(F32, &square_root(&at(v[0])), mode, *options)
            }));
        }
        cases.push(sweep_over(format!("div.{name}.f64 %d, %a, %b;"), "ddd", &doubles, |v| {
            finish(F64, &quotient(&F64.read(v[0]), &F64.read(v[1])), mode, PLAIN)
        }));
        cases.push(sweep_over(format!("rcp.{name}.f64 %d, %a;"), "dd", &doubles, |v| {
            finish(F64, &quotient(&one(), &F64.read(v[0])), mode, PLAIN)
        }));
        cases.push(sweep_over(format!("sqrt.{name}.f64 %d, %a;"), "dd", &doubles, |v| {
            finish(F64, &square_root(&F64.read(v[0])), mode, PLAIN)
        }));
    }
    cases
}

/// The smaller or larger of two numbers' bits: −0 is below +0, a NaN loses to a number unless it is asked to win.
pub fn extreme(format: Format, a: u64, b: u64, max: bool, nan_wins: bool) -> Option<u64> {
    let is_nan = |bits| matches!(format.read(bits), Number::Nan);
    match (is_nan(a), is_nan(b)) {
        (true, true) => return None,
        (true, false) | (false, true) if nan_wins => return None,
        (true, false) => return Some(b),
        (false, true) => return Some(a),
        _ => {}
    }
    // Bits as a number that orders like the value: magnitude with the sign, −0 just below +0.
    let key = |bits: u64| {
        let top = 1i128 << (format.bits - 1);
        let magnitude = i128::from(bits) & (top - 1);
        if i128::from(bits) & top != 0 { -magnitude - 1 } else { magnitude }
    };
    Some(if (key(a) > key(b)) == max { a } else { b })
}

fn extremes() -> Vec<Case> {
    let mut cases = Vec::new();
    let bits = |format: Format, outcome: Option<u64>| match (outcome, format.nan) {
        (Some(bits), _) => Want::Bits(bits),
        (None, Some(nan)) => Want::Bits(nan),
        (None, None) => Want::AnyNan(64),
    };
    for (op, max) in [("min", false), ("max", true)] {
        cases.push(sweep_over(format!("{op}.f32 %d, %a, %b;"), "www", &edges(F32), |v| {
            bits(F32, extreme(F32, v[0], v[1], max, false))
        }));
        cases.push(sweep_over(format!("{op}.ftz.f32 %d, %a, %b;"), "www", &edges(F32), |v| {
            bits(F32, extreme(F32, F32.flush(v[0]), F32.flush(v[1]), max, false))
        }));
        cases.push(sweep_over(format!("{op}.NaN.f32 %d, %a, %b;"), "www", &edges(F32), |v| {
            bits(F32, extreme(F32, v[0], v[1], max, true))
        }));
        // The larger or smaller magnitude, with the product of the signs.
        cases.push(sweep_over(format!("{op}.xorsign.abs.f32 %d, %a, %b;"), "www", &edges(F32), |v| {
            let magnitude = extreme(F32, v[0] & 0x7fff_ffff, v[1] & 0x7fff_ffff, max, false);
            bits(F32, magnitude.map(|m| m & 0x7fff_ffff | (v[0] ^ v[1]) & 0x8000_0000))
        }));
        cases.push(sweep_over(format!("{op}.f64 %d, %a, %b;"), "ddd", &edges(F64), |v| {
            bits(F64, extreme(F64, v[0], v[1], max, false))
        }));
    }
    cases
}

fn signs() -> Vec<Case> {
    let (singles, doubles) = (edges(F32), edges(F64));
    let mut cases = vec![
        sweep_over("abs.f32 %d, %a;", "ww", &singles, |v| v[0] & 0x7fff_ffff),
        sweep_over("neg.f32 %d, %a;", "ww", &singles, |v| v[0] ^ 0x8000_0000),
        sweep_over("abs.f64 %d, %a;", "dd", &doubles, |v| v[0] & !(1 << 63)),
        sweep_over("neg.f64 %d, %a;", "dd", &doubles, |v| v[0] ^ 1 << 63),
        sweep_over("abs.ftz.f32 %d, %a;", "ww", &singles, |v| F32.flush(v[0]) & 0x7fff_ffff),
        sweep_over("neg.ftz.f32 %d, %a;", "ww", &singles, |v| F32.flush(v[0]) ^ 0x8000_0000),
        sweep_over("copysign.f32 %d, %a, %b;", "www", &singles, |v| v[1] & 0x7fff_ffff | v[0] & 0x8000_0000),
        sweep_over("copysign.f64 %d, %a, %b;", "ddd", &doubles, |v| v[1] & !(1 << 63) | v[0] & 1 << 63),
    ];
    // The kind of a number from its exponent and fraction fields.
    type Test = (&'static str, fn(u64, u64, u64) -> bool);
    let tests: [Test; 6] = [
        ("finite", |e, top, _| e != top),
        ("infinite", |e, top, fraction| e == top && fraction == 0),
        ("number", |e, top, fraction| !(e == top && fraction != 0)),
        ("notanumber", |e, top, fraction| e == top && fraction != 0),
        ("normal", |e, top, _| e != 0 && e != top),
        ("subnormal", |e, _, fraction| e == 0 && fraction != 0),
    ];
    for (name, test) in tests {
        cases.push(sweep_over(format!("testp.{name}.f32 %d, %a;"), "pw", &singles, move |v| {
            u64::from(test(v[0] >> 23 & 0xff, 0xff, v[0] & 0x7f_ffff))
        }));
        cases.push(sweep_over(format!("testp.{name}.f64 %d, %a;"), "pd", &doubles, move |v| {
            u64::from(test(v[0] >> 52 & 0x7ff, 0x7ff, v[0] & ((1 << 52) - 1)))
        }));
    }
    cases
}

/// What the ISA tabulates for special operands, and sums whose rounding is seen at a glance.
fn by_hand() -> Vec<Case> {
    const EPS: f32 = f32::EPSILON;
    let tiny = f32::from_bits(0x2f80_0000); // 2^-32, far below half a unit of 1
    vec![
        case("add.f32 %d, %a, %b;", "www", &[([f(1.5), f(2.25)], f(3.75)), ([INF, NINF], NAN), ([QNAN, 0], NAN)]),
        case("add.rp.f32 %d, %a, %b;", "www", &[([f(1.0), f(tiny)], f(1.0 + EPS)), ([f(f32::MAX), f(f32::MAX)], INF)]),
        case("add.rm.f32 %d, %a, %b;", "www", &[([f(1.0), f(-1.0)], NZERO), ([f(f32::MAX), f(f32::MAX)], f(f32::MAX))]),
        case("add.sat.f32 %d, %a, %b;", "www", &[([f(3.0), f(1.0)], f(1.0)), ([QNAN, 0], 0), ([NZERO, NZERO], 0)]),
        case("fma.rn.f32 %d, %a, %b, %c;", "wwww", &[([f(1.0 + EPS), f(1.0 - EPS), f(-1.0)], f(-EPS * EPS))]),
        case("rcp.rn.f32 %d, %a;", "ww", &[([NZERO], NINF), ([INF], 0)]),
        case("sqrt.rn.f32 %d, %a;", "ww", &[([f(-1.0)], NAN), ([NZERO], NZERO), ([INF], INF)]),
        case("min.f32 %d, %a, %b;", "www", &[([QNAN, f(1.0)], f(1.0)), ([0, NZERO], NZERO), ([QNAN, QNAN], NAN)]),
        case("setp.eq.ftz.f32 %d, %a, %b;", "pww", &[([DENORMAL, NZERO], 1)]),
    ]
}

pub fn cases() -> Vec<Case> {
    [sums_and_products(), fused(), quotients_and_roots(), extremes(), signs(), by_hand()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn sums_and_products_are_rounded_once() {
    run(&sums_and_products());
}

#[test]
fn fused_products_are_rounded_once() {
    run(&fused());
}

#[test]
fn quotients_and_roots_are_rounded_once() {
    run(&quotients_and_roots());
}

#[test]
fn signs_order_and_kinds() {
    run(&extremes());
    run(&signs());
    run(&by_hand());
}
