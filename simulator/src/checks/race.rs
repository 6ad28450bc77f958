//! Races in shared memory: accesses of two threads to one word, one of them a write, that nothing orders.
//!
//! Order is kept in vector clocks, one entry a warp (FastTrack, Flanagan and Freund 2009, at warp granularity). Barriers
//! join the clocks of those who come; atomics and strong accesses join through the word they touch, so that locks and flags
//! order what they guard. Within a warp, lanes are ordered by `__syncwarp` and barriers only. A word remembers its last
//! write and the last reads of two warps: with three or more readers some one is still found, though not each.

use std::collections::HashMap;

use super::Touch;
use crate::error::{Fault, FaultKind};
use crate::exec::memory_ops::Places;
use crate::exec::sync::BARRIERS;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Clock of the access; 0 is none.
    clock: u32,
    warp: u8,
    lane: u8,
    /// Bytes of the word.
    bytes: u8,
    atomic: bool,
}

/// A copy in flight: ordered before nothing until its wait.
const IN_FLIGHT: u32 = u32::MAX;

#[derive(Clone, Default)]
struct Word {
    write: Record,
    reads: [Record; 2],
}

type Clock = Vec<u32>;

pub struct SharedRace {
    clocks: Vec<Clock>,
    barriers: [Option<Clock>; BARRIERS],
    /// What a word that threads synchronise through has been released with.
    released: HashMap<u64, Clock>,
    words: Vec<Word>,
}

fn join(into: &mut Clock, other: &Clock) {
    into.iter_mut().zip(other).for_each(|(a, &b)| *a = (*a).max(b));
}

impl SharedRace {
    pub fn new(warps: usize, bytes: usize) -> Self {
        let clocks = (0..warps).map(|w| (0..warps).map(|o| u32::from(o == w)).collect()).collect();
        let words = vec![Word::default(); bytes.div_ceil(4)];
        Self { clocks, barriers: Default::default(), released: HashMap::new(), words }
    }

    fn tick(&mut self, warp: usize) {
        self.clocks[warp][warp] += 1;
    }

    pub fn warp_synchronized(&mut self, warp: usize) {
        self.tick(warp);
    }

    pub fn fence(&mut self, warp: usize) {
        self.tick(warp);
    }

    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        let clock = &self.clocks[warp];
        match &mut self.barriers[barrier] {
            Some(joined) => join(joined, clock),
            slot => *slot = Some(clock.clone()),
        }
        self.tick(warp);
    }

    pub fn pass(&mut self, warp: usize, barrier: usize) {
        if let Some(joined) = &self.barriers[barrier] {
            join(&mut self.clocks[warp], joined);
        }
        self.tick(warp);
    }

    pub fn barrier_done(&mut self, barrier: usize) {
        self.barriers[barrier] = None;
    }

    /// Whether an earlier access is ordered before one of this thread now.
    fn ordered(&self, earlier: Record, warp: usize, lane: usize) -> bool {
        if earlier.clock == 0 {
            return true;
        }
        let seen = self.clocks[warp][earlier.warp as usize];
        if earlier.warp as usize == warp {
            return (earlier.lane as usize == lane && earlier.clock != IN_FLIGHT) || earlier.clock < seen;
        }
        earlier.clock <= seen
    }

    /// Joins through a synchronising word.
    pub fn synchronize(&mut self, word: u64, touch: Touch, warp: usize) {
        if matches!(touch, Touch::StrongRead(_) | Touch::Atomic(..))
            && let Some(released) = self.released.get(&word)
        {
            join(&mut self.clocks[warp], released);
        }
        if matches!(touch, Touch::StrongWrite(_) | Touch::Atomic(..)) {
            let clock = self.clocks[warp].clone();
            self.released.entry(word).and_modify(|r| join(r, &clock)).or_insert(clock);
        }
    }

    pub fn access(&mut self, part: &Places, touch: Touch, warp: usize) -> Result<(), Fault> {
        let strong = matches!(touch, Touch::StrongRead(_) | Touch::StrongWrite(_) | Touch::Atomic(..));
        for lane in part.active() {
            let address = part.addresses[lane];
            if strong {
                self.synchronize(address / 4, touch, warp);
            }
            for word in address / 4..(address + part.bytes as u64).div_ceil(4) {
                let low = address.max(word * 4) - word * 4;
                let high = (address + part.bytes as u64).min(word * 4 + 4) - word * 4;
                let bytes = ((1u8 << high) - 1) & !((1u8 << low) - 1);
                let mut record = Record {
                    clock: self.clocks[warp][warp],
                    warp: warp as u8,
                    lane: lane as u8,
                    bytes,
                    atomic: strong,
                };
                if touch == Touch::BeginCopy {
                    record.clock = IN_FLIGHT;
                }
                self.word_access(word as usize, record, touch)?;
            }
        }
        if strong {
            // What comes after a release is not covered by it.
            self.tick(warp);
        }
        Ok(())
    }

    fn word_access(&mut self, at: usize, record: Record, touch: Touch) -> Result<(), Fault> {
        let Some(word) = self.words.get(at) else { return Ok(()) };
        let writes = touch.writes() || touch == Touch::BeginCopy;
        // A write forgets the reads before it, so a read that is still there was checked against the same write.
        if !writes && word.reads.contains(&record) {
            return Ok(());
        }
        let (warp, lane) = (record.warp as usize, record.lane as usize);
        let conflicts = |earlier: Record| {
            earlier.bytes & record.bytes != 0
                && !(earlier.atomic && record.atomic)
                && !self.ordered(earlier, warp, lane)
        };
        let write = word.write;
        // Lanes of one instruction may store to one word: which wins is unspecified, but it is no race.
        let same_step = writes && write.warp == record.warp && write.clock == record.clock;
        let own_copy = touch == Touch::EndCopy && (write.warp, write.lane) == (record.warp, record.lane);
        if conflicts(write) && !same_step && !own_copy {
            return Err(race(at, write, record, if writes { "write after write" } else { "read after write" }));
        }
        if writes
            && !own_copy
            && let Some(&read) = word.reads.iter().find(|&&read| conflicts(read))
        {
            return Err(race(at, read, record, "write after read"));
        }
        let word = &mut self.words[at];
        if writes {
            word.write = record;
            word.reads = Default::default();
        } else {
            let slot = usize::from(word.reads[0].clock != 0 && word.reads[0].warp != record.warp);
            word.reads[slot] = record;
        }
        Ok(())
    }

    pub fn clock(&self, warp: usize) -> u32 {
        self.clocks[warp][warp]
    }

    /// Whether a warp has seen another's clock.
    pub fn has_seen(&self, warp: usize, other: usize, clock: u32) -> bool {
        self.clocks[warp].get(other).is_some_and(|&seen| seen >= clock)
    }
}

fn race(word: usize, earlier: Record, now: Record, what: &str) -> Fault {
    let flight = if earlier.clock == IN_FLIGHT { " by a cp.async nobody waited for" } else { "" };
    let message = format!(
        "{what} at shared 0x{:x}: warp {} lane {}{flight}, then warp {} lane {}, with nothing to order them",
        word * 4,
        earlier.warp,
        earlier.lane,
        now.warp,
        now.lane
    );
    Fault::new(FaultKind::Race, message).at_lane(now.lane.into())
}
