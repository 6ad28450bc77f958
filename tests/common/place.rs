//! Where the files and the program of a test are: in the checkout that it was built in, or where they were carried.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{env, path::PathBuf, process::Command};

/// The project's root, or `$BERTSD_ROOT`.
pub fn root() -> PathBuf {
    env::var_os("BERTSD_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The program, or `$BERTSD_PROGRAM`.
pub fn program() -> Command {
    Command::new(env::var_os("BERTSD_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_bertsd-cuda").into()))
}
