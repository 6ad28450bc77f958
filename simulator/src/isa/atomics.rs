//! Atomics and reductions (PTX ISA 9.7.13.5, 9.7.13.7). A `red` is an `atom` whose result is dropped. A vector is
//! atomic element by element, and so becomes an operation for each, the first of which answers for the whole vector's
//! place.

use super::memory::{HINTS, class_for, order, space};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::each1;
use crate::program::{Access, Atomic, AtomicOp, Class, Inst, NONE, Op};
use crate::ptx::tree::Operand;
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

/// What vectors of sm_90 do: at most 16 bytes of floating-point numbers.
fn allowed_in_vector(op: AtomicOp, ty: Type, space: Space, count: usize) -> bool {
    let half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    let operation = match op {
        AtomicOp::Add => half || ty == Type::F32,
        AtomicOp::Min | AtomicOp::Max => half,
        _ => false,
    };
    operation && ty.bytes() * count <= 16 && matches!(space, Space::Generic | Space::Global)
}

const VECTORS: [(&str, usize); 3] = [("v2", 2), ("v4", 4), ("v8", 8)];

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
    let hint = usize::from(decode.flag("L2::cache_hint"));
    let vector = decode.choose(&VECTORS);
    let ty = decode.ty()?;
    let known = match vector {
        Some(count) => allowed_in_vector(op, ty, space, count),
        None => allowed(op, ty),
    };
    if !known {
        return decode.unsupported(ty);
    }
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return decode.fail("atomics reach global and shared memory only");
    }
    let first = usize::from(result);
    let values = if op == AtomicOp::CompareSwap { 2 } else { 1 };
    let count = first + 1 + values + hint;
    decode.operands(count..=count)?;
    let address = decode.address(first, space)?;
    let mut access = Access {
        space: address.space,
        frame: false,
        offset: address.offset,
        ty,
        vector: vector.unwrap_or(1) as u8,
        extend: ty.bits() as u8,
        order,
    };
    debug_assert!(class_for(space) != Class::Local);
    let mut results = Vec::new();
    for k in 0..vector.unwrap_or(1) {
        let class = if k == 0 { Class::Atomic } else { Class::None };
        let mut inst = Inst::new(Op::Atomic(Box::new(Atomic { access, op })), class);
        inst.s[0] = address.reg;
        for value in 0..values {
            let element = element(decode, first + 1 + value, vector, k)?;
            inst.s[1 + value] = decode.src_operand(&element, ty)?;
        }
        if result {
            let element = element(decode, 0, vector, k)?;
            inst.d[0] = decode.dst_register(&element)?.0;
        }
        if vector.is_some() && inst.d[0] != NONE {
            // Held back until all elements are done: a source of the next may be the same register.
            let held = decode.new_word(false);
            results.push((std::mem::replace(&mut inst.d[0], held), held));
        }
        decode.emit(inst);
        access.vector = 1;
        access.offset += ty.bytes() as i64;
    }
    for (to, held) in results {
        decode.emit_alu(each1!(u32 => u32, |a| a), Class::None, to, &[held]);
    }
    Ok(())
}

/// Operand `index`, or element `k` of it where it is a vector.
fn element(decode: &mut Decode<'_, '_, '_>, index: usize, vector: Option<usize>, k: usize) -> LoadResult<Operand> {
    let operand = decode.operand(index)?;
    let Some(count) = vector else { return Ok(operand.clone()) };
    let elements = decode.elements(operand);
    if elements.len() != count {
        return decode.fail("the vector has another length");
    }
    Ok(elements[k].clone())
}
