//! Bits of integers: counting, finding, reversing, extracting and inserting fields (PTX ISA 9.7.1.14 to 9.7.1.22).

use super::integer::{binary, unary};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::Class;
use crate::program::loops::{each1, each2, each3};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("popc", "9.7.1.14", popc),
    row("clz", "9.7.1.15", clz),
    row("bfind", "9.7.1.16", bfind),
    row("fns", "9.7.1.17", fns),
    row("brev", "9.7.1.18", brev),
    row("bfe", "9.7.1.19", bfe),
    row("bfi", "9.7.1.20", bfi),
    row("szext", "9.7.1.21", szext),
    row("bmsk", "9.7.1.22", bmsk),
];

fn popc(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B32 => Some(each1!(u32 => u32, |a| a.count_ones())),
        Type::B64 => Some(each1!(u64 => u32, |a| a.count_ones())),
        _ => None,
    };
    unary(decode, Type::U32, ty, run)
}

fn clz(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B32 => Some(each1!(u32 => u32, |a| a.leading_zeros())),
        Type::B64 => Some(each1!(u64 => u32, |a| a.leading_zeros())),
        _ => None,
    };
    unary(decode, Type::U32, ty, run)
}

/// Position of the highest bit that is not the sign; with `.shiftamt`, how far it is from the top.
fn bfind(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let shift = decode.flag("shiftamt");
    let ty = decode.ty()?;
    let run = match (ty, shift) {
        (Type::U32, true) => Some(each1!(u32 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() })),
        (Type::U32, false) => Some(each1!(u32 => u32, |a| if a == 0 { !0 } else { 31 - a.leading_zeros() })),
        (Type::S32, true) => Some(each1!(i32 => u32, |a| {
            let a = a ^ (a >> 31);
            if a == 0 { !0 } else { a.leading_zeros() }
        })),
        (Type::S32, false) => Some(each1!(i32 => u32, |a| {
            let a = a ^ (a >> 31);
            if a == 0 { !0 } else { 31 - a.leading_zeros() }
        })),
        (Type::U64, true) => Some(each1!(u64 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() })),
        (Type::U64, false) => Some(each1!(u64 => u32, |a| if a == 0 { !0 } else { 63 - a.leading_zeros() })),
        (Type::S64, true) => Some(each1!(i64 => u32, |a| {
            let a = a ^ (a >> 63);
            if a == 0 { !0 } else { a.leading_zeros() }
        })),
        (Type::S64, false) => Some(each1!(i64 => u32, |a| {
            let a = a ^ (a >> 63);
            if a == 0 { !0 } else { 63 - a.leading_zeros() }
        })),
        _ => None,
    };
    unary(decode, Type::U32, ty, run)
}

/// The `offset`-th set bit counted from `base`, upwards or downwards.
fn find_nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    let base = base & 31;
    let step: i64 = if offset < 0 { -1 } else { 1 };
    let mut wanted = i64::from(offset).abs();
    if offset == 0 {
        return if mask >> base & 1 == 1 { base } else { !0 };
    }
    let mut at = i64::from(base);
    while (0..32).contains(&at) {
        wanted -= i64::from(mask >> at & 1);
        if wanted == 0 {
            return at as u32;
        }
        at += step;
    }
    !0
}

fn fns(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    if ty != Type::B32 {
        return decode.unsupported(ty);
    }
    decode.operands(4..=4)?;
    let run = each3!(u32, u32, i32 => u32, find_nth_set);
    let (d, a, b, c) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b, c]);
    Ok(())
}

fn brev(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B32 => Some(each1!(u32 => u32, |a| a.reverse_bits())),
        Type::B64 => Some(each1!(u64 => u64, |a| a.reverse_bits())),
        _ => None,
    };
    unary(decode, ty, ty, run)
}

/// `length` bits from `position`, extended by their top bit when signed; both are taken modulo 256.
fn extract(a: i128, top: u32, position: u32, length: u32, signed: bool) -> i128 {
    let (position, length) = (position & 0xff, length & 0xff);
    let sign_at = (position + length).saturating_sub(1).min(top);
    let sign = signed && length != 0 && a >> sign_at & 1 == 1;
    let mut field = 0i128;
    for i in 0..=top {
        let bit = if i < length && position + i <= top { a >> (position + i) & 1 == 1 } else { sign };
        field |= i128::from(bit) << i;
    }
    field
}

