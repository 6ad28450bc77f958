//! The device's memory: address windows, what is allocated in them, which bytes were written.
//!
//! Device memory has addresses that the host cannot touch, as on a machine with a GPU: the pointers a program gets lie
//! in a reserved range without access, and the bytes are elsewhere. Pinned and managed memory have one address for
//! both.

pub mod allocator;
mod heap;
pub mod spaces;
pub mod touched;
pub mod window;
pub mod written;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use allocator::Allocator;
use heap::Heap;
use touched::Touched;
use window::Window;
use written::Written;

/// What an allocation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Device,
    /// Page-locked host memory, also seen by the device.
    Pinned,
    Managed,
    /// The program's own memory, registered with the driver.
    Registered,
    /// A module's variables, or what a graph allocates: not the program's to free, and no leak.
    Module,
}

impl Kind {
    /// Whether it takes memory of the device.
    fn is_on_device(self) -> bool {
        !matches!(self, Self::Pinned | Self::Registered)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    pub base: u64,
    pub bytes: u64,
    pub kind: Kind,
    /// Number of the allocation, for leak reports.
    pub serial: u64,
    /// Address range that it takes, with what lies behind it.
    reserved: u64,
}

/// Allocations as a kernel sees them: those there when it starts, in order of address.
#[derive(Default, Debug)]
pub struct Snapshot {
    pub live: Vec<(u64, u64)>,
    pub freed: Vec<(u64, u64)>,
}

struct Tables {
    device: Allocator,
    host: Allocator,
    live: BTreeMap<u64, Allocation>,
    freed: VecDeque<(u64, u64)>,
    serial: u64,
    snapshot: Option<Arc<Snapshot>>,
}

/// All memory of one device.
pub struct Memory {
    pub device: Window,
    pub host: Window,
    pub written: Written,
    /// Whether [`Self::written`] is kept.
    follows_writes: AtomicBool,
    /// Made when a launch first asks for it.
    touched: OnceLock<Option<Touched>>,
    tables: Mutex<Tables>,
    heap: Mutex<Option<Heap>>,
    /// Memory that the program has registered. A window lives for ever, as accesses are not counted; it is small.
    registered: RwLock<Vec<&'static Window>>,
    pub capacity: u64,
    /// Bytes left free behind each allocation, so that what runs over its end hits nothing.
    gap: AtomicU64,
}

/// Freed ranges remembered, so that a use after free is told from a wild address.
const REMEMBERED: usize = 4096;
/// Address room beyond the device's capacity: freed addresses are not soon used again.
const ROOM: u64 = 2;
const GRANULE: u64 = 512;
/// The gap that the check of bounds wants behind each allocation.
const RED_ZONE: u64 = 512;

impl Memory {
    /// Reserves address space for a device with so many bytes; `None` if the system grants none at all.
    pub fn new(capacity: u64) -> Option<Self> {
        let mut size = capacity * ROOM;
        loop {
            let windows = Window::device(size).and_then(|d| Some((d, Window::shared_with_host(size)?)));
            let windows = windows.and_then(|(d, h)| Some((d, h, Written::new(size)?)));
            if let Some((device, host, written)) = windows {
                let tables = Tables {
                    device: Allocator::new(device.base, device.size),
                    host: Allocator::new(host.base, host.size),
                    live: BTreeMap::new(),
                    freed: VecDeque::new(),
                    serial: 0,
                    snapshot: None,
                };
                let capacity = capacity.min(size);
                let (registered, gap) = (RwLock::new(Vec::new()), AtomicU64::new(0));
                let (touched, tables, heap) = (OnceLock::new(), Mutex::new(tables), Mutex::new(None));
                let follows_writes = AtomicBool::new(true);
                return Some(Self {
                    device,
                    host,
                    written,
                    follows_writes,
                    touched,
                    tables,
                    heap,
                    registered,
                    capacity,
                    gap,
                });
            }
            size /= 2;
            if size < 1 << 26 {
                return None;
            }
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether allocations from now on lie apart from each other.
    pub fn keep_apart(&self, apart: bool) {
        self.gap.store(if apart { RED_ZONE } else { 0 }, Ordering::Relaxed);
    }

    /// Whether it is kept what was written. If not, everything counts as written.
    pub fn follow_writes(&self, follow: bool) {
        self.follows_writes.store(follow, Ordering::Relaxed);
    }

    /// Whether a range is one whose writes are followed.
    fn is_followed(&self, address: u64, bytes: u64) -> bool {
        self.follows_writes.load(Ordering::Relaxed) && self.device.contains(address, bytes)
    }

    /// Allocates; `None` is out of memory.
    pub fn allocate(&self, bytes: u64, kind: Kind) -> Option<u64> {
        let mut tables = self.tables();
        let padded = bytes.max(1).checked_next_multiple_of(GRANULE)?;
        let on_host = matches!(kind, Kind::Pinned | Kind::Managed);
        let used: u64 = tables.live.values().filter(|a| a.kind.is_on_device()).map(|a| a.bytes).sum();
        if !on_host && used.checked_add(padded)? > self.capacity {
            return None;
        }
        let arena = if on_host { &mut tables.host } else { &mut tables.device };
        let reserved = padded.checked_add(self.gap.load(Ordering::Relaxed))?;
        let base = arena.allocate(reserved)?;
        tables.serial += 1;
        let serial = tables.serial;
        tables.live.insert(base, Allocation { base, bytes, kind, serial, reserved });
        tables.freed.retain(|&(start, end)| end <= base || start >= base + reserved);
        tables.snapshot = None;
        self.forget(base, padded);
        Some(base)
    }

    /// Frees what starts at `base`.
    pub fn free(&self, base: u64) -> Option<Allocation> {
        let mut tables = self.tables();
        let allocation = tables.live.remove(&base)?;
        let padded = allocation.bytes.max(1).next_multiple_of(GRANULE);
        let on_host = matches!(allocation.kind, Kind::Pinned | Kind::Managed);
        let (arena, window) = if on_host { (&mut tables.host, &self.host) } else { (&mut tables.device, &self.device) };
        arena.free(base, allocation.reserved);
        window.discard(base, padded);
        tables.freed.push_back((base, base + padded));
        if tables.freed.len() > REMEMBERED {
            tables.freed.pop_front();
        }
        tables.snapshot = None;
        Some(allocation)
    }

    /// The allocation that holds an address.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let tables = self.tables();
        let (_, &found) = tables.live.range(..=address).next_back()?;
        (address - found.base < found.bytes.max(1)).then_some(found)
    }

    /// Whether a range lies in one allocation.
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        bytes == 0 || self.find(address).is_some_and(|a| a.bytes - (address - a.base) >= bytes)
    }

