//! Generic addresses: windows for the spaces that are private to a block, a thread or a launch.
//!
//! They lie above any user address of the host, so a generic address tells its space by its top 16 bits. Global and
//! constant memory are outside all of them and keep their addresses.

use crate::ptx::types::Space;

pub const SHARED_WINDOW: u64 = 0x00f1_0000_0000_0000;
pub const LOCAL_WINDOW: u64 = 0x00f2_0000_0000_0000;
pub const PARAM_WINDOW: u64 = 0x00f3_0000_0000_0000;

/// The space of a generic address and where its window begins.
#[inline(always)]
pub fn window(address: u64) -> (Space, u64) {
    match address >> 48 {
        0xf1 => (Space::Shared, SHARED_WINDOW),
        0xf2 => (Space::Local, LOCAL_WINDOW),
        0xf3 => (Space::Param, PARAM_WINDOW),
        _ => (Space::Global, 0),
    }
}

/// The place in shared memory of an address that must be there, generic or not.
#[inline(always)]
pub fn shared_offset(address: u64) -> u64 {
    if address >> 48 == SHARED_WINDOW >> 48 { address - SHARED_WINDOW } else { address }
}

/// A number for each space, for instructions' constants; constant memory is part of global memory here.
pub fn code(space: Space) -> u32 {
    match space {
        Space::Shared => 1,
        Space::Local => 2,
        Space::Param => 3,
        _ => 0,
    }
}
