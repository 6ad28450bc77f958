//! Products: `mul`, `mad`, their 24-bit forms and the dot products (PTX ISA 9.7.1.3 to 9.7.1.6, 9.7.1.23, 9.7.1.24).

use super::integer::for_int;
use super::{Row, float, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each2, each3};
use crate::program::{AluFn, Class};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("mul", "9.7.1.3", mul),
    row("mad", "9.7.1.4", mad),
    row("mul24", "9.7.1.5", mul24),
    row("mad24", "9.7.1.6", mad24),
    row("dp4a", "9.7.1.23", dp4a),
    row("dp2a", "9.7.1.24", dp2a),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Low,
    High,
    Wide,
}

pub const PARTS: [(&str, Part); 3] = [("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)];

/// The type of twice the size.
fn double(ty: Type) -> Type {
    match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        _ => Type::S64,
    }
}

fn mul(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let Some(part) = decode.choose(&PARTS) else { return float::mul(decode) };
    let ty = decode.ty()?;
    let run: Option<AluFn> = match (part, ty) {
        (Part::Low, _) => for_int!(ty, T => each2!(T, T => T, |a, b| a.wrapping_mul(b))),
        (Part::High, Type::U16) => Some(each2!(u16, u16 => u16, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16)),
        (Part::High, Type::S16) => Some(each2!(i16, i16 => i16, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16)),
        (Part::High, Type::U32) => Some(each2!(u32, u32 => u32, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32)),
        (Part::High, Type::S32) => Some(each2!(i32, i32 => i32, |a, b| ((i64::from(a) * i64::from(b)) >> 32) as i32)),
        (Part::High, Type::U64) => Some(each2!(u64, u64 => u64, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64)),
        (Part::High, Type::S64) => Some(each2!(i64, i64 => i64, |a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64)),
        (Part::Wide, Type::U16) => Some(each2!(u16, u16 => u32, |a, b| u32::from(a) * u32::from(b))),
        (Part::Wide, Type::S16) => Some(each2!(i16, i16 => i32, |a, b| i32::from(a) * i32::from(b))),
        (Part::Wide, Type::U32) => Some(each2!(u32, u32 => u64, |a, b| u64::from(a) * u64::from(b))),
        (Part::Wide, Type::S32) => Some(each2!(i32, i32 => i64, |a, b| i64::from(a) * i64::from(b))),
        _ => None,
    };
    let Some(run) = run else { return decode.unsupported(ty) };
    decode.operands(3..=3)?;
    let result = if part == Part::Wide { double(ty) } else { ty };
    let (d, a, b) = (decode.dst(0, result)?, decode.src(1, ty)?, decode.src(2, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b]);
    Ok(())
}

fn mad(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let Some(part) = decode.choose(&PARTS) else { return float::fma(decode) };
    if decode.flag("cc") {
        return super::extended::mad_carry(decode, part, false, true);
    }
    let sat = decode.flag("sat");
    let ty = decode.ty()?;
    let run: Option<AluFn> = match (part, ty) {
        (Part::High, Type::S32) if sat => Some(
            each3!(i32, i32, i32 => i32, |a, b, c| (((i64::from(a) * i64::from(b)) >> 32) as i32).saturating_add(c)),
        ),
        _ if sat => None,
        (Part::Low, _) => for_int!(ty, T => each3!(T, T, T => T, |a, b, c| a.wrapping_mul(b).wrapping_add(c))),
        (Part::High, Type::U16) => {
            Some(each3!(u16, u16, u16 => u16, |a, b, c| (((u32::from(a) * u32::from(b)) >> 16) as u16).wrapping_add(c)))
        }
        (Part::High, Type::S16) => {
            Some(each3!(i16, i16, i16 => i16, |a, b, c| (((i32::from(a) * i32::from(b)) >> 16) as i16).wrapping_add(c)))
        }
        (Part::High, Type::U32) => {
            Some(each3!(u32, u32, u32 => u32, |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)))
        }
        (Part::High, Type::S32) => {
            Some(each3!(i32, i32, i32 => i32, |a, b, c| (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c)))
        }
        (Part::High, Type::U64) => Some(
            each3!(u64, u64, u64 => u64, |a, b, c| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)),
        ),
        (Part::High, Type::S64) => Some(
            each3!(i64, i64, i64 => i64, |a, b, c| (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c)),
        ),
        (Part::Wide, Type::U16) => {
            Some(each3!(u16, u16, u32 => u32, |a, b, c| (u32::from(a) * u32::from(b)).wrapping_add(c)))
        }
        (Part::Wide, Type::S16) => {
            Some(each3!(i16, i16, i32 => i32, |a, b, c| (i32::from(a) * i32::from(b)).wrapping_add(c)))
        }
        (Part::Wide, Type::U32) => {
            Some(each3!(u32, u32, u64 => u64, |a, b, c| (u64::from(a) * u64::from(b)).wrapping_add(c)))
        }
        (Part::Wide, Type::S32) => {
            Some(each3!(i32, i32, i64 => i64, |a, b, c| (i64::from(a) * i64::from(b)).wrapping_add(c)))
        }
        _ => None,
    };
    let Some(run) = run else { return decode.unsupported(ty) };
    let result = if part == Part::Wide { double(ty) } else { ty };
    ternary(decode, run, result, ty, ty, result)
}

