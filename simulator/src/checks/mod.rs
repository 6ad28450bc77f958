//! What compute-sanitizer would say: out of bounds, races, reads of memory nothing wrote, barriers not all reach.
//!
//! `CUDASIM_CHECK=mem,race,init,sync,leak` (or `all`) chooses. Whatever is chosen, an access outside all device memory
//! and a misaligned one are faults, as on hardware.

mod bounds;
mod clocks;
mod global_race;
mod race;
mod shadow;

use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::accesses::{Accesses, Pattern};
pub use crate::launch::{Checks, Touch};
use crate::ptx::types::Space;
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
        let words = if launch.checks.init { launch.all_shared_bytes().div_ceil(64) + 1 } else { 0 };
        let race = launch.checks.race.then(|| {
            Box::new(Race {
                clocks: Clocks::new(warps),
                shared: SharedRace::new(launch.all_shared_bytes()),
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

    /// The lanes that read what nothing wrote.
    pub fn shared(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        let unwritten = if launch.checks.init { self.shared_init(part, touch) } else { 0 };
        if let Some(race) = &mut self.race {
            race.wind();
            race.shared.access(part, touch, warp, &mut race.clocks)?;
        }
        Ok(unwritten)
    }

    /// Rows of `ldmatrix` and `stmatrix`: which of them read what nothing wrote.
    pub fn rows(
        &mut self,
        part: &Accesses,
        touch: Touch,
        transposed: bool,
        warp: usize,
        launch: &Launch,
    ) -> Result<u32, Fault> {
        let unwritten = if launch.checks.init { self.shared_init(part, touch) } else { 0 };
        if let Some(race) = &mut self.race {
            race.wind();
            race.shared.rows(part, touch, transposed, warp, &race.clocks)?;
        }
        Ok(unwritten)
    }

    fn shared_init(&mut self, part: &Accesses, touch: Touch) -> u32 {
        let unwritten = if touch.reads() { self.shared_unwritten(part) } else { 0 };
        if touch.writes() {
            for (word, mask) in shared_bits(part) {
                self.shared_written[word] |= mask;
            }
        }
        unwritten
    }

    /// The lanes whose bytes of shared memory nothing wrote.
    pub fn shared_unwritten(&self, part: &Accesses) -> u32 {
        let unwritten = |(word, mask): (usize, u64)| self.shared_written[word] & mask != mask;
        part.active().zip(shared_bits(part)).fold(0, |lanes, (lane, bits)| lanes | u32::from(unwritten(bits)) << lane)
    }

    /// These bytes of shared memory hold nothing again.
    pub fn forget_shared(&mut self, part: &Accesses) {
        for (word, mask) in shared_bits(part) {
            self.shared_written[word] &= !mask;
        }
    }

    /// The lanes that read what nothing wrote.
    pub fn global(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        bounds::check(part, launch, &mut self.recent)?;
        let unwritten = if launch.checks.init { global_init(part, touch, launch) } else { 0 };
        if let Some(race) = &mut self.race {
            race.wind();
            race.global.access(part, touch, warp, &mut race.clocks, launch)?;
        }
        Ok(unwritten)
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

/// The word of bits of each active lane's bytes of shared memory, and which bits. Accesses are aligned to their size,
/// so none crosses a word of bits.
fn shared_bits(part: &Accesses) -> impl Iterator<Item = (usize, u64)> {
    part.active().map(|lane| {
        let at = part.addresses[lane] as usize;
        (at / 64, ((1u64 << part.bytes) - 1) << (at % 64))
    })
}

fn global_init(part: &Accesses, touch: Touch, launch: &Launch) -> u32 {
    let bytes = part.bytes as u64;
    if part.pattern == Pattern::Consecutive {
        let all = bytes * 32;
        if touch.writes() && !touch.reads() {
            launch.memory.mark_written(part.addresses[0], all);
            return 0;
        }
        if touch.reads() && launch.memory.is_written(part.addresses[0], all) {
            return 0;
        }
    }
    let unwritten = if touch.reads() { global_unwritten(part, launch) } else { 0 };
    if touch.writes() {
        part.active().for_each(|lane| launch.memory.mark_written(part.addresses[lane], bytes));
    }
    unwritten
}

/// The lanes whose bytes of global memory nothing wrote.
pub fn global_unwritten(part: &Accesses, launch: &Launch) -> u32 {
    let unwritten = |lane: usize| !launch.memory.is_written(part.addresses[lane], part.bytes as u64);
    part.active().fold(0, |lanes, lane| lanes | u32::from(unwritten(lane)) << lane)
}

/// The report of a lane's read of what nothing wrote.
pub fn unwritten_fault(part: &Accesses, lane: usize, launch: &Launch) -> Fault {
    let (bytes, address) = (part.bytes, part.addresses[lane]);
    let message = match part.space {
        Space::Shared => format!("{bytes} bytes at shared 0x{address:x}"),
        _ => format!("{bytes} bytes at {}", bounds::name_for(address, launch)),
    };
    Fault::new(FaultKind::Uninitialized, message).at_lane(lane)
}
