//! Floating-point arithmetic in f32 and f64 (PTX ISA 9.7.3), handing half formats on (9.7.4).
//!
//! Round-to-nearest is the machine's own instruction. Other roundings go through a result rounded to odd, in a loop for
//! each mode; `.ftz` and `.sat` are options that these loops test.

use super::nudge::nudge;
use super::numeric::{
    ROUNDINGS, Rounding, add_odd, canonical, div_odd, div64, flush, fma_odd, fma64, round_f32, saturate, sqrt_odd,
    sqrt64, zero_sign,
};
use super::{Row, half_float, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each1, each2, each3, lane_loop, map1, map2, map3};
use crate::program::{AluFn, Class, Inst, Op, Reg};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("fma", "9.7.3.6", fma), row("rcp", "9.7.3.13", rcp), row("sqrt", "9.7.3.15", sqrt)];

pub const FTZ: u32 = 1;
const SAT: u32 = 2;

/// Options of an f32 instruction, packed as its constant.
pub fn options(ftz: bool, sat: bool, rounding: Rounding) -> u32 {
    (u32::from(ftz) * FTZ) | (u32::from(sat) * SAT) | (rounding as u32) << 2
}

#[inline(always)]
pub fn input(x: f32, options: u32) -> f32 {
    if options & FTZ != 0 { flush(x) } else { x }
}

#[inline(always)]
pub fn output(x: f32, options: u32) -> f32 {
    let x = if options & FTZ != 0 { flush(x) } else { x };
    canonical(if options & SAT != 0 { saturate(x) } else { x })
}

fn rounding(options: u32) -> Rounding {
    [Rounding::Even, Rounding::Zero, Rounding::Down, Rounding::Up][(options >> 2 & 3) as usize]
}

/// The plain loop when there are no options; otherwise one for the rounding mode, which is the constant `$mode` in it.
macro_rules! pick {
    ($options:expr, $plain:expr, $mode:ident => $general:expr) => {
        match rounding($options) {
            _ if $options == 0 => $plain,
            Rounding::Even => pick!(@ Even, $mode, $general),
            Rounding::Zero => pick!(@ Zero, $mode, $general),
            Rounding::Down => pick!(@ Down, $mode, $general),
            Rounding::Up => pick!(@ Up, $mode, $general),
        }
    };
    (@ $variant:ident, $mode:ident, $general:expr) => {{
        const $mode: Rounding = Rounding::$variant;
        $general
    }};
}

pub fn emit(
    decode: &mut Decode<'_, '_, '_>,
    ty: Type,
    run: AluFn,
    sources: &[Reg],
    options: u32,
    flops: u16,
) -> LoadResult<()> {
    decode.operands(sources.len() + 1..=sources.len() + 1)?;
    let class = if ty == Type::F64 { Class::Fp64 } else { Class::Fp32 };
    let mut inst = Inst::new(Op::Alu(run), class);
    inst.d[0] = decode.dst(0, ty)?;
    inst.s[..sources.len()].copy_from_slice(sources);
    inst.imm = options;
    inst.flops = flops;
    decode.emit(inst);
    Ok(())
}

/// `add` and `sub`: `a + b`, with `b`'s sign turned for `sub`.
pub fn add(decode: &mut Decode<'_, '_, '_>, ty: Type, sat: bool, subtract: bool) -> LoadResult<()> {
    if half_float::format_for(ty).is_some() {
        return half_float::add(decode, ty, sat, subtract);
    }
    let mode = decode.choose(&ROUNDINGS).unwrap_or(Rounding::Even);
    let ftz = decode.flag("ftz");
    let options = options(ftz, sat, mode);
    let run = match (ty, subtract) {
        (Type::F32, false) => pick!(
            options,
            each2!(f32, f32 => f32, |a, b| canonical(a + b)),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<f32, f32, f32>(lanes, inst, mask, |a, b| output(sum(input(a, o), input(b, o), MODE), o))
            })
        ),
        (Type::F32, true) => pick!(
            options,
            each2!(f32, f32 => f32, |a, b| canonical(a - b)),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<f32, f32, f32>(lanes, inst, mask, |a, b| output(sum(input(a, o), -input(b, o), MODE), o))
            })
        ),
        (Type::F64, _) if ftz || sat => return decode.unsupported(ty),
        (Type::F64, false) => pick!(
            options,
            each2!(f64, f64 => f64, |a, b| a + b),
            MODE => each2!(f64, f64 => f64, |a, b| fma64(a, 1.0, b, MODE))
        ),
        (Type::F64, true) => pick!(
            options,
            each2!(f64, f64 => f64, |a, b| a - b),
            MODE => each2!(f64, f64 => f64, |a, b| fma64(a, 1.0, -b, MODE))
        ),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &sources, options, 1)
}

