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

/// A flag that the first signal sets. A thread of its own acknowledges it, whatever the run is busy with.
pub fn stop_on_signals() -> anyhow::Result<&'static AtomicBool> {
    static WAITING: OnceLock<()> = OnceLock::new();
    if WAITING.get().is_none() {
        let mut signals = Signals::new(TERM_SIGNALS)?;
        if WAITING.set(()).is_ok() {
            thread::spawn(move || {
                for _ in signals.forever() {
                    if STOP.swap(true, Ordering::Relaxed) {
                        low_level::exit(130);
                    }
                    console::say("stopping (a second signal ends the process at once, and saves nothing)");
                }
            });
        }
    }
    Ok(&STOP)
}