    pub fn live(&self) -> Vec<Allocation> {
        self.tables().live.values().copied().collect()
    }

    pub fn used(&self) -> u64 {
        self.live().iter().filter(|a| a.kind.is_on_device()).map(|a| a.bytes.next_multiple_of(GRANULE)).sum()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        let mut tables = self.tables();
        if let Some(snapshot) = &tables.snapshot {
            return Arc::clone(snapshot);
        }
        let live = tables.live.values().map(|a| (a.base, a.base + a.bytes)).collect();
        let snapshot = Arc::new(Snapshot { live, freed: tables.freed.iter().copied().collect() });
        tables.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    fn heap(&self) -> MutexGuard<'_, Option<Heap>> {
        self.heap.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sees to it that there is a heap for kernels, of this size if there was none.
    pub fn ensure_heap(&self, bytes: u64) {
        let mut heap = self.heap();
        if heap.is_none() {
            *heap = self.allocate(bytes, Kind::Module).map(|base| Heap::new(base, bytes));
        }
    }

    pub fn drop_heap(&self) {
        if let Some(heap) = self.heap().take() {
            self.free(heap.base);
        }
    }

    /// Memory for a thread; zero if there is none.
    pub fn heap_allocate(&self, bytes: u64) -> u64 {
        self.heap().as_mut().and_then(|heap| heap.allocate(bytes)).unwrap_or(0)
    }

    /// Whether an address was a thread's to free; none at all always is.
    pub fn heap_free(&self, address: u64) -> bool {
        let freed = self.heap().as_mut().and_then(|heap| heap.free(address));
        freed.inspect(|&bytes| self.forget(address, bytes)).is_some() || address == 0
    }

    /// What blocks did to each line; `None` if the system grants no room for it.
    pub fn touched(&self) -> Option<&Touched> {
        self.touched.get_or_init(|| Touched::new(&[&self.device, &self.host])).as_ref()
    }

    /// The window an address range lies in.
    #[inline(always)]
    pub fn window(&self, address: u64, bytes: u64) -> Option<&Window> {
        if self.device.contains(address, bytes) {
            Some(&self.device)
        } else if self.host.contains(address, bytes) {
            Some(&self.host)
        } else {
            self.registered_window(address, bytes)
        }
    }

    #[cold]
    fn registered_window(&self, address: u64, bytes: u64) -> Option<&'static Window> {
        let registered = self.registered.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        registered.iter().copied().find(|window| window.contains(address, bytes))
    }

    /// Makes the program's own memory visible to the device. `false` if some of it is visible already.
    pub fn register(&self, address: u64, bytes: u64) -> bool {
        let mut tables = self.tables();
        let before = tables.live.range(..address.saturating_add(bytes)).next_back();
        if before.is_some_and(|(_, a)| a.base + a.bytes > address) {
            return false;
        }
        tables.serial += 1;
        let serial = tables.serial;
        let allocation = Allocation { base: address, bytes, kind: Kind::Registered, serial, reserved: 0 };
        tables.live.insert(address, allocation);
        tables.snapshot = None;
        let mut registered = self.registered.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        registered.push(Box::leak(Box::new(Window::of_program(address, bytes))));
        true
    }

    /// `false` if nothing is registered from this address on.
    pub fn unregister(&self, address: u64) -> bool {
        let mut tables = self.tables();
        if tables.live.get(&address).is_none_or(|a| a.kind != Kind::Registered) {
            return false;
        }
        tables.live.remove(&address);
        tables.snapshot = None;
        let mut registered = self.registered.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        registered.retain(|window| window.base != address);
        true
    }

    /// Marks a range as written, if it is device memory.
    pub fn mark_written(&self, address: u64, bytes: u64) {
        if self.is_followed(address, bytes) {
            self.written.mark(address - self.device.base, bytes);
        }
    }

    /// Makes a range of device memory one that nothing wrote.
    pub fn forget(&self, address: u64, bytes: u64) {
        if self.is_followed(address, bytes) {
            self.written.clear(address - self.device.base, bytes);
        }
    }

    /// Whether every byte of a range was written; host memory counts as written.
    pub fn is_written(&self, address: u64, bytes: u64) -> bool {
        !self.is_followed(address, bytes) || self.written.all(address - self.device.base, bytes)
    }
}
