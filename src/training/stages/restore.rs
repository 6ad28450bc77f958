//! Restore: the run's directory with its logs and checkpoints, and the state to go on from.

use std::time::Instant;

use super::{BaseModel, Batches, RunData, Workbench, tokenize::token_cache};
use crate::{
    Result,
    checkpoint::{CheckpointReader, CheckpointStore, RunLock, write_atomically},
    device::Device,
    model::BertConfig,
    reports::{EventLog, TensorBoardWriter, Timeline},
    training::{Leaves, Run, RunOptions, TokenCache, Training, Watch, state, state::Position},
};

/// Whether a run begins, replaces another or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is no run yet; one that is there is refused.
    New,
    /// A run that is there is replaced, once everything the new one needs is open.
    Overwrite,
    /// The run that is there goes on.
    Resume,
}

impl<D: Device> Run<D> {
    /// Opens the directory that `lock` holds. From here on `--resume` can go on with the run.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when the directory cannot be read or written; [`crate::Error::Run`] when the state in it is
    /// of another run.
    pub fn restore(
        training: &Training,
        lock: &RunLock,
        (base, data): (&BaseModel, &RunData),
        batches: Batches,
        bench: Workbench<D>,
        found: Option<Found>,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let Training { options, start, .. } = training;
        let directory = lock.directory().to_owned();
        let Workbench { model, mut learner } = bench;
        let fingerprint = batches.train.fingerprint();
        let resumes = *start == Start::Resume;
        if *start == Start::Overwrite {
            lock.clear()?;
        }
        let write_run_file = || write_run_file(options, &model.config, data, lock);
        if !resumes {
            // First of all: without it the directory is no run.
            write_run_file()?;
        }
        let (store, position) = match found {
            Some(Found { store, checkpoint: Some((step, mut reader)) }) => {
                watch.note(&format!("going on after step {step}"));
                (store, state::restore(&mut reader, &mut learner, fingerprint, watch.stop())?)
            }
            Some(Found { store, checkpoint: None }) => {
                watch.note(&format!("{} has no usable checkpoint; starting over", directory.display()));
                (store, Position::default())
            }
            None => (open_store(options, lock)?, Position::default()),
        };
        if !training.moved.is_empty() {
            // Once the state has shown that these are the run's examples.
            write_run_file()?;
        }
        let leaves = training.leaves;
        if position.step == 0 && options.keep_checkpoints > 0 && leaves == Leaves::Model {
            base.keep_in(&directory)?;
        }
        let (metrics, board) = (directory.join("metrics.jsonl"), directory.join("tensorboard"));
        let (log, board) = if resumes {
            (EventLog::resume(metrics, position.step)?, TensorBoardWriter::resume(board, position.step)?)
        } else {
            (EventLog::create(metrics)?, TensorBoardWriter::create(board)?)
        };
        let timeline = training.trace.as_ref().map(|path| Timeline::create(path.clone())).transpose()?;
        if timeline.is_some() {
            learner.device.trace();
        }
        Ok(Self {
            settings: batches.loop_settings(options, training.stop_after, leaves),
            directory,
            model,
            learner,
            batches,
            fingerprint,
            store,
            log,
            board,
            timeline,
            position,
            best: None,
            saved: Instant::now(),
        })
    }
}

/// What a run that goes on finds in its directory.
pub struct Found {
    store: CheckpointStore,
    /// The newest that is intact, by its step.
    checkpoint: Option<(u64, CheckpointReader)>,
}

impl Found {
    /// Looks for the newest checkpoint that is intact, and puts damaged ones aside.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when the directory cannot be read or written.
    pub fn look(options: &RunOptions, lock: &RunLock, watch: &mut Watch<'_>) -> Result<Self> {
        let store = open_store(options, lock)?;
        let reading = store.clone();
        let latest = watch.wait_for(move |_| reading.latest_valid())?;
        for damaged in &latest.damaged {
            let aside = store.put_aside(damaged)?;
            watch.note(&format!("{} (moved to {})", damaged.reason, aside.display()));
        }
        Ok(Self { store, checkpoint: latest.checkpoint })
    }

    /// Whether the run has weights of its own.
    pub fn has_weights(&self) -> bool {
        self.checkpoint.is_some()
    }
}

fn open_store(options: &RunOptions, lock: &RunLock) -> Result<CheckpointStore> {
    CheckpointStore::open(lock.directory(), options.keep_checkpoints.max(1))
}

/// `run.toml`: every option, with what the model, the user's directories and this machine decide filled in.
fn write_run_file(options: &RunOptions, config: &BertConfig, data: &RunData, lock: &RunLock) -> Result<()> {
    let cache = token_cache(options).map_or(TokenCache::None, TokenCache::Directory);
    let mut options = RunOptions {
        max_length: Some(data.encode.max_length),
        token_cache: Some(cache),
        attention_dropout: Some(config.attention_drop_prob),
        // Matrix products are cut into as many parts as there are threads, which shows in the last bit.
        threads: Some(rayon::current_num_threads()),
        ..options.clone().resolved()
    }
    .with_absolute_paths();
    // --dropout sets both at once, so it can say what the model has only where they are the same.
    if config.hidden_drop_prob == config.classifier_drop_prob {
        options.dropout = Some(config.hidden_drop_prob);
    }
    let header = "# Every setting of this run. `bertsd-cuda train --config FILE --out DIR` repeats it.\n";
    write_atomically(lock.directory().join("run.toml"), format!("{header}{}", options.to_toml()?).as_bytes())
}
