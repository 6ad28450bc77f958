//! Signs, order and kinds of floating-point numbers: `abs`, `neg`, `min`, `max`, `copysign`, `testp` (PTX ISA 9.7.3.1,
//! 9.7.3.2, 9.7.3.9 to 9.7.3.12).

use super::float::{FTZ, emit, input, output};
use super::numeric::{canonical, flush};
use super::{Row, half_float, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each1, each2, lane_loop, map2};
use crate::program::{AluFn, Class, Inst, Op};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("copysign", "9.7.3.2", copysign), row("testp", "9.7.3.1", testp)];

/// `abs` and `neg`: sign bits only, NaN payloads kept.
pub fn sign(decode: &mut Decode<'_, '_, '_>, ty: Type, ftz: bool, negate: bool) -> LoadResult<()> {
    let run = match (ty, negate) {
        (Type::F32, true) if ftz => each1!(f32 => f32, |a| -flush(a)),
        (Type::F32, false) if ftz => each1!(f32 => f32, |a| flush(a).abs()),
        (Type::F32, true) => each1!(u32 => u32, |a| a ^ 0x8000_0000),
        (Type::F32, false) => each1!(u32 => u32, |a| a & 0x7fff_ffff),
        (Type::F64, true) if !ftz => each1!(u64 => u64, |a| a ^ 1 << 63),
        (Type::F64, false) if !ftz => each1!(u64 => u64, |a| a & !(1 << 63)),
        (Type::F16, true) if ftz => each1!(u32 => u32, |a| flush_halves(a) ^ 0x8000),
        (Type::F16, false) if ftz => each1!(u32 => u32, |a| flush_halves(a) & 0x7fff),
        (Type::F16x2, true) if ftz => each1!(u32 => u32, |a| flush_halves(a) ^ 0x8000_8000),
        (Type::F16x2, false) if ftz => each1!(u32 => u32, |a| flush_halves(a) & 0x7fff_7fff),
        (Type::F16 | Type::Bf16, true) if !ftz => each1!(u32 => u32, |a| a ^ 0x8000),
        (Type::F16 | Type::Bf16, false) if !ftz => each1!(u32 => u32, |a| a & 0x7fff),
        (Type::F16x2 | Type::Bf16x2, true) if !ftz => each1!(u32 => u32, |a| a ^ 0x8000_8000),
        (Type::F16x2 | Type::Bf16x2, false) if !ftz => each1!(u32 => u32, |a| a & 0x7fff_7fff),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?];
    emit(decode, ty, run, &sources, 0, 1)
}

/// Both f16 of a word with subnormals as zeros.
#[inline(always)]
fn flush_halves(word: u32) -> u32 {
    u32::from(half_float::flush_bits(word as u16)) | u32::from(half_float::flush_bits((word >> 16) as u16)) << 16
}

/// Modifiers of `min` and `max`.
#[derive(Clone, Copy)]
pub struct ExtremeOptions {
    pub ftz: bool,
    pub nan: bool,
    pub xorsign: bool,
    pub max: bool,
}

impl ExtremeOptions {
    pub fn take(decode: &mut Decode<'_, '_, '_>, max: bool) -> Self {
        Self {
            ftz: decode.flag("ftz"),
            nan: decode.flag("NaN"),
            xorsign: decode.flag("xorsign") | decode.flag("abs"),
            max,
        }
    }

    pub fn any(self) -> bool {
        self.ftz || self.nan || self.xorsign
    }

    pub fn code(self) -> u32 {
        u32::from(self.ftz) | u32::from(self.nan) << 1 | u32::from(self.xorsign) << 2 | u32::from(self.max) << 3
    }
}

