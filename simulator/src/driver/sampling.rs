//! Launches that are not run because others like them were (`CUDASIM_SAMPLE`).
//!
//! Alike are launches of one kernel with the same grid, block, shared memory and numbers among their parameters. Where
//! pointers lead does not matter but for whether there are any, and structures passed by value do not either: a
//! program whose work depends on what is in them says so by its rule.

use std::collections::HashMap;

use super::state::Driver;
use super::work::{Kernel, Work};
use crate::counters::report::Line;
use crate::memory::Memory;

/// What tells launches apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Likeness {
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    arguments: Vec<Option<u64>>,
}

/// Counts by launch.
#[derive(Default)]
pub struct Counted(HashMap<Likeness, Line>);

impl Kernel {
    /// The parameters that are numbers, null pointers among them; nothing in the place of pointers to allocations and
    /// of structures.
    pub fn scalars(&self, memory: &Memory) -> Vec<Option<u64>> {
        let value = |&(offset, size): &(usize, usize)| {
            let bytes = self.params.get(offset..offset + size)?;
            let number = match size {
                1 => bytes[0].into(),
                2 => u16::from_le_bytes(bytes.try_into().ok()?).into(),
                4 => u32::from_le_bytes(bytes.try_into().ok()?).into(),
                8 => u64::from_le_bytes(bytes.try_into().ok()?),
                _ => return None,
            };
            (size < 8 || memory.find(number).is_none()).then_some(number)
        };
        self.program.params.iter().map(value).collect()
    }

    fn likeness(&self, memory: &Memory) -> Likeness {
        let Self { program, grid, block, dynamic_shared, .. } = self;
        let (grid, block, dynamic_shared) = (*grid, *block, *dynamic_shared);
        Likeness { kernel: program.name.clone(), grid, block, dynamic_shared, arguments: self.scalars(memory) }
    }
}

impl Driver {
    fn repeatable<'w>(&self, work: &'w Work) -> Option<&'w Kernel> {
        match work {
            Work::Kernel(kernel) if self.settings.sampling.repeats(&kernel.program.name) => Some(kernel),
            _ => None,
        }
    }

    /// What a launch counts, if one like it has run and it need not.
    pub(super) fn known(&self, work: &Work) -> Option<Line> {
        let likeness = self.repeatable(work)?.likeness(&self.memory);
        let line = self.counted.0.get(&likeness)?.clone();
        Some(Line { is_repeated: true, ..line })
    }

    /// Keeps what a launch counted for those like it.
    pub(super) fn remember(&mut self, work: &Work, line: &Line) {
        if let Some(kernel) = self.repeatable(work).filter(|_| !line.is_repeated) {
            self.counted.0.insert(kernel.likeness(&self.memory), line.clone());
        }
    }
}
