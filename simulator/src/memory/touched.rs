//! Which block last wrote and last read each line of 64 bytes, for the check of races between blocks.
//!
//! One record a line and kind of access: launch, block and which words. A second block that touches other words of the
//! line takes the record over, so a race may be missed on lines that several blocks share, but none is invented.
//! Records are single atomics and name their launch: nothing is locked, and nothing is cleared between launches.

use super::window::Window;

pub const LINE_BYTES: u64 = 64;
const RECORD_BYTES: u64 = 8;

const WORDS: u64 = 0xffff;
const TRUSTED: u64 = 1 << 16;
const BLOCK: u32 = 17;
const BLOCK_MASK: u64 = (1 << 23) - 1;
const LAUNCH: u32 = 40;
/// Launches told from each other; number 0 is none.
const LAUNCHES: u64 = (1 << (u64::BITS - LAUNCH)) - 1;

/// An access of one block to words of a line.
#[derive(Clone, Copy)]
pub struct Visit {
    pub launch: u64,
    pub block: u64,
    pub words: u16,
    /// The block follows a protocol of its own.
    pub trusted: bool,
}

/// An access of another block that nothing orders.
pub struct Conflict {
    pub block: u64,
    pub word: usize,
    pub what: &'static str,
}

/// Records of the lines of one window: write, read, write, read.
struct Lines {
    base: u64,
    size: u64,
    records: Window,
}

pub struct Touched {
    windows: Vec<Lines>,
}

impl Visit {
    fn record(self) -> u64 {
        let launch = self.launch % LAUNCHES + 1;
        let trusted = if self.trusted { TRUSTED } else { 0 };
        launch << LAUNCH | (self.block & BLOCK_MASK) << BLOCK | trusted | u64::from(self.words)
    }
}

fn same_launch(a: u64, b: u64) -> bool {
    a >> LAUNCH == b >> LAUNCH
}

fn same_block(a: u64, b: u64) -> bool {
    a >> BLOCK == b >> BLOCK
}

impl Touched {
    /// For these windows; lines nobody touches cost nothing. `None` if the system grants no room.
    pub fn new(windows: &[&Window]) -> Option<Self> {
        let lines = |window: &&Window| {
            let records = Window::shared_with_host(window.size / LINE_BYTES * 2 * RECORD_BYTES)?;
            Some(Lines { base: window.base, size: window.size, records })
        };
        windows.iter().map(lines).collect::<Option<_>>().map(|windows| Self { windows })
    }

    /// To be called before each launch: when the launches' numbers begin again, their records are forgotten.
    pub fn start(&self, launch: u64) {
        if launch.is_multiple_of(LAUNCHES) {
            self.windows.iter().for_each(|Lines { records, .. }| records.discard(records.base, records.size));
        }
    }

    /// Compares an access to a line (an address over [`LINE_BYTES`]) with other blocks' and remembers it.
    #[inline(always)]
    pub fn visit(&self, line: u64, visit: Visit, writes: bool) -> Option<Conflict> {
        let address = line * LINE_BYTES;
        let lines = self.windows.iter().find(|lines| address.wrapping_sub(lines.base) < lines.size)?;
        let at = lines.records.base + (address - lines.base) / LINE_BYTES * 2 * RECORD_BYTES;
        let (write, read) = (lines.records.load(at, 8), lines.records.load(at + RECORD_BYTES, 8));
        let now = visit.record();
        let against = |other: u64| {
            same_launch(other, now)
                && !same_block(other, now)
                && (other | now) & TRUSTED == 0
                && other & now & WORDS != 0
        };
        if against(write) {
            return Some(conflict(write, now, if writes { "write after write" } else { "read after write" }));
        }
        if writes && against(read) {
            return Some(conflict(read, now, "write after read"));
        }
        let (held, place) = if writes { (write, at) } else { (read, at + RECORD_BYTES) };
        let next = if same_block(held, now) { held | now } else { now };
        if next != held {
            lines.records.store(place, 8, next);
        }
        None
    }
}

#[cold]
fn conflict(other: u64, now: u64, what: &'static str) -> Conflict {
    let word = (other & now & WORDS).trailing_zeros() as usize;
    Conflict { block: other >> BLOCK & BLOCK_MASK, word, what }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES, Touched, Visit};
    use crate::memory::window::Window;

    const VISIT: Visit = Visit { launch: 7, block: 3, words: 0b0011, trusted: false };

    #[test]
    fn blocks_conflict_on_common_words_of_one_launch() {
        let window = Window::shared_with_host(1 << 16).expect("64 KB can be mapped");
        let touched = Touched::new(&[&window]).expect("and their records");
        let line = window.base / LINE_BYTES + 5;
        assert!(touched.visit(line, VISIT, true).is_none());
        // The same block again, other words, another launch, a block with a protocol of its own: nothing.
        for free in [
            VISIT,
            Visit { block: 4, words: 0b1100, ..VISIT },
            Visit { launch: 8, block: 4, ..VISIT },
            Visit { block: 4, trusted: true, ..VISIT },
        ] {
            assert!(touched.visit(line, free, false).is_none());
        }
        let other = Visit { block: 4, words: 0b0110, ..VISIT };
        let read = touched.visit(line, other, false).expect("a race");
        assert_eq!((read.block, read.word, read.what), (3, 1, "read after write"));
        assert_eq!(touched.visit(line, other, true).map(|c| c.what), Some("write after write"));
        assert!(touched.visit(line + 1, other, true).is_none());
    }

    #[test]
    fn a_write_conflicts_with_another_blocks_read() {
        let window = Window::shared_with_host(1 << 16).expect("64 KB can be mapped");
        let touched = Touched::new(&[&window]).expect("and their records");
        let line = window.base / LINE_BYTES;
        assert!(touched.visit(line, VISIT, false).is_none());
        let other = Visit { block: 4, ..VISIT };
        assert_eq!(touched.visit(line, other, true).map(|c| c.what), Some("write after read"));
        touched.start(u64::from(u32::MAX >> 8));
        assert!(touched.visit(line, other, true).is_none(), "forgotten when the numbers of launches begin again");
    }
}
