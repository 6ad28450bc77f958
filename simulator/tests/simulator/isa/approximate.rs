//! Approximate functions (ISA 9.7.3.13 to 9.7.3.22, 9.7.4.9, 9.7.4.10): within the error the ISA documents, over many
//! magnitudes, and the special values of its tables.

use std::f32::consts::PI;

use super::case::{Case, HEAD, case, kernel, run, sweep_over};
use crate::args;
use crate::common::{Gpu, checked, numbers};

const fn f(x: f32) -> u64 {
    x.to_bits() as u64
}
const NAN: u64 = 0x7fff_ffff;
const QNAN: u64 = 0x7fc0_0000;
const INF: u64 = 0x7f80_0000;
const NINF: u64 = 0xff80_0000;
const NZERO: u64 = 0x8000_0000;
const DENORMAL: u64 = 1;

/// An instruction on one f32, the function it approximates, where, and the error allowed for an argument and exact
/// result.
struct Function {
    text: &'static str,
    exact: fn(f64) -> f64,
    range: (f32, f32),
    allowed: fn(f64, f64) -> f64,
}

const fn relative(
    text: &'static str,
    exact: fn(f64) -> f64,
    range: (f32, f32),
    allowed: fn(f64, f64) -> f64,
) -> Function {
    Function { text, exact, range, allowed }
}

const FUNCTIONS: [Function; 10] = [
    relative("ex2.approx.f32 %d, %a;", f64::exp2, (-120.0, 120.0), |_, y| y * 2f64.powi(-22)),
    relative("ex2.approx.ftz.f32 %d, %a;", f64::exp2, (-120.0, 120.0), |_, y| y * 2f64.powi(-22)),
    relative("lg2.approx.f32 %d, %a;", f64::log2, (1e-30, 1e30), |x, y| {
        if (0.5..2.0).contains(&x) { 2f64.powi(-22) } else { y.abs() * 2f64.powi(-22) }
    }),
    relative("rsqrt.approx.f32 %d, %a;", |x| 1.0 / x.sqrt(), (1e-35, 1e35), |_, y| y * 2f64.powf(-22.9)),
    relative("rcp.approx.f32 %d, %a;", |x| 1.0 / x, (1e-35, 1e35), |_, y| y * 2f64.powi(-23)),
    relative("sqrt.approx.f32 %d, %a;", f64::sqrt, (1e-35, 1e35), |_, y| y * 2f64.powi(-23)),
    relative("sin.approx.f32 %d, %a;", f64::sin, (-PI, PI), |_, _| 2f64.powf(-20.5)),
    relative("cos.approx.f32 %d, %a;", f64::cos, (-PI, PI), |_, _| 2f64.powf(-20.5)),
    relative("tanh.approx.f32 %d, %a;", f64::tanh, (-12.0, 12.0), |_, y| y.abs() * 2f64.powi(-11)),
    relative("sin.approx.ftz.f32 %d, %a;", f64::sin, (-314.0, 314.0), |_, _| 2f64.powf(-14.7)),
];

const SAMPLES: usize = 4096;

/// Half of the samples spread evenly over the range, half over its magnitudes.
fn samples((low, high): (f32, f32)) -> Vec<f32> {
    let mut next = numbers(21);
    let mut unit = || (next() >> 11) as f64 / (1u64 << 53) as f64;
    (0..SAMPLES)
        .map(|k| {
            let (low, high) = (f64::from(low), f64::from(high));
            let even = low + (high - low) * unit();
            let magnitude = (high.abs().ln() - unit() * 40.0).exp();
            let spread = if low > 0.0 { magnitude.max(low) } else { magnitude * if k % 4 == 1 { 1.0 } else { -1.0 } };
            (if k % 2 == 0 { even } else { spread.clamp(low, high) }) as f32
        })
        .collect()
}

