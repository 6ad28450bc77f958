//! Extended-precision integer arithmetic: carries between instructions (PTX ISA 9.7.2).
//!
//! The condition code register is a predicate of the function: `.cc` writes it, `addc`, `subc` and `madc` read it.
//! After a subtraction it holds the carry of a + ~b + 1, the complement of the borrow that the ISA's text speaks of: in
//! a chain of subtractions the two are alike, but the compiler's 128-bit division reads a subtraction's flag with
//! `addc`.

use super::multiply::{PARTS, Part};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::{Lanes, Word};
use crate::program::loops::{Value, lane_loop};
use crate::program::{Class, Inst, NONE, Op, Reg};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("addc", "9.7.2.2", addc), row("subc", "9.7.2.4", subc), row("madc", "9.7.2.6", madc)];

/// One limb with its carry: sums in u128, so that every width is the same formula.
#[inline(always)]
fn limbs<T: Value>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(T, T, T, bool) -> (T, bool))
where
    T::Word: Word,
{
    let carry_in = if inst.s[3] == NONE { 0 } else { lanes.predicate(inst.s[3]) };
    let read = |k: usize| <T::Word as Word>::read(lanes, inst.s[k]);
    let (a, b) = (read(0), read(1));
    let c = if inst.s[2] == NONE { b } else { read(2) };
    let (mut out, mut carry_out) = ([T::Word::default(); 32], 0u32);
    for i in 0..32 {
        let (value, carry) = f(T::from_word(a[i]), T::from_word(b[i]), T::from_word(c[i]), carry_in >> i & 1 == 1);
        out[i] = value.word();
        carry_out |= u32::from(carry) << i;
    }
    T::Word::write(lanes, inst.d[0], &out, mask);
    lanes.set_predicate(inst.d[1], carry_out, mask);
}

macro_rules! limb_loop {
    ($t:ty, $f:expr) => {
        lane_loop!(|lanes, inst, mask| { limbs::<$t>(lanes, inst, mask, $f) })
    };
}

fn emit(
    decode: &mut Decode<'_, '_, '_>,
    ty: Type,
    run: crate::program::AluFn,
    s: [Reg; 3],
    carry: [bool; 2],
) -> LoadResult<()> {
    let flag = decode.function.carry();
    let mut inst = Inst::new(Op::Alu(run), Class::Integer);
    inst.d[0] = decode.dst(0, ty)?;
    inst.d[1] = if carry[1] { flag } else { NONE };
    inst.s[..3].copy_from_slice(&s);
    inst.s[3] = if carry[0] { flag } else { NONE };
    decode.emit(inst);
    Ok(())
}

fn sum(decode: &mut Decode<'_, '_, '_>, carry_in: bool, carry_out: bool, subtract: bool) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match (ty.bits(), subtract) {
        _ if !ty.is_integer() => return decode.unsupported(ty),
        (32, false) => limb_loop!(u32, |a, b, _, c| {
            let wide = u64::from(a) + u64::from(b) + u64::from(c);
            (wide as u32, wide >> 32 != 0)
        }),
        (32, true) if carry_in => limb_loop!(u32, |a, b, _, c| {
            let wide = u64::from(a) + u64::from(!b) + u64::from(c);
            (wide as u32, wide >> 32 != 0)
        }),
        (32, true) => limb_loop!(u32, |a, b, _, _| (a.wrapping_sub(b), a >= b)),
        (64, false) => limb_loop!(u64, |a, b, _, c| {
            let wide = u128::from(a) + u128::from(b) + u128::from(c);
            (wide as u64, wide >> 64 != 0)
        }),
        (64, true) if carry_in => limb_loop!(u64, |a, b, _, c| {
            let wide = u128::from(a) + u128::from(!b) + u128::from(c);
            (wide as u64, wide >> 64 != 0)
        }),
        (64, true) => limb_loop!(u64, |a, b, _, _| (a.wrapping_sub(b), a >= b)),
        _ => return decode.unsupported(ty),
    };
    decode.operands(3..=3)?;
    let (a, b) = (decode.src(1, ty)?, decode.src(2, ty)?);
    emit(decode, ty, run, [a, b, NONE], [carry_in, carry_out])
}

pub fn add_carry_out(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    sum(decode, false, true, false)
}

pub fn sub_carry_out(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    sum(decode, false, true, true)
}

fn addc(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let out = decode.flag("cc");
    sum(decode, true, out, false)
}

fn subc(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let out = decode.flag("cc");
    sum(decode, true, out, true)
}

fn madc(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let part = decode.require("part", &PARTS[..2])?;
    let out = decode.flag("cc");
    mad_carry(decode, part, true, out)
}

/// `mad.cc` and `madc`: the low or high half of a product, plus `c`, plus a carry.
pub fn mad_carry(decode: &mut Decode<'_, '_, '_>, part: Part, carry_in: bool, carry_out: bool) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match (ty, part) {
        (Type::U32 | Type::S32, Part::Low) => limb_loop!(u32, |a, b, c, carry| {
            let wide = u64::from(a.wrapping_mul(b)) + u64::from(c) + u64::from(carry);
            (wide as u32, wide >> 32 != 0)
        }),
        (Type::U32, Part::High) => limb_loop!(u32, |a, b, c, carry| {
            let wide = ((u64::from(a) * u64::from(b)) >> 32) + u64::from(c) + u64::from(carry);
            (wide as u32, wide >> 32 != 0)
        }),
        (Type::S32, Part::High) => limb_loop!(u32, |a, b, c, carry| {
            let high = ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32;
            let wide = u64::from(high) + u64::from(c) + u64::from(carry);
            (wide as u32, wide >> 32 != 0)
        }),
        (Type::U64 | Type::S64, Part::Low) => limb_loop!(u64, |a, b, c, carry| {
            let wide = u128::from(a.wrapping_mul(b)) + u128::from(c) + u128::from(carry);
            (wide as u64, wide >> 64 != 0)
        }),
        (Type::U64, Part::High) => limb_loop!(u64, |a, b, c, carry| {
            let wide = ((u128::from(a) * u128::from(b)) >> 64) + u128::from(c) + u128::from(carry);
            (wide as u64, wide >> 64 != 0)
        }),
        (Type::S64, Part::High) => limb_loop!(u64, |a, b, c, carry| {
            let high = ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64;
            let wide = u128::from(high) + u128::from(c) + u128::from(carry);
            (wide as u64, wide >> 64 != 0)
        }),
        _ => return decode.unsupported(ty),
    };
    decode.operands(4..=4)?;
    let (a, b, c) = (decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, ty)?);
    emit(decode, ty, run, [a, b, c], [carry_in, carry_out])
}
