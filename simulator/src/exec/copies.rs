//! `cp.async`: copies that happen when a thread waits for them, and not before.
//!
//! Hardware may copy at any time between the instruction and the wait. Copying as late as is legal shows a missing
//! wait: the destination still holds what it held.

use std::collections::VecDeque;

use super::block::BlockState;
use super::strand::Strand;
use super::warp::Warp;
use crate::error::Fault;
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, effective};
use crate::memory::Memory;
use crate::memory::window::Window;
use crate::program::lanes::{FULL, LANES, Word};
use crate::program::loops::vectorized;
use crate::program::{CopyAsync, Inst, NONE};
use crate::ptx::types::Space;

const WIDEST: usize = 16;

/// One instruction's copies, lane by lane.
#[derive(Default)]
struct Pending {
    mask: u32,
    /// Lanes whose source nothing wrote.
    unwritten: u32,
    bytes: usize,
    /// Every lane takes all its bytes from the source.
    whole: bool,
    /// Where the source begins and how long it is.
    low: u64,
    span: u64,
    /// Bytes taken from the source; the rest of `bytes` are zeros.
    taken: [u8; LANES],
    /// The group of each lane: its number of commits when the copy was issued.
    group: [u32; LANES],
    to: [u64; LANES],
    from: [u64; LANES],
}

#[derive(Default)]
pub struct Copies {
    pending: VecDeque<Box<Pending>>,
    /// Completed ones, to be used again.
    #[expect(clippy::vec_box, reason = "they come from the queue and go back to it without being moved")]
    spare: Vec<Box<Pending>>,
    commits: [u32; LANES],
}

impl Copies {
    pub fn clear(&mut self) {
        self.spare.extend(self.pending.drain(..));
        self.commits = [0; LANES];
    }

    pub fn commit(&mut self, mask: u32) {
        for lane in 0..LANES {
            self.commits[lane] += mask >> lane & 1;
        }
    }
}

vectorized! {
    pub fn copy_async(
        warp: &mut Warp,
        strand: &Strand,
        inst: &Inst,
        copy: &CopyAsync,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let lanes = warp.lanes(strand, launch);
        let bytes = copy.bytes as usize;
        let to = effective(&lanes, inst.s[0], copy.shared);
        let from = effective(&lanes, inst.s[1], copy.global);
        let mut taken = [copy.bytes; LANES];
        if inst.s[2] != NONE {
            taken = u32::read(&lanes, inst.s[2]).map(|n| n.min(copy.bytes.into()) as u8);
        }
        let whole = taken == [copy.bytes; LANES];
        let target = Accesses::new(Space::Shared, to, mask, bytes);
        target.check_alignment()?;
        let mut reading = mask;
        for i in 0..LANES {
            reading &= !(u32::from(taken[i] == 0) << i);
        }
        let (mut low, mut span, mut unwritten) = (0, 0, 0);
        if reading != 0 {
            let source = Accesses::new(Space::Global, from, reading, bytes);
            source.check_alignment()?;
            if whole {
                unwritten = state.global_access(&source, Touch::Read, warp.index, launch)?;
            } else {
                unwritten = access_partly(warp, &source, &taken, launch, state)?;
            }
            (low, span) = (source.low, source.high - source.low + bytes as u64);
        }
        state.shared_access(&target, Touch::BeginCopy, warp.index, launch)?;
        let copies = &mut warp.copies;
        let mut copy = copies.spare.pop().unwrap_or_default();
        *copy = Pending { mask, unwritten, bytes, whole, low, span, taken, group: copies.commits, to, from };
        copies.pending.push_back(copy);
        Ok(())
    }

    /// Completes the copies of these lanes in groups below `limit`.
    fn complete(
        warp: &mut Warp,
        mask: u32,
        limit: &[u32; LANES],
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        for copy in &mut warp.copies.pending {
            let mut due = 0;
            for i in 0..LANES {
                due |= u32::from(copy.group[i] < limit[i]) << i;
            }
            due &= mask & copy.mask;
            if due == 0 {
                continue;
            }
            copy.mask &= !due;
            if launch.watched {
                let target = Accesses::new(Space::Shared, copy.to, due, copy.bytes);
                state.shared_access(&target, Touch::EndCopy, warp.index, launch)?;
                if copy.unwritten & due != 0 {
                    state.forget_shared(&Accesses::new(Space::Shared, copy.to, copy.unwritten & due, copy.bytes));
                }
            }
            let source = launch.memory.window(copy.low, copy.span);
            match source.filter(|_| copy.whole && copy.bytes == WIDEST && due == FULL) {
                Some(window) => move_lines(copy, window, state.shared_bytes_mut()),
                None => move_bytes(copy, due, &launch.memory, state.shared_bytes_mut()),
            }
        }
        let copies = &mut warp.copies;
        while copies.pending.front().is_some_and(|copy| copy.mask == 0) {
            copies.spare.extend(copies.pending.pop_front());
        }
        Ok(())
    }
}

/// Lanes that read fewer bytes than they write: checked one by one. Those that read what nothing wrote.
fn access_partly(
    warp: &Warp,
    source: &Accesses,
    taken: &[u8; LANES],
    launch: &Launch,
    state: &mut BlockState,
) -> Result<u32, Fault> {
    let mut unwritten = 0;
    for lane in source.active() {
        let one = Accesses::new(Space::Global, source.addresses, 1 << lane, taken[lane].into());
        unwritten |= state.global_access(&one, Touch::Read, warp.index, launch)?;
    }
    Ok(unwritten)
}

/// What tile loads are made of: every lane moves 16 bytes. Addresses were checked when the copy was issued.
#[inline(always)]
fn move_lines(copy: &Pending, window: &Window, shared: &mut [u8]) {
    for lane in 0..LANES {
        window.copy_out(copy.from[lane], &mut shared[copy.to[lane] as usize..][..WIDEST]);
    }
}

fn move_bytes(copy: &Pending, due: u32, memory: &Memory, shared: &mut [u8]) {
    for lane in (0..LANES).filter(|lane| due >> lane & 1 == 1) {
        let mut line = [0u8; WIDEST];
        let taken = copy.taken[lane] as usize;
        if let Some(window) = memory.window(copy.from[lane], taken as u64) {
            window.copy_out(copy.from[lane], &mut line[..taken]);
        }
        shared[copy.to[lane] as usize..][..copy.bytes].copy_from_slice(&line[..copy.bytes]);
    }
}

impl Warp {
    /// Completes what each lane committed, but for its latest `groups` groups.
    pub fn copy_wait(&mut self, mask: u32, groups: u32, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        let limit = self.copies.commits.map(|commits| commits.saturating_sub(groups));
        complete(self, mask, &limit, launch, state)
    }

    /// Completes all copies of these lanes, committed or not.
    pub fn finish_copies(&mut self, mask: u32, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        complete(self, mask, &[u32::MAX; LANES], launch, state)
    }
}
