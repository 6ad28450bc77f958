//! A block: its warps, shared memory, barriers, and what the checks know about it.

use std::time::Instant;

use super::sync::BarrierState;
use super::warp::Warp;
use crate::checks::{self, BlockChecks};
use crate::counters::Counters;
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::Accesses;
use crate::launch::sample::Chosen;
use crate::memory::Memory;
use crate::program::BARRIERS;
use crate::program::lanes::LANES;
use crate::ptx::types::Space;

/// What the warps of a block share.
pub struct BlockState {
    pub index: [u32; 3],
    pub linear: u64,
    shared: Vec<u64>,
    shared_len: usize,
    pub barriers: [BarrierState; BARRIERS],
    /// Of all blocks that ran here.
    pub counters: Counters,
    /// Whether some thread has lately touched memory as threads do that wait for each other.
    synchronized: bool,
    checks: BlockChecks,
    memory: std::sync::Arc<Memory>,
}

/// A block, or the place for one: its buffers serve one block after another.
pub struct Block<'l> {
    pub launch: &'l Launch,
    pub warps: Vec<Warp>,
    pub state: BlockState,
}

/// Whether a block has ended.
#[derive(PartialEq, Eq, Debug)]
pub enum Progress {
    Done,
    Running,
}

impl<'l> Block<'l> {
    pub fn new(launch: &'l Launch) -> Self {
        let shared_len = launch.all_shared_bytes();
        let warps = (launch.threads() as usize).div_ceil(LANES);
        let state = BlockState {
            index: [0; 3],
            linear: 0,
            shared: vec![0; shared_len.div_ceil(8) + 1],
            shared_len,
            barriers: Default::default(),
            counters: Counters::new(&launch.program),
            synchronized: false,
            checks: BlockChecks::new(launch, warps),
            memory: launch.memory.clone(),
        };
        Self { launch, warps: (0..warps).map(Warp::new).collect(), state }
    }

    /// Starts a block. Registers and shared memory begin as zeros: what a program forgot to set is at
    /// least the same in every run.
    pub fn start(&mut self, Chosen { linear, marks }: Chosen) {
        let state = &mut self.state;
        (state.index, state.linear) = (self.launch.block_index(linear), linear);
        state.shared.fill(0);
        state.barriers = Default::default();
        state.counters.start_block(&self.launch.program, marks);
        state.checks.start(linear);
        self.warps.iter_mut().for_each(|warp| warp.start(self.launch));
    }

    /// Gives every warp a turn.
    pub fn advance(&mut self) -> Result<Progress, Fault> {
        let mut progress = false;
        for warp in &mut self.warps {
            if !warp.done() {
                progress |= warp.run(self.launch, &mut self.state)?;
            }
        }
        progress |= self.complete_barriers();
        if self.warps.iter().all(Warp::done) {
            return Ok(Progress::Done);
        }
        if !progress {
            let stuck = self.warps.iter().find_map(|w| w.stuck(self.launch, &self.state));
            return Err(stuck.unwrap_or_else(|| Fault::new(FaultKind::Barrier, "no thread can go on")));
        }
        if Instant::now() > self.launch.deadline {
            let warp = self.warps.iter().find(|w| w.runnable());
            let fault = Fault::new(FaultKind::Timeout, "the watchdog's time is up");
            let strand = warp.and_then(|w| w.strands.first().map(|s| (w, s)));
            return Err(match strand {
                Some((warp, strand)) => {
                    let lane = strand.mask.trailing_zeros() as usize;
                    warp.place(fault.at_lane(lane), strand, self.launch, &self.state)
                }
                None => fault,
            });
        }
        Ok(Progress::Running)
    }
}

