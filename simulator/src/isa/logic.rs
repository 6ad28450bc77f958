//! Logic and shifts (PTX ISA 9.7.8), and `prmt` (9.7.9.7).

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::loops::{each1, each2, each3, lane_loop, map3};
use crate::program::{AluFn, Class, Inst, NONE, Op};
use crate::ptx::tree::Operand;
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("and", "9.7.8.1", and),
    row("or", "9.7.8.2", or),
    row("xor", "9.7.8.3", xor),
    row("not", "9.7.8.4", not),
    row("cnot", "9.7.8.5", cnot),
    row("lop3", "9.7.8.6", lop3),
    row("shf", "9.7.8.7", shf),
    row("shl", "9.7.8.8", shl),
    row("shr", "9.7.8.9", shr),
    row("prmt", "9.7.9.7", prmt),
];

#[inline(always)]
fn predicates(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(u32, u32) -> u32) {
    let flip = |bit: u32| if inst.imm >> bit & 1 == 1 { u32::MAX } else { 0 };
    let (a, b) = (lanes.predicate(inst.s[0]) ^ flip(0), lanes.predicate(inst.s[1]) ^ flip(1));
    lanes.set_predicate(inst.d[0], f(a, b), mask);
}

fn predicate_logic(decode: &mut Decode<'_, '_, '_>, run: AluFn, sources: usize) -> LoadResult<()> {
    decode.operands(sources + 1..=sources + 1)?;
    let mut inst = Inst::new(Op::Alu(run), Class::Integer);
    inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
    for k in 0..2 {
        let (reg, negated) = decode.predicate(1 + k.min(sources - 1))?;
        inst.s[k] = reg;
        inst.imm |= u32::from(negated) << k;
    }
    decode.emit(inst);
    Ok(())
}

fn binary(decode: &mut Decode<'_, '_, '_>, ty: Type, word: AluFn, double: AluFn) -> LoadResult<()> {
    let run = match ty {
        Type::B16 | Type::B32 => word,
        Type::B64 => double,
        _ => return decode.unsupported(ty),
    };
    decode.operands(3..=3)?;
    let (d, a, b) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b]);
    Ok(())
}

macro_rules! bitwise {
    ($name:ident, $op:expr) => {
        fn $name(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
            let ty = decode.ty()?;
            if ty == Type::Pred {
                let run = lane_loop!(|lanes, inst, mask| { predicates(lanes, inst, mask, $op) });
                return predicate_logic(decode, run, 2);
            }
            binary(decode, ty, each2!(u32, u32 => u32, $op), each2!(u64, u64 => u64, $op))
        }
    };
}

bitwise!(and, |a, b| a & b);
bitwise!(or, |a, b| a | b);
bitwise!(xor, |a, b| a ^ b);

fn not(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::Pred => {
            let run = lane_loop!(|lanes, inst, mask| { predicates(lanes, inst, mask, |a, _| !a) });
            return predicate_logic(decode, run, 1);
        }
        Type::B16 => each1!(u16 => u16, |a| !a),
        Type::B32 => each1!(u32 => u32, |a| !a),
        Type::B64 => each1!(u64 => u64, |a| !a),
        _ => return decode.unsupported(ty),
    };
    unary(decode, ty, run)
}

fn unary(decode: &mut Decode<'_, '_, '_>, ty: Type, run: AluFn) -> LoadResult<()> {
    decode.operands(2..=2)?;
    let (d, a) = (decode.dst(0, ty)?, decode.src(1, ty)?);
    decode.emit_alu(run, Class::Integer, d, &[a]);
    Ok(())
}

fn cnot(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B16 | Type::B32 => each1!(u32 => u32, |a| u32::from(a == 0)),
        Type::B64 => each1!(u64 => u64, |a| u64::from(a == 0)),
        _ => return decode.unsupported(ty),
    };
    unary(decode, ty, run)
}

/// The function of three bits whose truth table is `table`, from its disjunctive normal form.
#[inline(always)]
fn lookup(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let pick = |bit: u32| if table >> bit & 1 == 1 { u32::MAX } else { 0 };
    let by_c = |low: u32, high: u32| (!c & pick(low)) | (c & pick(high));
    let by_b = |base: u32| (!b & by_c(base, base + 1)) | (b & by_c(base + 2, base + 3));
    (!a & by_b(0)) | (a & by_b(4))
}

