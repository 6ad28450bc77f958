//! Runs cells, one after another, until none is left for this process.
//!
//! What cells share is made once: a model's configuration and tokenizer, the tokenized examples of a data set. A cell
//! leaves no model and, unless it takes long, no state, so that beside its steps and its scores it costs little more
//! than reading the weights.

use std::{
    collections::HashMap,
    mem,
    path::PathBuf,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{Cell, Choice, Choose, Claim, Ending, Predictions, Row, Share, Store, memory};
use crate::{
    Error, Result,
    device::{Backend, DeviceChoice},
    reports::{RunHistory, Split},
    threads::set_threads,
    training::{BaseModel, Leaves, Observation, RunData, RunOptions, Start, Training, Watch},
};

/// Options that decide which model and which examples are opened.
const OPENED: [&str; 17] = [
    "model",
    "max-length",
    "truncate",
    "train",
    "dev",
    "test",
    "preset",
    "data-dir",
    "text",
    "text-pair",
    "label",
    "format",
    "no-header",
    "delimiter",
    "ignore-label",
    "label-map",
    "bad-rows",
];
/// How often a process that waits for others looks again.
const PATIENCE: Duration = Duration::from_millis(500);

/// A process's work on an experiment.
pub struct Worker<'a> {
    /// The experiment's directory.
    pub store: &'a Store,
    /// All cells of the grid.
    pub cells: &'a [Cell],
    /// What dev settles.
    pub choose: Option<&'a Choose>,
    /// The cells that are this process's alone; none: it takes what nobody else has.
    pub share: Option<Share>,
    /// In place of what the cells say.
    pub threads: Option<usize>,
    /// In place of the cells' own.
    pub device: Option<DeviceChoice>,
    /// Whether each run's model stays.
    pub keeps_models: bool,
    /// A cell that takes longer saves its state, this often.
    pub save_after: Duration,
    opened: Vec<Opened>,
    /// Rows that were read; they never change.
    rows: HashMap<String, Row>,
}

/// A model and examples, open for every cell that is run over them.
struct Opened {
    key: Value,
    base: BaseModel,
    data: RunData,
    fingerprint: String,
}

/// What happens.
pub enum News<'a, 'b> {
    /// A cell begins, or goes on.
    Begun(&'a Cell),
    /// In the cell that began last.
    Run(Observation<'b>),
    /// A cell is done.
    Done(&'a Cell, &'a Row),
    /// What is known now, before the next cell begins.
    Known(&'a Choice, &'a HashMap<String, Row>),
    /// Nothing is left but what others work on.
    Waiting,
}

/// What a run tells that is not in its files.
#[derive(Default)]
struct Told {
    device: String,
    classes: usize,
    steps: u64,
    seconds: f64,
    tokens: u64,
    predictions: Vec<Predictions>,
}

impl<'a> Worker<'a> {
    /// On this machine, with what the cells say themselves.
    pub fn new(store: &'a Store, cells: &'a [Cell], choose: Option<&'a Choose>) -> Self {
        Self {
            store,
            cells,
            choose,
            share: None,
            threads: None,
            device: None,
            keeps_models: false,
            save_after: Duration::from_secs(60),
            opened: Vec::new(),
            rows: HashMap::new(),
        }
    }

    /// Works until nothing is left, or until `stop` is set. Where the last cells of all are other processes', it waits
    /// for them, as what they find may ask for more; a share does not.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when it was to stop; [`Error::Run`] when a data set is not what it was; and of every
    /// stage of a run, but for one that diverges: that is a result.
    pub fn work(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(News<'_, '_>)) -> Result<Choice> {
        set_threads(self.threads)?;
        loop {
            let choice = self.choice()?;
            tell(News::Known(&choice, &self.rows));
            match self.next(&choice)? {
                Next::Cell(cell, claim) => self.run(cell, claim, stop, tell)?,
                Next::Nothing => return Ok(choice),
                Next::Later => {
                    tell(News::Waiting);
                    thread::sleep(PATIENCE);
                }
            }
            Watch::new(stop, &mut |_| ()).require_going_on()?;
        }
    }

    /// What dev has settled so far.
    ///
    /// # Errors
    /// Where a row is damaged, and as [`Choice::new`].
    pub fn choice(&mut self) -> Result<Choice> {
        for cell in self.cells {
            if !self.rows.contains_key(&cell.id)
                && let Some(row) = self.store.row(cell)?
            {
                self.rows.insert(cell.id.clone(), row);
            }
        }
        Choice::new(self.cells, self.choose, |cell| Ok(self.rows.get(&cell.id).cloned()))
    }

    fn next(&self, choice: &Choice) -> Result<Next<'a>> {
        let mut others = choice.open() > 0;
        for (place, cell) in self.cells.iter().enumerate().filter(|(_, cell)| choice.wants(cell)) {
            if self.rows.contains_key(&cell.id) {
                self.store.tidy(cell, self.keeps_models)?;
            } else if self.share.is_none_or(|share| share.has(place)) {
                match self.store.claim(cell)? {
                    Some(claim) => return Ok(Next::Cell(cell, claim)),
                    None => others = true,
                }
            }
        }
        Ok(if others && self.share.is_none() { Next::Later } else { Next::Nothing })
    }

    fn run(
        &mut self,
        cell: &'a Cell,
        claim: Claim,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(News<'_, '_>),
    ) -> Result<()> {
        let begun = Instant::now();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        tell(News::Begun(cell));
        memory::reset_peak();
        let mut told = Told::default();
        let directory = self.store.run(cell);
        let (training, backend) = self.training(cell, directory.clone())?;
        let resumed = training.start == Start::Resume;
        let keeps_models = self.keeps_models;
        let (outcome, fingerprint) = {
            let mut observe = |observation: Observation<'_>| {
                told.take(&observation);
                tell(News::Run(observation));
            };
            let mut watch = Watch::new(stop, &mut observe);
            let opened = self.open(cell, &mut watch)?;
            let outcome = training.run_over(&opened.base, &opened.data, &mut watch);
            (outcome, opened.fingerprint.clone())
        };
        let (ending, steps) = match outcome {
            Ok(outcome) => (Ending::Finished { exported_step: outcome.exported_step }, outcome.steps),
            Err(error @ Error::NotFinite { .. }) => (Ending::Failed { message: error.to_string() }, told.steps),
            // The whole experiment goes on, not this run alone.
            Err(Error::Interrupted { step, .. }) => {
                return Err(Error::Interrupted { step, resume: "the same command".to_owned() });
            }
            Err(error) => return Err(error),
        };
        let history = RunHistory::open(&directory)?;
        let (test, dev) = history.evals.into_iter().partition(|event| event.split == Split::Test);
        let row = Row {
            cell: cell.id.clone(),
            data: cell.data.clone(),
            settings: cell.settings.clone(),
            ending,
            examples: fingerprint,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: mem::take(&mut told.device),
            precision: precision(backend).to_owned(),
            threads: rayon::current_num_threads(),
            started,
            resumed,
            seconds: begun.elapsed().as_secs_f64(),
            step_seconds: told.seconds,
            tokens: told.tokens,
            peak_memory_bytes: memory::peak_bytes(),
            steps,
            dev,
            test,
        };
        claim.finish(&row, &told.predictions, keeps_models)?;
        tell(News::Done(cell, &row));
        self.rows.insert(cell.id.clone(), row);
        Ok(())
    }

