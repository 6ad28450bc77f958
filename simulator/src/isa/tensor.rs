//! Matrix instructions (PTX ISA 9.7.14.5): `mma.sync`, `ldmatrix`, `stmatrix`, `movmatrix`.
//!
//! With g = lane / 4 and t = lane mod 4, register c of A's pair holds row g (the pair's second register row g + 8) and the
//! columns `W·c + (W/4)·t ..`, where W is 8 columns of 16 bits, 16 of 8 or 4 of tf32. So a register row is eight matrix rows
//! of W columns, in order; B's registers hold Bᵀ the same way. Products are exact in f32, sums are f32 in order of k.

use super::{Row, row};
use crate::error::{Fault, LoadResult};
use crate::exec::lanes::{Lanes, Word, lane_loop};
use crate::lower::decode::Decode;
use crate::program::{Class, Collective, CollectiveFn, Inst, MatrixMove, Members, Op, Reg};
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[
    row("mma", "9.7.14.5.14", mma),
    row("ldmatrix", "9.7.14.5.15", ldmatrix),
    row("stmatrix", "9.7.14.5.16", stmatrix),
    row("movmatrix", "9.7.14.5.17", movmatrix),
];

const M: usize = 16;
const N: usize = 8;

/// How a 32-bit register holds matrix elements.
trait Element {
    /// Columns in a register row of eight matrix rows.
    const W: usize;
    type Value: Copy + Default;
    fn at(word: u32, part: usize) -> Self::Value;
}

macro_rules! element {
    ($name:ident, $w:literal, $value:ty, |$word:ident, $part:ident| $e:expr) => {
        struct $name;
        impl Element for $name {
            const W: usize = $w;
            type Value = $value;
            #[inline(always)]
            fn at($word: u32, $part: usize) -> $value {
                $e
            }
        }
    };
}

element!(Bf16, 8, f32, |word, part| f32::from_bits(if part == 0 { word << 16 } else { word & 0xffff_0000 }));
element!(F16, 8, f32, |word, part| half::f16::from_bits((word >> (16 * part)) as u16).to_f32());
element!(Tf32, 4, f32, |word, _part| f32::from_bits(word & 0xffff_e000));
element!(S8, 16, i32, |word, part| i32::from((word >> (8 * part)) as i8));
element!(U8, 16, i32, |word, part| i32::from((word >> (8 * part)) as u8));

/// Eight rows of a register into `out[row][column..]`.
#[inline(always)]
fn unpack_rows<E: Element, const K: usize>(words: &[u32; 32], out: &mut [[E::Value; K]], column: usize) {
    let parts = E::W / 4;
    for g in 0..8 {
        for t in 0..4 {
            for part in 0..parts {
                out[g][column + t * parts + part] = E::at(words[g * 4 + t], part);
            }
        }
    }
}

/// Columns of B, C and D as this file keeps them: even ones, then odd ones. An accumulator register holds every other
/// column of a row, so that eight sums of a row are two stretches of four, and nothing is shuffled.
const ORDER: [usize; N] = [0, 2, 4, 6, 1, 3, 5, 7];

/// B from the Bᵀ that a register holds, rows and columns exchanged, columns in [`ORDER`].
#[inline(always)]
fn unpack_columns<E: Element, const K: usize>(words: &[u32; 32], out: &mut [[E::Value; N]; K], row: usize) {
    let parts = E::W / 4;
    for t in 0..4 {
        let column: [u32; N] = std::array::from_fn(|n| words[ORDER[n] * 4 + t]);
        for part in 0..parts {
            out[row + t * parts + part] = column.map(|word| E::at(word, part));
        }
    }
}

type Matrices<A, B, const K: usize> = ([[<A as Element>::Value; K]; M], [[<B as Element>::Value; N]; K]);

/// A and B of an m16n8kK instruction from registers `s[0..]`.
#[inline(always)]
fn operands<A: Element, B: Element, const K: usize>(lanes: &Lanes<'_>, inst: &Inst) -> Matrices<A, B, K> {
    let chunks = K / A::W;
    let (mut a, mut b) = ([[A::Value::default(); K]; M], [[B::Value::default(); N]; K]);
    for c in 0..chunks {
        let (top, bottom) = a.split_at_mut(8);
        unpack_rows::<A, K>(u32::read(lanes, inst.s[2 * c]), top, c * A::W);
        unpack_rows::<A, K>(u32::read(lanes, inst.s[2 * c + 1]), bottom, c * A::W);
        unpack_columns::<B, K>(u32::read(lanes, inst.s[2 * chunks + c]), &mut b, c * B::W);
    }
    (a, b)
}

