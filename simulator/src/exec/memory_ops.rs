//! Loads and stores: addresses of the active lanes, the checks on them, the bytes.
//!
//! A warp whose lanes access consecutive elements, which is what good kernels do, is one block copy. Otherwise each lane
//! goes by itself.

use super::block::BlockState;
use super::lanes::{FULL, LANES, Word};
use super::params::Launch;
use super::strand::Strand;
use super::warp::Warp;
use crate::checks::Touch;
use crate::error::{Fault, FaultKind};
use crate::memory::spaces;
use crate::program::{Access, Inst, NONE, Order, Reg, RegClass};
use crate::ptx::types::Space;

/// Addresses of a warp's lanes within one space.
pub struct Places {
    pub space: Space,
    pub addresses: [u64; LANES],
    pub mask: u32,
    /// Bytes a lane accesses.
    pub bytes: usize,
}

impl Places {
    pub fn active(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.mask;
        std::iter::from_fn(move || {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (lane < LANES).then_some(lane)
        })
    }

    /// All lanes, one after the other without gaps.
    pub fn consecutive(&self) -> bool {
        let (first, bytes) = (self.addresses[0], self.bytes as u64);
        self.mask == FULL
            && (0..LANES).fold(true, |all, i| all & (self.addresses[i] == first.wrapping_add(i as u64 * bytes)))
    }

    fn check_alignment(&self) -> Result<(), Fault> {
        let low = self.bytes as u64 - 1;
        let all = (0..LANES).fold(0, |all, i| all | if self.mask >> i & 1 == 1 { self.addresses[i] } else { 0 });
        if all & low == 0 {
            return Ok(());
        }
        let lane = self.active().find(|&i| self.addresses[i] & low != 0).unwrap_or(0);
        let message = format!("{} bytes at 0x{:x} in {:?} memory", self.bytes, self.addresses[lane], self.space);
        Err(Fault::new(FaultKind::MisalignedAddress, message).at_lane(lane))
    }
}

impl Warp {
    /// Effective addresses; a generic access is split by the spaces its lanes point to.
    pub fn places(
        &mut self,
        strand: &Strand,
        reg: Reg,
        access: &Access,
        mask: u32,
        launch: &Launch,
    ) -> Result<Vec<Places>, Fault> {
        let bytes = access.ty.bytes() * access.vector as usize;
        let mut addresses = [access.offset as u64; LANES];
        if access.frame {
            addresses = [strand.local_base as u64 + access.offset as u64; LANES];
        } else if reg != NONE {
            let base = *u64::read(&self.lanes(strand, launch), reg);
            for i in 0..LANES {
                addresses[i] = base[i].wrapping_add(access.offset as u64);
            }
        }
        let mut parts = Vec::with_capacity(1);
        let one = Places { space: access.space, addresses, mask, bytes };
        if access.space != Space::Generic {
            parts.push(one);
        } else {
            let mut rest = mask;
            while rest != 0 {
                let first = addresses[rest.trailing_zeros() as usize];
                let (space, _) = spaces::of(first);
                let same = (0..LANES).fold(0, |same, i| {
                    same | u32::from(
                        addresses[i] >> 48 == first >> 48
                            || (space == Space::Global && spaces::of(addresses[i]).0 == Space::Global),
                    ) << i
                }) & rest;
                parts.push(Places { space, addresses: addresses.map(|a| spaces::of(a).1), mask: same, bytes });
                rest &= !same;
            }
        }
        for part in &parts {
            part.check_alignment()?;
        }
        Ok(parts)
    }

    pub fn load(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let size = access.ty.bytes();
        for part in self.places(strand, inst.s[0], access, mask, launch)? {
            let touch = if access.order == Order::Weak { Touch::Read } else { Touch::StrongRead(access.order) };
            self.inspect(&part, touch, launch, state)?;
            let mut bytes = [0u8; LANES * 16];
            self.fetch(&part, &mut bytes, launch, state);
            for k in 0..access.vector as usize {
                let d = inst.d[k];
                if d == NONE {
                    continue;
                }
                let at = |lane: usize| lane * part.bytes + k * size;
                let mut lanes = self.lanes(strand, launch);
                if d.class() == RegClass::Double {
                    let out =
                        std::array::from_fn(|i| u64::from_le_bytes(*bytes[at(i)..].first_chunk().unwrap_or(&[0; 8])));
                    u64::write(&mut lanes, d, &out, part.mask);
                } else if size == 4 {
                    let out =
                        std::array::from_fn(|i| u32::from_le_bytes(*bytes[at(i)..].first_chunk().unwrap_or(&[0; 4])));
                    u32::write(&mut lanes, d, &out, part.mask);
                } else {
                    let out = std::array::from_fn(|i| small(&bytes[at(i)..], access));
                    u32::write(&mut lanes, d, &out, part.mask);
                }
            }
        }
        Ok(())
    }

    pub fn store(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let size = access.ty.bytes();
        for part in self.places(strand, inst.s[0], access, mask, launch)? {
            let touch = if access.order == Order::Weak { Touch::Write } else { Touch::StrongWrite(access.order) };
            self.inspect(&part, touch, launch, state)?;
            let mut bytes = [0u8; LANES * 16];
            for k in 0..access.vector as usize {
                let lanes = self.lanes(strand, launch);
                if size == 8 {
                    let values = u64::read(&lanes, inst.s[1 + k]);
                    for i in 0..LANES {
                        bytes[i * part.bytes + k * 8..][..8].copy_from_slice(&values[i].to_le_bytes());
                    }
                } else {
                    let values = u32::read(&lanes, inst.s[1 + k]);
                    for i in 0..LANES {
                        bytes[i * part.bytes + k * size..][..size].copy_from_slice(&values[i].to_le_bytes()[..size]);
                    }
                }
            }
            self.put(&part, &bytes, launch, state);
        }
        Ok(())
    }

