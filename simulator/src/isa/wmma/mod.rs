//! Matrices in fragments that only the instruction set knows (PTX ISA 9.7.14.4): `wmma.load`, `wmma.mma`, `wmma.store`.
//!
//! The ISA leaves open which lane holds which element, so a fragment here is its matrix in the order of memory: of R·C
//! elements lane l holds those from l·R·C/32 on, along the rows of a row-major matrix or the columns of another. So a
//! lane's part of A or B is one stretch of memory. Accumulators are held row after row, whatever they were loaded from.
//! Where the ISA gives f16 fragments more registers than the elements need, the others repeat them.

mod product;
mod transfer;

use super::memory::space;
use super::tensor::{aligned, vector};
use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::lanes::LANES;
use crate::program::loops::each1;
use crate::program::{Access, Class, Order, Reg, RegClass};
use crate::ptx::types::Type;
use product::multiply;
use transfer::Transfer;

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
