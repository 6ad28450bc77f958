//! The way into the driver and out of it: one lock, held through a call.
//!
//! Work runs on the thread that waits for it, as late as the program allows: what a program forgot to wait for has not
//! happened yet when it looks. Host functions run without the lock, since other threads may call the driver meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::current;
use super::idle;
use super::queue::Ready;
use super::result::{Code, Outcome};
use super::state::Driver;
use super::work::{Work, run};
use crate::counters::report::Line;

static STATE: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// Queued operations beyond which the oldest are run: a program need not ever wait.
const MAX_QUEUED: usize = 4096;

/// The lock, held through a call and let go only while a host function runs.
pub struct Session {
    guard: Option<MutexGuard<'static, Option<Driver>>>,
}

pub(super) fn lock() -> MutexGuard<'static, Option<Driver>> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Session {
    pub(super) fn new() -> Self {
        Self { guard: None }
    }

    /// Lets other threads have the driver.
    pub(super) fn release(&mut self) {
        self.guard = None;
    }

    /// Runs one operation that may run; `false` if there is none, or work has failed.
    pub(super) fn advance(&mut self) -> Outcome<bool> {
        if self.driver()?.fault().is_some() { Ok(false) } else { self.step(None) }
    }

    pub fn driver(&mut self) -> Outcome<&mut Driver> {
        self.guard.get_or_insert_with(lock).as_mut().ok_or(Code::CUDA_ERROR_NOT_INITIALIZED)
    }

    /// Runs one operation. `false` if none can run.
    fn step(&mut self, target: Option<u64>) -> Outcome<bool> {
        let driver = self.driver()?;
        let Some(Ready { id, work, event, after }) = driver.queue.take(target) else { return Ok(false) };
        driver.grids += 1;
        let known = driver.known(&work);
        let (memory, settings) = (Arc::clone(&driver.memory), driver.settings.clone());
        let (counting, grid) = (driver.counting, driver.grids);
        let outcome = if let Work::Host(_) = work {
            self.guard = None;
            IN_HOST_FUNCTION.set(true);
            let outcome = run(&work, &memory, &settings, counting, grid);
            IN_HOST_FUNCTION.set(false);
            outcome
        } else if let Some(line) = known {
            Ok(Some(line))
        } else {
            run(&work, &memory, &settings, counting, grid)
        };
        let driver = self.driver()?;
        driver.queue.finish(id);
        if let Some(event) = event.and_then(|event| driver.events.get_mut(&event)) {
            event.stamp = Some(Instant::now());
        }
        match outcome.and_then(|line| driver.demanded_fault(&work).map_or(Ok(line), Err)) {
            Ok(Some(line)) => {
                driver.remember(&work, &line);
                driver.trace(Line { number: id, after, ..line });
            }
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
    idle::note_call();
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        let mut session = Session::new();
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
        if session.driver()?.queue.len() > 0 {
            idle::watch();
        }
        Ok(())
    }));
    idle::note_call();
    match outcome {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code as u32,
        Err(_) => Code::CUDA_ERROR_UNKNOWN as u32,
    }
}
