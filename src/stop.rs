//! A request from outside that work be called off.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Whether to go on. Asking costs next to nothing, so long work asks between any two of its parts.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a>(Option<&'a AtomicBool>);

impl<'a> Stop<'a> {
    /// Nobody will ask.
    pub const NEVER: Self = Self(None);

    /// Asked once `flag` is set.
    pub fn when(flag: &'a AtomicBool) -> Self {
        Self(Some(flag))
    }

    /// Whether the work is to be called off.
    pub fn is_asked(self) -> bool {
        self.0.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// # Errors
    /// [`Error::Interrupted`] when the work is to be called off. It leaves nothing, so the same command does it again.
    pub fn check(self) -> Result<()> {
        match self.is_asked() {
            true => Err(Error::Interrupted { step: None, resume: "the same command".to_owned() }),
            false => Ok(()),
        }
    }
}
