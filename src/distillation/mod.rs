//! Self-ensemble and self-distillation: who teaches, how teacher and average follow the student, and what they cost.
//!
//! θ_t is the student before optimizer update t. The teacher of step t never contains θ_t itself:
//!
//! | teacher | at step t | [`Teacher`] |
//! |---|---|---|
//! | `window:K` (`sda`) | logits of the mean of θ_{t−1}..θ_{t−K} | `Window`; `LookAhead` for K = 1 |
//! | `window:K` (`sdv`) | mean of the logits of θ_{t−1}..θ_{t−K} | `LookAhead`, or `Stored` |
//! | `window:K/S` (`sda`) | logits of the mean of those of θ_{t−1}, θ_{t−2}, … whose number S divides, K / S of them | `Window` |
//! | `all` | logits of the mean of θ_{t−1}..θ_0 | `All` |
//! | `zero` | 0, at every step | `Zero` |
//! | (`rdrop`) | the logits of the other one of two students, the same weights with other masks | `Twin` |
//! | `ema:D` | logits of ξ_t, ξ_0 = θ_0, ξ_{t+1} = D ξ_t + (1 − D) θ_{t+1} | `Ema` |
//!
//! While fewer than K iterates exist, the mean is over those that do; at t = 0 a window has no distillation term.
//!
//! # A teacher's way
//!
//! 1. The user's words become a [`TeacherKind`], and with the method a [`MethodSettings`]: values, checked once.
//! 2. [`Teacher::new`] reads them, and nothing reads them after it: a [`Teacher`] owns the buffers it teaches from and
//!    the constants by which they move. All that depends on what kind of teacher a run has is decided in `teacher.rs`,
//!    by matches that name every kind.
//! 3. A training step asks the teacher for its target, the logits that the student's are compared with:
//!    [`Teacher::target`] runs what has to be run on the batch. Afterwards [`Teacher::look_ahead`] lets today's weights
//!    vote on coming batches, if it wants votes.
//! 4. The optimizer's pass over memory gets a [`Follower`](crate::device::Follower) from [`Teacher::follower`]: the
//!    buffers that move in this update, and how. Devices know no more than that: how a window slides, what a copy is,
//!    how a mean is blended.
//!
//! Checkpoints hold [`Teacher::buffers`]; evaluation reads [`Teacher::weights`]; the memory plan runs [`Teacher::new`]
//! on a device that only counts.
//!
//! Another teacher is a case of [`TeacherKind`] and one of [`Teacher`], and the compiler lists what either has to
//! answer. Only where its buffers move in a way that no [`Follower`](crate::device::Follower) knows does it need a case
//! there, on each device.

mod average;
mod forward;
mod kind;
mod look_ahead;
mod teacher;

pub use average::Average;
pub use forward::{Forward, Masks};
pub use kind::TeacherKind;
pub use look_ahead::{LookAhead, Pending};
pub use teacher::{Buffer, LogitSizes, Stored, Teacher};

use clap::ValueEnum;

use crate::text_value::{text_enum, text_serde};

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
    /// Two passes with other masks, which teach each other (R-Drop).
    Rdrop,
}

impl Method {
    /// How often each example stands in a batch.
    pub fn copies(self) -> usize {
        match self {
            Self::Ft | Self::Se | Self::Sda | Self::Sdv => 1,
            Self::Rdrop => 2,
        }
    }
}

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

/// What a run keeps beside the student, in the user's words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodSettings {
    /// Which of the six.
    pub method: Method,
    /// Who teaches, where the method distils.
    pub teacher: TeacherKind,
    /// How the votes of `sdv` are kept.
    pub sdv_mode: SdvMode,
    /// Number of the first update, from 1, whose result enters the average, if one is kept.
    pub average_from: Option<u64>,
    /// The teacher's weights are wanted themselves, to be scored or exported, so a window of one step keeps them rather
    /// than looking ahead.
    pub keeps_teacher: bool,
}

impl MethodSettings {
    /// Without an average, and with as few copies of the weights as the method allows.
    pub fn new(method: Method, teacher: TeacherKind) -> Self {
        Self { method, teacher, sdv_mode: SdvMode::LookAhead, average_from: None, keeps_teacher: false }
    }
}

/// λ over the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LambdaSchedule {
    /// λ after the ramp.
    pub lambda: f64,
    /// λ climbs linearly from 0 over this many steps; 0: constant.
    pub ramp_steps: u64,
}

impl LambdaSchedule {
    /// λ at a step, from 0.
    pub fn at(self, step: u64) -> f64 {
        if step < self.ramp_steps { self.lambda * step as f64 / self.ramp_steps as f64 } else { self.lambda }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{Capacity, Shape, cpu::CpuDevice},
        model::Activation,
    };

    pub(super) fn device() -> CpuDevice {
        let shape = Shape {
            hidden: 8,
            heads: 1,
            head_size: 8,
            head_used: 8,
            attention: 8,
            intermediate: 8,
            labels: 2,
            vocabulary: 1,
            types: 1,
            layer_norm_eps: 1e-12,
            activation: Activation::GeluErf,
        };
        CpuDevice::new(shape, Capacity { tokens: 1, sequences: 1, length: 1 })
    }

    #[test]
    fn lambda_ramps_linearly_and_then_stays() {
        let schedule = LambdaSchedule { lambda: 2.0, ramp_steps: 4 };
        let values: Vec<f64> = (0..7).map(|t| schedule.at(t)).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
        assert_eq!(LambdaSchedule { lambda: 2.0, ramp_steps: 0 }.at(0), 2.0);
    }
}
