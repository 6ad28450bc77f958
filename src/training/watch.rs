//! What a run and its surroundings say to each other: the run tells what happens, the surroundings ask it to stop.

use std::{
    sync::{
        atomic::AtomicBool,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use super::{Skips, state::Best};
use crate::{
    Result, Stop,
    data::{Examples, LabelSummary, TokenizedSet, TokenizingProgress},
    model::hub::Download,
    reports::{EvalEvent, StepEvent, Weights},
};

/// How soon work on another thread is left to itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
        /// Classes.
        labels: usize,
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
    /// What weights said of a test set: logits [examples, N] in the order of its examples. Its scores follow.
    Answers {
        /// The set's name.
        set: &'a str,
        /// Whose logits these are.
        weights: Weights,
        /// The set.
        examples: &'a Examples,
        /// Row by row.
        logits: &'a [f32],
    },
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
        self.stop().is_asked()
    }

    /// The same, for work that looks for itself.
    pub fn stop(&self) -> Stop<'a> {
        Stop::when(self.stop)
    }

    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) when the run is to end, which has done nothing yet that has to
    /// be saved.
    pub(crate) fn require_going_on(&self) -> Result<()> {
        self.stop().check()
    }

    /// Does `work` on a thread of its own, and tells of the downloads that it reports: reading from a disk or a network
    /// may wait for long where nobody looks whether the run is to end. Then the thread is left behind.
    ///
    /// # Errors
    /// Those of `work`, and as [`Watch::require_going_on`].
    pub(super) fn wait_for<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Sender<Download>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::channel();
        let worker = thread::spawn(move || work(&sender));
        loop {
            self.require_going_on()?;
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(download) => self.tell(Observation::Download(download)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(super) fn tell(&mut self, observation: Observation<'_>) {
        (self.observe)(observation);
    }

    pub(super) fn note(&mut self, text: &str) {
        self.tell(Observation::Notice(text));
    }
}
