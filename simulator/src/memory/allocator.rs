//! Which address ranges are free. Allocation goes on after the last one and comes back to the start only when the range
//! is used up: an address just freed stays unused, so that a late use of it is seen.

use std::collections::BTreeMap;

pub struct Allocator {
    /// Free ranges: start to length.
    free: BTreeMap<u64, u64>,
    rover: u64,
}

impl Allocator {
    pub fn new(base: u64, size: u64) -> Self {
        Self { free: BTreeMap::from([(base, size)]), rover: base }
    }

    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let fits = |(&start, &length): (&u64, &u64)| (length >= bytes).then_some((start, length));
        let (start, length) =
            self.free.range(self.rover..).find_map(fits).or_else(|| self.free.iter().find_map(fits))?;
        self.free.remove(&start);
        if length > bytes {
            self.free.insert(start + bytes, length - bytes);
        }
        self.rover = start + bytes;
        Some(start)
    }

    /// Gives a range back and joins it with its neighbours.
    pub fn free(&mut self, start: u64, bytes: u64) {
        let (mut start, mut bytes) = (start, bytes);
        if let Some((&before, &length)) = self.free.range(..start).next_back()
            && before + length == start
        {
            self.free.remove(&before);
            start = before;
            bytes += length;
        }
        if let Some(after) = self.free.remove(&(start + bytes)) {
            // The tail that was never used stays a range of its own, or the rover would fall behind it.
            if self.rover == start + bytes {
                self.free.insert(start + bytes, after);
            } else {
                bytes += after;
            }
        }
        self.free.insert(start, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Allocator;

    #[test]
    fn freed_addresses_rest_until_the_range_is_used_up() {
        let mut allocator = Allocator::new(0, 4096);
        let first = allocator.allocate(1024).expect("room for the first");
        allocator.free(first, 1024);
        assert_ne!(allocator.allocate(1024), Some(first));
        assert!(allocator.allocate(2048).is_some());
        assert_eq!(allocator.allocate(1024), Some(first));
        assert_eq!(allocator.allocate(1), None);
    }

    #[test]
    fn neighbours_join() {
        let mut allocator = Allocator::new(0, 3000);
        let parts: Vec<u64> = (0..3).filter_map(|_| allocator.allocate(1000)).collect();
        for &part in &[parts[0], parts[2], parts[1]] {
            allocator.free(part, 1000);
        }
        assert_eq!(allocator.allocate(3000), Some(0));
    }
}
