//! f16, bf16 and their packed pairs (PTX ISA 9.7.4): every operation rounds the exact result once.
//!
//! A pair is two values in a word, the first in the low half; a single value is a pair whose high half is unused.
//! Results come from f64, exact or rounded to odd, so one rounding to the format is the rounding.

use super::numeric::{BF16, F16, Rounding, fma_odd, round_to};
use super::sign::{ExtremeOptions, extreme_value};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{lane_loop, map2, map3};
use crate::program::{AluFn, Class, Inst, Op, Reg};
use crate::ptx::types::Type;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    F16,
    Bf16,
}

/// The half format of a type, and whether it is packed.
pub fn format_for(ty: Type) -> Option<(Half, bool)> {
    match ty {
        Type::F16 => Some((Half::F16, false)),
        Type::F16x2 => Some((Half::F16, true)),
        Type::Bf16 => Some((Half::Bf16, false)),
        Type::Bf16x2 => Some((Half::Bf16, true)),
        _ => None,
    }
}

/// What happens after rounding.
#[derive(Clone, Copy, Default)]
pub struct Finish {
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
}

impl Finish {
    fn code(self) -> u32 {
        u32::from(self.ftz) | u32::from(self.sat) << 1 | u32::from(self.relu) << 2
    }
}

pub trait Format {
    fn widen(bits: u16) -> f64;
    fn round(x: f64) -> u16;
}

pub struct AsF16;
pub struct AsBf16;

impl Format for AsF16 {
    #[inline(always)]
    fn widen(bits: u16) -> f64 {
        half::f16::from_bits(bits).to_f64()
    }
    fn round(x: f64) -> u16 {
        if x.is_nan() { 0x7fff } else { half::f16::from_f64(round_to(x, F16, Rounding::Even)).to_bits() }
    }
}

impl Format for AsBf16 {
    #[inline(always)]
    fn widen(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }
    fn round(x: f64) -> u16 {
        if x.is_nan() { 0x7fff } else { ((round_to(x, BF16, Rounding::Even) as f32).to_bits() >> 16) as u16 }
    }
}

#[inline(always)]
pub fn flush_bits(bits: u16) -> u16 {
    // Only f16 has `.ftz`: its exponent field is five bits.
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

#[inline(always)]
fn one<F: Format>(bits: u16, code: u32) -> f64 {
    F::widen(if code & 1 != 0 { flush_bits(bits) } else { bits })
}

#[inline(always)]
fn finish<F: Format>(x: f64, code: u32) -> u16 {
    let x = if code & 2 != 0 { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
    let x = if code & 4 != 0 && x <= 0.0 { 0.0 } else { x };
    let bits = F::round(x);
    if code & 1 != 0 { flush_bits(bits) } else { bits }
}

/// Applies `f` to each half of two words.
#[inline(always)]
fn pairs2<F: Format>(a: u32, b: u32, code: u32, f: impl Fn(f64, f64) -> f64) -> u32 {
    let half = |shift: u32| {
        let x = f(one::<F>((a >> shift) as u16, code), one::<F>((b >> shift) as u16, code));
        u32::from(finish::<F>(x, code)) << shift
    };
    half(0) | if code & 8 != 0 { half(16) } else { 0 }
}

#[inline(always)]
fn pairs3<F: Format>(a: u32, b: u32, c: u32, code: u32) -> u32 {
    let half = |shift: u32| {
        let at = |w: u32| one::<F>((w >> shift) as u16, code);
        u32::from(finish::<F>(fma_odd(at(a), at(b), at(c)), code)) << shift
    };
    half(0) | if code & 8 != 0 { half(16) } else { 0 }
}

macro_rules! pair_loop {
    ($format:expr, $f:expr) => {
        match $format {
            Half::F16 => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<u32, u32, u32>(lanes, inst, mask, |a, b| pairs2::<AsF16>(a, b, o, $f))
            }),
            Half::Bf16 => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<u32, u32, u32>(lanes, inst, mask, |a, b| pairs2::<AsBf16>(a, b, o, $f))
            }),
        }
    };
}

