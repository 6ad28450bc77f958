//! Work: what a stream or graph node does, and doing it.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::result::Code;
use super::settings::Settings;
use crate::counters::Counters;
use crate::counters::report::Line;
use crate::error::{Fault, FaultKind};
use crate::exec::grid;
use crate::launch::Launch;
use crate::launch::sample::Sample;
use crate::memory::{Kind, Memory};
use crate::program::Program;

/// A kernel launch with its parameters' bytes.
#[derive(Clone)]
pub struct Kernel {
    pub program: Arc<Program>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: Vec<u8>,
    pub cooperative: bool,
    /// Blocks that the device would run at once.
    pub resident_blocks: u64,
    /// Size of the heap for `malloc`, if there is none yet.
    pub heap_bytes: u64,
}

/// One end of a copy.
#[derive(Clone)]
pub enum End {
    /// Device, pinned or managed memory.
    Device(u64),
    /// The program's own memory.
    Host(usize),
    /// Bytes taken when the copy was queued: what a driver does with pageable memory.
    Staged(Arc<Vec<u8>>),
}

/// One row of a box on its way.
#[derive(Clone)]
pub struct Row {
    pub to: End,
    pub from: End,
    pub bytes: u64,
}

#[derive(Clone, Copy)]
pub struct HostFunction {
    pub function: extern "C" fn(*mut c_void),
    pub data: usize,
}

#[derive(Clone)]
pub enum Work {
    Kernel(Kernel),
    Copy {
        to: End,
        from: End,
        bytes: u64,
    },
    /// The rows of a box, copied one after the other.
    Rows(Arc<Vec<Row>>),
    /// `count` elements of `width` bytes in each of `rows` rows.
    Set {
        to: u64,
        value: u32,
        width: u8,
        count: u64,
        rows: u64,
        pitch: u64,
    },
    Host(HostFunction),
    Free(u64),
    /// A graph's own memory begins or ends its life: it holds nothing.
    Renew {
        address: u64,
        bytes: u64,
        freed: bool,
    },
    /// Nothing but an order; an event's record.
    Marker,
}

impl Work {
    /// Whether both are of one type of node, so that one's parameters can take the place of the other's.
    pub fn is_like(&self, other: &Self) -> bool {
        let copies = |work: &Self| matches!(work, Self::Copy { .. } | Self::Rows(_));
        copies(self) && copies(other) || std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

pub fn code_for(kind: FaultKind) -> Code {
    match kind {
        FaultKind::IllegalAddress | FaultKind::UseAfterFree => Code::CUDA_ERROR_ILLEGAL_ADDRESS,
        FaultKind::MisalignedAddress => Code::CUDA_ERROR_MISALIGNED_ADDRESS,
        FaultKind::Assert => Code::CUDA_ERROR_ASSERT,
        FaultKind::Timeout => Code::CUDA_ERROR_LAUNCH_TIMEOUT,
        FaultKind::StackOverflow => Code::CUDA_ERROR_HARDWARE_STACK_ERROR,
        FaultKind::InvalidCall => Code::CUDA_ERROR_INVALID_PC,
        FaultKind::Race | FaultKind::Uninitialized | FaultKind::Barrier | FaultKind::Convergence | FaultKind::Trap => {
            Code::CUDA_ERROR_LAUNCH_FAILED
        }
    }
}

/// Does one piece of work. A kernel's counts come back as a line.
pub fn run(
    work: &Work,
    memory: &Arc<Memory>,
    settings: &Settings,
    counting: bool,
    grid_id: u64,
) -> Result<Option<Line>, Fault> {
    match work {
        Work::Kernel(kernel) => run_kernel(kernel, memory, settings, counting, grid_id).map(Some),
        Work::Copy { to, from, bytes } => copy(to, from, *bytes, memory).map(|()| None),
        Work::Rows(rows) => {
            rows.iter().try_for_each(|row| copy(&row.to, &row.from, row.bytes, memory))?;
            Ok(None)
        }
        Work::Set { to, value, width, count, rows, pitch } => {
            for row in 0..*rows {
                set(memory, to + row * pitch, *value, *width, *count)?;
            }
            Ok(None)
        }
        Work::Host(host) => {
            (host.function)(host.data as *mut c_void);
            Ok(None)
        }
        Work::Free(address) => {
            memory.free(*address);
            Ok(None)
        }
        Work::Renew { address, bytes, .. } => {
            memory.forget(*address, *bytes);
            Ok(None)
        }
        Work::Marker => Ok(None),
    }
}

fn run_kernel(
    kernel: &Kernel,
    memory: &Arc<Memory>,
    settings: &Settings,
    counting: bool,
    grid_id: u64,
) -> Result<Line, Fault> {
    let checks = settings.checks;
    if kernel.program.uses_heap {
        memory.ensure_heap(kernel.heap_bytes);
    }
    let workspace = if kernel.cooperative { Some(Workspace::new(memory)?) } else { None };
    let mut launch = Launch {
        workspace: workspace.as_ref().map_or(0, |w| w.address),
        program: Arc::clone(&kernel.program),
        memory: Arc::clone(memory),
        snapshot: memory.snapshot(),
        grid: kernel.grid,
        chosen: None,
        block: kernel.block,
        dynamic_shared: kernel.dynamic_shared,
        params: kernel.params.clone(),
        checks,
        counting,
        watched: counting || checks.mem || checks.race || checks.init,
        deadline: Instant::now() + Duration::from_millis(settings.timeout_ms),
        multiprocessors: settings.profile.multiprocessors,
        resident_blocks: kernel.resident_blocks,
        grid_id,
        cooperative: kernel.cooperative,
        stop: AtomicBool::new(false),
        workers: settings.threads,
    };
    // Blocks of a cooperative launch wait for all others.
    let sample = if kernel.cooperative { None } else { settings.sampling.choose(&kernel.program.name, kernel.grid) };
    let blocks_run = sample.as_ref().map_or_else(|| launch.blocks(), Sample::blocks);
    let totals = match sample {
        None => grid::run(&launch)?.totals(&launch.program),
        Some(Sample { groups, weights }) => {
            let mut counted = Vec::with_capacity(groups.len());
            for group in groups {
                launch.chosen = Some(group.blocks);
                counted.push((group.weight, grid::run(&launch)?));
            }
            Counters::scaled(counted, &weights, &launch.program)
        }
    };
    Ok(Line {
        number: 0,
        after: Vec::new(),
        blocks_run,
        is_repeated: false,
        arguments: kernel.scalars(memory),
        kernel: kernel.program.name.clone(),
        device: settings.profile.name.to_owned(),
        grid: kernel.grid,
        block: kernel.block,
        shared_bytes: launch.shared_bytes() as u64,
        registers: kernel.program.registers,
        divergence_efficiency: totals.divergence_efficiency(),
        totals,
    })
}

/// The zeroed words that a cooperative launch's grid barrier lives in, while it runs.
struct Workspace<'m> {
    address: u64,
    memory: &'m Memory,
}

impl<'m> Workspace<'m> {
    const BYTES: u64 = 8;

