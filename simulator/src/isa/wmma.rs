//! Matrices in fragments that only the instruction set knows (PTX ISA 9.7.14.4): `wmma.load`, `wmma.mma`, `wmma.store`.
//!
//! The ISA leaves open which lane holds which element, so a fragment here is its matrix in the order of memory: of R·C elements
//! lane l holds those from l·R·C/32 on, along the rows of a row-major matrix or the columns of another. So a lane's part of A or
//! B is one stretch of memory. Accumulators are held row after row, whatever they were loaded from. Where the ISA gives f16
//! fragments more registers than the elements need, the others repeat them.

use super::memory::{class_of, space};
use super::numeric::canonical;
use super::tensor::{aligned, vector};
use super::tile::{Bf16, Element, F16, S8, Tf32, U8, widen_f16};
use super::{Row, row};
use crate::error::{Fault, LoadResult};
use crate::exec::lanes::{LANES, Lanes, Word, each1, each2};
use crate::lower::decode::Decode;
use crate::program::{Access, Class, Collective, CollectiveFn, Inst, Members, Op, Order, Reg, RegClass};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("wmma", "9.7.14.4", wmma)];

/// M, N and K.
type Shape = [usize; 3];

const SHAPES: [Shape; 5] = [[16, 16, 16], [32, 8, 16], [8, 32, 16], [16, 16, 8], [8, 8, 4]];
const SHAPE_NAMES: [(&str, usize); 5] =
    [("m16n16k16", 0), ("m32n8k16", 1), ("m8n32k16", 2), ("m16n16k8", 3), ("m8n8k4", 4)];

/// The elements of a fragment's largest matrix.
const MOST: usize = 32 * 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    A,
    B,
    Accumulator,
}

impl Part {
    /// Rows and columns.
    fn size(self, [m, n, k]: Shape) -> (usize, usize) {
        match self {
            Self::A => (m, k),
            Self::B => (k, n),
            Self::Accumulator => (m, n),
        }
    }

    /// Whether the ISA has such a fragment.
    fn holds(self, shape: usize, ty: Type) -> bool {
        match (self, ty) {
            (Self::Accumulator, Type::F16) => shape < 3,
            (Self::Accumulator, Type::F32) => shape < 4,
            (Self::Accumulator, Type::S32) => shape < 3,
            (Self::Accumulator, Type::F64) => shape == 4,
            (_, Type::F16 | Type::Bf16 | Type::S8 | Type::U8) => shape < 3,
            (_, Type::Tf32) => shape == 3,
            (_, Type::F64) => shape == 4,
            _ => false,
        }
    }
}

/// A matrix over the lanes of a warp.
#[derive(Clone, Copy)]
struct Fragment {
    rows: usize,
    columns: usize,
    row_major: bool,
    ty: Type,
    /// Registers that the instruction names.
    named: usize,
}

impl Fragment {
    fn new(part: Part, shape: usize, ty: Type, row_major: bool) -> Self {
        let (rows, columns) = part.size(SHAPES[shape]);
        let mut fragment = Self { rows, columns, row_major, ty, named: 0 };
        fragment.named = if part != Part::Accumulator && ty == Type::F16 { 8 } else { fragment.registers() };
        fragment
    }

    /// Elements a lane holds.
    fn elements(&self) -> usize {
        self.rows * self.columns / LANES
    }

    /// Registers that hold them once.
    fn registers(&self) -> usize {
        (self.elements() * self.ty.bytes()).div_ceil(if self.ty == Type::F64 { 8 } else { 4 })
    }

    /// Elements of a row of a row-major matrix, of a column of another.
    fn line(&self) -> usize {
        if self.row_major { self.columns } else { self.rows }
    }
}

