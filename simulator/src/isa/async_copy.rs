//! Asynchronous copies to shared memory (PTX ISA 9.7.9.25.3): `cp.async` with its groups and mbarrier completion.
//!
//! Bulk and tensor copies are other rows of the same opcode; they are refused by name.

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::Word;
use crate::program::loops::lane_loop;
use crate::program::{Class, CopyAsync, Inst, MbarrierOp, NONE, Op, Reg};
use crate::ptx::tree::Operand;
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[row("cp", "9.7.9.25.3", cp)];

fn constant(decode: &Decode<'_, '_, '_>, index: usize) -> LoadResult<u32> {
    match decode.operand(index)? {
        Operand::Integer(value) => Ok(*value as u32),
        _ => decode.fail("expected a constant"),
    }
}

fn cp(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if !decode.flag("async") {
        return decode.fail("only cp.async is supported");
    }
    if decode.flag("commit_group") {
        decode.operands(0..=0)?;
        decode.emit(Inst::new(Op::CopyCommit, Class::Shared));
        return Ok(());
    }
    if decode.flag("wait_group") {
        decode.operands(1..=1)?;
        let groups = constant(decode, 0)?;
        decode.emit(Inst::new(Op::CopyWait(groups), Class::Shared));
        return Ok(());
    }
    if decode.flag("wait_all") {
        // A commit and a wait for all: what is uncommitted is waited for too.
        decode.emit(Inst::new(Op::CopyCommit, Class::None));
        decode.emit(Inst::new(Op::CopyWait(0), Class::Shared));
        return Ok(());
    }
    if decode.flag("mbarrier::arrive") || decode.flag("mbarrier") {
        return arrive(decode);
    }
    copy(decode)
}

fn arrive(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.hints(&["arrive"]);
    let no_increment = decode.flag("noinc");
    let shared = decode.flag("shared") | decode.flag("shared::cta");
    let ty = decode.ty()?;
    if ty != Type::B64 {
        return decode.unsupported(ty);
    }
    decode.operands(1..=1)?;
    let address = decode.address(0, if shared { Space::Shared } else { Space::Generic })?;
    let op = MbarrierOp::CopyArrive { no_increment };
    let mut inst = Inst::new(Op::Mbarrier { op, offset: address.offset }, Class::Barrier);
    inst.s[0] = address.reg;
    decode.emit(inst);
    Ok(())
}

/// All bytes where the predicate that ignores the source is false, none where it is true.
fn taken_unless(decode: &mut Decode<'_, '_, '_>, bytes: u32) -> LoadResult<Reg> {
    let (ignored, negated) = decode.predicate(3)?;
    let taken = decode.new_word(false);
    let run = lane_loop!(|lanes, inst, mask| {
        let ignored = lanes.predicate(inst.s[0]) ^ if inst.imm & 1 == 1 { u32::MAX } else { 0 };
        let out = std::array::from_fn(|i| if ignored >> i & 1 == 1 { 0 } else { inst.imm >> 1 });
        u32::write(lanes, inst.d[0], &out, mask);
    });
    let mut inst = Inst::new(Op::Alu(run), Class::None);
    (inst.d[0], inst.s[0]) = (taken, ignored);
    inst.imm = bytes << 1 | u32::from(negated);
    decode.emit(inst);
    Ok(taken)
}

fn copy(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let cg = decode.require("cache operator", &[("ca", false), ("cg", true)])?;
    let spaces = (decode.flag("shared") | decode.flag("shared::cta"), decode.flag("global"));
    decode.hints(&["L2::64B", "L2::128B", "L2::256B"]);
    if spaces != (true, true) {
        return decode.fail("only copies from global to shared memory are supported");
    }
    let hint = usize::from(decode.flag("L2::cache_hint"));
    let count = decode.operands(3 + hint..=4 + hint)? - hint;
    let bytes = constant(decode, 2)?;
    if !matches!((cg, bytes), (false, 4 | 8 | 16) | (true, 16)) {
        return decode.fail(format!("{bytes} bytes cannot be copied so"));
    }
    let to = decode.address(0, Space::Shared)?;
    let from = decode.address(1, Space::Global)?;
    let op = CopyAsync { shared: to.offset, global: from.offset, bytes: bytes as u8 };
    let mut inst = Inst::new(Op::CopyAsync(Box::new(op)), Class::Global);
    inst.s[0] = to.reg;
    inst.s[1] = from.reg;
    if count == 4 {
        // Bytes to take from the source, the rest zeros; or a predicate to take none.
        let ignore = match decode.operand(3)? {
            Operand::Not(_) => true,
            Operand::Name(name, _) => decode.predicate_named(name).is_ok(),
            _ => false,
        };
        inst.s[2] = if ignore { taken_unless(decode, bytes)? } else { decode.src(3, Type::U32)? };
    } else {
        inst.s[2] = NONE;
    }
    decode.emit(inst);
    Ok(())
}
