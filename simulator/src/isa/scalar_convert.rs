//! One conversion of one value: every pair of types, rounding and saturation of `cvt`, as a plain function.
//!
//! Integers pass through i128 and floats through f64, both exact for all source types; the result is rounded once.
//! Common conversions have vector loops in [`super::convert`], which tests hold against this.

use super::numeric::{BF16, E4M3, E5M2, F16, F32, Rounding, TF32, round_integral, round_to};
use crate::ptx::types::Type;

/// What `cvt` is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    pub to: Type,
    pub from: Type,
    pub rounding: Rounding,
    /// Rounds to an integral value, also from float to float.
    pub integral: bool,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// Ties away from zero (`.rna` to tf32).
    pub ties_away: bool,
}

enum Number {
    Integer(i128),
    Float(f64),
}

fn read(bits: u64, ty: Type, ftz: bool) -> Number {
    match ty {
        Type::U8 => Number::Integer((bits as u8).into()),
        Type::S8 => Number::Integer((bits as i8).into()),
        Type::U16 => Number::Integer((bits as u16).into()),
        Type::S16 => Number::Integer((bits as i16).into()),
        Type::U32 => Number::Integer((bits as u32).into()),
        Type::S32 => Number::Integer((bits as i32).into()),
        Type::U64 => Number::Integer(bits.into()),
        Type::S64 => Number::Integer((bits as i64).into()),
        Type::F16 => Number::Float(half::f16::from_bits(bits as u16).to_f64()),
        Type::Bf16 => Number::Float(f32::from_bits((bits as u32) << 16).into()),
        Type::F64 => Number::Float(f64::from_bits(bits)),
        _ => {
            let value = f32::from_bits(bits as u32);
            Number::Float(if ftz { super::numeric::flush(value) } else { value }.into())
        }
    }
}

fn integer_range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// Bits of a float of `ty` nearest in the given mode.
fn write_float(x: f64, c: &Conversion) -> u64 {
    let x = if c.sat && (c.to.is_float()) { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
    let x = if c.relu && (x <= 0.0) { 0.0 } else { x };
    match c.to {
        Type::F64 => x.to_bits(),
        Type::F32 if x.is_nan() => 0x7fff_ffff,
        Type::F32 => {
            let single = round_to(x, F32, c.rounding) as f32;
            let single = if c.ftz { super::numeric::flush(single) } else { single };
            single.to_bits().into()
        }
        Type::Tf32 if x.is_nan() => 0x7fff_ffff,
        Type::Tf32 if c.ties_away => {
            // Half a unit of the tenth bit added to the magnitude, then cut: ties go away from zero.
            let bits = (x as f32).to_bits();
            let rounded = if x.is_infinite() { bits } else { bits.wrapping_add(0x1000) };
            u64::from(rounded & 0xffff_e000)
        }
        Type::Tf32 => (round_to(x, TF32, c.rounding) as f32).to_bits().into(),
        Type::F16 if x.is_nan() => 0x7fff,
        Type::F16 => half::f16::from_f64(round_to(x, F16, c.rounding)).to_bits().into(),
        Type::Bf16 if x.is_nan() => 0x7fff,
        Type::Bf16 => ((round_to(x, BF16, c.rounding) as f32).to_bits() >> 16).into(),
        _ => 0,
    }
}

/// An 8-bit float with saturation to the largest finite value.
pub fn to_fp8(x: f64, e4m3: bool, relu: bool) -> u8 {
    let (format, mantissa, bias) = if e4m3 { (E4M3, 3, 7) } else { (E5M2, 2, 15) };
    if x.is_nan() {
        return 0x7f;
    }
    let x = if relu && x < 0.0 { 0.0 } else { x };
    let max = if e4m3 { 448.0 } else { 57344.0 };
    let rounded = round_to(x.clamp(-max, max), format, Rounding::Even);
    let sign = u8::from(x.is_sign_negative()) << 7;
    let magnitude = rounded.abs();
    if magnitude == 0.0 {
        return sign;
    }
    let exponent = (magnitude.to_bits() >> 52) as i32 - 1023;
    let min = 1 - bias;
    let scale = 2f64.powi(mantissa - exponent.max(min));
    let significand = (magnitude * scale) as i32;
    let code =
        if exponent < min { significand } else { ((exponent + bias) << mantissa) + significand - (1 << mantissa) };
    sign | code as u8
}

pub fn from_fp8(bits: u8, e4m3: bool) -> f64 {
    let (mantissa, bias) = if e4m3 { (3, 7) } else { (2, 15) };
    let (exponent, fraction) = (i32::from(bits & 0x7f) >> mantissa, i32::from(bits) & ((1 << mantissa) - 1));
    let top = (1 << (7 - mantissa)) - 1;
    let magnitude = if e4m3 && bits & 0x7f == 0x7f {
        f64::NAN
    } else if !e4m3 && exponent == top {
        if fraction == 0 { f64::INFINITY } else { f64::NAN }
    } else if exponent == 0 {
        f64::from(fraction) * 2f64.powi(1 - bias - mantissa)
    } else {
        f64::from(fraction + (1 << mantissa)) * 2f64.powi(exponent - bias - mantissa)
    };
    if bits & 0x80 != 0 { -magnitude } else { magnitude }
}

fn write_integer(x: i128, c: &Conversion) -> u64 {
    let (low, high) = integer_range(c.to);
    let x = if c.sat { x.clamp(low, high) } else { x };
    let mask = if c.to.bits() == 64 { u64::MAX } else { (1 << c.to.bits()) - 1 };
    x as u64 & mask
}

/// Converts one value's bits.
pub fn convert(bits: u64, c: &Conversion) -> u64 {
    match read(bits, c.from, c.ftz) {
        Number::Integer(x) if c.to.is_integer() => write_integer(x, c),
        Number::Integer(x) if c.to == Type::F64 => integer_to_f64(x, c.rounding).to_bits(),
        Number::Integer(x) => write_float(integer_to_odd(x), c),
        // Float to integer always saturates; NaN gives zero for small types and the top of the range otherwise.
        Number::Float(x) if c.to.is_integer() => {
            let (low, high) = integer_range(c.to);
            if x.is_nan() {
                let wide_source = c.from == Type::F64 || c.to.bits() == 64;
                let top = if wide_source { 1u64 << (c.to.bits() - 1) } else { 0 };
                return top;
            }
            let rounded = round_integral(x, c.rounding);
            write_integer((rounded as i128).clamp(low, high), c)
        }
        Number::Float(x) => {
            let x = if c.integral { round_integral(x, c.rounding) } else { x };
            write_float(x, c)
        }
    }
}

fn integer_to_f64(x: i128, rounding: Rounding) -> f64 {
    let nearest = x as f64;
    let exact = nearest as i128;
    match rounding {
        Rounding::Up if exact < x => nearest.next_up(),
        Rounding::Down if exact > x => nearest.next_down(),
        Rounding::Zero if exact.abs() > x.abs() => f64::from_bits(nearest.to_bits() - 1),
        _ => nearest,
    }
}

/// Exact where f64 holds the integer, otherwise rounded to odd, so that the next rounding is the only one that counts.
fn integer_to_odd(x: i128) -> f64 {
    let magnitude = x.unsigned_abs();
    let extra = (128 - magnitude.leading_zeros()).saturating_sub(53);
    let kept = magnitude >> extra << extra;
    let sticky = kept | if kept != magnitude { 1 << extra } else { 0 };
    let value = sticky as f64;
    if x < 0 { -value } else { value }
}
