//! Races in global memory within a launch: between warps of a block that no barrier orders, and between blocks.
//!
//! A table, hashed by address, remembers the last write and the last read of each word: launch, block, warp, clock. Entries
//! that collide are replaced, so a race may be missed where a kernel touches far more words than the table has, but none is
//! invented. Blocks are ordered by nothing but their own protocol: a block that has issued a device-wide fence or a strong
//! access is trusted from then on.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Touch;
use super::race::SharedRace;
use crate::error::{Fault, FaultKind};
use crate::exec::memory_ops::Places;
use crate::exec::params::Launch;

/// 3 MB: a table beyond the cache made whole kernels twice as slow.
const SLOTS: usize = 1 << 17;

/// Word address, then the access: launch in 16 bits, block in 20, warp in 6, clock in 21, trusted in 1.
struct Slot {
    word: AtomicU64,
    write: AtomicU64,
    read: AtomicU64,
}

static TABLE: LazyLock<Vec<Slot>> = LazyLock::new(|| {
    let empty = || Slot { word: AtomicU64::new(0), write: AtomicU64::new(0), read: AtomicU64::new(0) };
    (0..SLOTS).map(|_| empty()).collect()
});

pub struct GlobalRace {
    launch: u64,
    block: u64,
    pub fenced: bool,
}

impl GlobalRace {
    pub fn new(launch: &Launch, block: u64) -> Self {
        Self { launch: launch.grid_id & 0xffff, block: block & 0xf_ffff, fenced: false }
    }

    pub fn access(&mut self, part: &Places, touch: Touch, warp: usize, order: &mut SharedRace) -> Result<(), Fault> {
        if matches!(touch, Touch::StrongRead(_) | Touch::StrongWrite(_) | Touch::Atomic(..)) {
            for lane in part.active() {
                order.synchronize(part.addresses[lane], touch, warp);
            }
            order.fence(warp);
            self.fenced = true;
            return Ok(());
        }
        let clock = u64::from(order.clock(warp)) & 0x1f_ffff;
        let me = self.launch << 48 | self.block << 28 | (warp as u64 & 63) << 22 | clock << 1 | u64::from(self.fenced);
        let writes = touch.writes();
        for lane in part.active() {
            let address = part.addresses[lane];
            for word in address / 4..(address + part.bytes as u64).div_ceil(4) {
                let slot = &TABLE[(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47) as usize % SLOTS];
                // Sub-word neighbours belong to different threads often; only whole words are compared.
                let key = word << 1 | u64::from(part.bytes < 4);
                if slot.word.load(Relaxed) != key {
                    slot.word.store(key, Relaxed);
                    slot.write.store(0, Relaxed);
                    slot.read.store(0, Relaxed);
                }
                let compared = part.bytes >= 4;
                let write = slot.write.load(Relaxed);
                if compared && self.conflicts(write, warp, order) {
                    return Err(self.race(
                        address,
                        write,
                        lane,
                        if writes { "write after write" } else { "read after write" },
                    ));
                }
                if writes {
                    let read = slot.read.load(Relaxed);
                    if compared && self.conflicts(read, warp, order) {
                        return Err(self.race(address, read, lane, "write after read"));
                    }
                    slot.write.store(me, Relaxed);
                } else {
                    slot.read.store(me, Relaxed);
                }
            }
        }
        Ok(())
    }

    fn conflicts(&self, other: u64, warp: usize, order: &SharedRace) -> bool {
        if other == 0 || other >> 48 != self.launch {
            return false;
        }
        if other >> 28 & 0xf_ffff != self.block {
            return !self.fenced && other & 1 == 0;
        }
        let (other_warp, clock) = ((other >> 22 & 63) as usize, (other >> 1 & 0x1f_ffff) as u32);
        other_warp != warp && !order.has_seen(warp, other_warp, clock)
    }

    fn race(&self, address: u64, other: u64, lane: usize, what: &str) -> Fault {
        let (block, warp) = (other >> 28 & 0xf_ffff, other >> 22 & 63);
        let message = format!("{what} at 0x{address:x}: block {block} warp {warp} before, with nothing to order them");
        Fault::new(FaultKind::Race, message).at_lane(lane)
    }
}
