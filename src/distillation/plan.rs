//! From method and teacher to what happens at each step.

use super::{Method, SdvMode, TeacherKind};
use crate::{
    Result,
    device::{Device, Follow, Mean, Teacher, TrainingState},
    model::Layout,
};

/// Where the target logits of a step come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is no distillation term.
    None,
    /// The teacher's weights run on the batch.
    Weights,
    /// Each of the stored iterates runs on the batch; the mean of their logits.
    Stored,
    /// Logits that earlier weights left for this batch.
    LookAhead,
}

/// The method of a run, resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    kind: Option<TeacherKind>,
    source: Source,
    /// The first update whose result the average takes; none without an average.
    average_from: Option<u64>,
}

impl Plan {
    /// `average_from`: number of the first update, from 1, that enters the average, if one is kept. `needs_weights`: the
    /// teacher's weights are wanted after training, so a window of one step keeps them rather than looking ahead.
    pub fn new(
        method: Method,
        teacher: TeacherKind,
        mode: SdvMode,
        average_from: Option<u64>,
        needs_weights: bool,
    ) -> Self {
        let (kind, source) = match (method, teacher) {
            (Method::Ft | Method::Se, _) => (None, Source::None),
            (Method::Sdv, _) if mode == SdvMode::Stored => (Some(teacher), Source::Stored),
            (Method::Sdv, _) => (Some(teacher), Source::LookAhead),
            // One old iterate: its mean is itself, and look-ahead needs no copy of it.
            (Method::Sda, TeacherKind::Window(1)) if !needs_weights => (Some(teacher), Source::LookAhead),
            (Method::Sda, _) => (Some(teacher), Source::Weights),
        };
        Self { kind, source, average_from }
    }

    /// Iterates in the window; 0 for other teachers.
    pub fn window(&self) -> usize {
        match self.kind {
            Some(TeacherKind::Window(size)) => size,
            _ => 0,
        }
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// Steps that today's weights are run ahead.
    pub fn look_ahead(&self) -> usize {
        if self.source == Source::LookAhead { self.window() } else { 0 }
    }

    /// Steps whose votes are summed on the device at a time.
    pub fn vote_steps(&self) -> usize {
        match self.source {
            Source::LookAhead => self.window(),
            Source::Stored => 1,
            Source::None | Source::Weights => 0,
        }
    }

    /// Iterates that a window of step t holds.
    pub fn filled(&self, step: u64) -> usize {
        (self.window() as u64).min(step) as usize
    }

    /// Whether step t has a distillation term.
    pub fn teaches(&self, step: u64) -> bool {
        match self.kind {
            None => false,
            Some(TeacherKind::Ema(_)) => true,
            Some(TeacherKind::Window(_) | TeacherKind::All) => step > 0,
        }
    }

    /// What the teacher does in update t.
    pub fn teacher_follow(&self, step: u64) -> Follow {
        match (self.source, self.kind) {
            (Source::Weights, Some(TeacherKind::Window(size))) => {
                Follow::Window { slot: (step % size as u64) as usize, filled: self.filled(step + 1) }
            }
            (Source::Stored, Some(TeacherKind::Window(size))) => Follow::Store { slot: (step % size as u64) as usize },
            (Source::Weights, Some(TeacherKind::All)) => Follow::Before { weight: 1.0 / (step + 1) as f64 },
            (Source::Weights, Some(TeacherKind::Ema(decay))) => Follow::After { weight: 1.0 - decay },
            _ => Follow::Keep,
        }
    }

    /// Whether the mean of the iterates is kept.
    pub fn averages(&self) -> bool {
        self.average_from.is_some()
    }

    /// Whether the average has taken in an iterate after `steps` updates; until then it is θ_0.
    pub fn average_has_begun(&self, steps: u64) -> bool {
        self.average_from.is_some_and(|from| steps >= from)
    }

    /// What the average does in update t, whose result is iterate t + 1.
    pub fn average_follow(&self, step: u64) -> Follow {
        match self.average_from {
            Some(from) if step + 1 >= from => Follow::After { weight: 1.0 / (step + 2 - from) as f64 },
            _ => Follow::Keep,
        }
    }

    /// The state before update 0. Teacher and average start as θ_0.
    pub fn initial_state<D: Device>(&self, device: &D, layout: &Layout, weights: &[f32]) -> Result<TrainingState<D>> {
        let mean = || Ok(Mean { value: device.parameters(weights)?, rest: device.arena(layout.len)? });
        let teacher = match (self.source, self.kind) {
            (Source::Weights, Some(TeacherKind::Window(size))) => Some(Teacher::Window {
                mean: device.parameters(weights)?,
                ring: (0..size).map(|_| device.arena(layout.len)).collect::<Result<_>>()?,
            }),
            (Source::Weights, Some(_)) => Some(Teacher::Mean(mean()?)),
            (Source::Stored, _) => Some(Teacher::Stored {
                ring: (0..self.window()).map(|_| device.parameters(weights)).collect::<Result<_>>()?,
            }),
            _ => None,
        };
        Ok(TrainingState {
            student: device.parameters(weights)?,
            first_moment: device.arena(layout.len)?,
            second_moment: device.arena(layout.len)?,
            teacher,
            average: self.average_from.map(|_| mean()).transpose()?,
        })
    }
}
