//! What an experiment's TOML file says, and that it makes sense.
//!
//! ```toml
//! title = "How long should the teacher remember?"
//!
//! [options]                      # of every run, as in run.toml
//! model = "target/demo-model"
//! epochs = 3
//!
//! [data.snli-1500]               # a data set; the grid is run over each
//! train = "data/snli/train-1500.csv"
//!
//! [grid]                         # every combination; a value that is itself a list gives an option several values
//! method = ["ft", "sda"]
//! lr = [2e-5, 5e-5]
//! seed = [1, 2, 3, 4, 5]
//!
//! [[when]]                       # further axes, or other values, for some of the combinations
//! if = { method = "sda" }
//! grid = { teacher = ["window:5", "ema:0.98"] }
//!
//! [[when]]                       # combinations that are left out
//! if = { method = "sda", lr = 2e-5 }
//! skip = true
//!
//! [choose]                       # for each setting of the other axes, the best on dev
//! axes = ["lr"]
//! by = "accuracy"
//! seeds = 2                      # chosen on the first two; the other seeds are run for the chosen value only
//!
//! [compare]                      # each arm with the one that has these settings
//! baseline = { method = "ft" }
//! ```

use std::{fs, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Error, Result,
    metrics::Metric,
    training::{Assignment, RunOptions, parse, texts},
};

/// The name under which conditions ask for the data set.
pub(super) const DATA: &str = "data";
/// Options that are not the file's to give: where a run is belongs to the experiment.
const NOT_OPTIONS: [&str; 1] = ["out"];

/// The texts that one option is given: mostly a single one.
pub type Value = Vec<String>;

/// An option and the values it takes one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Of the option.
    pub name: String,
    /// In the order of the file.
    pub values: Vec<Value>,
}

/// Options that each have to have one of the values.
pub type Condition = Vec<Axis>;

/// What is different for some of the combinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which combinations are meant.
    pub condition: Condition,
    /// Axes that are added, or take the place of those of the same name.
    pub grid: Vec<Axis>,
    /// They are left out.
    pub skip: bool,
}

/// What is settled on dev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choose {
    /// The options that are chosen.
    pub axes: Vec<String>,
    /// The score on dev that chooses.
    pub by: Metric,
    /// How many of the seeds, the first ones, choose; none: all.
    pub seeds: Option<usize>,
}

/// What is compared with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The arm, of each data set, that the others are compared with: the one that meets this.
    pub baseline: Condition,
    /// The scores that are compared.
    pub metrics: Vec<Metric>,
}

/// The content of an experiment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentFile {
    /// One line about it; may be empty.
    pub title: String,
    /// Those of every run.
    pub options: Vec<Assignment>,
    /// Data sets by name, in the order of the file; without any there is one without a name.
    pub data: Vec<(String, Vec<Assignment>)>,
    /// The axes of all combinations.
    pub grid: Vec<Axis>,
    /// Changes to some combinations, in their order.
    pub rules: Vec<Rule>,
    /// What dev settles, if anything.
    pub choose: Option<Choose>,
    /// What is compared.
    pub compare: Compare,
}

