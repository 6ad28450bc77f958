//! Bytes between memory and a warp, lane after lane in one buffer. Addresses have been checked.
//!
//! A warp whose lanes access consecutive elements is one block copy, and one whose lanes access the same element is one
//! load. Otherwise each lane goes by itself, an aligned element of 1 to 16 bytes.

use bytemuck::{Pod, Zeroable};

use super::block::BlockState;
use super::lanes::LANES;
use super::params::Launch;
use super::places::{Pattern, Places};
use super::warp::Warp;
use crate::memory::Memory;
use crate::memory::window::Window;
use crate::ptx::types::Space;

/// The most bytes a lane accesses at once.
const WIDEST: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Buffer([u8; LANES * WIDEST]);

impl Buffer {
    pub const ZERO: Self = Self([0; LANES * WIDEST]);

    /// The buffer as elements of a type, of which it holds at least `N`.
    #[inline(always)]
    pub fn elements<T: Pod, const N: usize>(&self) -> &[T; N] {
        bytemuck::cast_slice(&self.0).first_chunk().expect("a warp's elements fit the buffer")
    }

    #[inline(always)]
    pub fn elements_mut<T: Pod, const N: usize>(&mut self) -> &mut [T; N] {
        bytemuck::cast_slice_mut(&mut self.0).first_chunk_mut().expect("a warp's elements fit the buffer")
    }
}

/// Runs an expression with the access's size as the constant `$n`.
macro_rules! by_size {
    ($bytes:expr, $n:ident => $e:expr) => {
        match $bytes {
            1 => by_size!(@ $n, 1, $e),
            2 => by_size!(@ $n, 2, $e),
            4 => by_size!(@ $n, 4, $e),
            8 => by_size!(@ $n, 8, $e),
            _ => by_size!(@ $n, 16, $e),
        }
    };
    (@ $n:ident, $value:literal, $e:expr) => {{
        const $n: usize = $value;
        $e
    }};
}

/// One element of memory that all workers share: relaxed atomics of at most 8 bytes.
#[inline(always)]
fn element<const N: usize>(window: &Window, address: u64) -> [u8; N] {
    let mut out = [0; N];
    for (k, chunk) in out.chunks_mut(8).enumerate() {
        let value = window.load(address + 8 * k as u64, chunk.len());
        chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
    }
    out
}

#[inline(always)]
fn set_element<const N: usize>(window: &Window, address: u64, element: [u8; N]) {
    for (k, chunk) in element.chunks(8).enumerate() {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        window.store(address + 8 * k as u64, chunk.len(), u64::from_le_bytes(value));
    }
}

/// A lane's bytes of a slice.
#[inline(always)]
fn part_of<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The elements of all lanes; those that are off repeat one that is on.
#[inline(always)]
pub fn fetch(warp: &mut Warp, part: &Places, out: &mut Buffer, launch: &Launch, state: &BlockState) {
    match part.space {
        Space::Shared => fetch_from(state.shared_bytes(), part, out),
        Space::Param => fetch_from(&launch.params, part, out),
        Space::Local => {
            let stride = warp.local_stride;
            let local = warp.local_bytes();
            by_size!(part.bytes, N => {
                *out.elements_mut::<[u8; N], LANES>() =
                    std::array::from_fn(|i| part_of(local, i * stride + part.addresses[i] as usize));
            });
        }
        _ => fetch_global(part, out, &launch.memory),
    }
}

#[inline(always)]
fn fetch_from(memory: &[u8], part: &Places, out: &mut Buffer) {
    by_size!(part.bytes, N => {
        let out = out.elements_mut::<[u8; N], LANES>();
        if part.pattern == Pattern::Consecutive {
            let from = &memory[part.low as usize..][..LANES * N];
            out.copy_from_slice(bytemuck::cast_slice(from));
        } else if part.uniform() {
            *out = [part_of(memory, part.low as usize); LANES];
        } else {
            *out = std::array::from_fn(|i| part_of(memory, part.addresses[i] as usize));
        }
    });
}

#[inline(always)]
fn fetch_global(part: &Places, out: &mut Buffer, memory: &Memory) {
    let common = memory.window(part.low, part.high - part.low + part.bytes as u64);
    by_size!(part.bytes, N => {
        let out = out.elements_mut::<[u8; N], LANES>();
        match common {
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
                *out = part.addresses.map(|a| memory.window(a, N as u64).map_or([0; N], |window| element(window, a)));
            }
        }
    });
}

/// Stores the active lanes' elements; where lanes collide the highest wins.
#[inline(always)]
pub fn put(warp: &mut Warp, part: &Places, from: &Buffer, launch: &Launch, state: &mut BlockState) {
    match part.space {
        Space::Shared => {
            let shared = state.shared_bytes_mut();
            by_size!(part.bytes, N => {
                let from = from.elements::<[u8; N], LANES>();
                if part.pattern == Pattern::Consecutive {
                    shared[part.low as usize..][..LANES * N].copy_from_slice(bytemuck::cast_slice(from));
                } else {
                    part.active().for_each(|i| shared[part.addresses[i] as usize..][..N].copy_from_slice(&from[i]));
                }
            });
        }
        Space::Local => {
            let stride = warp.local_stride;
            let local = warp.local_bytes();
            by_size!(part.bytes, N => {
                let from = from.elements::<[u8; N], LANES>();
                for i in part.active() {
                    local[i * stride + part.addresses[i] as usize..][..N].copy_from_slice(&from[i]);
                }
            });
        }
        _ => put_global(part, from, &launch.memory),
    }
}

#[inline(always)]
fn put_global(part: &Places, from: &Buffer, memory: &Memory) {
    by_size!(part.bytes, N => {
        let from = from.elements::<[u8; N], LANES>();
        let common = memory.window(part.low, part.high - part.low + N as u64);
        match common {
            Some(window) if part.pattern == Pattern::Consecutive => {
                window.copy_in(part.low, bytemuck::cast_slice(from));
            }
            Some(window) => part.active().for_each(|i| set_element(window, part.addresses[i], from[i])),
            None => {
                for i in part.active() {
                    if let Some(window) = memory.window(part.addresses[i], N as u64) {
                        set_element(window, part.addresses[i], from[i]);
                    }
                }
            }
        }
    });
}
