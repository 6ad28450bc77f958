//! What is remembered of each word of memory: its last write and the last reads of two warps, a packed number each.
//!
//! With three or more readers some one is still found, though not each. Words are compared many at a time, by two
//! comparisons that settle nearly every access: the record is old, or the thread's own. Only where that fails is a word
//! looked at closely.

use super::Touch;
use super::clocks::View;

/// Clock in 16 bits, then flags, warp in 5, lane in 5, bytes of the word in 4. Nothing is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record(u32);

const CLOCK: u32 = 16;
/// Several lanes of the warp; which does not matter or is not known.
const MIXED: u32 = 1 << 15;
const ATOMIC: u32 = 1 << 14;
const WARP: u32 = 9;
const WARP_MASK: u32 = 31 << WARP;
const LANE: u32 = 4;
const LANE_MASK: u32 = 31 << LANE;
pub const WHOLE: u32 = 15;
/// A copy in flight: ordered before nothing until its wait.
const IN_FLIGHT: u32 = 0xffff << CLOCK;

impl Record {
    /// Of lane 0, for all bytes of the word.
    pub fn new(view: View<'_>, touch: Touch) -> Self {
        let atomic = if touch.strong() { ATOMIC } else { 0 };
        let clock = if touch == Touch::BeginCopy { IN_FLIGHT } else { view.own << CLOCK };
        Self(clock | atomic | (view.warp as u32) << WARP | WHOLE)
    }

    #[inline(always)]
    pub fn lane(self, lane: usize) -> Self {
        Self(self.0 | (lane as u32) << LANE)
    }

    pub fn mixed(self) -> Self {
        Self(self.0 | MIXED)
    }

    pub fn bytes(self, bytes: u32) -> Self {
        Self(self.0 & !WHOLE | bytes)
    }

    pub fn warp_index(self) -> usize {
        ((self.0 & WARP_MASK) >> WARP) as usize
    }

    pub fn in_flight(self) -> bool {
        self.0 >= IN_FLIGHT
    }

    /// "warp 1 lane 2", as far as it is known.
    pub fn who(self) -> String {
        let warp = self.warp_index();
        if self.0 & MIXED != 0 { format!("warp {warp}") } else { format!("warp {warp} lane {}", self.lane_index()) }
    }

    fn lane_index(self) -> u32 {
        (self.0 & LANE_MASK) >> LANE
    }

    fn same_thread(self, other: Self) -> bool {
        (self.0 ^ other.0) & (WARP_MASK | LANE_MASK) == 0
    }

    /// Whether an earlier access by `self` comes before one by `now`.
    fn ordered(self, now: Self, view: View<'_>) -> bool {
        let clock = self.0 >> CLOCK;
        if self.warp_index() != view.warp {
            return clock <= view.seen.get(self.warp_index()).copied().unwrap_or(0);
        }
        !self.in_flight() && (clock < view.own || self.0 & MIXED != 0 || self.same_thread(now))
    }

    fn conflicts(self, now: Self, view: View<'_>) -> bool {
        self.0 & now.0 & WHOLE != 0 && self.0 & now.0 & ATOMIC == 0 && !self.ordered(now, view)
    }

    /// Of the same warp between the same two synchronisations.
    fn same_step(self, now: Self) -> bool {
        (self.0 ^ now.0) & !(MIXED | LANE_MASK | WHOLE) == 0
    }

    /// `now` in place of this, or both where they are parts of one step.
    fn merged(self, now: Self) -> Self {
        if !self.same_step(now) || self.0 & !now.0 & WHOLE == 0 {
            return now;
        }
        let both = Self(now.0 | self.0 & (WHOLE | MIXED));
        if self.same_thread(now) { both } else { both.mixed() }
    }
}

/// An earlier access that nothing orders before the one at hand.
pub struct Conflict {
    pub earlier: Record,
    pub what: &'static str,
}

#[derive(Default)]
pub struct Shadow {
    write: Vec<u32>,
    reads: [Vec<u32>; 2],
}

impl Shadow {
    pub fn new(words: usize) -> Self {
        Self { write: vec![0; words], reads: [vec![0; words], vec![0; words]] }
    }

    pub fn clear(&mut self) {
        self.write.fill(0);
        self.reads.iter_mut().for_each(|reads| reads.fill(0));
    }

