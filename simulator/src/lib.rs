//! A CUDA driver library for machines without a GPU: it executes PTX on the CPU, checks it, and counts.
//!
//! | module | what it does |
//! |---|---|
//! | [`ptx`] | text to a tree |
//! | [`isa`] | the instruction table: one row an opcode, with its section of the PTX ISA |
//! | [`lower`], [`program`] | the tree to decoded instructions over allocated registers |
//! | [`memory`] | address space, allocations |
//! | [`exec`] | lanes, strands, warps, blocks, grids |
//! | [`checks`] | bounds, races, uninitialised reads, barriers, leaks |
//! | [`counters`] | what a GPU would have issued and moved |
//! | [`driver`] | the driver API over all of this |

pub mod checks;
pub mod counters;
pub mod driver;
pub mod error;
pub mod exec;
pub mod isa;
pub mod lower;
pub mod memory;
pub mod program;
pub mod ptx;
