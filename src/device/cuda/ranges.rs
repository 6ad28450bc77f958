//! Named ranges for NVIDIA's profilers: a step, in it its passes, in a pass its parts.

use cudarc::nvtx;

/// A range of a level lasts until the next of that level, or of one around it, begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Step,
    Pass,
    Part,
}

/// What is open by level.
#[derive(Debug, Default)]
struct Open([bool; 3]);

impl Open {
    /// Opens a range of `level`; how many have to be closed for it.
    fn begin(&mut self, level: Level) -> usize {
        let from = level as usize;
        let closed = self.0[from..].iter().filter(|open| **open).count();
        self.0[from..].fill(false);
        self.0[from] = true;
        closed
    }
}

pub(crate) struct Ranges {
    /// A profiler's library is there to tell.
    active: bool,
    open: Open,
}

impl Ranges {
    pub(crate) fn new() -> Self {
        // SAFETY: the library of NVIDIA's profilers; its initialisers look for a profiler and do nothing without one.
        let active = unsafe { nvtx::sys::is_culib_present() };
        Self { active, open: Open::default() }
    }

    pub(crate) fn enter(&mut self, level: Level, name: impl ToString) {
        if !self.active {
            return;
        }
        for _ in 0..self.open.begin(level) {
            nvtx::result::range_pop();
        }
        nvtx::result::range_push(name.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_what_is_around_it() {
        let mut open = Open::default();
        let levels =
            [Level::Step, Level::Pass, Level::Part, Level::Part, Level::Pass, Level::Part, Level::Step, Level::Part];
        assert_eq!(levels.map(|level| open.begin(level)), [0, 0, 0, 1, 2, 0, 3, 0]);
    }
}
