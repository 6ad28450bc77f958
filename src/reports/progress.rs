//! The progress line of a training run, as a model: the binary decides where and how often to draw it.
//!
//! Losses are smoothed over the last 50 updates or so. Speed is smoothed tokens over smoothed seconds of the same
//! updates, and the remaining time is remaining updates times smoothed seconds an update, so evaluations and
//! checkpoints do not disturb either.

use std::{fmt, time::Duration};

use super::{StepEvent, smoothing::Smoothed};

/// Updates that the shown losses and the speed look back over.
const SPAN_STEPS: f64 = 50.0;
/// The estimate of the remaining time looks back further: it should not jump.
const ETA_SPAN_STEPS: f64 = 200.0;

/// Collects what the line shows.
#[derive(Clone, Debug)]
pub struct Progress {
    total_steps: u64,
    last: StepEvent,
    loss: Smoothed,
    ce: Smoothed,
    distill: Smoothed,
    tokens: Smoothed,
    seconds: Smoothed,
    eta_seconds: Smoothed,
}

/// What is shown, ready to be formatted: by `Display` as one line, or field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgressLine {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Passes over the data so far.
    pub epoch: Option<f64>,
    /// The smoothed loss.
    pub loss: Option<f64>,
    /// The smoothed cross entropy.
    pub ce: Option<f64>,
    /// `None` if there is no distillation.
    pub distill: Option<f64>,
    /// The encoder's learning rate.
    pub lr: f64,
    /// Smoothed speed.
    pub tokens_per_s: Option<f64>,
    /// Time left.
    pub eta: Option<Duration>,
}

impl Progress {
    /// `done_steps` is not 0 for a resumed run.
    pub fn new(total_steps: u64, done_steps: u64) -> Self {
        let [loss, ce, distill, tokens, seconds] = [Smoothed::over(SPAN_STEPS); 5];
        let eta_seconds = Smoothed::over(ETA_SPAN_STEPS);
        let last = StepEvent { step: done_steps, ..StepEvent::default() };
        Self { total_steps, last, loss, ce, distill, tokens, seconds, eta_seconds }
    }

    /// Adds an update that took `elapsed` for `tokens` real tokens. `event.tokens_per_s` is not used.
    pub fn update(&mut self, event: &StepEvent, tokens: u64, elapsed: Duration) {
        self.loss.add(event.loss);
        self.ce.add(event.ce);
        self.distill.add(event.distill);
        self.tokens.add(tokens as f64);
        self.seconds.add(elapsed.as_secs_f64());
        self.eta_seconds.add(elapsed.as_secs_f64());
        self.last = event.clone();
    }

    /// Smoothed real tokens per second, as the line shows it.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let (tokens, seconds) = (self.tokens.value()?, self.seconds.value()?);
        (seconds > 0.0).then(|| tokens / seconds)
    }

    /// How far the run has come.
    pub fn line(&self) -> ProgressLine {
        let left_steps = self.total_steps.saturating_sub(self.last.step) as f64;
        ProgressLine {
            step: self.last.step,
            total_steps: self.total_steps,
            epoch: self.last.epoch,
            loss: self.loss.value(),
            ce: self.ce.value(),
            distill: self.distill.value().filter(|&distill| distill != 0.0),
            lr: self.last.lr,
            tokens_per_s: self.tokens_per_s(),
            eta: self.eta_seconds.value().and_then(|s| Duration::try_from_secs_f64(s * left_steps).ok()),
        }
    }
}

impl fmt::Display for ProgressLine {
    /// `step 1200/5000 · epoch 1.20 · loss 0.4321 · CE 0.4000 · distill 0.0321 · lr 1.80e-5 · 12.3k tokens/s · 5m 12s
    /// left`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}/{}", self.step, self.total_steps)?;
        if let Some(epoch) = self.epoch {
            write!(f, " · epoch {epoch:.2}")?;
        }
        for (name, value) in [("loss", self.loss), ("CE", self.ce), ("distill", self.distill)] {
            if let Some(value) = value {
                write!(f, " · {name} {value:.4}")?;
            }
        }
        write!(f, " · lr {:.2e}", self.lr)?;
        if let Some(tokens_per_s) = self.tokens_per_s {
            write!(f, " · {} tokens/s", short_count(tokens_per_s))?;
        }
        match self.eta {
            Some(eta) => write!(f, " · {} left", short_duration(eta)),
            None => Ok(()),
        }
    }
}

/// `987`, `12.3k`, `1.2M`.
fn short_count(count: f64) -> String {
    match count {
        c if c < 9_999.5 => format!("{c:.0}"),
        c if c < 999_950.0 => format!("{:.1}k", c / 1e3),
        c => format!("{:.1}M", c / 1e6),
    }
}

/// `12s`, `5m 12s`, `1h 02m`, `3d 04h`.
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}
