//! Who has seen what of whom: a vector clock a warp (FastTrack, Flanagan and Freund 2009, at warp granularity).
//!
//! All clocks come from one counter of the block, so that clocks of different warps compare: whatever is as old as a
//! warp's floor is ordered before it, whoever did it. A barrier that all threads wait at raises every floor to now,
//! which makes that one comparison the usual case. Barriers of some join the clocks of those who come; atomics and
//! strong accesses join through the word they touch, so that locks and flags order what they guard.

use std::collections::HashMap;

use crate::launch::Touch;
use crate::program::BARRIERS;

/// The last clock before everything is forgotten and counting starts again: records have 16 bits for it.
const LAST: u32 = 0xfffd;

type Seen = Vec<u32>;

pub struct Clocks {
    now: u32,
    /// The clock of a warp's accesses.
    own: Vec<u32>,
    /// By warp: the latest clock it has seen of each other.
    seen: Vec<Seen>,
    barriers: [Option<Seen>; BARRIERS],
    /// What a word that threads synchronise through has been released with.
    released: HashMap<u64, Seen>,
}

/// One warp's knowledge.
#[derive(Clone, Copy)]
pub struct View<'c> {
    pub warp: usize,
    pub own: u32,
    /// What is this old is ordered before the warp.
    pub floor: u32,
    pub seen: &'c [u32],
}

fn join(into: &mut Seen, other: &[u32]) {
    into.iter_mut().zip(other).for_each(|(a, &b)| *a = (*a).max(b));
}

impl Clocks {
    pub fn new(warps: usize) -> Self {
        let mut clocks = Self {
            now: 0,
            own: vec![0; warps],
            seen: vec![vec![0; warps]; warps],
            barriers: Default::default(),
            released: HashMap::new(),
        };
        clocks.restart();
        clocks
    }

    /// Forgets everything, as all accesses so far must be too.
    pub fn restart(&mut self) {
        self.now = 1;
        self.own.fill(1);
        self.seen.iter_mut().for_each(|seen| seen.fill(0));
        self.barriers = Default::default();
        self.released.clear();
    }

    /// Whether the clocks have run out and must be restarted.
    pub fn worn(&self) -> bool {
        self.now >= LAST
    }

    /// What the warp does next is told from what it did.
    pub fn tick(&mut self, warp: usize) {
        self.now = (self.now + 1).min(LAST);
        self.own[warp] = self.now;
    }

    pub fn view(&self, warp: usize) -> View<'_> {
        let seen = &self.seen[warp];
        let others = seen.iter().enumerate().filter(|(other, _)| *other != warp).map(|(_, &clock)| clock);
        let own = self.own[warp];
        View { warp, own, floor: others.min().unwrap_or(own).min(own - 1), seen }
    }

    /// What a warp hands on: what it has seen, and its own accesses.
    fn handed_on(&self, warp: usize) -> Seen {
        let mut seen = self.seen[warp].clone();
        seen[warp] = self.own[warp];
        seen
    }

    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        let handed = self.handed_on(warp);
        match &mut self.barriers[barrier] {
            Some(joined) => join(joined, &handed),
            slot => *slot = Some(handed),
        }
        self.tick(warp);
    }

    pub fn pass(&mut self, warp: usize, barrier: usize) {
        if let Some(joined) = &self.barriers[barrier] {
            join(&mut self.seen[warp], joined);
        }
        self.tick(warp);
    }

    /// A barrier is complete; `all`: every thread of the block waited at it.
    pub fn barrier_done(&mut self, barrier: usize, all: bool) {
        self.barriers[barrier] = None;
        if all {
            let before = self.now;
            self.seen.iter_mut().for_each(|seen| seen.fill(before));
            self.now = (before + 1).min(LAST);
            self.own.fill(self.now);
        }
    }

    /// Joins through a synchronising word; what comes after is not covered by the release, so the caller ticks.
    pub fn synchronize(&mut self, word: u64, touch: Touch, warp: usize) {
        if matches!(touch, Touch::StrongRead(_) | Touch::Atomic(..))
            && let Some(released) = self.released.get(&word)
        {
            join(&mut self.seen[warp], released);
        }
        if matches!(touch, Touch::StrongWrite(_) | Touch::Atomic(..)) {
            let handed = self.handed_on(warp);
            self.released.entry(word).and_modify(|r| join(r, &handed)).or_insert(handed);
        }
    }
}
