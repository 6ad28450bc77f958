//! `setp` and `set` of packed halves (PTX ISA 9.7.7): each half is compared by itself.
//!
//! `setp` writes the low half's answer to its first predicate and the high half's to its second; `set` writes them to
//! the halves of a word.

use super::compare::{FTZ, HalfValue, combine, third};
use super::half_float::Half;
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::{Lanes, Word};
use crate::program::loops::lane_loop;
use crate::program::{AluFn, Class, Inst, Op};
use crate::ptx::types::Type;

/// One bit a lane for the half that starts at bit `shift`.
#[inline(always)]
fn compare_halves<const BF16: bool>(lanes: &Lanes<'_>, inst: &Inst, shift: u32) -> u32 {
    use crate::program::loops::Value;
    let (a, b) = (u32::read(lanes, inst.s[0]), u32::read(lanes, inst.s[1]));
    let value = |word: u32| {
        let half = HalfValue::<BF16>::from_word(word >> shift & 0xffff);
        if inst.imm & FTZ != 0 { half.flush() } else { half }
    };
    (0..32).fold(0, |bits, i| {
        let outcome = match value(a[i]).partial_cmp(&value(b[i])) {
            Some(std::cmp::Ordering::Less) => 0,
            Some(std::cmp::Ordering::Equal) => 1,
            Some(std::cmp::Ordering::Greater) => 2,
            None => 3,
        };
        bits | (inst.imm >> outcome & 1) << i
    })
}

#[inline(always)]
fn both<const BF16: bool>(lanes: &Lanes<'_>, inst: &Inst) -> (u32, u32) {
    let one = |shift| combine(lanes, inst, compare_halves::<BF16>(lanes, inst, shift));
    (one(0), one(16))
}

macro_rules! pair_loop {
    ($format:expr, $write:ident) => {
        match $format {
            Half::F16 => lane_loop!(|lanes, inst, mask| {
                let bits = both::<false>(lanes, inst);
                $write(lanes, inst, bits, mask);
            }),
            Half::Bf16 => lane_loop!(|lanes, inst, mask| {
                let bits = both::<true>(lanes, inst);
                $write(lanes, inst, bits, mask);
            }),
        }
    };
}

#[inline(always)]
fn write_predicates(lanes: &mut Lanes<'_>, inst: &Inst, (low, high): (u32, u32), mask: u32) {
    lanes.set_predicate(inst.d[0], low, mask);
    lanes.set_predicate(inst.d[1], high, mask);
}

/// What each half holds for true is in the constant's upper half.
#[inline(always)]
fn write_word(lanes: &mut Lanes<'_>, inst: &Inst, (low, high): (u32, u32), mask: u32) {
    let truth = inst.imm >> 16;
    let out = std::array::from_fn(|i| ((low >> i & 1) * truth) | (((high >> i & 1) * truth) << 16));
    u32::write(lanes, inst.d[0], &out, mask);
}

fn sources(decode: &mut Decode<'_, '_, '_>, run: AluFn, code: u32, combined: bool) -> LoadResult<Inst> {
    let mut inst = Inst::new(Op::Alu(run), Class::Fp16);
    inst.imm = code;
    (inst.s[0], inst.s[1]) = (decode.src(1, Type::B32)?, decode.src(2, Type::B32)?);
    third(decode, &mut inst, combined)?;
    Ok(inst)
}

pub fn setp(decode: &mut Decode<'_, '_, '_>, format: Half, code: u32, combined: bool) -> LoadResult<()> {
    let mut inst = sources(decode, pair_loop!(format, write_predicates), code, combined)?;
    (inst.d[0], inst.d[1]) = decode.predicate_pair(decode.operand(0)?)?;
    decode.emit(inst);
    Ok(())
}

pub fn set(
    decode: &mut Decode<'_, '_, '_>,
    (result, format): (Type, Half),
    code: u32,
    combined: bool,
) -> LoadResult<()> {
    let truth: u32 = match (result, format) {
        (Type::U32 | Type::S32, _) => 0xffff,
        (Type::F16x2, Half::F16) => 0x3c00,
        (Type::Bf16x2, Half::Bf16) => 0x3f80,
        _ => return decode.unsupported(result),
    };
    let mut inst = sources(decode, pair_loop!(format, write_word), code | truth << 16, combined)?;
    inst.d[0] = decode.dst(0, Type::B32)?;
    decode.emit(inst);
    Ok(())
}
