//! Block barriers: 16 of them, counted in threads, with arrival and reduction.

use super::block::{Block, BlockState};
use super::strand::{Strand, Wait};
use super::warp::{Step, Warp};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::program::lanes::{LANES, Word};

use crate::program::{ALIGNED, BARRIERS, Barrier, Inst, NEGATE, NONE, Op};

#[derive(Clone, Default, Debug)]
pub struct BarrierState {
    /// Threads that came, and the same with each complete warp counted as 32: a count operand is a multiple of the
    /// warp.
    threads: u32,
    rounded: u32,
    /// The count operand, if the arrivals had one.
    expected: Option<u32>,
    votes: u32,
    all: bool,
}

impl Warp {
    pub fn barrier(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        let Op::Barrier(kind) = inst.op else { return Ok(Step::Next) };
        let lane = mask.trailing_zeros() as usize;
        let aligned = inst.imm & ALIGNED != 0;
        if launch.checks.sync && aligned && mask != self.live {
            let message = format!("only lanes 0x{mask:08x} of 0x{:08x} reach this barrier", self.live);
            return Err(Fault::new(FaultKind::Barrier, message).at_lane(lane));
        }
        let lanes = self.lanes(strand, launch);
        let id = u32::read(&lanes, inst.s[0])[lane];
        let expected = (inst.s[1] != NONE).then(|| u32::read(&lanes, inst.s[1])[lane]);
        let flip = if inst.imm & NEGATE != 0 { u32::MAX } else { 0 };
        let votes = if inst.s[2] == NONE { 0 } else { (lanes.predicate(inst.s[2]) ^ flip) & mask };
        if id as usize >= BARRIERS {
            return Err(Fault::new(FaultKind::Barrier, format!("barrier {id} of 16")).at_lane(lane));
        }
        let barrier = &mut state.barriers[id as usize];
        if barrier.threads == 0 {
            barrier.all = true;
        }
        barrier.threads += mask.count_ones();
        barrier.rounded += if mask == self.live { 32 } else { mask.count_ones() };
        barrier.expected = barrier.expected.or(expected);
        barrier.votes += votes.count_ones();
        barrier.all &= votes == mask;
        state.arrive(self.index, id as usize);
        if kind == Barrier::Arrive {
            return Ok(Step::Next);
        }
        Ok(Step::Wait(Wait::Barrier { id, executing: mask }))
    }

    /// A completed barrier lets its strands go on. Gives the number of threads that waited.
    fn pass_barrier(&mut self, id: usize, done: &BarrierState, launch: &Launch) -> u32 {
        let mut passed = 0;
        for k in 0..self.strands.len() {
            let Wait::Barrier { id: waited, executing } = self.strands[k].wait else { continue };
            if waited as usize != id {
                continue;
            }
            passed += executing.count_ones();
            self.parted &= executing != self.live;
            let strand = &mut self.strands[k];
            strand.wait = Wait::Nothing;
            let inst = &launch.program.codes[strand.code].insts[strand.pc];
            strand.pc += 1;
            if matches!(inst.op, Op::Barrier(Barrier::Sync)) {
                continue;
            }
            let strand = strand.clone();
            let mut lanes = self.lanes(&strand, launch);
            let flag = |on: bool| if on { u32::MAX } else { 0 };
            match inst.op {
                Op::Barrier(Barrier::ReducePopc) => u32::write(&mut lanes, inst.d[0], &[done.votes; LANES], executing),
                Op::Barrier(Barrier::ReduceAnd) => lanes.set_predicate(inst.d[0], flag(done.all), executing),
                Op::Barrier(Barrier::ReduceOr) => lanes.set_predicate(inst.d[0], flag(done.votes > 0), executing),
                _ => {}
            }
        }
        passed
    }
}

impl Block<'_> {
    /// Completes barriers that all their threads have reached. `true` if any was.
    pub fn complete_barriers(&mut self) -> bool {
        let live: u32 = self.warps.iter().map(|w| w.live.count_ones()).sum();
        let mut any = false;
        for id in 0..BARRIERS {
            let barrier = &self.state.barriers[id];
            let complete = match barrier.expected {
                Some(expected) => barrier.rounded >= expected,
                None => barrier.threads >= live,
            };
            if barrier.threads == 0 || !complete {
                continue;
            }
            let done = std::mem::take(&mut self.state.barriers[id]);
            any = true;
            let mut passed = 0;
            for warp in &mut self.warps {
                let waited = warp.pass_barrier(id, &done, self.launch);
                if waited > 0 {
                    self.state.pass(warp.index, id);
                }
                passed += waited;
            }
            self.state.barrier_done(id, passed == live);
        }
        any
    }
}
