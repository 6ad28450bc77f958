//! Integer intrinsics and the math library in CUDA C++, against Rust's integers and `libm` in double precision.

use crate::args;
use crate::common::{ARCHITECTURES, Gpu, checked, compile, numbers};

pub(super) const COUNT: usize = 700;

fn bytes(word: u32) -> [u8; 4] {
    word.to_le_bytes()
}

/// The results of `integers` for one pair, in the kernel's order.
#[allow(clippy::too_many_lines)]
fn integer_results(x: i32, y: i32) -> Vec<i32> {
    let (ux, uy) = (x as u32, y as u32);
    let wide = i64::from(x) * i64::from(y);
    let s24 = |v: i32| v << 8 >> 8;
    let funnel = u64::from(uy) << 32 | u64::from(ux);
    let both: Vec<u8> = bytes(ux).into_iter().chain(bytes(uy)).collect();
    let permuted = (0..4).fold(0u32, |d, k| d | u32::from(both[((ux & 0x7777) >> (4 * k) & 7) as usize]) << (8 * k));
    let dot = |a: &dyn Fn(u8) -> i64, c: i64| {
        bytes(ux).iter().zip(bytes(uy)).map(|(&p, q)| a(p) * a(q)).sum::<i64>().wrapping_add(c) as i32
    };
    let per_byte =
        |f: fn(u8, u8) -> u8| u32::from_le_bytes(std::array::from_fn(|k| f(bytes(ux)[k], bytes(uy)[k]))) as i32;
    let halves = |v: u32| [(v & 0xffff) as u16 as i16, (v >> 16) as u16 as i16];
    let larger = |k: usize| u32::from(halves(ux)[k].max(halves(uy)[k]) as u16);
    vec![
        (wide >> 32) as i32,
        ((u64::from(ux) * u64::from(uy)) >> 32) as i32,
        s24(x).wrapping_mul(s24(y)),
        (ux & 0xff_ffff).wrapping_mul(uy & 0xff_ffff) as i32,
        x.leading_zeros() as i32,
        if x == 0 { 0 } else { x.trailing_zeros() as i32 + 1 },
        ux.count_ones() as i32,
        ux.reverse_bits() as i32,
        permuted as i32,
        (funnel << (ux & 31) >> 32) as i32,
        (funnel >> (ux & 31)) as i32,
        ((u128::from(funnel) << (ux & 63).min(32)) >> 32) as i32,
        (funnel >> (ux & 63).min(32)) as i32,
        ux.wrapping_add(x.abs_diff(y)) as i32,
        ((i64::from(x) + i64::from(y)) >> 1) as i32,
        ((i64::from(x) + i64::from(y) + 1) >> 1) as i32,
        ((u64::from(ux) + u64::from(uy)) >> 1) as i32,
        dot(&|b| i64::from(b as i8), 5),
        dot(&|b| i64::from(b), 5),
        (0..2).map(|k| i64::from(halves(ux)[k]) * i64::from(bytes(uy)[k] as i8)).sum::<i64>() as i32 + 5,
        if y == 0 { 0 } else { x.wrapping_div(y) },
        if y == 0 { 0 } else { x.wrapping_rem(y) },
        x / 7,
        (ux % 1000) as i32,
        if y == 0 { 0 } else { ((wide + 12345) / i64::from(y)) as i32 },
        ((i128::from(wide) * (i128::from(x) << 20)) >> 64) as i32,
        wide.leading_zeros() as i32,
        (u64::from(ux) * u64::from(uy)).count_ones() as i32,
        if wide == 0 { 0 } else { wide.trailing_zeros() as i32 + 1 },
        ((wide as u64).reverse_bits() >> 32) as i32,
        per_byte(u8::wrapping_add),
        per_byte(u8::abs_diff),
        (0..4).map(|k| i32::from(bytes(ux)[k].abs_diff(bytes(uy)[k]))).sum(),
        (larger(0) | larger(1) << 16) as i32,
        per_byte(|a, b| if a == b { 0xff } else { 0 }),
        x.clamp(-1000, 1000),
        x as f32 as i32,
        (x as f32 * 0.37f32).ceil() as i32,
        (f64::from(x) * 0.37).round_ties_even() as i64 as i32,
        i32::from(x as i16) * i32::from(y as u8),
    ]
}

