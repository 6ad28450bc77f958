//! Matrix instructions (PTX ISA 9.7.14.5): `mma.sync`, `ldmatrix`, `stmatrix`, `movmatrix`.

use super::numeric::canonical;
use super::tile::{
    Bf16, E4m3, E5m2, Element, F16, M, N, S8, Tf32, U8, accumulate, multiply_add, unpack_columns, unpack_rows,
    widen_f16,
};
use super::{Row, row, small_product, truncated};
use crate::error::{Fault, LoadResult};
use crate::lower::decode::Decode;
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::loops::lane_loop;
use crate::program::{Class, Collective, CollectiveFn, Inst, MatrixMove, Members, Op, Reg};
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[
    row("mma", "9.7.14.5.14", mma),
    row("ldmatrix", "9.7.14.5.15", ldmatrix),
    row("stmatrix", "9.7.14.5.16", stmatrix),
    row("movmatrix", "9.7.14.5.17", movmatrix),
];

type Words = [u32; LANES];

/// A and B of an m16n8kK instruction.
struct Operands<A: Element, B: Element, const K: usize> {
    a: [[A::Value; K]; M],
    b: [[B::Value; N]; K],
}

impl<A: Element, B: Element, const K: usize> Operands<A, B, K> {
    /// The register of the instruction's sources where C begins.
    const C: usize = 3 * (K / A::W);

    /// From registers `s[0..]`.
    #[inline(always)]
    fn read(lanes: &Lanes<'_>, inst: &Inst) -> Self {
        let chunks = K / A::W;
        let mut tiles = Self { a: [[A::Value::default(); K]; M], b: [[B::Value::default(); N]; K] };
        for c in 0..chunks {
            let (top, bottom) = tiles.a.split_at_mut(8);
            unpack_rows::<A, K>(u32::read(lanes, inst.s[2 * c]), top, c * A::W);
            unpack_rows::<A, K>(u32::read(lanes, inst.s[2 * c + 1]), bottom, c * A::W);
            unpack_columns::<B, K>(u32::read(lanes, inst.s[2 * chunks + c]), &mut tiles.b, c * B::W);
        }
        tiles
    }
}

impl<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize> Operands<A, B, K> {
    /// The factors of one sum's products.
    fn pairs(&self, row: usize, n: usize) -> impl Iterator<Item = (f32, f32)> + Clone {
        (0..K).map(move |k| (self.a[row][k], self.b[k][n]))
    }
}

/// `C + A·B` with f32 accumulators in four registers.
#[inline(always)]
fn multiply_f32<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) {
    let tiles = Operands::<A, B, K>::read(lanes, inst);
    let c = |i: usize| u32::read(lanes, inst.s[Operands::<A, B, K>::C + i]);
    let mut out = [[0; LANES]; 4];
    multiply_add(&tiles.a, &tiles.b, [c(0), c(1), c(2), c(3)], &mut out);
    for i in 0..4 {
        u32::write(lanes, inst.d[i], &out[i], mask);
    }
}

/// The same with sums that cut off bits.
fn multiply_f32_truncated<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Fault> {
    let tiles = Operands::<A, B, K>::read(lanes, inst);
    let c: [Words; 4] = [0, 1, 2, 3].map(|i| *u32::read(lanes, inst.s[Operands::<A, B, K>::C + i]));
    let mut out = [[0; LANES]; 4];
    for row in 0..M {
        for n in 0..N {
            let (register, lane) = accumulator(row, n);
            let sum = truncated::sum(tiles.pairs(row, n), f32::from_bits(c[register][lane]));
            out[register][lane] = canonical(sum).to_bits();
        }
    }
    (0..4).for_each(|i| u32::write(lanes, inst.d[i], &out[i], mask));
    Ok(())
}

fn multiply_f16_truncated<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Fault> {
    let tiles = Operands::<A, B, K>::read(lanes, inst);
    let c: [Words; 2] = [0, 1].map(|i| *u32::read(lanes, inst.s[Operands::<A, B, K>::C + i]));
    let mut out = [[0; LANES]; 2];
    for row in 0..M {
        for n in 0..N {
            let (register, lane) = accumulator(row, n);
            let (half, shift) = (register / 2, 16 * (register % 2) as u32);
            let sum = truncated::sum(tiles.pairs(row, n), widen_f16((c[half][lane] >> shift) as u16));
            out[half][lane] |= f16_bits(sum) << shift;
        }
    }
    (0..2).for_each(|i| u32::write(lanes, inst.d[i], &out[i], mask));
    Ok(())
}

