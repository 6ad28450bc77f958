//! Instructions that several lanes execute together, wherever the program has taken them.
//!
//! A strand that brings all lanes of its member mask runs at once. Otherwise it waits at the instruction, and when the
//! missing lanes wait there too, the instruction runs for all of them and each strand goes on by itself.

use super::block::BlockState;
use super::matrix::move_matrix;
use super::strand::{Strand, Wait};
use super::warp::{Step, Warp};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::program::lanes::{LANES, Word};
use crate::program::{Collective, Inst, MatrixMove, Members, Op};

/// Whether these lanes are all there are, and each names all.
fn all_named(members: &[u32; LANES], mask: u32, live: u32) -> bool {
    mask == live && (0..LANES).all(|lane| mask >> lane & 1 == 0 || members[lane] == live)
}

impl Warp {
    /// The lanes that must take part, as the executing lanes name them; with one answer per lane where they differ.
    fn members(&mut self, strand: &Strand, members: Members, mask: u32, launch: &Launch) -> [u32; LANES] {
        match members {
            Members::All => [self.live; LANES],
            Members::Register(reg) => {
                let named = *u32::read(&self.lanes(strand, launch), reg);
                std::array::from_fn(|i| if mask >> i & 1 == 1 { named[i] & self.live } else { 0 })
            }
        }
    }

    pub fn collective(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        collective: &Collective,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        if collective.members == Members::All {
            self.check_aligned(mask, launch)?;
        }
        if collective.members == Members::All && mask == self.live {
            self.flow_collective(strand, inst, mask, launch);
            (collective.run)(&mut self.lanes(strand, launch), inst, mask)?;
            return Ok(Step::Next);
        }
        let members = self.members(strand, collective.members, mask, launch);
        let wanted = members.iter().fold(0, |all, m| all | m);
        if wanted & !mask != 0 {
            return Ok(Step::Wait(Wait::Converge { members: wanted, executing: mask }));
        }
        state.check_members(&members, mask, launch)?;
        self.run_groups(strand, inst, collective, &members, mask, launch)?;
        self.parted &= !all_named(&members, mask, self.live);
        Ok(Step::Next)
    }

    /// An instruction that all lanes must reach together: whether the program has seen to it, if that is checked.
    pub fn check_aligned(&self, mask: u32, launch: &Launch) -> Result<(), Fault> {
        if !launch.checks.aligned || !self.parted {
            return Ok(());
        }
        let message = if mask == self.live {
            "lanes parted at a branch, and nothing the program says brings them together before this".to_owned()
        } else {
            format!("lanes 0x{mask:08x} of 0x{:08x} reach this by themselves", self.live)
        };
        Err(Fault::new(FaultKind::Convergence, message).at_lane(mask.trailing_zeros() as usize))
    }

    /// Runs a collective once for each group of lanes that name the same members.
    fn run_groups(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        collective: &Collective,
        members: &[u32; LANES],
        mask: u32,
        launch: &Launch,
    ) -> Result<(), Fault> {
        let mut rest = mask;
        while rest != 0 {
            let named = members[rest.trailing_zeros() as usize];
            let group = (0..LANES).fold(0, |same, i| same | u32::from(members[i] == named) << i) & rest;
            rest &= !group;
            self.flow_collective(strand, inst, group, launch);
            let outcome = (collective.run)(&mut self.lanes(strand, launch), inst, group);
            if launch.checks.sync {
                outcome?;
            }
        }
        Ok(())
    }

    pub fn matrix_move(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        matrix: &MatrixMove,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        self.check_aligned(mask, launch)?;
        if self.live & !mask != 0 {
            return Ok(Step::Wait(Wait::Converge { members: self.live, executing: mask }));
        }
        move_matrix(self, strand, inst, matrix, mask, launch, state)?;
        Ok(Step::Next)
    }

    pub fn warp_sync(
        &mut self,
        strand: &mut Strand,
        members: Members,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        let members = self.members(strand, members, mask, launch);
        state.check_members(&members, mask, launch)?;
        let wanted = members.iter().fold(0, |all, m| all | m);
        if wanted & !mask == 0 {
            state.warp_synchronized(self.index);
            self.parted &= wanted != self.live;
            return Ok(Step::Next);
        }
        Ok(Step::Wait(Wait::Warp(wanted)))
    }

    /// Lets strands go on whose missing lanes have come, or have exited.
    pub fn settle(&mut self, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        if self.strands.iter().all(|s| s.wait == Wait::Nothing) {
            return Ok(());
        }
        let waiting = self.strands.iter().fold(0, |all, s| if let Wait::Warp(_) = s.wait { all | s.mask } else { all });
        for k in 0..self.strands.len() {
            match self.strands[k].wait {
                Wait::Warp(members) if members & self.live & !waiting == 0 => self.release_warp(waiting, state),
                Wait::Converge { members, .. } => self.try_converge(k, members, launch, state)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn release_warp(&mut self, waiting: u32, state: &mut BlockState) {
        let live = self.live;
        state.warp_synchronized(self.index);
        self.parted &= waiting & live != live;
        for strand in &mut self.strands {
            if let Wait::Warp(members) = strand.wait
                && members & live & !waiting == 0
            {
                strand.wait = Wait::Nothing;
                strand.pc += 1;
            }
        }
    }

    fn try_converge(&mut self, k: usize, members: u32, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
        let (code, pc, base) = (self.strands[k].code, self.strands[k].pc, self.strands[k].row_base);
        let beside = |s: &Strand| (s.code, s.pc, s.row_base) == (code, pc, base);
        let together = self.strands.iter().filter(|s| beside(s)).fold(0, |all, s| match s.wait {
            Wait::Converge { executing, .. } => all | executing,
            _ => all,
        });
        if members & self.live & !together != 0 {
            return Ok(());
        }
        let strand = Strand { mask: together, wait: Wait::Nothing, ..self.strands[k].clone() };
        let inst = &launch.program.codes[code].insts[pc];
        let outcome = match &inst.op {
            Op::Collective(collective) => {
                let members = self.members(&strand, collective.members, together, launch);
                self.parted &= !all_named(&members, together, self.live);
                state
                    .check_members(&members, together, launch)
                    .and_then(|()| self.run_groups(&strand, inst, collective, &members, together, launch))
            }
            Op::MatrixMove(matrix) => move_matrix(self, &strand, inst, matrix, together, launch, state),
            _ => Ok(()),
        };
        outcome.map_err(|fault| self.place(fault, &strand, launch, state))?;
        for s in &mut self.strands {
            if (s.code, s.pc, s.row_base) == (code, pc, base) && matches!(s.wait, Wait::Converge { .. }) {
                s.wait = Wait::Nothing;
                s.pc += 1;
            }
        }
        Ok(())
    }

    /// What a strand that will never go on waits for, for the message.
    pub fn stuck(&self, launch: &Launch, state: &BlockState) -> Option<Fault> {
        let strand = self.strands.iter().find(|s| s.wait != Wait::Nothing)?;
        let message = match strand.wait {
            Wait::Warp(members) => format!("lanes 0x{:08x} of the warp never come", members & !strand.mask),
            Wait::Converge { members, executing } => {
                format!("lanes 0x{:08x} of the warp never come", members & self.live & !executing)
            }
            _ => "some threads of the block never come".to_owned(),
        };
        let fault = Fault::new(FaultKind::Barrier, message).at_lane(strand.mask.trailing_zeros() as usize);
        Some(self.place(fault, strand, launch, state))
    }
}
