//! Tokens to a [`Module`]: the top level, functions and blocks. Instructions and variables have files of their own.
//!
//! Directives that only inform a linker or debugger are skipped by name; any other unknown directive is refused,
//! because a directive can change what a kernel means.

use super::lexer::{Spanned, Token, tokenize};
use super::tree::{Block, Function, Limits, Module, Spot, Statement};
use super::types::Space;
use crate::error::{LoadError, LoadResult};

/// Nested braces deeper than this are refused: the parser recurses, and no compiler emits them.
const MAX_DEPTH: usize = 64;

/// Parses one PTX module.
pub fn parse(source: &str) -> LoadResult<Module> {
    let tokens = tokenize(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let mut module = Module::default();
    while !parser.at_end() {
        parser.top_level(&mut module)?;
    }
    if module.version == (0, 0) {
        return Err(LoadError::new(1, "no .version directive: this is not PTX"));
    }
    Ok(module)
}

pub(super) struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

/// `.visible` and its like, which stand before a function or a variable.
#[derive(Default)]
struct Linkage {
    external: bool,
}

impl Parser {
    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    pub(super) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|t| &t.token)
    }

    pub(super) fn advance(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.token.clone();
        self.at += 1;
        Some(token)
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> LoadResult<T> {
        Err(LoadError::new(self.line(), message))
    }

    /// Takes `wanted` if it is next.
    pub(super) fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(&Token::Punct(wanted));
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, wanted: char) -> LoadResult<()> {
        if self.accept(wanted) {
            return Ok(());
        }
        let found = self.peek().map_or("the end".to_owned(), |t| format!("{t:?}"));
        self.fail(format!("expected `{wanted}`, found {found}"))
    }

    pub(super) fn accept_directive(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Directive(name)) if name == wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn name(&mut self) -> LoadResult<String> {
        match self.advance() {
            Some(Token::Word(name)) => Ok(name),
            other => {
                self.at = self.at.saturating_sub(usize::from(other.is_some()));
                self.fail("expected a name")
            }
        }
    }

    pub(super) fn integer(&mut self) -> LoadResult<u64> {
        let negative = self.accept('-');
        match self.advance() {
            Some(Token::Integer(value)) => Ok(if negative { value.wrapping_neg() } else { value }),
            _ => self.fail("expected an integer"),
        }
    }

    fn size(&mut self) -> LoadResult<u32> {
        u32::try_from(self.integer()?).or_else(|_| self.fail("number does not fit 32 bits"))
    }

    fn top_level(&mut self, module: &mut Module) -> LoadResult<()> {
        let linkage = self.linkage();
        let Some(Token::Directive(directive)) = self.peek().cloned() else {
            return self.fail("expected a directive");
        };
        match directive.as_str() {
            "version" => {
                self.at += 1;
                module.version = self.version()?;
            }
            "target" => {
                self.at += 1;
                module.target = self.name()?;
                while self.accept(',') {
                    self.name()?;
                }
            }
            "address_size" => {
                self.at += 1;
                if self.integer()? != 64 {
                    return self.fail("only .address_size 64 is supported");
                }
            }
            "file" => {
                self.at += 1;
                let index = self.size()?;
                let Some(Token::Text(path)) = self.advance() else { return self.fail("expected a path") };
                while self.accept(',') {
                    self.integer()?;
                }
                module.files.push((index, path));
            }
            "section" => self.skip_section()?,
            "alias" => {
                self.at += 1;
                let new = self.name()?;
                self.expect(',')?;
                module.aliases.push((new, self.name()?));
                self.expect(';')?;
            }
            "entry" | "func" => {
                let function = self.function()?;
                module.functions.push(function);
            }
            "pragma" => self.skip_statement(),
            _ => self.variables(linkage.external, &mut module.variables)?,
        }
        Ok(())
    }

    fn linkage(&mut self) -> Linkage {
        let mut linkage = Linkage::default();
        loop {
            if self.accept_directive("extern") {
                linkage.external = true;
            } else if !["visible", "weak", "common"].iter().any(|name| self.accept_directive(name)) {
                return linkage;
            }
        }
    }

    /// `9.2` arrives as one decimal literal.
    fn version(&mut self) -> LoadResult<(u32, u32)> {
        let Some(Token::F64(bits)) = self.advance() else { return self.fail("expected a version") };
        let value = f64::from_bits(bits);
        let (major, minor) = (value.trunc(), ((value - value.trunc()) * 10.0).round());
        if !(6.0..10.0).contains(&major) {
            return self.fail(format!("PTX version {value} is not supported: 6.0 to 9.x are"));
        }
        Ok((major as u32, minor as u32))
    }

    /// DWARF sections describe the program to a debugger; line tables come from `.loc` instead.
    fn skip_section(&mut self) -> LoadResult<()> {
        while let Some(token) = self.advance() {
            if token == Token::Punct('{') {
                while !self.at_end() && !self.accept('}') {
                    self.at += 1;
                }
                return Ok(());
            }
        }
        self.fail("section has no body")
    }

    pub(super) fn skip_statement(&mut self) {
        while let Some(token) = self.advance() {
            if token == Token::Punct(';') {
                return;
            }
        }
    }

    fn function(&mut self) -> LoadResult<Function> {
        let line = self.line();
        let entry = self.accept_directive("entry");
        if !entry {
            self.at += 1;
            self.accept_directive("noreturn");
        }
        let returns = if self.peek() == Some(&Token::Punct('(')) { self.parameters()? } else { Vec::new() };
        let name = self.name()?;
        let params = if self.peek() == Some(&Token::Punct('(')) { self.parameters()? } else { Vec::new() };
        let limits = self.tuning().map_err(|e| e.within(&name))?;
        let body = if self.accept(';') {
            None
        } else {
            self.expect('{')?;
            Some(self.block().map_err(|e| e.within(&name))?)
        };
        Ok(Function { name, entry, params, returns, body, limits, line })
    }

    fn parameters(&mut self) -> LoadResult<Vec<super::tree::Variable>> {
        let mut parameters = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            parameters.push(self.variable(false)?);
            if !self.accept(',') && self.peek() != Some(&Token::Punct(')')) {
                return self.fail("expected `,` or `)`");
            }
        }
        if parameters.iter().any(|p| p.space != Space::Param) {
            return self.fail("parameters in registers are not supported");
        }
        Ok(parameters)
    }

    /// Performance directives after a function's header (PTX ISA section 11.4).
    fn tuning(&mut self) -> LoadResult<Limits> {
        let mut limits = Limits::default();
        while let Some(Token::Directive(name)) = self.peek().cloned() {
            self.at += 1;
            match name.as_str() {
                "maxntid" | "reqntid" => {
                    let mut threads = self.size()?;
                    while self.accept(',') {
                        threads = threads.saturating_mul(self.size()?);
                    }
                    limits.threads = Some(threads);
                }
                "minnctapersm" => limits.blocks = Some(self.size()?),
                "maxnreg" => limits.registers = Some(self.size()?),
                "maxnctapersm" => {
                    self.size()?;
                }
                // Every block is a cluster of its own here, so a cluster of one block is what it says.
                "reqnctapercluster" => {
                    let mut blocks = self.size()?;
                    while self.accept(',') {
                        blocks = blocks.saturating_mul(self.size()?);
                    }
                    if blocks != 1 {
                        return self.fail("clusters of more than one block are not supported");
                    }
                }
                "noreturn" | "explicitcluster" => {}
                _ => return self.fail(format!("directive .{name} is not supported")),
            }
        }
        Ok(limits)
    }

    fn block(&mut self) -> LoadResult<Block> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("braces are nested too deeply");
        }
        let mut block = Block::default();
        while !self.accept('}') {
            if self.at_end() {
                return self.fail("block is never closed");
            }
            self.statement(&mut block.statements)?;
        }
        self.depth -= 1;
        Ok(block)
    }

    fn statement(&mut self, into: &mut Vec<Statement>) -> LoadResult<()> {
        match (self.peek(), self.peek_second()) {
            (Some(Token::Punct('{')), _) => {
                self.at += 1;
                let block = self.block()?;
                into.push(Statement::Block(block));
            }
            (Some(Token::Punct(';')), _) => self.at += 1,
            (Some(Token::Directive(_)), _) => self.directive(into)?,
            (Some(Token::Word(_)), Some(Token::Punct(':'))) => {
                let name = self.name()?;
                self.expect(':')?;
                self.label(name, into)?;
            }
            _ => {
                let instruction = self.instruction()?;
                into.push(instruction);
            }
        }
        Ok(())
    }

    /// A label, which may name a table of branch targets or a prototype instead of a place.
    fn label(&mut self, name: String, into: &mut Vec<Statement>) -> LoadResult<()> {
        if self.accept_directive("branchtargets") {
            let mut labels = vec![self.name()?];
            while self.accept(',') {
                labels.push(self.name()?);
            }
            self.expect(';')?;
            into.push(Statement::BranchTargets { name, labels });
        } else if self.accept_directive("callprototype") || self.accept_directive("calltargets") {
            // A call's layout is that of the function it reaches, so the prototype adds nothing.
            self.skip_statement();
        } else {
            into.push(Statement::Label(name));
        }
        Ok(())
    }

    fn directive(&mut self, into: &mut Vec<Statement>) -> LoadResult<()> {
        if self.accept_directive("loc") {
            let at = self.spot()?;
            let mut inlined_at = None;
            while self.accept(',') {
                inlined_at = self.inline_place()?.or(inlined_at);
            }
            into.push(Statement::Location { at, inlined_at });
            Ok(())
        } else if self.accept_directive("pragma") {
            self.skip_statement();
            Ok(())
        } else if matches!(self.peek(), Some(Token::Directive(name)) if name == "reg") {
            self.registers(into)
        } else {
            let mut variables = Vec::new();
            self.variables(false, &mut variables)?;
            into.extend(variables.into_iter().map(Statement::Variable));
            Ok(())
        }
    }

    fn spot(&mut self) -> LoadResult<Spot> {
        Ok((self.size()?, self.size()?, self.size()?))
    }

    /// `function_name label+4`, or `inlined_at file line column`: where the function was called.
    fn inline_place(&mut self) -> LoadResult<Option<Spot>> {
        match self.name()?.as_str() {
            "function_name" => {
                self.name()?;
                self.trailing_offset()?;
                Ok(None)
            }
            "inlined_at" => self.spot().map(Some),
            other => self.fail(format!("`{other}` in .loc is not supported")),
        }
    }
}
