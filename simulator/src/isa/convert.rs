//! `cvt` and `cvt.pack` (PTX ISA 9.7.9.21, 9.7.9.22).
//!
//! The conversions compilers emit everywhere have vector loops; all others, and all with options, take a scalar path.

use super::numeric::{INTEGER_ROUNDINGS, ROUNDINGS, Rounding};
use super::scalar_convert::{Conversion, convert, from_fp8, to_fp8};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::Word;
use crate::program::loops::{each1, each2};
use crate::program::{AluFn, Class, Inst, Op};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("cvt", "9.7.9.21", cvt)];

/// bf16 bits of an f32, nearest even; NaN becomes the canonical one.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { 0x7fff } else { rounded }
}

#[inline(always)]
fn f16_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(x).to_bits()) }
}

fn cvt(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("pack") {
        return pack(decode);
    }
    let integral = decode.choose(&INTEGER_ROUNDINGS);
    let float = decode.choose(&ROUNDINGS);
    let ties_away = decode.flag("rna");
    let satfinite = decode.flag("satfinite");
    let (ftz, sat, relu) = (decode.flag("ftz"), decode.flag("sat"), decode.flag("relu"));
    let (to, from) = (decode.ty()?, decode.ty()?);
    let rounding = integral.or(float).unwrap_or(Rounding::Even);
    let c = Conversion { to, from, rounding, integral: integral.is_some(), ftz, sat, relu, ties_away };
    match to {
        Type::F16x2 | Type::Bf16x2 if from == Type::F32 && !satfinite => return pair(decode, c),
        Type::E4m3x2 | Type::E5m2x2 if satfinite => return to_pair8(decode, c),
        Type::F16x2 if matches!(from, Type::E4m3x2 | Type::E5m2x2) => return from_pair8(decode, c),
        _ => {}
    }
    let simple = |ty: Type| ty.is_integer() || ty.is_float();
    let half_only = !relu || matches!(to, Type::F16 | Type::Bf16 | Type::Tf32);
    if satfinite || !simple(to) || !simple(from) || !half_only || from == Type::Tf32 {
        return decode.unsupported(to);
    }
    decode.operands(2..=2)?;
    let a = decode.src_wide(decode.operand(1)?, from)?;
    let (mut d, bits) = decode.dst_register(decode.operand(0)?)?;
    if d == crate::program::NONE || bits < to.bits() {
        return decode.fail("the destination is too narrow");
    }
    // A wider destination takes the result extended by its sign (9.4.1).
    let extended = (bits > to.bits()).then_some(d);
    if extended.is_some() {
        d = decode.new_word(to.bytes() == 8);
    }
    let run = quick(&c).unwrap_or_else(|| general(&c));
    let mut inst = Inst::new(Op::Alu(run), Class::Convert);
    inst.d[0] = d;
    inst.s[0] = a;
    inst.imm = encode(&c);
    decode.emit(inst);
    if let Some(wide) = extended {
        let run: AluFn = match (to, bits) {
            (Type::S8, 16) => each1!(i8 => i16, i16::from),
            (Type::S8, 32) => each1!(i8 => i32, i32::from),
            (Type::S16, 32) => each1!(i16 => i32, i32::from),
            (Type::S8, 64) => each1!(i8 => i64, i64::from),
            (Type::S16, 64) => each1!(i16 => i64, i64::from),
            (Type::S32, 64) => super::moves::widen(true),
            (_, 64) => super::moves::widen(false),
            _ => each1!(u32 => u32, |a| a),
        };
        decode.emit_alu(run, Class::None, wide, &[d]);
    }
    Ok(())
}

