//! SIGINT and SIGTERM: the first asks the run to save its state and end, a second ends the process at once.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{consts::TERM_SIGNALS, iterator::Signals, low_level};

use crate::commands::console;

/// Set by the first signal, for every run of the process.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether a run looks at it. Before and after, as between the runs of an ensemble and its vote, a signal ends the
/// process: there is nothing to save.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// While it lives, the first signal sets a flag.
pub struct Stoppable(());

impl Stoppable {
    /// From here on signals come to a thread of its own, which acknowledges them whatever the run is busy with.
    pub fn begin() -> anyhow::Result<Self> {
        static WAITING: OnceLock<()> = OnceLock::new();
        if WAITING.get().is_none() {
            let mut signals = Signals::new(TERM_SIGNALS)?;
            if WAITING.set(()).is_ok() {
                thread::spawn(move || {
                    for _ in signals.forever() {
                        if STOP.swap(true, Ordering::Relaxed) || !IS_RUNNING.load(Ordering::Relaxed) {
                            low_level::exit(130);
                        }
                        console::say("stopping (a second signal ends the process at once, and saves nothing)");
                    }
                });
            }
        }
        IS_RUNNING.store(true, Ordering::Relaxed);
        Ok(Self(()))
    }

    pub fn flag(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        IS_RUNNING.store(false, Ordering::Relaxed);
    }
}
