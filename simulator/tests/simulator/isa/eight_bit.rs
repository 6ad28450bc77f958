//! Conversions to and from 8-bit floats: every code, and the nearest to each number by search.

use super::case::{Case, sweep_over};
use super::convert::around_integers;
use super::exact::F32;

/// The value of an 8-bit float, from the fields its name gives: sign, exponent, mantissa.
fn value8(code: u64, mantissa: i32, bias: i32) -> f64 {
    let (exponent, fraction) = ((code >> mantissa & 0x7f >> mantissa) as i32, (code & ((1 << mantissa) - 1)) as f64);
    let unit = 2f64.powi(-mantissa);
    let magnitude = if exponent == 0 {
        fraction * unit * 2f64.powi(1 - bias)
    } else {
        (1.0 + fraction * unit) * 2f64.powi(exponent - bias)
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// The code whose value is nearest, the even one of two; too large a number saturates.
fn nearest8(x: f32, mantissa: i32, bias: i32, largest: u64, relu: bool) -> u64 {
    if x.is_nan() {
        return 0x7f;
    }
    if relu && x < 0.0 {
        return 0;
    }
    let x64 = f64::from(x);
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = x64.abs().min(value8(largest, mantissa, bias));
    let distance = |code: u64| (value8(code, mantissa, bias) - magnitude).abs();
    let best = (0..=largest).min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
    sign | best.unwrap_or(0)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let singles: Vec<u64> = around_integers(F32)
        .into_iter()
        .chain((0..512).map(|k| u64::from((k as f32 * 0.00097).to_bits())))
        .chain((0..64).map(|k| u64::from((k as f32 * 9.3 + 100.0).to_bits())))
        .collect();
    // e4m3 has no infinity and one NaN a sign, so its largest number is 0x7e; e5m2 is like a short f16.
    for (name, mantissa, bias, largest) in [("e4m3x2", 3, 7, 0x7e), ("e5m2x2", 2, 15, 0x7b)] {
        for relu in [false, true] {
            let suffix = if relu { ".relu" } else { "" };
            let one = move |bits: u64| nearest8(f32::from_bits(bits as u32), mantissa, bias, largest, relu);
            cases.push(sweep_over(format!("cvt.rn.satfinite{suffix}.{name}.f32 %d, %a, %b;"), "hww", &singles, |v| {
                one(v[0]) << 8 | one(v[1])
            }));
            let packed: Vec<u64> = (0..=0xffff).step_by(13).map(|code| code << 16 | (0xffff - code)).collect();
            cases.push(sweep_over(format!("cvt.rn.satfinite{suffix}.{name}.f16x2 %d, %a;"), "hw", &packed, move |v| {
                let single = |bits: u64| one(half::f16::from_bits(bits as u16).to_f32().to_bits().into());
                single(v[0] >> 16) << 8 | single(v[0] & 0xffff)
            }));
        }
        let every: Vec<u64> = (0..=0xff).map(|code| code | (0xff - code) << 8).collect();
        cases.push(sweep_over(format!("cvt.rn.f16x2.{name} %d, %a;"), "wh", &every, move |v| {
            let one = |code: u64| match code & 0x7f {
                0x7f if largest == 0x7e => 0x7fff,
                0x7c if largest == 0x7b => 0x7c00 | (code & 0x80) << 8,
                magnitude if largest == 0x7b && magnitude > 0x7c => 0x7fff,
                _ => u64::from(half::f16::from_f64(value8(code, mantissa, bias)).to_bits()),
            };
            one(v[0] & 0xff) | one(v[0] >> 8) << 16
        }));
    }
    cases
}
