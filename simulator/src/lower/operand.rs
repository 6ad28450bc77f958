//! Operands of an instruction to registers: names, immediates, addresses, and the width rules between them.
//!
//! An operand's register must have its instruction's size, except where the ISA allows a wider one (section 9.4.1:
//! loads, stores and conversions); there a truncation or extension is emitted beside the instruction.

use std::borrow::Cow;

use super::decode::Decode;
use super::symbol::Symbol;
use crate::error::LoadResult;
use crate::program::loops::each1;
use crate::program::{Class, Inst, NONE, Op, Reg, RegClass, Special};
use crate::ptx::tree::Operand;
use crate::ptx::types::{Space, Type};

/// What the components of a vector are called.
const COMPONENTS: [[&str; 2]; 4] = [["x", "r"], ["y", "g"], ["z", "b"], ["w", "a"]];

/// A memory operand.
pub struct Address {
    /// The address register; `NONE` with `frame` set.
    pub reg: Reg,
    pub offset: i64,
    pub frame: bool,
    /// The space, with a function's own parameters turned into the local memory they live in.
    pub space: Space,
}

impl Decode<'_, '_, '_> {
    pub fn predicate_named(&mut self, name: &str) -> LoadResult<Reg> {
        match self.single(name) {
            Some((reg, _)) if reg.class() == RegClass::Predicate => Ok(reg),
            _ => self.fail(format!("{name} is not a predicate")),
        }
    }

    /// A predicate source and whether it is negated.
    pub fn predicate(&mut self, index: usize) -> LoadResult<(Reg, bool)> {
        match self.operand(index)? {
            Operand::Name(name, 0) => Ok((self.predicate_named(name)?, false)),
            Operand::Not(name) => Ok((self.predicate_named(name)?, true)),
            Operand::Integer(value) => Ok((self.constant(if *value != 0 { u64::MAX } else { 0 }, false), false)),
            _ => self.fail("expected a predicate"),
        }
    }

    /// `p`, `p|q`, `_|q` as destinations.
    pub fn predicate_pair(&mut self, operand: &Operand) -> LoadResult<(Reg, Reg)> {
        let one = |decode: &mut Self, operand: &Operand| match operand {
            Operand::Name(name, 0) => decode.predicate_named(name),
            Operand::Sink => Ok(NONE),
            _ => decode.fail("expected a predicate"),
        };
        match operand {
            Operand::Pair(p, q) => Ok((one(self, p)?, one(self, q)?)),
            operand => Ok((one(self, operand)?, NONE)),
        }
    }

    pub fn constant(&mut self, value: u64, wide: bool) -> Reg {
        let constants = &mut self.function.builder.constants;
        if wide { constants.double(value) } else { constants.word(value as u32) }
    }

    /// The register that a name stands for, of a predicate or not: `x`, or the component `x.y` of a vector.
    fn single(&mut self, name: &str) -> Option<(Reg, u32)> {
        if let Some(Symbol::Register { regs, bits }) = self.function.lookup(name) {
            return (regs.len() == 1).then(|| (regs[0], bits));
        }
        let (vector, component) = name.rsplit_once('.')?;
        let index = COMPONENTS.iter().position(|names| names.contains(&component))?;
        match self.function.lookup(vector)? {
            Symbol::Register { regs, bits } if regs.len() > 1 => Some((*regs.get(index)?, bits)),
            _ => None,
        }
    }

    /// A register by name with its declared bits; special registers are read into a new one, beside the instruction.
    fn register(&mut self, name: &str) -> LoadResult<(Reg, u32)> {
        if let Some((special, bits)) = super::special::find(name) {
            let reg = self.new_word(bits == 64);
            let mut inst = Inst::new(Op::Special(special), Class::None);
            inst.d[0] = reg;
            self.emit(inst);
            return Ok((reg, bits));
        }
        match self.single(name) {
            Some((reg, bits)) if reg.class() != RegClass::Predicate => Ok((reg, bits)),
            None if self.function.lookup(name).is_none() => self.fail(format!("{name} is not declared")),
            _ => self.fail(format!("{name} is not a scalar register")),
        }
    }

    pub fn new_word(&mut self, wide: bool) -> Reg {
        self.function.new_register(if wide { RegClass::Double } else { RegClass::Word })
    }

    /// The bits of an immediate of a type.
    fn immediate(&self, operand: &Operand, ty: Type) -> Option<u64> {
        let mask = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        Some(match (operand, ty) {
            (Operand::Integer(value), Type::F32) => u64::from((*value as i64 as f32).to_bits()),
            (Operand::Integer(value), Type::F64) => (*value as i64 as f64).to_bits(),
            (Operand::Integer(value), _) => value & mask,
            (Operand::F32(bits), Type::F64) => f64::from(f32::from_bits(*bits)).to_bits(),
            (Operand::F32(bits), _) if ty.bytes() == 4 => u64::from(*bits),
            (Operand::F64(bits), Type::F32) => u64::from((f64::from_bits(*bits) as f32).to_bits()),
            (Operand::F64(bits), _) if ty.bytes() == 8 => *bits,
            _ => return None,
        })
    }

    /// A source of exactly the type's size.
    pub fn src(&mut self, index: usize, ty: Type) -> LoadResult<Reg> {
        let operand = self.operand(index)?;
        self.src_operand(operand, ty)
    }

    pub fn src_operand(&mut self, operand: &Operand, ty: Type) -> LoadResult<Reg> {
        if let Some(bits) = self.immediate(operand, ty) {
            return Ok(self.constant(bits, ty.bytes() == 8));
        }
        let Operand::Name(name, offset) = operand else { return self.fail("operand form is not supported") };
        if let Some(symbol) = self.variable_symbol(name) {
            return self.variable_address(&symbol, *offset, ty.bytes() == 8);
        }
        let (reg, bits) = self.register(name)?;
        if *offset != 0 || bits != ty.bits() {
            return self.fail(format!("{name} has {bits} bits where {} are needed", ty.bits()));
        }
        Ok(reg)
    }

    /// A source that may be wider than the type: the low bits count.
    pub fn src_wide(&mut self, operand: &Operand, ty: Type) -> LoadResult<Reg> {
        let Operand::Name(name, 0) = operand else { return self.src_operand(operand, ty) };
        if self.variable_symbol(name).is_some() {
            return self.src_operand(operand, ty);
        }
        let (reg, bits) = self.register(name)?;
        if bits < ty.bits() {
            return self.fail(format!("{name} has {bits} bits where {} are needed", ty.bits()));
        }
        if bits == 64 && ty.bits() < 64 {
            let narrow = self.new_word(false);
            self.emit_alu(each1!(u64 => u32, |a| a as u32), Class::None, narrow, &[reg]);
            return Ok(narrow);
        }
        Ok(reg)
    }

    pub fn dst(&mut self, index: usize, ty: Type) -> LoadResult<Reg> {
        let operand = self.operand(index)?;
        let (reg, bits) = self.dst_register(operand)?;
        if reg != NONE && bits != ty.bits() {
            return self.fail(format!("the destination has {bits} bits where {} are needed", ty.bits()));
        }
        Ok(if reg == NONE { self.new_word(ty.bytes() == 8) } else { reg })
    }

    /// A destination register and its bits; `_` is `NONE`.
    pub fn dst_register(&mut self, operand: &Operand) -> LoadResult<(Reg, u32)> {
        match operand {
            Operand::Sink => Ok((NONE, 0)),
            Operand::Name(name, 0) => self.register(name),
            _ => self.fail("destination form is not supported"),
        }
    }

    /// The elements of `{a, b}` or of a vector register, or the one operand.
    pub fn elements<'o>(&mut self, operand: &'o Operand) -> Cow<'o, [Operand]> {
        match operand {
            Operand::Vector(elements) => Cow::Borrowed(elements),
            Operand::Name(name, 0) => match self.function.lookup(name) {
                Some(Symbol::Register { regs, .. }) if regs.len() > 1 => {
                    let component = |k: usize| Operand::Name(format!("{name}.{}", COMPONENTS[k][0]), 0);
                    Cow::Owned((0..regs.len()).map(component).collect())
                }
                _ => Cow::Borrowed(std::slice::from_ref(operand)),
            },
            operand => Cow::Borrowed(std::slice::from_ref(operand)),
        }
    }

    fn variable_symbol(&mut self, name: &str) -> Option<Symbol> {
        match self.function.lookup(name)? {
            Symbol::Register { .. } | Symbol::Family { .. } | Symbol::Label(_) | Symbol::Targets(_) => None,
            symbol => Some(symbol),
        }
    }

    /// The address of a variable, in its own space.
    fn variable_address(&mut self, symbol: &Symbol, offset: i64, wide: bool) -> LoadResult<Reg> {
        let value = match *symbol {
            Symbol::Address(address) => address,
            Symbol::Shared(at) | Symbol::EntryParam(at) => at as u64,
            Symbol::Function(function) => self.function.builder.function_address(function),
            Symbol::DynamicShared => {
                return Ok(self.function.builder.constants.dynamic_shared(wide, offset));
            }
            Symbol::Frame { offset: at, .. } => {
                let reg = self.new_word(wide);
                let mut inst = Inst::new(Op::Special(Special::Frame), Class::None);
                inst.imm = (at as u32).wrapping_add(offset as u32);
                inst.d[0] = reg;
                self.emit(inst);
                return Ok(reg);
            }
            _ => return self.fail("address of something without one"),
        };
        Ok(self.constant(value.wrapping_add(offset as u64), wide))
    }

    pub fn address(&mut self, index: usize, space: Space) -> LoadResult<Address> {
        let Operand::Address { base, offset } = self.operand(index)? else { return self.fail("expected an address") };
        // A function's parameters, and what it passes to others, live in its frame.
        let in_entry = self.function.function.entry;
        let resolved = if space == Space::Param && !in_entry { Space::Local } else { space };
        match &**base {
            Operand::Integer(value) => {
                let reg = self.constant(*value, true);
                Ok(Address { reg, offset: *offset, frame: false, space: resolved })
            }
            Operand::Name(name, _) => match self.variable_symbol(name) {
                Some(Symbol::Frame { offset: at, .. }) => {
                    if !matches!(space, Space::Local | Space::Param) {
                        return self.fail("address is in another space");
                    }
                    Ok(Address { reg: NONE, offset: at as i64 + offset, frame: true, space: Space::Local })
                }
                Some(symbol) => {
                    let fits = match symbol {
                        Symbol::EntryParam(_) => space == Space::Param,
                        Symbol::Shared(_) | Symbol::DynamicShared => space == Space::Shared,
                        Symbol::Address(_) => matches!(space, Space::Global | Space::Const | Space::Generic),
                        _ => false,
                    };
                    if !fits {
                        return self.fail(format!("{name} is not in this space"));
                    }
                    let reg = self.variable_address(&symbol, *offset, true)?;
                    Ok(Address { reg, offset: 0, frame: false, space: resolved })
                }
                None => {
                    let (reg, bits) = self.register(name)?;
                    if bits < 32 {
                        return self.fail("address register is too narrow");
                    }
                    Ok(Address { reg, offset: *offset, frame: false, space: resolved })
                }
            },
            _ => self.fail("address form is not supported"),
        }
    }
}
