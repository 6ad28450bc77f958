//! Elements between memory and the lanes of a warp. Addresses have been checked.
//!
//! A warp whose lanes access consecutive elements is one block copy, and one whose lanes access the same element is one
//! load. Otherwise each lane goes by itself, an aligned element of 1 to 16 bytes.

use bytemuck::Pod;

use super::block::BlockState;
use super::warp::Warp;
use crate::launch::Launch;
use crate::launch::accesses::{Accesses, Pattern};
use crate::memory::Memory;
use crate::memory::window::Window;
use crate::program::lanes::LANES;
use crate::ptx::types::Space;

/// One element of memory that all workers share: relaxed atomics of at most 8 bytes.
#[inline(always)]
fn element<E: Pod>(window: &Window, address: u64) -> E {
    let mut out = E::zeroed();
    for (k, chunk) in bytemuck::bytes_of_mut(&mut out).chunks_mut(8).enumerate() {
        let value = window.load(address + 8 * k as u64, chunk.len());
        chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
    }
    out
}

#[inline(always)]
fn set_element<E: Pod>(window: &Window, address: u64, element: &E) {
    for (k, chunk) in bytemuck::bytes_of(element).chunks(8).enumerate() {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        window.store(address + 8 * k as u64, chunk.len(), u64::from_le_bytes(value));
    }
}

/// One element of memory that is the worker's own.
#[inline(always)]
fn read_part<E: Pod>(memory: &[u8], at: usize) -> E {
    bytemuck::pod_read_unaligned(&memory[at..][..size_of::<E>()])
}

#[inline(always)]
fn write_part<E: Pod>(memory: &mut [u8], at: usize, element: &E) {
    memory[at..][..size_of::<E>()].copy_from_slice(bytemuck::bytes_of(element));
}

/// The elements of all lanes; those that are off repeat one that is on.
#[inline(always)]
pub fn fetch<E: Pod>(warp: &mut Warp, part: &Accesses, out: &mut [E; LANES], launch: &Launch, state: &BlockState) {
    match part.space {
        Space::Shared => fetch_from(state.shared_bytes(), part, out),
        Space::Param => fetch_from(&launch.params, part, out),
        Space::Local => {
            let stride = warp.local_stride;
            let local = warp.local_bytes();
            for i in 0..LANES {
                out[i] = read_part(local, i * stride + part.addresses[i] as usize);
            }
        }
        _ => fetch_global(part, out, &launch.memory),
    }
}

#[inline(always)]
fn fetch_from<E: Pod>(memory: &[u8], part: &Accesses, out: &mut [E; LANES]) {
    if part.pattern == Pattern::Consecutive {
        let to: &mut [u8] = bytemuck::cast_slice_mut(out);
        to.copy_from_slice(&memory[part.low as usize..][..to.len()]);
    } else if part.uniform() {
        *out = [read_part(memory, part.low as usize); LANES];
    } else {
        for i in 0..LANES {
            out[i] = read_part(memory, part.addresses[i] as usize);
        }
    }
}

#[inline(always)]
fn fetch_global<E: Pod>(part: &Accesses, out: &mut [E; LANES], memory: &Memory) {
    match memory.window(part.low, part.high - part.low + size_of::<E>() as u64) {
        Some(window) if part.pattern == Pattern::Consecutive => {
            window.copy_out(part.low, bytemuck::cast_slice_mut(out));
        }
        Some(window) if part.uniform() => *out = [element(window, part.low); LANES],
        Some(window) => {
            for i in 0..LANES {
                out[i] = element(window, part.addresses[i]);
            }
        }
        // Device and host memory in one access.
        None => {
            for i in 0..LANES {
                if let Some(window) = memory.window(part.addresses[i], size_of::<E>() as u64) {
                    out[i] = element(window, part.addresses[i]);
                }
            }
        }
    }
}

/// Stores the active lanes' elements; where lanes collide the highest wins.
#[inline(always)]
pub fn put<E: Pod>(warp: &mut Warp, part: &Accesses, from: &[E; LANES], launch: &Launch, state: &mut BlockState) {
    match part.space {
        Space::Shared => {
            let shared = state.shared_bytes_mut();
            if part.pattern == Pattern::Consecutive {
                let from: &[u8] = bytemuck::cast_slice(from);
                shared[part.low as usize..][..from.len()].copy_from_slice(from);
            } else {
                part.active().for_each(|i| write_part(shared, part.addresses[i] as usize, &from[i]));
            }
        }
        Space::Local => {
            let stride = warp.local_stride;
            let local = warp.local_bytes();
            part.active().for_each(|i| write_part(local, i * stride + part.addresses[i] as usize, &from[i]));
        }
        _ => put_global(part, from, &launch.memory),
    }
}

#[inline(always)]
fn put_global<E: Pod>(part: &Accesses, from: &[E; LANES], memory: &Memory) {
    match memory.window(part.low, part.high - part.low + size_of::<E>() as u64) {
        Some(window) if part.pattern == Pattern::Consecutive => window.copy_in(part.low, bytemuck::cast_slice(from)),
        Some(window) => part.active().for_each(|i| set_element(window, part.addresses[i], &from[i])),
        None => {
            for i in part.active() {
                if let Some(window) = memory.window(part.addresses[i], size_of::<E>() as u64) {
                    set_element(window, part.addresses[i], &from[i]);
                }
            }
        }
    }
}