/// Loops for conversions without options that appear everywhere.
fn quick(c: &Conversion) -> Option<AluFn> {
    use Type::*;
    if (c.to, c.from) == (F32, F32) && !c.ftz && !c.relu && !c.ties_away {
        return float_to_float(c);
    }
    if c.ftz || c.sat || c.relu || c.ties_away {
        return None;
    }
    Some(match (c.to, c.from, c.rounding) {
        (F32, F16, _) if !c.integral => each1!(u16 => f32, |a| {
            super::numeric::canonical(half::f16::from_bits(a).to_f32())
        }),
        (F32, Bf16, _) if !c.integral => each1!(u32 => f32, |a| super::numeric::canonical(f32::from_bits(a << 16))),
        (Bf16, F32, Rounding::Even) if !c.integral => each1!(f32 => u32, bf16_bits),
        (F16, F32, Rounding::Even) if !c.integral => each1!(f32 => u32, f16_bits),
        (F64, F32, _) if !c.integral => each1!(f32 => f64, f64::from),
        (F32, F64, Rounding::Even) if !c.integral => each1!(f64 => f32, |a| super::numeric::canonical(a as f32)),
        (F32, S32, Rounding::Even) => each1!(i32 => f32, |a| a as f32),
        (F32, U32, Rounding::Even) => each1!(u32 => f32, |a| a as f32),
        (F64, S32, _) => each1!(i32 => f64, f64::from),
        (F64, U32, _) => each1!(u32 => f64, f64::from),
        (S32, F32, Rounding::Zero) => each1!(f32 => i32, |a| a as i32),
        (U32, F32, Rounding::Zero) => each1!(f32 => u32, |a| a as u32),
        (U64, U32, _) => each1!(u32 => u64, u64::from),
        (S64, S32, _) => each1!(i32 => i64, i64::from),
        (U32 | S32, U64 | S64, _) => each1!(u64 => u32, |a| a as u32),
        (U32 | S32, U32 | S32, _) => each1!(u32 => u32, |a| a),
        (U64 | S64, U64 | S64, _) => each1!(u64 => u64, |a| a),
        (U32 | S32, U16, _) => each1!(u16 => u32, u32::from),
        (U32 | S32, S16, _) => each1!(i16 => i32, i32::from),
        (U16 | S16, U32 | S32, _) => each1!(u32 => u16, |a| a as u16),
        (U32 | S32 | U16 | S16, U8, _) => each1!(u8 => u32, u32::from),
        _ => return None,
    })
}

/// f32 to itself: saturated, or to an integral value.
fn float_to_float(c: &Conversion) -> Option<AluFn> {
    use super::numeric::{canonical, saturate};
    Some(match (c.sat, c.integral, c.rounding) {
        (true, false, _) => each1!(f32 => f32, saturate),
        (false, false, _) => each1!(f32 => f32, canonical),
        (false, true, Rounding::Even) => each1!(f32 => f32, |a| canonical(a.round_ties_even())),
        (false, true, Rounding::Zero) => each1!(f32 => f32, |a| canonical(a.trunc())),
        (false, true, Rounding::Down) => each1!(f32 => f32, |a| canonical(a.floor())),
        (false, true, Rounding::Up) => each1!(f32 => f32, |a| canonical(a.ceil())),
        (true, true, _) => return None,
    })
}

const TYPES: [Type; 13] = [
    Type::U8,
    Type::S8,
    Type::U16,
    Type::S16,
    Type::U32,
    Type::S32,
    Type::U64,
    Type::S64,
    Type::F16,
    Type::Bf16,
    Type::F32,
    Type::F64,
    Type::Tf32,
];

fn encode(c: &Conversion) -> u32 {
    let index = |ty| TYPES.iter().position(|&t| t == ty).unwrap_or(0) as u32;
    let flags = [c.integral, c.ftz, c.sat, c.relu, c.ties_away];
    let bits = flags.iter().enumerate().fold(0, |bits, (i, &on)| bits | u32::from(on) << i);
    index(c.to) | index(c.from) << 4 | (c.rounding as u32) << 8 | bits << 10
}

fn decode_conversion(code: u32) -> Conversion {
    let flag = |bit: u32| code >> (10 + bit) & 1 == 1;
    Conversion {
        to: TYPES[(code & 15) as usize % TYPES.len()],
        from: TYPES[(code >> 4 & 15) as usize % TYPES.len()],
        rounding: [Rounding::Even, Rounding::Zero, Rounding::Down, Rounding::Up][(code >> 8 & 3) as usize],
        integral: flag(0),
        ftz: flag(1),
        sat: flag(2),
        relu: flag(3),
        ties_away: flag(4),
    }
}

