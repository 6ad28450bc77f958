//! Scoring weights on a set of examples, without dropout.

use std::ops::ControlFlow;

use super::{Learner, Watch};
use crate::{
    Error, Result,
    data::{EvaluationPlan, Examples},
    device::Device,
    metrics::{Accumulator, Scores},
    reports::Weights,
};

/// Examples with their fixed division into batches.
pub struct EvaluationSet {
    /// What is scored.
    pub examples: Examples,
    /// Its batches.
    pub plan: EvaluationPlan,
}

impl EvaluationSet {
    /// Batches of at most `max_sequences` sequences and `max_tokens` tokens (or of a single longer sequence).
    pub fn new(examples: Examples, max_sequences: usize, max_tokens: usize) -> Self {
        let plan = EvaluationPlan::new(&examples.lengths(), max_sequences, max_tokens);
        Self { examples, plan }
    }
}

/// Scores of `weights` on `set`; none where `watch` asks to stop before all are seen. Batches and the order of sums are
/// fixed.
///
/// # Errors
/// [`Error::Misuse`] for weights that the run does not keep; and those of the device.
pub fn evaluate<D: Device>(
    learner: &mut Learner<D>,
    set: &EvaluationSet,
    weights: Weights,
    watch: &Watch<'_>,
) -> Result<Option<Scores>> {
    sweep(learner, set, weights, watch, |_, _| ())
}

/// The same, and the logits [examples, N] in the order of the set.
///
/// # Errors
/// As [`evaluate`].
pub(super) fn answers<D: Device>(
    learner: &mut Learner<D>,
    set: &EvaluationSet,
    weights: Weights,
    watch: &Watch<'_>,
) -> Result<Option<(Scores, Vec<f32>)>> {
    let labels = learner.encoder.shape.labels;
    let mut all = vec![0.0; set.examples.len() * labels];
    let scores = sweep(learner, set, weights, watch, |numbers, logits| {
        for (&number, row) in numbers.iter().zip(logits.chunks_exact(labels)) {
            let start = number as usize * labels;
            all[start..start + labels].copy_from_slice(row);
        }
    })?;
    Ok(scores.map(|scores| (scores, all)))
}

/// Scores of `weights`; `take` is given the numbers of each batch's examples, and their logits.
fn sweep<D: Device>(
    learner: &mut Learner<D>,
    set: &EvaluationSet,
    weights: Weights,
    watch: &Watch<'_>,
    mut take: impl FnMut(&[u32], &[f32]),
) -> Result<Option<Scores>> {
    let labels = learner.encoder.shape.labels;
    let mut accumulator = Accumulator::new(labels)?;
    let seen = set.plan.sweep(&set.examples, |numbers, batch| {
        if watch.is_stopping() {
            return Ok(ControlFlow::Break(()));
        }
        let logits = match learner.logits_unless(watch.stop(), batch, weights) {
            Err(Error::Interrupted { .. }) => return Ok(ControlFlow::Break(())),
            logits => logits?,
        };
        let logits = &logits[..batch.sequences() * labels];
        accumulator.add_logits(logits, &batch.labels)?;
        take(numbers, logits);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(seen.is_continue().then(|| accumulator.scores()))
}
