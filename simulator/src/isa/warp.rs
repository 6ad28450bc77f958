//! Exchange between the lanes of a warp (PTX ISA 9.7.9.6, 9.7.13.8 to 9.7.13.12, 9.7.13.16).
//!
//! The executor brings the lanes of the member mask together before it runs one of these; the mask given here is of the
//! lanes that take part. A lane that reads from one that does not is reported, and gets whatever that register holds.

use super::{Row, row};
use crate::error::{Fault, FaultKind, LoadResult};
use crate::lower::decode::Decode;
use crate::program::lanes::{FULL, Lanes, Word};
use crate::program::loops::lane_loop;
use crate::program::{Class, Collective, CollectiveFn, Inst, Members, NONE, Op};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("shfl", "9.7.9.6", shfl),
    row("vote", "9.7.13.9", vote),
    row("match", "9.7.13.10", matching),
    row("activemask", "9.7.13.11", activemask),
    row("redux", "9.7.13.12", redux),
    row("elect", "9.7.13.16", elect),
];

type Outcome = Result<(), Fault>;

const UP: u32 = 0;
const DOWN: u32 = 1;
const BUTTERFLY: u32 = 2;
const INDEX: u32 = 3;

fn emit(decode: &mut Decode<'_, '_, '_>, run: CollectiveFn, members: usize, mut inst: Inst) -> LoadResult<()> {
    let members = Members::Register(decode.src(members, Type::B32)?);
    inst.op = Op::Collective(Collective { run, members });
    decode.emit(inst);
    Ok(())
}

fn require_sync(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("sync") { Ok(()) } else { decode.fail("only the .sync form is supported") }
}

/// The lane a lane reads from and whether it is in range (the ISA's pseudocode).
#[inline(always)]
pub fn source_lane(lane: u32, b: u32, c: u32, mode: u32) -> (u32, bool) {
    let (segment, clamp, b) = (c >> 8 & 31, c & 31, b & 31);
    let max = (lane & segment) | (clamp & !segment);
    let (j, valid) = match mode {
        UP => (lane as i32 - b as i32, lane as i32 - b as i32 >= max as i32),
        DOWN => ((lane + b) as i32, lane + b <= max),
        BUTTERFLY => ((lane ^ b) as i32, lane ^ b <= max),
        _ => {
            let j = (lane & segment) | (b & !segment);
            (j as i32, j <= max)
        }
    };
    if valid { (j as u32 & 31, true) } else { (lane, false) }
}

/// Butterflies of whole segments by a constant, which reductions are made of: every source takes part, and what may
/// stand in `b` and `c` is known.
#[inline(always)]
fn butterfly(lanes: &mut Lanes<'_>, inst: &Inst, distance: usize) {
    let a = u32::read(lanes, inst.s[0]);
    let mut out = [0; 32];
    for i in 0..32 {
        out[i] = a[(i ^ distance) & 31];
    }
    u32::write(lanes, inst.d[0], &out, FULL);
    lanes.set_predicate(inst.d[1], FULL, FULL);
}

