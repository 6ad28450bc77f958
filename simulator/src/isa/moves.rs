//! Data movement between registers (PTX ISA 9.7.9): `mov` with packing, `cvta`, `isspacep`, `mapa`-free address tests.

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::memory::spaces::{self, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::program::lanes::Word;
use crate::program::loops::{each1, each2, lane_loop, map1};
use crate::program::{AluFn, Class, Inst, NONE, Op};
use crate::ptx::tree::Operand;
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] =
    &[row("mov", "9.7.9.3", mov), row("cvta", "9.7.9.20", cvta), row("isspacep", "9.7.9.19", isspacep)];

/// A 32-bit register extended to 64 bits by the type's sign.
pub fn widen(signed: bool) -> AluFn {
    if signed { each1!(i32 => i64, i64::from) } else { each1!(u32 => u64, u64::from) }
}

fn copy(ty: Type) -> AluFn {
    if ty.bytes() == 8 { each1!(u64 => u64, |a| a) } else { each1!(u32 => u32, |a| a) }
}

fn mov(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    decode.operands(2..=2)?;
    match (decode.operand(0)?, decode.operand(1)?) {
        (_, _) if ty == Type::Pred => mov_predicate(decode),
        (_, Operand::Vector(parts)) => pack(decode, ty, parts),
        (Operand::Vector(parts), _) => unpack(decode, ty, parts),
        _ => {
            let (d, a) = (decode.dst(0, ty)?, decode.src(1, ty)?);
            decode.emit_alu(copy(ty), Class::Move, d, &[a]);
            Ok(())
        }
    }
}

fn mov_predicate(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let run = lane_loop!(|lanes, inst, mask| {
        let value = lanes.predicate(inst.s[0]) ^ inst.imm;
        lanes.set_predicate(inst.d[0], value, mask);
    });
    let mut inst = Inst::new(Op::Alu(run), Class::Move);
    inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
    let (reg, negated) = decode.predicate(1)?;
    inst.s[0] = reg;
    inst.imm = if negated { u32::MAX } else { 0 };
    decode.emit(inst);
    Ok(())
}

/// The type of one of `count` equal parts.
fn part_type(ty: Type, count: usize) -> Option<Type> {
    match (ty.bits() as usize).checked_div(count)? {
        8 => Some(Type::B8),
        16 => Some(Type::B16),
        32 => Some(Type::B32),
        _ => None,
    }
}

fn pack(decode: &mut Decode<'_, '_, '_>, ty: Type, parts: &[Operand]) -> LoadResult<()> {
    let Some(part) = part_type(ty, parts.len()) else { return decode.unsupported(ty) };
    let run: AluFn = match (ty.bits(), part.bits()) {
        (32, 16) => each2!(u32, u32 => u32, |a, b| a & 0xffff | b << 16),
        (64, 32) => each2!(u32, u32 => u64, |a, b| u64::from(a) | u64::from(b) << 32),
        (16, 8) => each2!(u32, u32 => u16, |a, b| (a & 0xff | b << 8) as u16),
        (64, 16) => lane_loop!(|lanes, inst, mask| {
            let part = |k: usize| u32::read(lanes, inst.s[k]);
            let (a, b, c, d) = (part(0), part(1), part(2), part(3));
            let low = |x: u32, shift: u32| u64::from(x & 0xffff) << shift;
            let out = std::array::from_fn(|i| low(a[i], 0) | low(b[i], 16) | low(c[i], 32) | low(d[i], 48));
            u64::write(lanes, inst.d[0], &out, mask);
        }),
        (32, 8) => lane_loop!(|lanes, inst, mask| {
            let part = |k: usize| u32::read(lanes, inst.s[k]);
            let (a, b, c, d) = (part(0), part(1), part(2), part(3));
            let out =
                std::array::from_fn(|i| a[i] & 0xff | (b[i] & 0xff) << 8 | (c[i] & 0xff) << 16 | (d[i] & 0xff) << 24);
            u32::write(lanes, inst.d[0], &out, mask);
        }),
        _ => return decode.unsupported(ty),
    };
    let mut inst = Inst::new(Op::Alu(run), Class::Move);
    inst.d[0] = decode.dst(0, ty)?;
    for (k, operand) in parts.iter().enumerate() {
        inst.s[k] = decode.src_wide(operand, part)?;
    }
    decode.emit(inst);
    Ok(())
}

