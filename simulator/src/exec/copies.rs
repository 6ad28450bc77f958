//! `cp.async`: copies that happen when a thread waits for them, and not before.
//!
//! Hardware may copy at any time between the instruction and the wait. Copying as late as is legal shows a missing wait: the
//! destination still holds what it held.

use super::block::BlockState;
use super::lanes::{LANES, Word};
use super::memory_ops::Places;
use super::params::Launch;
use super::strand::Strand;
use super::warp::Warp;
use crate::checks::Touch;
use crate::error::{Fault, FaultKind};
use crate::program::{CopyAsync, Inst, NONE};
use crate::ptx::types::Space;

/// One instruction's copies, lane by lane.
#[derive(Clone, Debug)]
struct Pending {
    mask: u32,
    to: [u64; LANES],
    from: [u64; LANES],
    /// Bytes taken from the source; the rest of `bytes` are zeros.
    taken: [u32; LANES],
    bytes: usize,
    /// The group of each lane: its number of commits when the copy was issued.
    group: [u32; LANES],
}

#[derive(Default)]
pub struct Copies {
    #[expect(clippy::vec_box, reason = "800 bytes each, and most are moved up when some complete")]
    pending: Vec<Box<Pending>>,
    commits: [u32; LANES],
}

impl Copies {
    pub fn commit(&mut self, mask: u32) {
        for lane in 0..LANES {
            self.commits[lane] += mask >> lane & 1;
        }
    }
}

impl Warp {
    pub fn copy_async(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        copy: &CopyAsync,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let lanes = self.lanes(strand, launch);
        let (to, from) = (u64::read(&lanes, inst.s[0]), u64::read(&lanes, inst.s[1]));
        let to = to.map(|a| a.wrapping_add(copy.shared as u64));
        let from = from.map(|a| a.wrapping_add(copy.global as u64));
        let bytes = copy.bytes as usize;
        let full = [u32::from(copy.bytes); LANES];
        let taken =
            if inst.s[2] == NONE { full } else { u32::read(&lanes, inst.s[2]).map(|n| n.min(copy.bytes.into())) };
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            if (to[lane] | from[lane]) & (bytes as u64 - 1) != 0 {
                let message = format!("{bytes} bytes from 0x{:x} to shared 0x{:x}", from[lane], to[lane]);
                return Err(Fault::new(FaultKind::MisalignedAddress, message).at_lane(lane));
            }
        }
        let reading = (0..LANES).fold(0, |on, i| on | u32::from(taken[i] > 0) << i) & mask;
        let source = Places { space: Space::Global, addresses: from, mask: reading, bytes };
        if taken == full {
            state.global_access(&source, Touch::Read, self.index, launch)?;
        } else {
            self.inspect_partial(&source, &taken, launch, state)?;
        }
        let target = Places { space: Space::Shared, addresses: to, mask, bytes };
        state.shared_access(&target, Touch::BeginCopy, self.index, launch)?;
        self.copies.pending.push(Box::new(Pending { mask, to, from, taken, bytes, group: self.copies.commits }));
        Ok(())
    }

    /// Lanes that read fewer bytes than they write: checked one by one.
    fn inspect_partial(
        &self,
        source: &Places,
        taken: &[u32; LANES],
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        for lane in source.active() {
            let one = Places {
                space: Space::Global,
                mask: 1 << lane,
                bytes: taken[lane] as usize,
                addresses: source.addresses,
            };
            state.global_access(&one, Touch::Read, self.index, launch)?;
        }
        Ok(())
    }

    /// Completes what each lane committed, but for its latest `groups` groups.
    pub fn copy_wait(&mut self, mask: u32, groups: u32, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        let limit = self.copies.commits.map(|commits| commits.saturating_sub(groups));
        self.complete(mask, limit, launch, state)
    }

    /// Completes all copies of these lanes, committed or not.
    pub fn finish_copies(&mut self, mask: u32, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        self.complete(mask, [u32::MAX; LANES], launch, state)
    }

    fn complete(
        &mut self,
        mask: u32,
        limit: [u32; LANES],
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let mut pending = std::mem::take(&mut self.copies.pending);
        for copy in &mut pending {
            let due = (0..LANES).fold(0, |due, i| due | u32::from(copy.group[i] < limit[i]) << i) & mask & copy.mask;
            if due == 0 {
                continue;
            }
            copy.mask &= !due;
            let target = Places { space: Space::Shared, addresses: copy.to, mask: due, bytes: copy.bytes };
            state.shared_access(&target, Touch::EndCopy, self.index, launch)?;
            for lane in target.active() {
                let mut bytes = [0u8; 16];
                let taken = copy.taken[lane] as usize;
                if let Some(window) = launch.memory.window(copy.from[lane], taken as u64) {
                    window.copy_out(copy.from[lane], &mut bytes[..taken]);
                }
                let at = copy.to[lane] as usize;
                state.shared_bytes_mut()[at..at + copy.bytes].copy_from_slice(&bytes[..copy.bytes]);
            }
        }
        pending.retain(|copy| copy.mask != 0);
        self.copies.pending = pending;
        Ok(())
    }
}
