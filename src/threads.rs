//! How many threads share the processor's work.

use std::error::Error as _;

use crate::{Error, Result};

/// More threads than any processor runs; that many would bring the machine down before they did any work.
const MOST_THREADS: usize = 1024;

/// Rayon's threads, from which the device takes its own; none: one for each core. A second call in one process leaves
/// the first one's.
///
/// # Errors
/// [`Error::Setting`] when there are too many of them to be started.
pub fn set_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    if threads > MOST_THREADS {
        return Err(Error::setting("threads", format!("{threads} is more than {MOST_THREADS}")));
    }
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
        // Without a cause: the threads are there already.
        Err(fault) if fault.source().is_some() => {
            Err(Error::setting("threads", format!("{threads} cannot be started: {fault}")))
        }
        _ => Ok(()),
    }
}
