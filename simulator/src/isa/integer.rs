//! Integer arithmetic (PTX ISA 9.7.1), but for products and bit fields, which have files of their own.
//!
//! `add`, `sub`, `min`, `max`, `abs` and `neg` share their opcode with floating point: a float type is handed on.

use super::{Row, float, row, sign};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each1, each2, each3};
use crate::program::{AluFn, Class};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("add", "9.7.1.1", add),
    row("sub", "9.7.1.2", sub),
    row("sad", "9.7.1.7", sad),
    row("div", "9.7.1.8", div),
    row("rem", "9.7.1.9", rem),
    row("abs", "9.7.1.10", abs),
    row("neg", "9.7.1.11", neg),
    row("min", "9.7.1.12", min),
    row("max", "9.7.1.13", max),
];

/// Picks the lane loop of an integer type; within it the type is called `$t`.
macro_rules! for_int {
    ($ty:expr, $t:ident => $e:expr) => {
        match $ty {
            Type::U16 => {
                type $t = u16;
                Some($e)
            }
            Type::S16 => {
                type $t = i16;
                Some($e)
            }
            Type::U32 => {
                type $t = u32;
                Some($e)
            }
            Type::S32 => {
                type $t = i32;
                Some($e)
            }
            Type::U64 => {
                type $t = u64;
                Some($e)
            }
            Type::S64 => {
                type $t = i64;
                Some($e)
            }
            _ => None,
        }
    };
}
pub(crate) use for_int;

/// Two 16-bit integers in a word, each through `f`.
#[inline(always)]
fn halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

/// Emits `d = f(a, b)` if there is a loop for the type.
pub fn binary(decode: &mut Decode<'_, '_, '_>, ty: Type, run: Option<AluFn>) -> LoadResult<()> {
    let Some(run) = run else { return decode.unsupported(ty) };
    decode.operands(3..=3)?;
    let (d, a, b) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b]);
    Ok(())
}

fn is_float(ty: Type) -> bool {
    ty.is_float() || matches!(ty, Type::F16x2 | Type::Bf16x2)
}

fn add(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("cc") {
        return super::extended::add_carry_out(decode);
    }
    let sat = decode.flag("sat");
    let ty = decode.ty()?;
    if is_float(ty) {
        return float::add(decode, ty, sat, false);
    }
    let run = match ty {
        Type::S32 if sat => Some(each2!(i32, i32 => i32, |a, b| a.saturating_add(b))),
        _ if sat => None,
        Type::U16x2 | Type::S16x2 => Some(each2!(u32, u32 => u32, |a, b| halves(a, b, u16::wrapping_add))),
        _ => for_int!(ty, T => each2!(T, T => T, |a, b| a.wrapping_add(b))),
    };
    binary(decode, ty, run)
}

fn sub(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("cc") {
        return super::extended::sub_carry_out(decode);
    }
    let sat = decode.flag("sat");
    let ty = decode.ty()?;
    if is_float(ty) {
        return float::add(decode, ty, sat, true);
    }
    let run = match ty {
        Type::S32 if sat => Some(each2!(i32, i32 => i32, |a, b| a.saturating_sub(b))),
        _ if sat => None,
        _ => for_int!(ty, T => each2!(T, T => T, |a, b| a.wrapping_sub(b))),
    };
    binary(decode, ty, run)
}

fn sad(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = for_int!(ty, T => each3!(T, T, T => T, |a, b, c| {
        c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) })
    }));
    let Some(run) = run else { return decode.unsupported(ty) };
    decode.operands(4..=4)?;
    let (d, a, b, c) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b, c]);
    Ok(())
}

/// Division by zero gives all ones, as the hardware's sequence does; the ISA leaves it unspecified.
fn div(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if let Some(done) = float::div(decode) {
        return done;
    }
    let ty = decode.ty()?;
    let run = for_int!(ty, T => each2!(T, T => T, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) }));
    binary(decode, ty, run)
}

fn rem(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = for_int!(ty, T => each2!(T, T => T, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }));
    binary(decode, ty, run)
}

pub fn unary(decode: &mut Decode<'_, '_, '_>, d: Type, a: Type, run: Option<AluFn>) -> LoadResult<()> {
    let Some(run) = run else { return decode.unsupported(a) };
    decode.operands(2..=2)?;
    let (d, a) = (decode.dst(0, d)?, decode.src(1, a)?);
    decode.emit_alu(run, Class::Integer, d, &[a]);
    Ok(())
}

fn abs(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ftz = decode.flag("ftz");
    let ty = decode.ty()?;
    if is_float(ty) {
        return sign::sign(decode, ty, ftz, false);
    }
    let run = match ty {
        _ if ftz => None,
        Type::S16 => Some(each1!(i16 => i16, |a| a.wrapping_abs())),
        Type::S32 => Some(each1!(i32 => i32, |a| a.wrapping_abs())),
        Type::S64 => Some(each1!(i64 => i64, |a| a.wrapping_abs())),
        _ => None,
    };
    unary(decode, ty, ty, run)
}

fn neg(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ftz = decode.flag("ftz");
    let ty = decode.ty()?;
    if is_float(ty) {
        return sign::sign(decode, ty, ftz, true);
    }
    let run = match ty {
        _ if ftz => None,
        Type::S16 => Some(each1!(i16 => i16, |a| a.wrapping_neg())),
        Type::S32 => Some(each1!(i32 => i32, |a| a.wrapping_neg())),
        Type::S64 => Some(each1!(i64 => i64, |a| a.wrapping_neg())),
        _ => None,
    };
    unary(decode, ty, ty, run)
}

fn min(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    extreme(decode, false)
}

fn max(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    extreme(decode, true)
}

fn extreme(decode: &mut Decode<'_, '_, '_>, max: bool) -> LoadResult<()> {
    let options = sign::ExtremeOptions::take(decode, max);
    let relu = decode.flag("relu");
    let ty = decode.ty()?;
    if is_float(ty) && !relu {
        return sign::extreme(decode, ty, options);
    }
    if options.any() {
        return decode.unsupported(ty);
    }
    let run = match (ty, max) {
        (Type::S32, true) if relu => Some(each2!(i32, i32 => i32, |a, b| a.max(b).max(0))),
        (Type::S32, false) if relu => Some(each2!(i32, i32 => i32, |a, b| a.min(b).max(0))),
        (Type::S16x2, true) if relu => {
            Some(each2!(u32, u32 => u32, |a, b| halves(a, b, |a, b| (a as i16).max(b as i16).max(0) as u16)))
        }
        (Type::S16x2, false) if relu => {
            Some(each2!(u32, u32 => u32, |a, b| halves(a, b, |a, b| (a as i16).min(b as i16).max(0) as u16)))
        }
        _ if relu => None,
        (Type::U16x2, true) => Some(each2!(u32, u32 => u32, |a, b| halves(a, b, u16::max))),
        (Type::U16x2, false) => Some(each2!(u32, u32 => u32, |a, b| halves(a, b, u16::min))),
        (Type::S16x2, true) => {
            Some(each2!(u32, u32 => u32, |a, b| halves(a, b, |a, b| (a as i16).max(b as i16) as u16)))
        }
        (Type::S16x2, false) => {
            Some(each2!(u32, u32 => u32, |a, b| halves(a, b, |a, b| (a as i16).min(b as i16) as u16)))
        }
        (_, true) => for_int!(ty, T => each2!(T, T => T, |a, b| a.max(b))),
        (_, false) => for_int!(ty, T => each2!(T, T => T, |a, b| a.min(b))),
    };
    binary(decode, ty, run)
}
