//! The runs of one setting summed up over its seeds, and compared with those of a baseline.

use super::{
    Cell, Choice, Choose, Compare, Row,
    statistics::{Estimate, bootstrap},
};
use crate::{Error, Result, experiment::Predictions, metrics::Metric};

/// The finished runs of one setting on one data set.
#[derive(Clone, Debug)]
pub struct Arm<'a> {
    /// The data set; may be without a name.
    pub data: &'a str,
    /// [`Cell::arm`], what was chosen included.
    pub name: String,
    /// In the order of the seeds.
    pub runs: Vec<(&'a Cell, &'a Row)>,
    /// Runs that diverged.
    pub failed: usize,
    /// Whether dev has chosen it; without anything to choose every arm is.
    pub chosen: bool,
    /// Whether its scores on test may be looked at.
    pub settled: bool,
}

/// An arm beside the baseline of its data set.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    /// What is compared.
    pub arm: &'a Arm<'a>,
    /// With what.
    pub baseline: &'a Arm<'a>,
    /// Score by score; none while test is closed.
    pub differences: Vec<Difference>,
}

/// How much more of a score an arm has than its baseline, on test.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The score.
    pub metric: Metric,
    /// Over the seeds that both have.
    pub over_seeds: Estimate,
    /// 95 % over test examples, of the mean over these seeds; where the score is a mean over examples.
    pub over_examples: Option<(f64, f64)>,
}

impl<'a> Arm<'a> {
    /// All arms, in the order of the grid. `row` has the rows of the cells that are done.
    pub fn all(cells: &'a [Cell], choice: &Choice, row: impl Fn(&Cell) -> Option<&'a Row>) -> Vec<Self> {
        let mut arms: Vec<Self> = Vec::new();
        for cell in cells {
            let Some(row) = row(cell) else { continue };
            let name = cell.arm(&[]);
            let place = arms.iter().position(|arm| arm.data == cell.data && arm.name == name).unwrap_or_else(|| {
                let (chosen, settled) = (choice.has_chosen(cell), choice.is_settled(cell));
                arms.push(Self { data: &cell.data, name, runs: Vec::new(), failed: 0, chosen, settled });
                arms.len() - 1
            });
            match row.is_finished() {
                true => arms[place].runs.push((cell, row)),
                false => arms[place].failed += 1,
            }
        }
        arms
    }

    /// A score on dev over its runs.
    pub fn dev(&self, metric: Metric) -> Estimate {
        let scores = self.runs.iter().filter_map(|(_, row)| row.dev_scores());
        Estimate::of(&scores.map(|scores| metric.get(scores)).collect::<Vec<_>>())
    }

    /// A score on the first test set over its runs; none while it is not to be looked at.
    pub fn test(&self, metric: Metric) -> Option<Estimate> {
        let scores = self.runs.iter().filter_map(|(_, row)| row.test_scores());
        let scores: Vec<f64> = scores.map(|scores| metric.get(scores)).collect();
        (self.settled && !scores.is_empty()).then(|| Estimate::of(&scores))
    }
}

impl Compare {
    /// Whether the baseline is one arm of each data set that has it.
    ///
    /// # Errors
    /// [`Error::Setting`] where it is several, or none at all.
    pub fn check(&self, cells: &[Cell], choose: Option<&Choose>) -> Result<()> {
        let chosen = choose.map_or(&[][..], |choose| &choose.axes);
        let mut found: Vec<(&str, String)> = Vec::new();
        for cell in cells.iter().filter(|cell| !self.baseline.is_empty() && cell.meets(&self.baseline)) {
            let arm = cell.arm(chosen);
            match found.iter().find(|(data, _)| *data == cell.data) {
                Some((_, other)) if *other != arm => {
                    let message = format!("baseline: both '{other}' and '{arm}' meet it; name more of the options");
                    return Err(Error::setting("compare", message));
                }
                Some(_) => {}
                None => found.push((&cell.data, arm)),
            }
        }
        match found.is_empty() && !self.baseline.is_empty() {
            true => Err(Error::setting("compare", "baseline: no combination of the grid meets it")),
            false => Ok(()),
        }
    }
}

