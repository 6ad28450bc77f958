//! Who teaches, in the user's words.
//!
//! | words | target of step t |
//! |---|---|
//! | `window:K` | logits of the mean of the last K iterates |
//! | `window:K/S` | of every S-th of them: θ_j with S dividing j, the newest K / S before θ_t. K / S copies, not K |
//! | `window:P%` | of P % of the run: `window:K/S` with K that many steps, in 8 copies at most |
//! | `all` | of the mean of every earlier iterate |
//! | `ema:D` | of an exponential mean of decay D |
//! | `ema:P%` | of the one whose iterates are as old, on average, as those of such a window: D = (K + 1) / (K + 3) |
//! | `zero` | 0: a penalty on the logits, which is what is left of distillation without a teacher |

use std::{fmt, str::FromStr};

use clap::builder::PossibleValue;

use crate::text_value::{InvalidValue, TextValue};

/// Which iterates the teacher is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TeacherKind {
    /// The last K.
    Window(usize),
    /// Of the last `size`, every one whose number `every` divides.
    Sparse {
        /// K.
        size: usize,
        /// S, which divides it.
        every: usize,
    },
    /// The last so many percent of the run's steps.
    WindowShare(f64),
    /// Every earlier one.
    All,
    /// An exponential mean of this decay.
    Ema(f64),
    /// One as old as a window of so many percent of the run's steps.
    EmaShare(f64),
    /// None: the target is 0.
    Zero,
}

/// Forward passes are numbered in 15 bits of the dropout counter.
const MAX_WINDOW: usize = 32_000;
/// Copies of the weights that a window by share keeps at most.
const SHARE_COPIES: usize = 8;

impl TeacherKind {
    /// In a run of so many steps, where a share of it is meant.
    pub fn over(self, total_steps: u64) -> Self {
        let steps = |percent: f64| (percent / 100.0 * total_steps as f64).round().max(1.0);
        match self {
            Self::WindowShare(percent) => {
                let size = steps(percent) as usize;
                let copies = size.min(SHARE_COPIES);
                match size / copies {
                    1 => Self::Window(copies),
                    every => Self::Sparse { size: copies * every, every },
                }
            }
            Self::EmaShare(percent) => Self::Ema((steps(percent) + 1.0) / (steps(percent) + 3.0)),
            Self::Window(_) | Self::Sparse { .. } | Self::All | Self::Ema(_) | Self::Zero => self,
        }
    }
}

impl fmt::Display for TeacherKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Window(size) => write!(f, "window:{size}"),
            Self::Sparse { size, every } => write!(f, "window:{size}/{every}"),
            Self::WindowShare(percent) => write!(f, "window:{percent}%"),
            Self::All => write!(f, "all"),
            Self::Ema(decay) => write!(f, "ema:{decay}"),
            Self::EmaShare(percent) => write!(f, "ema:{percent}%"),
            Self::Zero => write!(f, "zero"),
        }
    }
}

impl FromStr for TeacherKind {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason: String| Err(InvalidValue(reason));
        let percent = |share: &str| match share.parse() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
            _ => Err(InvalidValue(format!("a share of the run is above 0 and at most 100 %, not '{share}%'"))),
        };
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            None if text == "zero" => Ok(Self::Zero),
            Some(("window", size)) => match (size.strip_suffix('%'), size.split_once('/')) {
                (Some(share), _) => percent(share).map(Self::WindowShare),
                (None, Some((size, every))) => match (size.parse(), every.parse()) {
                    (Ok(size @ 1..=MAX_WINDOW), Ok(1)) => Ok(Self::Window(size)),
                    (Ok(size), Ok(every @ 2..)) if size > 0 && size % every == 0 && size / every <= MAX_WINDOW => {
                        Ok(Self::Sparse { size, every })
                    }
                    _ => invalid(format!(
                        "window:K/S keeps every S-th of K steps, with S a divisor of K, not '{size}/{every}'"
                    )),
                },
                (None, None) => match size.parse() {
                    Ok(size @ 1..=MAX_WINDOW) => Ok(Self::Window(size)),
                    _ => invalid(format!("a window holds 1 to {MAX_WINDOW} steps, not '{size}'")),
                },
            },
            Some(("ema", decay)) => match (decay.strip_suffix('%'), decay.parse()) {
                (Some(share), _) => percent(share).map(Self::EmaShare),
                (None, Ok(decay)) if (0.0..1.0).contains(&decay) => Ok(Self::Ema(decay)),
                _ => invalid(format!("an EMA's decay is at least 0 and below 1, not '{decay}'")),
            },
            _ => invalid(format!("'{text}' is none of window:K, window:K/S, window:P%, all, ema:DECAY, ema:P%, zero")),
        }
    }
}

impl TextValue for TeacherKind {
    fn offered() -> Vec<PossibleValue> {
        ["window:5", "window:20%", "all", "ema:0.999", "ema:20%", "zero"].map(PossibleValue::new).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_are_written_as_they_are_read() {
        for text in ["window:1", "window:5", "all", "ema:0.999", "zero", "window:100/20", "window:12.5%", "ema:20%"] {
            assert_eq!(text.parse::<TeacherKind>().unwrap().to_string(), text);
        }
        assert_eq!("window:7/1".parse(), Ok(TeacherKind::Window(7)));
        for text in [
            "window:0",
            "window:-1",
            "window:",
            "window",
            "ema:1",
            "ema:nan",
            "ema:-0.1",
            "mean",
            "",
            "all:3",
            "zero:1",
            "window:10/3",
            "window:10/0",
            "window:0/5",
            "window:5/10",
            "window:0%",
            "window:101%",
            "ema:x%",
            "ema:%",
        ] {
            assert!(text.parse::<TeacherKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_mean_the_same_in_runs_of_any_length() {
        let over = |text: &str, steps| text.parse::<TeacherKind>().unwrap().over(steps);
        assert_eq!(over("window:20%", 10), TeacherKind::Window(2));
        assert_eq!(over("window:20%", 40), TeacherKind::Window(8));
        assert_eq!(over("window:20%", 100), TeacherKind::Sparse { size: 16, every: 2 });
        assert_eq!(over("window:20%", 282), TeacherKind::Sparse { size: 56, every: 7 });
        assert_eq!(over("window:1%", 10), TeacherKind::Window(1));
        assert_eq!(over("ema:10%", 100), TeacherKind::Ema(11.0 / 13.0));
        assert_eq!(over("all", 100), TeacherKind::All);
        // Mean ages in steps: D / (1 − D), and (K + 1) / 2 of a window.
        let TeacherKind::Ema(decay) = over("ema:20%", 500) else { panic!("an EMA") };
        assert!((decay / (1.0 - decay) - 50.5).abs() < 1e-9);
    }
}
