//! The instruction set as a table: one row an opcode, with the section of the PTX ISA it follows.
//!
//! A row's function takes the modifiers and operands it knows and emits decoded instructions; what it does not take is
//! refused. Families have files of their own, named for the chapters of the ISA.

mod accumulator;
pub mod approx;
pub mod async_copy;
pub mod atomics;
pub mod barriers;
pub mod bits;
pub mod compare;
pub mod compare_pair;
pub mod control;
pub mod convert;
pub mod extended;
pub mod float;
pub mod half_float;
pub mod integer;
pub mod logic;
pub mod memory;
pub mod moves;
pub mod multiply;
mod nudge;
pub mod numeric;
pub mod scalar_convert;
pub mod sign;
mod small_product;
pub mod tensor;
pub mod tile;
mod truncated;
pub mod video;
pub mod warp;
pub mod wmma;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::lower::decode::DecodeFn;

/// One instruction: its opcode, where the ISA describes it, how it is decoded.
pub struct Row {
    pub opcode: &'static str,
    pub section: &'static str,
    pub decode: DecodeFn,
}

pub const fn row(opcode: &'static str, section: &'static str, decode: DecodeFn) -> Row {
    Row { opcode, section, decode }
}

/// Every family's rows.
pub static TABLE: &[&[Row]] = &[
    integer::ROWS,
    bits::ROWS,
    multiply::ROWS,
    extended::ROWS,
    video::ROWS,
    float::ROWS,
    sign::ROWS,
    approx::ROWS,
    compare::ROWS,
    logic::ROWS,
    moves::ROWS,
    convert::ROWS,
    memory::ROWS,
    atomics::ROWS,
    async_copy::ROWS,
    barriers::ROWS,
    warp::ROWS,
    control::ROWS,
    tensor::ROWS,
    wmma::ROWS,
];

/// The row of an opcode.
pub fn find(opcode: &str) -> Option<&'static Row> {
    static INDEX: LazyLock<HashMap<&str, &Row>> =
        LazyLock::new(|| TABLE.iter().flat_map(|rows| rows.iter()).map(|row| (row.opcode, row)).collect());
    INDEX.get(opcode).copied()
}

/// How an opcode is decoded, for lowering.
pub fn decoder(opcode: &str) -> Option<DecodeFn> {
    find(opcode).map(|row| row.decode)
}
