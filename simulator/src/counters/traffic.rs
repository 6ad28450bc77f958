//! Memory traffic: sectors and bytes of global memory, wavefronts of shared memory.

use std::collections::HashMap;

use super::{SECTOR_BYTES, Totals};
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, Pattern};
use crate::program::lanes::LANES;

/// Sectors of one page of the set below, a bit each.
const PAGE_WORDS: usize = 8;
const PAGE_SECTORS: u64 = 64 * PAGE_WORDS as u64;

/// What is known of a sector, a bit each: read, written, and the marks of the blocks that touched it.
const READ: u8 = 1;
const WRITTEN: u8 = 2;
const MARKS: usize = 2;
const PLANES: usize = 8;

/// Bits of a page's sectors, one plane for each thing that is known.
type Page = [[u64; PAGE_WORDS]; PLANES];

#[derive(Default)]
pub struct Traffic {
    totals: Totals,
    touched: SectorSet,
    /// Of the block that runs.
    marks: u8,
}

/// A set of sectors as bits, by page. Neighbouring accesses hit the page of the last one.
#[derive(Default)]
struct SectorSet {
    pages: HashMap<u64, usize>,
    bits: Vec<Page>,
    last: Option<(u64, usize)>,
}

/// Numbers of distinct sectors.
pub struct Distinct {
    pub touched: f64,
    pub read: f64,
    pub written: f64,
}

impl SectorSet {
    fn page(&mut self, number: u64) -> &mut Page {
        let index = match self.last {
            Some((last, index)) if last == number => index,
            _ => *self.pages.entry(number).or_insert_with(|| {
                self.bits.push([[0; PAGE_WORDS]; PLANES]);
                self.bits.len() - 1
            }),
        };
        self.last = Some((number, index));
        &mut self.bits[index]
    }

    fn insert(&mut self, sector: u64, known: u8) {
        let at = sector % PAGE_SECTORS;
        let page = self.page(sector / PAGE_SECTORS);
        let mut rest = known;
        while rest != 0 {
            page[rest.trailing_zeros() as usize][at as usize / 64] |= 1 << (at % 64);
            rest &= rest - 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (&number, &index) in &other.pages {
            for (mine, theirs) in self.page(number).iter_mut().zip(&other.bits[index]) {
                mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine |= theirs);
            }
        }
    }

    /// Sectors that only one of an axis's two blocks touched stand for as many as that block does, for each axis; what
    /// both touched, all blocks along the axis share.
    fn distinct(&self, weights: &[f64; 3]) -> Distinct {
        let mut found = Distinct { touched: 0.0, read: 0.0, written: 0.0 };
        for page in &self.bits {
            for word in 0..PAGE_WORDS {
                let (read, written) = (page[0][word], page[1][word]);
                if read | written == 0 {
                    continue;
                }
                for group in 0..8usize {
                    let (mut chosen, mut weight) = (u64::MAX, 1.0);
                    for axis in 0..3 {
                        let one = page[MARKS + 2 * axis][word] ^ page[MARKS + 2 * axis + 1][word];
                        let is_one = group >> axis & 1 == 1;
                        chosen &= if is_one { one } else { !one };
                        weight *= if is_one { weights[axis] } else { 1.0 };
                    }
                    let count = |bits: u64| weight * f64::from((bits & chosen).count_ones());
                    found.touched += count(read | written);
                    found.read += count(read);
                    found.written += count(written);
                }
            }
        }
        found
    }
}

/// Up to 64 numbers without duplicates, kept in order: lanes mostly come in order.
struct Numbers {
    numbers: [u64; 2 * LANES],
    count: usize,
}

impl Numbers {
    fn new() -> Self {
        Self { numbers: [0; 2 * LANES], count: 0 }
    }

    fn insert(&mut self, number: u64) {
        let held = &self.numbers[..self.count];
        let at = held.iter().rposition(|&other| other <= number).map_or(0, |below| below + 1);
        if at > 0 && held[at - 1] == number {
            return;
        }
        self.numbers.copy_within(at..self.count, at + 1);
        self.numbers[at] = number;
        self.count += 1;
    }

