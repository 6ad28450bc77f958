//! A warp: its registers, strands and pending copies, and the loop that runs them.
//!
//! The loop does the common instructions itself (lane loops, uniform branches, memory) and leaves the rest to functions
//! by family. A strand runs until it waits, ends, or has had its share of instructions; so a spinning strand cannot
//! starve the one it waits for.

use super::block::BlockState;
use super::copies::{Copies, copy_async};
use super::memory_ops::{load, store};
use super::poison::Poison;
use super::strand::{Joins, Strand, Wait};
use crate::error::{Fault, Place};
use crate::launch::Launch;
use crate::program::lanes::{FULL, LANES, Lanes, Row};
use crate::program::{Inst, NO_SEGMENT, NONE, Op};

/// Instructions a strand runs before others get a turn.
const SHARE: usize = 8192;

pub struct Warp {
    pub index: usize,
    /// Lanes that have not exited.
    pub live: u32,
    pub strands: Vec<Strand>,
    pub joins: Joins,
    pub rows: Vec<Row>,
    pub predicates: Vec<u32>,
    /// Local memory, a stretch of `local_stride` bytes a lane.
    pub local: Vec<u64>,
    pub local_stride: usize,
    pub copies: Copies,
    /// Values from memory that nothing wrote, where the check of that is on.
    pub poison: Poison,
    /// Whether lanes have parted at a branch since something last brought all of them together.
    pub parted: bool,
    /// The strand that runs next.
    next: usize,
}

/// What the execution of one instruction means for the strand.
pub enum Step {
    /// On to the next instruction.
    Next,
    /// The strand's place has been changed.
    Jumped,
    /// As `Next`, but others should run first.
    Yield,
    /// The strand waits at this instruction.
    Wait(Wait),
    /// The strand's lanes are gone: exited, or waiting at a join.
    Gone,
}