fn lop3(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    if ty != Type::B32 {
        return decode.unsupported(ty);
    }
    let reduction = decode.choose(&[("or", true), ("and", false)]);
    let operands = if reduction.is_some() { 6 } else { 5 };
    decode.operands(operands..=operands)?;
    let Operand::Integer(table) = decode.operand(4)? else { return decode.fail("the table must be a constant") };
    let table = *table as u32 & 0xff;
    // The compiler's common tables get loops of their own.
    let run = match table {
        0xc0 => each3!(u32, u32, u32 => u32, |a, b, _| a & b),
        0x96 => each3!(u32, u32, u32 => u32, |a, b, c| a ^ b ^ c),
        0xf8 => each3!(u32, u32, u32 => u32, |a, b, c| a | (b & c)),
        _ => lane_loop!(|lanes, inst, mask| {
            let table = inst.imm;
            map3::<u32, u32, u32, u32>(lanes, inst, mask, |a, b, c| lookup(a, b, c, table))
        }),
    };
    let mut inst = Inst::new(Op::Alu(run), Class::Integer);
    let flag = match (reduction, decode.operand(0)?) {
        (None, _) => None,
        (Some(or), Operand::Pair(word, flag)) => {
            let Operand::Name(flag, 0) = &**flag else { return decode.fail("expected a predicate") };
            inst.d[0] = decode.dst_register(word)?.0;
            Some((or, decode.predicate_named(flag)?))
        }
        _ => return decode.fail("expected a register and a predicate"),
    };
    if flag.is_none() {
        inst.d[0] = decode.dst(0, ty)?;
    } else if inst.d[0] == NONE {
        inst.d[0] = decode.new_word(false);
    }
    for k in 0..3 {
        inst.s[k] = decode.src(1 + k, ty)?;
    }
    inst.imm = table;
    let word = inst.d[0];
    decode.emit(inst);
    if let Some((or, flag)) = flag {
        let (with, negated) = decode.predicate(5)?;
        let run = if or { any_bit_or } else { any_bit_and };
        let mut inst = Inst::new(Op::Alu(run), Class::None);
        (inst.d[0], inst.s[0], inst.s[1], inst.imm) = (flag, with, word, u32::from(negated));
        decode.emit(inst);
    }
    Ok(())
}

/// Whether a word has a bit set, with a predicate.
#[inline(always)]
fn any_bit(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(u32, u32) -> u32) {
    let words = u32::read(lanes, inst.s[1]);
    let any = (0..LANES).fold(0, |any, i| any | u32::from(words[i] != 0) << i);
    let with = lanes.predicate(inst.s[0]) ^ if inst.imm == 1 { u32::MAX } else { 0 };
    lanes.set_predicate(inst.d[0], f(any, with), mask);
}

fn any_bit_or(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    any_bit(lanes, inst, mask, |any, with| any | with);
}

fn any_bit_and(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    any_bit(lanes, inst, mask, |any, with| any & with);
}

/// Funnel shift of the 64 bits `b:a`.
fn shf(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let left = decode.require("direction", &[("l", true), ("r", false)])?;
    let clamp = decode.require("mode", &[("clamp", true), ("wrap", false)])?;
    let ty = decode.ty()?;
    if ty != Type::B32 {
        return decode.unsupported(ty);
    }
    let run = match (left, clamp) {
        (true, true) => each3!(u32, u32, u32 => u32, |a, b, n| funnel_left(a, b, n.min(32))),
        (true, false) => each3!(u32, u32, u32 => u32, |a, b, n| funnel_left(a, b, n & 31)),
        (false, true) => each3!(u32, u32, u32 => u32, |a, b, n| funnel_right(a, b, n.min(32))),
        (false, false) => each3!(u32, u32, u32 => u32, |a, b, n| funnel_right(a, b, n & 31)),
    };
    decode.operands(4..=4)?;
    let (d, a, b, n) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, ty)?, decode.src(3, Type::U32)?);
    decode.emit_alu(run, Class::Integer, d, &[a, b, n]);
    Ok(())
}