fn wmma(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    if decode.flag("mma") {
        return multiply(decode);
    }
    let store = decode.require("operation", &[("load", false), ("store", true)])?;
    let part = if store {
        decode.require("matrix", &[("d", Part::Accumulator)])?
    } else {
        decode.require("matrix", &[("a", Part::A), ("b", Part::B), ("c", Part::Accumulator)])?
    };
    aligned(decode)?;
    let row_major = decode.require("layout", &[("row", true), ("col", false)])?;
    let shape = decode.require("shape", &SHAPE_NAMES)?;
    let space = space(decode);
    let ty = decode.ty()?;
    if !part.holds(shape, ty) {
        return decode.unsupported(ty);
    }
    let fragment = Fragment::new(part, shape, ty, row_major);
    let with_stride = decode.operands(2..=3)? == 3;
    let (address, data) = if store { (0, 1) } else { (1, 0) };
    let registers = registers(decode, data, &fragment)?;
    let place = decode.address(address, space)?;
    let stride = if with_stride { decode.src(2, Type::U32)? } else { decode.constant(fragment.line() as u64, false) };
    let access = Access {
        space: place.space,
        offset: place.offset,
        frame: place.frame,
        ty: Type::B32,
        vector: 1,
        extend: 32,
        order: Order::Weak,
    };
    let transfer = Transfer { fragment, base: place.reg, stride, access, store };
    if part == Part::Accumulator && !row_major {
        transfer.scattered(decode, &registers);
    } else {
        transfer.stretches(decode, &registers);
    }
    if !store {
        for k in fragment.registers()..registers.len() {
            copy(decode, registers[k], registers[k % fragment.registers()]);
        }
    }
    Ok(())
}

fn registers(decode: &mut Decode<'_, '_, '_>, index: usize, fragment: &Fragment) -> LoadResult<Vec<Reg>> {
    let ty = if fragment.ty == Type::F64 { Type::F64 } else { Type::B32 };
    vector(decode, index, fragment.named, ty)
}

fn copy(decode: &mut Decode<'_, '_, '_>, to: Reg, from: Reg) {
    let run = if to.class() == RegClass::Double { each1!(u64 => u64, |a| a) } else { each1!(u32 => u32, |a| a) };
    decode.emit_alu(run, Class::None, to, &[from]);
}

/// A fragment on its way between registers and memory.
struct Transfer {
    fragment: Fragment,
    base: Reg,
    stride: Reg,
    access: Access,
    store: bool,
}

impl Transfer {
    /// Where each lane's element `index` lies, counted from the instruction's address. Of an accumulator in columns the
    /// line is a row of the matrix, and its elements are a stride apart.
    fn address(&self, decode: &mut Decode<'_, '_, '_>, index: usize, line: usize, across: bool) -> Reg {
        let to = decode.new_word(true);
        let mut inst = Inst::new(Op::Alu(addresses), Class::None);
        (inst.d[0], inst.s[0], inst.s[1]) = (to, self.base, self.stride);
        let bytes = self.fragment.ty.bytes();
        inst.imm = Steps { elements: self.fragment.elements(), line, bytes, index, across }.pack();
        decode.emit(inst);
        to
    }

    fn emit(&self, decode: &mut Decode<'_, '_, '_>, access: Access, address: Reg, data: &[Reg]) {
        let class = class_of(access.space);
        let mut inst = if self.store {
            let mut inst = Inst::new(Op::Store(access), class);
            inst.s[1..=data.len()].copy_from_slice(data);
            inst
        } else {
            let mut inst = Inst::new(Op::Load(access), class);
            inst.d[..data.len()].copy_from_slice(data);
            inst
        };
        inst.s[0] = address;
        decode.emit(inst);
    }

    /// Each lane's elements lie together: as few accesses as 16 bytes allow.
    fn stretches(&self, decode: &mut Decode<'_, '_, '_>, registers: &[Reg]) {
        let address = self.address(decode, 0, self.fragment.line(), false);
        let ty = if self.fragment.ty == Type::F64 { Type::B64 } else { Type::B32 };
        let mut access = Access { ty, extend: ty.bits() as u8, ..self.access };
        let mut rest = &registers[..self.fragment.registers()];
        while !rest.is_empty() {
            let most = 16 / ty.bytes();
            let count = if rest.len() >= most { most } else { 1 << rest.len().ilog2() };
            access.vector = count as u8;
            self.emit(decode, access, address, &rest[..count]);
            access.offset += (count * ty.bytes()) as i64;
            rest = &rest[count..];
        }
    }

