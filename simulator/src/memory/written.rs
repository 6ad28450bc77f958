//! Which bytes of device memory something wrote: one bit a byte, for the check of reads of memory nothing wrote.

use super::window::Window;

pub struct Written {
    bits: Window,
}

impl Written {
    /// For device memory of so many bytes; bits of untouched pages cost nothing.
    pub fn new(bytes: u64) -> Option<Self> {
        Window::shared_with_host(bytes / 8 + 8).map(|bits| Self { bits })
    }

    /// Visits the words of bits that a range covers, with the part of each that belongs to it.
    fn words(offset: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = offset + bytes;
        (offset / 64..end.div_ceil(64)).map(move |word| {
            let low = offset.saturating_sub(word * 64).min(64);
            let high = (end - word * 64).min(64);
            let below = |n: u64| if n == 64 { u64::MAX } else { (1 << n) - 1 };
            (word * 8, below(high) & !below(low))
        })
    }

    #[inline]
    pub fn mark(&self, offset: u64, bytes: u64) {
        for (word, mask) in Self::words(offset, bytes) {
            let at = self.bits.base + word;
            if self.bits.load(at, 8) & mask != mask {
                self.bits.update(at, 8, |old| Some(old | mask));
            }
        }
    }

    #[inline]
    pub fn all(&self, offset: u64, bytes: u64) -> bool {
        Self::words(offset, bytes).all(|(word, mask)| self.bits.load(self.bits.base + word, 8) & mask == mask)
    }

    pub fn clear(&self, offset: u64, bytes: u64) {
        for (word, mask) in Self::words(offset, bytes) {
            let at = self.bits.base + word;
            if self.bits.load(at, 8) & mask != 0 {
                self.bits.update(at, 8, |old| Some(old & !mask));
            }
        }
    }
}
