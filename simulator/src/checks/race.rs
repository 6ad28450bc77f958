//! Races in shared memory: accesses of two threads to one word, one of them a write, that nothing orders.
//!
//! Within a warp, lanes are ordered by `__syncwarp` and barriers only.

use super::clocks::{Clocks, View};
use super::shadow::{Conflict, LINE, Record, Shadow};
use crate::error::{Fault, FaultKind};
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, Pattern};
use crate::program::lanes::LANES;
use crate::program::loops::vectorized;

pub struct SharedRace {
    shadow: Shadow,
}

type Outcome = Result<(), (u64, usize, Conflict)>;

impl SharedRace {
    pub fn new(bytes: usize) -> Self {
        Self { shadow: Shadow::new(bytes.div_ceil(4)) }
    }

    pub fn clear(&mut self) {
        self.shadow.clear();
    }

    pub fn access(&mut self, part: &Accesses, touch: Touch, warp: usize, clocks: &mut Clocks) -> Result<(), Fault> {
        if touch.strong() {
            part.active().for_each(|lane| clocks.synchronize(part.addresses[lane] / 4, touch, warp));
        }
        let outcome = compare(&mut self.shadow, part, touch, clocks.view(warp));
        if touch.strong() {
            clocks.tick(warp);
        }
        outcome.map_err(|(word, lane, conflict)| race(word, lane, warp, &conflict))
    }

    /// Rows of matrices: each word of a row belongs to the lane whose register holds it, not to the one that names the
    /// row. Of a transposed tile two lanes hold a word between them, which are not told apart.
    pub fn rows(
        &mut self,
        part: &Accesses,
        touch: Touch,
        transposed: bool,
        warp: usize,
        clocks: &Clocks,
    ) -> Result<(), Fault> {
        const WORDS: usize = 4;
        let view = clocks.view(warp);
        let record = Record::new(view, touch);
        for row in part.active() {
            let word = part.addresses[row] / 4;
            let now: [Record; WORDS] =
                std::array::from_fn(|k| if transposed { record.mixed() } else { record.lane(row % 8 * WORDS + k) });
            let outcome = self.shadow.touch(word as usize, &now, view, touch);
            outcome.map_err(|(k, conflict)| race(word + k as u64, row % 8 * WORDS + k, warp, &conflict))?;
        }
        Ok(())
    }
}

vectorized! {
    /// A conflict is given with its word and lane.
    fn compare(shadow: &mut Shadow, part: &Accesses, touch: Touch, view: View<'_>) -> Outcome {
        let whole = part.pattern == Pattern::Consecutive && part.low.is_multiple_of(4 * LINE as u64);
        match (part.bytes, whole) {
            (4, true) => lines::<1>(shadow, part, touch, view),
            (8, true) => lines::<2>(shadow, part, touch, view),
            (16, true) => lines::<4>(shadow, part, touch, view),
            (4, _) => lanes::<1>(shadow, part, touch, view),
            (8, _) => lanes::<2>(shadow, part, touch, view),
            (16, _) => lanes::<4>(shadow, part, touch, view),
            _ => narrow(shadow, part, touch, view),
        }
    }
}

/// All lanes side by side from the start of a line, `W` words each.
#[inline(always)]
fn lines<const W: usize>(shadow: &mut Shadow, part: &Accesses, touch: Touch, view: View<'_>) -> Outcome {
    let (record, first) = (Record::new(view, touch), part.low as usize / 4);
    for word in (0..LANES * W).step_by(LINE) {
        let mut now = [record; LINE];
        for k in 0..LINE {
            now[k] = record.lane((word + k) / W);
        }
        let outcome = shadow.touch(first + word, &now, view, touch);
        outcome.map_err(|(k, conflict)| ((first + word + k) as u64, (word + k) / W, conflict))?;
    }
    Ok(())
}

/// Lane by lane, `W` words each.
#[inline(always)]
fn lanes<const W: usize>(shadow: &mut Shadow, part: &Accesses, touch: Touch, view: View<'_>) -> Outcome {
    let record = Record::new(view, touch);
    for lane in part.active() {
        let word = part.addresses[lane] / 4;
        let outcome = shadow.touch(word as usize, &[record.lane(lane); W], view, touch);
        outcome.map_err(|(k, conflict)| (word + k as u64, lane, conflict))?;
    }
    Ok(())
}

/// Elements of a byte or two, which share a word.
fn narrow(shadow: &mut Shadow, part: &Accesses, touch: Touch, view: View<'_>) -> Outcome {
    let record = Record::new(view, touch);
    for lane in part.active() {
        let address = part.addresses[lane];
        let bytes = ((1u32 << part.bytes) - 1) << (address % 4);
        let outcome = shadow.word(address as usize / 4, record.lane(lane).bytes(bytes), view, touch);
        outcome.map_err(|conflict| (address / 4, lane, conflict))?;
    }
    Ok(())
}

fn race(word: u64, lane: usize, warp: usize, conflict: &Conflict) -> Fault {
    let flight = if conflict.earlier.in_flight() { " by a cp.async nobody waited for" } else { "" };
    let message = format!(
        "{} at shared 0x{:x}: {}{flight}, then warp {warp} lane {lane}, with nothing to order them",
        conflict.what,
        word * 4,
        conflict.earlier.who(),
    );
    Fault::new(FaultKind::Race, message).at_lane(lane)
}

#[cfg(test)]
mod tests {
    use super::SharedRace;
    use crate::checks::clocks::Clocks;
    use crate::launch::Touch;
    use crate::launch::accesses::Accesses;
    use crate::program::Order;
    use crate::program::lanes::FULL;
    use crate::ptx::types::Space;

    /// A block of two warps and 1 KB.
    struct Block {
        race: SharedRace,
        clocks: Clocks,
    }