#[inline(always)]
fn shuffle(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Outcome {
    let (a, b, c) = (u32::read(lanes, inst.s[0]), u32::read(lanes, inst.s[1]), u32::read(lanes, inst.s[2]));
    let constant = inst.s[1].is_constant() && inst.s[2].is_constant();
    if constant && mask == FULL && inst.imm == BUTTERFLY && c[0] & 31 == 31 && b[0] & c[0] >> 8 & 31 == 0 {
        butterfly(lanes, inst, b[0] as usize);
        return Ok(());
    }
    let (mut out, mut valid, mut outside) = ([0; 32], 0u32, None);
    for i in 0..32u32 {
        let (j, in_range) = source_lane(i, b[i as usize], c[i as usize], inst.imm);
        out[i as usize] = a[j as usize];
        valid |= u32::from(in_range) << i;
        if mask >> i & 1 == 1 && mask >> j & 1 == 0 {
            outside = Some((i, j));
        }
    }
    u32::write(lanes, inst.d[0], &out, mask);
    lanes.set_predicate(inst.d[1], valid, mask);
    match outside {
        None => Ok(()),
        Some((i, j)) => {
            let message = format!("lane {i} shuffles from lane {j}, which does not take part");
            Err(Fault::new(FaultKind::Barrier, message).at_lane(i as usize))
        }
    }
}

fn shfl(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    require_sync(decode)?;
    let mode = decode.require("mode", &[("up", UP), ("down", DOWN), ("bfly", BUTTERFLY), ("idx", INDEX)])?;
    if decode.ty()? != Type::B32 {
        return decode.fail("only .b32 exists");
    }
    decode.operands(5..=5)?;
    let mut inst = Inst::new(Op::Nothing, Class::Warp);
    inst.imm = mode;
    match decode.operand(0)? {
        crate::ptx::tree::Operand::Pair(d, p) => {
            inst.d[0] = decode.dst_register(d)?.0;
            inst.d[1] = decode.predicate_pair(p)?.0;
        }
        d => inst.d[0] = decode.dst_register(d)?.0,
    }
    if inst.d[0] == NONE {
        inst.d[0] = decode.new_word(false);
    }
    for k in 0..3 {
        inst.s[k] = decode.src(1 + k, Type::B32)?;
    }
    emit(decode, lane_loop!(|lanes, inst, mask| -> Outcome { shuffle(lanes, inst, mask) }), 4, inst)
}

fn vote(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    require_sync(decode)?;
    let mode = decode.require("mode", &[("all", 0), ("any", 1), ("uni", 2), ("ballot", 3)])?;
    let ty = decode.ty()?;
    decode.operands(3..=3)?;
    let (p, negated) = decode.predicate(1)?;
    let mut inst = Inst::new(Op::Nothing, Class::Warp);
    inst.s[0] = p;
    inst.imm = mode | u32::from(negated) << 4;
    if mode == 3 {
        if ty != Type::B32 {
            return decode.unsupported(ty);
        }
        inst.d[0] = decode.dst(0, ty)?;
    } else {
        inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
    }
    fn count(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Outcome {
        let flip = if inst.imm >> 4 == 1 { u32::MAX } else { 0 };
        let votes = (lanes.predicate(inst.s[0]) ^ flip) & mask;
        let result = match inst.imm & 15 {
            0 => votes == mask,
            1 => votes != 0,
            2 => votes == 0 || votes == mask,
            _ => {
                u32::write(lanes, inst.d[0], &[votes; 32], mask);
                return Ok(());
            }
        };
        lanes.set_predicate(inst.d[0], if result { u32::MAX } else { 0 }, mask);
        Ok(())
    }
    emit(decode, count, 2, inst)
}

/// Masks of the lanes that hold the same value.
fn groups<W: Word + PartialEq>(lanes: &Lanes<'_>, inst: &Inst, mask: u32) -> [u32; 32] {
    let a = W::read(lanes, inst.s[0]);
    std::array::from_fn(|i| (0..32).fold(0, |same, j| same | u32::from(mask >> j & 1 == 1 && a[j] == a[i]) << j))
}

fn finish_match(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, groups: [u32; 32]) -> Outcome {
    if inst.imm == 0 {
        u32::write(lanes, inst.d[0], &groups, mask);
    } else {
        let all = groups[mask.trailing_zeros() as usize & 31] == mask;
        u32::write(lanes, inst.d[0], &[if all { mask } else { 0 }; 32], mask);
        lanes.set_predicate(inst.d[1], if all { u32::MAX } else { 0 }, mask);
    }
    Ok(())
}

fn matching(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let mode = decode.require("mode", &[("any", 0), ("all", 1)])?;
    require_sync(decode)?;
    let ty = decode.ty()?;
    decode.operands(3..=3)?;
    let mut inst = Inst::new(Op::Nothing, Class::Warp);
    inst.imm = mode;
    match decode.operand(0)? {
        crate::ptx::tree::Operand::Pair(d, p) if mode == 1 => {
            inst.d[0] = decode.dst_register(d)?.0;
            inst.d[1] = decode.predicate_pair(p)?.0;
        }
        d => inst.d[0] = decode.dst_register(d)?.0,
    }
    inst.s[0] = decode.src(1, ty)?;
    let run: CollectiveFn = match ty {
        Type::B32 => |lanes, inst, mask| {
            let same = groups::<u32>(lanes, inst, mask);
            finish_match(lanes, inst, mask, same)
        },
        Type::B64 => |lanes, inst, mask| {
            let same = groups::<u64>(lanes, inst, mask);
            finish_match(lanes, inst, mask, same)
        },
        _ => return decode.unsupported(ty),
    };
    emit(decode, run, 2, inst)
}

fn activemask(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    decode.operands(1..=1)?;
    let mut inst = Inst::new(Op::ActiveMask, Class::Warp);
    inst.d[0] = decode.dst(0, ty)?;
    decode.emit(inst);
    Ok(())
}

fn fold(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(u32, u32) -> u32) -> Outcome {
    let a = *u32::read(lanes, inst.s[0]);
    let result = (0..32).filter(|i| mask >> i & 1 == 1).map(|i| a[i]).reduce(f).unwrap_or(0);
    u32::write(lanes, inst.d[0], &[result; 32], mask);
    Ok(())
}

fn redux(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    require_sync(decode)?;
    let op = decode.require("operation", &[("add", 0), ("min", 1), ("max", 2), ("and", 3), ("or", 4), ("xor", 5)])?;
    let ty = decode.ty()?;
    decode.operands(3..=3)?;
    let run: CollectiveFn = match (op, ty) {
        (0, Type::U32 | Type::S32) => |l, i, m| fold(l, i, m, u32::wrapping_add),
        (1, Type::U32) => |l, i, m| fold(l, i, m, u32::min),
        (2, Type::U32) => |l, i, m| fold(l, i, m, u32::max),
        (1, Type::S32) => |l, i, m| fold(l, i, m, |a, b| (a as i32).min(b as i32) as u32),
        (2, Type::S32) => |l, i, m| fold(l, i, m, |a, b| (a as i32).max(b as i32) as u32),
        (3, Type::B32) => |l, i, m| fold(l, i, m, |a, b| a & b),
        (4, Type::B32) => |l, i, m| fold(l, i, m, |a, b| a | b),
        (5, Type::B32) => |l, i, m| fold(l, i, m, |a, b| a ^ b),
        _ => return decode.unsupported(ty),
    };
    let mut inst = Inst::new(Op::Nothing, Class::Warp);
    (inst.d[0], inst.s[0]) = (decode.dst(0, ty)?, decode.src(1, ty)?);
    emit(decode, run, 2, inst)
}

/// One leader: the lowest lane of the mask.
fn elect(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    require_sync(decode)?;
    decode.operands(2..=2)?;
    let crate::ptx::tree::Operand::Pair(d, p) = decode.operand(0)? else { return decode.fail("expected d|p") };
    let mut inst = Inst::new(Op::Nothing, Class::Warp);
    (inst.d[0], inst.d[1]) = (decode.dst_register(d)?.0, decode.predicate_pair(p)?.0);
    fn lead(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Outcome {
        let leader = mask.trailing_zeros() & 31;
        if inst.d[0] != NONE {
            u32::write(lanes, inst.d[0], &[leader; 32], mask);
        }
        lanes.set_predicate(inst.d[1], 1 << leader, mask);
        Ok(())
    }
    emit(decode, lead, 1, inst)
}
