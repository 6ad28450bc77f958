//! Opens everything a run needs: model, tokenizer, data, memory, logs, and the state to go on from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bertsd_cuda::{
    Error, Result,
    checkpoint::{CheckpointStore, RunLock, write_atomically},
    data::{
        BertTokenizer, Conventions, EncodeSettings, Examples, Format, LabelMap, Labels, OrderSettings, Source, Splits,
        StepPlan, Table, TokenizeRequest, TokenizedSet,
    },
    device::{Capacity, Device, Shape},
    encoder::{Encoder, LastLayer},
    inference::{TrainedWith, locate},
    model::{BertConfig, ConfigFile, Model, Purpose},
    reports::{EventLog, TensorBoardWriter, Timeline},
    training::{
        EvaluationSet, Learner, LearningRates, LoopSettings, MemoryPlan, Run, StepSettings, state, state::Position,
    },
};

use super::{
    options::with_absolute_paths,
    settings::{ClassWeights, DataSource, Order, Settings, given},
    show,
};
use crate::cli::train::TrainOptions;

/// Evaluation batches hold at least this many tokens, however small the training batches are.
const EVALUATION_TOKENS: usize = 4096;
/// Steps that length bucketing sorts together.
const BUCKET_STEPS: usize = 50;

/// Before a run directory is made: are the files there?
pub fn check_inputs(settings: &Settings) -> Result<()> {
    let exists = |path: &Path| fs::metadata(path).map_err(Error::io("open", path));
    let is_file = |path: &Path| match exists(path)? {
        found if found.is_file() => Ok(()),
        found if found.is_dir() => Err(Error::table(path, "is a directory; give the file that holds the examples")),
        _ => Err(Error::table(path, "is no regular file, and examples are read more than once; copy it to a file")),
    };
    match &settings.data {
        DataSource::Preset(_, directory) => exists(directory).map(drop),
        DataSource::Files { train, dev, test, .. } => {
            [Some(train), dev.as_ref(), test.as_ref()].into_iter().flatten().try_for_each(|path| is_file(path))
        }
    }
}

/// What is in the run's directory.
pub enum Start<'a> {
    /// Nothing of a run.
    New,
    /// A run that is replaced once everything the new one needs is open.
    Overwrite(&'a RunLock),
    /// A run that goes on.
    Resume,
}

/// All examples of a run.
struct Data {
    train: Examples,
    dev: Option<Examples>,
    tests: Vec<(String, Examples)>,
    labels: LabelMap,
}

