//! A grid: blocks in order over worker threads; or, for a cooperative launch, all blocks in turns.

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
            run_in_order(launch, &next, &mut counters)
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

/// At most one a block. Blocks that wait for each other spin, for how long depends on the workers; where that is counted,
/// there is one, and it gives them their turns in order.
fn workers(launch: &Launch) -> usize {
    if launch.cooperative && launch.counting {
        return 1;
    }
    launch.workers.min(launch.blocks().min(1 << 16) as usize).max(1)
}

fn run_in_order(launch: &Launch, next: &AtomicU64, counters: &mut Counters) -> Option<(u64, Fault)> {
    let mut block = Block::new(launch);
    loop {
        let linear = next.fetch_add(1, Ordering::Relaxed);
        if linear >= launch.blocks() || launch.stopped() {
            break;
        }
        block.start(linear);
        loop {
            match block.advance() {
                Ok(Progress::Done) => break,
                Ok(Progress::Running) if launch.stopped() => return None,
                Ok(Progress::Running) => {}
                Err(fault) => return Some((linear, fault)),
            }
        }
    }
    counters.merge(block.state.counters);
    None
}

/// Blocks `first, first + step, …`, each getting turns until all are done: any may wait for any other.
fn run_together(launch: &Launch, first: usize, step: usize, counters: &mut Counters) -> Option<(u64, Fault)> {
    let place = |linear| {
        let mut block = Block::new(launch);
        block.start(linear);
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
