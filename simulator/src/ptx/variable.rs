//! Declarations: registers, and variables with alignment, arrays and initializers (PTX ISA sections 5.2 to 5.4).

use super::lexer::Token;
use super::parser::Parser;
use super::tree::{Initial, Statement, Variable};
use super::types::{Space, Type};
use crate::error::LoadResult;

impl Parser {
    /// `.reg .b32 %r<45>, x;`
    pub(super) fn registers(&mut self, into: &mut Vec<Statement>) -> LoadResult<()> {
        self.accept_directive("reg");
        let vector = self.vector_width();
        let ty = self.scalar_type()?;
        loop {
            let line = self.line();
            let name = self.name()?;
            let count = if self.accept('<') {
                let count = self.integer()?;
                self.expect('>')?;
                match u32::try_from(count).ok().filter(|&n| n <= 1 << 20) {
                    Some(count) => Some(count),
                    None => return self.fail("too many registers"),
                }
            } else {
                None
            };
            into.push(Statement::Registers { ty, vector, name, count, line });
            if !self.accept(',') {
                return self.expect(';');
            }
        }
    }

    /// One declaration statement, which may list several variables.
    pub(super) fn variables(&mut self, external: bool, into: &mut Vec<Variable>) -> LoadResult<()> {
        let first = self.variable(external)?;
        let template = Variable { initial: Vec::new(), elements: Some(1), ..first.clone() };
        into.push(first);
        while self.accept(',') {
            let mut next = Variable { line: self.line(), name: self.name()?, ..template.clone() };
            self.shape_and_value(&mut next, 1)?;
            into.push(next);
        }
        self.expect(';')
    }

    /// `.global .align 4 .b8 name[16] = {..}`, without what ends it.
    pub(super) fn variable(&mut self, external: bool) -> LoadResult<Variable> {
        let (mut space, mut align) = (None, None);
        let vector;
        loop {
            let Some(Token::Directive(name)) = self.peek().cloned() else {
                return self.fail("expected a type or a space");
            };
            if name == "align" {
                self.advance();
                align = Some(self.integer()? as usize);
            } else if let Some(found) = Space::parse(&name) {
                self.advance();
                space = Some(found);
            } else if Type::parse(&name).is_some() || matches!(name.as_str(), "v2" | "v4" | "v8") {
                vector = self.vector_width();
                break;
            } else {
                return self.fail(format!("directive .{name} is not supported"));
            }
        }
        let ty = self.scalar_type()?;
        let Some(space) = space else { return self.fail("variable has no state space") };
        // `.param .u64 .ptr .global .align 16 name`
        if self.accept_directive("ptr") {
            while let Some(Token::Directive(name)) = self.peek().cloned() {
                self.advance();
                if name == "align" {
                    self.integer()?;
                } else if Space::parse(&name).is_none() {
                    return self.fail(format!("directive .{name} is not supported"));
                }
            }
        }
        let natural = ty.bytes() * vector;
        let align = align.unwrap_or(natural);
        if !align.is_power_of_two() || align > 1 << 16 {
            return self.fail("alignment is not a power of two");
        }
        let mut variable = Variable {
            line: self.line(),
            name: self.name()?,
            space,
            ty,
            align,
            elements: Some(vector),
            external,
            initial: Vec::new(),
        };
        self.shape_and_value(&mut variable, vector)?;
        Ok(variable)
    }

    fn shape_and_value(&mut self, variable: &mut Variable, vector: usize) -> LoadResult<()> {
        let mut elements = Some(vector);
        while self.accept('[') {
            if self.accept(']') {
                elements = None;
                continue;
            }
            let extent = self.integer()?;
            self.expect(']')?;
            let product = elements.unwrap_or(1).checked_mul(extent as usize).filter(|&n| n <= 1 << 32);
            let Some(product) = product else { return self.fail("array is too large") };
            elements = Some(product);
        }
        if self.accept('=') {
            self.initializer(&mut variable.initial)?;
        }
        variable.elements = elements;
        let capacity = elements.unwrap_or(variable.initial.len());
        if variable.initial.len() > capacity {
            return self.fail("initializer is longer than its variable");
        }
        if elements.is_none() && !variable.initial.is_empty() {
            variable.elements = Some(variable.initial.len());
        }
        Ok(())
    }

    fn initializer(&mut self, into: &mut Vec<Initial>) -> LoadResult<()> {
        if !self.accept('{') {
            let value = self.initial()?;
            into.push(value);
            return Ok(());
        }
        let mut open = 1;
        while open > 0 {
            if self.accept('{') {
                open += 1;
            } else if self.accept('}') {
                open -= 1;
                self.accept(',');
            } else {
                let value = self.initial()?;
                into.push(value);
                self.accept(',');
            }
        }
        Ok(())
    }

    fn initial(&mut self) -> LoadResult<Initial> {
        let negative = self.accept('-');
        match self.advance() {
            Some(Token::Integer(mask)) if self.accept('(') => {
                let (name, offset, generic) = self.initial_address()?;
                self.expect(')')?;
                Ok(Initial::Address { name, offset, generic, mask: Some(mask) })
            }
            Some(Token::Integer(value)) => Ok(Initial::Number(if negative { value.wrapping_neg() } else { value })),
            Some(Token::F32(bits)) => Ok(Initial::Number(u64::from(bits))),
            Some(Token::F64(bits)) => Ok(Initial::Number(bits)),
            Some(Token::Word(name)) => {
                let (name, offset, generic) = self.after_name(name)?;
                Ok(Initial::Address { name, offset, generic, mask: None })
            }
            _ => self.fail("expected a value"),
        }
    }

    fn initial_address(&mut self) -> LoadResult<(String, i64, bool)> {
        let name = self.name()?;
        self.after_name(name)
    }

    fn after_name(&mut self, name: String) -> LoadResult<(String, i64, bool)> {
        if name != "generic" {
            return Ok((name, self.trailing_offset()?, false));
        }
        self.expect('(')?;
        let inner = self.name()?;
        let within = self.trailing_offset()?;
        self.expect(')')?;
        Ok((inner, within.wrapping_add(self.trailing_offset()?), true))
    }

    /// `+8`, `-4`, `+-4`, or nothing.
    pub(super) fn trailing_offset(&mut self) -> LoadResult<i64> {
        if self.accept('+') || self.peek() == Some(&Token::Punct('-')) { Ok(self.integer()? as i64) } else { Ok(0) }
    }

    fn vector_width(&mut self) -> usize {
        [("v2", 2), ("v4", 4), ("v8", 8)].iter().find(|(name, _)| self.accept_directive(name)).map_or(1, |&(_, n)| n)
    }

    fn scalar_type(&mut self) -> LoadResult<Type> {
        match self.advance() {
            Some(Token::Directive(name)) => {
                Type::parse(&name).map_or_else(|| self.fail(format!("type .{name} is not supported")), Ok)
            }
            _ => self.fail("expected a type"),
        }
    }
}
