//! What training changes from step to step, in memory and in a checkpoint: every arena, the logits that wait for coming
//! batches, and where the run stands.
//!
//! All randomness and the data order are functions of seed and step, so nothing else is needed to go on to the bit.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Learner, Skips};
use crate::{
    Error, Result, Stop,
    checkpoint::{CheckpointPlan, CheckpointReader, CheckpointStore},
    device::{Buffers, Device, Memory, Student},
    distillation::{Average, Buffer, LogitSizes, MethodSettings, Pending, Teacher},
    metrics::Metric,
    reports::Weights,
};

/// Everything a step changes on the device.
pub struct TrainingState<D: Buffers> {
    /// Weights and moments.
    pub student: Student<D>,
    /// Who teaches.
    pub teacher: Teacher<D>,
    /// The running average, if there is one.
    pub average: Option<Average<D>>,
}

impl<D: Memory> TrainingState<D> {
    /// The state before update 0: student, teacher and average are `weights`, θ_0.
    ///
    /// # Errors
    /// [`Error::Setting`] for a teacher that the method cannot have, and where the device has no memory for the state.
    pub fn new(device: &D, settings: &MethodSettings, weights: &[f32], logits: LogitSizes) -> Result<Self> {
        Ok(Self {
            student: Student::new(device, weights)?,
            teacher: Teacher::new(device, settings, weights, logits)?,
            average: settings.average_from.map(|from| Average::new(device, from, weights)).transpose()?,
        })
    }
}

impl<D: Buffers> TrainingState<D> {
    /// The weights of this name.
    ///
    /// # Errors
    /// [`Error::Misuse`] for weights that the run does not keep.
    pub fn weights(&self, which: Weights) -> Result<&D::Parameters> {
        match which {
            Weights::Student => Ok(&self.student.weights),
            Weights::Teacher => self.teacher.weights().ok_or_else(|| {
                let message = format!("the teacher of this run ({}) has no weights of its own", self.teacher);
                Error::misuse("TrainingState::weights", message)
            }),
            Weights::Average => {
                let average = self.average.as_ref().map(Average::weights);
                average.ok_or_else(|| Error::misuse("TrainingState::weights", "this run keeps no average"))
            }
        }
    }

    /// All that a checkpoint holds, with the names of its sections, in one fixed order.
    pub fn buffers(&mut self) -> Vec<(String, Buffer<'_, D>)> {
        let Student { weights, first_moment, second_moment } = &mut self.student;
        let mut buffers = vec![
            ("student".to_owned(), Buffer::Parameters(weights)),
            ("first-moment".to_owned(), Buffer::Arena(first_moment)),
            ("second-moment".to_owned(), Buffer::Arena(second_moment)),
        ];
        buffers.extend(self.teacher.buffers());
        if let Some(average) = &mut self.average {
            let mean = average.mean();
            buffers.push(("average".to_owned(), Buffer::Parameters(&mut mean.value)));
            buffers.push(("average-rest".to_owned(), Buffer::Arena(&mut mean.rest)));
        }
        buffers
    }
}

/// Where a run stands after `step` updates.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Position {
    /// Updates done.
    pub step: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since the best one.
    pub stale: u64,
    /// Early stopping has ended the run.
    pub stopped: bool,
    /// The evaluation after the last step was called off: it is still to be done before the next.
    #[serde(default)]
    pub owes_evaluation: bool,
}

impl Position {
    /// Takes in an evaluation after `step` updates; whether it is the best so far. `patience` evaluations that are not
    /// end the run, 0: none do.
    pub fn judge(&mut self, step: u64, value: f64, metric: Metric, patience: u64) -> bool {
        let is_best = self.best.is_none_or(|best| metric.improves(value, best.value));
        if is_best {
            self.best = Some(Best { step, value });
            self.stale = 0;
        } else {
            self.stale += 1;
        }
        self.stopped = patience > 0 && self.stale >= patience;
        is_best
    }
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Best {
    /// After which update.
    pub step: u64,
    /// Its score.
    pub value: f64,
}

#[derive(Deserialize, Serialize)]
struct Metadata {
    position: Position,
    /// The training examples' fingerprint in hex: JSON numbers of that size are not portable.
    examples: String,
    /// Not in checkpoints of early versions.
    #[serde(default)]
    teacher: Option<String>,
    votes: Vec<Pending>,
    #[serde(default)]
    skips: Skips,
}

impl<D: Device> Buffer<'_, D> {
    fn read(&self, device: &D) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Parameters(parameters) => device.read_parameters(parameters),
            Self::Arena(arena) => device.read_arena(arena),
            Self::Votes(votes) => device.read_vector(votes),
        }
    }

    fn write(&mut self, device: &D, values: &[f32]) -> Result<()> {
        match self {
            Self::Parameters(parameters) => device.write_parameters(parameters, values),
            Self::Arena(arena) => device.write_arena(arena, values),
            Self::Votes(votes) => device.write_vector(votes, values),
        }
    }
}

/// Elements of the state's buffers.
struct BufferSizes {
    arena: usize,
    votes: usize,
}

impl BufferSizes {
    fn new<D: Device>(learner: &Learner<D>) -> Self {
        let votes = learner.settings.max_examples * learner.encoder.shape.labels;
        Self { arena: learner.encoder.layout.len, votes }
    }

