//! Progress without a call: a program may wait for a host function or a word of mapped memory and never ask the driver.
//!
//! Work runs as late as the program allows (see [`super::session`]), so a thread of the driver's own takes it up only
//! when no call has been made for a while. A program whose calls follow each other more closely never notices it.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::session::{Session, lock};

/// Calls so far, begun or ended.
static CALLS: AtomicU64 = AtomicU64::new(0);
static STARTED: Once = Once::new();

/// A call begins or ends.
pub fn note_call() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// There is work that nobody waits for yet: starts the thread that does it when the program stays silent.
pub fn watch() {
    STARTED.call_once(|| {
        // Without a thread work waits for the next call, as it would anyway.
        let _ = std::thread::Builder::new().name("cudasim-idle".to_owned()).spawn(watch_calls);
    });
}

fn watch_calls() {
    const TICK: Duration = Duration::from_millis(25);
    let (mut seen, mut since) = (CALLS.load(Ordering::Relaxed), Instant::now());
    loop {
        std::thread::sleep(TICK);
        let calls = CALLS.load(Ordering::Relaxed);
        if calls != seen {
            (seen, since) = (calls, Instant::now());
            continue;
        }
        let limit = lock().as_ref().map_or(0, |driver| driver.settings.idle_ms);
        if limit > 0 && since.elapsed() >= Duration::from_millis(limit) {
            run_until_called(seen);
        }
    }
}

/// Runs queued work piece by piece until there is none, or the program calls again.
fn run_until_called(seen: u64) {
    let mut session = Session::new();
    while CALLS.load(Ordering::Relaxed) == seen {
        match session.advance() {
            Ok(true) => session.release(),
            _ => return,
        }
    }
}