impl BlockState {
    pub fn shared_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.shared)
    }

    pub fn shared_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.shared)
    }

    /// An aligned 64-bit word, which a check has found inside shared memory.
    pub fn shared_word(&self, at: usize) -> u64 {
        self.shared[at / 8]
    }

    pub fn set_shared_word(&mut self, at: usize, word: u64) {
        self.shared[at / 8] = word;
    }

    /// An atomic update; blocks run on one thread, so plain steps do.
    pub fn update_shared(&mut self, at: usize, bytes: usize, f: impl Fn(u64) -> Option<u64>) -> u64 {
        let slot = &mut self.shared_bytes_mut()[at..at + bytes];
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(slot);
        let old = u64::from_le_bytes(word);
        if let Some(new) = f(old) {
            slot.copy_from_slice(&new.to_le_bytes()[..bytes]);
        }
        old
    }

    /// Whether the block may have been waiting for others since this was last asked.
    pub fn take_synchronized(&mut self) -> bool {
        std::mem::take(&mut self.synchronized)
    }

    #[inline(always)]
    pub fn shared_access(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        if !part.within(self.shared_len as u64) {
            return Err(self.beyond_shared(part));
        }
        if launch.watched { self.watch_shared(part, touch, warp, launch) } else { Ok(0) }
    }

    /// Rows of `ldmatrix` and `stmatrix`, each named by a lane.
    #[inline(always)]
    pub fn matrix_access(
        &mut self,
        rows: &Accesses,
        touch: Touch,
        transposed: bool,
        warp: usize,
        launch: &Launch,
    ) -> Result<u32, Fault> {
        if !rows.within(self.shared_len as u64) {
            return Err(self.beyond_shared(rows));
        }
        if !launch.watched {
            return Ok(0);
        }
        if launch.counting {
            self.counters.shared(rows);
        }
        self.checks.rows(rows, touch, transposed, warp, launch)
    }

    fn watch_shared(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        if launch.counting && touch != Touch::EndCopy {
            self.counters.shared(part);
        }
        self.checks.shared(part, touch, warp, launch)
    }

    #[cold]
    fn beyond_shared(&self, part: &Accesses) -> Fault {
        let end = self.shared_len as u64;
        let lane = part.beyond(end);
        let message = format!("{} bytes at shared 0x{:x}, of 0x{end:x} bytes", part.bytes, part.addresses[lane]);
        Fault::new(FaultKind::IllegalAddress, message).at_lane(lane)
    }

    #[inline(always)]
    pub fn global_access(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        self.synchronized |= touch.strong();
        if !launch.watched && launch.memory.device.contains(part.low, part.high - part.low + part.bytes as u64) {
            return Ok(0);
        }
        self.watch_global(part, touch, warp, launch)
    }

    fn watch_global(&mut self, part: &Accesses, touch: Touch, warp: usize, launch: &Launch) -> Result<u32, Fault> {
        let unwritten = self.checks.global(part, touch, warp, launch)?;
        if launch.counting {
            self.counters.global(part, touch);
        }
        Ok(unwritten)
    }

    /// The lanes of an access whose bytes nothing wrote.
    pub fn unwritten(&self, part: &Accesses, launch: &Launch) -> u32 {
        match part.space {
            Space::Shared => self.checks.shared_unwritten(part),
            _ => checks::global_unwritten(part, launch),
        }
    }

    /// The report of a read of what nothing wrote by the first of these lanes.
    pub fn unwritten_fault(&self, part: &Accesses, lanes: u32, launch: &Launch) -> Fault {
        checks::unwritten_fault(part, lanes.trailing_zeros() as usize, launch)
    }

    /// For what must not read such bytes at all: operations that change what they read.
    pub fn refuse_unwritten(&self, part: &Accesses, lanes: u32, launch: &Launch) -> Result<(), Fault> {
        if lanes == 0 { Ok(()) } else { Err(self.unwritten_fault(part, lanes, launch)) }
    }

    /// Shared memory that got a value which is not known.
    pub fn forget_shared(&mut self, part: &Accesses) {
        self.checks.forget_shared(part);
    }

    /// A collective's lanes must be among the members they name.
    pub fn check_members(&self, members: &[u32; 32], mask: u32, launch: &Launch) -> Result<(), Fault> {
        if !launch.checks.sync {
            return Ok(());
        }
        match (0..32).find(|&i| mask >> i & 1 == 1 && members[i] >> i & 1 == 0) {
            Some(lane) => {
                let message = format!("lane {lane} is not in its own member mask 0x{:08x}", members[lane]);
                Err(Fault::new(FaultKind::Barrier, message).at_lane(lane))
            }
            None => Ok(()),
        }
    }

    pub fn fence(&mut self, warp: usize, wide: bool) {
        self.checks.fence(warp, wide);
    }

    pub fn warp_synchronized(&mut self, warp: usize) {
        self.checks.warp_synchronized(warp);
    }

    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        self.counters.barriers += 1;
        self.checks.arrive(warp, barrier);
    }

    pub fn pass(&mut self, warp: usize, barrier: usize) {
        self.checks.pass(warp, barrier);
    }

    pub fn barrier_done(&mut self, barrier: usize, all: bool) {
        self.checks.barrier_done(barrier, all);
    }

    /// An element of device memory for the system's own use; zero where there is none.
    pub fn word(&self, address: u64, bytes: usize) -> u64 {
        let aligned = address.is_multiple_of(bytes as u64);
        let window =
            self.memory.window(address, bytes as u64).filter(|_| aligned && self.memory.holds(address, bytes as u64));
        window.map_or(0, |window| window.load(address, bytes))
    }
}
