//! Virtual registers to rows: liveness over the blocks, then a linear scan.
//!
//! nvcc's PTX names a new register for nearly every value. With a row each, a warp's registers would not fit any cache;
//! with rows reused as values die, they do. Registers are private to a lane, so liveness along a lane's own path is
//! enough: a masked write leaves the lanes of other paths alone.

use super::flow::Flow;
use crate::program::{Inst, NONE, Reg, RegClass};

pub struct Used {
    pub rows: usize,
    pub predicates: usize,
}

/// Rewrites every register of `insts` to its place.
pub fn allocate(insts: &mut [Inst], registers: usize) -> Used {
    let spans = spans(insts, registers);
    let mut order: Vec<usize> = (0..registers).filter(|&r| spans[r].class.is_some()).collect();
    order.sort_by_key(|&r| (spans[r].start, r));
    let mut pools = [Pool::default(), Pool::default(), Pool::default()];
    let mut place = vec![0u32; registers];
    for &r in &order {
        let span = &spans[r];
        let class = span.class.expect("registers without a class were filtered out");
        place[r] = pools[class as usize].take(span.start, span.end);
    }
    let doubles = pools[RegClass::Double as usize].count;
    for inst in insts.iter_mut() {
        // A guarded destination is visited twice, first as read: rewriting must happen once.
        let rewrite = |reg: &mut Reg| {
            if *reg == NONE || !reg.is_virtual() {
                return;
            }
            let index = place[reg.index()];
            *reg = match reg.class() {
                RegClass::Double => Reg::new(RegClass::Double, 2 * index),
                RegClass::Word => Reg::new(RegClass::Word, 2 * doubles + index),
                class => Reg::new(class, index),
            };
        };
        let guard = inst.guard.reg;
        inst.guard.reg = NONE;
        inst.visit(|reg, _| rewrite(reg));
        inst.guard.reg = guard;
        rewrite(&mut inst.guard.reg);
    }
    Used {
        rows: (2 * doubles + pools[RegClass::Word as usize].count) as usize,
        predicates: pools[RegClass::Predicate as usize].count as usize,
    }
}

/// Where a register lives: from its first definition to its last use, in half instructions.
#[derive(Clone)]
struct Span {
    start: usize,
    end: usize,
    class: Option<RegClass>,
}

/// Places of one class, with the time each becomes free.
#[derive(Default)]
struct Pool {
    count: u32,
    free: Vec<u32>,
    busy: std::collections::BinaryHeap<std::cmp::Reverse<(usize, u32)>>,
}

impl Pool {
    fn take(&mut self, start: usize, end: usize) -> u32 {
        while let Some(&std::cmp::Reverse((until, place))) = self.busy.peek() {
            if until >= start {
                break;
            }
            self.busy.pop();
            self.free.push(place);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        });
        self.busy.push(std::cmp::Reverse((end, place)));
        place
    }
}

fn spans(insts: &mut [Inst], registers: usize) -> Vec<Span> {
    let mut spans = vec![Span { start: usize::MAX, end: 0, class: None }; registers];
    let flow = Flow::new(insts);
    let words = registers.div_ceil(64);
    let blocks: Vec<_> = flow.blocks().map(|(range, next)| (range, next.to_vec())).collect();
    let (mut uses, mut kills) = (vec![vec![0u64; words]; blocks.len()], vec![vec![0u64; words]; blocks.len()]);
    for (b, (range, _)) in blocks.iter().enumerate() {
        for i in range.clone() {
            insts[i].visit(|reg, written| {
                if *reg == NONE || !reg.is_virtual() {
                    return;
                }
                let r = reg.index();
                // A definition starts before the reads of its own instruction end: loops may write before reading.
                let at = 2 * i + usize::from(!written);
                spans[r].start = spans[r].start.min(at);
                spans[r].end = spans[r].end.max(at);
                spans[r].class = Some(reg.class());
                let (word, bit) = (r / 64, 1u64 << (r % 64));
                if written {
                    kills[b][word] |= bit;
                } else if kills[b][word] & bit == 0 {
                    uses[b][word] |= bit;
                }
            });
        }
    }
    let live_in = live_in(&blocks, &uses, &kills);
    for (b, (range, next)) in blocks.iter().enumerate() {
        each_bit(&live_in[b], |r| {
            spans[r].start = spans[r].start.min(2 * range.start);
            spans[r].end = spans[r].end.max(2 * range.start);
        });
        for &n in next {
            each_bit(&live_in[n], |r| {
                spans[r].start = spans[r].start.min(2 * range.end - 1);
                spans[r].end = spans[r].end.max(2 * range.end - 1);
            });
        }
    }
    spans
}

fn live_in(blocks: &[(std::ops::Range<usize>, Vec<usize>)], uses: &[Vec<u64>], kills: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let mut live = uses.to_vec();
    let mut changed = true;
    while changed {
        changed = false;
        for b in (0..blocks.len()).rev() {
            for &next in &blocks[b].1 {
                for word in 0..live[b].len() {
                    let new = live[b][word] | (live[next][word] & !kills[b][word]);
                    changed |= new != live[b][word];
                    live[b][word] = new;
                }
            }
        }
    }
    live
}

fn each_bit(words: &[u64], mut visit: impl FnMut(usize)) {
    for (w, &word) in words.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            visit(w * 64 + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}