#[test]
fn approximations_stay_within_the_documented_error() {
    for function in FUNCTIONS {
        let case = Case { text: function.text.to_owned(), kinds: "ww", rows: Vec::new() };
        let gpu = Gpu::new(&format!("{HEAD}{}", kernel(0, &case)), checked());
        let values = samples(function.range);
        let input: Vec<[u64; 4]> = values.iter().map(|x| [f(*x), 0, 0, 0]).collect();
        let (input, out) = (gpu.upload(&input), gpu.alloc(8 * SAMPLES));
        gpu.launch("k0", SAMPLES as u32 / 32, 32, args![out, input]);
        for (x, got) in values.iter().zip(gpu.download::<u64>(out, SAMPLES)) {
            let x = f64::from(*x);
            let (got, want) = (f64::from(f32::from_bits(got as u32)), (function.exact)(x));
            // Beside the function's error, the result is a float: half a unit in its last place.
            let allowed = (function.allowed)(x, want) + want.abs() * 2f64.powi(-24);
            assert!((got - want).abs() <= allowed, "{} of {x}: {got}, not {want}", function.text);
        }
    }
}

/// Halves: each result is within the documented relative error of the exact one, for every half there is.
#[test]
fn half_approximations_stay_within_the_documented_error() {
    type Half = (&'static str, bool, fn(f64) -> f64, f64);
    let functions: [Half; 4] = [
        ("ex2.approx.f16", false, f64::exp2, 2f64.powf(-9.9)),
        ("ex2.approx.ftz.bf16", true, f64::exp2, 2f64.powi(-7)),
        ("tanh.approx.f16", false, f64::tanh, 2f64.powf(-10.987)),
        ("tanh.approx.bf16", true, f64::tanh, 2f64.powi(-8)),
    ];
    let value = |bits: u16, bf16: bool| {
        if bf16 { half::bf16::from_bits(bits).to_f64() } else { half::f16::from_bits(bits).to_f64() }
    };
    for (name, bf16, exact, error) in functions {
        let pair = Case { text: format!("{name}x2 %d, %a;"), kinds: "ww", rows: Vec::new() };
        let single = Case { text: format!("{name} %d, %a;"), kinds: "hh", rows: Vec::new() };
        let gpu = Gpu::new(&format!("{HEAD}{}{}", kernel(0, &pair), kernel(1, &single)), checked());
        let input: Vec<[u64; 4]> = (0..0x1_0000u64).map(|k| [k | (0xffff - k) << 16, 0, 0, 0]).collect();
        let (input, out) = (gpu.upload(&input), gpu.alloc(8 * 0x1_0000));
        for (kernel, halves) in [("k0", 2), ("k1", 1)] {
            gpu.launch(kernel, 0x1_0000 / 32, 32, args![out, input]);
            for (k, got) in gpu.download::<u64>(out, 0x1_0000).into_iter().enumerate() {
                for half in 0..halves {
                    let x = value(if half == 0 { k as u16 } else { 0xffff - k as u16 }, bf16);
                    let (got, want) = (value((got >> (16 * half)) as u16, bf16), exact(x));
                    if x.is_nan() {
                        assert!(got.is_nan(), "{name} of NaN is {got}");
                        continue;
                    }
                    // Overflow and subnormal results lose more than the relative error.
                    let (largest, smallest) = if bf16 { (3.38e38, 1.2e-38) } else { (65504.0, 6.2e-5) };
                    let floor = if bf16 { 1.2e-38 } else { 6e-8 };
                    let near =
                        (got - want).abs() <= want.abs() * error + if want.abs() < smallest { floor } else { 0.0 };
                    assert!(near || want > largest && got.is_infinite(), "{name} of {x}: {got}, not {want}");
                }
            }
        }
    }
}

fn specials() -> Vec<Case> {
    let upper = |x: f64| x.to_bits() & 0xffff_ffff_0000_0000;
    vec![
        case(
            "ex2.approx.f32 %d, %a;",
            "ww",
            &[([f(3.0)], f(8.0)), ([NINF], 0), ([INF], INF), ([NZERO], f(1.0)), ([0], f(1.0)), ([QNAN], NAN)],
        ),
        case("ex2.approx.ftz.f32 %d, %a;", "ww", &[([f(-149.0)], 0), ([DENORMAL], f(1.0)), ([0x8000_0001], f(1.0))]),
        case(
            "lg2.approx.f32 %d, %a;",
            "ww",
            &[([f(8.0)], f(3.0)), ([0], NINF), ([NZERO], NINF), ([f(-1.0)], NAN), ([INF], INF), ([QNAN], NAN)],
        ),
        case("lg2.approx.f32 %d, %a;", "ww", &[([DENORMAL], f(-149.0))]),
        case("lg2.approx.ftz.f32 %d, %a;", "ww", &[([DENORMAL], NINF), ([0x8000_0001], NINF)]),
        case(
            "rsqrt.approx.f32 %d, %a;",
            "ww",
            &[
                ([f(4.0)], f(0.5)),
                ([0], INF),
                ([NZERO], NINF),
                ([INF], 0),
                ([NINF], NAN),
                ([f(-1.0)], NAN),
                ([QNAN], NAN),
            ],
        ),
        case("rsqrt.approx.ftz.f32 %d, %a;", "ww", &[([DENORMAL], INF), ([0x8000_0001], NINF)]),
        case(
            "rcp.approx.f32 %d, %a;",
            "ww",
            &[([0], INF), ([NZERO], NINF), ([INF], 0), ([NINF], NZERO), ([QNAN], NAN)],
        ),
        case("rcp.approx.ftz.f32 %d, %a;", "ww", &[([f(4.0)], f(0.25)), ([DENORMAL], INF), ([f(f32::MAX)], 0)]),
        case("sqrt.approx.f32 %d, %a;", "ww", &[([f(9.0)], f(3.0)), ([NZERO], NZERO), ([f(-1.0)], NAN), ([INF], INF)]),
        case("sqrt.approx.ftz.f32 %d, %a;", "ww", &[([DENORMAL], 0), ([0x8000_0001], NZERO)]),
        case("sin.approx.f32 %d, %a;", "ww", &[([0], 0), ([NZERO], NZERO), ([INF], NAN), ([NINF], NAN), ([QNAN], NAN)]),
        case("sin.approx.ftz.f32 %d, %a;", "ww", &[([DENORMAL], 0), ([0x8000_0001], NZERO)]),
        case("cos.approx.f32 %d, %a;", "ww", &[([0], f(1.0)), ([NZERO], f(1.0)), ([INF], NAN), ([QNAN], NAN)]),
        case(
            "tanh.approx.f32 %d, %a;",
            "ww",
            &[([0], 0), ([NZERO], NZERO), ([INF], f(1.0)), ([NINF], f(-1.0)), ([QNAN], NAN)],
        ),
        case("div.full.f32 %d, %a, %b;", "www", &[([f(6.0), f(3.0)], f(2.0)), ([f(1.0), 0], INF), ([0, 0], NAN)]),
        case(
            "div.approx.f32 %d, %a, %b;",
            "www",
            &[([f(6.0), f(3.0)], f(2.0)), ([f(1.0), f(f32::MAX)], 0), ([INF, f(f32::MAX)], NAN), ([f(-1.0), 0], NINF)],
        ),
        case("div.approx.ftz.f32 %d, %a, %b;", "www", &[([f(1.0), DENORMAL], INF), ([DENORMAL, f(1.0)], 0)]),
        case("div.full.ftz.f32 %d, %a, %b;", "www", &[([DENORMAL, f(1.0)], 0)]),
        // The f64 forms see and give only the upper half of a number.
        case(
            "rcp.approx.ftz.f64 %d, %a;",
            "dd",
            &[([4f64.to_bits()], 0.25f64.to_bits()), ([0], f64::INFINITY.to_bits()), ([1], f64::INFINITY.to_bits())],
        ),
        case(
            "rsqrt.approx.ftz.f64 %d, %a;",
            "dd",
            &[([4f64.to_bits()], 0.5f64.to_bits()), ([1], f64::INFINITY.to_bits())],
        ),
        case("rsqrt.approx.f64 %d, %a;", "dd", &[([3f64.to_bits()], (1.0 / 3f64.sqrt()).to_bits())]),
        case("rsqrt.approx.f64 %d, %a;", "dd", &[([4f64.to_bits()], 0.5f64.to_bits()), ([0], f64::INFINITY.to_bits())]),
        sweep_over(
            "rcp.approx.ftz.f64 %d, %a;",
            "dd",
            &[3f64.to_bits(), 1e10f64.to_bits(), (-7.3f64).to_bits()],
            |v| {
                // Only rows whose operand is one of these three, whose upper halves are known.
                match [3f64, 1e10, -7.3].into_iter().find(|x| x.to_bits() == v[0]) {
                    Some(x) => super::case::Want::Bits(upper(1.0 / f64::from_bits(upper(x)))),
                    None => super::case::Want::Unspecified,
                }
            },
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    specials()
}

#[test]
fn special_values_are_those_of_the_tables() {
    run(&specials());
}
