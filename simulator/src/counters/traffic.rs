//! Memory traffic: sectors and bytes of global memory, wavefronts of shared memory.

use std::collections::HashMap;

use super::{SECTOR_BYTES, Totals};
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, Pattern};
use crate::program::lanes::LANES;

/// Sectors of one page of the set below, a bit each.
const PAGE_WORDS: usize = 8;
const PAGE_SECTORS: u64 = 64 * PAGE_WORDS as u64;

#[derive(Default)]
pub struct Traffic {
    totals: Totals,
    touched: SectorSet,
}

/// A set of sectors as bits, by page. Neighbouring accesses hit the page of the last one.
#[derive(Default)]
struct SectorSet {
    pages: HashMap<u64, usize>,
    bits: Vec<[u64; PAGE_WORDS]>,
    last: Option<(u64, usize)>,
}

impl SectorSet {
    fn page(&mut self, number: u64) -> &mut [u64; PAGE_WORDS] {
        let index = match self.last {
            Some((last, index)) if last == number => index,
            _ => *self.pages.entry(number).or_insert_with(|| {
                self.bits.push([0; PAGE_WORDS]);
                self.bits.len() - 1
            }),
        };
        self.last = Some((number, index));
        &mut self.bits[index]
    }

    fn insert(&mut self, sector: u64) {
        let at = sector % PAGE_SECTORS;
        self.page(sector / PAGE_SECTORS)[at as usize / 64] |= 1 << (at % 64);
    }

    fn merge(&mut self, other: &Self) {
        for (&number, &index) in &other.pages {
            self.page(number).iter_mut().zip(&other.bits[index]).for_each(|(mine, theirs)| *mine |= theirs);
        }
    }

    fn len(&self) -> u64 {
        self.bits.iter().flatten().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Up to 64 numbers without duplicates, kept in order: lanes mostly come in order.
struct Distinct {
    numbers: [u64; 2 * LANES],
    count: usize,
}

impl Distinct {
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
    pub fn global(&mut self, part: &Accesses, touch: Touch) {
        let bytes = part.bytes as u64;
        let asked = bytes * u64::from(part.mask.count_ones());
        let count = match part.pattern {
            Pattern::Consecutive => {
                let (first, last) = (part.low / SECTOR_BYTES, (part.high + bytes - 1) / SECTOR_BYTES);
                (first..=last).for_each(|sector| self.touched.insert(sector));
                last - first + 1
            }
            Pattern::Scattered => {
                // An access is aligned to its size, so that two sectors a lane are more than enough.
                let mut sectors = Distinct::new();
                for lane in part.active() {
                    sectors.insert(part.addresses[lane] / SECTOR_BYTES);
                    sectors.insert((part.addresses[lane] + bytes - 1) / SECTOR_BYTES);
                }
                sectors.as_slice().iter().for_each(|&sector| self.touched.insert(sector));
                sectors.count as u64
            }
        };
        let t = &mut self.totals;
        t.l2_bytes += count * SECTOR_BYTES;
        if touch.reads() {
            t.global_load_requests += 1;
            t.global_load_sectors += count;
            t.global_load_bytes += asked;
        }
        if touch.writes() {
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
            let mut words = Distinct::new();
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

    pub fn totals(&self) -> Totals {
        Totals { distinct_sectors: self.touched.len(), ..self.totals.clone() }
    }
}