/// The scalar path, a loop for each pair of register widths.
fn general(c: &Conversion) -> AluFn {
    use crate::program::loops::lane_loop;
    match (c.to.bytes() == 8, c.from.bytes() == 8) {
        (false, false) => lane_loop!(|lanes, inst, mask| {
            let (a, c) = (*u32::read(lanes, inst.s[0]), decode_conversion(inst.imm));
            u32::write(lanes, inst.d[0], &a.map(|x| convert(x.into(), &c) as u32), mask);
        }),
        (true, false) => lane_loop!(|lanes, inst, mask| {
            let (a, c) = (*u32::read(lanes, inst.s[0]), decode_conversion(inst.imm));
            u64::write(lanes, inst.d[0], &a.map(|x| convert(x.into(), &c)), mask);
        }),
        (false, true) => lane_loop!(|lanes, inst, mask| {
            let (a, c) = (*u64::read(lanes, inst.s[0]), decode_conversion(inst.imm));
            u32::write(lanes, inst.d[0], &a.map(|x| convert(x, &c) as u32), mask);
        }),
        (true, true) => lane_loop!(|lanes, inst, mask| {
            let (a, c) = (*u64::read(lanes, inst.s[0]), decode_conversion(inst.imm));
            u64::write(lanes, inst.d[0], &a.map(|x| convert(x, &c)), mask);
        }),
    }
}

/// Two f32 to a packed pair: the first source is the high half.
fn pair(decode: &mut Decode<'_, '_, '_>, c: Conversion) -> LoadResult<()> {
    use crate::program::loops::{lane_loop, map2};
    if c.ftz || c.sat || c.ties_away || c.integral || !matches!(c.rounding, Rounding::Even | Rounding::Zero) {
        return decode.unsupported(c.to);
    }
    decode.operands(3..=3)?;
    let to = if c.to == Type::F16x2 { Type::F16 } else { Type::Bf16 };
    let run: AluFn = match (to, c.rounding, c.relu) {
        (Type::Bf16, Rounding::Even, false) => each2!(f32, f32 => u32, |a, b| bf16_bits(a) << 16 | bf16_bits(b)),
        (Type::F16, Rounding::Even, false) => each2!(f32, f32 => u32, |a, b| f16_bits(a) << 16 | f16_bits(b)),
        _ => lane_loop!(|lanes, inst, mask| {
            let c = decode_conversion(inst.imm);
            map2::<u32, u32, u32>(lanes, inst, mask, |a, b| {
                (convert(a.into(), &c) as u32) << 16 | convert(b.into(), &c) as u32
            })
        }),
    };
    let mut inst = Inst::new(Op::Alu(run), Class::Convert);
    inst.d[0] = decode.dst(0, c.to)?;
    (inst.s[0], inst.s[1]) = (decode.src(1, Type::F32)?, decode.src(2, Type::F32)?);
    inst.imm = encode(&Conversion { to, ..c });
    decode.emit(inst);
    Ok(())
}

fn to_pair8(decode: &mut Decode<'_, '_, '_>, c: Conversion) -> LoadResult<()> {
    if c.from == Type::F16x2 {
        return halves_to_pair8(decode, c);
    }
    let run: AluFn = match (c.from, c.to, c.relu) {
        (Type::F32, Type::E4m3x2, false) => each2!(f32, f32 => u16, |a, b| pair8(a, b, true, false)),
        (Type::F32, Type::E4m3x2, true) => each2!(f32, f32 => u16, |a, b| pair8(a, b, true, true)),
        (Type::F32, Type::E5m2x2, false) => each2!(f32, f32 => u16, |a, b| pair8(a, b, false, false)),
        (Type::F32, Type::E5m2x2, true) => each2!(f32, f32 => u16, |a, b| pair8(a, b, false, true)),
        _ => return decode.unsupported(c.from),
    };
    decode.operands(3..=3)?;
    let (d, a, b) = (decode.dst(0, Type::B16)?, decode.src(1, c.from)?, decode.src(2, c.from)?);
    decode.emit_alu(run, Class::Convert, d, &[a, b]);
    Ok(())
}

