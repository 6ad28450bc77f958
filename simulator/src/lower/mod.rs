//! From the tree to programs: names resolved, instructions decoded by the table, reconvergence points found, registers
//! allocated.
//!
//! Each entry becomes a program of its own with the functions it reaches, so that shared memory is laid out for that
//! kernel alone, as a linker would. An entry with something that is not supported becomes a program without code that
//! says why: the module's other kernels run. Functions that no entry reaches are not looked at.

mod allocate;
mod builder;
mod constants;
pub mod decode;
mod flow;
mod function;
mod meeting;
mod operand;
mod pointers;
mod segment;
mod special;
mod symbol;

use std::collections::HashMap;

use crate::program::Program;
use crate::ptx::tree::Module;

/// Lowers every entry of a module. `addresses` are those of the module's global and constant variables; the
/// instructions that exist are those of `table`.
pub fn lower_module(
    module: &Module,
    addresses: &HashMap<String, u64>,
    table: decode::Table,
    numerics: Numerics,
) -> Vec<Program> {
    let entries = module.functions.iter().enumerate().filter(|(_, function)| function.entry);
    entries.map(|(index, _)| builder::build(module, addresses, table, numerics, index)).collect()
}

/// How instructions compute whose results hardware and the ISA leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numerics {
    /// Sums of matrix products cut off bits as tensor cores do, instead of rounding each addition.
    pub truncated_sums: bool,
    /// Approximate functions are off by up to two units in the last place, instead of correctly rounded.
    pub inexact_functions: bool,
}