#[inline(always)]
fn sum(a: f32, b: f32, mode: Rounding) -> f32 {
    match mode {
        Rounding::Even => a + b,
        mode => round_f32(zero_sign(add_odd(a.into(), b.into()), a.into(), b.into(), mode), mode),
    }
}

#[inline(always)]
fn product(a: f32, b: f32, mode: Rounding) -> f32 {
    match mode {
        Rounding::Even => a * b,
        mode => round_f32(f64::from(a) * f64::from(b), mode),
    }
}

#[inline(always)]
fn fused(a: f32, b: f32, c: f32, mode: Rounding) -> f32 {
    match mode {
        Rounding::Even => a.mul_add(b, c),
        mode => {
            let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
            round_f32(zero_sign(fma_odd(a, b, c), a * b, c, mode), mode)
        }
    }
}

#[inline(always)]
fn root(a: f32, mode: Rounding) -> f32 {
    match mode {
        Rounding::Even => a.sqrt(),
        mode => round_f32(sqrt_odd(a.into()), mode),
    }
}

#[inline(always)]
fn quotient(a: f32, b: f32, mode: Rounding) -> f32 {
    match mode {
        Rounding::Even => a / b,
        mode => round_f32(div_odd(a.into(), b.into()), mode),
    }
}

pub fn mul(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let mode = decode.choose(&ROUNDINGS).unwrap_or(Rounding::Even);
    let (ftz, sat) = (decode.flag("ftz"), decode.flag("sat"));
    let ty = decode.ty()?;
    if half_float::format_for(ty).is_some() {
        return half_float::mul(decode, ty, ftz, sat);
    }
    let options = options(ftz, sat, mode);
    let run = match ty {
        Type::F32 => pick!(
            options,
            each2!(f32, f32 => f32, |a, b| canonical(a * b)),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<f32, f32, f32>(lanes, inst, mask, |a, b| output(product(input(a, o), input(b, o), MODE), o))
            })
        ),
        Type::F64 if !ftz && !sat => pick!(
            options,
            each2!(f64, f64 => f64, |a, b| a * b),
            MODE => each2!(f64, f64 => f64, |a, b| {
                let zero = if a.is_sign_negative() != b.is_sign_negative() { -0.0 } else { 0.0 };
                fma64(a, b, zero, MODE)
            })
        ),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &sources, options, 1)
}

pub fn fma(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let Some(mode) = decode.choose(&ROUNDINGS) else { return decode.fail("a rounding mode is missing") };
    let (ftz, sat, relu) = (decode.flag("ftz"), decode.flag("sat"), decode.flag("relu"));
    let ty = decode.ty()?;
    if half_float::format_for(ty).is_some() {
        return half_float::fma(decode, ty, half_float::Finish { ftz, sat, relu });
    }
    let options = options(ftz, sat, mode);
    let run = match ty {
        _ if relu => return decode.unsupported(ty),
        Type::F32 => pick!(
            options,
            each3!(f32, f32, f32 => f32, |a, b, c| canonical(a.mul_add(b, c))),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map3::<f32, f32, f32, f32>(lanes, inst, mask, |a, b, c| {
                    output(fused(input(a, o), input(b, o), input(c, o), MODE), o)
                })
            })
        ),
        Type::F64 if !ftz && !sat => pick!(
            options,
            each3!(f64, f64, f64 => f64, |a, b, c| a.mul_add(b, c)),
            MODE => each3!(f64, f64, f64 => f64, |a, b, c| fma64(a, b, c, MODE))
        ),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, ty)?];
    emit(decode, ty, run, &sources, options, 2)
}

