//! A range of addresses and the bytes behind it. All raw access to device memory is here.
//!
//! Kernels run on several threads and may race, as on a GPU: every element is read and written as a relaxed atomic, so
//! a racing program is wrong but the simulator is not.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

const PAGE: u64 = 4096;

/// Addresses `base..base + size`, stored at `backing`.
pub struct Window {
    pub base: u64,
    pub size: u64,
    backing: *mut u8,
}

// SAFETY: the mapping lives as long as the process, and its bytes are only accessed atomically or by block copies that
// the program must order, exactly as it must on a GPU.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

fn map(hint: u64, size: u64, access: libc::c_int) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: an anonymous mapping at an address the kernel chooses (the hint is only a hint) touches no other memory.
    let pointer = unsafe { libc::mmap(hint as *mut libc::c_void, size as usize, access, flags, -1, 0) };
    (pointer != libc::MAP_FAILED).then_some(pointer.cast())
}

impl Window {
    /// Device memory: addresses the host cannot access, bytes elsewhere.
    pub fn device(size: u64) -> Option<Self> {
        let base = map(0x6000_0000_0000, size, libc::PROT_NONE)? as u64;
        let backing = map(0, size, libc::PROT_READ | libc::PROT_WRITE)?;
        Some(Self { base, size, backing })
    }

    /// Memory that host and device see at one address.
    pub fn shared_with_host(size: u64) -> Option<Self> {
        let backing = map(0x5000_0000_0000, size, libc::PROT_READ | libc::PROT_WRITE)?;
        Some(Self { base: backing as u64, size, backing })
    }

    /// The program's own memory, which it has registered: the device sees it at its address.
    pub fn of_program(address: u64, size: u64) -> Self {
        Self { base: address, size, backing: address as *mut u8 }
    }

    #[inline(always)]
    pub fn contains(&self, address: u64, bytes: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.size && bytes <= self.size - offset
    }

    /// Where an address is stored. The caller has checked that the window contains it.
    #[inline(always)]
    fn at(&self, address: u64) -> *mut u8 {
        debug_assert!(self.contains(address, 1));
        // SAFETY: `address` lies in the window, so the offset lies in the mapping.
        unsafe { self.backing.add((address - self.base) as usize) }
    }

    /// Reads an aligned element of 1, 2, 4 or 8 bytes that the window contains.
    #[inline(always)]
    pub fn load(&self, address: u64, bytes: usize) -> u64 {
        let p = self.at(address);
        // SAFETY: the window contains the element and its address is aligned (backing and base share their alignment).
        unsafe {
            match bytes {
                1 => AtomicU8::from_ptr(p).load(Relaxed).into(),
                2 => AtomicU16::from_ptr(p.cast()).load(Relaxed).into(),
                4 => AtomicU32::from_ptr(p.cast()).load(Relaxed).into(),
                _ => AtomicU64::from_ptr(p.cast()).load(Relaxed),
            }
        }
    }

    #[inline(always)]
    pub fn store(&self, address: u64, bytes: usize, value: u64) {
        let p = self.at(address);
        // SAFETY: as for `load`.
        unsafe {
            match bytes {
                1 => AtomicU8::from_ptr(p).store(value as u8, Relaxed),
                2 => AtomicU16::from_ptr(p.cast()).store(value as u16, Relaxed),
                4 => AtomicU32::from_ptr(p.cast()).store(value as u32, Relaxed),
                _ => AtomicU64::from_ptr(p.cast()).store(value, Relaxed),
            }
        }
    }

    /// Replaces an element by `f` of it, atomically; gives the old value. `None` from `f` leaves it.
    pub fn update(&self, address: u64, bytes: usize, f: impl Fn(u64) -> Option<u64>) -> u64 {
        use std::sync::atomic::Ordering::SeqCst;
        let p = self.at(address);
        // SAFETY: as for `load`.
        unsafe {
            match bytes {
                2 => {
                    let g = |x| f(u64::from(x)).map(|y| y as u16);
                    AtomicU16::from_ptr(p.cast()).fetch_update(SeqCst, Relaxed, g).unwrap_or_else(|x| x).into()
                }
                4 => {
                    let g = |x| f(u64::from(x)).map(|y| y as u32);
                    AtomicU32::from_ptr(p.cast()).fetch_update(SeqCst, Relaxed, g).unwrap_or_else(|x| x).into()
                }
                _ => AtomicU64::from_ptr(p.cast()).fetch_update(SeqCst, Relaxed, f).unwrap_or_else(|x| x),
            }
        }
    }

    /// Copies out of the window, which contains `address..address + out.len()`.
    #[inline(always)]
    pub fn copy_out(&self, address: u64, out: &mut [u8]) {
        // SAFETY: the window contains the source; `out` is the caller's own memory.
        unsafe { std::ptr::copy_nonoverlapping(self.at(address), out.as_mut_ptr(), out.len()) }
    }

    #[inline(always)]
    pub fn copy_in(&self, address: u64, bytes: &[u8]) {
        // SAFETY: the window contains the destination; `bytes` may alias it only for pinned memory, hence `copy`.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.at(address), bytes.len()) }
    }

    /// A raw pointer to bytes that the window contains, for copies between windows and host memory.
    pub fn pointer(&self, address: u64) -> *mut u8 {
        self.at(address)
    }

    /// Makes a range of the window zero: whole pages by giving them back, what is beside them by hand.
    pub fn zero(&self, address: u64, bytes: u64) {
        self.discard(address, bytes);
        let edge = bytes.min(PAGE);
        let zeros = [0; PAGE as usize];
        self.copy_in(address, &zeros[..edge as usize]);
        self.copy_in(address + bytes - edge, &zeros[..edge as usize]);
    }

    /// Gives a range's pages back to the system; they read as zero afterwards.
    pub fn discard(&self, address: u64, bytes: u64) {
        let start = (address - self.base).next_multiple_of(PAGE);
        let end = (address - self.base + bytes) / PAGE * PAGE;
        if start < end {
            // SAFETY: whole pages of this mapping, which nothing uses any more.
            unsafe {
                let p = self.backing.add(start as usize);
                libc::madvise(p.cast(), (end - start) as usize, libc::MADV_DONTNEED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn zeroing_keeps_what_lies_beside() {
        let window = Window::shared_with_host(1 << 16).expect("address space");
        for (start, bytes) in [(100, 9000), (4096, 4096), (4000, 200), (8191, 1)] {
            window.copy_in(window.base, &[0xff; 1 << 15]);
            window.zero(window.base + start, bytes);
            let mut got = vec![0; 1 << 15];
            window.copy_out(window.base, &mut got);
            let zeros = |at: u64| (start..start + bytes).contains(&at);
            assert!(got.iter().zip(0..).all(|(&byte, at)| (byte == 0) == zeros(at)), "{start} {bytes}");
        }
    }
}
