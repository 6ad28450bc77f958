//! Atomic operations, lane by lane in order; floating-point sums round like the instruction, subnormals and all.

use super::block::BlockState;
use super::memory_ops::{addresses, inspect, next_places};
use super::strand::Strand;
use super::warp::Warp;
use crate::error::Fault;
use crate::isa::half_float::{AsBf16, AsF16, Format};
use crate::launch::Launch;
use crate::launch::Touch;
use crate::program::lanes::{LANES, Word};
use crate::program::{Atomic, AtomicOp, Inst, NONE, RegClass};
use crate::ptx::types::{Space, Type};

impl Warp {
    pub fn atomic(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        atomic: &Atomic,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let (op, ty) = (atomic.op, atomic.access.ty);
        let lanes = self.lanes(strand, launch);
        let values = |reg: crate::program::Reg| -> [u64; LANES] {
            if reg == NONE {
                [0; LANES]
            } else if ty.bytes() == 8 {
                *u64::read(&lanes, reg)
            } else {
                u32::read(&lanes, reg).map(u64::from)
            }
        };
        let (b, c) = (values(inst.s[1]), values(inst.s[2]));
        let addresses = addresses(self, strand, inst.s[0], &atomic.access, launch);
        let (mut old, mut rest) = ([0u64; LANES], mask);
        while rest != 0 {
            let part = next_places(&addresses, &atomic.access, &mut rest);
            part.check_alignment()?;
            let unwritten = inspect(self, &part, Touch::Atomic(atomic.access.order, false), launch, state)?;
            state.refuse_unwritten(&part, unwritten, launch)?;
            state.counters.atomics += u64::from(part.mask.count_ones());
            for lane in part.active() {
                let address = part.addresses[lane];
                let f = |a: u64| result(op, ty, a, b[lane], c[lane]);
                old[lane] = match part.space {
                    Space::Shared => state.update_shared(address as usize, ty.bytes(), f),
                    _ => match launch.memory.window(address, ty.bytes() as u64) {
                        Some(window) => window.update(address, ty.bytes(), f),
                        None => 0,
                    },
                };
            }
        }
        if inst.d[0] != NONE {
            debug_assert!(inst.d[0].class() != RegClass::Predicate);
            self.write_values(strand, inst.d[0], &old, mask, launch);
        }
        Ok(())
    }
}

/// What an atomic stores, if anything, for the old value `a`.
pub fn result(op: AtomicOp, ty: Type, a: u64, b: u64, c: u64) -> Option<u64> {
    let pick = |first: bool| Some(if first { a } else { b });
    match op {
        AtomicOp::Add => Some(add(ty, a, b)),
        AtomicOp::Exchange => Some(b),
        AtomicOp::CompareSwap => (a == b).then_some(c),
        AtomicOp::Min | AtomicOp::Max if is_half(ty) => Some(extreme(ty, a, b, op == AtomicOp::Max)),
        AtomicOp::Min => pick(less(ty, a, b)),
        AtomicOp::Max => pick(less(ty, b, a)),
        AtomicOp::And => Some(a & b),
        AtomicOp::Or => Some(a | b),
        AtomicOp::Xor => Some(a ^ b),
        AtomicOp::Increment => Some(if a >= b { 0 } else { a + 1 }),
        AtomicOp::Decrement => Some(if a == 0 || a > b { b } else { a - 1 }),
    }
}

fn less(ty: Type, a: u64, b: u64) -> bool {
    match ty {
        Type::S32 => (a as i32) < (b as i32),
        Type::S64 => (a as i64) < (b as i64),
        _ => a < b,
    }
}

fn add(ty: Type, a: u64, b: u64) -> u64 {
    match ty {
        Type::F32 => u64::from((f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits()),
        Type::F64 => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        Type::F16 => half::<AsF16>(a, b),
        Type::Bf16 => half::<AsBf16>(a, b),
        Type::F16x2 => half::<AsF16>(a, b) | half::<AsF16>(a >> 16, b >> 16) << 16,
        Type::Bf16x2 => half::<AsBf16>(a, b) | half::<AsBf16>(a >> 16, b >> 16) << 16,
        Type::U32 | Type::S32 => u64::from((a as u32).wrapping_add(b as u32)),
        _ => a.wrapping_add(b),
    }
}

fn is_half(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2)
}

/// Minimum or maximum of halves: a number rather than a NaN, and -0 below +0.
fn extreme(ty: Type, a: u64, b: u64, max: bool) -> u64 {
    match ty {
        Type::F16 => pick_half::<AsF16>(a, b, max),
        Type::Bf16 => pick_half::<AsBf16>(a, b, max),
        Type::F16x2 => pick_half::<AsF16>(a, b, max) | pick_half::<AsF16>(a >> 16, b >> 16, max) << 16,
        _ => pick_half::<AsBf16>(a, b, max) | pick_half::<AsBf16>(a >> 16, b >> 16, max) << 16,
    }
}

fn pick_half<F: Format>(a: u64, b: u64, max: bool) -> u64 {
    const NAN: u64 = 0x7fff;
    let (a, b) = (a & 0xffff, b & 0xffff);
    let (x, y) = (F::widen(a as u16), F::widen(b as u16));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if (x < y || x == y && x.is_sign_negative()) != max => a,
        _ => b,
    }
}

fn half<F: Format>(a: u64, b: u64) -> u64 {
    let sum = crate::isa::numeric::add_odd(F::widen(a as u16), F::widen(b as u16));
    F::round(sum).into()
}
