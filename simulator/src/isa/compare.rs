//! Comparison and selection (PTX ISA 9.7.5 to 9.7.7); packed halves are compared in [`super::compare_pair`].

use super::half_float::format_for;
use super::numeric::flush;
use super::{Row, compare_pair, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::{Lanes, Word};
use crate::program::loops::{Value, each3, lane_loop, test2};
use crate::program::{AluFn, Class, Inst, NONE, Op, Reg};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("set", "9.7.6.1", set),
    row("setp", "9.7.6.2", setp),
    row("selp", "9.7.6.3", selp),
    row("slct", "9.7.6.4", slct),
];

/// A comparison: which of less, equal, greater and unordered satisfy it.
#[derive(Clone, Copy)]
pub struct Relation {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
    /// Compares as unsigned whatever the type: `lo`, `ls`, `hi`, `hs`.
    unsigned: bool,
    /// Also meaningful for bit types.
    equality: bool,
}

const fn relation(less: u8, equal: u8, greater: u8, unordered: u8) -> Relation {
    let equality = less == greater;
    Relation {
        less: less == 1,
        equal: equal == 1,
        greater: greater == 1,
        unordered: unordered == 1,
        unsigned: false,
        equality,
    }
}

const fn unsigned(base: Relation) -> Relation {
    Relation { unsigned: true, ..base }
}

const RELATIONS: [(&str, Relation); 18] = [
    ("eq", relation(0, 1, 0, 0)),
    ("ne", relation(1, 0, 1, 0)),
    ("lt", relation(1, 0, 0, 0)),
    ("le", relation(1, 1, 0, 0)),
    ("gt", relation(0, 0, 1, 0)),
    ("ge", relation(0, 1, 1, 0)),
    ("lo", unsigned(relation(1, 0, 0, 0))),
    ("ls", unsigned(relation(1, 1, 0, 0))),
    ("hi", unsigned(relation(0, 0, 1, 0))),
    ("hs", unsigned(relation(0, 1, 1, 0))),
    ("equ", relation(0, 1, 0, 1)),
    ("neu", relation(1, 0, 1, 1)),
    ("ltu", relation(1, 0, 0, 1)),
    ("leu", relation(1, 1, 0, 1)),
    ("gtu", relation(0, 0, 1, 1)),
    ("geu", relation(0, 1, 1, 1)),
    ("num", relation(1, 1, 1, 0)),
    ("nan", relation(0, 0, 0, 1)),
];

/// Bits of the instruction's constant: the relation, `.ftz`, and how a third predicate is combined.
pub const FTZ: u32 = 16;
const NEGATE_C: u32 = 32;
const AND: u32 = 1 << 6;
const OR: u32 = 2 << 6;
const XOR: u32 = 3 << 6;

impl Relation {
    fn code(self) -> u32 {
        u32::from(self.less)
            | u32::from(self.equal) << 1
            | u32::from(self.greater) << 2
            | u32::from(self.unordered) << 3
    }
}

/// One bit a lane. The relation's four bits select among the outcomes without a branch a lane.
#[inline(always)]
pub fn compare<T: Value + PartialOrd>(lanes: &Lanes<'_>, inst: &Inst, prepare: impl Fn(T) -> T + Copy) -> u32 {
    let less = test2::<T>(lanes, inst, |a, b| prepare(a) < prepare(b));
    let equal = test2::<T>(lanes, inst, |a, b| prepare(a) == prepare(b));
    let greater = !(less | equal);
    let pick = |bit: u32| if inst.imm >> bit & 1 == 1 { u32::MAX } else { 0 };
    if pick(2) == pick(3) {
        return less & pick(0) | equal & pick(1) | greater & pick(2);
    }
    let more = test2::<T>(lanes, inst, |a, b| prepare(a) > prepare(b));
    less & pick(0) | equal & pick(1) | more & pick(2) | (greater & !more) & pick(3)
}

#[inline(always)]
pub fn combine(lanes: &Lanes<'_>, inst: &Inst, bits: u32) -> u32 {
    if inst.s[2] == NONE {
        return bits;
    }
    let flip = if inst.imm & NEGATE_C != 0 { u32::MAX } else { 0 };
    let c = lanes.predicate(inst.s[2]) ^ flip;
    match inst.imm & XOR {
        AND => bits & c,
        OR => bits | c,
        _ => bits ^ c,
    }
}

/// Writes `p` and its complement `q`, each combined with `c`.
#[inline(always)]
fn write_predicates(lanes: &mut Lanes<'_>, inst: &Inst, bits: u32, mask: u32) {
    let (p, q) = (combine(lanes, inst, bits), combine(lanes, inst, !bits));
    lanes.set_predicate(inst.d[0], p, mask);
    lanes.set_predicate(inst.d[1], q, mask);
}

