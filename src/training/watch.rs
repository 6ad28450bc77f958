//! What a run and its surroundings say to each other: the run tells what happens, the surroundings ask it to stop.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{Skips, state::Best};
use crate::{
    Error, Result,
    data::{LabelSummary, TokenizedSet, TokenizingProgress},
    model::hub::Download,
    reports::{EvalEvent, StepEvent},
};

/// Something to show.
#[non_exhaustive]
pub enum Observation<'a> {
    /// Something the user should know.
    Notice(&'a str),
    /// A file of the model is on its way.
    Download(Download),
    /// A set of examples is being tokenized.
    Tokenizing {
        /// Which set.
        set: &'a str,
        /// How far it is.
        progress: TokenizingProgress,
    },
    /// A set is there, tokenized or from the cache.
    Tokenized {
        /// Which set.
        set: &'a str,
        /// What there is.
        tokens: &'a TokenizedSet,
        /// How long it took.
        elapsed: Duration,
    },
    /// The classes that the run is to tell apart.
    Labels(&'a LabelSummary),
    /// Everything is open; the next step is `step + 1`.
    Ready {
        /// Where it trains.
        device: String,
        /// Of the model.
        parameters: usize,
        /// Updates of the run.
        total_steps: u64,
        /// Updates of an epoch.
        steps_per_epoch: u64,
        /// Updates done before.
        step: u64,
    },
    /// An optimizer update is done.
    Step {
        /// What is logged of it.
        event: &'a StepEvent,
        /// Trained on since the last.
        tokens: u64,
        /// Time since the last.
        elapsed: Duration,
    },
    /// The step's gradient was not finite.
    Skipped {
        /// Which.
        step: u64,
        /// How many so far.
        skips: Skips,
    },
    /// Weights were scored.
    Evaluation(&'a EvalEvent),
    /// A checkpoint is written.
    Saved {
        /// After which update.
        step: u64,
    },
    /// Early stopping ends the run.
    StoppedEarly {
        /// After which update.
        step: u64,
        /// Whose weights are exported.
        best: Best,
    },
}

/// Who looks on at a run, and may stop it.
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    observe: &'a mut dyn FnMut(Observation<'_>),
}

impl<'a> Watch<'a> {
    /// `observe` is called on the run's own thread; when `stop` is set, the run saves its state and ends.
    pub fn new(stop: &'a AtomicBool, observe: &'a mut dyn FnMut(Observation<'_>)) -> Self {
        Self { stop, observe }
    }

    /// Whether the run is to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Interrupted`] when the run is to end, which has done nothing yet that has to be saved.
    pub(super) fn require_going_on(&self) -> Result<()> {
        match self.is_stopping() {
            true => Err(Error::Interrupted { step: None, resume: "the same command".to_owned() }),
            false => Ok(()),
        }
    }

    pub(super) fn tell(&mut self, observation: Observation<'_>) {
        (self.observe)(observation);
    }

    pub(super) fn note(&mut self, text: &str) {
        self.tell(Observation::Notice(text));
    }
}
