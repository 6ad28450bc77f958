//! Queued work and the order it runs in.
//!
//! An operation waits for the ones it depends on: the last of its stream, events its stream waited for, and the legacy
//! stream's rules. Among those that could run, a seeded generator picks: any order it produces is one that hardware
//! could, so a missing dependency shows as a wrong result that can be repeated.

use std::collections::BTreeMap;

use super::work::Work;

pub struct Operation {
    pub work: Work,
    after: Vec<u64>,
    /// The launches that it follows, itself or through other operations.
    launches: Vec<u64>,
    /// An event to stamp when the operation runs.
    pub event: Option<u64>,
    running: bool,
}

/// An operation that may run.
pub struct Ready {
    pub id: u64,
    pub work: Work,
    pub event: Option<u64>,
    /// The launches that it follows, of those that had not run when it was queued.
    pub after: Vec<u64>,
}

#[derive(Default)]
pub struct Queue {
    pending: BTreeMap<u64, Operation>,
    last: u64,
    random: u64,
}

impl Queue {
    pub fn new(seed: u64) -> Self {
        Self { random: seed, ..Self::default() }
    }

    /// Queues work behind other operations, of which finished ones are ignored.
    pub fn push(&mut self, work: Work, after: Vec<u64>, event: Option<u64>) -> u64 {
        self.last += 1;
        let after: Vec<u64> = after.into_iter().filter(|id| self.pending.contains_key(id)).collect();
        let mut launches: Vec<u64> = after
            .iter()
            .flat_map(|&id| match &self.pending[&id] {
                Operation { work: Work::Kernel(_), .. } => vec![id],
                other => other.launches.clone(),
            })
            .collect();
        launches.sort_unstable();
        launches.dedup();
        self.pending.insert(self.last, Operation { work, after, launches, event, running: false });
        self.last
    }

    pub fn is_pending(&self, id: u64) -> bool {
        self.pending.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    fn next_random(&mut self, below: usize) -> usize {
        // SplitMix64; seed 0 always takes the oldest.
        if self.random == 0 {
            return 0;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    /// Takes an operation that may run. With a target, work it does not need is left half of the time.
    /// It counts as pending until [`Self::finish`].
    pub fn take(&mut self, target: Option<u64>) -> Option<Ready> {
        let ready = |op: &Operation| !op.running && op.after.iter().all(|dep| !self.pending.contains_key(dep));
        let mut choices: Vec<u64> = self.pending.iter().filter(|(_, op)| ready(op)).map(|(&id, _)| id).collect();
        if let Some(target) = target
            && self.next_random(2) == 0
        {
            let needed = self.needed(target);
            choices.retain(|id| needed.contains(id));
        }
        if choices.is_empty() {
            return None;
        }
        let pick = self.next_random(choices.len());
        let id = choices[pick];
        let op = self.pending.get_mut(&id)?;
        op.running = true;
        Some(Ready { id, work: op.work.clone(), event: op.event, after: std::mem::take(&mut op.launches) })
    }

    pub fn finish(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// Everything `target` waits for, and itself.
    fn needed(&self, target: u64) -> std::collections::BTreeSet<u64> {
        let mut needed = std::collections::BTreeSet::new();
        let mut stack = vec![target];
        while let Some(id) = stack.pop() {
            if let Some(op) = self.pending.get(&id)
                && needed.insert(id)
            {
                stack.extend(&op.after);
            }
        }
        needed
    }

    pub fn clear(&mut self) {
        self.pending.clear();
    }
}
