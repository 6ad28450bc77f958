//! Races in shared memory: accesses of two threads to one word, one of them a write, that nothing orders.
//!
//! Within a warp, lanes are ordered by `__syncwarp` and barriers only.

use super::Touch;
use super::clocks::{Clocks, View};
use super::shadow::{Conflict, LINE, Record, Shadow};
use crate::error::{Fault, FaultKind};
use crate::exec::lanes::{LANES, vectorized};
use crate::exec::places::{Pattern, Places};

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

    pub fn access(&mut self, part: &Places, touch: Touch, warp: usize, clocks: &mut Clocks) -> Result<(), Fault> {
        if touch.strong() {
            part.active().for_each(|lane| clocks.synchronize(part.addresses[lane] / 4, touch, warp));
        }
        let outcome = compare(&mut self.shadow, part, touch, clocks.view(warp));
        if touch.strong() {
            clocks.tick(warp);
        }
        outcome.map_err(|(word, lane, conflict)| race(word, lane, warp, &conflict))
    }
}

vectorized! {
    /// A conflict is given with its word and lane.
    fn compare(shadow: &mut Shadow, part: &Places, touch: Touch, view: View<'_>) -> Outcome {
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
fn lines<const W: usize>(shadow: &mut Shadow, part: &Places, touch: Touch, view: View<'_>) -> Outcome {
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
fn lanes<const W: usize>(shadow: &mut Shadow, part: &Places, touch: Touch, view: View<'_>) -> Outcome {
    let record = Record::new(view, touch);
    for lane in part.active() {
        let word = part.addresses[lane] / 4;
        let outcome = shadow.touch(word as usize, &[record.lane(lane); W], view, touch);
        outcome.map_err(|(k, conflict)| (word + k as u64, lane, conflict))?;
    }
    Ok(())
}

/// Elements of a byte or two, which share a word.
fn narrow(shadow: &mut Shadow, part: &Places, touch: Touch, view: View<'_>) -> Outcome {
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
