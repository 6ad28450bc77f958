//! One program: an entry, the functions it reaches, its shared memory and constants.

use std::collections::HashMap;

use super::Numerics;
use super::constants::Constants;
use super::decode::Table;
use super::function::FunctionLowering;
use super::pointers::pointed_to;
use super::segment::is_clock;
use super::symbol::Symbol;
use crate::error::{LoadError, LoadResult};
use crate::program::{Builtin, Code, Op, Program, Segment, Special, function_address};
use crate::ptx::tree::{Function, Module, Variable};
use crate::ptx::types::Space;

/// What the system keeps of each block's shared memory from compute capability 8.0 on.
const RESERVED_SHARED: usize = 1024;

/// Lowers `entry` and what it reaches; a program without code where that fails.
pub fn build(
    module: &Module,
    addresses: &HashMap<String, u64>,
    table: Table,
    numerics: Numerics,
    entry: usize,
) -> Program {
    let function = &module.functions[entry];
    let outcome =
        ProgramBuilder::new(module, addresses, table, numerics).lower(entry).map_err(|e| e.within(&function.name));
    outcome.unwrap_or_else(|refusal| {
        let (params, param_bytes) = place_parameters(function).unwrap_or_default();
        let empty = ProgramBuilder::new(module, addresses, table, numerics);
        Program { refusal: Some(refusal), ..empty.finish(function, Vec::new(), params, param_bytes) }
    })
}

/// Offset and size of each parameter of an entry, and the bytes of them all.
fn place_parameters(entry: &Function) -> LoadResult<(Vec<(usize, usize)>, usize)> {
    const MOST: usize = 32764;
    let (mut params, mut end) = (Vec::new(), 0usize);
    for param in &entry.params {
        let offset = end.next_multiple_of(param.align);
        let bytes = param.bytes().filter(|&bytes| bytes <= MOST);
        let bytes = bytes.ok_or_else(|| LoadError::new(param.line, "parameter is too large"))?;
        params.push((offset, bytes));
        end = offset + bytes;
    }
    if end > MOST {
        return Err(LoadError::new(entry.line, format!("more than {MOST} bytes of parameters")));
    }
    Ok((params, end))
}

/// What the functions of one program share while they are lowered.
pub struct ProgramBuilder<'m> {
    pub module: &'m Module,
    addresses: &'m HashMap<String, u64>,
    pub table: Table,
    pub numerics: Numerics,
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
    fn new(module: &'m Module, addresses: &'m HashMap<String, u64>, table: Table, numerics: Numerics) -> Self {
        Self {
            module,
            addresses,
            table,
            numerics,
            constants: Constants::default(),
            segments: Vec::new(),
            shared: HashMap::new(),
            shared_bytes: 0,
            order: Vec::new(),
            pointers_are_called: false,
        }
    }

    fn lower(mut self, entry: usize) -> LoadResult<Program> {
        let (params, param_bytes) = place_parameters(&self.module.functions[entry])?;
        self.code_index(entry);
        let mut codes = Vec::new();
        while let Some(&index) = self.order.get(codes.len()) {
            let function = &self.module.functions[index];
            codes.push(FunctionLowering::lower(&mut self, function).map_err(|e| e.within(&function.name))?);
        }
        let function = &self.module.functions[entry];
        Ok(self.finish(function, codes, params, param_bytes))
    }

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

    fn finish(
        mut self,
        entry: &Function,
        codes: Vec<Code>,
        params: Vec<(usize, usize)>,
        param_bytes: usize,
    ) -> Program {
        // Dynamic shared memory starts where static ends, aligned as nvcc aligns it.
        let shared_bytes = self.shared_bytes.next_multiple_of(16);
        let has_dynamic = self.module.variables.iter().any(|v| v.space == Space::Shared && v.external);
        self.constants.place_dynamic(shared_bytes);
        let reads_clock = codes.iter().flat_map(|code| &code.insts).any(|inst| is_clock(&inst.op));
        let reserved =
            codes.iter().flat_map(|code| &code.insts).any(|inst| matches!(inst.op, Op::Special(Special::Reserved(_))));
        let uses_heap = codes
            .iter()
            .flat_map(|code| &code.insts)
            .any(|inst| matches!(inst.op, Op::Builtin(Builtin::Allocate | Builtin::Free, _)));
        let widest = codes.iter().map(|c| c.rows).max().unwrap_or(0);
        Program {
            name: entry.name.clone(),
            refusal: None,
            reads_clock,
            uses_heap,
            local_bytes: codes.first().map_or(0, |c| c.frame_bytes),
            codes,
            segments: self.segments,
            constants: self.constants.rows,
            files: self.module.files.clone(),
            params,
            param_bytes,
            shared_bytes: if has_dynamic { shared_bytes } else { self.shared_bytes },
            reserved_shared_bytes: if reserved { RESERVED_SHARED } else { 0 },
            max_threads: entry.limits.threads,
            registers: estimate_registers(widest, entry.limits.registers()),
            registers_are_exact: false,
            functions: self.order,
        }
    }
}

/// Registers from the rows of the widest function. Rows are held from a value's first place to its last, which takes
/// half as many again as ptxas needs in the median of the kernels looked at, and up to two and a half times as many.
fn estimate_registers(rows: usize, limit: u32) -> u32 {
    (rows as u32 * 2 / 3 + 2).next_multiple_of(8).clamp(16, limit)
}
