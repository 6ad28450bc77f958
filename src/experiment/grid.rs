//! From a file to its cells: every combination of the axes, changed by the rules that it meets, each once.

use std::collections::HashSet;

use super::{
    Axis, Cell, ExperimentFile, Value,
    cell::{meets, settings},
    file::assignment,
};
use crate::{
    Error, Result,
    training::{Assignment, RunOptions, overlay},
};

/// More cells than any experiment has: a grid that came out like this is a mistake.
const MOST_CELLS: usize = 100_000;

/// The values of a combination by option, in the order of the grid.
type Combination = Vec<(String, Value)>;

impl ExperimentFile {
    /// All runs, in the order in which they are to be done: data set by data set, and seed by seed, so that each arm is
    /// known a little before any is known well.
    ///
    /// # Errors
    /// [`Error::Setting`] for a combination whose options contradict each other, and for a grid that holds none or too
    /// many.
    pub fn cells(&self) -> Result<Vec<Cell>> {
        let unnamed = [(String::new(), Vec::new())];
        let data = if self.data.is_empty() { &unnamed[..] } else { &self.data };
        let mut cells = Vec::new();
        let mut known = HashSet::new();
        for (name, of_data) in data {
            let mut base = self.options.clone();
            overlay(&mut base, of_data.clone());
            for combination in self.combinations(name, &base)? {
                let options = options(&base, &combination)?;
                let axes = combination.into_iter().map(|(name, value)| (name, value.join(","))).collect();
                let cell = Cell::new(name, axes, options)?;
                if known.insert((cell.data.clone(), cell.id.clone())) {
                    cells.push(cell);
                }
            }
        }
        if cells.is_empty() {
            return Err(Error::setting("experiment", "no combination is left: every one is skipped by [[when]]"));
        }
        keep_what_varies(&mut cells);
        by_seed(&mut cells);
        Ok(cells)
    }

    fn combinations(&self, data: &str, base: &[Assignment]) -> Result<Vec<Combination>> {
        let mut combinations = product(vec![Combination::new()], &self.grid)?;
        for rule in &self.rules {
            let mut changed = Vec::new();
            for combination in combinations {
                if !meets(data, &settings(&options(base, &combination)?), &rule.condition) {
                    changed.push(combination);
                } else if !rule.skip {
                    changed.extend(product(vec![combination], &rule.grid)?);
                }
            }
            combinations = changed;
        }
        Ok(combinations)
    }
}

/// Each combination with each combination of the axes.
fn product(mut combinations: Vec<Combination>, axes: &[Axis]) -> Result<Vec<Combination>> {
    for axis in axes {
        let count = combinations.len().saturating_mul(axis.values.len());
        if count > MOST_CELLS {
            return Err(Error::setting("experiment", format!("the grid has more than {MOST_CELLS} combinations")));
        }
        let with = |(combination, value): (&Combination, &Value)| {
            let mut combination = combination.clone();
            match combination.iter_mut().find(|(name, _)| *name == axis.name) {
                Some((_, there)) => there.clone_from(value),
                None => combination.push((axis.name.clone(), value.clone())),
            }
            combination
        };
        let pairs =
            combinations.iter().flat_map(|combination| axis.values.iter().map(move |value| (combination, value)));
        combinations = pairs.map(with).collect();
    }
    Ok(combinations)
}

fn options(base: &[Assignment], combination: &Combination) -> Result<RunOptions> {
    let mut assignments = base.to_vec();
    overlay(&mut assignments, combination.iter().map(|(name, value)| assignment(name, value)).collect());
    RunOptions::from_assignments(assignments)
}

/// An option that has one value in all cells says nothing about any.
fn keep_what_varies(cells: &mut [Cell]) {
    let find =
        |cell: &Cell, name: &str| cell.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.clone());
    let names: HashSet<String> = cells.iter().flat_map(|cell| cell.axes.iter().map(|(name, _)| name.clone())).collect();
    let one = |name: &String| cells.iter().all(|cell| find(cell, name) == find(&cells[0], name));
    let constant: HashSet<String> = names.into_iter().filter(one).collect();
    cells.iter_mut().for_each(|cell| cell.axes.retain(|(name, _)| !constant.contains(name)));
}

