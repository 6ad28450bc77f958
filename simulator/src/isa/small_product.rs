//! `mma.sync` with results of 8×8: m8n8k4 in f64 and m8n8k16 in 8-bit integers (PTX ISA 9.7.14.5.1 and 9.7.14.5.3).
//!
//! With g = lane / 4 and t = lane mod 4 a lane holds row g of A and column g of B at the depths `W·t ..`, where W is
//! the elements of a register, and of the result row g, columns 2t and 2t + 1.

use super::tensor::vector;
use super::tile::{Element, S8, U8};
use crate::error::{Fault, LoadResult};
use crate::lower::decode::Decode;
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::{Class, Collective, CollectiveFn, Inst, Members, Op};
use crate::ptx::types::Type;

const SIDE: usize = 8;

/// Row and column of a lane's result `k`.
fn place(lane: usize, k: usize) -> (usize, usize) {
    (lane / 4, 2 * (lane % 4) + k)
}

fn multiply_f64(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    const DEPTH: usize = 4;
    let [a, b] = [0, 1].map(|s| u64::read(lanes, inst.s[s]).map(f64::from_bits));
    let c = [2, 3].map(|s| *u64::read(lanes, inst.s[s]));
    for k in 0..2 {
        let out = std::array::from_fn(|lane| {
            let (row, column) = place(lane, k);
            let terms = (0..DEPTH).map(|i| (a[DEPTH * row + i], b[DEPTH * column + i]));
            let sum = terms.fold(f64::from_bits(c[k][lane]), |sum, (x, y)| x.mul_add(y, sum));
            if sum.is_nan() { 0x7fff_ffff_ffff_ffff } else { sum.to_bits() }
        });
        u64::write(lanes, inst.d[k], &out, mask);
    }
    Ok(())
}

fn multiply_s32<A: Element<Value = i32>, B: Element<Value = i32>>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Fault> {
    const DEPTH: usize = 16;
    // Register rows are the rows of A and the columns of B, one after the other.
    let a: [A::Value; SIDE * DEPTH] = elements::<A>(u32::read(lanes, inst.s[0]));
    let b: [B::Value; SIDE * DEPTH] = elements::<B>(u32::read(lanes, inst.s[1]));
    let c = [2, 3].map(|s| *u32::read(lanes, inst.s[s]));
    for k in 0..2 {
        let out = std::array::from_fn(|lane| {
            let (row, column) = place(lane, k);
            let sum: i64 = (0..DEPTH).map(|i| i64::from(a[DEPTH * row + i] * b[DEPTH * column + i])).sum();
            let total = sum + i64::from(c[k][lane] as i32);
            if inst.imm == 1 { total.clamp(i32::MIN.into(), i32::MAX.into()) as u32 } else { total as u32 }
        });
        u32::write(lanes, inst.d[k], &out, mask);
    }
    Ok(())
}

fn elements<E: Element>(words: &[u32; LANES]) -> [E::Value; 4 * LANES] {
    let raw: &[E::Raw] = bytemuck::cast_slice(words);
    std::array::from_fn(|k| E::value(raw[k]))
}

/// The instruction, if it is one of these shapes: after its shape and layouts come the types.
pub fn decode(decode: &mut Decode<'_, '_, '_>, depth: u32, saturate: bool, types: [Type; 4]) -> LoadResult<()> {
    let run: Option<CollectiveFn> = match (depth, types) {
        (4, [Type::F64, Type::F64, Type::F64, Type::F64]) if !saturate => Some(multiply_f64),
        (16, [Type::S32, a, b, Type::S32]) => match (a, b) {
            (Type::S8, Type::S8) => Some(multiply_s32::<S8, S8>),
            (Type::S8, Type::U8) => Some(multiply_s32::<S8, U8>),
            (Type::U8, Type::S8) => Some(multiply_s32::<U8, S8>),
            (Type::U8, Type::U8) => Some(multiply_s32::<U8, U8>),
            _ => None,
        },
        _ => None,
    };
    let Some(run) = run else {
        return decode.fail(format!("m8n8k{depth} with {types:?} is not supported"));
    };
    let register = if depth == 4 { Type::F64 } else { Type::B32 };
    decode.operands(4..=4)?;
    let mut inst = Inst::new(Op::Collective(Collective { run, members: Members::All }), Class::Tensor);
    (inst.s[0], inst.s[1]) = (vector(decode, 1, 1, register)?[0], vector(decode, 2, 1, register)?[0]);
    inst.s[2..4].copy_from_slice(&vector(decode, 3, 2, register)?);
    inst.d[..2].copy_from_slice(&vector(decode, 0, 2, register)?);
    inst.imm = u32::from(saturate);
    inst.flops = (2 * SIDE * SIDE) as u16 * depth as u16;
    decode.emit(inst);
    Ok(())
}