/// What `set` writes for true, by the type of its result; the instruction's constant holds the place in this list.
const TRUTHS: [(Type, u32); 7] = [
    (Type::U32, u32::MAX),
    (Type::S32, u32::MAX),
    (Type::U16, 0xffff),
    (Type::S16, 0xffff),
    (Type::F32, 0x3f80_0000),
    (Type::F16, 0x3c00),
    (Type::Bf16, 0x3f80),
];

/// `set`: all ones or 1.0 instead of a predicate.
#[inline(always)]
fn write_word(lanes: &mut Lanes<'_>, inst: &Inst, bits: u32, mask: u32) {
    let bits = combine(lanes, inst, bits);
    let value = TRUTHS[(inst.imm >> 8) as usize % TRUTHS.len()].1;
    let out = std::array::from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 });
    u32::write(lanes, inst.d[0], &out, mask);
}

macro_rules! compare_loop {
    ($write:ident, $t:ty, $prepare:expr) => {
        lane_loop!(|lanes, inst, mask| {
            let bits = compare::<$t>(lanes, inst, $prepare);
            $write(lanes, inst, bits, mask);
        })
    };
}

macro_rules! compare_loops {
    ($write:ident, $ty:expr, $relation:expr, $ftz:expr) => {
        match ($ty, $relation.unsigned) {
            (Type::U16, _) | (Type::S16, true) => Some(compare_loop!($write, u16, |a| a)),
            (Type::S16, false) => Some(compare_loop!($write, i16, |a| a)),
            (Type::U32, _) | (Type::S32, true) => Some(compare_loop!($write, u32, |a| a)),
            (Type::S32, false) => Some(compare_loop!($write, i32, |a| a)),
            (Type::U64, _) | (Type::S64, true) => Some(compare_loop!($write, u64, |a| a)),
            (Type::S64, false) => Some(compare_loop!($write, i64, |a| a)),
            (Type::B16, _) if $relation.equality => Some(compare_loop!($write, u16, |a| a)),
            (Type::B32, _) if $relation.equality => Some(compare_loop!($write, u32, |a| a)),
            (Type::B64, _) if $relation.equality => Some(compare_loop!($write, u64, |a| a)),
            (Type::F32, _) if $ftz => Some(compare_loop!($write, f32, flush)),
            (Type::F32, _) => Some(compare_loop!($write, f32, |a| a)),
            (Type::F64, _) => Some(compare_loop!($write, f64, |a| a)),
            (Type::F16, _) if $ftz => Some(compare_loop!($write, HalfValue<false>, HalfValue::flush)),
            (Type::F16, _) => Some(compare_loop!($write, HalfValue<false>, |a| a)),
            (Type::Bf16, _) => Some(compare_loop!($write, HalfValue<true>, |a| a)),
            _ => None,
        }
    };
}

/// A half value in the low half of a register, compared by its value.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct HalfValue<const BF16: bool>(f32);

impl<const BF16: bool> HalfValue<BF16> {
    /// `.ftz`, which only f16 has: its smallest normal number is 2⁻¹⁴.
    #[inline(always)]
    pub fn flush(self) -> Self {
        const SMALLEST_NORMAL: f32 = 1.0 / 16384.0;
        Self(if self.0.abs() < SMALLEST_NORMAL { 0.0 } else { self.0 })
    }
}

impl<const BF16: bool> Value for HalfValue<BF16> {
    type Word = u32;
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        Self(if BF16 { f32::from_bits(word << 16) } else { half::f16::from_bits(word as u16).to_f32() })
    }
    #[inline(always)]
    fn word(self) -> u32 {
        self.0.to_bits()
    }
}

/// The parts `set` and `setp` share: relation, combination, type, and the third operand.
fn comparison(decode: &mut Decode<'_, '_, '_>) -> LoadResult<(Relation, u32, bool)> {
    let relation = decode.require("comparison", &RELATIONS)?;
    let boolean = decode.choose(&[("and", AND), ("or", OR), ("xor", XOR)]);
    let ftz = decode.flag("ftz");
    let code = relation.code() | (u32::from(ftz) * FTZ) | boolean.unwrap_or(0);
    Ok((relation, code, boolean.is_some()))
}

pub fn third(decode: &mut Decode<'_, '_, '_>, inst: &mut Inst, combined: bool) -> LoadResult<()> {
    let count = if combined { 4 } else { 3 };
    decode.operands(count..=count)?;
    if combined {
        let (c, negated) = decode.predicate(3)?;
        inst.s[2] = c;
        inst.imm |= u32::from(negated) * NEGATE_C;
    }
    Ok(())
}