    /// Bounds and the chosen checks, then the counters.
    pub fn inspect(
        &mut self,
        part: &Places,
        touch: Touch,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        match part.space {
            Space::Shared => state.shared_access(part, touch, self.index, launch),
            Space::Local => self.check_local(part),
            Space::Param => {
                let end = launch.params.len() as u64;
                match part.active().find(|&i| part.addresses[i].checked_add(part.bytes as u64).is_none_or(|e| e > end))
                {
                    Some(lane) => {
                        Err(Fault::new(FaultKind::IllegalAddress, "beyond the kernel's parameters").at_lane(lane))
                    }
                    None => Ok(()),
                }
            }
            _ => state.global_access(part, touch, self.index, launch),
        }
    }

    fn check_local(&self, part: &Places) -> Result<(), Fault> {
        let stride = self.local_stride as u64;
        match part.active().find(|&i| part.addresses[i].checked_add(part.bytes as u64).is_none_or(|e| e > stride)) {
            Some(lane) => {
                let message = format!("local address 0x{:x}, of 0x{stride:x} bytes", part.addresses[lane]);
                Err(Fault::new(FaultKind::IllegalAddress, message).at_lane(lane))
            }
            None => Ok(()),
        }
    }

    /// Bytes of the active lanes, lane after lane. Addresses have been checked.
    pub fn fetch(&mut self, part: &Places, out: &mut [u8; LANES * 16], launch: &Launch, state: &BlockState) {
        let n = part.bytes;
        match part.space {
            Space::Shared => {
                let shared = state.shared_bytes();
                if part.consecutive() {
                    out[..LANES * n].copy_from_slice(&shared[part.addresses[0] as usize..][..LANES * n]);
                    return;
                }
                for i in part.active() {
                    copy_small(&mut out[i * n..][..n], &shared[part.addresses[i] as usize..][..n]);
                }
            }
            Space::Local => {
                let stride = self.local_stride;
                let local = self.local_bytes();
                for i in part.active() {
                    copy_small(&mut out[i * n..][..n], &local[i * stride + part.addresses[i] as usize..][..n]);
                }
            }
            Space::Param => {
                for i in part.active() {
                    out[i * n..][..n].copy_from_slice(&launch.params[part.addresses[i] as usize..][..n]);
                }
            }
            _ => {
                if part.consecutive()
                    && let Some(window) = launch.memory.window(part.addresses[0], (LANES * n) as u64)
                {
                    window.copy_out(part.addresses[0], &mut out[..LANES * n]);
                    return;
                }
                for i in part.active() {
                    if let Some(window) = launch.memory.window(part.addresses[i], n as u64) {
                        for (k, chunk) in out[i * n..][..n].chunks_mut(8).enumerate() {
                            let value = window.load(part.addresses[i] + 8 * k as u64, chunk.len());
                            chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
                        }
                    }
                }
            }
        }
    }

    /// Stores the active lanes' bytes; where lanes collide the highest wins.
    pub fn put(&mut self, part: &Places, bytes: &[u8; LANES * 16], launch: &Launch, state: &mut BlockState) {
        let n = part.bytes;
        match part.space {
            Space::Shared => {
                let consecutive = part.consecutive();
                let shared = state.shared_bytes_mut();
                if consecutive {
                    shared[part.addresses[0] as usize..][..LANES * n].copy_from_slice(&bytes[..LANES * n]);
                    return;
                }
                for i in part.active() {
                    copy_small(&mut shared[part.addresses[i] as usize..][..n], &bytes[i * n..][..n]);
                }
            }
            Space::Local => {
                let stride = self.local_stride;
                let local = self.local_bytes();
                for i in part.active() {
                    copy_small(&mut local[i * stride + part.addresses[i] as usize..][..n], &bytes[i * n..][..n]);
                }
            }
            _ => {
                if part.consecutive()
                    && let Some(window) = launch.memory.window(part.addresses[0], (LANES * n) as u64)
                {
                    window.copy_in(part.addresses[0], &bytes[..LANES * n]);
                    return;
                }
                for i in part.active() {
                    if let Some(window) = launch.memory.window(part.addresses[i], n as u64) {
                        for (k, chunk) in bytes[i * n..][..n].chunks(8).enumerate() {
                            let mut value = [0; 8];
                            value[..chunk.len()].copy_from_slice(chunk);
                            window.store(part.addresses[i] + 8 * k as u64, chunk.len(), u64::from_le_bytes(value));
                        }
                    }
                }
            }
        }
    }
}

/// A copy of a few bytes without a call.
#[inline(always)]
fn copy_small(to: &mut [u8], from: &[u8]) {
    match (<&mut [u8; 4]>::try_from(&mut *to), <&[u8; 4]>::try_from(from)) {
        (Ok(to), Ok(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// An 8- or 16-bit element extended to its register's bits.
#[inline(always)]
fn small(bytes: &[u8], access: &Access) -> u32 {
    let signed = access.ty.is_signed();
    let value = match (access.ty.bytes(), bytes) {
        (1, &[a, ..]) if signed => a as i8 as i32 as u32,
        (1, &[a, ..]) => a.into(),
        (_, &[a, b, ..]) if signed => i16::from_le_bytes([a, b]) as i32 as u32,
        (_, &[a, b, ..]) => u16::from_le_bytes([a, b]).into(),
        _ => 0,
    };
    if access.extend == 16 { value & 0xffff } else { value }
}