impl ExperimentFile {
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, and as [`ExperimentFile::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    /// `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Setting`] with the line of what is no part of an experiment, or no option, or no value of one.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let table = DeTable::parse(text).map_err(|error| {
            let message = format!("is no valid experiment: {}", error.to_string().trim_end());
            Error::setting(path.display().to_string(), message)
        })?;
        read(table.get_ref()).map_err(|Fault { at, message }| {
            let line = at.map_or_else(String::new, |at| format!(", line {}", 1 + text[..at].matches('\n').count()));
            Error::setting(format!("{}{line}", path.display()), message)
        })
    }
}

/// What is wrong, and at which byte of the file.
struct Fault {
    at: Option<usize>,
    message: String,
}

type Read<T> = std::result::Result<T, Fault>;

/// A key or a value, with where it stands.
type At<'a, T> = &'a Spanned<T>;

fn fault<T, U>(at: At<'_, T>, message: impl Into<String>) -> Read<U> {
    Err(Fault { at: Some(at.span().start), message: message.into() })
}

fn read(root: &DeTable<'_>) -> Read<ExperimentFile> {
    let mut file = ExperimentFile {
        title: String::new(),
        options: Vec::new(),
        data: Vec::new(),
        grid: Vec::new(),
        rules: Vec::new(),
        choose: None,
        compare: Compare { baseline: Vec::new(), metrics: vec![Metric::Accuracy, Metric::Loss, Metric::Ece] },
    };
    for (key, value) in root {
        match key.get_ref().as_ref() {
            "title" => file.title = text(value)?,
            "options" => file.options = options(table(value)?)?,
            "data" => {
                for (name, of) in table(value)? {
                    file.data.push((name.get_ref().to_string(), options(table(of)?)?));
                }
            }
            "grid" => file.grid = axes(table(value)?)?,
            "when" => file.rules = list(value)?.iter().map(rule).collect::<Read<_>>()?,
            "choose" => file.choose = Some(choose(value)?),
            "compare" => compare(table(value)?, &mut file.compare)?,
            other => {
                let message = format!("'{other}' is none of title, options, data, grid, when, choose, compare");
                return fault(key, message);
            }
        }
    }
    Ok(file)
}

/// A condition on `data` means the data set.
fn rule(value: At<'_, DeValue<'_>>) -> Read<Rule> {
    let mut rule = Rule { condition: Vec::new(), grid: Vec::new(), skip: false };
    for (key, part) in table(value)? {
        match key.get_ref().as_ref() {
            "if" => rule.condition = condition(table(part)?)?,
            "grid" => rule.grid = axes(table(part)?)?,
            "skip" => rule.skip = part.get_ref().as_bool() == Some(true),
            other => return fault(key, format!("'{other}' is none of if, grid, skip")),
        }
    }
    match (rule.condition.is_empty(), rule.skip != rule.grid.is_empty()) {
        (true, _) => fault(value, "[[when]] needs if = { OPTION = VALUE, … }"),
        (_, true) => fault(value, "[[when]] needs either grid = { … } or skip = true"),
        (false, false) => Ok(rule),
    }
}

fn choose(value: At<'_, DeValue<'_>>) -> Read<Choose> {
    let mut choose = Choose { axes: Vec::new(), by: Metric::Accuracy, seeds: None };
    for (key, part) in table(value)? {
        match key.get_ref().as_ref() {
            "axes" => choose.axes = list(part)?.iter().map(text).collect::<Read<_>>()?,
            "by" => choose.by = metric(part)?,
            "seeds" => match texts(part.get_ref()).and_then(|texts| texts.first()?.to_str()?.parse().ok()) {
                Some(seeds) if seeds > 0 => choose.seeds = Some(seeds),
                _ => return fault(part, "seeds is how many of the seeds choose, at least 1"),
            },
            other => return fault(key, format!("'{other}' is none of axes, by, seeds")),
        }
    }
    if choose.axes.is_empty() { fault(value, "[choose] needs axes = [OPTION, …]") } else { Ok(choose) }
}

fn compare(parts: &DeTable<'_>, compare: &mut Compare) -> Read<()> {
    for (key, part) in parts {
        match key.get_ref().as_ref() {
            "baseline" => compare.baseline = condition(table(part)?)?,
            "metrics" => compare.metrics = list(part)?.iter().map(metric).collect::<Read<_>>()?,
            other => return fault(key, format!("'{other}' is none of baseline, metrics")),
        }
    }
    Ok(())
}

fn metric(value: At<'_, DeValue<'_>>) -> Read<Metric> {
    text(value)?.parse().or_else(|reason| fault(value, format!("{reason}")))
}

fn text(value: At<'_, DeValue<'_>>) -> Read<String> {
    value.get_ref().as_str().map(str::to_owned).map_or_else(|| fault(value, "is to be a text"), Ok)
}

fn table<'a, 'i>(value: At<'a, DeValue<'i>>) -> Read<&'a DeTable<'i>> {
    value.get_ref().as_table().map_or_else(|| fault(value, "is to be a table"), Ok)
}

fn list<'a, 'i>(value: At<'a, DeValue<'i>>) -> Read<&'a [Spanned<DeValue<'i>>]> {
    value.get_ref().as_array().map_or_else(|| fault(value, "is to be a list"), |list| Ok(&**list))
}

/// Options with one setting each, as in `run.toml`.
fn options(parts: &DeTable<'_>) -> Read<Vec<Assignment>> {
    let mut assignments = Vec::new();
    for (key, part) in parts {
        let name = key.get_ref().as_ref();
        let values = value(name, key, part.get_ref())?;
        assignments.push(assignment(name, &values));
    }
    Ok(assignments)
}

/// A list is one value after another; anything else a single one.
fn axes(parts: &DeTable<'_>) -> Read<Vec<Axis>> {
    parts.iter().map(|(key, part)| axis(key.get_ref(), key, part)).collect()
}

fn axis<T>(name: &str, key: At<'_, T>, part: At<'_, DeValue<'_>>) -> Read<Axis> {
    let values = match part.get_ref().as_array() {
        Some(items) if items.is_empty() => return fault(key, format!("{name} has no values")),
        Some(items) => items.iter().map(|item| value(name, item, item.get_ref())).collect::<Read<_>>()?,
        None => vec![value(name, key, part.get_ref())?],
    };
    Ok(Axis { name: name.to_owned(), values })
}

fn condition(parts: &DeTable<'_>) -> Read<Condition> {
    let one = |(key, part): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| match key.get_ref().as_ref() {
        DATA => {
            let names = match part.get_ref().as_array() {
                Some(items) => items.iter().map(|item| text(item).map(|name| vec![name])).collect::<Read<_>>()?,
                None => vec![vec![text(part)?]],
            };
            Ok(Axis { name: DATA.to_owned(), values: names })
        }
        name => axis(name, key, part),
    };
    parts.iter().map(one).collect()
}

/// The texts of a value that the option's own parser takes.
fn value<T>(name: &str, at: At<'_, T>, part: &DeValue<'_>) -> Read<Value> {
    if NOT_OPTIONS.contains(&name) {
        return fault(at, format!("{name} is not for the file to say: give --{name} on the command line"));
    }
    let Some(texts) = texts(part) else { return fault(at, format!("{name} is neither a value nor a list of values")) };
    let texts: Vec<String> = texts.iter().map(|text| text.to_string_lossy().into_owned()).collect();
    match parse([assignment(name, &texts)]) {
        Ok(RunOptions { .. }) => Ok(texts),
        Err(reason) => fault(at, reason),
    }
}

pub(super) fn assignment(name: &str, value: &[String]) -> Assignment {
    Assignment { name: name.to_owned(), values: value.iter().map(Into::into).collect() }
}
