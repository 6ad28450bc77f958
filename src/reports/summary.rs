//! What became of one or several runs, as a table.
//!
//! One row for each run and kind of weights that was evaluated. *Best* is over the evaluations on dev by the chosen
//! metric, the first of equals; *test* is the last evaluation on test examples.

use std::fmt;

use serde::Serialize;

use super::{EvalEvent, RunHistory, Split, Weights};
use crate::metrics::Metric;

/// Losses of the last updates are averaged over this many.
const FINAL_STEPS: usize = 50;

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run's name.
    pub run: String,
    /// The weights that were scored.
    pub weights: Weights,
    /// Updates recorded.
    pub steps: u64,
    /// Training losses, means over the last 50 updates; `None` without any.
    pub final_ce: Option<f64>,
    /// The same of the distillation term, where there is one.
    pub final_distill: Option<f64>,
    /// Mean real tokens per second over all updates.
    pub tokens_per_s: Option<f64>,
    /// The metric on dev: at the best evaluation, its update, and at the last.
    pub best_dev: Option<f64>,
    /// The step of `best_dev`.
    pub best_step: Option<u64>,
    /// The last score on dev.
    pub last_dev: Option<f64>,
    /// The score on the test set.
    pub test: Option<f64>,
}

/// All rows; `Display` draws the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The score that is listed.
    pub metric: Metric,
    /// One row for each run and kind of weights.
    pub rows: Vec<RunSummary>,
}

impl Summary {
    /// Sums the runs up by this score.
    pub fn new(runs: &[RunHistory], metric: Metric) -> Self {
        Self { metric, rows: runs.iter().flat_map(|run| rows_for(run, metric)).collect() }
    }
}

fn rows_for(run: &RunHistory, metric: Metric) -> Vec<RunSummary> {
    let mut kinds: Vec<Weights> = run.evals.iter().map(|event| event.weights).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        kinds.push(Weights::default());
    }
    kinds.into_iter().map(|weights| row_for(run, weights, metric)).collect()
}

fn row_for(run: &RunHistory, weights: Weights, metric: Metric) -> RunSummary {
    let on = |split: Split| run.evals.iter().filter(move |event| event.split == split && event.weights == weights);
    let score = |event: &EvalEvent| metric.get(&event.scores);
    let best =
        on(Split::Dev).reduce(|best, event| if metric.improves(score(event), score(best)) { event } else { best });
    let last_steps = &run.steps[run.steps.len().saturating_sub(FINAL_STEPS)..];
    RunSummary {
        run: run.name.clone(),
        weights,
        steps: run.steps.last().map_or(0, |event| event.step),
        final_ce: mean(last_steps.iter().map(|event| event.ce)),
        final_distill: mean(last_steps.iter().map(|event| event.distill)).filter(|&distill| distill != 0.0),
        tokens_per_s: mean(run.steps.iter().map(|event| event.tokens_per_s)),
        best_dev: best.map(score),
        best_step: best.map(|event| event.step),
        last_dev: on(Split::Dev).next_back().map(score),
        test: on(Split::Test).next_back().map(score),
    }
}

/// The mean of what is finite.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) =
        values.filter(|value| value.is_finite()).fold((0u64, 0.0), |(n, sum), value| (n + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

impl fmt::Display for Summary {
    /// Text columns to the left, numbers to the right, `-` where there is nothing; no line is broken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric;
        let head = ["run", "weights", "steps", "CE", "distill", "tokens/s"].map(str::to_owned).into_iter();
        let head = head.chain([format!("best dev {metric}"), "at step".into(), "last dev".into(), "test".into()]);
        let mut table = vec![head.collect::<Vec<String>>()];
        for row in &self.rows {
            table.push(vec![
                row.run.clone(),
                row.weights.name().into(),
                row.steps.to_string(),
                number(row.final_ce, 4),
                number(row.final_distill, 4),
                number(row.tokens_per_s, 0),
                number(row.best_dev, 4),
                row.best_step.map_or("-".into(), |step| step.to_string()),
                number(row.last_dev, 4),
                number(row.test, 4),
            ]);
        }
        const TEXT_COLUMNS: usize = 2;
        let columns = table.first().map_or(0, Vec::len);
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &table {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                if column < TEXT_COLUMNS {
                    write!(f, "{gap}{cell:<width$}")?;
                } else {
                    write!(f, "{gap}{cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.decimals$}"))
}
