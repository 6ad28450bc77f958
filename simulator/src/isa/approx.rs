//! The special function unit: `sin`, `cos`, `lg2`, `ex2`, `tanh`, `rsqrt` (PTX ISA 9.7.3.16 to 9.7.3.22, 9.7.4.9,
//! 9.7.4.10).
//!
//! Results are computed in f64 and rounded, so they are closer than the error the ISA allows; the cases it tabulates
//! (zeros, infinities, subnormals with `.ftz`) come out as it says.

use super::float::{input, options, output};
use super::half_float::{AsBf16, AsF16, Format};
use super::nudge::nudge;
use super::numeric::Rounding;
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each1, lane_loop, map1};
use crate::program::{AluFn, Class, Inst, Op};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("rsqrt", "9.7.3.16", rsqrt),
    row("sin", "9.7.3.18", sin),
    row("cos", "9.7.3.19", cos),
    row("lg2", "9.7.3.20", lg2),
    row("ex2", "9.7.3.21", ex2),
    row("tanh", "9.7.3.22", tanh),
];

/// The loops of one function for every format it may have.
macro_rules! approximate {
    ($ty:expr, $f:expr) => {
        match $ty {
            Type::F32 => Some(lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map1::<f32, f32>(lanes, inst, mask, |a| output($f(f64::from(input(a, o))) as f32, o))
            })),
            Type::F16 => Some(each1!(u16 => u16, |a| AsF16::round($f(AsF16::widen(a))))),
            Type::Bf16 => Some(each1!(u16 => u16, |a| AsBf16::round($f(AsBf16::widen(a))))),
            Type::F16x2 => Some(each1!(u32 => u32, |a| pair(a, |h| AsF16::round($f(AsF16::widen(h)))))),
            Type::Bf16x2 => Some(each1!(u32 => u32, |a| pair(a, |h| AsBf16::round($f(AsBf16::widen(h)))))),
            _ => None,
        }
    };
}

fn pair(word: u32, f: impl Fn(u16) -> u16) -> u32 {
    u32::from(f(word as u16)) | u32::from(f((word >> 16) as u16)) << 16
}

fn emit(decode: &mut Decode<'_, '_, '_>, ty: Type, ftz: bool, run: Option<AluFn>) -> LoadResult<()> {
    let Some(run) = run else { return decode.unsupported(ty) };
    decode.operands(2..=2)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Sfu);
    inst.d[0] = decode.dst(0, ty)?;
    inst.s[0] = decode.src(1, ty)?;
    inst.imm = options(ftz, false, Rounding::Even);
    inst.flops = 1;
    decode.emit(inst);
    Ok(())
}

fn head(decode: &mut Decode<'_, '_, '_>) -> LoadResult<(bool, Type)> {
    if !decode.flag("approx") {
        return decode.fail("only the .approx form exists");
    }
    Ok((decode.flag("ftz"), decode.ty()?))
}

fn rsqrt(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    let run = match ty {
        Type::F32 => approximate!(ty, |x: f64| 1.0 / x.sqrt()),
        // With `.ftz` a single step of the unit, which sees and gives only the upper half of a number; without it a
        // function.
        Type::F64 if ftz => Some(each1!(f64 => f64, |a| {
            let upper = |x: f64| f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000);
            let flushed = if a.abs() < f64::MIN_POSITIVE { 0.0f64.copysign(a) } else { a };
            upper(1.0 / upper(flushed).sqrt())
        })),
        Type::F64 => Some(each1!(f64 => f64, |a| 1.0 / a.sqrt())),
        _ => None,
    };
    emit(decode, ty, ftz, run)
}

fn sin(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    let run = if ty == Type::F32 { approximate!(ty, f64::sin) } else { None };
    emit(decode, ty, ftz, run)
}

fn cos(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    let run = if ty == Type::F32 { approximate!(ty, f64::cos) } else { None };
    emit(decode, ty, ftz, run)
}

fn lg2(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    let run = if ty == Type::F32 { approximate!(ty, f64::log2) } else { None };
    emit_inexact(decode, ty, ftz, run)
}

/// As [`emit`], for what hardware is known to give less exactly.
fn emit_inexact(decode: &mut Decode<'_, '_, '_>, ty: Type, ftz: bool, run: Option<AluFn>) -> LoadResult<()> {
    emit(decode, ty, ftz, run)?;
    if ty == Type::F32 {
        let d = decode.dst(0, ty)?;
        nudge(decode, d);
    }
    Ok(())
}

fn ex2(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    emit_inexact(decode, ty, ftz, approximate!(ty, exp2))
}

/// 1 / k! for k from 0 on.
const INVERSE_FACTORIALS: [f64; 12] = {
    let mut terms = [1.0; 12];
    let mut k = 1;
    while k < terms.len() {
        terms[k] = terms[k - 1] / k as f64;
        k += 1;
    }
    terms
};

/// 2^x as vectors compute it: 2^n of the nearest integer n by its bits, times the series of 2^r to the eleventh term.
/// With
/// |r| ≤ 1/2 what follows is below 2^-45, far beyond what f32 keeps.
#[inline(always)]
fn exp2(x: f64) -> f64 {
    /// Where f64 has no fraction bits left: adding it rounds to an integer, which is then in the low bits.
    const INTEGERS: f64 = 6755399441055744.0;
    /// Beyond any result of f32, and within what exponent bits hold.
    const RANGE: f64 = 1000.0;
    use std::f64::consts::LN_2;
    let clamped = if x > RANGE { RANGE } else { x };
    let clamped = if clamped < -RANGE { -RANGE } else { clamped };
    let shifted = clamped + INTEGERS;
    let t = (clamped - (shifted - INTEGERS)) * LN_2;
    let mut series = 0.0;
    for term in INVERSE_FACTORIALS.iter().rev() {
        series = series * t + term;
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x.is_nan() { x } else { series * power }
}

fn tanh(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (ftz, ty) = head(decode)?;
    emit(decode, ty, ftz, approximate!(ty, f64::tanh))
}

#[cfg(test)]
mod tests {
    use super::exp2;

    #[test]
    fn powers_of_two_are_exact_to_f32() {
        for i in -160_000..130_000 {
            let x = f64::from(i) * 1e-3 + 1.1e-4;
            let (got, want) = (exp2(x), x.exp2());
            assert!((got / want - 1.0).abs() < 2f64.powi(-42), "{x}: {got:e} instead of {want:e}");
        }
        assert_eq!([exp2(3.0), exp2(0.0), exp2(-149.0)], [8.0, 1.0, 2f64.powi(-149)]);
        assert_eq!([exp2(f64::INFINITY) as f32, exp2(f64::NEG_INFINITY) as f32], [f32::INFINITY, 0.0]);
        assert!(exp2(f64::NAN).is_nan());
    }
}