/// Minimum or maximum, where −0 < +0 and a NaN loses unless `.NaN` makes it win.
#[inline(always)]
pub fn extreme_value(a: f64, b: f64, code: u32) -> f64 {
    let (x, y) = if code & 4 != 0 { (a.abs(), b.abs()) } else { (a, b) };
    let result = if x.is_nan() || y.is_nan() {
        let other = if x.is_nan() { y } else { x };
        if code & 2 != 0 { f64::NAN } else { other }
    } else if x == y {
        let pick_negative = code & 8 == 0;
        if x.is_sign_negative() == pick_negative { x } else { y }
    } else if (x < y) == (code & 8 == 0) {
        x
    } else {
        y
    };
    if code & 4 != 0 && !result.is_nan() {
        let negative = a.is_sign_negative() != b.is_sign_negative();
        return if negative { -result.abs() } else { result.abs() };
    }
    result
}

/// The common form on f32: `a` or `b` by comparison, the other one if either is NaN.
#[inline(always)]
fn plain_extreme(a: f32, b: f32, max: bool) -> f32 {
    let tie = f32::from_bits(if max { a.to_bits() & b.to_bits() } else { a.to_bits() | b.to_bits() });
    let chosen = if (a < b) != max { a } else { b };
    let ordered = if a == b { tie } else { chosen };
    canonical(if a.is_nan() {
        b
    } else if b.is_nan() {
        a
    } else {
        ordered
    })
}

pub fn extreme(decode: &mut Decode<'_, '_, '_>, ty: Type, options: ExtremeOptions) -> LoadResult<()> {
    if half_float::format_for(ty).is_some() {
        return half_float::extreme(decode, ty, options);
    }
    let run = match ty {
        Type::F32 if !options.any() && options.max => each2!(f32, f32 => f32, |a, b| plain_extreme(a, b, true)),
        Type::F32 if !options.any() => each2!(f32, f32 => f32, |a, b| plain_extreme(a, b, false)),
        Type::F32 => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map2::<f32, f32, f32>(lanes, inst, mask, |a, b| {
                output(extreme_value(input(a, o).into(), input(b, o).into(), o) as f32, o & FTZ)
            })
        }),
        Type::F64 if !options.any() => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map2::<f64, f64, f64>(lanes, inst, mask, |a, b| extreme_value(a, b, o))
        }),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &sources, options.code(), 1)
}

/// `b` with the sign of `a`.
fn copysign(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::F32 => each2!(f32, f32 => f32, |a, b| b.copysign(a)),
        Type::F64 => each2!(f64, f64 => f64, |a, b| b.copysign(a)),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &sources, 0, 1)
}

fn testp(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    use std::num::FpCategory as C;
    const TESTS: [(&str, u32); 6] =
        [("finite", 0), ("infinite", 1), ("number", 2), ("notanumber", 3), ("normal", 4), ("subnormal", 5)];
    fn holds(class: C, test: u32) -> bool {
        match test {
            0 => !matches!(class, C::Nan | C::Infinite),
            1 => class == C::Infinite,
            2 => class != C::Nan,
            3 => class == C::Nan,
            4 => class == C::Normal,
            _ => class == C::Subnormal,
        }
    }
    let test = decode.require("property", &TESTS)?;
    let ty = decode.ty()?;
    decode.operands(2..=2)?;
    let run: AluFn = match ty {
        Type::F32 => lane_loop!(|lanes, inst, mask| {
            let bits = crate::program::loops::test2::<f32>(lanes, inst, |a, _| holds(a.classify(), inst.imm));
            lanes.set_predicate(inst.d[0], bits, mask);
        }),
        Type::F64 => lane_loop!(|lanes, inst, mask| {
            let bits = crate::program::loops::test2::<f64>(lanes, inst, |a, _| holds(a.classify(), inst.imm));
            lanes.set_predicate(inst.d[0], bits, mask);
        }),
        _ => return decode.unsupported(ty),
    };
    let a = decode.src(1, ty)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Fp32);
    inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
    inst.s[..2].copy_from_slice(&[a, a]);
    inst.imm = test;
    decode.emit(inst);
    Ok(())
}