    /// The cell's run: the one that is there, if it was begun on the same device.
    fn training(&self, cell: &Cell, directory: PathBuf) -> Result<(Training, Backend)> {
        let mut options = RunOptions { out: Some(directory.clone()), ..cell.options.clone() };
        options.device = self.device.unwrap_or(options.device);
        options.threads = self.threads.or(options.threads);
        let backend = options.device.resolve(options.precision)?;
        options.settle_on(backend);
        let leaves = match self.keeps_models {
            true => Leaves::Model,
            false => Leaves::Scores { save_after: self.save_after },
        };
        if let Ok(there) = Training::resume(&directory, Vec::new())
            && (there.options.device, there.options.precision) == (options.device, options.precision)
        {
            return Ok((Training { leaves, ..there }, backend));
        }
        Ok((Training { leaves, start: Start::Overwrite, ..Training::new(options) }, backend))
    }

    /// Opens what the cell is run over, if no cell before it was run over the same.
    fn open(&mut self, cell: &Cell, watch: &mut Watch<'_>) -> Result<&Opened> {
        let key: Value = OPENED.iter().map(|name| cell.settings.get(*name).cloned().unwrap_or_default()).collect();
        let place = match self.opened.iter().position(|opened| opened.key == key) {
            Some(place) => place,
            None => {
                let model = cell.options.model.as_deref().unwrap_or_default();
                let base = BaseModel::open(model, watch)?;
                let data = RunData::read(&cell.options, &base, watch)?;
                let fingerprint = fingerprint(&data);
                self.opened.push(Opened { key, base, data, fingerprint });
                self.opened.len() - 1
            }
        };
        let opened = &self.opened[place];
        let differs = |row: &&Row| {
            let same = OPENED.iter().all(|name| row.settings.get(*name) == cell.settings.get(*name));
            same && row.examples != opened.fingerprint
        };
        match self.rows.values().find(differs) {
            None => Ok(opened),
            Some(row) => {
                let message = format!(
                    "the examples of {} are not those that cell {} was run over; put them back, or give another --out",
                    cell.name(),
                    row.cell
                );
                Err(Error::run(self.store.run(cell), message))
            }
        }
    }
}

enum Next<'a> {
    Cell(&'a Cell, Claim),
    /// Others still work.
    Later,
    Nothing,
}

impl Told {
    fn take(&mut self, observation: &Observation<'_>) {
        match observation {
            Observation::Ready { device, labels, .. } => {
                self.device.clone_from(device);
                self.classes = *labels;
            }
            Observation::Step { event, tokens, elapsed } => {
                self.steps = event.step;
                self.tokens += tokens;
                self.seconds += elapsed.as_secs_f64();
            }
            Observation::Answers { set, weights, examples, logits } => {
                self.predictions.push(Predictions::new(set, *weights, examples, logits, self.classes));
            }
            _ => {}
        }
    }
}

/// Of all examples and their labels.
fn fingerprint(data: &RunData) -> String {
    let sets = std::iter::once(&data.train).chain(&data.dev).chain(data.tests.iter().map(|(_, set)| set));
    sets.map(|set| format!("{:016x}", set.fingerprint())).collect::<Vec<_>>().join("-")
}

fn precision(backend: Backend) -> &'static str {
    match backend {
        Backend::Cpu | Backend::CudaF32 { .. } => "f32",
        Backend::CudaTf32 { .. } => "tf32",
        Backend::CudaBf16 { .. } => "bf16",
    }
}