fn class_for(ty: Type) -> Class {
    match ty {
        Type::F32 => Class::Fp32,
        Type::F64 => Class::Fp64,
        Type::F16 | Type::Bf16 => Class::Fp16,
        _ => Class::Integer,
    }
}

fn setp(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (relation, code, combined) = comparison(decode)?;
    let ty = decode.ty()?;
    if let Some((format, true)) = format_for(ty) {
        return compare_pair::setp(decode, format, code, combined);
    }
    let run: Option<AluFn> = compare_loops!(write_predicates, ty, relation, code & FTZ != 0);
    let Some(run) = run else { return decode.unsupported(ty) };
    let mut inst = Inst::new(Op::Alu(run), class_for(ty));
    inst.imm = code;
    (inst.d[0], inst.d[1]) = decode.predicate_pair(decode.operand(0)?)?;
    (inst.s[0], inst.s[1]) = (decode.src(1, ty)?, decode.src(2, ty)?);
    third(decode, &mut inst, combined)?;
    decode.emit(inst);
    Ok(())
}

fn set(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (relation, code, combined) = comparison(decode)?;
    let (result, ty) = (decode.ty()?, decode.ty()?);
    if let Some((format, true)) = format_for(ty) {
        return compare_pair::set(decode, (result, format), code, combined);
    }
    let Some(truth) = TRUTHS.iter().position(|&(ty, _)| ty == result) else { return decode.unsupported(result) };
    let run: Option<AluFn> = compare_loops!(write_word, ty, relation, code & FTZ != 0);
    let Some(run) = run else { return decode.unsupported(ty) };
    let mut inst = Inst::new(Op::Alu(run), class_for(ty));
    inst.imm = code | (truth as u32) << 8;
    inst.d[0] = decode.dst(0, result)?;
    (inst.s[0], inst.s[1]) = (decode.src(1, ty)?, decode.src(2, ty)?);
    third(decode, &mut inst, combined)?;
    decode.emit(inst);
    Ok(())
}

#[inline(always)]
fn select<W: Word>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    let p = lanes.predicate(inst.s[2]) ^ inst.imm;
    let (a, b) = (W::read(lanes, inst.s[0]), W::read(lanes, inst.s[1]));
    let mut out = [W::default(); 32];
    for i in 0..32 {
        out[i] = if p >> i & 1 == 1 { a[i] } else { b[i] };
    }
    W::write(lanes, inst.d[0], &out, mask);
}

fn selp(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run: AluFn = match ty.bits() {
        64 => lane_loop!(|lanes, inst, mask| { select::<u64>(lanes, inst, mask) }),
        16 | 32 => lane_loop!(|lanes, inst, mask| { select::<u32>(lanes, inst, mask) }),
        _ => return decode.unsupported(ty),
    };
    decode.operands(4..=4)?;
    let (d, a, b) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?);
    let (c, negated) = decode.predicate(3)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Move);
    inst.d[0] = d;
    inst.s[..3].copy_from_slice(&[a, b, c] as &[Reg]);
    inst.imm = if negated { u32::MAX } else { 0 };
    decode.emit(inst);
    Ok(())
}

/// `c ≥ 0 ? a : b`; NaN chooses b, −0 chooses a.
fn slct(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ftz = decode.flag("ftz");
    let (ty, chooser) = (decode.ty()?, decode.ty()?);
    let run = match (ty.bits(), chooser) {
        (16 | 32, Type::S32) => each3!(u32, u32, i32 => u32, |a, b, c| if c >= 0 { a } else { b }),
        (64, Type::S32) => each3!(u64, u64, i32 => u64, |a, b, c| if c >= 0 { a } else { b }),
        (16 | 32, Type::F32) if ftz => each3!(u32, u32, f32 => u32, |a, b, c| if flush(c) >= 0.0 { a } else { b }),
        (16 | 32, Type::F32) => each3!(u32, u32, f32 => u32, |a, b, c| if c >= 0.0 { a } else { b }),
        (64, Type::F32) if ftz => each3!(u64, u64, f32 => u64, |a, b, c| if flush(c) >= 0.0 { a } else { b }),
        (64, Type::F32) => each3!(u64, u64, f32 => u64, |a, b, c| if c >= 0.0 { a } else { b }),
        _ => return decode.unsupported(chooser),
    };
    decode.operands(4..=4)?;
    let (d, a, b, c) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, chooser)?);
    decode.emit_alu(run, Class::Move, d, &[a, b, c]);
    Ok(())
}