/// The upper half becomes the upper byte.
fn halves_to_pair8(decode: &mut Decode<'_, '_, '_>, c: Conversion) -> LoadResult<()> {
    let run: AluFn = match (c.to == Type::E4m3x2, c.relu) {
        (true, false) => each1!(u32 => u16, |a| halves8(a, true, false)),
        (true, true) => each1!(u32 => u16, |a| halves8(a, true, true)),
        (false, false) => each1!(u32 => u16, |a| halves8(a, false, false)),
        (false, true) => each1!(u32 => u16, |a| halves8(a, false, true)),
    };
    decode.operands(2..=2)?;
    let (d, a) = (decode.dst(0, Type::B16)?, decode.src(1, Type::F16x2)?);
    decode.emit_alu(run, Class::Convert, d, &[a]);
    Ok(())
}

fn halves8(a: u32, e4m3: bool, relu: bool) -> u16 {
    let [low, high] = [a as u16, (a >> 16) as u16].map(|bits| half::f16::from_bits(bits).to_f32());
    pair8(high, low, e4m3, relu)
}

fn pair8(a: f32, b: f32, e4m3: bool, relu: bool) -> u16 {
    u16::from(to_fp8(a.into(), e4m3, relu)) << 8 | u16::from(to_fp8(b.into(), e4m3, relu))
}

fn widen8(a: u16, e4m3: bool) -> u32 {
    let half = |byte: u8| {
        let value = from_fp8(byte, e4m3);
        u32::from(if value.is_nan() { 0x7fff } else { half::f16::from_f64(value).to_bits() })
    };
    half(a as u8) | half((a >> 8) as u8) << 16
}

fn from_pair8(decode: &mut Decode<'_, '_, '_>, c: Conversion) -> LoadResult<()> {
    let run: AluFn = match (c.from, c.relu) {
        (Type::E4m3x2, false) => each1!(u16 => u32, |a| widen8(a, true)),
        (Type::E5m2x2, false) => each1!(u16 => u32, |a| widen8(a, false)),
        _ => return decode.unsupported(c.from),
    };
    decode.operands(2..=2)?;
    let (d, a) = (decode.dst(0, Type::F16x2)?, decode.src(1, Type::B16)?);
    decode.emit_alu(run, Class::Convert, d, &[a]);
    Ok(())
}

/// `cvt.pack.sat`: two integers saturated into halves or, with a third operand, shifted into bytes.
fn pack(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    use crate::program::loops::each3;
    if !decode.flag("sat") {
        return decode.fail(".sat is missing");
    }
    let third = decode.flag("b32");
    let (to, from) = (decode.ty()?, decode.ty()?);
    let run: AluFn = match (to, from, third) {
        (_, from, _) if from != Type::S32 => return decode.unsupported(from),
        (Type::U16, _, false) => each2!(i32, i32 => u32, |a, b| (a.clamp(0, 0xffff) << 16 | b.clamp(0, 0xffff)) as u32),
        (Type::S16, _, false) => each2!(i32, i32 => u32, |a, b| {
            (a.clamp(-0x8000, 0x7fff) as u32) << 16 | b.clamp(-0x8000, 0x7fff) as u32 & 0xffff
        }),
        (Type::U8, _, true) => each3!(i32, i32, u32 => u32, |a, b, c| {
            c << 16 | (a.clamp(0, 255) << 8 | b.clamp(0, 255)) as u32
        }),
        (Type::S8, _, true) => each3!(i32, i32, u32 => u32, |a, b, c| {
            c << 16 | (a.clamp(-128, 127) as u32 & 0xff) << 8 | b.clamp(-128, 127) as u32 & 0xff
        }),
        _ => return decode.unsupported(to),
    };
    let count = if third { 4 } else { 3 };
    decode.operands(count..=count)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Convert);
    inst.d[0] = decode.dst(0, Type::B32)?;
    for k in 0..count - 1 {
        inst.s[k] = decode.src(1 + k, Type::B32)?;
    }
    decode.emit(inst);
    Ok(())
}
