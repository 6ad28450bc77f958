//! The heap of kernels that call `malloc`: one range of device memory, kept from launch to launch.

use std::collections::HashMap;

use super::allocator::Allocator;

const ALIGNMENT: u64 = 16;

pub struct Heap {
    pub base: u64,
    allocator: Allocator,
    /// Sizes by address.
    live: HashMap<u64, u64>,
}

impl Heap {
    pub fn new(base: u64, bytes: u64) -> Self {
        Self { base, allocator: Allocator::new(base, bytes), live: HashMap::new() }
    }

    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let padded = bytes.max(1).checked_next_multiple_of(ALIGNMENT)?;
        let address = self.allocator.allocate(padded)?;
        self.live.insert(address, padded);
        Some(address)
    }

    /// The bytes that are free again.
    pub fn free(&mut self, address: u64) -> Option<u64> {
        let bytes = self.live.remove(&address)?;
        self.allocator.free(address, bytes);
        Some(bytes)
    }
}
