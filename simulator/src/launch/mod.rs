//! What a launch is: a program, its grid, its parameters, and what to watch while it runs; and what the lanes of a warp
//! access.
//!
//! The executor, the checks and the counters all speak in these terms.

pub mod accesses;
pub mod sample;
mod watch;

pub use watch::{Checks, Touch};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::memory::{Memory, Snapshot};
use crate::program::Program;
use sample::Chosen;

pub struct Launch {
    pub program: Arc<Program>,
    pub memory: Arc<Memory>,
    pub snapshot: Arc<Snapshot>,
    pub grid: [u32; 3],
    /// The blocks that run; none: all of the grid.
    pub chosen: Option<Vec<Chosen>>,
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: Vec<u8>,
    pub checks: Checks,
    /// Whether memory traffic is counted, which costs time; instructions always are.
    pub counting: bool,
    /// Whether anything looks at memory accesses beyond what hardware does: a check, or the counters.
    pub watched: bool,
    pub deadline: Instant,
    pub multiprocessors: u32,
    /// Blocks that a GPU would run at once.
    pub resident_blocks: u64,
    pub grid_id: u64,
    /// All blocks run at once: cooperative launches may wait for each other.
    pub cooperative: bool,
    /// Where the threads of a cooperative launch keep the grid's barrier; zero for other launches.
    pub workspace: u64,
    /// Set when one block faults, so that the others stop.
    pub stop: AtomicBool,
    pub workers: usize,
}

impl Launch {
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Blocks that run.
    pub fn blocks(&self) -> u64 {
        self.chosen.as_ref().map_or_else(|| self.grid.iter().map(|&n| u64::from(n)).product(), |c| c.len() as u64)
    }

    /// The n-th block that runs.
    pub fn chosen(&self, n: u64) -> Chosen {
        self.chosen.as_ref().map_or(Chosen { linear: n, marks: 0 }, |chosen| chosen[n as usize])
    }

    pub fn shared_bytes(&self) -> usize {
        self.program.shared_bytes + self.dynamic_shared as usize
    }

    /// Where the shared memory kept for the system begins: behind the kernel's.
    pub fn reserved_shared(&self) -> usize {
        self.shared_bytes().next_multiple_of(16)
    }

    /// A block's shared memory with what is kept for the system.
    pub fn all_shared_bytes(&self) -> usize {
        match self.program.reserved_shared_bytes {
            0 => self.shared_bytes(),
            bytes => self.reserved_shared() + bytes,
        }
    }

    pub fn block_index(&self, linear: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [(linear % x) as u32, (linear / x % y) as u32, (linear / (x * y)) as u32]
    }

    pub fn thread_index(&self, linear: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [linear % x, linear / x % y, linear / (x * y)]
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
