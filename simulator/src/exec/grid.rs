//! A grid: blocks in order over worker threads, with others beside one that waits for them; or, for a cooperative
//! launch, all blocks in turns.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::block::{Block, Progress};
use crate::counters::Counters;
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;

/// Runs a launch to its end.
pub fn run(launch: &Launch) -> Result<Counters, Fault> {
    let outcome = Mutex::new((Counters::new(&launch.program), None::<(u64, Fault)>));
    let next = AtomicU64::new(0);
    if launch.checks.race
        && let Some(touched) = launch.memory.touched()
    {
        touched.start(launch.grid_id);
    }
    let workers = workers(launch);
    let work = |first: usize| {
        let mut counters = Counters::new(&launch.program);
        let fault = if launch.cooperative {
            run_together(launch, first, workers, &mut counters)
        } else {
            Resident::new(launch, &next, workers).run(&mut counters)
        };
        let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        outcome.0.merge(counters);
        if let Some((block, fault)) = fault {
            launch.stop.store(true, Ordering::Relaxed);
            if outcome.1.as_ref().is_none_or(|(other, _)| block < *other) {
                outcome.1 = Some((block, fault));
            }
        }
    };
    std::thread::scope(|scope| {
        for first in 1..workers {
            let work = &work;
            scope.spawn(move || work(first));
        }
        work(0);
    });
    let (counters, fault) = outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match fault {
        Some((_, fault)) => Err(fault),
        None => Ok(counters),
    }
}

/// At most one a block. Blocks that wait for each other spin, for how long depends on the workers; where that is
/// counted, there is one, and it gives them their turns in order.
fn workers(launch: &Launch) -> usize {
    if launch.cooperative && launch.counting {
        return 1;
    }
    launch.workers.min(launch.blocks().min(1 << 16) as usize).max(1)
}

/// A worker's blocks: in order, one after the other, unless one may be waiting for another.
///
/// A block that goes on for long while it reads or writes what threads synchronise through may wait for one that a GPU
/// would run beside it. Then the next block starts too, and all that have started get turns, as many as would be
/// resident together.
struct Resident<'l> {
    launch: &'l Launch,
    next: &'l AtomicU64,
    running: VecDeque<Block<'l>>,
    /// Places of blocks that are done, for others.
    spare: Vec<Block<'l>>,
    most: usize,
}

/// Rounds of turns in which no block ends, and some may be waiting, before another block starts.
const PATIENCE: u32 = 2;

impl<'l> Resident<'l> {
    fn new(launch: &'l Launch, next: &'l AtomicU64, workers: usize) -> Self {
        let most = (launch.resident_blocks as usize).div_ceil(workers).max(1);
        Self { launch, next, running: VecDeque::new(), spare: Vec::new(), most }
    }

    /// Starts the next block of the grid, if there is one.
    fn start_next(&mut self) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.launch.blocks() {
            return false;
        }
        let mut block = self.spare.pop().unwrap_or_else(|| Block::new(self.launch));
        block.start(self.launch.chosen(number));
        self.running.push_back(block);
        true
    }

    fn run(mut self, counters: &mut Counters) -> Option<(u64, Fault)> {
        let mut rounds = 0;
        while !self.launch.stopped() && (!self.running.is_empty() || self.start_next()) {
            let (mut ended, mut may_wait) = (false, false);
            for _ in 0..self.running.len() {
                let Some(mut block) = self.running.pop_front() else { break };
                match block.advance() {
                    Ok(Progress::Done) => {
                        ended = true;
                        self.spare.push(block);
                    }
                    Ok(Progress::Running) => {
                        may_wait |= block.state.take_synchronized();
                        self.running.push_back(block);
                    }
                    Err(fault) => return Some((block.state.linear, fault)),
                }
                if self.launch.stopped() {
                    return None;
                }
            }
            rounds = if ended || !may_wait { 0 } else { rounds + 1 };
            if rounds >= PATIENCE && self.running.len() < self.most {
                self.start_next();
                rounds = 0;
            }
        }
        self.spare.into_iter().for_each(|block| counters.merge(block.state.counters));
        None
    }
}

/// Blocks `first, first + step, …`, each getting turns until all are done: any may wait for any other.
fn run_together(launch: &Launch, first: usize, step: usize, counters: &mut Counters) -> Option<(u64, Fault)> {
    let place = |number| {
        let mut block = Block::new(launch);
        block.start(launch.chosen(number));
        block
    };
    let mut blocks: Vec<Block<'_>> = (first as u64..launch.blocks()).step_by(step).map(place).collect();
    while !blocks.is_empty() {
        if launch.stopped() {
            return None;
        }
        let mut running = Vec::with_capacity(blocks.len());
        for mut block in blocks {
            match block.advance() {
                Ok(Progress::Done) => counters.merge(block.state.counters),
                Ok(Progress::Running) => running.push(block),
                Err(fault) if fault.kind == FaultKind::Barrier || !launch.stopped() => {
                    return Some((block.state.linear, fault));
                }
                Err(_) => return None,
            }
        }
        blocks = running;
    }
    None
}