    fn as_slice(&self) -> &[u64] {
        &self.numbers[..self.count]
    }
}

impl Traffic {
    /// A block with these marks begins.
    pub fn start_block(&mut self, marks: u8) {
        self.marks = marks << MARKS;
    }

    pub fn global(&mut self, part: &Accesses, touch: Touch) {
        let (reads, writes) = (touch.reads(), touch.writes());
        let known = self.marks | if reads { READ } else { 0 } | if writes { WRITTEN } else { 0 };
        let bytes = part.bytes as u64;
        let asked = bytes * u64::from(part.mask.count_ones());
        let count = match part.pattern {
            Pattern::Consecutive => {
                let (first, last) = (part.low / SECTOR_BYTES, (part.high + bytes - 1) / SECTOR_BYTES);
                (first..=last).for_each(|sector| self.touched.insert(sector, known));
                last - first + 1
            }
            Pattern::Scattered => {
                // An access is aligned to its size, so that two sectors a lane are more than enough.
                let mut sectors = Numbers::new();
                for lane in part.active() {
                    sectors.insert(part.addresses[lane] / SECTOR_BYTES);
                    sectors.insert((part.addresses[lane] + bytes - 1) / SECTOR_BYTES);
                }
                sectors.as_slice().iter().for_each(|&sector| self.touched.insert(sector, known));
                sectors.count as u64
            }
        };
        let t = &mut self.totals;
        t.l2_bytes += count * SECTOR_BYTES;
        if reads {
            t.global_load_requests += 1;
            t.global_load_sectors += count;
            t.global_load_bytes += asked;
        }
        if writes {
            t.global_store_requests += 1;
            t.global_store_sectors += count;
            t.global_store_bytes += asked;
        }
    }

    /// Lanes go through the banks in groups whose bytes fit one pass: 32 lanes of 4 bytes, 16 of 8, 8 of 16.
    pub fn shared(&mut self, part: &Accesses) {
        self.totals.shared_requests += 1;
        let group = (128 / part.bytes.max(4)).min(LANES);
        if part.pattern == Pattern::Consecutive {
            // A group's words are neighbours, at most 32: no two in one bank.
            let passes = (LANES / group) as u64;
            self.totals.shared_wavefronts += passes;
            self.totals.shared_ideal_wavefronts += passes;
            return;
        }
        for first in (0..LANES).step_by(group) {
            let mut words = Numbers::new();
            for lane in (first..first + group).filter(|lane| part.mask >> lane & 1 == 1) {
                let (low, high) = (part.addresses[lane] / 4, (part.addresses[lane] + part.bytes as u64 - 1) / 4);
                (low..=high).for_each(|word| words.insert(word));
            }
            if words.count == 0 {
                continue;
            }
            let mut banks = [0u64; 32];
            words.as_slice().iter().for_each(|word| banks[(word % 32) as usize] += 1);
            self.totals.shared_wavefronts += banks.iter().max().copied().unwrap_or(1);
            self.totals.shared_ideal_wavefronts += (words.count as u64).div_ceil(32);
        }
    }

    pub fn merge(&mut self, other: Self) {
        let (t, o) = (&mut self.totals, &other.totals);
        t.global_load_requests += o.global_load_requests;
        t.global_store_requests += o.global_store_requests;
        t.global_load_sectors += o.global_load_sectors;
        t.global_store_sectors += o.global_store_sectors;
        t.global_load_bytes += o.global_load_bytes;
        t.global_store_bytes += o.global_store_bytes;
        t.l2_bytes += o.l2_bytes;
        t.shared_requests += o.shared_requests;
        t.shared_wavefronts += o.shared_wavefronts;
        t.shared_ideal_wavefronts += o.shared_ideal_wavefronts;
        self.touched.merge(&other.touched);
    }

    /// All but the distinct sectors.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Distinct sectors, where a block of a sample stands for so many along each axis.
    pub fn distinct(&self, weights: &[f64; 3]) -> Distinct {
        self.touched.distinct(weights)
    }
}
