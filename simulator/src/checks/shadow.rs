//! What is remembered of each word of memory: its last write and the last reads of two warps, a packed number each.
//!
//! With three or more readers some one is still found, though not each. Words are compared many at a time: first, which
//! settles nearly every access, whether all records are old; then whether they are the thread's own. Only where that
//! fails is a word looked at closely.

use super::clocks::View;
use crate::launch::Touch;

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

/// Words of a line.
pub const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    write: [u32; LINE],
    reads: [[u32; LINE]; 2],
}

const EMPTY: Line = Line { write: [0; LINE], reads: [[0; LINE]; 2] };

#[derive(Default)]
pub struct Shadow {
    lines: Vec<Line>,
}

/// `yes` where the condition holds, all of `no` where not; of bits, so that it is a vector blend.
#[inline(always)]
fn choose(condition: bool, yes: u32, no: u32) -> u32 {
    let mask = u32::from(condition).wrapping_neg();
    (yes & mask) | (no & !mask)
}

/// What the records of `N` words are compared with.
#[derive(Clone, Copy)]
struct Bounds {
    /// Below it a record is ordered before the warp, whoever's it is.
    old: u32,
    /// Below it a record of the warp itself is.
    own: u32,
}

impl Bounds {
    /// Whether no record needs a closer look.
    #[inline(always)]
    fn pass<const N: usize>(self, records: &[u32; N], now: &[Record; N]) -> bool {
        let mut any = 0;
        for &record in records {
            any |= u32::from(record >= self.old);
        }
        any == 0 || self.are_own(records, now)
    }

    fn are_own<const N: usize>(self, records: &[u32; N], now: &[Record; N]) -> bool {
        records.iter().zip(now).all(|(&earlier, now)| {
            let differ = earlier ^ now.0;
            let thread = differ & LANE_MASK == 0 || earlier & MIXED != 0 || earlier < self.own;
            let own = differ & WARP_MASK == 0 && thread && earlier < IN_FLIGHT;
            earlier < self.old || own || earlier & now.0 & ATOMIC != 0
        })
    }
}

/// The part of a line from a word on. `N` divides its number, so that it fits.
#[inline(always)]
fn part<const N: usize>(words: &mut [u32; LINE], first: usize) -> &mut [u32; N] {
    words[first..].first_chunk_mut().expect("N words fit a line from a multiple of N on")
}

impl Shadow {
    pub fn new(words: usize) -> Self {
        Self { lines: vec![EMPTY; words.div_ceil(LINE)] }
    }

    pub fn clear(&mut self) {
        self.lines.fill(EMPTY);
    }

    pub fn clear_line(&mut self, line: usize) {
        self.lines[line] = EMPTY;
    }

    /// `N` whole words of one line are accessed, each by its record; `at` is a multiple of `N`. A conflict is given
    /// with its word's number among them.
    #[inline(always)]
    pub fn touch<const N: usize>(
        &mut self,
        at: usize,
        now: &[Record; N],
        view: View<'_>,
        touch: Touch,
    ) -> Result<(), (usize, Conflict)> {
        let Some(line) = self.lines.get_mut(at / LINE) else { return Ok(()) };
        if line.touch(at % LINE / N * N, now, view, touch) {
            return Ok(());
        }
        (0..N).try_for_each(|k| self.word(at + k, now[k], view, touch).map_err(|conflict| (k, conflict)))
    }
    /// One word, looked at closely.
    pub fn word(&mut self, at: usize, now: Record, view: View<'_>, touch: Touch) -> Result<(), Conflict> {
        let Some(line) = self.lines.get_mut(at / LINE) else { return Ok(()) };
        let at = at % LINE;
        let (write, modifies) = (Record(line.write[at]), touch.modifies());
        // Lanes of one instruction may store to one word: which wins is unspecified, but it is no race.
        let same_step = modifies && write.same_step(now);
        let own_copy = touch == Touch::EndCopy && write.in_flight() && write.same_thread(now);
        if !same_step && !own_copy && write.conflicts(now, view) {
            let what = if modifies { "write after write" } else { "read after write" };
            return Err(Conflict { earlier: write, what });
        }
        let reads = line.reads.each_mut().map(|reads| &mut reads[at]);
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
        line.write[at] = write.merged(now).0;
        if now.0 & WHOLE == WHOLE {
            line.reads.iter_mut().for_each(|reads| reads[at] = 0);
        }
        Ok(())
    }
}

impl Line {
    /// The quick way: `false`, and nothing changed, where some word needs a closer look.
    #[inline(always)]
    fn touch<const N: usize>(&mut self, first: usize, now: &[Record; N], view: View<'_>, touch: Touch) -> bool {
        let write = part::<N>(&mut self.write, first);
        let [one, two] = self.reads.each_mut().map(|reads| part::<N>(reads, first));
        if touch == Touch::EndCopy {
            let mut differ = 0;
            for k in 0..N {
                differ |= write[k] ^ (now[k].0 | IN_FLIGHT);
            }
            if differ == 0 {
                *write = now.map(|record| record.0);
            }
            return differ == 0;
        }
        let bounds = Bounds { old: (view.floor + 1) << CLOCK, own: view.own << CLOCK };
        if !bounds.pass(write, now) {
            return false;
        }
        if touch.modifies() {
            let pass = bounds.pass(one, now) && bounds.pass(two, now);
            if pass {
                *write = now.map(|record| record.0);
                (*one, *two) = ([0; N], [0; N]);
            }
            return pass;
        }
        for k in 0..N {
            let (now, held) = (now[k].0, one[k]);
            let replace = (held < bounds.old) | ((held ^ now) & WARP_MASK == 0);
            one[k] = choose(replace, now, held);
            two[k] = choose(replace, two[k], now);
        }
        true
    }
}
