//! mbarrier objects: 64 bits of shared memory with the counts and phase of an asynchronous barrier (PTX ISA 9.7.13.15).
//!
//! Layout, opaque to programs: pending arrivals in bits 0..20, expected arrivals in 20..40, outstanding bytes in 40..62
//! with an offset, and the phase's parity in bit 63. The state token of an arrival is the word as it was.

use super::block::BlockState;
use super::strand::Strand;
use super::warp::{Step, Warp};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, effective};
use crate::memory::spaces;
use crate::program::lanes::{LANES, Word};
use crate::program::{Inst, MbarrierOp, NONE, Op, Order};
use crate::ptx::types::Space;

const COUNT_MASK: u64 = (1 << 20) - 1;
/// Outstanding bytes are signed: completions may come before they are expected.
const BYTES_ZERO: i64 = 1 << 20;

#[derive(Clone, Copy)]
struct Object {
    pending: u64,
    expected: u64,
    bytes: i64,
    parity: u64,
}

impl Object {
    fn from_word(word: u64) -> Self {
        Self {
            pending: word & COUNT_MASK,
            expected: word >> 20 & COUNT_MASK,
            bytes: (word >> 40 & 0x3f_ffff) as i64 - BYTES_ZERO,
            parity: word >> 63,
        }
    }

    fn word(self) -> u64 {
        let bytes = (self.bytes + BYTES_ZERO) as u64 & 0x3f_ffff;
        (self.pending & COUNT_MASK) | (self.expected & COUNT_MASK) << 20 | bytes << 40 | self.parity << 63
    }

    /// Ends the phase when nothing is outstanding.
    fn settle(mut self) -> Self {
        if self.pending == 0 && self.bytes == 0 {
            self.pending = self.expected;
            self.parity ^= 1;
        }
        self
    }
}

impl Warp {
    pub fn mbarrier(
        &mut self,
        strand: &mut Strand,
        inst: &Inst,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<Step, Fault> {
        let Op::Mbarrier { op, offset } = inst.op else { return Ok(Step::Next) };
        let lanes = self.lanes(strand, launch);
        let wide = |reg| if reg == NONE { [0; LANES] } else { *u64::read(&lanes, reg) };
        if op == MbarrierOp::Pending {
            let pending = wide(inst.s[1]).map(|token| Object::from_word(token).pending);
            self.write_values(strand, inst.d[0], &pending, mask, launch);
            return Ok(Step::Next);
        }
        let addresses = effective(&lanes, inst.s[0], offset).map(spaces::shared_offset);
        let argument: [u64; LANES] = match op {
            MbarrierOp::Test { parity: false } => wide(inst.s[1]),
            _ if inst.s[1] == NONE => [1; LANES],
            _ => u32::read(&lanes, inst.s[1]).map(u64::from),
        };
        if matches!(op, MbarrierOp::CopyArrive { .. }) {
            self.finish_copies(mask, launch, state)?;
        }
        let places = Accesses::new(Space::Shared, addresses, mask, 8);
        places.check_alignment()?;
        let unwritten = state.shared_access(
            &places,
            Touch::Atomic(Order::AcquireRelease, op == MbarrierOp::Init),
            self.index,
            launch,
        )?;
        state.refuse_unwritten(&places, unwritten, launch)?;
        let (mut tokens, mut passed) = ([0u64; LANES], 0u32);
        for lane in places.active() {
            let at = addresses[lane] as usize;
            let word = state.shared_word(at);
            tokens[lane] = word;
            let (next, done) = apply(op, word, argument[lane]).map_err(|fault| fault.at_lane(lane))?;
            passed |= u32::from(done) << lane;
            state.set_shared_word(at, next);
        }
        if let MbarrierOp::Test { .. } = op {
            let mut lanes = self.lanes(strand, launch);
            lanes.set_predicate(inst.d[0], passed, mask);
            return Ok(if passed == mask { Step::Next } else { Step::Yield });
        }
        if inst.d[0] != NONE {
            self.write_values(strand, inst.d[0], &tokens, mask, launch);
        }
        Ok(Step::Next)
    }
}

/// The object after one thread's operation, and whether a test passes.
fn apply(op: MbarrierOp, word: u64, argument: u64) -> Result<(u64, bool), Fault> {
    let mut object = Object::from_word(word);
    let bytes = (argument & 0xf_ffff) as i64;
    match op {
        MbarrierOp::Init => {
            if argument == 0 || argument > COUNT_MASK {
                return Err(Fault::new(FaultKind::Barrier, format!("mbarrier count {argument}")));
            }
            return Ok((Object { pending: argument, expected: argument, bytes: 0, parity: 0 }.word(), true));
        }
        MbarrierOp::Test { parity } => {
            let phase = if parity { argument & 1 } else { Object::from_word(argument).parity };
            return Ok((word, object.parity != phase));
        }
        MbarrierOp::Arrive { expect, drop } => {
            object.bytes += if expect { bytes } else { 0 };
            let count = if expect { 1 } else { argument };
            arrive(&mut object, count, drop)?;
        }
        MbarrierOp::CopyArrive { no_increment } => {
            // Without `.noinc` the pending count rises first, so the arrival changes nothing in sum.
            if no_increment {
                arrive(&mut object, 1, false)?;
            }
        }
        MbarrierOp::ExpectTx => object.bytes += bytes,
        MbarrierOp::CompleteTx => object.bytes -= bytes,
        MbarrierOp::Invalidate | MbarrierOp::Pending => return Ok((0, true)),
    }
    Ok((object.settle().word(), true))
}

fn arrive(object: &mut Object, count: u64, drop: bool) -> Result<(), Fault> {
    if count > object.pending {
        let message = format!("{count} arrivals where {} are pending", object.pending);
        return Err(Fault::new(FaultKind::Barrier, message));
    }
    object.pending -= count;
    object.expected -= if drop { count.min(object.expected) } else { 0 };
    Ok(())
}
