//! A run from its options to its result.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Assignment, BaseModel, Batches, Found, Leaves, Observation, Outcome, Run, RunData, RunOptions, Start, Watch,
    Workbench, options::given, options::read_assignments,
};
use crate::{
    Error, Result,
    checkpoint::RunLock,
    data::expand,
    device::{Capacity, Device, OnDevice, Shape},
    threads::set_threads,
};

/// Options that say where something is, or who computes, and nothing of the result.
const MOVABLE: [&str; 6] = ["train", "dev", "test", "data-dir", "model", "threads"];
/// Options that say how long a run is.
const LENGTHS: [&str; 2] = ["epochs", "max-steps"];

/// A run that is to be: what it depends on, and what changes nothing in its result.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
///
/// use bertsd_cuda::training::{RunOptions, Training, Watch};
///
/// let training = Training::new(RunOptions::for_files("bert-base-uncased", "train.csv", "runs/first"));
/// let outcome = training.run(&mut Watch::new(&AtomicBool::new(false), &mut |_| ()))?;
/// println!("the model is in {}", outcome.model.display());
/// # Ok::<(), bertsd_cuda::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Training {
    /// What is asked for.
    pub options: RunOptions,
    /// From where.
    pub start: Start,
    /// Save and stop after this many updates in all.
    pub stop_after: Option<u64>,
    /// Where a timeline for Chrome or Perfetto is written.
    pub trace: Option<PathBuf>,
    /// Options that were given new values for a run that goes on.
    pub moved: Vec<String>,
    /// What stays of it beside settings and scores.
    pub leaves: Leaves,
}

impl Training {
    /// A run in a directory of its own.
    pub fn new(options: RunOptions) -> Self {
        Self { options, start: Start::New, stop_after: None, trace: None, moved: Vec::new(), leaves: Leaves::Model }
    }

    /// The run in `directory`, to be continued, with files that `moved` says to be in other places now. What is in them
    /// is compared with what the run has seen. Another number of threads may be given too; it changes the last bits of
    /// sums.
    ///
    /// # Errors
    /// [`Error::Run`] when there is no run; [`Error::Setting`] for an option of `moved` that a run cannot change, with
    /// what to do instead; and as [`RunOptions::read`].
    pub fn resume(directory: &Path, moved: Vec<Assignment>) -> Result<Self> {
        let path = directory.join("run.toml");
        if !path.is_file() {
            return Err(Error::run(directory, "holds no run.toml, so there is no run to continue here"));
        }
        let known: Vec<String> = read_assignments(&path)?.into_iter().map(|assignment| assignment.name).collect();
        for Assignment { name, .. } in &moved {
            let run = directory.display();
            if LENGTHS.contains(&name.as_str()) {
                let message = format!(
                    "the length of a run is part of its learning rates; train on from its result with: bertsd-cuda \
                     train --config {run}/run.toml --model {run}/model --{name} N --out DIR"
                );
                return Err(Error::setting(name, message));
            }
            if !MOVABLE.contains(&name.as_str()) {
                let message = format!(
                    "a run goes on with the settings it has; other options than --{} cannot be given with --resume",
                    MOVABLE.join(", --")
                );
                return Err(Error::setting(name, message));
            }
            if !known.contains(name) {
                return Err(Error::setting(name, format!("the run in {run} has none, and cannot get one now")));
            }
        }
        let names = moved.iter().map(|assignment| assignment.name.clone()).collect();
        let options = RunOptions { out: Some(directory.to_owned()), ..RunOptions::read_under(&path, moved)? };
        Ok(Self { start: Start::Resume, moved: names, ..Self::new(options) })
    }

    /// Trains to the end. The first run of a process decides how many threads there are.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `watch` asked to stop, after saving the state; and of every stage.
    pub fn run(self, watch: &mut Watch<'_>) -> Result<Outcome> {
        self.begin(None, watch)
    }

