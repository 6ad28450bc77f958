//! Atomics and reductions (PTX ISA 9.7.13.5, 9.7.13.6). A `red` is an `atom` whose result is dropped.

use super::memory::{HINTS, class_of, order, space};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::{Access, Atomic, AtomicOp, Class, Inst, NONE, Op};
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[row("atom", "9.7.13.5", atom), row("red", "9.7.13.7", red)];

const OPS: [(&str, AtomicOp); 10] = [
    ("add", AtomicOp::Add),
    ("exch", AtomicOp::Exchange),
    ("cas", AtomicOp::CompareSwap),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("inc", AtomicOp::Increment),
    ("dec", AtomicOp::Decrement),
];

fn allowed(op: AtomicOp, ty: Type) -> bool {
    use Type::*;
    match op {
        AtomicOp::Add => matches!(ty, U32 | S32 | U64 | S64 | F32 | F64 | F16 | F16x2 | Bf16 | Bf16x2),
        AtomicOp::Exchange => matches!(ty, B32 | B64),
        AtomicOp::CompareSwap => matches!(ty, B16 | B32 | B64),
        AtomicOp::Min | AtomicOp::Max => matches!(ty, U32 | S32 | U64 | S64),
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, B32 | B64),
        AtomicOp::Increment | AtomicOp::Decrement => ty == U32,
    }
}

fn atom(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    atomic(decode, true)
}

fn red(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("async") {
        return decode.fail("red.async is not supported");
    }
    atomic(decode, false)
}

fn atomic(decode: &mut Decode<'_, '_, '_>, result: bool) -> LoadResult<()> {
    let op = decode.require("operation", &OPS)?;
    let (space, order) = (space(decode), order(decode));
    decode.hints(&HINTS);
    let ty = decode.ty()?;
    if !allowed(op, ty) {
        return decode.unsupported(ty);
    }
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return decode.fail("atomics reach global and shared memory only");
    }
    let first = usize::from(result);
    let values = if op == AtomicOp::CompareSwap { 2 } else { 1 };
    decode.operands(first + 1 + values..=first + 1 + values)?;
    let address = decode.address(first, space)?;
    let access = Access {
        space: address.space,
        frame: false,
        offset: address.offset,
        ty,
        vector: 1,
        extend: ty.bits() as u8,
        order,
    };
    debug_assert!(class_of(space) != Class::Local);
    let mut inst = Inst::new(Op::Atomic(Box::new(Atomic { access, op })), Class::Atomic);
    inst.s[0] = address.reg;
    for k in 0..values {
        inst.s[1 + k] = decode.src(first + 1 + k, ty)?;
    }
    inst.d[0] = if result { decode.dst_register(decode.operand(0)?)?.0 } else { NONE };
    decode.emit(inst);
    Ok(())
}
