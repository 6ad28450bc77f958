//! A training state in a checkpoint: every arena, the logits that wait for coming batches, and where the run stands.
//!
//! All randomness and the data order are functions of seed and step, so nothing else is needed to go on to the bit.

use serde::{Deserialize, Serialize};

use super::{Learner, Skips};
use crate::{
    Error, Result,
    checkpoint::{CheckpointReader, CheckpointStore, Plan},
    device::{Device, Mean, Teacher},
    distillation::look_ahead::Pending,
    metrics::Metric,
};

/// Where a run stands after `step` updates.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Position {
    pub step: u64,
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
    /// Takes in an evaluation after `step` updates; whether it is the best so far. `patience` evaluations that are not end the run, 0:
    /// none do.
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
    pub step: u64,
    pub value: f64,
}

#[derive(Deserialize, Serialize)]
struct Metadata {
    position: Position,
    /// The training examples' fingerprint in hex: JSON numbers of that size are not portable.
    examples: String,
    votes: Vec<Pending>,
    #[serde(default)]
    skips: Skips,
}

/// An arena of the state, by what kind of buffer holds it.
enum Arena<'a, D: Device> {
    Parameters(&'a D::Parameters),
    Plain(&'a D::Arena),
}

enum ArenaMut<'a, D: Device> {
    Parameters(&'a mut D::Parameters),
    Plain(&'a mut D::Arena),
}

/// All arenas of a state with their section names, in one fixed order.
macro_rules! arenas {
    ($kind:ident, $state:expr, $iter:ident, $($mutable:tt)?) => {{
        let state = $state;
        let mut arenas = vec![
            ("student".to_owned(), $kind::Parameters(&$($mutable)? state.student)),
            ("first-moment".to_owned(), $kind::Plain(&$($mutable)? state.first_moment)),
            ("second-moment".to_owned(), $kind::Plain(&$($mutable)? state.second_moment)),
        ];
        match &$($mutable)? state.teacher {
            None => {}
            Some(Teacher::Window { mean, ring }) => {
                arenas.push(("teacher".to_owned(), $kind::Parameters(mean)));
                arenas.extend(ring.$iter().enumerate().map(|(k, slot)| (format!("ring-{k}"), $kind::Plain(slot))));
            }
            Some(Teacher::Mean(Mean { value, rest })) => {
                arenas.push(("teacher".to_owned(), $kind::Parameters(value)));
                arenas.push(("teacher-rest".to_owned(), $kind::Plain(rest)));
            }
            Some(Teacher::Stored { ring }) => {
                arenas.extend(ring.$iter().enumerate().map(|(k, slot)| (format!("ring-{k}"), $kind::Parameters(slot))));
            }
        }
        if let Some(Mean { value, rest }) = &$($mutable)? state.average {
            arenas.push(("average".to_owned(), $kind::Parameters(value)));
            arenas.push(("average-rest".to_owned(), $kind::Plain(rest)));
        }
        arenas
    }};
}

/// Writes a checkpoint and removes those that are too old. `fingerprint` is that of the training examples.
pub fn save<D: Device>(
    store: &CheckpointStore,
    learner: &Learner<D>,
    position: &Position,
    fingerprint: u64,
) -> Result<()> {
    let votes: Vec<Pending> = learner.votes.pending().collect();
    let examples = format!("{fingerprint:016x}");
    let mut plan =
        Plan::new(&Metadata { position: position.clone(), examples, votes: votes.clone(), skips: learner.skips })?;
    let arenas: Vec<(String, Arena<D>)> = arenas!(Arena, &learner.state, iter,);
    for (name, _) in &arenas {
        plan = plan.section::<f32>(name, learner.encoder.layout.len);
    }
    let vote_len = learner.settings.max_examples * learner.encoder.shape.labels;
    for i in 0..votes.len() {
        plan = plan.section::<f32>(&format!("votes-{i}"), vote_len);
    }
    let mut writer = store.begin(position.step, plan)?;
    for (name, arena) in &arenas {
        let values = match arena {
            Arena::Parameters(parameters) => learner.device.read_parameters(parameters)?,
            Arena::Plain(arena) => learner.device.read_arena(arena)?,
        };
        writer.write(name, &values)?;
    }
    for (i, pending) in votes.iter().enumerate() {
        writer.write(&format!("votes-{i}"), &learner.device.read_vector(learner.votes.sums(pending.step))?)?;
    }
    writer.finish()?;
    store.prune()
}

/// Restores a state of the same settings and examples; the learner was made as for a new run.
///
/// # Errors
/// [`Error::Run`] when the state is of other settings, or of other training examples: their order would go on, but not with the
/// examples that it was made for.
pub fn restore<D: Device>(
    reader: &mut CheckpointReader,
    learner: &mut Learner<D>,
    fingerprint: u64,
) -> Result<Position> {
    let Metadata { position, examples, votes, skips } = reader.metadata()?;
    if examples != format!("{fingerprint:016x}") {
        let message = "was written by a run over other training examples than there are now; put back the data, the tokenizer or \
                       the settings of the run, or begin anew with --overwrite";
        return Err(Error::run(reader.path(), message));
    }
    let mut values = vec![0.0f32; learner.encoder.layout.len];
    let device = &learner.device;
    let arenas: Vec<(String, ArenaMut<D>)> = arenas!(ArenaMut, &mut learner.state, iter_mut, mut);
    for (name, arena) in arenas {
        if !reader.contains(&name) {
            let message = format!("holds no '{name}'; it was written by a run with other settings");
            return Err(Error::run(reader.path(), message));
        }
        reader.read_into(&name, &mut values)?;
        match arena {
            ArenaMut::Parameters(parameters) => device.write_parameters(parameters, &values)?,
            ArenaMut::Plain(arena) => device.write_arena(arena, &values)?,
        }
    }
    for (i, pending) in votes.into_iter().enumerate() {
        let sums: Vec<f32> = reader.read(&format!("votes-{i}"))?;
        learner.votes.restore(&learner.device, pending, &sums)?;
    }
    learner.skips = skips;
    learner.device.set_skips(skips.total)?;
    Ok(position)
}

/// Keeps `weights` as the best of the run.
pub fn save_best(store: &CheckpointStore, best: Best, weights: &[f32]) -> Result<()> {
    let plan = Plan::new(&best)?.section::<f32>("weights", weights.len());
    let mut writer = store.begin_best(plan)?;
    writer.write("weights", weights)?;
    writer.finish()
}

/// The best weights of the run, if an evaluation has chosen any.
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
