//! Every kind of teacher: its buffers, what they cost, how they move, and whose logits are the target.

use std::fmt;

use super::{Forward, Method, MethodSettings, Pending, SdvMode, TeacherKind, look_ahead::LookAhead};
use crate::{
    Error, Result,
    data::PackedBatch,
    device::{Blend, Buffers, Device, Follower, ForwardWeights, Mean, Memory, Turn, Window, Write},
};

/// A teacher in training: the buffers it teaches from, and the constants by which they move.
pub enum Teacher<D: Buffers> {
    /// There is no distillation term.
    Nobody,
    /// The mean of the last K of the iterates whose number `every` divides.
    Window {
        /// Its slots and their mean.
        window: Window<D>,
        /// S.
        every: u64,
    },
    /// The mean of every earlier iterate.
    All(Mean<D>),
    /// An exponential mean.
    Ema {
        /// The mean.
        mean: Mean<D>,
        /// What stays of it at an update.
        decay: f64,
    },
    /// The last K iterates, each of which runs on the batch; the mean of their logits.
    Stored(Stored<D>),
    /// Logits that the last K iterates left for the batch; their mean.
    LookAhead(LookAhead<D>),
    /// Zeros, whatever the batch.
    Zero(D::Vector), // [B, N]
    /// The student itself: each sequence's twin, half a batch away.
    Twin,
}

/// Copies of the last K iterates, and where their logits are summed.
pub struct Stored<D: Buffers> {
    ring: Vec<D::Parameters>,
    sums: D::Vector,   // [E, N], by the slot of the example in its step
    target: D::Vector, // [B, N]
}

/// How many logits there are.
#[derive(Clone, Copy, Debug)]
pub struct LogitSizes {
    /// Of all examples of a step, E · N.
    pub step: usize,
    /// Of the largest micro-batch, B · N.
    pub batch: usize,
}

/// A buffer of the training state.
pub enum Buffer<'a, D: Buffers> {
    /// Weights.
    Parameters(&'a mut D::Parameters),
    /// Something of each weight.
    Arena(&'a mut D::Arena),
    /// Sums of logits, [E, N].
    Votes(&'a mut D::Vector),
}

fn share() -> Error {
    Error::setting("teacher", "is a share of a run, and no run is given")
}

fn window_only() -> Error {
    let message = "sdv averages the logits of the last K steps and takes window:K only; use --method sda";
    Error::setting("teacher", message)
}

impl MethodSettings {
    /// # Errors
    /// [`Error::Setting`] for what contradicts itself, such as a teacher that the method cannot have.
    pub fn check(&self) -> Result<()> {
        if self.method == Method::Sdv && !matches!(self.teacher, TeacherKind::Window(_)) {
            return Err(window_only());
        }
        if self.keeps_teacher && self.method != Method::Sda {
            return Err(Error::setting("evaluate", "only --method sda has a teacher with weights"));
        }
        if self.keeps_teacher && self.teacher == TeacherKind::Zero {
            return Err(Error::setting("evaluate", "the teacher zero has no weights"));
        }
        if self.average_from == Some(0) {
            return Err(Error::setting("average-from", "counts steps from 1"));
        }
        Ok(())
    }
}

impl<D: Memory> Teacher<D> {
    /// The teacher before update 0; where it has weights, they are θ_0.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that [`MethodSettings::check`] refuses, and where the device has no memory for
    /// it.
    pub fn new(device: &D, settings: &MethodSettings, weights: &[f32], logits: LogitSizes) -> Result<Self> {
        settings.check()?;
        let look_ahead = |size| Ok(Self::LookAhead(LookAhead::new(device, size, logits)?));
        match (settings.method, settings.teacher) {
            (Method::Ft | Method::Se, _) => Ok(Self::Nobody),
            (Method::Rdrop, _) => Ok(Self::Twin),
            (_, TeacherKind::WindowShare(_) | TeacherKind::EmaShare(_)) => Err(share()),
            // One old iterate: its mean is itself, and look-ahead needs no copy of it.
            (Method::Sda, TeacherKind::Window(1)) if !settings.keeps_teacher => look_ahead(1),
            (Method::Sda, TeacherKind::Window(size)) => {
                Ok(Self::Window { window: Window::new(device, size, weights)?, every: 1 })
            }
            (Method::Sda, TeacherKind::Sparse { size, every }) => {
                Ok(Self::Window { window: Window::new(device, size / every, weights)?, every: every as u64 })
            }
            (Method::Sda, TeacherKind::All) => Ok(Self::All(Mean::new(device, weights)?)),
            (Method::Sda, TeacherKind::Ema(decay)) => Ok(Self::Ema { mean: Mean::new(device, weights)?, decay }),
            (Method::Sda, TeacherKind::Zero) => Ok(Self::Zero(device.vector(logits.batch)?)),
            (Method::Sdv, TeacherKind::Window(size)) => match settings.sdv_mode {
                SdvMode::LookAhead => look_ahead(size),
                SdvMode::Stored => Ok(Self::Stored(Stored {
                    ring: (0..size).map(|_| device.parameters(weights)).collect::<Result<_>>()?,
                    sums: device.vector(logits.step)?,
                    target: device.vector(logits.batch)?,
                })),
            },
            (Method::Sdv, TeacherKind::Sparse { .. } | TeacherKind::All | TeacherKind::Ema(_) | TeacherKind::Zero) => {
                Err(window_only())
            }
        }
    }
}

/// Running what has to be run.
impl<D: Device> Teacher<D> {
    /// The logits [B, N] that the student's are compared with in step t, whose batch, or a part of it, is uploaded.
    ///
    /// # Errors
    /// [`Error::Misuse`] where earlier weights should have voted on the batch and have not; and those of the device.
    pub fn target<'a>(
        &'a mut self,
        step: u64,
        device: &mut D,
        mut forward: Forward<'a, D>,
        batch: &D::Batch,
    ) -> Result<Option<&'a D::Vector>> {
        if !self.teaches(step) {
            return Ok(None);
        }
        match self {
            Self::Nobody | Self::Twin => Ok(None),
            Self::Window { window: Window { mean: weights, .. }, .. }
            | Self::All(Mean { value: weights, .. })
            | Self::Ema { mean: Mean { value: weights, .. }, .. } => {
                let mask = forward.masks.at(step, 1);
                forward.run(device, ForwardWeights::Teacher, weights, batch, mask)?;
                Ok(Some(&forward.workspace.logits))
            }
            Self::Stored(stored) => stored.target(step, device, forward, batch).map(Some),
            Self::LookAhead(votes) => votes.target(step, device, batch).map(Some),
            Self::Zero(zeros) => Ok(Some(zeros)),
        }
    }

    /// Lets θ_t, which are `weights`, vote on the batches of steps t + 1, t + 2, …, as many as there are and
    /// [`Teacher::steps_ahead`] asks for. Step t needs its target no longer.
    ///
    /// # Errors
    /// Those of the device.
    pub fn look_ahead(
        &mut self,
        step: u64,
        ahead: &[&[PackedBatch]],
        weights: &D::Parameters,
        device: &mut D,
        forward: Forward<'_, D>,
        batch: &mut D::Batch,
    ) -> Result<()> {
        match self.votes_mut() {
            Some(votes) => votes.vote(step, ahead, weights, device, forward, batch),
            None => Ok(()),
        }
    }
}

