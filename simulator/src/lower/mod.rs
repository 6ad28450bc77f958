//! From the tree to programs: names resolved, instructions decoded by the table, reconvergence points found, registers
//! allocated.
//!
//! Each entry becomes a program of its own with the functions it reaches, so that shared memory is laid out for that kernel
//! alone, as a linker would. Functions no entry reaches are lowered too and dropped: what is not supported must be refused
//! when the module loads, not when something calls it.

mod allocate;
mod builder;
mod constants;
pub mod decode;
mod flow;
mod function;
mod operand;
mod pointers;
mod segment;
mod special;
mod symbol;

use std::collections::HashMap;

use crate::error::LoadResult;
use crate::program::Program;
use crate::ptx::tree::Module;

/// Lowers every entry of a module. `addresses` are those of the module's global and constant variables; the
/// instructions that exist are those of `table`.
pub fn lower_module(
    module: &Module,
    addresses: &HashMap<String, u64>,
    table: decode::Table,
) -> LoadResult<Vec<Program>> {
    let mut programs = Vec::new();
    let mut reached = vec![false; module.functions.len()];
    for (index, function) in module.functions.iter().enumerate() {
        if function.entry {
            programs.push(builder::build(module, addresses, table, index, &mut reached)?);
        }
    }
    for index in 0..reached.len() {
        if !reached[index] && module.functions[index].body.is_some() {
            builder::build(module, addresses, table, index, &mut reached)?;
        }
    }
    Ok(programs)
}
