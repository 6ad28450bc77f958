//! Loads and stores: addresses of the active lanes, the checks on them, and registers to bytes and back.

use super::block::BlockState;
use super::lanes::{LANES, Lanes, Word, vectorized};
use super::params::Launch;
use super::places::{Places, effective};
use super::strand::Strand;
use super::transfer::{Buffer, fetch, put};
use super::warp::Warp;
use crate::checks::Touch;
use crate::error::{Fault, FaultKind};
use crate::program::{Access, Inst, NONE, Order, Reg};
use crate::ptx::types::Space;

/// Places of the next lanes of an access that point to one space, of those in `rest`: all, unless the access is generic.
#[inline(always)]
pub fn next_places(addresses: &[u64; LANES], access: &Access, rest: &mut u32) -> Places {
    let bytes = access.ty.bytes() * access.vector as usize;
    if access.space == Space::Generic {
        return Places::of_one_space(*addresses, rest, bytes);
    }
    Places::new(access.space, *addresses, std::mem::take(rest), bytes)
}

/// The address of each lane, as the instruction names it.
#[inline(always)]
pub fn addresses(warp: &mut Warp, strand: &Strand, reg: Reg, access: &Access, launch: &Launch) -> [u64; LANES] {
    let frame = if access.frame { strand.local_base as i64 } else { 0 };
    effective(&warp.lanes(strand, launch), reg, access.offset + frame)
}

vectorized! {
    pub fn load(
        warp: &mut Warp,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        if access.space == Space::Param && inst.s[0].is_constant() {
            return load_parameter(warp, strand, inst, access, mask, launch);
        }
        let addresses = addresses(warp, strand, inst.s[0], access, launch);
        let mut rest = mask;
        while rest != 0 {
            let part = next_places(&addresses, access, &mut rest);
            part.check_alignment()?;
            let touch = if access.order == Order::Weak { Touch::Read } else { Touch::StrongRead(access.order) };
            inspect(warp, &part, touch, launch, state)?;
            let mut bytes = Buffer::ZERO;
            fetch(warp, &part, &mut bytes, launch, state);
            deliver(&mut warp.lanes(strand, launch), inst, access, &bytes, part.mask);
        }
        Ok(())
    }

    pub fn store(
        warp: &mut Warp,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let addresses = addresses(warp, strand, inst.s[0], access, launch);
        let mut rest = mask;
        while rest != 0 {
            let part = next_places(&addresses, access, &mut rest);
            part.check_alignment()?;
            let touch = if access.order == Order::Weak { Touch::Write } else { Touch::StrongWrite(access.order) };
            inspect(warp, &part, touch, launch, state)?;
            let mut bytes = Buffer::ZERO;
            collect(&warp.lanes(strand, launch), inst, access, &mut bytes);
            put(warp, &part, &bytes, launch, state);
        }
        Ok(())
    }
}

/// A kernel parameter by its name: the same for all lanes, and in bounds unless an offset leads out of it.
#[inline(always)]
fn load_parameter(
    warp: &mut Warp,
    strand: &Strand,
    inst: &Inst,
    access: &Access,
    mask: u32,
    launch: &Launch,
) -> Result<(), Fault> {
    let mut lanes = warp.lanes(strand, launch);
    let at = u64::read(&lanes, inst.s[0])[0].wrapping_add(access.offset as u64);
    let size = access.ty.bytes();
    let Some(bytes) = launch.params.get(at as usize..).and_then(|rest| rest.get(..size * access.vector as usize))
    else {
        return Err(beyond_parameters().at_lane(mask.trailing_zeros() as usize));
    };
    for (&d, bytes) in inst.d.iter().zip(bytes.chunks_exact(size)).filter(|(d, _)| **d != NONE) {
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        match size {
            8 => u64::write(&mut lanes, d, &[word; LANES], mask),
            4 => u32::write(&mut lanes, d, &[word as u32; LANES], mask),
            _ => {
                let unused = u64::BITS - 8 * size as u32;
                let word = if access.ty.is_signed() { ((word << unused) as i64 >> unused) as u32 } else { word as u32 };
                narrow(&mut lanes, d, access, &[word; LANES], mask);
            }
        }
    }
    Ok(())
}

fn beyond_parameters() -> Fault {
    Fault::new(FaultKind::IllegalAddress, "beyond the kernel's parameters")
}

/// Bounds; then, where something watches, the chosen checks and the counters.
#[inline(always)]
pub fn inspect(warp: &Warp, part: &Places, touch: Touch, launch: &Launch, state: &mut BlockState) -> Result<(), Fault> {
    match part.space {
        Space::Shared => state.shared_access(part, touch, warp.index, launch),
        Space::Local if part.within(warp.local_stride as u64) => Ok(()),
        Space::Param if part.within(launch.params.len() as u64) => Ok(()),
        Space::Local | Space::Param => Err(beyond(warp, part, launch)),
        _ => state.global_access(part, touch, warp.index, launch),
    }
}