    /// An accumulator in columns: its rows are across them, element by element.
    fn scattered(&self, decode: &mut Decode<'_, '_, '_>, registers: &[Reg]) {
        let ty = match self.fragment.ty {
            Type::F64 => Type::B64,
            Type::F16 => Type::B16,
            _ => Type::B32,
        };
        let access = Access { ty, extend: ty.bits().max(32) as u8, ..self.access };
        let count = self.fragment.elements();
        let places: Vec<Reg> = (0..count).map(|k| self.address(decode, k, self.fragment.columns, true)).collect();
        if ty != Type::B16 {
            (0..count).for_each(|k| self.emit(decode, access, places[k], &[registers[k]]));
            return;
        }
        for (pair, &register) in places.chunks(2).zip(registers) {
            let high = decode.new_word(false);
            if self.store {
                decode.emit_alu(each1!(u32 => u32, |a| a >> 16), Class::None, high, &[register]);
                self.emit(decode, access, pair[0], &[register]);
                self.emit(decode, access, pair[1], &[high]);
            } else {
                let low = decode.new_word(false);
                self.emit(decode, access, pair[0], &[low]);
                self.emit(decode, access, pair[1], &[high]);
                decode.emit_alu(each2!(u32, u32 => u32, |a, b| a | b << 16), Class::None, register, &[low, high]);
            }
        }
    }
}

/// How an element's number gives its place.
struct Steps {
    /// Elements a lane holds.
    elements: usize,
    /// Elements in a line.
    line: usize,
    bytes: usize,
    /// The lane's element.
    index: usize,
    /// Lines are elements apart, and the elements of a line strides.
    across: bool,
}

impl Steps {
    fn pack(&self) -> u32 {
        let fields = [self.elements, self.line, self.bytes, self.index];
        let packed = fields.iter().rev().fold(0, |word, &field| word << 7 | field as u32);
        packed | u32::from(self.across) << 31
    }

    fn unpack(word: u32) -> Self {
        let field = |k: u32| (word >> (7 * k) & 0x7f) as usize;
        Self { elements: field(0), line: field(1), bytes: field(2), index: field(3), across: word >> 31 == 1 }
    }
}

fn addresses(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    let steps = Steps::unpack(inst.imm);
    let stride = *u32::read(lanes, inst.s[1]);
    let base: [u64; LANES] = if inst.s[0].class() == RegClass::Word {
        u32::read(lanes, inst.s[0]).map(u64::from)
    } else {
        *u64::read(lanes, inst.s[0])
    };
    let out: [u64; LANES] = std::array::from_fn(|lane| {
        let element = lane * steps.elements + steps.index;
        let (line, at) = ((element / steps.line) as u64, (element % steps.line) as u64);
        let stride = u64::from(stride[lane]);
        let elements = if steps.across { at * stride + line } else { line * stride + at };
        base[lane].wrapping_add(elements.wrapping_mul(steps.bytes as u64))
    });
    u64::write(lanes, inst.d[0], &out, mask);
}

/// What a product's loop needs to know beside its registers.
struct Product {
    shape: usize,
    a_row_major: bool,
    b_row_major: bool,
    saturate: bool,
    /// The accumulator register that is computed.
    index: usize,
}

impl Product {
    fn pack(&self) -> u32 {
        let flags = [self.a_row_major, self.b_row_major, self.saturate];
        let flags = flags.iter().fold(0, |word, &flag| word << 1 | u32::from(flag));
        self.shape as u32 | flags << 8 | (self.index as u32) << 16
    }

    fn unpack(word: u32) -> Self {
        Self {
            shape: (word & 0xff) as usize,
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
fn multiply(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
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
        inst.imm = Product { shape, a_row_major, b_row_major, saturate, index }.pack();
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
    fn pairs(&self, lane: usize, element: usize) -> impl Iterator<Item = (V, V)> {
        let [m, n, k] = self.shape;
        let at = lane * (m * n / LANES) + element;
        let (row, column) = (at / n, at % n);
        (0..k).map(move |i| (self.a[row * k + i], self.b[i * n + column]))
    }
}

impl Factors<f32> {
    fn sum(&self, lane: usize, element: usize, initial: f32) -> f32 {
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