fn integer_inputs() -> Vec<(i32, i32)> {
    let edges = [0, 1, -1, 2, 7, -7, 31, 32, 255, 256, 0x7fff, -0x8000, 0xffff, i32::MAX, i32::MIN, i32::MIN + 1];
    let mut next = numbers(61);
    let pairs = edges.iter().flat_map(|&x| edges.iter().map(move |&y| (x, y)));
    // The one quotient that overflows is not defined in C++.
    let random = (0..).map(|_| (next() as i32 >> (next() % 31), next() as i32 >> (next() % 31)));
    pairs.filter(|pair| *pair != (i32::MIN, -1)).chain(random).take(COUNT).collect()
}

#[test]
fn integer_intrinsics() {
    let inputs = integer_inputs();
    let (a, b): (Vec<i32>, Vec<i32>) = inputs.iter().copied().unzip();
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("arithmetic", arch, &[]), checked());
        let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc(4 * 40 * COUNT));
        gpu.launch("integers", COUNT.div_ceil(128) as u32, 128, args![out, da, db, COUNT as i32]);
        let got = gpu.download::<i32>(out, 40 * COUNT);
        for (k, &(x, y)) in inputs.iter().enumerate() {
            let want = integer_results(x, y);
            let got = &got[40 * k..][..40];
            let wrong = want.iter().zip(got).position(|(w, g)| w != g);
            assert!(wrong.is_none(), "{arch}: result {wrong:?} of {x}, {y}: {got:?} instead of {want:?}");
        }
    }
}

#[test]
fn integers_of_128_bits() {
    let mut next = numbers(67);
    let mut wide = || (u128::from(next()) << 64 | u128::from(next())) >> (next() % 100);
    let inputs: Vec<u128> = (0..2 * COUNT).map(|_| wide()).collect();
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("arithmetic", arch, &[]), checked());
        let (input, out) = (gpu.upload(&inputs), gpu.alloc(16 * 4 * COUNT));
        gpu.launch("wide_integers", COUNT.div_ceil(128) as u32, 128, args![out, input, COUNT as i32]);
        let got = gpu.download::<u128>(out, 4 * COUNT);
        for (pair, got) in inputs.chunks(2).zip(got.chunks(4)) {
            let (x, y) = (pair[0], pair[1] | 1);
            let shifted = ((x as i128) >> 77) as u128 ^ (y << 9);
            assert_eq!(got, [x.wrapping_mul(y).wrapping_add(x >> 13), x / (y >> 40 | 1), x.wrapping_sub(y), shifted]);
        }
    }
}

