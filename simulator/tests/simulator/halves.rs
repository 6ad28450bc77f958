//! Halves in CUDA C++, alone and in pairs, against the `half` crate through double precision.

use half::{bf16, f16};

use crate::args;
use crate::arithmetic::{COUNT, spread, ulp};
use crate::common::{ARCHITECTURES, Gpu, checked, compile};

/// A half format of the `half` crate, whose operations are the test's own through f64.
trait Half: Copy {
    fn of(x: f64) -> Self;
    fn value(self) -> f64;
    fn bits(self) -> u16;
}

impl Half for bf16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

impl Half for f16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

/// The results of `arithmetic` for one pair. Sums and products of values spread over few exponents are exact in f64.
fn half_results<H: Half>(x: H, y: H) -> Vec<u16> {
    let (a, b) = (x.value(), y.value());
    let bits = |v: f64| H::of(v).bits();
    let truth = |yes: bool| if yes { bits(1.0) } else { 0 };
    vec![
        bits(a + b),
        bits(a - b),
        bits(a * b),
        bits(a * b + a),
        bits((a * b + a).max(0.0)),
        bits(a.max(b)),
        bits(a.min(b)),
        bits(-a),
        bits(a.abs()),
        u16::from(a > b),
        u16::from(a == b),
        u16::from(a < b),
        bits(a + b),
        bits(b + b),
        bits(a * b),
        bits(b * b),
        bits(a * b + a),
        bits(b * b + b),
        bits(a.max(b)),
        bits(b),
        truth(a > b),
        truth(false),
        bits(a.floor()),
        bits(a.round_ties_even()),
    ]
}

fn half_arithmetic<H: Half>(kernel: &str) {
    let halves = |seed| spread(seed, COUNT).into_iter().map(H::of).collect::<Vec<H>>();
    let (a, b) = (halves(101), halves(103));
    let bits = |v: &[H]| v.iter().map(|x| x.bits()).collect::<Vec<u16>>();
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("halves", arch, &[]), checked());
        let (da, db, out) = (gpu.upload(&bits(&a)), gpu.upload(&bits(&b)), gpu.alloc(2 * 24 * COUNT));
        gpu.launch(kernel, COUNT.div_ceil(128) as u32, 128, args![out, da, db, COUNT as i32]);
        for (k, got) in gpu.download::<u16>(out, 24 * COUNT).chunks(24).enumerate() {
            let want = half_results(a[k], b[k]);
            // A fused product that cancels to nothing may have either zero's sign before `.relu`; all else is exact.
            assert_eq!(got, want, "{arch} {kernel} of {}, {}", a[k].value(), b[k].value());
        }
    }
}

#[test]
fn half_precision_arithmetic() {
    half_arithmetic::<bf16>("bf16_arithmetic");
    half_arithmetic::<f16>("f16_arithmetic");
}

/// Two units in the last place: what the header's sequences promise for functions of halves.
fn half_functions<H: Half>(kernel: &str, precision: i32, min_exponent: i32) {
    let functions: [fn(f64) -> f64; 8] = [
        f64::exp,
        |x| x.abs().ln(),
        |x| x.abs().sqrt(),
        |x| 1.0 / x.abs().sqrt(),
        f64::sin,
        f64::cos,
        |x| 1.0 / x,
        f64::exp2,
    ];
    let a: Vec<H> = spread(107, COUNT).into_iter().map(H::of).collect();
    let bits: Vec<u16> = a.iter().map(|x| x.bits()).collect();
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("halves", arch, &[]), checked());
        let (input, out) = (gpu.upload(&bits), gpu.alloc(4 * 8 * COUNT));
        gpu.launch(kernel, COUNT.div_ceil(128) as u32, 128, args![out, input, COUNT as i32]);
        for (x, got) in a.iter().zip(gpu.download::<f32>(out, 8 * COUNT).chunks(8)) {
            for (k, (function, &got)) in functions.iter().zip(got).enumerate() {
                let want = function(x.value());
                let allowed = 2.0 * ulp(want, precision, min_exponent);
                assert!(
                    (f64::from(got) - want).abs() <= allowed,
                    "{arch} {kernel} {k} of {}: {got}, not {want}",
                    x.value()
                );
            }
        }
    }
}

#[test]
fn half_precision_functions() {
    half_functions::<bf16>("bf16_functions", 8, -126);
    half_functions::<f16>("f16_functions", 11, -14);
}
