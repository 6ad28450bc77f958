//! PTX text to a tree: lexer, parser, types. Nothing here knows what an instruction does.
//!
//! The grammar follows the PTX ISA 9.x chapters 4 (syntax), 5 (state spaces and types) and 11 (directives). Text comes
//! from outside, so every byte sequence gives a tree or a [`crate::error::LoadError`], never a panic.

mod instruction;
pub mod lexer;
mod parser;
pub mod tree;
pub mod types;
mod variable;

pub use parser::parse;