    fn get<D: Device>(&self, buffer: &Buffer<D>) -> usize {
        match buffer {
            Buffer::Parameters(_) | Buffer::Arena(_) => self.arena,
            Buffer::Votes(_) => self.votes,
        }
    }
}

/// Writes a checkpoint and removes those that are too old. `fingerprint` is that of the training examples. Once `stop` is
/// asked, it is in haste ([`CheckpointWriter::in_haste_when`](crate::checkpoint::CheckpointWriter::in_haste_when)), and
/// older checkpoints stay.
///
/// # Errors
/// Those of the device and of the file system.
pub fn save<D: Device>(
    store: &CheckpointStore,
    learner: &mut Learner<D>,
    position: &Position,
    fingerprint: u64,
    stop: Stop<'_>,
) -> Result<()> {
    let mut plan = CheckpointPlan::new(&Metadata {
        position: position.clone(),
        examples: format!("{fingerprint:016x}"),
        teacher: Some(learner.state.teacher.to_string()),
        votes: learner.state.teacher.pending(),
        skips: learner.skips,
    })?;
    let sizes = BufferSizes::new(learner);
    let buffers = learner.state.buffers();
    for (name, buffer) in &buffers {
        plan = plan.section::<f32>(name, sizes.get(buffer));
    }
    let mut writer = store.begin(position.step, plan)?.in_haste_when(stop);
    for (name, buffer) in &buffers {
        writer.write(name, &buffer.read(&learner.device)?)?;
    }
    writer.finish()?;
    if stop.is_asked() { Ok(()) } else { store.prune() }
}

/// Restores a state of the same settings and examples; the learner was made as for a new run.
///
/// # Errors
/// [`Error::Run`] when the state is of other settings, or of other training examples: their order would go on, but not
/// with the examples that it was made for.
pub fn restore<D: Device>(
    reader: &mut CheckpointReader,
    learner: &mut Learner<D>,
    fingerprint: u64,
    stop: Stop<'_>,
) -> Result<Position> {
    let Metadata { position, examples, teacher, votes, skips } = reader.metadata()?;
    let path = reader.path().to_owned();
    let refuse = |message: String| Err(Error::run(&path, message));
    if examples != format!("{fingerprint:016x}") {
        let message = "was written by a run over other training examples than there are now; put back the data, the \
                       tokenizer or the settings of the run, or begin anew with --overwrite";
        return refuse(message.to_owned());
    }
    let own = learner.state.teacher.to_string();
    if let Some(other) = teacher.filter(|other| *other != own) {
        return refuse(format!(
            "was written by a run with other settings: its teacher is {other}, and here it is {own}"
        ));
    }
    if let Err(what) = learner.state.teacher.expect(&votes, position.step) {
        return refuse(format!("holds {what}"));
    }
    let sizes = BufferSizes::new(learner);
    let mut values = Vec::new();
    for (name, mut buffer) in learner.state.buffers() {
        stop.check()?;
        if !reader.contains(&name) {
            return refuse(format!("holds no '{name}'; it was written by a run with other settings"));
        }
        values.resize(sizes.get(&buffer), 0.0);
        reader.read_into(&name, &mut values)?;
        buffer.write(&learner.device, &values)?;
    }
    learner.skips = skips;
    learner.device.set_skips(skips.total)?;
    Ok(position)
}

/// Keeps `weights` as the best of the run, in haste once `stop` is asked.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn save_best(store: &CheckpointStore, best: Best, weights: &[f32], stop: Stop<'_>) -> Result<()> {
    let plan = CheckpointPlan::new(&best)?.section::<f32>("weights", weights.len());
    let mut writer = store.begin_best(plan)?.in_haste_when(stop);
    writer.write("weights", weights)?;
    writer.finish()
}

/// The best weights of the run, if an evaluation has chosen any.
///
/// # Errors
/// As [`CheckpointReader::open`].
pub fn load_best(store: &CheckpointStore, len: usize) -> Result<Option<(Best, Vec<f32>)>> {
    let load = || -> Result<_> {
        let Some(mut reader) = store.best()? else { return Ok(None) };
        let best = reader.metadata()?;
        let mut weights = vec![0.0; len];
        reader.read_into("weights", &mut weights)?;
        Ok(Some((best, weights)))
    };
    // The run may have taken hours and its last weights may be as good: the user decides.
    load().map_err(|error| {
        let advice = "the best weights cannot be exported; remove it, and --resume exports the last weights";
        Error::run(store.best_path(), format!("{advice} ({error})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_evaluations_in_a_row() {
        let mut position = Position::default();
        let mut judge = |step, loss| (position.judge(step, loss, Metric::Loss, 2), position.stale, position.stopped);
        assert_eq!(judge(1, 0.9), (true, 0, false));
        assert_eq!(judge(2, 0.9), (false, 1, false));
        assert_eq!(judge(3, 0.8), (true, 0, false));
        assert_eq!(judge(4, 0.85), (false, 1, false));
        assert_eq!(judge(5, f64::NAN), (false, 2, true));
        assert_eq!(position.best, Some(Best { step: 3, value: 0.8 }));
        let mut patient = Position::default();
        for step in 1..100 {
            assert_eq!(patient.judge(step, 0.5, Metric::Accuracy, 0), step == 1);
            assert!(!patient.stopped, "0: patience without end");
        }
    }
}
