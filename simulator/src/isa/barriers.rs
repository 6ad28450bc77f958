//! Barriers, fences and mbarriers (PTX ISA 9.7.13.1 to 9.7.13.4, 9.7.13.15).

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::{ALIGNED, Barrier, Class, Inst, MbarrierOp, Members, NEGATE, NONE, Op};
use crate::ptx::tree::Operand;
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[
    row("bar", "9.7.13.1", bar),
    row("barrier", "9.7.13.1", barrier),
    row("membar", "9.7.13.4", fence),
    row("fence", "9.7.13.4", fence),
    row("mbarrier", "9.7.13.15", mbarrier),
];

fn bar(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("warp") {
        if !decode.flag("sync") {
            return decode.fail("only bar.warp.sync exists");
        }
        decode.operands(1..=1)?;
        let mask = decode.src(0, Type::B32)?;
        decode.emit(Inst::new(Op::WarpSync(Members::Register(mask)), Class::Barrier));
        return Ok(());
    }
    decode.flag("cta");
    block_barrier(decode, true)
}

fn barrier(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("cluster") {
        return decode.fail("clusters are not supported");
    }
    decode.flag("cta");
    let aligned = decode.flag("aligned");
    block_barrier(decode, aligned)
}

fn block_barrier(decode: &mut Decode<'_, '_, '_>, aligned: bool) -> LoadResult<()> {
    let reduce = decode.flag("red");
    let op = if reduce {
        decode.require(
            "reduction",
            &[("popc", Barrier::ReducePopc), ("and", Barrier::ReduceAnd), ("or", Barrier::ReduceOr)],
        )?
    } else {
        decode.require("operation", &[("sync", Barrier::Sync), ("arrive", Barrier::Arrive)])?
    };
    let mut inst = Inst::new(Op::Barrier(op), Class::Barrier);
    inst.imm = u32::from(aligned) * ALIGNED;
    let first = usize::from(reduce);
    let values = first + usize::from(reduce);
    let count = decode.operands(values + 1..=values + 2)?;
    inst.s[0] = decode.src(first, Type::U32)?;
    if count == values + 2 {
        inst.s[1] = decode.src(first + 1, Type::U32)?;
    } else if op == Barrier::Arrive {
        return decode.fail("arrive needs a thread count");
    }
    if reduce {
        let (p, negated) = decode.predicate(count - 1)?;
        inst.s[2] = p;
        inst.imm |= u32::from(negated) * NEGATE;
        if op == Barrier::ReducePopc {
            decode.ty()?;
            inst.d[0] = decode.dst(0, Type::U32)?;
        } else {
            decode.flag("pred");
            inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0;
        }
    }
    decode.emit(inst);
    Ok(())
}

/// Memory is coherent here whatever the fence, so a fence only tells the race check that order was asked for.
fn fence(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.hints(&["sc", "acq_rel", "acquire", "release", "mbarrier_init", "sync_restrict::shared::cta", "cluster"]);
    if decode.flag("proxy") {
        decode.hints(&["async", "alias", "global", "shared::cta", "generic"]);
    }
    let block = decode.flag("cta");
    let wide = ["gl", "gpu", "sys"].iter().fold(false, |wide, scope| wide | decode.flag(scope));
    decode.operands(0..=0)?;
    decode.emit(Inst::new(Op::Fence(wide || !block), Class::Barrier));
    Ok(())
}

fn mbarrier(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    const ACTIONS: [(&str, u32); 10] = [
        ("init", 0),
        ("inval", 1),
        ("arrive", 2),
        ("arrive_drop", 3),
        ("expect_tx", 4),
        ("complete_tx", 5),
        ("test_wait", 6),
        ("try_wait", 6),
        ("pending_count", 7),
        ("test_wait.parity", 6),
    ];
    // `mbarrier.arrive.expect_tx` has two actions' names: the first written is the one.
    let first = decode.instruction.modifiers.first().map(String::as_str).unwrap_or_default();
    let Some(&(name, action)) = ACTIONS.iter().find(|(name, _)| *name == first) else {
        return decode.fail("action is not supported");
    };
    decode.flag(name);
    let expect = decode.flag("expect_tx");
    let no_complete = decode.flag("noComplete");
    let parity = decode.flag("parity");
    decode.hints(&["release", "acquire", "relaxed", "cta", "cluster"]);
    let shared = decode.flag("shared") | decode.flag("shared::cta");
    let ty = decode.ty()?;
    if ty != Type::B64 {
        return decode.unsupported(ty);
    }
    let op = match action {
        0 => MbarrierOp::Init,
        1 => MbarrierOp::Invalidate,
        2 => MbarrierOp::Arrive { expect, drop: false },
        3 => MbarrierOp::Arrive { expect, drop: true },
        4 => MbarrierOp::ExpectTx,
        5 => MbarrierOp::CompleteTx,
        6 => MbarrierOp::Test { parity },
        _ => MbarrierOp::Pending,
    };
    if no_complete && !matches!(op, MbarrierOp::Arrive { .. }) {
        return decode.fail(".noComplete is not supported here");
    }
    operands(decode, op, if shared { Space::Shared } else { Space::Generic })
}

fn operands(decode: &mut Decode<'_, '_, '_>, op: MbarrierOp, space: Space) -> LoadResult<()> {
    let mut inst = Inst::new(Op::Mbarrier { op, offset: 0 }, Class::Barrier);
    // What comes before the address, the address, what comes after.
    let before = usize::from(matches!(op, MbarrierOp::Arrive { .. } | MbarrierOp::Test { .. } | MbarrierOp::Pending));
    let count = decode.operands(1..=4)?;
    match op {
        MbarrierOp::Arrive { .. } => {
            inst.d[0] = match decode.operand(0)? {
                Operand::Sink => NONE,
                _ => decode.dst(0, Type::B64)?,
            }
        }
        MbarrierOp::Test { .. } => inst.d[0] = decode.predicate_pair(decode.operand(0)?)?.0,
        MbarrierOp::Pending => {
            inst.d[0] = decode.dst(0, Type::U32)?;
            inst.s[1] = decode.src(1, Type::B64)?;
            decode.emit(inst);
            return Ok(());
        }
        _ => {}
    }
    let address = decode.address(before, space)?;
    inst.op = Op::Mbarrier { op, offset: address.offset };
    inst.s[0] = address.reg;
    if count > before + 1 {
        let ty = if op == (MbarrierOp::Test { parity: false }) { Type::B64 } else { Type::U32 };
        inst.s[1] = decode.src(before + 1, ty)?;
    } else if !matches!(op, MbarrierOp::Arrive { expect: false, .. } | MbarrierOp::Invalidate) {
        return decode.fail("an operand is missing");
    }
    decode.emit(inst);
    Ok(())
}
