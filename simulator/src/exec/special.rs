//! Special registers: where a thread is in its block and grid, and what time it is.

use super::block::BlockState;
use super::strand::Strand;
use super::warp::Warp;
use crate::launch::Launch;
use crate::program::lanes::{LANES, Word};
use crate::program::{Inst, LaneMaskKind, Reg, RegClass, Reserved, Special};

impl Warp {
    pub fn special(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        special: Special,
        mask: u32,
        launch: &Launch,
        state: &BlockState,
    ) {
        let lane = |index: usize| index as u64;
        match special {
            Special::Tid(axis) => {
                let values = self.thread_indices(axis, launch);
                self.write_values(strand, inst.d[0], &values, mask, launch);
            }
            Special::LaneId => self.write_values(strand, inst.d[0], &std::array::from_fn(lane), mask, launch),
            Special::LaneMask(kind) => {
                let values = std::array::from_fn(|lane| lane_mask(kind, lane));
                self.write_values(strand, inst.d[0], &values, mask, launch);
            }
            special => {
                let value = self.warp_value(strand, inst, special, launch, state);
                let mut lanes = self.lanes(strand, launch);
                if inst.d[0].class() == RegClass::Double {
                    u64::write(&mut lanes, inst.d[0], &[value; LANES], mask);
                } else {
                    u32::write(&mut lanes, inst.d[0], &[value as u32; LANES], mask);
                }
            }
        }
    }

    /// `%tid` of each lane, counted up from the first's.
    fn thread_indices(&self, axis: u8, launch: &Launch) -> [u64; LANES] {
        let [width, height, _] = launch.block;
        let mut at = launch.thread_index((self.index * LANES) as u32);
        std::array::from_fn(|_| {
            let value = at[axis as usize];
            at[0] += 1;
            if at[0] == width {
                (at[0], at[1]) = (0, at[1] + 1);
            }
            if at[1] == height {
                (at[1], at[2]) = (0, at[2] + 1);
            }
            value.into()
        })
    }

    /// What is the same for all lanes.
    fn warp_value(&self, strand: &Strand, inst: &Inst, special: Special, launch: &Launch, state: &BlockState) -> u64 {
        match special {
            Special::Ntid(axis) => launch.block[axis as usize].into(),
            Special::Ctaid(axis) => state.index[axis as usize].into(),
            Special::Nctaid(axis) => launch.grid[axis as usize].into(),
            Special::WarpId => self.index as u64,
            Special::NWarpId => launch.threads().div_ceil(LANES as u32).into(),
            Special::SmId => state.linear % u64::from(launch.multiprocessors),
            Special::NSmId => launch.multiprocessors.into(),
            Special::GridId => launch.grid_id,
            Special::Frame => strand.local_base as u64 + u64::from(inst.imm),
            Special::Clock | Special::Clock64 | Special::GlobalTimer => state.counters.clock(&launch.program),
            Special::ClockHi => state.counters.clock(&launch.program) >> 32,
            Special::DynamicShared => launch.dynamic_shared.into(),
            Special::TotalShared => launch.shared_bytes() as u64,
            Special::Reserved(place) => reserved(place, launch),
            Special::Workspace(0) => launch.workspace >> 32,
            Special::Workspace(_) => launch.workspace,
            Special::One => 1,
            Special::Zero | Special::Tid(_) | Special::LaneId | Special::LaneMask(_) => 0,
        }
    }

    /// Writes 64-bit values to a register of either width.
    pub fn write_values(&mut self, strand: &Strand, reg: Reg, values: &[u64; LANES], mask: u32, launch: &Launch) {
        let mut lanes = self.lanes(strand, launch);
        if reg.class() == RegClass::Double {
            u64::write(&mut lanes, reg, values, mask);
        } else {
            let mut words = [0; LANES];
            for i in 0..LANES {
                words[i] = values[i] as u32;
            }
            u32::write(&mut lanes, reg, &words, mask);
        }
    }

    pub fn active_mask(&mut self, strand: &Strand, inst: &Inst, mask: u32, launch: &Launch) {
        u32::write(&mut self.lanes(strand, launch), inst.d[0], &[mask; LANES], mask);
    }
}

fn reserved(place: Reserved, launch: &Launch) -> u64 {
    let (begin, bytes) = (launch.reserved_shared(), launch.program.reserved_shared_bytes);
    let value = match place {
        Reserved::Begin => begin,
        Reserved::End => begin + bytes,
        Reserved::Capacity => bytes,
        Reserved::Part(k) => begin + usize::from(k) * bytes / 2,
    };
    value as u64
}

fn lane_mask(kind: LaneMaskKind, lane: usize) -> u64 {
    let bit = 1u64 << lane;
    match kind {
        LaneMaskKind::Eq => bit,
        LaneMaskKind::Lt => bit - 1,
        LaneMaskKind::Le => bit | (bit - 1),
        LaneMaskKind::Gt => 0xffff_ffff & !(bit | (bit - 1)),
        LaneMaskKind::Ge => 0xffff_ffff & !(bit - 1),
    }
}
