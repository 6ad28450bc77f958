//! Self-ensemble and self-distillation: who teaches, what the distillation term weighs, and how teacher and average follow.
//!
//! θ_t is the student before optimizer update t. The teacher of step t never contains θ_t itself:
//!
//! | teacher | at step t |
//! |---|---|
//! | `window:K` (`sda`) | logits of the mean of θ_{t−1}..θ_{t−K} |
//! | `window:K` (`sdv`) | mean of the logits of θ_{t−1}..θ_{t−K} |
//! | `all` | logits of the mean of θ_{t−1}..θ_0 |
//! | `ema:D` | logits of ξ_t, ξ_0 = θ_0, ξ_{t+1} = D ξ_t + (1 − D) θ_{t+1} |
//!
//! While fewer than K iterates exist, the mean is over those that do; at t = 0 a window has no distillation term.

pub mod look_ahead;
mod plan;

pub use plan::{Plan, Source};

use std::{fmt, str::FromStr};

use clap::{ValueEnum, builder::PossibleValue};

use crate::text_value::{InvalidValue, TextValue, text_enum, text_serde};

/// How a classifier is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Cross-entropy; the result is θ_T.
    Ft,
    /// Cross-entropy; the result is the mean of the iterates.
    Se,
    /// Distillation from averaged weights.
    Sda,
    /// Distillation from averaged logits.
    Sdv,
}

/// Which iterates the teacher is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TeacherKind {
    Window(usize),
    All,
    Ema(f64),
}

impl fmt::Display for TeacherKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Window(size) => write!(f, "window:{size}"),
            Self::All => write!(f, "all"),
            Self::Ema(decay) => write!(f, "ema:{decay}"),
        }
    }
}

impl FromStr for TeacherKind {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason: String| Err(InvalidValue(reason));
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("window", size)) => match size.parse() {
                Ok(size @ 1..=MAX_WINDOW) => Ok(Self::Window(size)),
                _ => invalid(format!("a window holds 1 to {MAX_WINDOW} steps, not '{size}'")),
            },
            Some(("ema", decay)) => match decay.parse() {
                Ok(decay) if (0.0..1.0).contains(&decay) => Ok(Self::Ema(decay)),
                _ => invalid(format!("an EMA's decay is at least 0 and below 1, not '{decay}'")),
            },
            _ => invalid(format!("'{text}' is none of window:K, all, ema:DECAY")),
        }
    }
}

impl TextValue for TeacherKind {
    fn offered() -> Vec<PossibleValue> {
        ["window:5", "all", "ema:0.999"].map(PossibleValue::new).to_vec()
    }
}

/// Passes are numbered in 15 bits of the dropout counter.
const MAX_WINDOW: usize = 32_000;

/// How `sdv` gets the logits of old weights on the current batch. Both give the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SdvMode {
    /// Run today's weights on the next K batches too and keep only those logits.
    LookAhead,
    /// Keep K copies of the weights: the plain way, to check the other against.
    Stored,
}

text_enum!(Method, SdvMode);
text_serde!(Method, SdvMode, TeacherKind);

/// λ over the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LambdaSchedule {
    pub lambda: f64,
    /// λ climbs linearly from 0 over this many steps; 0: constant.
    pub ramp_steps: u64,
}

impl LambdaSchedule {
    pub fn at(self, step: u64) -> f64 {
        if step < self.ramp_steps { self.lambda * step as f64 / self.ramp_steps as f64 } else { self.lambda }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_are_written_as_they_are_read() {
        for text in ["window:1", "window:5", "all", "ema:0.999"] {
            assert_eq!(text.parse::<TeacherKind>().unwrap().to_string(), text);
        }
        for text in ["window:0", "window:-1", "window:", "window", "ema:1", "ema:nan", "ema:-0.1", "mean", "", "all:3"]
        {
            assert!(text.parse::<TeacherKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn lambda_ramps_linearly_and_then_stays() {
        let schedule = LambdaSchedule { lambda: 2.0, ramp_steps: 4 };
        let values: Vec<f64> = (0..7).map(|t| schedule.at(t)).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
        assert_eq!(LambdaSchedule { lambda: 2.0, ramp_steps: 0 }.at(0), 2.0);
    }
}