fn ternary(decode: &mut Decode<'_, '_, '_>, run: AluFn, d: Type, a: Type, b: Type, c: Type) -> LoadResult<()> {
    decode.operands(4..=4)?;
    let (d, a, b, c) = (decode.dst(0, d)?, decode.src(1, a)?, decode.src(2, b)?, decode.src(3, c)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b, c]);
    Ok(())
}

#[inline(always)]
fn product24u(a: u32, b: u32) -> u64 {
    u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)
}

#[inline(always)]
fn product24s(a: i32, b: i32) -> i64 {
    i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)
}

fn mul24(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let high = decode.require("part", &[("hi", true), ("lo", false)])?;
    let ty = decode.ty()?;
    let run = match (ty, high) {
        (Type::U32, false) => each2!(u32, u32 => u32, |a, b| product24u(a, b) as u32),
        (Type::U32, true) => each2!(u32, u32 => u32, |a, b| (product24u(a, b) >> 16) as u32),
        (Type::S32, false) => each2!(i32, i32 => i32, |a, b| product24s(a, b) as i32),
        (Type::S32, true) => each2!(i32, i32 => i32, |a, b| (product24s(a, b) >> 16) as i32),
        _ => return decode.unsupported(ty),
    };
    decode.operands(3..=3)?;
    let (d, a, b) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b]);
    Ok(())
}

fn mad24(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let high = decode.require("part", &[("hi", true), ("lo", false)])?;
    let ty = decode.ty()?;
    let run = match (ty, high) {
        (Type::U32, false) => each3!(u32, u32, u32 => u32, |a, b, c| (product24u(a, b) as u32).wrapping_add(c)),
        (Type::U32, true) => each3!(u32, u32, u32 => u32, |a, b, c| ((product24u(a, b) >> 16) as u32).wrapping_add(c)),
        (Type::S32, false) => each3!(i32, i32, i32 => i32, |a, b, c| (product24s(a, b) as i32).wrapping_add(c)),
        (Type::S32, true) => each3!(i32, i32, i32 => i32, |a, b, c| ((product24s(a, b) >> 16) as i32).wrapping_add(c)),
        _ => return decode.unsupported(ty),
    };
    ternary(decode, run, ty, ty, ty, ty)
}

/// Byte `i` of a word, as signed or unsigned.
#[inline(always)]
fn byte<const SIGNED: bool>(word: u32, i: u32) -> i32 {
    let byte = (word >> (8 * i)) as u8;
    if SIGNED { i32::from(byte as i8) } else { i32::from(byte) }
}

#[inline(always)]
fn half<const SIGNED: bool>(word: u32, i: u32) -> i32 {
    let half = (word >> (16 * i)) as u16;
    if SIGNED { i32::from(half as i16) } else { i32::from(half) }
}

#[inline(always)]
fn dot4<const A: bool, const B: bool>(a: u32, b: u32, c: i32) -> i32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add(byte::<A>(a, i) * byte::<B>(b, i)))
}

#[inline(always)]
fn dot2<const A: bool, const B: bool>(a: u32, b: u32, c: i32, first: u32) -> i32 {
    (0..2).fold(c, |sum, i| sum.wrapping_add(half::<A>(a, i).wrapping_mul(byte::<B>(b, first + i))))
}

fn dot_types(decode: &mut Decode<'_, '_, '_>) -> LoadResult<(bool, bool, Type)> {
    let (a, b) = (decode.ty()?, decode.ty()?);
    match (a, b) {
        (Type::U32 | Type::S32, Type::U32 | Type::S32) => {
            let (a, b) = (a == Type::S32, b == Type::S32);
            Ok((a, b, if a || b { Type::S32 } else { Type::U32 }))
        }
        _ => decode.unsupported(a),
    }
}

fn dp4a(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (a, b, c) = dot_types(decode)?;
    let run = match (a, b) {
        (true, true) => each3!(u32, u32, i32 => i32, dot4::<true, true>),
        (true, false) => each3!(u32, u32, i32 => i32, dot4::<true, false>),
        (false, true) => each3!(u32, u32, i32 => i32, dot4::<false, true>),
        (false, false) => each3!(u32, u32, i32 => i32, dot4::<false, false>),
    };
    ternary(decode, run, c, Type::B32, Type::B32, c)
}

fn dp2a(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let high = decode.require("half", &[("lo", false), ("hi", true)])?;
    let (a, b, c) = dot_types(decode)?;
    let run = match (a, b, high) {
        (true, true, false) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<true, true>(a, b, c, 0)),
        (true, false, false) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<true, false>(a, b, c, 0)),
        (false, true, false) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<false, true>(a, b, c, 0)),
        (false, false, false) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<false, false>(a, b, c, 0)),
        (true, true, true) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<true, true>(a, b, c, 2)),
        (true, false, true) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<true, false>(a, b, c, 2)),
        (false, true, true) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<false, true>(a, b, c, 2)),
        (false, false, true) => each3!(u32, u32, i32 => i32, |a, b, c| dot2::<false, false>(a, b, c, 2)),
    };
    ternary(decode, run, c, Type::B32, Type::B32, c)
}