/// A function with its error bound in units of the last place (CUDA programming guide, mathematical functions).
type Bounded = (&'static str, f64, fn(f64, f64) -> f64);

const SINGLES: [Bounded; 40] = [
    ("expf", 2.0, |x, _| x.exp()),
    ("exp2f", 2.0, |x, _| x.exp2()),
    ("expm1f", 2.0, |x, _| x.exp_m1()),
    ("logf", 1.0, |x, _| x.abs().ln()),
    ("log2f", 1.0, |x, _| x.abs().log2()),
    ("log10f", 2.0, |x, _| x.abs().log10()),
    ("log1pf", 1.0, |x, _| x.abs().ln_1p()),
    ("sincosf, sine", 2.0, |x, _| x.sin()),
    ("sincosf, cosine", 2.0, |x, _| x.cos()),
    ("tanf", 4.0, |x, _| x.tan()),
    ("sinhf", 3.0, |x, _| x.sinh()),
    ("coshf", 2.0, |x, _| x.cosh()),
    ("tanhf", 2.0, |x, _| x.tanh()),
    ("asinf", 2.0, |x, _| (x / 16.0).asin()),
    ("acosf", 2.0, |x, _| (x / 16.0).acos()),
    ("atan2f", 3.0, |x, y| x.atan2(y)),
    ("erff", 2.0, |x, _| libm::erf(x)),
    ("erfcf", 4.0, |x, _| libm::erfc(x)),
    ("sqrtf", 0.5, |x, _| x.abs().sqrt()),
    ("rsqrtf", 2.0, |x, _| 1.0 / x.abs().sqrt()),
    ("cbrtf", 1.0, |x, _| x.cbrt()),
    ("powf", 4.0, |x, y| x.abs().powf(y)),
    ("hypotf", 3.0, |x, y| x.hypot(y)),
    ("fmodf", 0.0, |x, y| x % y),
    ("remainderf", 0.0, |x, y| libm::remainder(x, y)),
    ("floorf", 0.0, |x, _| x.floor()),
    ("ceilf", 0.0, |x, _| x.ceil()),
    ("truncf", 0.0, |x, _| x.trunc()),
    ("rintf", 0.0, |x, _| x.round_ties_even()),
    ("roundf", 0.0, |x, _| x.round()),
    ("copysignf", 0.0, |x, y| x.copysign(y)),
    ("fmaf", 0.5, |x, y| x.mul_add(y, x)),
    ("fdimf", 0.5, |x, y| if x > y { x - y } else { 0.0 }),
    ("ldexpf", 0.0, |x, _| x * 32.0),
    ("frexpf, fraction", 0.0, |x, _| libm::frexp(x).0),
    ("frexpf, exponent", 0.0, |x, _| f64::from(libm::frexp(x).1)),
    ("quotient", 0.5, |x, y| x / y),
    ("reciprocal", 0.5, |x, _| 1.0 / x),
    ("lgammaf", 6.0, |x, _| libm::lgamma(x.abs())),
    ("tgammaf", 5.0, |x, _| libm::tgamma(x.abs() / 2.0)),
];

const DOUBLES: [Bounded; 20] = [
    ("exp", 1.0, |x, _| x.exp()),
    ("log", 1.0, |x, _| x.abs().ln()),
    ("sin", 2.0, |x, _| x.sin()),
    ("cos", 2.0, |x, _| x.cos()),
    ("tanh", 2.0, |x, _| x.tanh()),
    ("erf", 2.0, |x, _| libm::erf(x)),
    ("pow", 2.0, |x, y| x.abs().powf(y)),
    ("sqrt", 0.0, |x, _| x.abs().sqrt()),
    ("rsqrt", 1.0, |x, _| 1.0 / x.abs().sqrt()),
    ("cbrt", 1.0, |x, _| x.cbrt()),
    ("quotient", 0.0, |x, y| x / y),
    ("fma", 0.0, |x, y| x.mul_add(y, x)),
    ("floor", 0.0, |x, _| x.floor()),
    ("rint", 0.0, |x, _| x.round_ties_even()),
    ("conversion to long", 0.0, |x, _| (x * 1e6) as i64 as f64),
    ("conversion to float", 0.0, |x, _| f64::from(x as f32)),
    ("fmod", 0.0, |x, y| x % y),
    ("atan2", 2.0, |x, y| x.atan2(y)),
    ("fmin", 0.0, |x, y| x.min(y)),
    ("lgamma", 4.0, |x, _| libm::lgamma(x.abs())),
];

/// The distance between neighbours of a float format at `x`.
pub(super) fn ulp(x: f64, precision: i32, min_exponent: i32) -> f64 {
    let exponent = if x == 0.0 { min_exponent } else { libm::ilogb(x).max(min_exponent) };
    libm::scalbn(1.0, exponent - precision + 1)
}

/// Numbers of both signs whose magnitudes go from 2^-12 to 2^3.
pub(super) fn spread(seed: u64, count: usize) -> Vec<f64> {
    let mut next = numbers(seed);
    (0..count)
        .map(|_| {
            let unit = (next() >> 11) as f64 / (1u64 << 53) as f64;
            let magnitude = (unit * 15.0 - 12.0).exp2();
            if next().is_multiple_of(2) { magnitude } else { -magnitude }
        })
        .collect()
}

/// The oracle's own error, where it has no more digits than the result.
const ORACLE_ULPS: f64 = 1.0;

#[test]
fn single_precision_functions() {
    let round = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let (a, b) = (round(spread(71, COUNT)), round(spread(73, COUNT)));
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("mathematics", arch, &[]), checked());
        let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc(4 * 40 * COUNT));
        gpu.launch("singles", COUNT.div_ceil(64) as u32, 64, args![out, da, db, COUNT as i32]);
        let got = gpu.download::<f32>(out, 40 * COUNT);
        for (k, got) in got.chunks(40).enumerate() {
            let (x, y) = (f64::from(a[k]), f64::from(b[k]));
            for ((name, ulps, exact), &got) in SINGLES.iter().zip(got) {
                let want = exact(x, y);
                let allowed = (ulps + 0.01) * ulp(want, 24, -126);
                let exactly = *ulps == 0.0 && f64::from(got) == want;
                assert!(
                    exactly || (f64::from(got) - want).abs() <= allowed && *ulps > 0.0,
                    "{arch} {name} of {x}, {y}: {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn double_precision_functions() {
    let (a, b) = (spread(79, COUNT), spread(83, COUNT));
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("mathematics", arch, &[]), checked());
        let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc(8 * 20 * COUNT));
        gpu.launch("doubles", COUNT.div_ceil(64) as u32, 64, args![out, da, db, COUNT as i32]);
        let got = gpu.download::<f64>(out, 20 * COUNT);
        for (k, got) in got.chunks(20).enumerate() {
            for ((name, ulps, exact), &got) in DOUBLES.iter().zip(got) {
                let want = exact(a[k], b[k]);
                let near = *ulps > 0.0 && (got - want).abs() <= (ulps + ORACLE_ULPS) * ulp(want, 53, -1022);
                assert!(got == want || near, "{arch} {name} of {}, {}: {got:e}, not {want:e}", a[k], b[k]);
            }
        }
    }
}

