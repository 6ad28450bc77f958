//! Instructions and their operands (PTX ISA sections 6.4 and 9.3).

use super::lexer::Token;
use super::parser::Parser;
use super::tree::{Guard, Instruction, Operand, Statement};
use crate::error::LoadResult;

/// Operands nest at most call list > vector > name.
const MAX_NESTING: usize = 4;

impl Parser {
    /// `@!%p1 bra.uni LABEL;`
    pub(super) fn instruction(&mut self) -> LoadResult<Statement> {
        let line = self.line();
        let guard = if self.accept('@') {
            let negated = self.accept('!');
            Some(Guard { negated, name: self.name()? })
        } else {
            None
        };
        let word = self.name()?;
        let mut parts = word.split('.').map(str::to_owned);
        let opcode = parts.next().unwrap_or_default();
        let modifiers = parts.collect();
        let instruction = Instruction { guard, opcode, modifiers, operands: Vec::new(), line };
        match self.operands() {
            Ok(operands) => Ok(Statement::Instruction(Instruction { operands, ..instruction })),
            // What the operand is of says what is not supported: a texture's coordinates, say. Its kernel may never be
            // used.
            Err(e) => {
                self.skip_statement();
                Ok(Statement::Refused(e.in_instruction(&word)))
            }
        }
    }

    /// What follows an opcode, with the semicolon.
    fn operands(&mut self) -> LoadResult<Vec<Operand>> {
        let mut operands = Vec::new();
        if !self.accept(';') {
            loop {
                operands.push(self.operand(0)?);
                if self.accept(';') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(operands)
    }

    fn operand(&mut self, nesting: usize) -> LoadResult<Operand> {
        if nesting > MAX_NESTING {
            return self.fail("operands are nested too deeply");
        }
        let first = self.simple_operand(nesting)?;
        if self.accept('|') {
            let second = self.simple_operand(nesting)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple_operand(&mut self, nesting: usize) -> LoadResult<Operand> {
        if self.accept('{') {
            return Ok(Operand::Vector(self.operands_until('}', nesting)?));
        }
        if self.accept('(') {
            return Ok(Operand::List(self.operands_until(')', nesting)?));
        }
        if self.accept('[') {
            let base = self.operand(nesting + 1)?;
            let (base, within) = match base {
                Operand::Name(name, offset) => (Operand::Name(name, 0), offset),
                other => (other, 0),
            };
            let offset = within.wrapping_add(self.trailing_offset()?);
            self.expect(']')?;
            return Ok(Operand::Address { base: Box::new(base), offset });
        }
        if self.accept('!') {
            return Ok(Operand::Not(self.name()?));
        }
        let negative = self.accept('-');
        match self.advance() {
            Some(Token::Integer(value)) => Ok(Operand::Integer(if negative { value.wrapping_neg() } else { value })),
            Some(Token::F32(bits)) => Ok(Operand::F32(if negative { bits ^ 0x8000_0000 } else { bits })),
            Some(Token::F64(bits)) => Ok(Operand::F64(if negative { bits ^ (1 << 63) } else { bits })),
            Some(Token::Word(name)) if !negative && name == "_" => Ok(Operand::Sink),
            // The one predefined constant (PTX ISA section 4.5.6).
            Some(Token::Word(name)) if name == "WARP_SZ" => Ok(Operand::Integer(if negative { !31 } else { 32 })),
            Some(Token::Word(name)) if !negative => {
                let offset = self.trailing_offset()?;
                Ok(Operand::Name(name, offset))
            }
            _ => self.fail("expected an operand"),
        }
    }

    fn operands_until(&mut self, close: char, nesting: usize) -> LoadResult<Vec<Operand>> {
        let mut operands = Vec::new();
        while !self.accept(close) {
            let operand = self.operand(nesting + 1)?;
            operands.push(operand);
            if !self.accept(',') && self.peek() != Some(&Token::Punct(close)) {
                return self.fail(format!("expected `,` or `{close}`"));
            }
        }
        Ok(operands)
    }
}
