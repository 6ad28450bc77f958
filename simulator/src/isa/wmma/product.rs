//! The product of fragments, `wmma.mma`: one instruction for each accumulator register.

use super::{Fragment, MOST, Part, SHAPE_NAMES, SHAPES, Shape, copy, registers};
use crate::error::{Fault, LoadResult};
use crate::isa::numeric::canonical;
use crate::isa::tensor::aligned;
use crate::isa::tile::{Bf16, Element, F16, S8, Tf32, U8, widen_f16};
use crate::isa::truncated;
use crate::lower::decode::Decode;
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::{Class, Collective, CollectiveFn, Inst, Members, Op, Reg, RegClass};
use crate::ptx::types::Type;

/// What a product's loop needs to know beside its registers.
struct Product {
    shape: usize,
    a_row_major: bool,
    b_row_major: bool,
    saturate: bool,
    /// Sums cut off bits as tensor cores do.
    truncated: bool,
    /// The accumulator register that is computed.
    index: usize,
}

impl Product {
    fn pack(&self) -> u32 {
        let flags = [self.truncated, self.a_row_major, self.b_row_major, self.saturate];
        let flags = flags.iter().fold(0, |word, &flag| word << 1 | u32::from(flag));
        self.shape as u32 | flags << 8 | (self.index as u32) << 16
    }

    fn unpack(word: u32) -> Self {
        Self {
            shape: (word & 0xff) as usize,
            truncated: word >> 11 & 1 == 1,
            a_row_major: word >> 10 & 1 == 1,
            b_row_major: word >> 9 & 1 == 1,
            saturate: word >> 8 & 1 == 1,
            index: (word >> 16) as usize,
        }
    }

    fn operands(&self, ty: Type) -> [Fragment; 2] {
        [
            Fragment::new(Part::A, self.shape, ty, self.a_row_major),
            Fragment::new(Part::B, self.shape, ty, self.b_row_major),
        ]
    }
}

fn product_loop(d: Type, a: Type, b: Type, c: Type) -> Option<CollectiveFn> {
    Some(match (d, a, b, c) {
        (Type::F32, Type::F16, Type::F16, Type::F32) => multiply_f32::<F16>,
        (Type::F32, Type::F16, Type::F16, Type::F16) => multiply_f32_from_f16,
        (Type::F16, Type::F16, Type::F16, Type::F32) => multiply_f16_from_f32,
        (Type::F16, Type::F16, Type::F16, Type::F16) => multiply_f16,
        (Type::F32, Type::Bf16, Type::Bf16, Type::F32) => multiply_f32::<Bf16>,
        (Type::F32, Type::Tf32, Type::Tf32, Type::F32) => multiply_f32::<Tf32>,
        (Type::S32, Type::S8, Type::S8, Type::S32) => multiply_s32::<S8>,
        (Type::S32, Type::U8, Type::U8, Type::S32) => multiply_s32::<U8>,
        (Type::F64, Type::F64, Type::F64, Type::F64) => multiply_f64,
        _ => return None,
    })
}

