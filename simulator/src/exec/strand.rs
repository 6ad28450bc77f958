//! Strands: groups of lanes of a warp at one place of the program, and the joins where they meet again.

use crate::program::Target;

/// Where a call returns to.
#[derive(Clone, Debug)]
pub struct Frame {
    pub code: usize,
    /// The call instruction; execution goes on behind it.
    pub pc: usize,
    pub row_base: usize,
    pub predicate_base: usize,
    pub local_base: usize,
}

/// What a strand waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Nothing,
    /// `bar.warp.sync`: these lanes.
    Warp(u32),
    /// A collective: the lanes that must come, and those of this strand that execute it.
    Converge {
        members: u32,
        executing: u32,
    },
    /// A block barrier.
    Barrier {
        id: u32,
        executing: u32,
    },
}

#[derive(Clone, Debug)]
pub struct Strand {
    pub mask: u32,
    pub code: usize,
    pub pc: usize,
    pub row_base: usize,
    pub predicate_base: usize,
    pub local_base: usize,
    pub frames: Vec<Frame>,
    /// The innermost join this strand will come to.
    pub join: Option<usize>,
    pub wait: Wait,
}

/// A meeting point of lanes that parted.
#[derive(Debug)]
pub struct Join {
    pub pc: Target,
    pub depth: usize,
    /// Lanes still to come or arrived.
    pub expected: u32,
    pub arrived: u32,
    pub parent: Option<usize>,
    /// The strand as it goes on: its place but for the mask.
    pub onward: Strand,
}

/// The joins of a warp; finished ones are reused.
#[derive(Debug, Default)]
pub struct Joins {
    slots: Vec<Option<Join>>,
    open: usize,
}

impl Joins {
    pub fn insert(&mut self, join: Join) -> usize {
        self.open += 1;
        match self.slots.iter().position(Option::is_none) {
            Some(index) => {
                self.slots[index] = Some(join);
                index
            }
            None => {
                self.slots.push(Some(join));
                self.slots.len() - 1
            }
        }
    }

    pub fn get(&self, index: usize) -> Option<&Join> {
        self.slots.get(index)?.as_ref()
    }

    /// Lanes arrive; when they are the last, the strand that goes on.
    pub fn arrive(&mut self, index: usize, mask: u32) -> Option<Strand> {
        let join = self.slots.get_mut(index)?.as_mut()?;
        join.arrived |= mask;
        self.release(index)
    }

    fn release(&mut self, index: usize) -> Option<Strand> {
        let slot = self.slots.get_mut(index)?;
        let join = slot.as_ref()?;
        if join.expected != join.arrived {
            return None;
        }
        let join = slot.take()?;
        self.open -= 1;
        if join.arrived == 0 {
            return None;
        }
        Some(Strand { mask: join.arrived, join: join.parent, ..join.onward })
    }

    /// Lanes exit: no join waits for them any more. Gives the strands this sets free.
    pub fn leave(&mut self, mask: u32) -> Vec<Strand> {
        let mut free = Vec::new();
        for index in 0..self.slots.len() {
            if let Some(join) = &mut self.slots[index] {
                join.expected &= !mask;
                free.extend(self.release(index));
            }
        }
        free
    }

    pub fn is_empty(&self) -> bool {
        self.open == 0
    }
}