#[cold]
fn beyond(warp: &Warp, part: &Places, launch: &Launch) -> Fault {
    if part.space == Space::Param {
        let lane = part.beyond(launch.params.len() as u64);
        return beyond_parameters().at_lane(lane);
    }
    let end = warp.local_stride as u64;
    let lane = part.beyond(end);
    let message = format!("local address 0x{:x}, of 0x{end:x} bytes", part.addresses[lane]);
    Fault::new(FaultKind::IllegalAddress, message).at_lane(lane)
}

/// Runs an expression with the access's vector length as the constant `$v`.
macro_rules! by_vector {
    ($vector:expr, $v:ident => $e:expr) => {
        match $vector {
            1 => by_vector!(@ $v, 1, $e),
            2 => by_vector!(@ $v, 2, $e),
            _ => by_vector!(@ $v, 4, $e),
        }
    };
    (@ $v:ident, $value:literal, $e:expr) => {{
        const $v: usize = $value;
        $e
    }};
}

/// Element `k` of each lane's vector to register `d[k]`.
#[inline(always)]
fn deliver(lanes: &mut Lanes<'_>, inst: &Inst, access: &Access, from: &Buffer, mask: u32) {
    match access.ty.bytes() {
        8 => by_vector!(access.vector.min(2), V => {
            for (k, &d) in inst.d[..V].iter().enumerate().filter(|(_, d)| **d != NONE) {
                let from = from.elements::<[u64; V], LANES>();
                u64::write(lanes, d, &std::array::from_fn(|i| from[i][k]), mask);
            }
        }),
        4 => by_vector!(access.vector, V => {
            let from = from.elements::<[u32; V], LANES>();
            for k in 0..V {
                let mut values = [0; LANES];
                for i in 0..LANES {
                    values[i] = from[i][k];
                }
                if inst.d[k] != NONE {
                    u32::write(lanes, inst.d[k], &values, mask);
                }
            }
        }),
        2 => by_vector!(access.vector, V => {
            let from = from.elements::<[u16; V], LANES>();
            for (k, &d) in inst.d[..V].iter().enumerate() {
                let signed = access.ty.is_signed();
                let word = |x: u16| if signed { i32::from(x as i16) as u32 } else { x.into() };
                narrow(lanes, d, access, &std::array::from_fn(|i| word(from[i][k])), mask);
            }
        }),
        _ => by_vector!(access.vector, V => {
            let from = from.elements::<[u8; V], LANES>();
            for (k, &d) in inst.d[..V].iter().enumerate() {
                let signed = access.ty.is_signed();
                let word = |x: u8| if signed { i32::from(x as i8) as u32 } else { x.into() };
                narrow(lanes, d, access, &std::array::from_fn(|i| word(from[i][k])), mask);
            }
        }),
    }
}

/// Elements of 8 or 16 bits, extended to 32, to a register of 16 or 32.
#[inline(always)]
fn narrow(lanes: &mut Lanes<'_>, d: Reg, access: &Access, values: &[u32; LANES], mask: u32) {
    if d != NONE {
        let keep = if access.extend == 16 { 0xffff } else { u32::MAX };
        u32::write(lanes, d, &values.map(|value| value & keep), mask);
    }
}

/// Registers `s[1..]` to each lane's vector.
#[inline(always)]
fn collect(lanes: &Lanes<'_>, inst: &Inst, access: &Access, to: &mut Buffer) {
    match access.ty.bytes() {
        8 => by_vector!(access.vector.min(2), V => {
            let to = to.elements_mut::<[u64; V], LANES>();
            for k in 0..V {
                let values = u64::read(lanes, inst.s[1 + k]);
                for i in 0..LANES {
                    to[i][k] = values[i];
                }
            }
        }),
        4 => by_vector!(access.vector, V => {
            let to = to.elements_mut::<[u32; V], LANES>();
            let rows: [&[u32; LANES]; V] = std::array::from_fn(|k| u32::read(lanes, inst.s[1 + k]));
            for i in 0..LANES {
                to[i] = std::array::from_fn(|k| rows[k][i]);
            }
        }),
        2 => by_vector!(access.vector, V => {
            let to = to.elements_mut::<[u16; V], LANES>();
            for k in 0..V {
                let values = u32::read(lanes, inst.s[1 + k]);
                for i in 0..LANES {
                    to[i][k] = values[i] as u16;
                }
            }
        }),
        _ => by_vector!(access.vector, V => {
            let to = to.elements_mut::<[u8; V], LANES>();
            for k in 0..V {
                let values = u32::read(lanes, inst.s[1 + k]);
                for i in 0..LANES {
                    to[i][k] = values[i] as u8;
                }
            }
        }),
    }
}