/// One instruction an accumulator register; the first counts for all.
pub fn multiply(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    aligned(decode)?;
    let layouts: Vec<bool> = (decode.instruction.modifiers.iter())
        .filter_map(|m| match m.as_str() {
            "row" => Some(true),
            "col" => Some(false),
            _ => None,
        })
        .collect();
    let &[a_row_major, b_row_major] = layouts.as_slice() else { return decode.fail("two layouts are needed") };
    decode.hints(&["row", "col", "rn"]);
    let shape = decode.require("shape", &SHAPE_NAMES)?;
    let saturate = decode.flag("satfinite");
    let truncated = decode.function.builder.numerics.truncated_sums;
    let types: Vec<Type> = std::iter::from_fn(|| decode.optional_ty()).collect();
    let (d, a, b, c) = match *types.as_slice() {
        [d, c] => (d, Type::F16, Type::F16, c),
        [d, a, b, c] => (d, a, b, c),
        _ => return decode.fail("two or four types are needed"),
    };
    let exists = Part::A.holds(shape, a) && Part::Accumulator.holds(shape, c) && (!saturate || d == Type::S32);
    let Some(run) = product_loop(d, a, b, c).filter(|_| exists) else {
        return decode.fail(format!("this shape with {d:?}, {a:?}, {b:?}, {c:?} is not supported"));
    };
    decode.operands(4..=4)?;
    let fragment = |part, ty, row_major| Fragment::new(part, shape, ty, row_major);
    let [fa, fb] = [fragment(Part::A, a, a_row_major), fragment(Part::B, b, b_row_major)];
    let [fc, fd] = [c, d].map(|ty| fragment(Part::Accumulator, ty, true));
    let mut sources = registers(decode, 1, &fa)?;
    sources.truncate(fa.registers());
    sources.extend(&registers(decode, 2, &fb)?[..fb.registers()]);
    let (initial, results) = (registers(decode, 3, &fc)?, registers(decode, 0, &fd)?);
    // A register that is written before the last product that reads it is written at the end instead.
    let read_later = results.iter().any(|r| sources.contains(r) || initial.contains(r));
    let products: Vec<Reg> = if read_later {
        results.iter().map(|r| decode.new_word(r.class() == RegClass::Double)).collect()
    } else {
        results.clone()
    };
    let [m, n, k] = SHAPES[shape];
    for (index, &product) in products.iter().enumerate() {
        let class = if index == 0 { Class::Tensor } else { Class::None };
        let mut inst = Inst::new(Op::Collective(Collective { run, members: Members::All }), class);
        inst.s[..sources.len()].copy_from_slice(&sources);
        // The two registers of f32 accumulators that make one of f16, or the register of f16 that makes two of f32.
        let taken = match (d, c) {
            (Type::F16, Type::F32) => &initial[2 * index..2 * index + 2],
            (Type::F32, Type::F16) => &initial[index / 2..=index / 2],
            _ => &initial[index..=index],
        };
        inst.s[sources.len()..sources.len() + taken.len()].copy_from_slice(taken);
        inst.d[0] = product;
        inst.imm = Product { shape, a_row_major, b_row_major, saturate, truncated, index }.pack();
        inst.flops = if index == 0 { (2 * m * n * k) as u16 } else { 0 };
        decode.emit(inst);
    }
    if read_later {
        products.iter().zip(&results).for_each(|(&from, &to)| copy(decode, to, from));
    }
    Ok(())
}

/// A fragment of registers of 32 bits as a matrix, row after row.
fn matrix<E: Element>(lanes: &Lanes<'_>, registers: &[Reg], fragment: &Fragment) -> [E::Value; MOST] {
    let mut out = [E::Value::default(); MOST];
    let packed = 4 / size_of::<E::Raw>();
    for (word, &register) in registers.iter().enumerate().take(fragment.registers()) {
        let raw: &[E::Raw] = bytemuck::cast_slice(u32::read(lanes, register));
        for lane in 0..LANES {
            for k in 0..packed {
                let element = lane * fragment.elements() + word * packed + k;
                let (line, at) = (element / fragment.line(), element % fragment.line());
                let (row, column) = if fragment.row_major { (line, at) } else { (at, line) };
                out[row * fragment.columns + column] = E::value(raw[lane * packed + k]);
            }
        }
    }
    out
}

/// Both operands, and the accumulator's registers.
struct Factors<V> {
    a: [V; MOST],
    b: [V; MOST],
    shape: Shape,
    product: Product,
    initial: [Reg; 2],
}

impl<V: Copy> Factors<V> {
    fn read<E: Element<Value = V>>(lanes: &Lanes<'_>, inst: &Inst, ty: Type) -> Self {
        let product = Product::unpack(inst.imm);
        let [a, b] = product.operands(ty);
        let (second, third) = (a.registers(), a.registers() + b.registers());
        Self {
            a: matrix::<E>(lanes, &inst.s[..second], &a),
            b: matrix::<E>(lanes, &inst.s[second..third], &b),
            shape: SHAPES[product.shape],
            initial: [inst.s[third], inst.s.get(third + 1).copied().unwrap_or(inst.s[third])],
            product,
        }
    }

    /// The pairs of factors of a lane's accumulator element, in order of k.
    fn pairs(&self, lane: usize, element: usize) -> impl Iterator<Item = (V, V)> + Clone {
        let [m, n, k] = self.shape;
        let at = lane * (m * n / LANES) + element;
        let (row, column) = (at / n, at % n);
        (0..k).map(move |i| (self.a[row * k + i], self.b[i * n + column]))
    }
}

