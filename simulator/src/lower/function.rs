//! One function: statements in order, scopes opened and closed, instructions handed to the table.

use std::collections::HashMap;

use super::allocate::allocate;
use super::builder::ProgramBuilder;
use super::decode::Decode;
use super::flow::Flow;
use super::segment::divide;
use super::symbol::{Scopes, Symbol};
use crate::error::{LoadError, LoadResult};
use crate::program::{Class, Code, Info, Inst, Op, Reg, RegClass, Source};
use crate::ptx::tree::{Block, Function, Instruction, Spot, Statement, Variable};
use crate::ptx::types::{Space, Type};

/// Far beyond any compiled kernel; keeps hostile text from taking all memory.
const MAX_INSTRUCTIONS: usize = 1 << 20;
const MAX_FRAME_BYTES: usize = 1 << 19;
/// Inlined calls that a report follows; a chain that goes round would have no end.
const MAX_INLINING: usize = 64;

/// Frame offset and size of each parameter.
type FramePlaces = Vec<(usize, usize)>;

pub struct FunctionLowering<'b, 'm> {
    pub builder: &'b mut ProgramBuilder<'m>,
    pub function: &'m Function,
    pub scopes: Scopes,
    /// Bits of each virtual register, by its number; its class is in its [`Reg`].
    registers: u32,
    pub insts: Vec<Inst>,
    pub infos: Vec<Info>,
    /// Where each label is, as an index into `insts`.
    labels: Vec<Option<u32>>,
    frame_bytes: usize,
    location: Option<Source>,
    /// Where the call was that each inlined statement came from.
    inlined: HashMap<Spot, Spot>,
    /// The condition code register, if some instruction uses it.
    carry: Option<Reg>,
}

/// The label that `ret` branches to.
pub const RETURN_LABEL: u32 = 0;

impl<'b, 'm> FunctionLowering<'b, 'm> {
    pub fn lower(builder: &'b mut ProgramBuilder<'m>, function: &'m Function) -> LoadResult<Code> {
        let Some(body) = &function.body else {
            return Err(LoadError::new(function.line, format!("function {} has no body", function.name)));
        };
        let mut lowering = Self {
            builder,
            function,
            scopes: Scopes::default(),
            registers: 0,
            insts: Vec::new(),
            infos: Vec::new(),
            labels: vec![None],
            frame_bytes: 0,
            location: None,
            inlined: HashMap::new(),
            carry: None,
        };
        lowering.scopes.open();
        let (returns, params) = lowering.declare_params()?;
        lowering.block(body)?;
        lowering.labels[RETURN_LABEL as usize] = Some(lowering.insts.len() as u32);
        let end = if function.entry { Op::Exit } else { Op::Return };
        // A `ret` is a branch to this one, and counted as that.
        lowering.push(Inst::new(end, Class::None), "ret".to_owned(), function.line);
        lowering.finish(returns, params)
    }

    fn finish(self, returns: Vec<(usize, usize)>, params: Vec<(usize, usize)>) -> LoadResult<Code> {
        let mut labels = Vec::with_capacity(self.labels.len());
        for (index, label) in self.labels.iter().enumerate() {
            labels
                .push(label.ok_or_else(|| LoadError::new(self.function.line, format!("label {index} has no place")))?);
        }
        let (mut insts, infos) = Flow::reconverge(self.insts, self.infos, &labels);
        let used = allocate(&mut insts, self.registers as usize);
        divide(&mut insts, &mut self.builder.segments);
        Ok(Code {
            name: self.function.name.clone(),
            insts,
            infos,
            rows: used.rows,
            predicates: used.predicates,
            frame_bytes: self.frame_bytes.next_multiple_of(16),
            returns,
            params,
        })
    }

    fn declare_params(&mut self) -> LoadResult<(FramePlaces, FramePlaces)> {
        let mut places = (Vec::new(), Vec::new());
        if self.function.entry {
            let mut end = 0usize;
            for param in &self.function.params {
                let offset = end.next_multiple_of(param.align);
                end = offset.saturating_add(param.bytes().unwrap_or(usize::MAX));
                self.declare(param, Symbol::EntryParam(offset))?;
            }
            return Ok(places);
        }
        for param in &self.function.returns {
            let place = self.frame_variable(param)?;
            places.0.push(place);
        }
        for param in &self.function.params {
            let place = self.frame_variable(param)?;
            places.1.push(place);
        }
        Ok(places)
    }

    fn frame_variable(&mut self, variable: &Variable) -> LoadResult<(usize, usize)> {
        let offset = self.frame_bytes.next_multiple_of(variable.align);
        let bytes = variable.bytes().unwrap_or(usize::MAX);
        self.frame_bytes = offset.saturating_add(bytes);
        if self.frame_bytes > MAX_FRAME_BYTES {
            return Err(LoadError::new(variable.line, "local variables take more than 512 KiB a thread"));
        }
        self.declare(variable, Symbol::Frame { offset, bytes })?;
        Ok((offset, bytes))
    }

    fn declare(&mut self, variable: &Variable, symbol: Symbol) -> LoadResult<()> {
        if self.scopes.declare(&variable.name, symbol) || variable.name == "_" {
            return Ok(());
        }
        Err(LoadError::new(variable.line, format!("{} is declared twice", variable.name)))
    }

