//! A run from its options to its result.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{BaseModel, Batches, Outcome, Run, RunData, RunOptions, Start, Watch, Workbench, options::given};
use crate::{
    Error, Result,
    checkpoint::RunLock,
    device::{Capacity, Device, OnDevice, Shape},
    threads::set_threads,
};

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
    pub options: RunOptions,
    pub start: Start,
    /// Save and stop after this many updates in all.
    pub stop_after: Option<u64>,
    /// Where a timeline for Chrome or Perfetto is written.
    pub trace: Option<PathBuf>,
}

impl Training {
    /// A run in a directory of its own.
    pub fn new(options: RunOptions) -> Self {
        Self { options, start: Start::New, stop_after: None, trace: None }
    }

    /// The run in `directory`, to be continued.
    ///
    /// # Errors
    /// [`Error::Run`] when there is none, and as [`RunOptions::read`].
    pub fn resume(directory: &Path) -> Result<Self> {
        let path = directory.join("run.toml");
        if !path.is_file() {
            return Err(Error::run(directory, "holds no run.toml, so there is no run to continue here"));
        }
        let options = RunOptions { out: Some(directory.to_owned()), ..RunOptions::read(&path)? };
        Ok(Self { start: Start::Resume, ..Self::new(options) })
    }

    /// Trains to the end. The first run of a process decides how many threads there are.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `watch` asked to stop, after saving the state; and of every stage.
    pub fn run(mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        self.options.check()?;
        set_threads(self.options.threads)?;
        let backend = self.options.device.resolve(self.options.precision)?;
        self.options.settle_on(backend);
        let lock = self.lock()?;
        backend.run(OnBackend { training: &self, lock: &lock, watch })
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
        [train, dev, test].into_iter().flatten().try_for_each(|path| match exists(path)? {
            found if found.is_file() => Ok(()),
            found if found.is_dir() => Err(Error::table(path, "is a directory; give the file that holds the examples")),
            _ => Err(Error::table(path, "is no regular file, and examples are read more than once; copy it to a file")),
        })
    }
}

/// The stages from the model to the result, on any device.
struct OnBackend<'a, 'w> {
    training: &'a Training,
    lock: &'a RunLock,
    watch: &'a mut Watch<'w>,
}

impl OnDevice for OnBackend<'_, '_> {
    type Output = Result<Outcome>;

    fn run<D: Device>(self, make: impl FnOnce(Shape, Capacity) -> Result<D>) -> Result<Outcome> {
        let Self { training, lock, watch } = self;
        let options = &training.options;
        let base = BaseModel::open(given(&options.model, "model")?, watch)?;
        refuse_to_replace(&base.directory, lock.directory())?;
        let data = RunData::read(options, &base, watch)?;
        let batches = Batches::plan(options, &data)?;
        let bench = Workbench::allocate(options, &base, &data, &batches, make, watch)?;
        Run::restore(training, lock, &data, batches, bench, watch)?.run(watch)
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
