//! Everything the driver knows: memory, modules, streams, events, graphs, and the work that is queued.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::capture::Capture;
use super::graph::{Executable, Graph};
use super::images::Image;
use super::queue::Queue;
use super::result::{Code, Outcome};
use super::sampling::Counted;
use super::settings::Settings;
use super::work::{Work, code_for};
use crate::counters::report::Line;
use crate::error::Fault;
use crate::memory::{Allocation, Kind, Memory};
use crate::program::Program;

pub struct Stream {
    pub last: Option<u64>,
    /// Whether it waits for the legacy stream and the legacy stream for it.
    pub blocking: bool,
    pub priority: i32,
    pub capture: Option<u64>,
    /// What was set by `CUstreamAttrID`; nothing here depends on it.
    pub attributes: HashMap<u32, Attribute>,
}

/// The 64 bytes of a `CUlaunchAttributeValue`.
pub type Attribute = [u64; 8];

impl Stream {
    pub fn new(blocking: bool, priority: i32) -> Self {
        Self { last: None, blocking, priority, capture: None, attributes: HashMap::new() }
    }
}

#[derive(Default)]
pub struct Event {
    pub operation: Option<u64>,
    pub stamp: Option<Instant>,
    pub timing: bool,
    /// Recorded in a capture: which, and the nodes it stands for.
    pub captured: Option<(u64, Vec<usize>)>,
}

pub struct Function {
    pub program: Arc<Program>,
    pub module: u64,
    pub name: CString,
    /// What the PTX was compiled for, as `80`.
    pub architecture: u32,
    /// The opt-in to more than 48 KB of dynamic shared memory.
    pub max_dynamic_shared: u32,
    pub carveout: i32,
    /// Whether it has been used, where kernels are loaded lazily.
    pub loaded: bool,
}

pub struct Driver {
    pub settings: Settings,
    pub memory: Arc<Memory>,
    pub queue: Queue,
    pub streams: HashMap<u64, Stream>,
    pub events: HashMap<u64, Event>,
    pub images: HashMap<u64, Image>,
    pub functions: HashMap<u64, Function>,
    pub graphs: HashMap<u64, Graph>,
    pub execs: HashMap<u64, Executable>,
    pub captures: HashMap<u64, Capture>,
    pub contexts: HashSet<u64>,
    pub primary: Option<u64>,
    pub primary_uses: u32,
    pub limits: HashMap<u32, u64>,
    /// What each pinned allocation was asked for with.
    pub host_flags: HashMap<u64, u32>,
    /// Attributes of the memory pools there are.
    pub pools: HashMap<u64, HashMap<u32, u64>>,
    pub(super) fault: Option<Code>,
    pub(super) report: Report,
    pub(super) counting: bool,
    handles: u64,
    /// Work begun so far; a launch is named by its number.
    pub(super) grids: u64,
    /// Launches so far of the kernel that `CUDASIM_FAULT` names.
    pub(super) demanded_runs: u64,
    /// What launches counted that need not run again.
    pub(super) counted: Counted,
}

/// What happened since the last [`reset`]: for tests and tools in Rust.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub fault: Option<Fault>,
    pub launches: Vec<Line>,
    pub leaks: Vec<u64>,
    /// Why the last kernel that could not be launched was refused.
    pub refusal: Option<String>,
}

/// Handles look like pointers and are no valid addresses.
const FIRST_HANDLE: u64 = 0x1000;
const HANDLE_STEP: u64 = 16;
/// The pool that every device has.
pub const DEFAULT_POOL: u64 = 0x800;
impl Driver {
    pub(super) fn new(settings: Settings) -> Option<Self> {
        let memory = Arc::new(Memory::new(settings.profile.memory_bytes)?);
        memory.keep_apart(settings.checks.mem);
        memory.follow_writes(settings.checks.init);
        let legacy = Stream::new(true, 0);
        Some(Self {
            queue: Queue::new(settings.seed),
            counting: settings.trace.is_some(),
            settings,
            memory,
            streams: HashMap::from([(0, legacy)]),
            events: HashMap::new(),
            images: HashMap::new(),
            functions: HashMap::new(),
            graphs: HashMap::new(),
            execs: HashMap::new(),
            captures: HashMap::new(),
            contexts: HashSet::new(),
            primary: None,
            primary_uses: 0,
            limits: HashMap::new(),
            host_flags: HashMap::new(),
            pools: HashMap::from([(DEFAULT_POOL, HashMap::new())]),
            fault: None,
            report: Report::default(),
            handles: FIRST_HANDLE,
            grids: 0,
            demanded_runs: 0,
            counted: Counted::default(),
        })
    }

    pub fn handle(&mut self) -> u64 {
        self.handles += HANDLE_STEP;
        self.handles
    }

    pub fn stream(&mut self, stream: u64) -> Outcome<&mut Stream> {
        self.streams.get_mut(&stream_key(stream)).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
    }

