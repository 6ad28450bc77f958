//! Names and what they stand for, scope by scope.

use std::collections::HashMap;

use crate::program::Reg;
use crate::ptx::types::Type;

/// What a name of a function's body stands for.
#[derive(Debug, Clone)]
pub enum Symbol {
    Register {
        regs: Vec<Reg>,
        bits: u32,
    },
    /// `%r<45>`: a register for each number below the count, made when first named.
    Family {
        ty: Type,
        vector: usize,
        count: u32,
    },
    Label(u32),
    Targets(Vec<String>),
    /// Byte offset in the launch's parameters.
    EntryParam(usize),
    /// Byte offset and size in the thread's frame.
    Frame {
        offset: usize,
        bytes: usize,
    },
    Shared(usize),
    /// `extern .shared x[]`: starts where static shared memory ends.
    DynamicShared,
    /// A global or constant variable.
    Address(u64),
    Function(usize),
}

/// Scopes from the outermost to the innermost.
#[derive(Default)]
pub struct Scopes(Vec<HashMap<String, Symbol>>);

impl Scopes {
    pub fn open(&mut self) {
        self.0.push(HashMap::new());
    }

    pub fn close(&mut self) {
        self.0.pop();
    }

    /// Declares in the innermost scope; `false` if the name is taken there.
    pub fn declare(&mut self, name: &str, symbol: Symbol) -> bool {
        match self.0.last_mut() {
            Some(scope) => scope.insert(name.to_owned(), symbol).is_none(),
            None => false,
        }
    }

    /// Finds a name; a member of a register family is made by `make` and remembered beside its family.
    pub fn find(&mut self, name: &str, make: impl FnOnce(Type, usize) -> Symbol) -> Option<Symbol> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (prefix, number) = name.split_at(name.len() - digits);
        for scope in self.0.iter_mut().rev() {
            if let Some(symbol) = scope.get(name) {
                return Some(symbol.clone());
            }
            let canonical = number == "0" || !number.starts_with('0');
            if let (Some(Symbol::Family { ty, vector, count }), Ok(number)) = (scope.get(prefix), number.parse::<u32>())
                && number < *count
                && canonical
            {
                let symbol = make(*ty, *vector);
                scope.insert(name.to_owned(), symbol.clone());
                return Some(symbol);
            }
        }
        None
    }
}