impl<'a> Comparison<'a> {
    /// Of every arm that was chosen with the baseline of its data set. `predictions` has the logits of a cell.
    ///
    /// # Errors
    /// Those of `predictions`.
    pub fn all(
        arms: &'a [Arm<'a>],
        compare: &Compare,
        predictions: impl Fn(&Cell) -> Result<Vec<Predictions>>,
    ) -> Result<Vec<Self>> {
        if compare.baseline.is_empty() {
            return Ok(Vec::new());
        }
        let mut data: Vec<&str> = arms.iter().map(|arm| arm.data).collect();
        data.dedup();
        let mut comparisons = Vec::new();
        for data in data {
            let of_data: Vec<&Arm> =
                arms.iter().filter(|arm| arm.data == data && arm.chosen && !arm.runs.is_empty()).collect();
            let meets = |arm: &&&Arm| arm.runs[0].0.meets(&compare.baseline);
            let Some(&baseline) = of_data.iter().find(meets) else { continue };
            for arm in of_data.into_iter().filter(|arm| arm.name != baseline.name) {
                let differences = differences(arm, baseline, &compare.metrics, &predictions)?;
                comparisons.push(Self { arm, baseline, differences });
            }
        }
        Ok(comparisons)
    }
}

fn differences(
    arm: &Arm<'_>,
    baseline: &Arm<'_>,
    metrics: &[Metric],
    predictions: &impl Fn(&Cell) -> Result<Vec<Predictions>>,
) -> Result<Vec<Difference>> {
    let mut pairs = Vec::new();
    for (cell, row) in &arm.runs {
        let other = baseline.runs.iter().find(|(other, _)| other.seed() == cell.seed());
        pairs.extend(other.map(|other| ((cell, row), other)));
    }
    if !(arm.settled && baseline.settled) {
        return Ok(Vec::new());
    }
    let mut by_example: Vec<(Metric, Vec<f64>)> =
        metrics.iter().filter(|metric| of_examples(**metric).is_some()).map(|metric| (*metric, Vec::new())).collect();
    let compares_examples = !by_example.is_empty();
    for ((cell, row), (other, other_row)) in pairs.iter().filter(|_| compares_examples) {
        let (ours, theirs) = (exported(predictions(cell)?, row), exported(predictions(other)?, other_row));
        let Some((ours, theirs)) = ours.zip(theirs).filter(|(ours, theirs)| ours.labels == theirs.labels) else {
            continue;
        };
        for (metric, sums) in &mut by_example {
            let Some(values) = of_examples(*metric) else { continue };
            sums.resize(ours.labels.len(), 0.0);
            for (sum, (a, b)) in sums.iter_mut().zip(values(&ours).into_iter().zip(values(&theirs))) {
                *sum += (a - b) / pairs.len() as f64;
            }
        }
    }
    let difference = |&metric: &Metric| {
        let score = |row: &Row| row.test_scores().map_or(f64::NAN, |scores| metric.get(scores));
        let values: Vec<f64> = pairs.iter().map(|((_, row), (_, other))| score(row) - score(other)).collect();
        let by_example = by_example.iter().find(|(of, _)| *of == metric);
        let over_examples = by_example.and_then(|(_, values)| bootstrap(values));
        Difference { metric, over_seeds: Estimate::of(&values), over_examples }
    };
    Ok(metrics.iter().map(difference).filter(|difference| difference.over_seeds.mean.is_finite()).collect())
}

/// The logits of the weights that were exported, on the first test set.
fn exported(all: Vec<Predictions>, row: &Row) -> Option<Predictions> {
    let set = row.test.iter().find(|event| event.weights == row.exported_weights())?.extra.get("set")?.as_str()?;
    all.into_iter().find(|part| part.set == set && part.weights == row.exported_weights())
}

/// How each example counts in a score that is a mean over examples.
fn of_examples(metric: Metric) -> Option<fn(&Predictions) -> Vec<f64>> {
    match metric {
        Metric::Accuracy => Some(Predictions::correct),
        Metric::Loss => Some(Predictions::losses),
        Metric::MacroF1 | Metric::WeightedF1 | Metric::Mcc | Metric::Ece => None,
    }
}
