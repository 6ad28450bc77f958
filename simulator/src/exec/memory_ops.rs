//! Loads and stores: addresses of the active lanes, the checks on them, and registers to bytes and back.

use bytemuck::Pod;

use super::block::BlockState;
use super::strand::Strand;
use super::transfer::{fetch, put};
use super::warp::Warp;
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, effective};
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::loops::vectorized;
use crate::program::{Access, Inst, NONE, Order, Reg};
use crate::ptx::types::Space;

/// Accesses of the next lanes of an access that point to one space, of those in `rest`: all, unless the access is
/// generic.
#[inline(always)]
pub fn next_places(addresses: &[u64; LANES], access: &Access, rest: &mut u32) -> Accesses {
    let bytes = access.ty.bytes() * access.vector as usize;
    if access.space == Space::Generic {
        return Accesses::take_one_space(*addresses, rest, bytes);
    }
    Accesses::new(access.space, *addresses, std::mem::take(rest), bytes)
}

/// What a lane's vector in memory is made of.
trait Element: Pod {
    type Word: Word;
    /// Extended to the register's bits by the type's sign.
    fn word(self, access: &Access) -> Self::Word;
    fn from_word(word: Self::Word) -> Self;
}

macro_rules! element {
    ($($ty:ty, $signed:ty, $word:ty;)*) => {$(
        impl Element for $ty {
            type Word = $word;
            #[inline(always)]
            fn word(self, access: &Access) -> $word {
                let word = if access.ty.is_signed() { self as $signed as $word } else { self as $word };
                if access.extend == 16 { word & 0xffff } else { word }
            }
            #[inline(always)]
            fn from_word(word: $word) -> Self {
                word as Self
            }
        }
    )*};
}

element! {
    u8, i8, u32;
    u16, i16, u32;
    u32, i32, u32;
    u64, i64, u64;
}

/// Calls `f::<element, vector length>(…)` for an access.
macro_rules! by_element {
    ($access:expr, $f:ident($($argument:expr),* $(,)?)) => {
        match ($access.ty.bytes(), $access.vector) {
            (8, 1) => $f::<u64, 1>($($argument),*),
            (8, _) => $f::<u64, 2>($($argument),*),
            (4, 1) => $f::<u32, 1>($($argument),*),
            (4, 2) => $f::<u32, 2>($($argument),*),
            (4, _) => $f::<u32, 4>($($argument),*),
            (2, 1) => $f::<u16, 1>($($argument),*),
            (2, 2) => $f::<u16, 2>($($argument),*),
            (2, _) => $f::<u16, 4>($($argument),*),
            (_, 1) => $f::<u8, 1>($($argument),*),
            (_, 2) => $f::<u8, 2>($($argument),*),
            (..) => $f::<u8, 4>($($argument),*),
        }
    };
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
            let unwritten = inspect(warp, &part, touch, launch, state)?;
            if unwritten != 0 || !warp.poison.is_empty() {
                warp.load_poison(strand, inst, access, (&part, unwritten), launch, state);
            }
            by_element!(access, load_elements(warp, strand, inst, access, &part, launch, state));
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
            if !warp.poison.is_empty() {
                warp.store_poison(strand, inst, access, &part, state)?;
            }
            by_element!(access, store_elements(warp, strand, inst, &part, launch, state));
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
    let at = u64::read(&warp.lanes(strand, launch), inst.s[0])[0].wrapping_add(access.offset as u64);
    let bytes = access.ty.bytes() * access.vector as usize;
    let vector = launch.params.get(at as usize..).and_then(|rest| rest.get(..bytes));
    let Some(vector) = vector else {
        return Err(beyond_parameters().at_lane(mask.trailing_zeros() as usize));
    };
    by_element!(access, broadcast(&mut warp.lanes(strand, launch), inst, access, vector, mask));
    Ok(())
}

#[inline(always)]
fn broadcast<T: Element, const V: usize>(lanes: &mut Lanes<'_>, inst: &Inst, access: &Access, from: &[u8], mask: u32)
where
    [T; V]: Pod,
{
    let vector: [T; V] = bytemuck::pod_read_unaligned(from);
    for (&d, element) in inst.d.iter().zip(vector).filter(|(d, _)| **d != NONE) {
        T::Word::write(lanes, d, &[element.word(access); LANES], mask);
    }
}

fn beyond_parameters() -> Fault {
    Fault::new(FaultKind::IllegalAddress, "beyond the kernel's parameters")
}

/// Bounds; then, where something watches, the chosen checks and the counters. The lanes that read what nothing wrote.
#[inline(always)]
pub fn inspect(
    warp: &Warp,
    part: &Accesses,
    touch: Touch,
    launch: &Launch,
    state: &mut BlockState,
) -> Result<u32, Fault> {
    match part.space {
        Space::Shared => state.shared_access(part, touch, warp.index, launch),
        Space::Local if part.within(warp.local_stride as u64) => Ok(0),
        Space::Param if part.within(launch.params.len() as u64) => Ok(0),
        Space::Local | Space::Param => Err(beyond(warp, part, launch)),
        _ => state.global_access(part, touch, warp.index, launch),
    }
}

#[cold]
fn beyond(warp: &Warp, part: &Accesses, launch: &Launch) -> Fault {
    if part.space == Space::Param {
        let lane = part.beyond(launch.params.len() as u64);
        return beyond_parameters().at_lane(lane);
    }
    let end = warp.local_stride as u64;
    let lane = part.beyond(end);
    let message = format!("local address 0x{:x}, of 0x{end:x} bytes", part.addresses[lane]);
    Fault::new(FaultKind::IllegalAddress, message).at_lane(lane)
}

/// Element `k` of each lane's vector to register `d[k]`.
#[inline(always)]
fn load_elements<T: Element, const V: usize>(
    warp: &mut Warp,
    strand: &Strand,
    inst: &Inst,
    access: &Access,
    part: &Accesses,
    launch: &Launch,
    state: &BlockState,
) where
    [T; V]: Pod,
{
    let mut elements = [[T::zeroed(); V]; LANES];
    fetch(warp, part, &mut elements, launch, state);
    let mut lanes = warp.lanes(strand, launch);
    for k in 0..V {
        let mut words = [T::Word::default(); LANES];
        for i in 0..LANES {
            words[i] = elements[i][k].word(access);
        }
        if inst.d[k] != NONE {
            T::Word::write(&mut lanes, inst.d[k], &words, part.mask);
        }
    }
}

/// Registers `s[1..]` to each lane's vector.
#[inline(always)]
fn store_elements<T: Element, const V: usize>(
    warp: &mut Warp,
    strand: &Strand,
    inst: &Inst,
    part: &Accesses,
    launch: &Launch,
    state: &mut BlockState,
) where
    [T; V]: Pod,
{
    let mut elements = [[T::zeroed(); V]; LANES];
    let lanes = warp.lanes(strand, launch);
    for k in 0..V {
        let words = T::Word::read(&lanes, inst.s[1 + k]);
        for i in 0..LANES {
            elements[i][k] = T::from_word(words[i]);
        }
    }
    put(warp, part, &elements, launch, state);
}
