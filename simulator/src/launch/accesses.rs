//! Where the lanes of a warp access memory: one address a lane, in one space, and how they lie to each other.
//!
//! Everything that follows an access (bounds, checks, counters, the copy) has a quick way for the pattern of good
//! kernels, lanes on consecutive elements, and asks [`Accesses`] instead of the 32 addresses.

use crate::error::{Fault, FaultKind};
use crate::memory::spaces;
use crate::program::lanes::{FULL, LANES, Lanes, Word};
use crate::program::{NONE, Reg, RegClass};
use crate::ptx::types::Space;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// All 32 lanes, one after the other without gaps.
    Consecutive,
    Scattered,
}

/// Addresses of a warp's lanes within one space. Lanes outside the mask repeat the address of one within.
pub struct Accesses {
    pub space: Space,
    pub mask: u32,
    /// Bytes a lane accesses.
    pub bytes: usize,
    pub pattern: Pattern,
    /// The lowest and the highest address.
    pub low: u64,
    pub high: u64,
    pub addresses: [u64; LANES],
}

/// The 64-bit addresses of `[reg + offset]`; a register of 32 bits is a 32-bit address and wraps as one.
#[inline(always)]
pub fn effective(lanes: &Lanes<'_>, reg: Reg, offset: i64) -> [u64; LANES] {
    let mut addresses = [offset as u64; LANES];
    if reg == NONE {
        return addresses;
    }
    if reg.class() == RegClass::Word {
        let base = u32::read(lanes, reg);
        for i in 0..LANES {
            addresses[i] = base[i].wrapping_add(offset as u32).into();
        }
    } else {
        let base = u64::read(lanes, reg);
        for i in 0..LANES {
            addresses[i] = base[i].wrapping_add(offset as u64);
        }
    }
    addresses
}

impl Accesses {
    /// The places of the lanes of `mask`, which is not empty. (Plain loops: an iterator's `fold` is a call to code
    /// without vector instructions.)
    #[inline(always)]
    pub fn new(space: Space, mut addresses: [u64; LANES], mask: u32, bytes: usize) -> Self {
        if mask != FULL {
            let some = addresses[mask.trailing_zeros() as usize & (LANES - 1)];
            for i in 0..LANES {
                addresses[i] = if mask >> i & 1 == 1 { addresses[i] } else { some };
            }
        }
        let (first, last) = (addresses[0], addresses[LANES - 1]);
        let (mut gaps, mut step) = (0, 0);
        for i in 0..LANES {
            gaps |= addresses[i] ^ first.wrapping_add(step);
            step += bytes as u64;
        }
        let (pattern, mut low, mut high) = if mask == FULL && gaps == 0 && first <= last {
            (Pattern::Consecutive, first, last)
        } else {
            (Pattern::Scattered, first, first)
        };
        if pattern == Pattern::Scattered {
            for i in 0..LANES {
                low = low.min(addresses[i]);
                high = high.max(addresses[i]);
            }
        }
        Self { space, mask, bytes, pattern, low, high, addresses }
    }

    /// A fault where an address is no multiple of the access's size.
    #[inline(always)]
    pub fn check_alignment(&self) -> Result<(), Fault> {
        let mut all = self.low;
        if self.pattern == Pattern::Scattered {
            for i in 0..LANES {
                all |= self.addresses[i];
            }
        }
        if all & (self.bytes as u64 - 1) == 0 { Ok(()) } else { Err(self.misaligned()) }
    }

    /// Takes from `rest` the lanes that point to the same space as its first, for a generic access.
    #[inline(always)]
    pub fn take_one_space(mut addresses: [u64; LANES], rest: &mut u32, bytes: usize) -> Self {
        let first = addresses[rest.trailing_zeros() as usize & (LANES - 1)];
        let (space, base) = spaces::window(first);
        let mut same = 0;
        for i in 0..LANES {
            same |= u32::from(spaces::window(addresses[i]).0 == space) << i;
            addresses[i] = addresses[i].wrapping_sub(base);
        }
        same &= *rest;
        *rest &= !same;
        Self::new(space, addresses, same, bytes)
    }

    #[cold]
    fn misaligned(&self) -> Fault {
        let low = self.bytes as u64 - 1;
        let lane = self.active().find(|&i| self.addresses[i] & low != 0).unwrap_or(0);
        let message = format!("{} bytes at 0x{:x} in {:?} memory", self.bytes, self.addresses[lane], self.space);
        Fault::new(FaultKind::MisalignedAddress, message).at_lane(lane)
    }

    /// The lanes of the mask, in order.
    pub fn active(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.mask;
        std::iter::from_fn(move || {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (lane < LANES).then_some(lane)
        })
    }

    /// Whether all lanes access the same element.
    pub fn uniform(&self) -> bool {
        self.low == self.high
    }

    /// Whether every access ends at or before `end`.
    pub fn within(&self, end: u64) -> bool {
        self.high <= end && self.bytes as u64 <= end - self.high
    }

    /// The first lane whose access ends behind `end`.
    #[cold]
    pub fn beyond(&self, end: u64) -> usize {
        let beyond = |&i: &usize| self.addresses[i] > end || end - self.addresses[i] < self.bytes as u64;
        self.active().find(beyond).unwrap_or(0)
    }
}