/// Sorts by the seeds' places in the grid, within each data set.
fn by_seed(cells: &mut [Cell]) {
    let mut order: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for cell in &*cells {
        let key = (cell.data.clone(), cell.seeds.clone());
        if !order.contains(&key) {
            order.push(key);
        }
    }
    let data: Vec<String> = order.iter().map(|(data, _)| data.clone()).collect();
    cells.sort_by_cached_key(|cell| {
        let place = |found: Option<usize>| found.unwrap_or(usize::MAX);
        let seed = order.iter().position(|(data, seeds)| *data == cell.data && *seeds == cell.seeds);
        (place(data.iter().position(|data| *data == cell.data)), place(seed))
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::cell::is_seed;

    fn file(text: &str) -> ExperimentFile {
        ExperimentFile::parse(text, Path::new("test.toml")).unwrap()
    }

    const HEAD: &str = "[options]\nmodel = 'm'\ntrain = 'train.csv'\ndev = 'dev.csv'\n";

    fn names(text: &str) -> Vec<String> {
        file(&format!("{HEAD}{text}")).cells().unwrap().iter().map(Cell::name).collect()
    }

    #[test]
    fn every_combination_seed_by_seed() {
        let names = names("[grid]\nmethod = ['ft', 'sda']\nlr = [2e-5, 5e-5]\nseed = [1, 2]\nepochs = 3");
        let expected = [
            "method=ft lr=2e-5 seed=1",
            "method=ft lr=5e-5 seed=1",
            "method=sda lr=2e-5 seed=1",
            "method=sda lr=5e-5 seed=1",
            "method=ft lr=2e-5 seed=2",
            "method=ft lr=5e-5 seed=2",
            "method=sda lr=2e-5 seed=2",
            "method=sda lr=5e-5 seed=2",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn rules_add_axes_and_leave_cells_out() {
        let names = names(
            "[data.a]\n[data.b]\nmax-length = 9\n[grid]\nmethod = ['ft', 'sda', 'se']\nlr = [2e-5, 5e-5]\n\
             [[when]]\nif = { method = 'sda' }\ngrid = { teacher = ['window:2', 'all'], lr = 1e-4 }\n\
             [[when]]\nif = { data = 'b', method = ['ft', 'se'] }\nskip = true\n\
             [[when]]\nif = { lr = 0.00005 }\nskip = true\n",
        );
        let expected = [
            "a method=ft lr=2e-5",
            "a method=sda lr=1e-4 teacher=window:2",
            "a method=sda lr=1e-4 teacher=all",
            "a method=se lr=2e-5",
            "b method=sda lr=1e-4 teacher=window:2",
            "b method=sda lr=1e-4 teacher=all",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_id_is_that_of_the_settings_however_they_are_written() {
        let ids = |text: &str| {
            let cells = file(&format!("{HEAD}{text}")).cells().unwrap();
            cells.into_iter().map(|cell| cell.id).collect::<Vec<_>>()
        };
        let id = ids("[grid]\nlr = 2e-5");
        assert_eq!(ids("threads = 2\n[grid]\nlr = [0.00002]\nmethod = 'sda'"), id);
        assert_eq!(ids("lr = 2e-5\ndevice = 'cpu'"), id);
        assert_ne!(ids("lr = 2.1e-5"), id);
        assert_eq!(ids("[grid]\nlr = [2e-5, 0.00002]"), id, "a combination is run once");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, parts) in [
            ("[grid]\nlr = [2e-5, 'much']", ["line 6", "'much'"]),
            ("[grid]\nout = 'x'", ["line 6", "--out"]),
            ("[grid]\nlr = []", ["line 6", "no values"]),
            ("nonsense = 1", ["line 5", "nonsense"]),
            ("[nonsense]", ["line 5", "none of title"]),
            ("[[when]]\nif = { lr = 1 }", ["line 5", "either grid"]),
            ("[[when]]\nskip = true", ["line 5", "needs if"]),
            ("[[when]]\nif = { lr = 1 }\nskip = true\ngrid = { lr = 2 }", ["line 5", "either grid"]),
            ("[choose]\nby = 'mcc'", ["line 5", "axes"]),
            ("[choose]\naxes = ['lr']\nby = 'luck'", ["line 7", "accuracy"]),
            ("[choose]\naxes = ['lr']\nseeds = 0", ["line 7", "at least 1"]),
            ("[compare]\nbaseline = 'ft'", ["line 6", "table"]),
        ] {
            let error =
                ExperimentFile::parse(&format!("{HEAD}{text}"), Path::new("test.toml")).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}\n{error}");
        }
        let error = file(&format!("{HEAD}[grid]\nmethod = 'sdv'\nteacher = ['all']")).cells().unwrap_err().to_string();
        assert!(error.contains("takes window:K only"), "{error}");
        let error = file(&format!("{HEAD}[grid]\nlr = [1]\n[[when]]\nif = {{ lr = 1 }}\nskip = true")).cells();
        assert!(error.unwrap_err().to_string().contains("no combination"));
        let many = (0..400).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let text = format!("{HEAD}[grid]\nseed = [{many}]\nlambda = [{many}]");
        assert!(file(&text).cells().unwrap_err().to_string().contains("more than 100000"));
    }

    #[test]
    fn seeds_are_told_apart_from_settings() {
        assert!(is_seed("seed") && is_seed("order-seed") && !is_seed("method"));
        let cells = file(&format!("{HEAD}[grid]\norder-seed = [1, 2]")).cells().unwrap();
        assert_eq!((cells[0].arm(&[]), cells[1].seed()), ("method=sda".to_owned(), "order-seed=2".to_owned()));
    }
}
