//! Races in global memory within a launch: between warps of a block that no barrier orders, and between blocks.
//!
//! Warps are compared by the words of lines in a table of the block's latest. A line that needs the place of another
//! replaces it, so a race may be missed where a block goes back to memory long after, but none is invented. Blocks are
//! compared by what each line remembers of the last block to write and to read it. They are ordered by nothing but
//! their own protocol: a block that has issued a device-wide fence or a strong access is trusted from then on.

use super::bounds::name_for;
use super::clocks::{Clocks, View};
use super::shadow::{Record, Shadow};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, Pattern};
use crate::memory::touched::{LINE_BYTES, Touched, Visit};
use crate::program::lanes::LANES;
use crate::program::loops::vectorized;

const LINE_WORDS: usize = LINE_BYTES as usize / 4;
/// 64 KB of memory, 200 KB of table: more would push what the kernel works on out of the cache.
const LINES: usize = 1024;
/// Lines of 4 KB lie together in the table; beyond that they are scattered, as arrays tend to start at round addresses.
const TOGETHER: u32 = 6;
const SCATTER: u64 = 0x9e37_79b1;
/// Bits of a line's number; the block's serial number lies above, so that a new block finds an empty table.
const LINE_BITS: u32 = 42;

pub struct GlobalRace {
    /// Which line each place of the table has.
    tags: Vec<u64>,
    shadow: Shadow,
    serial: u64,
    launch: u64,
    block: u64,
    /// Whether there are other blocks, other warps.
    blocks: bool,
    warps: bool,
    pub fenced: bool,
}

impl GlobalRace {
    pub fn new(launch: &Launch, warps: usize) -> Self {
        let lines = if warps > 1 { LINES } else { 0 };
        Self {
            tags: vec![0; lines],
            shadow: Shadow::new(lines * LINE_WORDS),
            serial: 0,
            launch: launch.grid_id,
            block: 0,
            blocks: launch.blocks() > 1,
            warps: warps > 1,
            fenced: false,
        }
    }

    /// Forgets what the block did.
    pub fn clear(&mut self) {
        self.serial = (self.serial + 1) % (1 << (u64::BITS - LINE_BITS));
        if self.serial == 0 {
            self.tags.fill(0);
            self.serial = 1;
        }
    }

    pub fn start(&mut self, block: u64) {
        self.clear();
        (self.block, self.fenced) = (block, false);
    }

    pub fn access(
        &mut self,
        part: &Accesses,
        touch: Touch,
        warp: usize,
        clocks: &mut Clocks,
        launch: &Launch,
    ) -> Result<(), Fault> {
        if touch.strong() {
            part.active().for_each(|lane| clocks.synchronize(part.addresses[lane], touch, warp));
            clocks.tick(warp);
            self.fenced = true;
            return Ok(());
        }
        let touched = if self.blocks { launch.memory.touched() } else { None };
        compare(self, part, touch, clocks.view(warp), touched).map_err(|found| found.fault(part, launch))
    }

    /// Where the table has a line.
    #[inline(always)]
    fn place(&mut self, line: u64) -> usize {
        let place = line.wrapping_add((line >> TOGETHER).wrapping_mul(SCATTER << TOGETHER)) as usize % LINES;
        let tag = line | self.serial << LINE_BITS;
        if self.tags[place] != tag {
            self.tags[place] = tag;
            self.shadow.clear_line(place);
        }
        place * LINE_WORDS
    }

    /// Words `first..end` of one line.
    #[inline(always)]
    fn line(&mut self, line: u64, words: (usize, usize), access: &Access<'_>) -> Result<(), Found> {
        let (first, end) = words;
        let found = |word: usize, what, who| Found { address: line * LINE_BYTES + 4 * word as u64, what, who };
        if let Some(touched) = access.touched {
            let mask = ((1u32 << end) - (1 << first)) as u16;
            let visit = Visit { launch: self.launch, block: self.block, words: mask, trusted: self.fenced };
            let writes = access.touch.writes();
            if let Some(conflict) = touched.visit(line, visit, writes) {
                return Err(found(conflict.word, conflict.what, format!("block {}", conflict.block)));
            }
        }
        if !self.warps {
            return Ok(());
        }
        let at = self.place(line);
        let mut word = first;
        while word < end {
            let (now, view, touch) = (access.record, access.view, access.touch);
            let (count, outcome) = match (word % 4, end - word) {
                (_, LINE_WORDS) => (LINE_WORDS, self.shadow.touch(at, &[now; LINE_WORDS], view, touch)),
                (0, 4..) => (4, self.shadow.touch(at + word, &[now; 4], view, touch)),
                _ => (1, self.shadow.touch(at + word, &[now], view, touch)),
            };
            outcome.map_err(|(k, conflict)| found(word + k, conflict.what, conflict.earlier.who()))?;
            word += count;
        }
        Ok(())
    }

    /// Bytes `start..end`, line by line. Words that are covered in part are left out: sub-word neighbours often belong
    /// to different threads.
    #[inline(always)]
    fn range(&mut self, start: u64, end: u64, access: &Access<'_>) -> Result<(), Found> {
        let (mut word, end) = (start.div_ceil(4), end / 4);
        while word < end {
            let line = word / LINE_WORDS as u64;
            let stop = end.min((line + 1) * LINE_WORDS as u64);
            let base = line * LINE_WORDS as u64;
            self.line(line, ((word - base) as usize, (stop - base) as usize), access)?;
            word = stop;
        }
        Ok(())
    }
}

struct Access<'a> {
    touch: Touch,
    view: View<'a>,
    record: Record,
    touched: Option<&'a Touched>,
}

/// A race: where, of which kind, with whom.
struct Found {
    address: u64,
    what: &'static str,
    who: String,
}

impl Found {
    fn fault(self, part: &Accesses, launch: &Launch) -> Fault {
        let hit = |&lane: &usize| {
            self.address + 4 > part.addresses[lane] && self.address < part.addresses[lane] + part.bytes as u64
        };
        let lane = part.active().find(hit).unwrap_or(0);
        let message = format!(
            "{} at {}: {} before, with nothing to order them",
            self.what,
            name_for(self.address, launch),
            self.who
        );
        Fault::new(FaultKind::Race, message).at_lane(lane)
    }
}

vectorized! {
    fn compare(
        race: &mut GlobalRace,
        part: &Accesses,
        touch: Touch,
        view: View<'_>,
        touched: Option<&Touched>,
    ) -> Result<(), Found> {
        let access = Access { touch, view, record: Record::new(view, touch).mixed(), touched };
        let bytes = part.bytes as u64;
        if part.pattern == Pattern::Consecutive || part.uniform() {
            return race.range(part.low, part.high + bytes, &access);
        }
        // Neighbouring lanes on neighbouring elements are one range.
        let (mut start, mut end) = (part.addresses[0], part.addresses[0]);
        for lane in 0..LANES {
            let address = part.addresses[lane];
            if address != end {
                race.range(start, end, &access)?;
                start = address;
            }
            end = address + bytes;
        }
        race.range(start, end, &access)
    }
}
