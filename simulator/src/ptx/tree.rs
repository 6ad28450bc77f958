//! The tree that the parser makes: modules, functions, nested blocks, statements.
//!
//! Names are kept as written; scopes are resolved when a function is lowered, since PTX lets inline assembly reuse
//! names inside braces and jump forward to labels that come later in the same block.

use super::types::{Space, Type};
use crate::error::LoadError;

#[derive(Debug, Default)]
pub struct Module {
    pub version: (u32, u32),
    pub target: String,
    pub files: Vec<(u32, String)>,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
    /// `.alias new, old;`
    pub aliases: Vec<(String, String)>,
}

/// One piece of an initializer: a number of the variable's type, or an address.
#[derive(Debug, Clone, PartialEq)]
pub enum Initial {
    Number(u64),
    /// `name`, `generic(name)`, each with an offset; a `mask` picks one byte (`0xff00(name)`).
    Address {
        name: String,
        offset: i64,
        generic: bool,
        mask: Option<u64>,
    },
}

#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub space: Space,
    pub ty: Type,
    pub align: usize,
    /// Elements (vector width included); `None` is an unsized array, `extern .shared x[]`.
    pub elements: Option<usize>,
    pub external: bool,
    pub initial: Vec<Initial>,
    pub line: u32,
}

impl Module {
    /// A function's number by its name or an alias; one with a body before a mere declaration.
    pub fn function_named(&self, name: &str) -> Option<usize> {
        let resolved = self.aliases.iter().find(|(new, _)| new == name).map_or(name, |(_, old)| old);
        let named = |f: &Function| f.name == resolved;
        let defined = self.functions.iter().position(|f| named(f) && f.body.is_some());
        defined.or_else(|| self.functions.iter().position(named))
    }
}

impl Variable {
    /// `None` when the size overflows, which no memory could hold.
    pub fn bytes(&self) -> Option<usize> {
        self.elements.unwrap_or(0).checked_mul(self.ty.bytes())
    }
}

#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub entry: bool,
    pub params: Vec<Variable>,
    pub returns: Vec<Variable>,
    pub body: Option<Block>,
    pub limits: Limits,
    pub line: u32,
}

/// What a function's performance directives allow a launch of it (PTX ISA section 11.4).
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// `.maxntid` or `.reqntid`: the most threads a block may have.
    pub threads: Option<u32>,
    /// `.minnctapersm`: blocks that must fit a multiprocessor together.
    pub blocks: Option<u32>,
    /// `.maxnreg`
    pub registers: Option<u32>,
}

impl Limits {
    /// The most registers a thread may have so that what the directives promise can be launched.
    pub fn registers(&self) -> u32 {
        const OF_MULTIPROCESSOR: u32 = 65536;
        const OF_THREAD: u32 = 255;
        let threads = self.threads.map(|n| n.clamp(1, 1024).next_multiple_of(32));
        let shared = threads.map(|n| OF_MULTIPROCESSOR / n.saturating_mul(self.blocks.unwrap_or(1).max(1)) / 8 * 8);
        self.registers.unwrap_or(OF_THREAD).min(shared.unwrap_or(OF_THREAD)).clamp(16, OF_THREAD)
    }
}

#[derive(Debug, Default)]
pub struct Block {
    pub statements: Vec<Statement>,
}

#[derive(Debug)]
pub enum Statement {
    Label(String),
    Registers {
        ty: Type,
        vector: usize,
        name: String,
        count: Option<u32>,
        line: u32,
    },
    Variable(Variable),
    Instruction(Instruction),
    /// An instruction whose operands are not understood.
    Refused(LoadError),
    Block(Block),
    BranchTargets {
        name: String,
        labels: Vec<String>,
    },
    Location {
        at: Spot,
        inlined_at: Option<Spot>,
    },
}

/// File index, line and column.
pub type Spot = (u32, u32, u32);

#[derive(Debug, Clone)]
pub struct Instruction {
    pub guard: Option<Guard>,
    /// `add`, without modifiers.
    pub opcode: String,
    /// `["rn", "f32"]`
    pub modifiers: Vec<String>,
    pub operands: Vec<Operand>,
    pub line: u32,
}

#[derive(Debug, Clone)]
pub struct Guard {
    pub name: String,
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register, label, variable or special register, with a constant offset (`name+8`).
    Name(String, i64),
    /// `!p`
    Not(String),
    Integer(u64),
    /// `0f...`: bits of an f32
    F32(u32),
    /// `0d...` or a decimal literal: bits of an f64
    F64(u64),
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    Vector(Vec<Operand>),
    /// `p|q`
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)` of a call
    List(Vec<Operand>),
    /// `_`
    Sink,
}

impl Instruction {
    /// The instruction as its opcode and modifiers, for messages.
    pub fn mnemonic(&self) -> String {
        let mut text = self.opcode.clone();
        for modifier in &self.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        text
    }
}
