//! One run of an experiment: what sets it apart, and the options it is run with.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::file::Condition;
use crate::{
    Error, Result,
    experiment::file::{DATA, assignment},
    training::{RunOptions, parse},
};

/// Options that say who computes, or what is kept of a run: not what its result is.
pub(super) const NO_SETTINGS: [&str; 7] =
    ["out", "threads", "device", "token-cache", "log-every", "save-every", "keep-checkpoints"];

/// A run of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// A hash of those of its settings that are not the defaults, so that options which the program gets later leave it
    /// as it is.
    pub id: String,
    /// The name of its data set.
    pub data: String,
    /// What sets its arm apart from others, in the order of the grid.
    pub axes: Vec<(String, String)>,
    /// What sets it apart from others of its arm.
    pub seeds: Vec<(String, String)>,
    /// Without a directory.
    pub options: RunOptions,
    /// Every setting that its result depends on, with the defaults filled in.
    pub settings: Map<String, Value>,
}

impl Cell {
    /// `axes` are all options of the grid with their texts.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that contradict each other, with the combination.
    pub(super) fn new(data: &str, axes: Vec<(String, String)>, options: RunOptions) -> Result<Self> {
        let (settings, defaults) = (settings(&options), settings(&RunOptions::default()));
        let said: Map<String, Value> =
            settings.clone().into_iter().filter(|(name, value)| defaults.get(name) != Some(value)).collect();
        let id = format!("{:016x}", xxh3_64(Value::Object(said).to_string().as_bytes()));
        let (seeds, axes) = axes.into_iter().partition(|(name, _)| is_seed(name));
        let cell = Self { id, data: data.to_owned(), axes, seeds, options, settings };
        let checked = RunOptions { out: Some(cell.id.clone().into()), ..cell.options.clone() };
        checked.check().map_err(|error| Error::setting("experiment", format!("{}: {error}", cell.name())))?;
        Ok(cell)
    }

    /// The arm, and its seeds.
    pub fn name(&self) -> String {
        let parts = (!self.data.is_empty()).then(|| self.data.clone());
        let pairs = self.axes.iter().chain(&self.seeds).map(|(name, value)| format!("{name}={value}"));
        parts.into_iter().chain(pairs).collect::<Vec<_>>().join(" ")
    }

    /// What sets its arm apart, but for the options `without`; where no option does, its method.
    pub fn arm(&self, without: &[String]) -> String {
        let pairs = self.axes.iter().filter(|(name, _)| !without.contains(name));
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        if self.axes.is_empty() { format!("method={}", self.options.method) } else { pairs.join(" ") }
    }

    /// The seeds as one text.
    pub fn seed(&self) -> String {
        self.seeds.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    /// Whether its options are what a condition asks for.
    pub fn meets(&self, condition: &Condition) -> bool {
        meets(&self.data, &self.settings, condition)
    }

    /// Passes over the data, or steps: what its time grows with.
    pub fn length(&self) -> u64 {
        self.options.total_steps(1)
    }
}

/// Whether an option decides chance alone.
pub(super) fn is_seed(name: &str) -> bool {
    name == "seed" || name.ends_with("-seed")
}

/// All that a result depends on.
pub(super) fn settings(options: &RunOptions) -> Map<String, Value> {
    let settings = serde_json::to_value(options.clone().resolved()).unwrap_or_default();
    let Value::Object(mut settings) = settings else { return Map::new() };
    settings.retain(|name, value| !NO_SETTINGS.contains(&name.as_str()) && !value.is_null());
    settings
}

/// A value is met as what it means, however it is written.
pub(super) fn meets(data: &str, settings: &Map<String, Value>, condition: &Condition) -> bool {
    condition.iter().all(|axis| {
        axis.values.iter().any(|value| match axis.name.as_str() {
            DATA => value.iter().any(|name| name == data),
            name => {
                let meant = parse([assignment(name, value)]).ok();
                let meant = meant.and_then(|options| serde_json::to_value(options).ok()?.get(name).cloned());
                meant.is_some() && settings.get(name) == meant.as_ref()
            }
        })
    })
}
