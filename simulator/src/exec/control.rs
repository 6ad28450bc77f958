//! Branches, calls, returns, exits.

use super::block::BlockState;
use super::strand::{Frame, Join, Strand};
use super::warp::{Step, Warp};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::program::lanes::{LANES, Row, Word};
use crate::program::{Call, Inst, NO_TARGET, Op, Target};

/// Rows of registers (128 bytes) and bytes of local memory a lane that calls may take before they are a stack overflow.
const MAX_ROWS: usize = 1 << 19;
const MAX_LOCAL_BYTES: usize = 1 << 20;

impl Warp {
    /// Lanes of `taken` go to `target`, the others on; a split opens a join at the reconvergence point.
    pub fn branch(&mut self, strand: &mut Strand, taken: u32, target: Target, reconverge: Target) -> Step {
        if taken == strand.mask {
            strand.pc = target as usize;
            return Step::Jumped;
        }
        if taken == 0 {
            return Step::Next;
        }
        self.parted = true;
        self.open_join(strand, reconverge);
        let mut other = strand.clone();
        other.mask = taken;
        other.pc = target as usize;
        self.strands.push(other);
        strand.mask &= !taken;
        Step::Next
    }

    fn open_join(&mut self, strand: &mut Strand, reconverge: Target) {
        if reconverge == NO_TARGET {
            return;
        }
        let depth = strand.frames.len();
        // A loop whose lanes leave one by one has one join for all of them.
        let current = strand.join.and_then(|j| self.joins.get(j));
        if current.is_some_and(|join| join.pc == reconverge && join.depth == depth) {
            return;
        }
        let onward = Strand { pc: reconverge as usize, ..strand.clone() };
        let join = Join { pc: reconverge, depth, expected: strand.mask, arrived: 0, parent: strand.join, onward };
        strand.join = Some(self.joins.insert(join));
    }

    pub fn join(&mut self, strand: &mut Strand) -> Step {
        let here = |join: &Join| join.pc as usize == strand.pc && join.depth == strand.frames.len();
        let Some(index) = strand.join.filter(|&j| self.joins.get(j).is_some_and(here)) else { return Step::Next };
        match self.joins.arrive(index, strand.mask) {
            // The instruction runs again: an outer join may be at the same place.
            Some(onward) => {
                *strand = onward;
                Step::Jumped
            }
            None => Step::Gone,
        }
    }

    /// What ends or changes the flow of a strand, but for branches.
    pub fn control(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        match &inst.op {
            Op::BranchTable { targets, reconverge } => self.branch_table(strand, inst, targets, *reconverge, launch),
            Op::Call(call) => self.call(strand, inst, call, mask, launch),
            Op::Return => self.ret(strand, launch),
            Op::Exit => Ok(self.exit(strand, mask)),
            Op::Builtin(builtin, call) => self.builtin(strand, *builtin, call, mask, launch, state),
            _ => Err(Fault::new(FaultKind::Trap, "the kernel trapped").at_lane(mask.trailing_zeros() as usize)),
        }
    }

