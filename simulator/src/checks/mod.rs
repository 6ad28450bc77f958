//! What compute-sanitizer would say: out of bounds, races, reads of memory nothing wrote, barriers not all reach.
//!
//! `CUDASIM_CHECK=mem,race,init,sync,leak` (or `all`) chooses. Whatever is chosen, an access outside all device memory and
//! a misaligned one are faults, as on hardware.

mod bounds;
mod clocks;
mod global_race;
mod race;
mod shadow;

use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::accesses::{Accesses, Pattern};
pub use crate::launch::{Checks, Touch};
use clocks::Clocks;
use global_race::GlobalRace;
use race::SharedRace;

/// The checks' state for one block.
pub struct BlockChecks {
    /// One bit a byte of shared memory: written.
    shared_written: Vec<u64>,
    race: Option<Box<Race>>,
    /// The allocation hit last, which the next access most likely hits too.
    recent: (u64, u64),
}

struct Race {
    clocks: Clocks,
    shared: SharedRace,
    global: GlobalRace,
}

impl Race {
    /// When the clocks run out, what they dated is forgotten.
    fn wind(&mut self) {
        if self.clocks.worn() {
            self.clocks.restart();
            self.shared.clear();
            self.global.clear();
        }
    }
}

impl BlockChecks {
    pub fn new(launch: &Launch, warps: usize) -> Self {
        let words = if launch.checks.init { launch.shared_bytes().div_ceil(64) + 1 } else { 0 };
        let race = launch.checks.race.then(|| {
            Box::new(Race {
                clocks: Clocks::new(warps),
                shared: SharedRace::new(launch.shared_bytes()),
                global: GlobalRace::new(launch, warps),
            })
        });
        Self { shared_written: vec![0; words], race, recent: (0, 0) }
    }

    /// A block begins: nothing is known of its memory.
    pub fn start(&mut self, block: u64) {
        self.shared_written.fill(0);
        if let Some(race) = &mut self.race {
            race.clocks.restart();
            race.shared.clear();
            race.global.start(block);
        }
    }

    pub fn shared(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<(), Fault> {
        if launch.checks.init {
            self.shared_init(part, touch)?;
        }
        match &mut self.race {
            Some(race) => {
                race.wind();
                race.shared.access(part, touch, warp, &mut race.clocks)
            }
            None => Ok(()),
        }
    }

    fn shared_init(&mut self, part: &Accesses, touch: Touch) -> Result<(), Fault> {
        for lane in part.active() {
            let (at, mask) = (part.addresses[lane] as usize, (1u64 << part.bytes) - 1);
            let (word, bit) = (at / 64, at % 64);
            // Accesses are aligned to their size, so none crosses a word of bits.
            if touch.reads() && self.shared_written[word] >> bit & mask != mask {
                let message = format!("{} bytes at shared 0x{at:x}", part.bytes);
                return Err(Fault::new(FaultKind::Uninitialized, message).at_lane(lane));
            }
            if touch.writes() {
                self.shared_written[word] |= mask << bit;
            }
        }
        Ok(())
    }

    pub fn global(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<(), Fault> {
        bounds::check(part, launch, &mut self.recent)?;
        if launch.checks.init {
            global_init(part, touch, launch)?;
        }
        match &mut self.race {
            Some(race) => {
                race.wind();
                race.global.access(part, touch, warp, &mut race.clocks, launch)
            }
            None => Ok(()),
        }
    }

    pub fn fence(&mut self, warp: usize, wide: bool) {
        if let Some(race) = &mut self.race {
            race.clocks.tick(warp);
            race.global.fenced |= wide;
        }
    }

    pub fn warp_synchronized(&mut self, warp: usize) {
        if let Some(race) = &mut self.race {
            race.clocks.tick(warp);
        }
    }

    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        if let Some(race) = &mut self.race {
            race.clocks.arrive(warp, barrier);
        }
    }

    pub fn pass(&mut self, warp: usize, barrier: usize) {
        if let Some(race) = &mut self.race {
            race.clocks.pass(warp, barrier);
        }
    }

    /// `all`: every thread of the block waited at it.
    pub fn barrier_done(&mut self, barrier: usize, all: bool) {
        if let Some(race) = &mut self.race {
            race.clocks.barrier_done(barrier, all);
        }
    }
}

fn global_init(part: &Accesses, touch: Touch, launch: &Launch) -> Result<(), Fault> {
    let bytes = part.bytes as u64;
    if part.pattern == Pattern::Consecutive {
        let all = bytes * 32;
        if touch.writes() && !touch.reads() {
            launch.memory.mark_written(part.addresses[0], all);
            return Ok(());
        }
        if touch.reads() && launch.memory.is_written(part.addresses[0], all) {
            return Ok(());
        }
    }
    for lane in part.active() {
        if touch.reads() && !launch.memory.is_written(part.addresses[lane], bytes) {
            let message = format!("{bytes} bytes at {}", bounds::name_for(part.addresses[lane], launch));
            return Err(Fault::new(FaultKind::Uninitialized, message).at_lane(lane));
        }
        if touch.writes() {
            launch.memory.mark_written(part.addresses[lane], bytes);
        }
    }
    Ok(())
}