    pub fn new_register(&mut self, class: RegClass) -> Reg {
        self.registers += 1;
        Reg::new(class, self.registers - 1)
    }

    pub fn carry(&mut self) -> Reg {
        let reg = self.carry.unwrap_or_else(|| self.new_register(RegClass::Predicate));
        self.carry = Some(reg);
        reg
    }

    /// A new label, not yet placed.
    pub fn new_label(&mut self) -> u32 {
        self.labels.push(None);
        (self.labels.len() - 1) as u32
    }

    fn make_registers(&mut self, ty: Type, vector: usize) -> Symbol {
        let class = match ty {
            Type::Pred => RegClass::Predicate,
            _ if ty.bytes() == 8 => RegClass::Double,
            _ => RegClass::Word,
        };
        Symbol::Register { regs: (0..vector).map(|_| self.new_register(class)).collect(), bits: ty.bits() }
    }

    /// Finds a name in the function, then in the module.
    pub fn lookup(&mut self, name: &str) -> Option<Symbol> {
        let mut scopes = std::mem::take(&mut self.scopes);
        let found = scopes.find(name, |ty, vector| self.make_registers(ty, vector));
        self.scopes = scopes;
        found.or_else(|| self.builder.global_symbol(name))
    }

    fn block(&mut self, block: &'m Block) -> LoadResult<()> {
        self.scopes.open();
        // Labels may be used before their place, so a block declares its own first.
        for statement in &block.statements {
            let (name, symbol) = match statement {
                Statement::Label(name) => (name, Symbol::Label(self.new_label())),
                Statement::BranchTargets { name, labels } => (name, Symbol::Targets(labels.clone())),
                _ => continue,
            };
            if !self.scopes.declare(name, symbol) {
                return Err(LoadError::new(self.function.line, format!("label {name} is declared twice")));
            }
        }
        for statement in &block.statements {
            self.statement(statement)?;
        }
        self.scopes.close();
        Ok(())
    }

    fn statement(&mut self, statement: &'m Statement) -> LoadResult<()> {
        match statement {
            Statement::Block(block) => self.block(block)?,
            Statement::Location { at, inlined_at } => self.locate(*at, *inlined_at),
            Statement::BranchTargets { .. } => {}
            Statement::Label(name) => {
                if let Some(Symbol::Label(label)) = self.lookup(name) {
                    self.labels[label as usize] = Some(self.insts.len() as u32);
                }
            }
            Statement::Registers { ty, vector, name, count, line } => {
                if *ty == Type::B128 {
                    return Err(LoadError::new(*line, "registers of .b128 are not supported"));
                }
                let symbol = match count {
                    Some(count) => Symbol::Family { ty: *ty, vector: *vector, count: *count },
                    None => self.make_registers(*ty, *vector),
                };
                if !self.scopes.declare(name, symbol) {
                    return Err(LoadError::new(*line, format!("register {name} is declared twice")));
                }
            }
            Statement::Variable(variable) => self.local_variable(variable)?,
            Statement::Instruction(instruction) => self.instruction(instruction)?,
            Statement::Refused(error) => return Err(error.clone()),
        }
        Ok(())
    }

    /// A call that was itself inlined stands in an earlier `.loc`; the chain of them ends in the function being
    /// lowered.
    fn locate(&mut self, at: Spot, inlined_at: Option<Spot>) {
        if let Some(call) = inlined_at {
            self.inlined.insert(at, call);
        }
        let next = |spot: &Spot| self.inlined.get(spot).copied();
        let caller = inlined_at.and_then(|call| std::iter::successors(Some(call), next).take(MAX_INLINING).last());
        let line = |(file, line, _): Spot| (file, line);
        self.location = Some(Source { place: line(at), caller: caller.map(line) });
    }

    fn local_variable(&mut self, variable: &'m Variable) -> LoadResult<()> {
        if matches!(variable.space, Space::Local | Space::Param) {
            return self.frame_variable(variable).map(|_| ());
        }
        match self.builder.variable_symbol(variable, &self.function.name) {
            Some(symbol) => self.declare(variable, symbol),
            None => Err(LoadError::new(variable.line, format!("variable {} is too large", variable.name))),
        }
    }

    fn instruction(&mut self, instruction: &'m Instruction) -> LoadResult<()> {
        let name_it = |mut e: LoadError| {
            e.line = instruction.line;
            e.message = format!("`{}`: {}", instruction.mnemonic(), e.message);
            e
        };
        let Some(decode_row) = (self.builder.table)(&instruction.opcode) else {
            return Err(name_it(LoadError::new(instruction.line, "instruction is not supported")));
        };
        if self.insts.len() > MAX_INSTRUCTIONS {
            return Err(LoadError::new(instruction.line, "function is too long"));
        }
        let mut decode = Decode::new(self, instruction);
        decode.guard().map_err(name_it)?;
        decode_row(&mut decode).map_err(name_it)?;
        decode.finish().map_err(name_it)
    }

    pub fn push(&mut self, inst: Inst, mnemonic: String, line: u32) {
        self.insts.push(inst);
        self.infos.push(Info { mnemonic, line, source: self.location });
    }
}