/// What it is, how it moves, and what it remembers.
impl<D: Buffers> Teacher<D> {
    /// Whether the target is the student's own logits, of the twins in its batch; [`Teacher::target`] then has none.
    pub fn is_twin(&self) -> bool {
        matches!(self, Self::Twin)
    }

    /// Whether step t has a distillation term.
    pub fn teaches(&self, step: u64) -> bool {
        match self {
            Self::Nobody => false,
            Self::Ema { .. } | Self::Zero(_) | Self::Twin => true,
            Self::Window { .. } | Self::All(_) | Self::Stored(_) | Self::LookAhead(_) => step > 0,
        }
    }

    /// What earlier weights have said of coming batches.
    fn votes(&self) -> Option<&LookAhead<D>> {
        match self {
            Self::LookAhead(votes) => Some(votes),
            Self::Nobody
            | Self::Window { .. }
            | Self::All(_)
            | Self::Ema { .. }
            | Self::Stored(_)
            | Self::Zero(_)
            | Self::Twin => None,
        }
    }

    fn votes_mut(&mut self) -> Option<&mut LookAhead<D>> {
        match self {
            Self::LookAhead(votes) => Some(votes),
            Self::Nobody
            | Self::Window { .. }
            | Self::All(_)
            | Self::Ema { .. }
            | Self::Stored(_)
            | Self::Zero(_)
            | Self::Twin => None,
        }
    }

    /// Steps that today's weights are run ahead.
    pub fn steps_ahead(&self) -> usize {
        self.votes().map_or(0, LookAhead::steps)
    }

