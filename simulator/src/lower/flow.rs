//! Control flow of a function: where lanes that part at a branch meet again.
//!
//! That is the branch's immediate post-dominator (see [`super::meeting`]). Paths that never return (`exit` in the
//! middle, `trap`) are left out: their lanes vanish, so the others need not wait for them. Nor does anyone wait at a
//! kernel's end: a branch there is an exit, since a thread that returns early must not be missed by a barrier of the
//! others. A `Join` is put where some branch reconverges, and all targets are renumbered.

use super::meeting::meeting_points;
use crate::program::{Builtin, Class, Info, Inst, NO_TARGET, Op, Target};

pub struct Flow {
    /// First instruction of each block, and one past the last.
    starts: Vec<u32>,
    successors: Vec<Vec<usize>>,
}

impl Flow {
    /// Turns labels into instruction indices, inserts joins and fills in the reconvergence points.
    pub fn reconverge(mut insts: Vec<Inst>, infos: Vec<Info>, labels: &[u32]) -> (Vec<Inst>, Vec<Info>) {
        for inst in &mut insts {
            each_target(&mut inst.op, |t| *t = labels[*t as usize]);
        }
        for i in 0..insts.len() {
            let guarded = insts[i].guard.reg != crate::program::NONE;
            if let Op::Branch { target, .. } = insts[i].op
                && guarded
                && only_exits(&insts, target as usize)
            {
                insts[i].op = Op::Exit;
            }
        }
        let flow = Self::new(&mut insts);
        let meets = meeting_points(&flow.successors, flow.successors.len() - 1);
        let mut joins = vec![false; flow.successors.len()];
        let mut reconverge = vec![NO_TARGET; insts.len()];
        for (block, &meet) in meets.iter().enumerate() {
            let last = flow.starts[block + 1] as usize - 1;
            if let (Some(meet), true) = (meet, may_diverge(&insts[last]))
                && !only_exits(&insts, flow.starts[meet] as usize)
            {
                joins[meet] = true;
                reconverge[last] = flow.starts[meet];
            }
        }
        flow.insert_joins(insts, infos, &joins, &reconverge)
    }

    pub fn new(insts: &mut [Inst]) -> Self {
        let mut leader = vec![false; insts.len() + 1];
        leader[0] = true;
        for i in 0..insts.len() {
            let ends = ends_block(&insts[i].op);
            each_target(&mut insts[i].op, |t| leader[*t as usize] = true);
            leader[i + 1] |= ends;
        }
        leader[insts.len()] = true;
        let starts: Vec<u32> = (0..=insts.len() as u32).filter(|&i| leader[i as usize]).collect();
        let mut successors = Vec::with_capacity(starts.len() - 1);
        let block_at = |index: u32| starts.binary_search(&index).ok();
        for pair in starts.windows(2) {
            let last = pair[1] as usize - 1;
            let mut next = Vec::new();
            each_target(&mut insts[last].op, |t| next.extend(block_at(*t)));
            if falls_through(&insts[last]) && (pair[1] as usize) < insts.len() {
                next.extend(block_at(pair[1]));
            }
            next.dedup();
            successors.push(next);
        }
        Self { starts, successors }
    }

    pub fn blocks(&self) -> impl Iterator<Item = (std::ops::Range<usize>, &[usize])> {
        self.starts.windows(2).zip(&self.successors).map(|(w, s)| (w[0] as usize..w[1] as usize, s.as_slice()))
    }

    fn insert_joins(
        &self,
        insts: Vec<Inst>,
        infos: Vec<Info>,
        joins: &[bool],
        reconverge: &[Target],
    ) -> (Vec<Inst>, Vec<Info>) {
        let mut moved = vec![0; insts.len() + 1];
        let (mut new_insts, mut new_infos) = (Vec::with_capacity(insts.len()), Vec::with_capacity(insts.len()));
        let mut block = 0;
        for (i, (inst, info)) in insts.into_iter().zip(infos).enumerate() {
            moved[i] = new_insts.len() as u32;
            if self.starts[block] as usize == i {
                if joins[block] {
                    new_insts.push(Inst::new(Op::Join, Class::None));
                    new_infos.push(info.clone());
                }
                block += 1;
            }
            let mut inst = inst;
            match &mut inst.op {
                Op::Branch { reconverge: r, .. } | Op::BranchTable { reconverge: r, .. } => *r = reconverge[i],
                _ => {}
            }
            new_insts.push(inst);
            new_infos.push(info);
        }
        for inst in &mut new_insts {
            each_target(&mut inst.op, |t| *t = moved[*t as usize]);
            if let Op::Branch { reconverge: r, .. } | Op::BranchTable { reconverge: r, .. } = &mut inst.op
                && *r != NO_TARGET
            {
                *r = moved[*r as usize];
            }
        }
        (new_insts, new_infos)
    }
}

fn each_target(op: &mut Op, mut visit: impl FnMut(&mut Target)) {
    match op {
        Op::Branch { target, .. } => visit(target),
        Op::BranchTable { targets, .. } => targets.iter_mut().for_each(visit),
        _ => {}
    }
}

/// Whether what is at `index` does nothing but end the thread.
fn only_exits(insts: &[Inst], index: usize) -> bool {
    let unguarded = insts[index].guard.reg == crate::program::NONE;
    match insts[index].op {
        Op::Exit => unguarded,
        // The one branch that is followed is that of a `ret`: to the end, which is an exit in a kernel.
        Op::Branch { target, .. } => {
            unguarded && target as usize == insts.len() - 1 && matches!(insts[insts.len() - 1].op, Op::Exit)
        }
        _ => false,
    }
}

fn ends_block(op: &Op) -> bool {
    matches!(
        op,
        Op::Branch { .. }
            | Op::BranchTable { .. }
            | Op::Return
            | Op::Exit
            | Op::Trap
            | Op::Builtin(Builtin::AssertFail, _)
    )
}

fn falls_through(inst: &Inst) -> bool {
    !ends_block(&inst.op) || inst.guard.reg != crate::program::NONE
}

fn may_diverge(inst: &Inst) -> bool {
    match inst.op {
        Op::Branch { .. } => inst.guard.reg != crate::program::NONE,
        Op::BranchTable { .. } => true,
        _ => false,
    }
}
