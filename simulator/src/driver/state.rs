//! Everything the driver knows, behind one lock, and the way in and out of it.
//!
//! Work runs on the thread that waits for it, as late as the program allows: what a program forgot to wait for has not
//! happened yet when it looks. Host functions run without the lock, since other threads may call the driver meanwhile.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::capture::Capture;
use super::current;
use super::graph::{Executable, Graph};
use super::images::Image;
use super::queue::Queue;
use super::result::{Code, Outcome};
use super::settings::Settings;
use super::work::{Work, code_of, run};
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
    pub version: (u32, u32),
    /// The opt-in to more than 48 KB of dynamic shared memory.
    pub max_dynamic_shared: u32,
    pub carveout: i32,
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
    grids: u64,
    /// Launches so far of the kernel that `CUDASIM_FAULT` names.
    pub(super) demanded_runs: u64,
}

/// What happened since the last [`reset`]: for tests and tools in Rust.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub fault: Option<Fault>,
    pub launches: Vec<Line>,
    pub leaks: Vec<u64>,
}

static STATE: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// Handles look like pointers and are no valid addresses.
const FIRST_HANDLE: u64 = 0x1000;
const HANDLE_STEP: u64 = 16;
/// The pool that every device has.
pub const DEFAULT_POOL: u64 = 0x800;
/// Queued operations beyond which the oldest are run: a program need not ever wait.
const MAX_QUEUED: usize = 4096;

impl Driver {
    pub(super) fn new(settings: Settings) -> Option<Self> {
        let memory = Arc::new(Memory::new(settings.profile.memory_bytes)?);
        let legacy = Stream { last: None, blocking: true, priority: 0, capture: None };
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
        })
    }

    pub fn handle(&mut self) -> u64 {
        self.handles += HANDLE_STEP;
        self.handles
    }

    pub fn stream(&mut self, stream: u64) -> Outcome<&mut Stream> {
        self.streams.get_mut(&stream_key(stream)).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
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
            self.capture_node(capture, key, work)?;
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

    fn trace(&mut self, line: Line) {
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
    fn demanded_fault(&mut self, work: &Work) -> Option<Fault> {
        let (Work::Kernel(kernel), Some(demand)) = (work, &self.settings.fault) else { return None };
        if kernel.program.name != demand.kernel {
            return None;
        }
        self.demanded_runs += 1;
        demand.fault(self.demanded_runs)
    }

    fn fail(&mut self, fault: Fault) {
        eprintln!("cudasim: {} check: {fault}", fault.kind.check());
        self.fault.get_or_insert(code_of(fault.kind));
        self.report.fault.get_or_insert(fault);
        self.queue.clear();
    }

    pub fn fault(&self) -> Option<Code> {
        self.fault
    }

    /// Allocations nobody freed, reported when the last context goes.
    pub fn report_leaks(&mut self) {
        let leaked: Vec<Allocation> = self.memory.live().into_iter().filter(|a| a.kind != Kind::Module).collect();
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

/// The lock, held through a call and let go only while a host function runs.
pub struct Session {
    guard: Option<MutexGuard<'static, Option<Driver>>>,
}

pub(super) fn lock() -> MutexGuard<'static, Option<Driver>> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Session {
    pub fn driver(&mut self) -> Outcome<&mut Driver> {
        self.guard.get_or_insert_with(lock).as_mut().ok_or(Code::CUDA_ERROR_NOT_INITIALIZED)
    }

    /// Runs one operation. `false` if none can run.
    fn step(&mut self, target: Option<u64>) -> Outcome<bool> {
        let driver = self.driver()?;
        let Some((id, work, event)) = driver.queue.take(target) else { return Ok(false) };
        driver.grids += 1;
        let (memory, settings) = (Arc::clone(&driver.memory), driver.settings.clone());
        let (counting, grid) = (driver.counting, driver.grids);
        let outcome = if let Work::Host(_) = work {
            self.guard = None;
            IN_HOST_FUNCTION.set(true);
            let outcome = run(&work, &memory, &settings, counting, grid);
            IN_HOST_FUNCTION.set(false);
            outcome
        } else {
            run(&work, &memory, &settings, counting, grid)
        };
        let driver = self.driver()?;
        driver.queue.finish(id);
        if let Some(event) = event.and_then(|event| driver.events.get_mut(&event)) {
            event.stamp = Some(Instant::now());
        }
        match outcome.and_then(|line| driver.demanded_fault(&work).map_or(Ok(line), Err)) {
            Ok(Some(line)) => driver.trace(line),
            Ok(None) => {}
            Err(fault) => driver.fail(fault),
        }
        Ok(true)
    }

    /// Runs work until an operation is done, or all of it.
    pub fn wait(&mut self, target: Option<u64>) -> Outcome {
        loop {
            let driver = self.driver()?;
            if let Some(code) = driver.fault {
                return Err(code);
            }
            let pending = target.map_or(driver.queue.len() > 0, |id| driver.queue.is_pending(id));
            if !pending {
                return Ok(());
            }
            if !self.step(target)? {
                // Another thread runs what this one waits for.
                self.guard = None;
                std::thread::yield_now();
            }
        }
    }

    /// One step of progress for a program that polls.
    pub fn poll(&mut self, target: u64) -> Outcome {
        if self.driver()?.queue.is_pending(target) {
            self.step(Some(target))?;
        }
        let driver = self.driver()?;
        match driver.fault {
            Some(code) => Err(code),
            None if driver.queue.is_pending(target) => Err(Code::CUDA_ERROR_NOT_READY),
            None => Ok(()),
        }
    }
}

/// Runs an API function's body with the driver locked and a context current to the thread. Errors of earlier work come
/// first: they are sticky.
pub fn call(body: impl FnOnce(&mut Session) -> Outcome) -> u32 {
    enter(true, body)
}

/// As [`call`], for functions that also work after a fault and without a context.
pub fn call_anyway(body: impl FnOnce(&mut Session) -> Outcome) -> u32 {
    enter(false, body)
}

fn enter(in_context: bool, body: impl FnOnce(&mut Session) -> Outcome) -> u32 {
    if IN_HOST_FUNCTION.get() {
        return Code::CUDA_ERROR_NOT_PERMITTED as u32;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        let mut session = Session { guard: None };
        let driver = session.driver()?;
        if in_context {
            current::check(&driver.contexts)?;
            driver.fault.map_or(Ok(()), Err)?;
        }
        body(&mut session)?;
        while session.driver()?.queue.len() > MAX_QUEUED {
            if !session.step(None)? {
                break;
            }
        }
        Ok(())
    }));
    match outcome {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code as u32,
        Err(_) => Code::CUDA_ERROR_UNKNOWN as u32,
    }
}