fn bfe(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::U32 => each3!(u32, u32, u32 => u32, |a, p, l| {
            let (p, l) = (p & 0xff, l & 0xff);
            let shifted = if p > 31 { 0 } else { a >> p };
            if l > 31 { shifted } else { shifted & !(u32::MAX << l) }
        }),
        Type::S32 => each3!(u32, u32, u32 => u32, |a, p, l| extract(a.into(), 31, p, l, true) as u32),
        Type::U64 => each3!(u64, u32, u32 => u64, |a, p, l| extract(a.into(), 63, p, l, false) as u64),
        Type::S64 => each3!(u64, u32, u32 => u64, |a, p, l| extract(a.into(), 63, p, l, true) as u64),
        _ => return decode.unsupported(ty),
    };
    decode.operands(4..=4)?;
    let (d, a) = (decode.dst(0, ty)?, decode.src(1, ty)?);
    let (p, l) = (decode.src(2, Type::U32)?, decode.src(3, Type::U32)?);
    decode.emit_alu(run, Class::Integer, d, &[a, p, l]);
    Ok(())
}

/// `b` with `length` bits from `position` replaced by the low bits of `a`.
fn insert(a: u64, b: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if position > 63 || length == 0 {
        return b;
    }
    let field = if length > 63 { u64::MAX } else { !(u64::MAX << length) } << position;
    (a << position & field) | (b & !field)
}

fn bfi(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    use crate::program::lanes::Word;
    use crate::program::loops::lane_loop;
    let ty = decode.ty()?;
    let run = match ty {
        Type::B32 => lane_loop!(|lanes, inst, mask| {
            let read = |k: usize| u32::read(lanes, inst.s[k]);
            let (a, b, p, l) = (read(0), read(1), read(2), read(3));
            let out = std::array::from_fn(|i| insert(a[i].into(), b[i].into(), p[i], l[i]) as u32);
            u32::write(lanes, inst.d[0], &out, mask);
        }),
        Type::B64 => lane_loop!(|lanes, inst, mask| {
            let (a, b) = (u64::read(lanes, inst.s[0]), u64::read(lanes, inst.s[1]));
            let (p, l) = (u32::read(lanes, inst.s[2]), u32::read(lanes, inst.s[3]));
            let out = std::array::from_fn(|i| insert(a[i], b[i], p[i], l[i]));
            u64::write(lanes, inst.d[0], &out, mask);
        }),
        _ => return decode.unsupported(ty),
    };
    decode.operands(5..=5)?;
    let (d, a, b) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?);
    let (p, l) = (decode.src(3, Type::U32)?, decode.src(4, Type::U32)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b, p, l]);
    Ok(())
}

/// Extension from a width that is clamped to 32, or wrapped.
fn szext(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let clamp = decode.require("mode", &[("clamp", true), ("wrap", false)])?;
    let ty = decode.ty()?;
    let run = match (ty, clamp) {
        (Type::U32, true) => each2!(u32, u32 => u32, |a, n| extract(a.into(), 31, 0, n.min(32), false) as u32),
        (Type::U32, false) => each2!(u32, u32 => u32, |a, n| extract(a.into(), 31, 0, n & 31, false) as u32),
        (Type::S32, true) => each2!(u32, u32 => u32, |a, n| extract(a.into(), 31, 0, n.min(32), true) as u32),
        (Type::S32, false) => each2!(u32, u32 => u32, |a, n| extract(a.into(), 31, 0, n & 31, true) as u32),
        _ => return decode.unsupported(ty),
    };
    binary(decode, ty, Some(run))
}

fn bmsk(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let clamp = decode.require("mode", &[("clamp", true), ("wrap", false)])?;
    let ty = decode.ty()?;
    if ty != Type::B32 {
        return decode.unsupported(ty);
    }
    let run = match clamp {
        true => each2!(u32, u32 => u32, |p, n| insert(u64::MAX, 0, p.min(32), n.min(32)) as u32),
        false => each2!(u32, u32 => u32, |p, n| insert(u64::MAX, 0, p & 31, n & 31) as u32),
    };
    binary(decode, ty, Some(run))
}
