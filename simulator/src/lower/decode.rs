//! What a row of the instruction table sees of one instruction: its modifiers, taken one by one, and its operands.
//!
//! A modifier nobody took when the row is done is one the simulator does not know, and the load fails with its name.

use super::function::FunctionLowering;
use super::symbol::Symbol;
use crate::error::{LoadError, LoadResult};
use crate::program::{Class, Guard, Inst, NONE, Op, Reg};
use crate::ptx::tree::{Instruction, Operand};
use crate::ptx::types::Type;

/// How an instruction is decoded: by a row of the instruction table.
pub type DecodeFn = fn(&mut Decode<'_, '_, '_>) -> LoadResult<()>;

/// The instruction table, by opcode.
pub type Table = fn(&str) -> Option<DecodeFn>;

pub struct Decode<'d, 'b, 'm> {
    pub function: &'d mut FunctionLowering<'b, 'm>,
    pub instruction: &'m Instruction,
    /// Modifiers not yet taken, in order.
    modifiers: Vec<&'m str>,
    pub guard: Guard,
}

impl<'d, 'b, 'm> Decode<'d, 'b, 'm> {
    pub fn new(function: &'d mut FunctionLowering<'b, 'm>, instruction: &'m Instruction) -> Self {
        let modifiers = instruction.modifiers.iter().map(String::as_str).collect();
        Self { function, instruction, modifiers, guard: Guard::ALWAYS }
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> LoadResult<T> {
        Err(LoadError::new(self.instruction.line, message))
    }

    /// Resolves `@p`.
    pub fn guard(&mut self) -> LoadResult<()> {
        if let Some(guard) = &self.instruction.guard {
            let reg = self.predicate_named(&guard.name)?;
            self.guard = Guard { reg, flip: if guard.negated { u32::MAX } else { 0 } };
        }
        Ok(())
    }

    /// Refuses what no row asked for.
    pub fn finish(&self) -> LoadResult<()> {
        match self.modifiers.first() {
            Some(modifier) => self.fail(format!("modifier .{modifier} is not supported")),
            None => Ok(()),
        }
    }

    /// Takes a modifier if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.modifiers.iter().position(|&m| m == name) {
            Some(index) => {
                self.modifiers.remove(index);
                true
            }
            None => false,
        }
    }

    /// Takes every modifier that only hints: nothing a program can observe depends on it.
    pub fn hints(&mut self, names: &[&str]) {
        self.modifiers.retain(|m| !names.contains(m));
    }

    /// Takes the first of the choices that is there.
    pub fn choose<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        choices.iter().find(|(name, _)| self.flag(name)).map(|&(_, value)| value)
    }

    pub fn require<T: Copy>(&mut self, what: &str, choices: &[(&str, T)]) -> LoadResult<T> {
        match self.choose(choices) {
            Some(value) => Ok(value),
            None => self.fail(format!("{what} is missing or not supported")),
        }
    }

    /// Takes the next type, in the order written.
    pub fn ty(&mut self) -> LoadResult<Type> {
        match self.optional_ty() {
            Some(ty) => Ok(ty),
            None => self.fail(match self.modifiers.last() {
                Some(modifier) => format!("modifier .{modifier} is not supported"),
                None => "a type is missing".to_owned(),
            }),
        }
    }

    pub fn optional_ty(&mut self) -> Option<Type> {
        let index = self.modifiers.iter().position(|m| Type::parse(m).is_some())?;
        Type::parse(self.modifiers.remove(index))
    }

    pub fn unsupported<T>(&self, ty: Type) -> LoadResult<T> {
        self.fail(format!("type {ty:?} is not supported here"))
    }

    /// The number of operands must be one of these.
    pub fn operands(&self, allowed: std::ops::RangeInclusive<usize>) -> LoadResult<usize> {
        let count = self.instruction.operands.len();
        if allowed.contains(&count) { Ok(count) } else { self.fail(format!("{count} operands")) }
    }

    pub fn operand(&self, index: usize) -> LoadResult<&'m Operand> {
        match self.instruction.operands.get(index) {
            Some(operand) => Ok(operand),
            None => self.fail("an operand is missing"),
        }
    }

    pub fn emit(&mut self, mut inst: Inst) {
        inst.guard = self.guard;
        self.function.push(inst, self.instruction.mnemonic(), self.instruction.line);
    }

    /// An elementwise instruction: destination, then sources, all of one type.
    pub fn emit_alu(&mut self, run: crate::program::AluFn, class: Class, d: Reg, s: &[Reg]) {
        let mut inst = Inst::new(Op::Alu(run), class);
        inst.d[0] = d;
        inst.s[..s.len()].copy_from_slice(s);
        self.emit(inst);
    }

    pub fn label(&mut self, operand: &Operand) -> LoadResult<u32> {
        match operand {
            Operand::Name(name, 0) => self.label_named(name),
            _ => self.fail("expected a label"),
        }
    }

    pub fn label_named(&mut self, name: &str) -> LoadResult<u32> {
        match self.function.lookup(name) {
            Some(Symbol::Label(label)) => Ok(label),
            _ => self.fail(format!("{name} is not a label")),
        }
    }

    /// The guard as a condition, when the instruction is turned into another.
    pub fn unguarded(&self) -> bool {
        self.guard.reg == NONE
    }
}

pub use super::function::RETURN_LABEL;

/// The labels of a branch table.
pub fn targets_named(decode: &mut Decode<'_, '_, '_>, index: usize) -> LoadResult<Vec<String>> {
    let Operand::Name(name, 0) = decode.operand(index)? else { return decode.fail("expected a branch table") };
    match decode.function.lookup(name) {
        Some(Symbol::Targets(labels)) => Ok(labels),
        _ => decode.fail(format!("{name} is not a branch table")),
    }
}

/// The frame place of a `.param` variable.
pub fn frame_place(decode: &mut Decode<'_, '_, '_>, operand: &Operand) -> LoadResult<(usize, usize)> {
    if let Operand::Name(name, 0) = operand
        && let Some(Symbol::Frame { offset, bytes }) = decode.function.lookup(name)
    {
        return Ok((offset, bytes));
    }
    decode.fail("an argument must be a .param variable")
}

/// The function an operand names, with its index if it has a body.
pub fn function_named<'o>(decode: &mut Decode<'_, '_, '_>, operand: &'o Operand) -> Option<(&'o str, Option<usize>)> {
    let Operand::Name(name, 0) = operand else { return None };
    match decode.function.lookup(name)? {
        Symbol::Function(index) => {
            let has_body = decode.function.builder.module.functions[index].body.is_some();
            Some((name, has_body.then_some(index)))
        }
        _ => None,
    }
}