    fn new(memory: &'m Memory) -> Result<Self, Fault> {
        let address = memory.allocate(Self::BYTES, Kind::Module);
        let address = address.ok_or_else(|| Fault::new(FaultKind::Trap, "no memory for the grid's barrier"))?;
        set(memory, address, 0, 1, Self::BYTES)?;
        Ok(Self { address, memory })
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        self.memory.free(self.address);
    }
}

fn outside(address: u64, bytes: u64) -> Fault {
    Fault::new(FaultKind::IllegalAddress, format!("copy of {bytes} bytes at 0x{address:x}, in no allocation"))
}

/// A host pointer to one end's bytes.
fn pointer(end: &End, bytes: u64, memory: &Memory) -> Result<*mut u8, Fault> {
    match end {
        End::Device(address) => match memory.window(*address, bytes) {
            Some(window) if memory.holds(*address, bytes) => Ok(window.pointer(*address)),
            _ => Err(outside(*address, bytes)),
        },
        End::Host(address) => Ok(*address as *mut u8),
        End::Staged(staged) => Ok(staged.as_ptr().cast_mut()),
    }
}

fn copy(to: &End, from: &End, bytes: u64, memory: &Memory) -> Result<(), Fault> {
    if bytes == 0 {
        return Ok(());
    }
    let (target, source) = (pointer(to, bytes, memory)?, pointer(from, bytes, memory)?);
    // SAFETY: device ends were found inside an allocation; host ends are the program's, which promised `bytes` bytes
    // there until the copy is done; staged bytes are at least as many. `copy` allows overlap.
    unsafe { std::ptr::copy(source, target, bytes as usize) };
    if let End::Device(address) = to {
        // Copying what nothing wrote does not write it; only whole ranges are followed, which is how programs copy.
        let fresh = matches!(from, End::Device(source) if !memory.is_written(*source, bytes));
        if !fresh {
            memory.mark_written(*address, bytes);
        }
    }
    Ok(())
}

fn set(memory: &Memory, to: u64, value: u32, width: u8, count: u64) -> Result<(), Fault> {
    let bytes = count.saturating_mul(width.into());
    if bytes == 0 {
        return Ok(());
    }
    let window = memory.window(to, bytes).filter(|_| memory.holds(to, bytes)).ok_or_else(|| outside(to, bytes))?;
    memory.mark_written(to, bytes);
    if value == 0 {
        window.zero(to, bytes);
        return Ok(());
    }
    let pattern = value.to_le_bytes();
    let chunk: Vec<u8> = pattern[..width as usize].iter().copied().cycle().take(bytes.min(1 << 16) as usize).collect();
    let mut done = 0;
    while done < bytes {
        let part = (bytes - done).min(chunk.len() as u64);
        window.copy_in(to + done, &chunk[..part as usize]);
        done += part;
    }
    Ok(())
}
