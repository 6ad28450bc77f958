//! One program: an entry, the functions it reaches, its shared memory and constants.

use std::collections::HashMap;

use super::constants::Constants;
use super::decode::Table;
use super::function::FunctionLowering;
use super::pointers::pointed_to;
use super::segment::is_clock;
use super::symbol::Symbol;
use crate::error::{LoadError, LoadResult};
use crate::program::{Code, Program, Segment, function_address};
use crate::ptx::tree::{Function, Module, Variable};
use crate::ptx::types::Space;

/// Lowers `entry` and what it reaches.
pub fn build(
    module: &Module,
    addresses: &HashMap<String, u64>,
    table: Table,
    entry: usize,
    reached: &mut [bool],
) -> LoadResult<Program> {
    let mut builder = ProgramBuilder {
        module,
        addresses,
        table,
        constants: Constants::default(),
        segments: Vec::new(),
        shared: HashMap::new(),
        shared_bytes: 0,
        order: Vec::new(),
        pointers_are_called: false,
    };
    builder.code_index(entry);
    let mut codes = Vec::new();
    while let Some(&index) = builder.order.get(codes.len()) {
        reached[index] = true;
        let function = &module.functions[index];
        codes.push(FunctionLowering::lower(&mut builder, function).map_err(|e| e.within(&function.name))?);
    }
    builder.finish(&module.functions[entry], codes)
}

/// What the functions of one program share while they are lowered.
pub struct ProgramBuilder<'m> {
    pub module: &'m Module,
    addresses: &'m HashMap<String, u64>,
    pub table: Table,
    pub constants: Constants,
    pub segments: Vec<Segment>,
    /// Offsets of static shared variables, by `function::name`.
    shared: HashMap<String, usize>,
    shared_bytes: usize,
    /// Functions in the order of their codes.
    order: Vec<usize>,
    pointers_are_called: bool,
}

impl<'m> ProgramBuilder<'m> {
    /// The index that `function`'s code has, or will have, in the program.
    pub fn code_index(&mut self, function: usize) -> u32 {
        match self.order.iter().position(|&f| f == function) {
            Some(index) => index as u32,
            None => {
                self.order.push(function);
                (self.order.len() - 1) as u32
            }
        }
    }

    pub fn function_address(&mut self, function: usize) -> u64 {
        self.code_index(function);
        function_address(function)
    }

    /// A call through a pointer: it may reach every function whose address the module takes.
    pub fn call_pointers(&mut self) {
        if !std::mem::replace(&mut self.pointers_are_called, true) {
            for function in pointed_to(self.module) {
                self.code_index(function);
            }
        }
    }

    /// Module-scope names.
    pub fn global_symbol(&mut self, name: &str) -> Option<Symbol> {
        if let Some(variable) = self.module.variables.iter().find(|v| v.name == name) {
            return self.variable_symbol(variable, "");
        }
        self.module.function_named(name).map(Symbol::Function)
    }

    /// A shared, global or constant variable of `scope` (a function's name, or nothing for the module).
    pub fn variable_symbol(&mut self, variable: &Variable, scope: &str) -> Option<Symbol> {
        match variable.space {
            Space::Shared if variable.external || variable.elements.is_none() => Some(Symbol::DynamicShared),
            Space::Shared => {
                let key = format!("{scope}::{}", variable.name);
                if let Some(&offset) = self.shared.get(&key) {
                    return Some(Symbol::Shared(offset));
                }
                let offset = self.shared_bytes.next_multiple_of(variable.align);
                self.shared_bytes = offset.checked_add(variable.bytes()?)?;
                self.shared.insert(key, offset);
                Some(Symbol::Shared(offset))
            }
            Space::Global | Space::Const => {
                let key = if scope.is_empty() { variable.name.clone() } else { format!("{scope}::{}", variable.name) };
                self.addresses.get(&key).or(self.addresses.get(&variable.name)).copied().map(Symbol::Address)
            }
            _ => None,
        }
    }

    fn finish(mut self, entry: &Function, codes: Vec<Code>) -> LoadResult<Program> {
        // Dynamic shared memory starts where static ends, aligned as nvcc aligns it.
        let shared_bytes = self.shared_bytes.next_multiple_of(16);
        let has_dynamic = self.module.variables.iter().any(|v| v.space == Space::Shared && v.external);
        self.constants.place_dynamic(shared_bytes);
        let mut params = Vec::new();
        let mut param_bytes = 0usize;
        for param in &entry.params {
            let offset = param_bytes.next_multiple_of(param.align);
            let bytes = param.bytes().ok_or_else(|| LoadError::new(param.line, "parameter is too large"))?;
            params.push((offset, bytes));
            param_bytes = offset + bytes;
        }
        if param_bytes > 32764 {
            return Err(LoadError::new(entry.line, "more than 32764 bytes of parameters").within(&entry.name));
        }
        let reads_clock = codes.iter().flat_map(|code| &code.insts).any(|inst| is_clock(&inst.op));
        let widest = codes.iter().map(|c| c.rows).max().unwrap_or(0);
        Ok(Program {
            name: entry.name.clone(),
            reads_clock,
            local_bytes: codes.first().map_or(0, |c| c.frame_bytes),
            codes,
            segments: self.segments,
            constants: self.constants.rows,
            files: self.module.files.clone(),
            params,
            param_bytes,
            shared_bytes: if has_dynamic { shared_bytes } else { self.shared_bytes },
            max_threads: entry.limits.threads,
            registers: (widest as u32 + 2).next_multiple_of(8).clamp(16, entry.limits.registers()),
            functions: self.order,
        })
    }
}