fn emit(decode: &mut Decode<'_, '_, '_>, ty: Type, run: AluFn, s: &[Reg], code: u32, flops: u16) -> LoadResult<()> {
    let packed = format_for(ty).is_some_and(|(_, packed)| packed);
    decode.operands(s.len() + 1..=s.len() + 1)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Fp16);
    inst.d[0] = decode.dst(0, ty)?;
    inst.s[..s.len()].copy_from_slice(s);
    inst.imm = code | u32::from(packed) << 3;
    inst.flops = if packed { 2 * flops } else { flops };
    decode.emit(inst);
    Ok(())
}

fn check(decode: &Decode<'_, '_, '_>, ty: Type, finish: Finish) -> LoadResult<Half> {
    match format_for(ty) {
        Some((Half::Bf16, _)) if finish.ftz || finish.sat => decode.unsupported(ty),
        Some((format, _)) => Ok(format),
        None => decode.unsupported(ty),
    }
}

pub fn add(decode: &mut Decode<'_, '_, '_>, ty: Type, sat: bool, subtract: bool) -> LoadResult<()> {
    decode.flag("rn");
    let finish = Finish { ftz: decode.flag("ftz"), sat, relu: false };
    let format = check(decode, ty, finish)?;
    // Two half values differ by at most 2^40 in f16; in bf16 the sum is rounded to odd first.
    let run = if subtract {
        pair_loop!(format, |a, b| fma_odd(a, 1.0, -b))
    } else {
        pair_loop!(format, |a, b| fma_odd(a, 1.0, b))
    };
    let s = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &s, finish.code(), 1)
}

pub fn mul(decode: &mut Decode<'_, '_, '_>, ty: Type, ftz: bool, sat: bool) -> LoadResult<()> {
    let finish = Finish { ftz, sat, relu: false };
    let format = check(decode, ty, finish)?;
    let run = pair_loop!(format, |a, b| a * b);
    let s = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &s, finish.code(), 1)
}

pub fn fma(decode: &mut Decode<'_, '_, '_>, ty: Type, finish: Finish) -> LoadResult<()> {
    let format = check(decode, ty, finish)?;
    let run = match format {
        Half::F16 => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map3::<u32, u32, u32, u32>(lanes, inst, mask, |a, b, c| pairs3::<AsF16>(a, b, c, o))
        }),
        Half::Bf16 => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map3::<u32, u32, u32, u32>(lanes, inst, mask, |a, b, c| pairs3::<AsBf16>(a, b, c, o))
        }),
    };
    let s = [decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, ty)?];
    emit(decode, ty, run, &s, finish.code(), 2)
}

pub fn extreme(decode: &mut Decode<'_, '_, '_>, ty: Type, options: ExtremeOptions) -> LoadResult<()> {
    let Some((format, packed)) = format_for(ty) else { return decode.unsupported(ty) };
    if options.ftz && format == Half::Bf16 {
        return decode.unsupported(ty);
    }
    let run: AluFn = match format {
        Half::F16 => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map2::<u32, u32, u32>(lanes, inst, mask, |a, b| {
                pairs2::<AsF16>(a, b, o & 9, |a, b| extreme_value(a, b, o >> 4))
            })
        }),
        Half::Bf16 => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map2::<u32, u32, u32>(lanes, inst, mask, |a, b| {
                pairs2::<AsBf16>(a, b, o & 8, |a, b| extreme_value(a, b, o >> 4))
            })
        }),
    };
    let s = [decode.src(1, ty)?, decode.src(2, ty)?];
    let code = u32::from(options.ftz) | u32::from(packed) << 3 | options.code() << 4;
    emit(decode, ty, run, &s, code, 1)
}
