//! What dev settles: for each setting of the other axes, the value of the chosen ones whose mean score is best.
//!
//! It is a function of the rows alone, so every process comes to the same choice, and so does whoever looks later. It
//! looks at no score on test; and until it is made, whoever asks it for one gets none.

use std::collections::HashMap;

use super::{Cell, Choose, Row};
use crate::{Error, Result};

/// Where each group of cells stands; a group is what is the same but for the chosen axes and the seeds.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// By group, the arm that was chosen.
    chosen: HashMap<String, String>,
    /// Groups that wait for cells.
    open: usize,
    axes: Option<Vec<String>>,
    tuning: Option<Vec<String>>,
}

impl Choice {
    /// `row` has the rows of the cells that are done.
    ///
    /// # Errors
    /// [`Error::Setting`] for an axis that the grid does not have, and of `row`.
    pub fn new(cells: &[Cell], choose: Option<&Choose>, row: impl Fn(&Cell) -> Result<Option<Row>>) -> Result<Self> {
        let Some(choose) = choose else { return Ok(Self::default()) };
        if let Some(axis) =
            choose.axes.iter().find(|axis| !cells.iter().any(|cell| cell.axes.iter().any(|(name, _)| name == *axis)))
        {
            return Err(Error::setting(
                "choose",
                format!("axes: {axis} does not vary in the grid, so there is nothing to choose"),
            ));
        }
        let mut seeds: Vec<String> = Vec::new();
        for seed in cells.iter().map(Cell::seed) {
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        let tuning = choose.seeds.map(|count| seeds.into_iter().take(count).collect());
        let mut choice = Self { axes: Some(choose.axes.clone()), tuning, ..Self::default() };
        let mut groups: Vec<(String, Vec<&Cell>)> = Vec::new();
        for cell in cells.iter().filter(|cell| choice.tunes(cell)) {
            let group = choice.group(cell);
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, members)) => members.push(cell),
                None => groups.push((group, vec![cell])),
            }
        }
        for (group, members) in groups {
            match choice.best(&members, choose, &row)? {
                Some(arm) => drop(choice.chosen.insert(group, arm)),
                None => choice.open += 1,
            }
        }
        Ok(choice)
    }

    /// The arm of the best mean; the first of equals. None while a cell is missing.
    fn best(
        &self,
        members: &[&Cell],
        choose: &Choose,
        row: &impl Fn(&Cell) -> Result<Option<Row>>,
    ) -> Result<Option<String>> {
        let mut sums: Vec<(String, f64, f64)> = Vec::new();
        for cell in members {
            let Some(row) = row(cell)? else { return Ok(None) };
            let score = row.dev_score(choose.by);
            let arm = cell.arm(&[]);
            match sums.iter_mut().find(|(name, ..)| *name == arm) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + score, *count + 1.0),
                None => sums.push((arm, score, 1.0)),
            }
        }
        let means = sums.into_iter().map(|(arm, sum, count)| (arm, sum / count));
        let best = means.reduce(|best, next| if choose.by.improves(next.1, best.1) { next } else { best });
        Ok(best.map(|(arm, _)| arm))
    }

    fn group(&self, cell: &Cell) -> String {
        format!("{}\n{}", cell.data, cell.arm(self.axes.as_deref().unwrap_or_default()))
    }

    /// Whether the choice is made on this cell, among others.
    fn tunes(&self, cell: &Cell) -> bool {
        self.tuning.as_ref().is_none_or(|seeds| seeds.contains(&cell.seed()))
    }

    /// Whether the cell is of the setting that was chosen; without anything to choose every one is.
    pub fn has_chosen(&self, cell: &Cell) -> bool {
        self.axes.is_none() || self.chosen.get(&self.group(cell)) == Some(&cell.arm(&[]))
    }

    /// Whether its scores on test may be looked at: what they might influence is settled.
    pub fn is_settled(&self, cell: &Cell) -> bool {
        self.axes.is_none() || self.chosen.contains_key(&self.group(cell))
    }

    /// Whether the cell is to be run, as far as is known.
    pub fn wants(&self, cell: &Cell) -> bool {
        self.axes.is_none() || self.tunes(cell) || self.has_chosen(cell)
    }

    /// Groups whose choice is still to be made.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many of the cells there will be in all.
    pub fn total(&self, cells: &[Cell]) -> usize {
        let known = cells.iter().filter(|cell| self.wants(cell)).count();
        // Of a group that is open one setting will be run with the remaining seeds, whichever it is.
        let mut later: Vec<(String, String)> = Vec::new();
        for cell in cells.iter().filter(|cell| !self.wants(cell) && !self.is_settled(cell)) {
            let key = (self.group(cell), cell.seed());
            if !later.contains(&key) {
                later.push(key);
            }
        }
        known + later.len()
    }

    /// The axes that are chosen, if any are.
    pub fn axes(&self) -> &[String] {
        self.axes.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        experiment::{Ending, ExperimentFile},
        metrics::Scores,
        reports::{EvalEvent, Split, Weights},
    };

    fn row(cell: &Cell, accuracy: f64) -> Row {
        let scores = Scores { accuracy, macro_f1: 0.0, weighted_f1: 0.0, mcc: 0.0, loss: 1.0, ece: 0.0, examples: 1 };
        Row {
            cell: cell.id.clone(),
            data: cell.data.clone(),
            settings: cell.settings.clone(),
            ending: Ending::Finished { exported_step: 3 },
            examples: String::new(),
            version: String::new(),
            device: String::new(),
            precision: String::new(),
            threads: 1,
            started: 0,
            resumed: false,
            seconds: 1.0,
            step_seconds: 1.0,
            tokens: 1,
            peak_memory_bytes: None,
            steps: 3,
            dev: vec![EvalEvent::new(Split::Dev, Weights::Student, 3, scores)],
            test: Vec::new(),
        }
    }

    #[test]
    fn dev_decides_and_the_other_seeds_follow() {
        let text = "[options]\nmodel = 'm'\ntrain = 'a'\ndev = 'b'\n[grid]\nmethod = ['ft', 'sda']\nlr = [1, 2]\n\
                    seed = [7, 8, 9]\n[choose]\naxes = ['lr']\nseeds = 2";
        let file = ExperimentFile::parse(text, Path::new("x")).unwrap();
        let cells = file.cells().unwrap();
        let choice = |done: &dyn Fn(&Cell) -> Option<f64>| {
            Choice::new(&cells, file.choose.as_ref(), |cell| Ok(done(cell).map(|score| row(cell, score)))).unwrap()
        };
        let wanted =
            |choice: &Choice| cells.iter().filter(|cell| choice.wants(cell)).map(Cell::name).collect::<Vec<_>>();
        let none = choice(&|_| None);
        assert_eq!((none.open(), wanted(&none).len(), none.total(&cells)), (2, 8, 10));
        assert!(!cells.iter().any(|cell| none.is_settled(cell)));
        // ft is known but for one cell; sda is: 1 is better with the first seed, 2 on average.
        let score = |name: &str| match name {
            "method=sda lr=1 seed=7" => Some(0.9),
            "method=sda lr=1 seed=8" => Some(0.1),
            "method=ft lr=2 seed=8" => None,
            name if name.contains("seed=9") => Some(1.0),
            _ => Some(0.6),
        };
        let some = choice(&|cell| score(&cell.name()));
        assert_eq!((some.open(), some.total(&cells)), (1, 10));
        let settled: Vec<_> = cells.iter().filter(|cell| some.is_settled(cell)).collect();
        assert!(settled.len() == 6 && settled.iter().all(|cell| cell.name().contains("sda")));
        let last: Vec<_> = wanted(&some).into_iter().filter(|name| name.contains("seed=9")).collect();
        assert_eq!(last, ["method=sda lr=2 seed=9"], "a seed that does not choose is not looked at");
        // A run that diverged has no score, and is never the best.
        let nan = choice(&|cell| Some(if cell.name().contains("lr=1") { f64::NAN } else { 0.0 }));
        assert!(cells.iter().filter(|cell| nan.has_chosen(cell)).all(|cell| cell.name().contains("lr=2")));
        let wrong = Choose { axes: vec!["lambda".into()], ..file.choose.clone().unwrap() };
        assert!(Choice::new(&cells, Some(&wrong), |_| Ok(None)).unwrap_err().to_string().contains("does not vary"));
    }
}