    pub fn clear_range(&mut self, at: usize, words: usize) {
        self.write[at..at + words].fill(0);
        self.reads.iter_mut().for_each(|reads| reads[at..at + words].fill(0));
    }

    /// `N` whole words from `at` on are accessed, each by its record. A conflict is given with its word's number among them.
    #[inline(always)]
    pub fn touch<const N: usize>(
        &mut self,
        at: usize,
        now: &[Record; N],
        view: View<'_>,
        touch: Touch,
    ) -> Result<(), (usize, Conflict)> {
        if self.try_touch(at, now, view, touch) {
            return Ok(());
        }
        (0..N).try_for_each(|k| self.word(at + k, now[k], view, touch).map_err(|conflict| (k, conflict)))
    }

    /// The quick way: `false`, and nothing changed, where some word needs a closer look.
    #[inline(always)]
    fn try_touch<const N: usize>(&mut self, at: usize, now: &[Record; N], view: View<'_>, touch: Touch) -> bool {
        let [first, second] = &mut self.reads;
        let (Some(write), Some(first), Some(second)) = (
            self.write.get_mut(at..).and_then(|words| words.first_chunk_mut::<N>()),
            first.get_mut(at..).and_then(|words| words.first_chunk_mut::<N>()),
            second.get_mut(at..).and_then(|words| words.first_chunk_mut::<N>()),
        ) else {
            return true;
        };
        if touch == Touch::EndCopy {
            let mine = (0..N).fold(true, |mine, k| mine & (write[k] == now[k].0 | IN_FLIGHT));
            if mine {
                *write = now.map(|record| record.0);
            }
            return mine;
        }
        let (old, own) = ((view.floor + 1) << CLOCK, view.own << CLOCK);
        let fine = |earlier: u32, now: u32| {
            let differ = earlier ^ now;
            let thread = (differ & LANE_MASK == 0) | (earlier & MIXED != 0) | (earlier < own);
            (earlier < old)
                | ((differ & WARP_MASK == 0) & thread & (earlier < IN_FLIGHT))
                | (earlier & now & ATOMIC != 0)
        };
        let mut all = (0..N).fold(true, |all, k| all & fine(write[k], now[k].0));
        if !touch.modifies() {
            if all {
                for k in 0..N {
                    let (now, held) = (now[k].0, first[k]);
                    let replace = (held < old) | ((held ^ now) & WARP_MASK == 0);
                    first[k] = if replace { now } else { held };
                    second[k] = if replace { second[k] } else { now };
                }
            }
            return all;
        }
        all = (0..N).fold(all, |all, k| all & fine(first[k], now[k].0) & fine(second[k], now[k].0));
        if all {
            *write = now.map(|record| record.0);
            (*first, *second) = ([0; N], [0; N]);
        }
        all
    }

    /// One word, looked at closely.
    pub fn word(&mut self, at: usize, now: Record, view: View<'_>, touch: Touch) -> Result<(), Conflict> {
        let Some(&write) = self.write.get(at) else { return Ok(()) };
        let (write, modifies) = (Record(write), touch.modifies());
        // Lanes of one instruction may store to one word: which wins is unspecified, but it is no race.
        let same_step = modifies && write.same_step(now);
        let own_copy = touch == Touch::EndCopy && write.in_flight() && write.same_thread(now);
        if !same_step && !own_copy && write.conflicts(now, view) {
            let what = if modifies { "write after write" } else { "read after write" };
            return Err(Conflict { earlier: write, what });
        }
        let reads = self.reads.each_mut().map(|reads| &mut reads[at]);
        if !modifies {
            let other = *reads[0] != 0 && Record(*reads[0]).warp_index() != view.warp;
            let slot = &mut *reads[usize::from(other)];
            *slot = Record(*slot).merged(now).0;
            return Ok(());
        }
        if !own_copy && let Some(read) = reads.iter().map(|read| Record(**read)).find(|read| read.conflicts(now, view))
        {
            return Err(Conflict { earlier: read, what: "write after read" });
        }
        self.write[at] = write.merged(now).0;
        if now.0 & WHOLE == WHOLE {
            self.reads.iter_mut().for_each(|reads| reads[at] = 0);
        }
        Ok(())
    }
}