pub fn open<D: Device>(
    settings: &Settings,
    start: Start,
    make: impl FnOnce(Shape, Capacity) -> Result<D>,
) -> Result<Run<D>> {
    let options = &settings.options;
    let source = locate(&settings.model, &mut show::download)?;
    refuse_to_replace(&source, &settings.directory)?;
    let config = ConfigFile::read(&source)?.config;
    let splits = splits(settings)?;
    let encode = EncodeSettings {
        max_length: options.max_length.unwrap_or(config.max_positions.min(512)),
        truncation: settings.truncation,
    };
    encode.check(config.max_positions, config.type_vocab_size, splits.train.is_paired())?;
    let cache = token_cache(options);
    let data = read_data(splits, &BertTokenizer::from_dir(&source, config.vocab_size)?, encode, &cache, settings)?;
    let purpose = Purpose::Train { labels: data.labels.names().to_vec(), seed: settings.seed };
    let (mut model, notices) = Model::load(&source, purpose)?;
    notices.iter().for_each(|notice| show::note(notice));
    if let Some(drop_prob) = options.dropout {
        model.config.hidden_drop_prob = drop_prob;
        model.config.classifier_drop_prob = drop_prob;
    }
    if let Some(drop_prob) = options.attention_dropout {
        model.config.attention_drop_prob = drop_prob;
    }
    serving(settings, encode).store(&mut model);

    let steps = StepPlan::new(
        data.train.lengths(),
        OrderSettings {
            seed: settings.seed,
            batch_size: given(&options.batch_size, "batch-size")?,
            grad_accum: given(&options.grad_accum, "grad-accum")?,
            max_tokens: options.max_tokens,
            shuffle: settings.order != Order::File,
            bucket_steps: if settings.order == Order::Bucketed { BUCKET_STEPS } else { 0 },
            drop_last: false,
        },
    )?;
    let total_steps = match (options.max_steps, options.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => steps.steps_per_epoch().saturating_mul(given(&epochs, "epochs")?),
    };
    if let Some(from) = options.average_from.filter(|&from| from > total_steps) {
        let message = format!("the average would begin at step {from}, and the run has {total_steps}");
        return Err(Error::setting("--average-from", message));
    }
    let capacity =
        Capacity { tokens: steps.token_capacity(), sequences: steps.sequence_capacity(), length: encode.max_length };
    let eval_sequences = given(&options.eval_batch_size, "eval-batch-size")?;
    let eval_tokens = capacity.tokens.max(EVALUATION_TOKENS);
    let evaluation = |examples| EvaluationSet::new(examples, eval_sequences, eval_tokens);
    let dev = data.dev.map(evaluation);
    let tests: Vec<_> = data.tests.into_iter().map(|(name, examples)| (name, evaluation(examples))).collect();
    let inference = dev.iter().chain(tests.iter().map(|(_, set)| set)).fold(capacity, |largest, set| Capacity {
        tokens: largest.tokens.max(set.plan.token_capacity()),
        sequences: largest.sequences.max(set.plan.sequence_capacity()),
        length: largest.length,
    });

    let class_weights = class_weights(&settings.class_weights, &data.labels, &data.train)?;
    let encoder = Encoder::new(&model.config, LastLayer::FirstRows).with_recompute(settings.recompute);
    let step_settings = step_settings(settings, total_steps, steps.example_capacity(), class_weights)?;
    let device = make(encoder.shape, inference)?;
    if let Some(free_bytes) = device.free_bytes()? {
        // What the device's operations need, they have by now.
        let (kind, examples) = (step_settings.plan, step_settings.max_examples);
        let plan = |training| MemoryPlan::new(&encoder, &kind, training, inference, examples, device.storage(), 0);
        let longest = data.train.lengths().into_iter().max().unwrap_or(0) as usize;
        let fewer = |sequences: usize| Capacity {
            tokens: capacity.tokens.min(sequences.saturating_mul(longest)),
            sequences,
            ..capacity
        };
        let needs = |sequences| plan(fewer(sequences)).total_bytes();
        plan(capacity).check(&device.name(), free_bytes, capacity.sequences, needs)?;
    }
    let weights = std::mem::take(&mut model.weights);
    let mut learner = Learner::new(device, encoder, step_settings, capacity, inference, &weights)?;
    drop(weights);

    let fingerprint = data.train.fingerprint();
    let keep = given(&options.keep_checkpoints, "keep-checkpoints")?;
    let resumed = matches!(start, Start::Resume);
    if let Start::Overwrite(lock) = start {
        lock.clear()?;
    }
    if !resumed {
        // First of all: from here on the directory is a run that --resume can go on with.
        write_run_file(settings, &model.config, encode, cache)?;
    }
    let store = CheckpointStore::open(&settings.directory, keep.max(1))?;
    let position = if resumed { restore(&store, &mut learner, settings, fingerprint)? } else { Position::default() };
    let (metrics, board) = (settings.directory.join("metrics.jsonl"), settings.directory.join("tensorboard"));
    let (log, board) = if resumed {
        (EventLog::resume(metrics, position.step)?, TensorBoardWriter::resume(board, position.step)?)
    } else {
        (EventLog::create(metrics)?, TensorBoardWriter::create(board)?)
    };
    let timeline = settings.side.trace.as_ref().map(|path| Timeline::create(path.clone())).transpose()?;
    if timeline.is_some() {
        learner.device.trace();
    }
    let mut loop_settings = loop_settings(settings, total_steps, keep > 0)?;
    loop_settings.export_best &= dev.is_some();
    Ok(Run {
        directory: settings.directory.clone(),
        model,
        learner,
        steps,
        train: data.train,
        fingerprint,
        dev,
        tests,
        settings: loop_settings,
        store,
        log,
        board,
        timeline,
        position,
    })
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

/// The files of the run, as sources.
fn splits(settings: &Settings) -> Result<Splits> {
    match &settings.data {
        DataSource::Preset(preset, directory) => preset.open(directory),
        DataSource::Files { train, dev, test, columns, format, header } => {
            let source = |path: &PathBuf| -> Result<Source> {
                let format = format.map_or_else(|| Format::of(path), Ok)?;
                let conventions = Conventions::default();
                let (path, columns) = (path.clone(), columns.clone());
                Ok(Source::Table(Table { path, format, header: *header, columns, conventions }))
            };
            Ok(Splits {
                train: source(train)?,
                dev: dev.as_ref().map(|path| Ok::<_, Error>(("dev".to_owned(), source(path)?))).transpose()?,
                tests: test.iter().map(|path| Ok(("test".to_owned(), source(path)?))).collect::<Result<_>>()?,
                labels: None,
            })
        }
    }
}

fn read_data(
    splits: Splits,
    tokenizer: &BertTokenizer,
    encode: EncodeSettings,
    cache: &Option<PathBuf>,
    settings: &Settings,
) -> Result<Data> {
    let read = |name: &str, source: &Source, labels: Labels| -> Result<Arc<TokenizedSet>> {
        let mut bar = show::Tokenizing::new(name);
        let request = TokenizeRequest {
            tokenizer,
            settings: encode,
            labels,
            cache: cache.as_deref(),
            progress: &mut |progress| bar.update(progress),
        };
        let set = TokenizedSet::open(source, request)?;
        bar.finish(&set);
        Ok(Arc::new(set))
    };
    let learn = splits.labels.as_ref().map_or(Labels::Learn, Labels::Known);
    let train_set = read("train", &splits.train, learn)?;
    let labels = match (&splits.labels, train_set.labels()) {
        (Some(labels), _) | (None, Some(labels)) => labels.clone(),
        (None, None) => return Err(Error::table(splits.train.path(), "has no labels")),
    };
    let known = Labels::Known(&labels);
    let dev = splits.dev.map(|(name, source)| read(&name, &source, known)).transpose()?.map(Examples::all);
    let tests = splits
        .tests
        .iter()
        .map(|(name, source)| Ok((name.clone(), Examples::all(read(name, source, known)?))))
        .collect::<Result<_>>()?;
    let (train, dev) = match (settings.dev_fraction, dev) {
        (Some(share), None) => {
            let (train, dev) = Examples::all(train_set).split(share, settings.seed)?;
            (train, Some(dev))
        }
        (_, dev) => (Examples::all(train_set), dev),
    };
    Ok(Data { train, dev, tests, labels })
}

/// Where tokenized data is kept: as asked, or below the user's cache directory.
fn token_cache(options: &TrainOptions) -> Option<PathBuf> {
    match &options.token_cache {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(path.clone()),
        None => {
            let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
            Some(base.join("bertsd-cuda"))
        }
    }
}

/// What `eval` and `predict` need to read data as training did.
fn serving(settings: &Settings, encode: EncodeSettings) -> TrainedWith {
    let options = &settings.options;
    TrainedWith {
        text: options.text.clone(),
        text_pair: options.text_pair.clone(),
        label: options.label.clone(),
        no_header: options.no_header == Some(true),
        max_length: Some(encode.max_length),
        truncate: Some(encode.truncation.to_string()),
    }
}

fn class_weights(choice: &ClassWeights, labels: &LabelMap, train: &Examples) -> Result<Option<Vec<f32>>> {
    match choice {
        ClassWeights::None => Ok(None),
        ClassWeights::Balanced => {
            let even = train.len() as f64 / labels.len() as f64;
            Ok(Some(train.label_counts().iter().map(|&count| (even / count.max(1) as f64) as f32).collect()))
        }
        ClassWeights::Given(pairs) => {
            let mut weights = vec![1.0; labels.len()];
            for (label, weight) in pairs {
                let Some(number) = labels.number(label) else {
                    let message = format!("'{label}' is none of the labels {}", labels.names().join(", "));
                    return Err(Error::setting("--class-weights", message));
                };
                weights[number as usize] = *weight;
            }
            if weights.iter().all(|&weight| weight == 0.0) {
                return Err(Error::setting("--class-weights", "all are 0, so that nothing would be learnt"));
            }
            Ok(Some(weights))
        }
    }
}

fn step_settings(
    settings: &Settings,
    total_steps: u64,
    max_examples: usize,
    class_weights: Option<Vec<f32>>,
) -> Result<StepSettings> {
    let options = &settings.options;
    let clip = given(&options.clip, "clip")?;
    Ok(StepSettings {
        seed: settings.seed,
        max_examples,
        plan: settings.plan,
        rates: LearningRates {
            encoder: given(&options.lr, "lr")?,
            head: given(&options.head_lr, "head-lr")?,
            layer_decay: given(&options.layer_decay, "layer-decay")?,
            weight_decay: given(&options.weight_decay, "weight-decay")?,
            warmup_steps: (given(&options.warmup, "warmup")? * total_steps as f64).ceil() as u64,
            total_steps,
        },
        lambda: settings.lambda,
        distance: settings.distance,
        teacher_dropout: settings.teacher_dropout,
        label_smoothing: given(&options.label_smoothing, "label-smoothing")?,
        class_weights,
        clip: if clip == 0.0 { f64::INFINITY } else { clip },
        beta1: 0.9,
        beta2: 0.999,
        adam_eps: 1e-8,
    })
}

fn loop_settings(settings: &Settings, total_steps: u64, save: bool) -> Result<LoopSettings> {
    let options = &settings.options;
    Ok(LoopSettings {
        total_steps,
        eval_every: given(&options.eval_every, "eval-every")?,
        save_every: given(&options.save_every, "save-every")?,
        log_every: given(&options.log_every, "log-every")?,
        patience: given(&options.patience, "patience")?,
        best_metric: settings.best_metric,
        evaluate: settings.evaluate.clone(),
        export_best: settings.export_best,
        save,
        stop_after: settings.side.stop_after,
    })
}

/// Goes on from the newest checkpoint that is intact; without one, from the start.
fn restore<D: Device>(
    store: &CheckpointStore,
    learner: &mut Learner<D>,
    settings: &Settings,
    fingerprint: u64,
) -> Result<Position> {
    let found = store.latest_valid()?;
    for damaged in &found.damaged {
        let aside = store.put_aside(damaged)?;
        show::note(&format!("{} (moved to {})", damaged.reason, aside.display()));
    }
    match found.checkpoint {
        Some((step, mut reader)) => {
            show::note(&format!("going on after step {step}"));
            state::restore(&mut reader, learner, fingerprint)
        }
        None => {
            show::note(&format!("{} has no usable checkpoint; starting over", settings.directory.display()));
            Ok(Position::default())
        }
    }
}

/// `run.toml`: every setting, with what the model, the user's directories and this machine decide filled in.
fn write_run_file(
    settings: &Settings,
    config: &BertConfig,
    encode: EncodeSettings,
    cache: Option<PathBuf>,
) -> Result<()> {
    let mut options = settings.options.clone();
    options.max_length = Some(encode.max_length);
    options.token_cache = Some(cache.unwrap_or_else(|| PathBuf::from("none")));
    // --dropout sets both at once, so it can say what the model has only where they are the same.
    if config.hidden_drop_prob == config.classifier_drop_prob {
        options.dropout = Some(config.hidden_drop_prob);
    }
    options.attention_dropout = Some(config.attention_drop_prob);
    // Matrix products are cut into as many parts as there are threads, which shows in the last bit.
    options.threads = Some(rayon::current_num_threads());
    let options = with_absolute_paths(options);
    let text = toml::to_string(&options).map_err(|error| Error::run(&settings.directory, error.to_string()))?;
    let header = "# Every setting of this run. `bertsd-cuda train --config FILE --out DIR` repeats it.\n";
    write_atomically(settings.directory.join("run.toml"), format!("{header}{text}").as_bytes())
}