    pub fn capture(&mut self, capture: u64) -> Outcome<&mut Capture> {
        self.captures.get_mut(&capture).ok_or(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    }

    /// What new work of a stream waits for.
    fn dependencies(&self, stream: u64) -> Vec<u64> {
        let last = |key: &u64| self.streams.get(key).and_then(|s| s.last);
        let mut after: Vec<u64> = last(&stream).into_iter().collect();
        if stream == 0 {
            after.extend(self.streams.values().filter(|s| s.blocking).filter_map(|s| s.last));
        } else if self.streams.get(&stream).is_some_and(|s| s.blocking) {
            after.extend(last(&0));
        }
        after
    }

    /// Queues work on a stream, or adds a node where the stream is being captured.
    pub fn enqueue(&mut self, stream: u64, work: Work, event: Option<u64>) -> Outcome<Option<u64>> {
        let key = stream_key(stream);
        if let Some(capture) = self.stream(key)?.capture {
            self.capture(capture)?.add(key, work)?;
            return Ok(None);
        }
        if key == 0 && self.streams.values().any(|s| s.capture.is_some() && s.blocking) {
            return Err(Code::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        }
        let after = self.dependencies(key);
        let id = self.queue.push(work, after, event);
        self.stream(key)?.last = Some(id);
        Ok(Some(id))
    }

    /// Queues work behind given operations as well as the stream's own.
    pub fn enqueue_after(&mut self, stream: u64, work: Work, more: &[u64], event: Option<u64>) -> Outcome<u64> {
        let mut after = self.dependencies(stream_key(stream));
        after.extend(more);
        let id = self.queue.push(work, after, event);
        self.stream(stream)?.last = Some(id);
        Ok(id)
    }

    /// Queues a node of a graph: it waits for what it is told to and nothing else.
    pub fn enqueue_node(&mut self, work: Work, after: Vec<u64>) -> u64 {
        self.queue.push(work, after, None)
    }

    pub(super) fn trace(&mut self, line: Line) {
        if let Some(path) = &self.settings.trace {
            let written = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| writeln!(file, "{}", serde_json::to_string(&line).unwrap_or_default()));
            if let Err(e) = written {
                eprintln!("cudasim: cannot write {}: {e}", path.display());
            }
        }
        if self.counting {
            self.report.launches.push(line);
        }
    }

    /// The fault that the environment asked for, if it is the turn of the launch that has just run.
    pub(super) fn demanded_fault(&mut self, work: &Work) -> Option<Fault> {
        let (Work::Kernel(kernel), Some(demand)) = (work, &self.settings.fault) else { return None };
        if kernel.program.name != demand.kernel {
            return None;
        }
        self.demanded_runs += 1;
        demand.fault(self.demanded_runs)
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        eprintln!("cudasim: {} check: {fault}", fault.kind.check());
        self.fault.get_or_insert(code_for(fault.kind));
        self.report.fault.get_or_insert(fault);
        self.queue.clear();
    }

    /// A kernel with something that is not supported is refused when it is launched.
    pub fn refuse_kernel(&mut self, log: String) -> Code {
        eprintln!("cudasim: {log}");
        self.report.refusal = Some(log);
        Code::CUDA_ERROR_INVALID_PTX
    }

    pub fn fault(&self) -> Option<Code> {
        self.fault
    }

    /// Allocations nobody freed, reported when the last context goes.
    pub fn report_leaks(&mut self) {
        let live = self.memory.live();
        live.iter().filter(|a| a.kind == Kind::Registered).for_each(|a| {
            self.memory.unregister(a.base);
        });
        let kept = |a: &Allocation| !matches!(a.kind, Kind::Module | Kind::Registered);
        let leaked: Vec<Allocation> = live.into_iter().filter(kept).collect();
        if self.settings.checks.leak {
            for a in &leaked {
                eprintln!(
                    "cudasim: leak check: allocation {} of {} bytes at 0x{:x} was never freed",
                    a.serial, a.bytes, a.base
                );
            }
            self.report.leaks.extend(leaked.iter().map(|a| a.bytes));
        }
        leaked.iter().for_each(|a| {
            self.memory.free(a.base);
        });
    }

    /// What the destruction of the last context undoes.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.report_leaks();
        self.memory.drop_heap();
        self.images.drain().for_each(|(_, image)| image.unload(&self.memory));
        self.functions.clear();
        self.streams.retain(|&key, _| key == 0);
        self.streams.values_mut().for_each(|s| (s.last, s.capture) = (None, None));
        self.events.clear();
        self.graphs.clear();
        self.execs.clear();
        self.captures.clear();
        self.limits.clear();
        self.host_flags.clear();
        self.pools.retain(|&pool, _| pool == DEFAULT_POOL);
        self.pools.values_mut().for_each(HashMap::clear);
        self.fault = None;
    }
}

/// `CU_STREAM_LEGACY` is the null stream; the per-thread stream is taken as one too.
pub fn stream_key(stream: u64) -> u64 {
    if stream <= 2 { 0 } else { stream }
}