    /// The same over a model and examples that other runs share: they are opened with the same model, files and
    /// lengths.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn run_over(self, base: &BaseModel, data: &RunData, watch: &mut Watch<'_>) -> Result<Outcome> {
        self.begin(Some((base, data)), watch)
    }

    fn begin(mut self, shared: Option<(&BaseModel, &RunData)>, watch: &mut Watch<'_>) -> Result<Outcome> {
        self.options.check()?;
        set_threads(self.options.threads)?;
        let backend = self.options.device.resolve(self.options.precision)?;
        self.options.settle_on(backend);
        let lock = self.lock()?;
        backend.run(OnBackend { training: &self, lock: &lock, shared, watch })
    }

    /// The run's directory. Where it has to be made, the files to read are looked for before.
    fn lock(&self) -> Result<RunLock> {
        let directory = self.options.directory()?;
        if self.start == Start::Resume {
            return RunLock::for_resume(directory);
        }
        self.check_inputs()?;
        match self.start {
            Start::Overwrite => RunLock::for_overwriting(directory),
            Start::New | Start::Resume => RunLock::for_new_run(directory, false),
        }
    }

    fn check_inputs(&self) -> Result<()> {
        let exists = |path: &Path| fs::metadata(path).map_err(Error::io("open", path));
        if let Some(directory) = &self.options.data_dir {
            exists(directory)?;
        }
        let RunOptions { train, dev, test, .. } = &self.options;
        for path in [train, dev, test].into_iter().flatten() {
            for file in expand(path)? {
                if !exists(&file)?.is_file() {
                    let message = "is no regular file, and examples are read more than once; copy it to a file";
                    return Err(Error::table(file, message));
                }
            }
        }
        Ok(())
    }
}

/// The stages from the model to the result, on any device.
struct OnBackend<'a, 'w> {
    training: &'a Training,
    lock: &'a RunLock,
    shared: Option<(&'a BaseModel, &'a RunData)>,
    watch: &'a mut Watch<'w>,
}

impl OnDevice for OnBackend<'_, '_> {
    type Output = Result<Outcome>;

    fn run<D: Device>(self, make: impl FnOnce(Shape, Capacity) -> Result<D>) -> Result<Outcome> {
        let Self { training, lock, shared, watch } = self;
        let options = &training.options;
        let resumes = training.start == Start::Resume;
        let found = resumes.then(|| Found::look(options, lock, watch)).transpose()?;
        let opened;
        let (base, data) = match shared {
            Some(shared) => shared,
            None => {
                let base = base_model(training, lock, found.as_ref(), watch)?;
                let data = RunData::read(options, &base, watch)?;
                opened = (base, data);
                (&opened.0, &opened.1)
            }
        };
        let batches = Batches::plan(options, data)?;
        let summary = batches.train.label_summary();
        watch.tell(Observation::Labels(&summary));
        summary.warnings.iter().for_each(|warning| watch.note(warning));
        watch.require_going_on()?;
        let bench = Workbench::allocate(options, base, data, &batches, make, watch)?;
        watch.require_going_on()?;
        Run::restore(training, lock, (base, data), batches, bench, found, watch)?.run(watch)
    }
}

/// The model to start from. A run with weights of its own needs no more than it kept, and where a model is named all
/// the same, it has to be the one.
fn base_model(training: &Training, lock: &RunLock, found: Option<&Found>, watch: &mut Watch<'_>) -> Result<BaseModel> {
    let name = given(&training.options.model, "model")?;
    let kept = match found.is_some_and(Found::has_weights) {
        true => BaseModel::kept_by(lock.directory())?,
        false => None,
    };
    match kept {
        Some(kept) => {
            if training.moved.iter().any(|name| name == "model") {
                BaseModel::open(name, watch)?.require_same(&kept)?;
            }
            Ok(kept)
        }
        None => {
            let base = BaseModel::open(name, watch)?;
            refuse_to_replace(&base.directory, lock.directory())?;
            Ok(base)
        }
    }
}

/// A run leaves its model where another one would be lost: the one that it starts from.
fn refuse_to_replace(source: &Path, directory: &Path) -> Result<()> {
    let target = directory.join("model");
    let same = matches!((fs::canonicalize(source), fs::canonicalize(&target)), (Ok(a), Ok(b)) if a == b);
    if !same {
        return Ok(());
    }
    Err(Error::run(target, "is the model to start from, which the finished one would replace; give another --out"))
}