impl Factors<f32> {
    fn sum(&self, lane: usize, element: usize, initial: f32) -> f32 {
        if self.product.truncated {
            return truncated::sum(self.pairs(lane, element), initial);
        }
        self.pairs(lane, element).fold(initial, |sum, (a, b)| a.mul_add(b, sum))
    }

    /// f32 results, one a register.
    fn write_f32(&self, lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, initial: impl Fn(u32) -> f32) {
        let c = *u32::read(lanes, self.initial[0]);
        let index = self.product.index;
        let out = std::array::from_fn(|lane| canonical(self.sum(lane, index, initial(c[lane]))).to_bits());
        u32::write(lanes, inst.d[0], &out, mask);
    }

    /// f16 results, two a register: sums are kept in f32 and rounded once.
    fn write_f16(&self, lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, initial: [[f32; LANES]; 2]) {
        let bits = |x: f32| if x.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(x).to_bits()) };
        let out = std::array::from_fn(|lane| {
            let sum = |k: usize| bits(self.sum(lane, 2 * self.product.index + k, initial[k][lane]));
            sum(0) | sum(1) << 16
        });
        u32::write(lanes, inst.d[0], &out, mask);
    }
}

fn element_type<E: Element>() -> Type {
    match (size_of::<E::Raw>(), E::W) {
        (4, _) => Type::Tf32,
        (2, _) => Type::F16,
        _ => Type::S8,
    }
}

fn multiply_f32<E: Element<Value = f32>>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let factors = Factors::read::<E>(lanes, inst, element_type::<E>());
    factors.write_f32(lanes, inst, mask, f32::from_bits);
    Ok(())
}

fn multiply_f32_from_f16(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let factors = Factors::read::<F16>(lanes, inst, Type::F16);
    let shift = 16 * (factors.product.index % 2) as u32;
    factors.write_f32(lanes, inst, mask, |word| widen_f16((word >> shift) as u16));
    Ok(())
}

fn multiply_f16_from_f32(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let factors = Factors::read::<F16>(lanes, inst, Type::F16);
    let initial = factors.initial.map(|reg| u32::read(lanes, reg).map(f32::from_bits));
    factors.write_f16(lanes, inst, mask, initial);
    Ok(())
}

fn multiply_f16(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let factors = Factors::read::<F16>(lanes, inst, Type::F16);
    let words = *u32::read(lanes, factors.initial[0]);
    let initial = [0, 16].map(|shift| words.map(|word| widen_f16((word >> shift) as u16)));
    factors.write_f16(lanes, inst, mask, initial);
    Ok(())
}

/// Sums wrap, or saturate at the end with `.satfinite`.
fn multiply_s32<E: Element<Value = i32>>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let factors = Factors::read::<E>(lanes, inst, element_type::<E>());
    let c = *u32::read(lanes, factors.initial[0]);
    let out = std::array::from_fn(|lane| {
        let sum: i64 = factors.pairs(lane, factors.product.index).map(|(a, b)| i64::from(a * b)).sum();
        let total = sum + i64::from(c[lane] as i32);
        if factors.product.saturate { total.clamp(i32::MIN.into(), i32::MAX.into()) as u32 } else { total as u32 }
    });
    u32::write(lanes, inst.d[0], &out, mask);
    Ok(())
}

/// An element of A and one of B a lane, two of C.
fn multiply_f64(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> Result<(), Fault> {
    let product = Product::unpack(inst.imm);
    let [m, n, k] = SHAPES[product.shape];
    let [a, b, c] = [0, 1, 2].map(|s| u64::read(lanes, inst.s[s]).map(f64::from_bits));
    let at = |row_major: bool, row: usize, column: usize, rows: usize, columns: usize| {
        if row_major { row * columns + column } else { column * rows + row }
    };
    let out = std::array::from_fn(|lane| {
        let element = lane * (m * n / LANES) + product.index;
        let (row, column) = (element / n, element % n);
        let sum = (0..k).fold(c[lane], |sum, i| {
            let (x, y) = (a[at(product.a_row_major, row, i, m, k)], b[at(product.b_row_major, i, column, k, n)]);
            x.mul_add(y, sum)
        });
        if sum.is_nan() { 0x7fff_ffff_ffff_ffff } else { sum.to_bits() }
    });
    u64::write(lanes, inst.d[0], &out, mask);
    Ok(())
}