    fn branch_table(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        targets: &[Target],
        reconverge: Target,
        launch: &Launch,
    ) -> Result<Step, Fault> {
        let index = *u32::read(&self.lanes(strand, launch), inst.s[0]);
        let mut rest = strand.mask;
        let mut first = true;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            let Some(&target) = targets.get(index[lane] as usize) else {
                let message = format!("index {} in a table of {}", index[lane], targets.len());
                return Err(Fault::new(FaultKind::InvalidCall, message).at_lane(lane));
            };
            let same = (0..LANES).fold(0, |same, i| same | u32::from(index[i] == index[lane]) << i) & rest;
            if same == strand.mask {
                strand.pc = target as usize;
                return Ok(Step::Jumped);
            }
            if first {
                self.parted = true;
                self.open_join(strand, reconverge);
            }
            first = false;
            rest &= !same;
            let part = Strand { mask: same, pc: target as usize, ..strand.clone() };
            if rest == 0 {
                *strand = part;
            } else {
                self.strands.push(part);
            }
        }
        Ok(Step::Jumped)
    }

    fn call(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        call: &Call,
        mask: u32,
        launch: &Launch,
    ) -> Result<Step, Fault> {
        let (target, lanes) = match call.target {
            Some(target) => (target as usize, mask),
            None => self.call_target(strand, inst, mask, launch)?,
        };
        let callee = &launch.program.codes[target];
        let caller = &launch.program.codes[strand.code];
        if lanes != strand.mask {
            self.parted = true;
            // The others wait behind the call, or call something else from here.
            self.open_join(strand, strand.pc as Target + 1);
            let rest = mask & !lanes;
            let others = strand.mask & !mask;
            if rest != 0 {
                self.strands.push(Strand { mask: rest, ..strand.clone() });
            }
            if others != 0 {
                self.strands.push(Strand { mask: others, pc: strand.pc + 1, ..strand.clone() });
            }
            strand.mask = lanes;
        }
        let (row_base, predicate_base) = (strand.row_base + caller.rows, strand.predicate_base + caller.predicates);
        let local_base = strand.local_base + caller.frame_bytes;
        if row_base + callee.rows > MAX_ROWS || local_base + callee.frame_bytes > MAX_LOCAL_BYTES {
            let message = format!("{} calls deep", strand.frames.len());
            return Err(Fault::new(FaultKind::StackOverflow, message).at_lane(lanes.trailing_zeros() as usize));
        }
        self.rows.resize(self.rows.len().max(row_base + callee.rows), Row::ZERO);
        self.predicates.resize(self.predicates.len().max(predicate_base + callee.predicates), 0);
        self.grow_local(local_base + callee.frame_bytes);
        for (&(from, bytes), &(to, room)) in call.args.iter().zip(&callee.params) {
            self.copy_frame(lanes, strand.local_base + from, local_base + to, bytes.min(room));
        }
        let Strand { code, pc, row_base: rows, predicate_base: predicates, local_base: local, .. } = *strand;
        strand.frames.push(Frame { code, pc, row_base: rows, predicate_base: predicates, local_base: local });
        (strand.code, strand.pc) = (target, 0);
        (strand.row_base, strand.predicate_base, strand.local_base) = (row_base, predicate_base, local_base);
        Ok(Step::Jumped)
    }

    /// The function that the first lane calls, and all lanes that call it too.
    fn call_target(&mut self, strand: &Strand, inst: &Inst, mask: u32, launch: &Launch) -> Result<(usize, u32), Fault> {
        let pointers = *u64::read(&self.lanes(strand, launch), inst.s[0]);
        let lane = mask.trailing_zeros() as usize;
        let Some(target) = launch.program.code_at(pointers[lane]).filter(|&t| t != 0) else {
            let message = format!("call through 0x{:x}, which is no function", pointers[lane]);
            return Err(Fault::new(FaultKind::InvalidCall, message).at_lane(lane));
        };
        Ok((target, (0..LANES).fold(0, |same, i| same | u32::from(pointers[i] == pointers[lane]) << i) & mask))
    }

    fn copy_frame(&mut self, mask: u32, from: usize, to: usize, bytes: usize) {
        self.copy_poison(mask, from, to, bytes);
        let stride = self.local_stride;
        let local = self.local_bytes();
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            local.copy_within(lane * stride + from..lane * stride + from + bytes, lane * stride + to);
        }
    }

    fn ret(&mut self, strand: &mut Strand, launch: &Launch) -> Result<Step, Fault> {
        let Some(frame) = strand.frames.pop() else {
            return Err(Fault::new(FaultKind::InvalidCall, "return without a call"));
        };
        let callee = &launch.program.codes[strand.code];
        let callee_base = strand.local_base;
        if let Op::Call(call) = &launch.program.codes[frame.code].insts[frame.pc].op {
            for (&(from, bytes), &(to, room)) in callee.returns.iter().zip(&call.returns) {
                self.copy_frame(strand.mask, callee_base + from, frame.local_base + to, bytes.min(room));
            }
        }
        (strand.code, strand.pc) = (frame.code, frame.pc + 1);
        (strand.row_base, strand.predicate_base) = (frame.row_base, frame.predicate_base);
        strand.local_base = frame.local_base;
        Ok(Step::Jumped)
    }

    fn exit(&mut self, strand: &mut Strand, mask: u32) -> Step {
        self.live &= !mask;
        strand.mask &= !mask;
        if !self.joins.is_empty() {
            let free = self.joins.leave(mask);
            self.strands.extend(free);
        }
        if strand.mask == 0 { Step::Gone } else { Step::Next }
    }
}