/// `div` of a floating-point type; `None` leaves the instruction to integers. The approximate forms divide exactly,
/// which is within their documented error of 2 ulp, but for `.approx`'s zero (NaN for infinite a) where |b| > 2^126.
pub fn div(decode: &mut Decode<'_, '_, '_>) -> Option<LoadResult<()>> {
    let approximate = decode.flag("approx");
    let full = decode.flag("full");
    let mode = decode.choose(&ROUNDINGS);
    if !approximate && !full && mode.is_none() {
        return None;
    }
    Some(float_div(decode, approximate, mode.unwrap_or(Rounding::Even)))
}

fn float_div(decode: &mut Decode<'_, '_, '_>, approximate: bool, mode: Rounding) -> LoadResult<()> {
    let ftz = decode.flag("ftz");
    let ty = decode.ty()?;
    let options = options(ftz, false, mode);
    let run = match ty {
        Type::F32 if approximate => lane_loop!(|lanes, inst, mask| {
            let o = inst.imm;
            map2::<f32, f32, f32>(lanes, inst, mask, |a, b| {
                let (a, b) = (input(a, o), input(b, o));
                let huge = b.abs() > f32::from_bits(0x7e80_0000) && b.is_finite();
                output(if huge { (a / b) * 0.0 } else { a / b }, o)
            })
        }),
        Type::F32 => pick!(
            options,
            each2!(f32, f32 => f32, |a, b| canonical(a / b)),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map2::<f32, f32, f32>(lanes, inst, mask, |a, b| output(quotient(input(a, o), input(b, o), MODE), o))
            })
        ),
        Type::F64 if !ftz && !approximate => lane_loop!(|lanes, inst, mask| {
            let mode = rounding(inst.imm);
            map2::<f64, f64, f64>(lanes, inst, mask, |a, b| div64(a, b, mode))
        }),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?, decode.src(2, ty)?];
    emit(decode, ty, run, &sources, options, 1)
}

fn rcp(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let approximate = decode.flag("approx");
    let mode = decode.choose(&ROUNDINGS);
    if approximate == mode.is_some() {
        return decode.fail("needs one of .approx and a rounding mode");
    }
    let ftz = decode.flag("ftz");
    let ty = decode.ty()?;
    let options = options(ftz && ty == Type::F32, false, mode.unwrap_or(Rounding::Even));
    let run = match (ty, approximate) {
        (Type::F32, _) => pick!(
            options,
            each1!(f32 => f32, |a| canonical(1.0 / a)),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map1::<f32, f32>(lanes, inst, mask, |a| output(quotient(1.0, input(a, o), MODE), o))
            })
        ),
        // `rcp.approx.ftz.f64` sees and gives only the upper half of its operand (9.7.3.14).
        (Type::F64, true) if ftz => each1!(f64 => f64, |a| {
            let upper = |x: f64| f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000);
            let flush = |x: f64| if x.abs() < f64::MIN_POSITIVE { 0.0f64.copysign(x) } else { x };
            upper(flush(1.0 / flush(upper(a))))
        }),
        (Type::F64, false) if !ftz => lane_loop!(|lanes, inst, mask| {
            let mode = rounding(inst.imm);
            map1::<f64, f64>(lanes, inst, mask, |a| div64(1.0, a, mode))
        }),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?];
    emit(decode, ty, run, &sources, options, 1)?;
    if approximate && ty == Type::F32 {
        let d = decode.dst(0, ty)?;
        nudge(decode, d);
    }
    Ok(())
}

fn sqrt(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let approximate = decode.flag("approx");
    let mode = decode.choose(&ROUNDINGS);
    if approximate == mode.is_some() {
        return decode.fail("needs one of .approx and a rounding mode");
    }
    let ftz = decode.flag("ftz");
    let ty = decode.ty()?;
    let options = options(ftz, false, mode.unwrap_or(Rounding::Even));
    let run = match ty {
        Type::F32 => pick!(
            options,
            each1!(f32 => f32, |a| canonical(a.sqrt())),
            MODE => lane_loop!(|lanes, inst, mask| {
                let o = inst.imm;
                map1::<f32, f32>(lanes, inst, mask, |a| output(root(input(a, o), MODE), o))
            })
        ),
        Type::F64 if !ftz && !approximate => lane_loop!(|lanes, inst, mask| {
            let mode = rounding(inst.imm);
            map1::<f64, f64>(lanes, inst, mask, |a| sqrt64(a, mode))
        }),
        _ => return decode.unsupported(ty),
    };
    let sources = [decode.src(1, ty)?];
    emit(decode, ty, run, &sources, options, 1)
}
