//! What compute-sanitizer would say: out of bounds, races, reads of memory nothing wrote, barriers not all reach.
//!
//! `CUDASIM_CHECK=mem,race,init,sync,leak` (or `all`) chooses. Whatever is chosen, an access outside all device memory and
//! a misaligned one are faults, as on hardware.

mod bounds;
mod global_race;
mod race;

use crate::error::{Fault, FaultKind};
use crate::exec::memory_ops::Places;
use crate::exec::params::Launch;
use crate::program::Order;
use global_race::GlobalRace;
use race::SharedRace;

/// Which checks are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    pub mem: bool,
    pub race: bool,
    pub init: bool,
    pub sync: bool,
    pub leak: bool,
}

impl Checks {
    pub const ALL: Self = Self { mem: true, race: true, init: true, sync: true, leak: true };

    /// Reads `CUDASIM_CHECK`'s list; an unknown name is returned as the error.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut checks = Self::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "mem" => checks.mem = true,
                "race" => checks.race = true,
                "init" => checks.init = true,
                "sync" => checks.sync = true,
                "leak" => checks.leak = true,
                "all" => checks = Self::ALL,
                "none" => checks = Self::default(),
                other => return Err(other.to_owned()),
            }
        }
        Ok(checks)
    }
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Read,
    Write,
    /// Volatile, relaxed, acquire: part of a protocol between threads.
    StrongRead(Order),
    StrongWrite(Order),
    /// Reads and writes; with `true` it only writes (`mbarrier.init`).
    Atomic(Order, bool),
    /// `cp.async` has been issued: its destination is neither old nor new.
    BeginCopy,
    /// The thread that copied waited for it.
    EndCopy,
}

impl Touch {
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::StrongRead(_) | Self::Atomic(_, false))
    }

    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::StrongWrite(_) | Self::Atomic(..) | Self::EndCopy)
    }
}

/// The checks' state for one block.
pub struct BlockChecks {
    /// One bit a byte of shared memory: written.
    shared_written: Vec<u64>,
    race: Option<Box<SharedRace>>,
    global_race: Option<GlobalRace>,
    /// The allocation hit last, which the next access most likely hits too.
    recent: (u64, u64),
}

impl BlockChecks {
    pub fn new(launch: &Launch, warps: usize, block: u64) -> Self {
        let words = if launch.checks.init { launch.shared_bytes().div_ceil(64) + 1 } else { 0 };
        let race = launch.checks.race.then(|| Box::new(SharedRace::new(warps, launch.shared_bytes())));
        let global_race = launch.checks.race.then(|| GlobalRace::new(launch, block));
        Self { shared_written: vec![0; words], race, global_race, recent: (0, 0) }
    }

    pub fn shared(&mut self, part: &Places, touch: Touch, warp: usize, launch: &Launch) -> Result<(), Fault> {
        if launch.checks.init {
            self.shared_init(part, touch)?;
        }
        match &mut self.race {
            Some(race) => race.access(part, touch, warp),
            None => Ok(()),
        }
    }

    fn shared_init(&mut self, part: &Places, touch: Touch) -> Result<(), Fault> {
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

    pub fn global(&mut self, part: &Places, touch: Touch, warp: usize, launch: &Launch) -> Result<(), Fault> {
        bounds::check(part, launch, &mut self.recent)?;
        if launch.checks.init {
            global_init(part, touch, launch)?;
        }
        match (&mut self.global_race, &mut self.race) {
            (Some(global), Some(shared)) => global.access(part, touch, warp, shared),
            _ => Ok(()),
        }
    }

    pub fn fence(&mut self, warp: usize, wide: bool) {
        if let Some(race) = &mut self.race {
            race.fence(warp);
        }
        if let Some(race) = &mut self.global_race
            && wide
        {
            race.fenced = true;
        }
    }

    pub fn warp_synchronized(&mut self, warp: usize) {
        if let Some(race) = &mut self.race {
            race.warp_synchronized(warp);
        }
    }

    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        if let Some(race) = &mut self.race {
            race.arrive(warp, barrier);
        }
    }

    pub fn pass(&mut self, warp: usize, barrier: usize) {
        if let Some(race) = &mut self.race {
            race.pass(warp, barrier);
        }
    }

    pub fn barrier_done(&mut self, barrier: usize) {
        if let Some(race) = &mut self.race {
            race.barrier_done(barrier);
        }
    }
}

fn global_init(part: &Places, touch: Touch, launch: &Launch) -> Result<(), Fault> {
    let bytes = part.bytes as u64;
    if part.consecutive() {
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
            let message = format!("{bytes} bytes at 0x{:x}", part.addresses[lane]);
            return Err(Fault::new(FaultKind::Uninitialized, message).at_lane(lane));
        }
        if touch.writes() {
            launch.memory.mark_written(part.addresses[lane], bytes);
        }
    }
    Ok(())
}