impl Warp {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            live: 0,
            strands: Vec::new(),
            joins: Joins::default(),
            rows: Vec::new(),
            predicates: Vec::new(),
            local: Vec::new(),
            local_stride: 0,
            copies: Copies::default(),
            poison: Poison::default(),
            parted: false,
            next: 0,
        }
    }

    /// Starts the warp at the kernel's first instruction, with nothing left of an earlier block.
    pub fn start(&mut self, launch: &Launch) {
        let threads = launch.threads() as usize - self.index * LANES;
        let code = &launch.program.codes[0];
        self.live = if threads >= LANES { FULL } else { (1 << threads) - 1 };
        self.joins = Joins::default();
        self.rows.clear();
        self.rows.resize(code.rows, Row::ZERO);
        self.predicates.clear();
        self.predicates.resize(code.predicates, 0);
        self.local_stride = code.frame_bytes.next_multiple_of(16);
        self.local.clear();
        self.local.resize(self.local_stride / 8 * LANES, 0);
        self.copies.clear();
        self.poison.clear();
        self.parted = false;
        self.next = 0;
        self.strands.clear();
        self.strands.push(Strand {
            mask: self.live,
            code: 0,
            pc: 0,
            row_base: 0,
            predicate_base: 0,
            local_base: 0,
            frames: Vec::new(),
            join: None,
            wait: Wait::Nothing,
        });
    }

    /// Makes room for so many bytes a lane.
    pub fn grow_local(&mut self, bytes: usize) {
        if bytes <= self.local_stride {
            return;
        }
        let stride = bytes.next_multiple_of(16).max(self.local_stride * 2);
        let mut wider = vec![0u64; stride / 8 * 32];
        let old = self.local_stride / 8;
        for lane in 0..32 {
            wider[lane * stride / 8..][..old].copy_from_slice(&self.local[lane * old..][..old]);
        }
        self.local = wider;
        self.local_stride = stride;
    }

    pub fn local_bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.local)
    }

    pub fn done(&self) -> bool {
        self.live == 0
    }

    pub fn runnable(&self) -> bool {
        self.strands.iter().any(|s| s.wait == Wait::Nothing)
    }

    /// Runs each strand that can run for one share. `true` if any did.
    pub fn run(&mut self, launch: &Launch, state: &mut BlockState) -> Result<bool, Fault> {
        let mut progress = false;
        for _ in 0..self.strands.len().max(1) {
            let count = self.strands.len();
            let Some(at) = (0..count).map(|k| (self.next + k) % count).find(|&k| self.strands[k].wait == Wait::Nothing)
            else {
                break;
            };
            let mut strand = self.strands.swap_remove(at);
            self.next = at;
            progress = true;
            match self.run_strand(&mut strand, launch, state) {
                Ok(true) => {
                    self.strands.push(strand);
                    self.next += usize::from(self.strands.len() > 1);
                    self.settle(launch, state)?;
                }
                Ok(false) => self.settle(launch, state)?,
                Err(fault) => return Err(self.place(fault, &strand, launch, state)),
            }
        }
        Ok(progress)
    }

    /// Runs one strand; `false` if its lanes are gone.
    fn run_strand(&mut self, strand: &mut Strand, launch: &Launch, state: &mut BlockState) -> Result<bool, Fault> {
        let mut share = SHARE;
        while share > 0 {
            let code = &launch.program.codes[strand.code];
            let inst = &code.insts[strand.pc];
            if inst.segment != NO_SEGMENT {
                state.counters.enter(inst.segment, strand.mask);
            }
            if inst.run > 0 {
                let run = &code.insts[strand.pc..][..inst.run as usize];
                if self.poison.is_empty() {
                    self.run_lanes(run, strand, launch);
                    strand.pc += run.len();
                } else {
                    self.run_lanes_watched(run, strand, launch);
                }
                share = share.saturating_sub(run.len());
                continue;
            }
            share -= 1;
            let mask = if inst.guard.reg == NONE {
                strand.mask
            } else {
                let on = self.lanes(strand, launch).predicate(inst.guard.reg) ^ inst.guard.flip;
                state.counters.count(inst, strand.mask & on);
                strand.mask & on
            };
            match self.step(strand, inst, mask, launch, state)? {
                Step::Next => strand.pc += 1,
                Step::Jumped => {}
                Step::Yield => {
                    strand.pc += 1;
                    return Ok(true);
                }
                Step::Wait(wait) => {
                    strand.wait = wait;
                    return Ok(true);
                }
                Step::Gone => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Lane loops without guards, one after the other.
    #[inline(always)]
    fn run_lanes(&mut self, run: &[Inst], strand: &Strand, launch: &Launch) {
        let mask = strand.mask;
        let mut lanes = self.lanes(strand, launch);
        for inst in run {
            if let Op::Alu(run) = inst.op {
                run(&mut lanes, inst, mask);
            }
        }
    }

    /// The same where some value is not known: instruction by instruction.
    #[cold]
    fn run_lanes_watched(&mut self, run: &[Inst], strand: &mut Strand, launch: &Launch) {
        for inst in run {
            self.flow(strand, inst, strand.mask, launch);
            self.run_lanes(std::slice::from_ref(inst), strand, launch);
            strand.pc += 1;
        }
    }

    /// The instructions that are not lane loops.
    fn step(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        if !self.poison.is_empty() {
            self.watch_poison(strand, inst, mask, launch)?;
        }
        match &inst.op {
            Op::Branch { target, reconverge } => return Ok(self.branch(strand, mask, *target, *reconverge)),
            Op::Join => return Ok(self.join(strand)),
            _ if mask == 0 => return Ok(Step::Next),
            Op::Load(access) => load(self, strand, inst, access, mask, launch, state)?,
            Op::Store(access) => store(self, strand, inst, access, mask, launch, state)?,
            Op::Atomic(atomic) => self.atomic(strand, inst, atomic, mask, launch, state)?,
            Op::Collective(c) => return self.collective(strand, inst, c, mask, launch, state),
            Op::MatrixMove(m) => return self.matrix_move(strand, inst, m, mask, launch, state),
            Op::CopyAsync(copy) => copy_async(self, strand, inst, copy, mask, launch, state)?,
            Op::CopyCommit => self.copies.commit(mask),
            Op::CopyWait(groups) => self.copy_wait(mask, *groups, launch, state)?,
            Op::Special(special) => self.special(strand, inst, *special, mask, launch, state),
            Op::Barrier(_) => return self.barrier(strand, inst, mask, launch, state),
            Op::WarpSync(members) => return self.warp_sync(strand, *members, mask, launch, state),
            Op::Mbarrier { .. } => return self.mbarrier(strand, inst, mask, launch, state),
            Op::ActiveMask => self.active_mask(strand, inst, mask, launch),
            Op::Fence(wide) => state.fence(self.index, *wide),
            Op::Pause => return Ok(Step::Yield),
            Op::Alu(run) => run(&mut self.lanes(strand, launch), inst, mask),
            Op::Nothing => {}
            _ => return self.control(strand, inst, mask, launch, state),
        }
        Ok(Step::Next)
    }

    pub fn lanes<'w>(&'w mut self, strand: &Strand, launch: &'w Launch) -> Lanes<'w> {
        Lanes {
            rows: &mut self.rows[strand.row_base..],
            predicates: &mut self.predicates[strand.predicate_base..],
            constants: &launch.program.constants,
        }
    }

    /// Says where a fault happened.
    pub fn place(&self, mut fault: Fault, strand: &Strand, launch: &Launch, state: &BlockState) -> Fault {
        if fault.place.is_some() {
            return fault;
        }
        let code = &launch.program.codes[strand.code];
        let info = &code.infos[strand.pc];
        let file = |index: u32| launch.program.files.iter().find(|(i, _)| *i == index).map(|(_, name)| name.clone());
        fault.place = Some(Box::new(Place {
            kernel: launch.program.name.clone(),
            ptx_line: info.line,
            source: info.source.and_then(|s| Some((file(s.place.0)?, s.place.1))),
            caller: info.source.and_then(|s| s.caller).and_then(|(index, line)| Some((file(index)?, line))),
            instruction: info.mnemonic.clone(),
            block: state.index,
            thread: launch.thread_index((self.index * 32) as u32 + fault.lane),
        }));
        fault
    }
}