fn unpack(decode: &mut Decode<'_, '_, '_>, ty: Type, parts: &[Operand]) -> LoadResult<()> {
    let Some(part) = part_type(ty, parts.len()) else { return decode.unsupported(ty) };
    let source = decode.src(1, ty)?;
    // One instruction a part, into fresh registers first: a part may be the source's own register in later copies.
    let wide = ty.bits() == 64;
    let mut class = Class::Move;
    for (k, operand) in parts.iter().enumerate() {
        let (d, bits) = decode.dst_register(operand)?;
        if d == NONE {
            continue;
        }
        if bits < part.bits() {
            return decode.fail("a part of the destination is too narrow");
        }
        let run: AluFn = match (wide, part.bits()) {
            (true, 32) => lane_loop!(|lanes, inst, mask| {
                let shift = inst.imm;
                map1::<u64, u32>(lanes, inst, mask, |a| (a >> shift) as u32)
            }),
            (true, 16) => lane_loop!(|lanes, inst, mask| {
                let shift = inst.imm;
                map1::<u64, u16>(lanes, inst, mask, |a| (a >> shift) as u16)
            }),
            (false, 16) => lane_loop!(|lanes, inst, mask| {
                let shift = inst.imm;
                map1::<u32, u16>(lanes, inst, mask, |a| (a >> shift) as u16)
            }),
            (false, 8) => lane_loop!(|lanes, inst, mask| {
                let shift = inst.imm;
                map1::<u32, u8>(lanes, inst, mask, |a| (a >> shift) as u8)
            }),
            _ => return decode.unsupported(ty),
        };
        // All parts together are the one instruction that is counted.
        let class = std::mem::replace(&mut class, Class::None);
        let mut inst = Inst::new(Op::Alu(run), class);
        inst.d[0] = d;
        inst.s[0] = source;
        inst.imm = k as u32 * part.bits();
        decode.emit(inst);
    }
    Ok(())
}

/// Generic addresses are offsets in windows; global and constant memory are their own addresses.
fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        _ => 0,
    }
}

fn cvta(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let to = decode.flag("to");
    let space = decode.require("space", &SPACES)?;
    let ty = decode.ty()?;
    if ty != Type::U64 {
        return decode.unsupported(ty);
    }
    decode.operands(2..=2)?;
    // A function's own parameters are local memory, as everywhere else.
    let in_entry = decode.function.function.entry;
    let base = window(if space == Space::Param && !in_entry { Space::Local } else { space });
    let (d, a) = (decode.dst(0, ty)?, decode.src(1, ty)?);
    if base == 0 {
        decode.emit_alu(copy(ty), Class::Move, d, &[a]);
        return Ok(());
    }
    let base = decode.constant(if to { base.wrapping_neg() } else { base }, true);
    decode.emit_alu(each2!(u64, u64 => u64, |a, b| a.wrapping_add(b)), Class::Move, d, &[a, base]);
    Ok(())
}

const SPACES: [(&str, Space); 8] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("local", Space::Local),
    ("const", Space::Const),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("shared::cluster", Space::Shared),
];

fn isspacep(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let space = decode.require("space", &SPACES)?;
    decode.operands(2..=2)?;
    let run = lane_loop!(|lanes, inst, mask| {
        let addresses = *u64::read(lanes, inst.s[0]);
        let wanted = inst.imm;
        let bits =
            (0..32).fold(0, |bits, i| bits | u32::from(spaces::code(spaces::window(addresses[i]).0) == wanted) << i);
        lanes.set_predicate(inst.d[0], bits, mask);
    });
    let mut inst = Inst::new(Op::Alu(run), Class::Integer);
    inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
    inst.s[0] = decode.src(1, Type::U64)?;
    inst.imm = spaces::code(space);
    decode.emit(inst);
    Ok(())
}