#[inline(always)]
fn funnel_left(a: u32, b: u32, n: u32) -> u32 {
    (((u64::from(b) << 32 | u64::from(a)) << n) >> 32) as u32
}

#[inline(always)]
fn funnel_right(a: u32, b: u32, n: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> n) as u32
}

fn shift(decode: &mut Decode<'_, '_, '_>, ty: Type, run: AluFn) -> LoadResult<()> {
    decode.operands(3..=3)?;
    let (d, a, n) = (decode.dst(0, ty)?, decode.src(1, ty)?, decode.src(2, Type::U32)?);
    decode.emit_alu(run, Class::Integer, d, &[a, n]);
    Ok(())
}

/// Amounts beyond the width give zero.
fn shl(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B16 => each2!(u32, u32 => u16, |a, n| if n > 15 { 0 } else { (a << n) as u16 }),
        Type::B32 => each2!(u32, u32 => u32, |a, n| if n > 31 { 0 } else { a << (n & 31) }),
        Type::B64 => each2!(u64, u32 => u64, |a, n| if n > 63 { 0 } else { a << (n & 63) }),
        _ => return decode.unsupported(ty),
    };
    shift(decode, ty, run)
}

/// Amounts beyond the width fill with zero or the sign.
fn shr(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    let run = match ty {
        Type::B16 | Type::U16 | Type::B32 | Type::U32 => {
            each2!(u32, u32 => u32, |a, n| if n > 31 { 0 } else { a >> (n & 31) })
        }
        Type::B64 | Type::U64 => each2!(u64, u32 => u64, |a, n| if n > 63 { 0 } else { a >> (n & 63) }),
        Type::S16 => each2!(i16, u32 => i16, |a, n| a >> n.min(15)),
        Type::S32 => each2!(i32, u32 => i32, |a, n| a >> n.min(31)),
        Type::S64 => each2!(i64, u32 => i64, |a, n| a >> n.min(63)),
        _ => return decode.unsupported(ty),
    };
    shift(decode, ty, run)
}

const PRMT_MODES: [(&str, u32); 6] = [("f4e", 1), ("b4e", 2), ("rc8", 3), ("ecl", 4), ("ecr", 5), ("rc16", 6)];

/// The four selectors of a mode; each picks a byte of `b:a`.
#[inline(always)]
fn selectors(c: u32, mode: u32) -> [u32; 4] {
    let k = c & 3;
    match mode {
        1 => [k, k + 1, k + 2, k + 3],
        2 => [k, (k + 7) & 7, (k + 6) & 7, (k + 5) & 7],
        3 => [k; 4],
        4 => [k, k.max(1), k.max(2), 3],
        5 => [0, k.min(1), k.min(2), k],
        6 => [(k & 1) * 2, (k & 1) * 2 + 1, (k & 1) * 2, (k & 1) * 2 + 1],
        _ => [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15],
    }
}

#[inline(always)]
fn permute(a: u32, b: u32, c: u32, mode: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let pick = |selector: u32| {
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        // The selector's top bit repeats the byte's sign instead.
        u32::from(if selector & 8 != 0 { (byte as i8 >> 7) as u8 } else { byte })
    };
    let s = selectors(c, mode);
    pick(s[0]) | pick(s[1]) << 8 | pick(s[2]) << 16 | pick(s[3]) << 24
}

fn prmt(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    if ty != Type::B32 {
        return decode.unsupported(ty);
    }
    let mode = decode.choose(&PRMT_MODES).unwrap_or(0);
    decode.operands(4..=4)?;
    let run = lane_loop!(|lanes, inst, mask| {
        let mode = inst.imm;
        map3::<u32, u32, u32, u32>(lanes, inst, mask, |a, b, c| permute(a, b, c, mode))
    });
    let mut inst = Inst::new(Op::Alu(run), Class::Integer);
    inst.d[0] = decode.dst(0, ty)?;
    for k in 0..3 {
        inst.s[k] = decode.src(1 + k, ty)?;
    }
    inst.imm = mode;
    decode.emit(inst);
    Ok(())
}