/// `C + A·B` with f32 accumulators in `s[first..first + 4]`.
#[inline(always)]
fn multiply_f32<E: Element<Value = f32>, const K: usize>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    let (a, b) = operands::<E, E, K>(lanes, inst);
    let first = 3 * (K / E::W);
    for half in 0..2 {
        let c = [u32::read(lanes, inst.s[first + 2 * half]), u32::read(lanes, inst.s[first + 2 * half + 1])];
        let mut sums = [[0f32; N]; 8];
        for g in 0..8 {
            for t in 0..4 {
                sums[g][t] = f32::from_bits(c[0][g * 4 + t]);
                sums[g][4 + t] = f32::from_bits(c[1][g * 4 + t]);
            }
        }
        products::<K>(&a, &b, half, &mut sums);
        let mut out = [[0u32; 32]; 2];
        for g in 0..8 {
            for t in 0..4 {
                out[0][g * 4 + t] = super::numeric::canonical(sums[g][t]).to_bits();
                out[1][g * 4 + t] = super::numeric::canonical(sums[g][4 + t]).to_bits();
            }
        }
        u32::write(lanes, inst.d[2 * half], &out[0], mask);
        u32::write(lanes, inst.d[2 * half + 1], &out[1], mask);
    }
}

/// Four rows at a time: eight f32 of one row are one vector, and four chains hide the latency of a fused multiply-add.
#[inline(always)]
fn products<const K: usize>(a: &[[f32; K]; M], b: &[[f32; N]; K], half: usize, sums: &mut [[f32; N]; 8]) {
    for (quad, sums) in sums.chunks_exact_mut(4).enumerate() {
        let mut acc: [[f32; N]; 4] = [sums[0], sums[1], sums[2], sums[3]];
        for k in 0..K {
            for r in 0..4 {
                let x = a[half * 8 + quad * 4 + r][k];
                for n in 0..N {
                    acc[r][n] = x.mul_add(b[k][n], acc[r][n]);
                }
            }
        }
        sums.copy_from_slice(&acc);
    }
}

/// f16 accumulators: two values a register; sums are kept in f32 and rounded once.
#[inline(always)]
fn multiply_f16<const K: usize>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    let (a, b) = operands::<F16, F16, K>(lanes, inst);
    let first = 3 * (K / F16::W);
    for half in 0..2 {
        let c = u32::read(lanes, inst.s[first + half]);
        let value = |lane: usize, part: usize| F16::at(c[lane], part);
        let mut sums: [[f32; N]; 8] = std::array::from_fn(|g| std::array::from_fn(|n| value(g * 4 + n % 4, n / 4)));
        products::<K>(&a, &b, half, &mut sums);
        let bits = |x: f32| if x.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(x).to_bits()) };
        let out = std::array::from_fn(|lane| {
            let (g, t) = (lane / 4, lane % 4);
            bits(sums[g][t]) | bits(sums[g][4 + t]) << 16
        });
        u32::write(lanes, inst.d[half], &out, mask);
    }
}

/// Integer accumulators wrap, or saturate at the end with `.satfinite`.
#[inline(always)]
fn multiply_s32<A: Element<Value = i32>, B: Element<Value = i32>, const K: usize>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) {
    let (a, b) = operands::<A, B, K>(lanes, inst);
    let first = 3 * (K / A::W);
    for k in 0..4 {
        let c = u32::read(lanes, inst.s[first + k]);
        let out = std::array::from_fn(|lane| {
            let (row, column) = (lane / 4 + 8 * (k / 2), lane % 4 + 4 * (k % 2));
            let sum: i64 = (0..K).map(|i| i64::from(a[row][i] * b[i][column])).sum();
            let total = sum + i64::from(c[lane] as i32);
            if inst.imm == 1 { total.clamp(i32::MIN.into(), i32::MAX.into()) as u32 } else { total as u32 }
        });
        u32::write(lanes, inst.d[k], &out, mask);
    }
}

macro_rules! collective {
    ($f:expr) => {
        lane_loop!(|lanes, inst, mask| -> Result<(), Fault> {
            $f(lanes, inst, mask);
            Ok(())
        })
    };
}

fn float_loop(element: Type, accumulator: Type, k: u32) -> Option<CollectiveFn> {
    Some(match (element, accumulator, k) {
        (Type::Bf16, Type::F32, 16) => collective!(multiply_f32::<Bf16, 16>),
        (Type::Bf16, Type::F32, 8) => collective!(multiply_f32::<Bf16, 8>),
        (Type::F16, Type::F32, 16) => collective!(multiply_f32::<F16, 16>),
        (Type::F16, Type::F32, 8) => collective!(multiply_f32::<F16, 8>),
        (Type::Tf32, Type::F32, 8) => collective!(multiply_f32::<Tf32, 8>),
        (Type::Tf32, Type::F32, 4) => collective!(multiply_f32::<Tf32, 4>),
        (Type::F16, Type::F16, 16) => collective!(multiply_f16::<16>),
        (Type::F16, Type::F16, 8) => collective!(multiply_f16::<8>),
        _ => return None,
    })
}

