//! Scoring weights on a set of examples, without dropout.

use std::ops::ControlFlow;

use super::{Learner, Watch};
use crate::{
    Result,
    data::{EvaluationPlan, Examples},
    device::{Device, ForwardWeights, Teacher, TrainingState},
    metrics::{Accumulator, Scores},
    reports::Weights,
};

/// Examples with their fixed division into batches.
pub struct EvaluationSet {
    pub examples: Examples,
    pub plan: EvaluationPlan,
}

impl EvaluationSet {
    /// Batches of at most `max_sequences` sequences and `max_tokens` tokens (or of a single longer sequence).
    pub fn new(examples: Examples, max_sequences: usize, max_tokens: usize) -> Self {
        let plan = EvaluationPlan::new(&examples.lengths(), max_sequences, max_tokens);
        Self { examples, plan }
    }
}

/// The arena that `weights` names; the student's where the run has no such weights.
pub fn pick<D: Device>(state: &TrainingState<D>, weights: Weights) -> &D::Parameters {
    match (weights, &state.teacher, &state.average) {
        (Weights::Teacher, Some(Teacher::Window { mean, .. }), _) => mean,
        (Weights::Teacher, Some(Teacher::Mean(mean)), _) | (Weights::Average, _, Some(mean)) => &mean.value,
        _ => &state.student,
    }
}

fn name(weights: Weights) -> ForwardWeights {
    match weights {
        Weights::Student => ForwardWeights::Student,
        Weights::Teacher => ForwardWeights::Teacher,
        Weights::Average => ForwardWeights::Average,
    }
}

/// Scores of `weights` on `set`; none where `watch` asks to stop before all are seen. Batches and the order of sums are
/// fixed.
///
/// # Errors
/// Of the device.
pub fn evaluate<D: Device>(
    learner: &mut Learner<D>,
    set: &EvaluationSet,
    weights: Weights,
    watch: &Watch<'_>,
) -> Result<Option<Scores>> {
    let labels = learner.encoder.shape.labels;
    let mut accumulator = Accumulator::new(labels)?;
    let seen = set.plan.sweep(&set.examples, |_, batch| {
        if watch.is_stopping() {
            return Ok(ControlFlow::Break(()));
        }
        let logits = learner.logits(batch, name(weights), |state| pick(state, weights))?;
        accumulator.add_logits(&logits[..batch.sequences() * labels], &batch.labels)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(seen.is_continue().then(|| accumulator.scores()))
}