    impl Block {
        fn new() -> Self {
            Self { race: SharedRace::new(1024), clocks: Clocks::new(2) }
        }

        /// Lane i of the warp accesses `bytes` at `first + i · stride`. Whether that is a race.
        fn races(&mut self, warp: usize, touch: Touch, (first, stride, bytes): (u64, u64, usize), mask: u32) -> bool {
            let addresses = std::array::from_fn(|i| first + i as u64 * stride);
            let places = Accesses::new(Space::Shared, addresses, mask, bytes);
            self.race.access(&places, touch, warp, &mut self.clocks).is_err()
        }

        fn barrier(&mut self) {
            (0..2).for_each(|warp| self.clocks.arrive(warp, 0));
            (0..2).for_each(|warp| self.clocks.pass(warp, 0));
            self.clocks.barrier_done(0, true);
        }
    }

    /// Consecutive from a line's start, consecutive elsewhere, rows of 16 bytes, words far apart, halves of words.
    const SHAPES: [(u64, u64, usize); 5] = [(0, 4, 4), (20, 4, 4), (0, 32, 16), (4, 12, 4), (0, 2, 2)];

    #[test]
    fn warps_race_unless_a_barrier_orders_them() {
        for shape in SHAPES {
            for (before, after) in
                [(Touch::Write, Touch::Read), (Touch::Read, Touch::Write), (Touch::Write, Touch::Write)]
            {
                let mut block = Block::new();
                assert!(!block.races(0, before, shape, FULL));
                assert!(!block.races(0, after, shape, FULL), "lanes come back to their own words");
                let mut ordered = Block::new();
                assert!(!ordered.races(0, before, shape, FULL));
                ordered.barrier();
                assert!(!ordered.races(1, after, shape, FULL), "{shape:?} {before:?} {after:?}");
                assert!(block.races(1, after, shape, FULL), "{shape:?} {before:?} {after:?}");
            }
            let mut readers = Block::new();
            assert!((0..2).all(|warp| !readers.races(warp, Touch::Read, shape, FULL)));
            assert!(readers.races(0, Touch::Write, shape, FULL), "the other warp has read");
        }
    }

    #[test]
    fn one_racing_word_among_many_is_found() {
        for lane in 0..32 {
            let mut block = Block::new();
            assert!(!block.races(0, Touch::Write, (0, 4, 4), 1 << lane));
            assert!(block.races(1, Touch::Read, (0, 4, 4), FULL));
            assert!(!block.races(1, Touch::Read, (0, 4, 4), FULL & !(1 << lane)));
        }
    }

    #[test]
    fn lanes_of_a_warp_need_a_syncwarp() {
        let mut block = Block::new();
        assert!(!block.races(0, Touch::Write, (0, 4, 4), FULL));
        let reversed = Accesses::new(Space::Shared, std::array::from_fn(|i| 124 - 4 * i as u64), FULL, 4);
        assert!(block.race.access(&reversed, Touch::Read, 0, &mut block.clocks).is_err());
        block.clocks.tick(0);
        assert!(block.race.access(&reversed, Touch::Read, 0, &mut block.clocks).is_ok());
    }

    #[test]
    fn halves_of_a_word_are_told_apart() {
        let mut block = Block::new();
        let (even, odd) = ((0, 4, 2), (2, 4, 2));
        assert!(!block.races(0, Touch::Write, even, FULL));
        assert!(!block.races(1, Touch::Write, odd, FULL), "other bytes of the same words");
        // Both halves by one warp, then one by the other: neither write was forgotten.
        let mut block = Block::new();
        assert!(!block.races(0, Touch::Write, even, FULL) && !block.races(0, Touch::Write, odd, FULL));
        assert!(block.races(1, Touch::Read, even, FULL) && block.races(1, Touch::Read, odd, FULL));
    }

    #[test]
    fn a_copy_in_flight_is_ordered_by_its_wait_alone() {
        let mut block = Block::new();
        let rows = (0, 16, 16);
        assert!(!block.races(0, Touch::BeginCopy, rows, FULL));
        block.barrier();
        assert!(block.races(0, Touch::Read, rows, FULL), "not even for who issued it");
        assert!(!block.races(0, Touch::EndCopy, rows, FULL));
        assert!(!block.races(0, Touch::Read, rows, FULL));
        assert!(block.races(1, Touch::Read, rows, FULL), "others need the barrier after it");
        block.barrier();
        assert!(!block.races(1, Touch::Read, rows, FULL));
    }

    #[test]
    fn a_flag_orders_what_it_guards() {
        let (data, flag) = ((0, 4, 4), (512, 0, 4));
        let mut block = Block::new();
        assert!(!block.races(0, Touch::Write, data, FULL));
        assert!(!block.races(0, Touch::StrongWrite(Order::Release), flag, 1));
        assert!(!block.races(1, Touch::StrongRead(Order::Acquire), flag, 1));
        assert!(!block.races(1, Touch::Read, data, FULL));
        assert!(!block.races(0, Touch::Write, (256, 4, 4), FULL), "written after the release");
        assert!(block.races(1, Touch::Read, (256, 4, 4), FULL));
    }

    #[test]
    fn clocks_run_out_without_inventing_a_race() {
        let mut block = Block::new();
        for _ in 0..40_000 {
            block.barrier();
            if block.clocks.worn() {
                block.clocks.restart();
                block.race.clear();
            }
            assert!(!block.races(0, Touch::Write, (0, 4, 4), FULL));
            block.barrier();
            assert!(!block.races(1, Touch::Read, (0, 4, 4), FULL));
        }
        assert!(block.races(0, Touch::Write, (0, 4, 4), FULL), "and races are found as before");
    }
}
