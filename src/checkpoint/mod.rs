//! Checkpoint files: a general container of named arrays, the directory they rotate in, and the lock on a run.
//!
//! Nothing here knows what training is. A file is written under a temporary name, synchronised and renamed, so under
//! its real name it is whole or it does not exist; every byte of it is covered by a checksum, so damage done later is
//! found before it is used. Readers treat each file as hostile: lengths meet checked arithmetic and the true size of
//! the file before anything is allocated.

mod atomic;
mod element;
mod header;
mod lock;
mod reader;
mod store;
mod writer;

pub use atomic::{AtomicFile, write_atomically};
pub use element::{Dtype, SectionElement};
pub use header::{FORMAT_VERSION, SectionInfo};
pub use lock::{RUN_FILES, RunLock, holds_run};
pub use reader::CheckpointReader;
pub use store::{CheckpointStore, Damaged, LatestValid};
pub use writer::{CheckpointPlan, CheckpointWriter};