#[test]
fn fast_intrinsics() {
    // Absolute or relative errors of the programming guide's table of intrinsics.
    type Fast = (&'static str, fn(f64, f64) -> f64, fn(f64, f64, f64) -> f64);
    let functions: [Fast; 10] = [
        ("__expf", |x, _| x.exp(), |x, _, want| (2.0 + (1.173 * x.abs()).floor()) * ulp(want, 24, -126)),
        (
            "__logf",
            |x, _| x.abs().ln(),
            |x, _, want| {
                if (0.5..=2.0).contains(&x.abs()) { 2f64.powf(-21.41) } else { 3.0 * ulp(want, 24, -126) }
            },
        ),
        ("__sinf", |x, _| (x / 4.0).sin(), |_, _, _| 2f64.powf(-21.41)),
        ("__cosf", |x, _| (x / 4.0).cos(), |_, _, _| 2f64.powf(-21.19)),
        // exp2(y · log2(x)): the errors of both, grown by the exponent.
        (
            "__powf",
            |x, y| x.abs().powf(y / 4.0),
            |x, y, want| want * 2f64.powi(-22) * (2.0 + (y / 4.0 * x.abs().log2()).abs() + y.abs()),
        ),
        ("__fdividef", |x, y| x / y, |_, _, want| 2.0 * ulp(want, 24, -126)),
        ("__frcp_rn", |x, _| 1.0 / x, |_, _, want| 0.5 * ulp(want, 24, -126)),
        ("__fsqrt_rn", |x, _| x.abs().sqrt(), |_, _, want| 0.5 * ulp(want, 24, -126)),
        ("__fdiv_rn", |x, y| x / y, |_, _, want| 0.5 * ulp(want, 24, -126)),
        ("__saturatef", |x, _| x.clamp(0.0, 1.0), |_, _, _| 0.0),
    ];
    let round = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let (a, b) = (round(spread(89, COUNT)), round(spread(97, COUNT)));
    for arch in ARCHITECTURES {
        for options in [&[][..], &["-use_fast_math"][..]] {
            let gpu = Gpu::new(&compile("mathematics", arch, options), checked());
            let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc(4 * 10 * COUNT));
            gpu.launch("intrinsics", COUNT.div_ceil(64) as u32, 64, args![out, da, db, COUNT as i32]);
            let got = gpu.download::<f32>(out, 10 * COUNT);
            for (k, got) in got.chunks(10).enumerate() {
                let (x, y) = (f64::from(a[k]), f64::from(b[k]));
                for ((name, exact, allowed), &got) in functions.iter().zip(got) {
                    let want = exact(x, y);
                    assert!(
                        (f64::from(got) - want).abs() <= allowed(x, y, want) * (1.0 + 1e-6),
                        "{arch} {name} of {x}, {y}: {got}, not {want}"
                    );
                }
            }
        }
    }
}
