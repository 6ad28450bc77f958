//! Code to segments and runs, for the executor's loop.
//!
//! A segment is counted when its first instruction runs, so nothing within it may change the strand's lanes or leave
//! early: it ends at a branch, a call, a join and the end of its block, and a guarded instruction is counted by itself.
//! A read of the clock stands alone, since the clock is what was counted so far. A run is what the loop does without
//! looking: lane loops of one segment, one after the other.

use super::flow::Flow;
use crate::program::{Class, Inst, NO_SEGMENT, NONE, Op, Segment, Special};

/// Marks where segments start and how long the run from each instruction is; the segments go behind `segments`.
pub fn divide(insts: &mut [Inst], segments: &mut Vec<Segment>) {
    let blocks: Vec<_> = Flow::new(insts).blocks().map(|(range, _)| range).collect();
    for block in blocks {
        let mut open = false;
        for inst in &mut insts[block.clone()] {
            let alone = stands_alone(&inst.op);
            open &= !alone;
            if inst.guard.reg != NONE {
                open = false;
                continue;
            }
            // What is no instruction of the program is not counted, and does not end a segment.
            if inst.class == Class::None {
                continue;
            }
            if !open {
                inst.segment = segments.len() as u32;
                segments.push(Segment::default());
            }
            if let Some(segment) = segments.last_mut() {
                segment.add(inst.class, inst.flops);
            }
            open = !alone;
        }
        let mut run = 0;
        for inst in insts[block].iter_mut().rev() {
            let plain = matches!(inst.op, Op::Alu(_)) && inst.guard.reg == NONE;
            run = if plain { run + 1 } else { 0 };
            inst.run = run;
            // The instruction before belongs to another segment, which must be counted first.
            if inst.segment != NO_SEGMENT {
                run = 0;
            }
        }
    }
}

fn stands_alone(op: &Op) -> bool {
    is_clock(op) || matches!(op, Op::Call(_) | Op::Join)
}

pub fn is_clock(op: &Op) -> bool {
    matches!(op, Op::Special(Special::Clock | Special::ClockHi | Special::Clock64 | Special::GlobalTimer))
}
