//! Instruction by instruction. Elementwise ones are cases (`case`), whose answers come from 128-bit integers and exact
//! rationals (`exact`); what needs a warp, a block or memory is a `program`. `table` holds the table against all of
//! them.

mod approximate;
mod bit_field;
mod block;
mod case;
mod compare;
mod convert;
mod eight_bit;
mod exact;
mod exchange;
mod float;
mod fragment;
mod half;
mod integer;
mod logic;
mod matrix;
mod memory;
mod program;
mod small_matrix;
mod table;