/// The register and lane that hold a sum, by its row and its place among the columns as [`super::tile`] keeps them.
fn accumulator(row: usize, n: usize) -> (usize, usize) {
    (row / 8 * 2 + n / 4, row % 8 * 4 + n % 4)
}

fn f16_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(x).to_bits()) }
}

/// f16 accumulators: two values a register; sums are kept in f32 and rounded once.
#[inline(always)]
fn multiply_f16<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
) {
    let tiles = Operands::<A, B, K>::read(lanes, inst);
    for half in 0..2 {
        let c: &[[u16; 2]; LANES] = bytemuck::cast_ref(u32::read(lanes, inst.s[Operands::<A, B, K>::C + half]));
        let mut out = [0; LANES];
        for g in 0..8 {
            let mut sums: [f32; N] = std::array::from_fn(|n| widen_f16(c[g * 4 + n % 4][n / 4]));
            accumulate(&tiles.a[half * 8 + g], &tiles.b, &mut sums);
            for t in 0..4 {
                out[g * 4 + t] = f16_bits(sums[t]) | f16_bits(sums[4 + t]) << 16;
            }
        }
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
    let Operands { a, b } = Operands::<A, B, K>::read(lanes, inst);
    for k in 0..4 {
        let c = u32::read(lanes, inst.s[Operands::<A, B, K>::C + k]);
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

/// A loop that is compiled once: the product itself is chosen at run time.
macro_rules! plain {
    ($f:expr) => {
        (|lanes, inst, mask| {
            $f(lanes, inst, mask);
            Ok(())
        }) as CollectiveFn
    };
}

/// The loops of one pair of 8-bit floats.
macro_rules! eight_bit {
    ($a:ty, $b:ty, $accumulator:expr, $k:expr, $truncated:expr) => {
        match ($accumulator, $k, $truncated) {
            (Type::F32, 32, false) => Some(plain!(multiply_f32::<$a, $b, 32>)),
            (Type::F32, 16, false) => Some(plain!(multiply_f32::<$a, $b, 16>)),
            (Type::F16, 32, false) => Some(plain!(multiply_f16::<$a, $b, 32>)),
            (Type::F16, 16, false) => Some(plain!(multiply_f16::<$a, $b, 16>)),
            (Type::F32, 32, true) => Some(multiply_f32_truncated::<$a, $b, 32> as CollectiveFn),
            (Type::F32, 16, true) => Some(multiply_f32_truncated::<$a, $b, 16> as CollectiveFn),
            (Type::F16, 32, true) => Some(multiply_f16_truncated::<$a, $b, 32> as CollectiveFn),
            (Type::F16, 16, true) => Some(multiply_f16_truncated::<$a, $b, 16> as CollectiveFn),
            _ => None,
        }
    };
}

fn eight_bit_loop(a: Type, b: Type, accumulator: Type, k: u32, truncated: bool) -> Option<CollectiveFn> {
    match (a, b) {
        (Type::E4m3, Type::E4m3) => eight_bit!(E4m3, E4m3, accumulator, k, truncated),
        (Type::E4m3, Type::E5m2) => eight_bit!(E4m3, E5m2, accumulator, k, truncated),
        (Type::E5m2, Type::E4m3) => eight_bit!(E5m2, E4m3, accumulator, k, truncated),
        (Type::E5m2, Type::E5m2) => eight_bit!(E5m2, E5m2, accumulator, k, truncated),
        _ => None,
    }
}

fn float_loop(element: Type, accumulator: Type, k: u32) -> Option<CollectiveFn> {
    Some(match (element, accumulator, k) {
        (Type::Bf16, Type::F32, 16) => collective!(multiply_f32::<Bf16, Bf16, 16>),
        (Type::Bf16, Type::F32, 8) => collective!(multiply_f32::<Bf16, Bf16, 8>),
        (Type::F16, Type::F32, 16) => collective!(multiply_f32::<F16, F16, 16>),
        (Type::F16, Type::F32, 8) => collective!(multiply_f32::<F16, F16, 8>),
        (Type::Tf32, Type::F32, 8) => collective!(multiply_f32::<Tf32, Tf32, 8>),
        (Type::Tf32, Type::F32, 4) => collective!(multiply_f32::<Tf32, Tf32, 4>),
        (Type::F16, Type::F16, 16) => collective!(multiply_f16::<F16, F16, 16>),
        (Type::F16, Type::F16, 8) => collective!(multiply_f16::<F16, F16, 8>),
        _ => return None,
    })
}

fn truncated_loop(element: Type, accumulator: Type, k: u32) -> Option<CollectiveFn> {
    Some(match (element, accumulator, k) {
        (Type::Bf16, Type::F32, 16) => multiply_f32_truncated::<Bf16, Bf16, 16>,
        (Type::Bf16, Type::F32, 8) => multiply_f32_truncated::<Bf16, Bf16, 8>,
        (Type::F16, Type::F32, 16) => multiply_f32_truncated::<F16, F16, 16>,
        (Type::F16, Type::F32, 8) => multiply_f32_truncated::<F16, F16, 8>,
        (Type::Tf32, Type::F32, 8) => multiply_f32_truncated::<Tf32, Tf32, 8>,
        (Type::Tf32, Type::F32, 4) => multiply_f32_truncated::<Tf32, Tf32, 4>,
        (Type::F16, Type::F16, 16) => multiply_f16_truncated::<F16, F16, 16>,
        (Type::F16, Type::F16, 8) => multiply_f16_truncated::<F16, F16, 8>,
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

pub fn aligned(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("sync") && decode.flag("aligned") { Ok(()) } else { decode.fail(".sync.aligned is missing") }
}

pub fn vector(decode: &mut Decode<'_, '_, '_>, index: usize, count: usize, ty: Type) -> LoadResult<Vec<Reg>> {
    let elements = decode.elements(decode.operand(index)?);
    if elements.len() != count {
        return decode.fail(format!("operand {index} needs {count} registers"));
    }
    elements.iter().map(|e| decode.src_operand(e, ty)).collect()
}

fn mma(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    aligned(decode)?;
    const SHAPES: [(&str, (usize, u32)); 6] = [
        ("m16n8k4", (M, 4)),
        ("m16n8k8", (M, 8)),
        ("m16n8k16", (M, 16)),
        ("m16n8k32", (M, 32)),
        ("m8n8k4", (8, 4)),
        ("m8n8k16", (8, 16)),
    ];
    let (rows, k) = decode.require("shape", &SHAPES)?;
    if !(decode.flag("row") && decode.flag("col")) {
        return decode.fail("only .row.col is supported");
    }
    let saturate = decode.flag("satfinite");
    let (d, a, b, c) = (decode.ty()?, decode.ty()?, decode.ty()?, decode.ty()?);
    if rows != M {
        return small_product::decode(decode, k, saturate, [d, a, b, c]);
    }
    let truncated = decode.function.builder.numerics.truncated_sums;
    let run = match (d, c) {
        (Type::S32, Type::S32) => integer_loop(a, b, k),
        _ if saturate || d != c => None,
        _ if matches!(a, Type::E4m3 | Type::E5m2) => eight_bit_loop(a, b, d, k, truncated),
        _ if a != b => None,
        _ if truncated => truncated_loop(a, d, k),
        _ => float_loop(a, d, k),
    };
    let Some(run) = run else {
        return decode.fail(format!("m16n8k{k} with {d:?}, {a:?}, {b:?}, {c:?} is not supported"));
    };
    let chunks = k as usize * a.bytes() / 16;
    let accumulators = if d == Type::F16 { 2 } else { 4 };
    decode.operands(4..=4)?;
    let mut inst = Inst::new(Op::Collective(Collective { run, members: Members::All }), Class::Tensor);
    let mut sources = vector(decode, 1, 2 * chunks, Type::B32)?;
    sources.extend(vector(decode, 2, chunks, Type::B32)?);
    sources.extend(vector(decode, 3, accumulators, Type::B32)?);
    inst.s[..sources.len()].copy_from_slice(&sources);
    inst.d[..accumulators].copy_from_slice(&vector(decode, 0, accumulators, Type::B32)?);
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
    let data = vector(decode, registers, tiles as usize, Type::B32)?;
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