fn integer_loop(a: Type, b: Type, k: u32) -> Option<CollectiveFn> {
    Some(match (a, b, k) {
        (Type::S8, Type::S8, 32) => collective!(multiply_s32::<S8, S8, 32>),
        (Type::S8, Type::U8, 32) => collective!(multiply_s32::<S8, U8, 32>),
        (Type::U8, Type::S8, 32) => collective!(multiply_s32::<U8, S8, 32>),
        (Type::U8, Type::U8, 32) => collective!(multiply_s32::<U8, U8, 32>),
        (Type::S8, Type::S8, 16) => collective!(multiply_s32::<S8, S8, 16>),
        (Type::S8, Type::U8, 16) => collective!(multiply_s32::<S8, U8, 16>),
        (Type::U8, Type::S8, 16) => collective!(multiply_s32::<U8, S8, 16>),
        (Type::U8, Type::U8, 16) => collective!(multiply_s32::<U8, U8, 16>),
        _ => return None,
    })
}

fn aligned(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("sync") && decode.flag("aligned") { Ok(()) } else { decode.fail(".sync.aligned is missing") }
}

fn vector(decode: &mut Decode<'_, '_, '_>, index: usize, count: usize) -> LoadResult<Vec<Reg>> {
    let elements = decode.elements(decode.operand(index)?);
    if elements.len() != count {
        return decode.fail(format!("operand {index} needs {count} registers"));
    }
    elements.iter().map(|e| decode.src_operand(e, Type::B32)).collect()
}

fn mma(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    aligned(decode)?;
    let k = decode.require("shape", &[("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16), ("m16n8k32", 32)])?;
    if !(decode.flag("row") && decode.flag("col")) {
        return decode.fail("only .row.col is supported");
    }
    let saturate = decode.flag("satfinite");
    let (d, a, b, c) = (decode.ty()?, decode.ty()?, decode.ty()?, decode.ty()?);
    let run = match (d, c) {
        (Type::S32, Type::S32) => integer_loop(a, b, k),
        _ if saturate || d != c || a != b => None,
        _ => float_loop(a, d, k),
    };
    let Some(run) = run else {
        return decode.fail(format!("m16n8k{k} with {d:?}, {a:?}, {b:?}, {c:?} is not supported"));
    };
    let chunks = k as usize * a.bytes() / 16;
    let accumulators = if d == Type::F16 { 2 } else { 4 };
    decode.operands(4..=4)?;
    let mut inst = Inst::new(Op::Collective(Collective { run, members: Members::All }), Class::Tensor);
    let mut sources = vector(decode, 1, 2 * chunks)?;
    sources.extend(vector(decode, 2, chunks)?);
    sources.extend(vector(decode, 3, accumulators)?);
    inst.s[..sources.len()].copy_from_slice(&sources);
    inst.d[..accumulators].copy_from_slice(&vector(decode, 0, accumulators)?);
    inst.imm = u32::from(saturate);
    inst.flops = (2 * M * N) as u16 * k as u16;
    decode.emit(inst);
    Ok(())
}

fn ldmatrix(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    matrix_move(decode, false)
}

fn stmatrix(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    matrix_move(decode, true)
}

fn matrix_move(decode: &mut Decode<'_, '_, '_>, store: bool) -> LoadResult<()> {
    aligned(decode)?;
    decode.require("shape", &[("m8n8", ())])?;
    let tiles = decode.require("count", &[("x1", 1u8), ("x2", 2), ("x4", 4)])?;
    let transposed = decode.flag("trans");
    let space = super::memory::space(decode);
    if !matches!(space, Space::Shared | Space::Generic) || decode.ty()? != Type::B16 {
        return decode.fail("only .shared.b16 is supported");
    }
    decode.operands(2..=2)?;
    let (registers, address) = if store { (1, 0) } else { (0, 1) };
    let place = decode.address(address, space)?;
    let op = MatrixMove { offset: place.offset, tiles, transposed, store };
    let mut inst = Inst::new(Op::MatrixMove(op), Class::Shared);
    let data = vector(decode, registers, tiles as usize)?;
    inst.s[0] = place.reg;
    if store {
        inst.s[1..=data.len()].copy_from_slice(&data);
    } else {
        inst.d[..data.len()].copy_from_slice(&data);
    }
    decode.emit(inst);
    Ok(())
}

/// Transposes an 8×8 tile across the warp.
fn movmatrix(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    aligned(decode)?;
    decode.require("shape", &[("m8n8", ())])?;
    if !decode.flag("trans") || decode.ty()? != Type::B16 {
        return decode.fail("only .trans.b16 exists");
    }
    decode.operands(2..=2)?;
    let run: CollectiveFn = |lanes, inst, mask| {
        let a = *u32::read(lanes, inst.s[0]);
        let at = |row: usize, column: usize| a[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff;
        let out = std::array::from_fn(|lane| at(lane % 4 * 2, lane / 4) | at(lane % 4 * 2 + 1, lane / 4) << 16);
        u32::write(lanes, inst.d[0], &out, mask);
        Ok(())
    };
    let mut inst = Inst::new(Op::Collective(Collective { run, members: Members::All }), Class::Warp);
    (inst.d[0], inst.s[0]) = (decode.dst(0, Type::B32)?, decode.src(1, Type::B32)?);
    decode.emit(inst);
    Ok(())
}