    /// How it moves in update t.
    pub fn follower(&mut self, step: u64) -> Option<Follower<'_, D>> {
        match self {
            Self::Nobody | Self::LookAhead(_) | Self::Zero(_) | Self::Twin => None,
            Self::Window { window, every } => {
                step.is_multiple_of(*every).then(|| Follower::Window { window, number: step / *every })
            }
            Self::All(mean) => Some(Follower::Before(Blend { mean, weight: 1.0 / (step + 1) as f64 })),
            Self::Ema { mean, decay } => Some(Follower::After(Blend { mean, weight: 1.0 - *decay })),
            Self::Stored(Stored { ring, .. }) => {
                let Turn { slot, .. } = Turn::new(step, ring.len());
                Some(Follower::Copy(&mut ring[slot]))
            }
        }
    }

    /// The weights whose logits it teaches, where there is one set of them.
    pub fn weights(&self) -> Option<&D::Parameters> {
        match self {
            Self::Window { window: Window { mean, .. }, .. } => Some(mean),
            Self::All(mean) | Self::Ema { mean, .. } => Some(&mean.value),
            Self::Nobody | Self::Stored(_) | Self::LookAhead(_) | Self::Zero(_) | Self::Twin => None,
        }
    }

    /// The votes that wait for their steps.
    pub fn pending(&self) -> Vec<Pending> {
        self.votes().map_or_else(Vec::new, |votes| votes.pending().collect())
    }

    /// Makes room for the votes that waited after `steps` updates; [`Teacher::buffers`] then has them.
    ///
    /// # Errors
    /// A text that says what it was, for votes that such a teacher cannot have been given.
    pub fn expect(&mut self, pending: &[Pending], steps: u64) -> Result<(), String> {
        match self.votes_mut() {
            Some(votes) => votes.expect(pending, steps),
            None if pending.is_empty() => Ok(()),
            None => Err(format!("votes on coming batches, which the teacher {self} has none of")),
        }
    }

    /// All that it remembers, with the names of a checkpoint's sections.
    pub fn buffers(&mut self) -> Vec<(String, Buffer<'_, D>)> {
        let teacher = |weights| ("teacher".to_owned(), Buffer::Parameters(weights));
        let slot = |k: usize| format!("ring-{k}");
        match self {
            Self::Nobody | Self::Zero(_) | Self::Twin => Vec::new(),
            Self::Window { window, .. } => {
                let (mean, ring) = window.parts();
                let ring = ring.iter_mut().enumerate().map(|(k, arena)| (slot(k), Buffer::Arena(arena)));
                std::iter::once(teacher(mean)).chain(ring).collect()
            }
            Self::All(Mean { value, rest }) | Self::Ema { mean: Mean { value, rest }, .. } => {
                vec![teacher(value), ("teacher-rest".to_owned(), Buffer::Arena(rest))]
            }
            Self::Stored(Stored { ring, .. }) => {
                ring.iter_mut().enumerate().map(|(k, weights)| (slot(k), Buffer::Parameters(weights))).collect()
            }
            Self::LookAhead(votes) => {
                votes.sums().enumerate().map(|(i, sums)| (format!("votes-{i}"), Buffer::Votes(sums))).collect()
            }
        }
    }
}

/// What a checkpoint says of it: a state goes on with the teacher that it was made with.
impl<D: Buffers> fmt::Display for Teacher<D> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Window { window, every: 1 } => write!(f, "window:{}", window.ring().len()),
            Self::Window { window, every } => write!(f, "window:{}/{every}", window.ring().len() as u64 * every),
            Self::All(_) => f.write_str("all"),
            Self::Ema { decay, .. } => write!(f, "ema:{decay}"),
            Self::Stored(stored) => write!(f, "stored:{}", stored.ring.len()),
            Self::LookAhead(votes) => write!(f, "look-ahead:{}", votes.steps()),
            Self::Zero(_) => f.write_str("zero"),
            Self::Twin => f.write_str("twin"),
        }
    }
}

impl<D: Device> Stored<D> {
    fn target(
        &mut self,
        step: u64,
        device: &mut D,
        mut forward: Forward<'_, D>,
        batch: &D::Batch,
    ) -> Result<&D::Vector> {
        let Self { ring, sums, target } = self;
        let iterates = step.min(ring.len() as u64);
        for k in 1..=iterates {
            let Turn { slot, .. } = Turn::new(step - k, ring.len());
            let mask = forward.masks.at(step, k as usize);
            forward.run(device, ForwardWeights::Stored(slot), &ring[slot], batch, mask)?;
            let write = if k == 1 { Write::Overwrite } else { Write::Add };
            device.add_votes(sums, &forward.workspace.logits, batch, write)?;
        }
        device.mean_of_votes(target, sums, batch, iterates as u32)?;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        let refused = |settings: MethodSettings| settings.check().unwrap_err().to_string();
        let sparse = TeacherKind::Sparse { size: 4, every: 2 };
        for teacher in [TeacherKind::All, TeacherKind::Ema(0.5), TeacherKind::Zero, sparse] {
            assert!(refused(MethodSettings::new(Method::Sdv, teacher)).contains("takes window:K only"));
        }
        for method in [Method::Ft, Method::Se, Method::Sdv, Method::Rdrop] {
            let settings = MethodSettings::new(method, TeacherKind::Window(2));
            assert!(settings.check().is_ok());
            assert!(refused(MethodSettings { keeps_teacher: true, ..settings }).contains("evaluate"));
        }
        let zero = MethodSettings::new(Method::Sda, TeacherKind::Zero);
        assert!(zero.check().is_ok() && refused(MethodSettings { keeps_teacher: true, ..zero }).contains("evaluate"));
        let settings = MethodSettings::new(Method::Se, TeacherKind::All);
        assert!(refused(MethodSettings { average_from: Some(0), ..settings }).contains("average-from"));
        assert!(MethodSettings { average_from: Some(1), ..settings }.check().is_ok());
    }
}
