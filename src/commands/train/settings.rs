//! Options as typed, checked settings. Nothing is opened here.

use std::{path::PathBuf, str::FromStr};

use bertsd_cuda::{
    Error, Result,
    data::{Columns, Format, Preset, Truncation},
    device::{Backend, DeviceChoice, Distance, Precision},
    distillation::{LambdaSchedule, Method, Plan, SdvMode, TeacherKind},
    encoder::Recompute,
    metrics::Metric,
    reports::Weights,
};

use crate::cli::train::TrainOptions;

/// How examples follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Shuffled,
    Bucketed,
    File,
}

/// Weights of the classes, before the labels are known.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    None,
    Balanced,
    Given(Vec<(String, f32)>),
}

/// Where the examples come from.
#[derive(Clone, Debug)]
pub enum DataSource {
    Preset(Preset, PathBuf),
    Files {
        train: PathBuf,
        dev: Option<PathBuf>,
        test: Option<PathBuf>,
        columns: Columns,
        /// None: by each file's extension.
        format: Option<Format>,
        header: bool,
    },
}

/// A run's settings. `options` is what they were made from, as `run.toml` keeps it.
pub struct Settings {
    pub options: TrainOptions,
    pub directory: PathBuf,
    pub model: String,
    pub data: DataSource,
    pub dev_fraction: Option<f64>,
    pub truncation: Truncation,
    pub plan: Plan,
    pub lambda: LambdaSchedule,
    pub distance: Distance,
    pub teacher_dropout: bool,
    pub order: Order,
    pub class_weights: ClassWeights,
    pub evaluate: Vec<Weights>,
    pub best_metric: Metric,
    pub export_best: bool,
    pub device: DeviceChoice,
    pub precision: Precision,
    pub recompute: Recompute,
    pub threads: Option<usize>,
    pub seed: u64,
    pub side: Side,
}

/// What changes nothing in the result of a run.
#[derive(Clone, Debug)]
pub struct Side {
    /// Save and stop after so many updates in all.
    pub stop_after: Option<u64>,
    /// Where a timeline is written.
    pub trace: Option<PathBuf>,
}

/// An option that has a default or was checked to be there.
pub fn given<T: Clone>(value: &Option<T>, name: &str) -> Result<T> {
    value.clone().ok_or_else(|| Error::setting(format!("--{name}"), "must be given"))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(value: &Option<String>, name: &str) -> Result<T> {
    let text = given(value, name)?;
    text.parse().map_err(|error| Error::setting(format!("--{name}"), format!("{error}")))
}

/// One of a list of words.
fn one_of<T: Copy>(value: &str, name: &str, words: &[(&str, T)]) -> Result<T> {
    words.iter().find(|(word, _)| *word == value).map(|&(_, item)| item).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Error::setting(format!("--{name}"), format!("'{value}' is none of {}", known.join(", ")))
    })
}

fn choice<T: Copy>(value: &Option<String>, name: &str, words: &[(&str, T)]) -> Result<T> {
    one_of(&given(value, name)?, name, words)
}

/// Checks a number against a condition that `rule` states.
fn require(holds: bool, name: &str, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::setting(format!("--{name}"), rule)) }
}

impl Settings {
    pub fn new(options: TrainOptions, side: Side) -> Result<Self> {
        check_ranges(&options)?;
        let data = data_source(&options)?;
        let method = choice(
            &options.method,
            "method",
            &[("ft", Method::Ft), ("se", Method::Se), ("sda", Method::Sda), ("sdv", Method::Sdv)],
        )?;
        let teacher: TeacherKind = parse(&options.teacher, "teacher")?;
        if method == Method::Sdv && !matches!(teacher, TeacherKind::Window(_)) {
            let message = "sdv averages the logits of the last K steps and takes window:K only; use --method sda";
            return Err(Error::setting("--teacher", message));
        }
        let mode =
            choice(&options.sdv_mode, "sdv-mode", &[("look-ahead", SdvMode::LookAhead), ("stored", SdvMode::Stored)])?;
        let words = [("student", Weights::Student), ("teacher", Weights::Teacher), ("average", Weights::Average)];
        let evaluate: Vec<Weights> =
            options.evaluate.iter().map(|word| one_of(word, "evaluate", &words)).collect::<Result<_>>()?;
        let keeps_average = options.average == Some(true) || method == Method::Se;
        let needs_teacher = evaluate.contains(&Weights::Teacher);
        let wants_average = evaluate.contains(&Weights::Average);
        require(keeps_average || !wants_average, "evaluate", "there is no average to score; add --average")?;
        require(!needs_teacher || method == Method::Sda, "evaluate", "only --method sda has a teacher with weights")?;
        let twice = (1..evaluate.len()).any(|i| evaluate[..i].contains(&evaluate[i]));
        require(!twice, "evaluate", "names the same weights twice")?;
        let from_start = options.average_from.is_none_or(|from| from == 1);
        require(keeps_average || from_start, "average-from", "there is no average to begin; add --average")?;
        require_dev(&options, &data)?;
        let average_from = keeps_average.then_some(given(&options.average_from, "average-from")?);
        let distance = match choice(&options.distill, "distill", &[("mse", false), ("kl", true)])? {
            false => {
                let plain = options.temperature.is_none_or(|temperature| temperature == 1.0);
                require(plain, "temperature", "belongs to --distill kl; mse has none")?;
                Distance::Mse
            }
            true => Distance::Kl { temperature: given(&options.temperature, "temperature")? },
        };
        let lambda = LambdaSchedule {
            lambda: given(&options.lambda, "lambda")?,
            ramp_steps: given(&options.lambda_ramp, "lambda-ramp")?,
        };
        Ok(Self {
            directory: given(&options.out, "out")?,
            model: given(&options.model, "model")?,
            data,
            dev_fraction: options.dev_fraction,
            truncation: parse(&options.truncate, "truncate")?,
            plan: Plan::new(method, teacher, mode, average_from, needs_teacher),
            lambda,
            distance,
            teacher_dropout: choice(&options.teacher_dropout, "teacher-dropout", &[("on", true), ("off", false)])?,
            order: choice(
                &options.order,
                "order",
                &[("shuffled", Order::Shuffled), ("bucketed", Order::Bucketed), ("file", Order::File)],
            )?,
            class_weights: class_weights(&given(&options.class_weights, "class-weights")?)?,
            evaluate,
            best_metric: parse(&options.best_metric, "best-metric")?,
            export_best: choice(&options.export, "export", &[("best", true), ("last", false)])?,
            device: parse(&options.device, "device")?,
            precision: parse(&options.precision, "precision")?,
            recompute: parse(&options.recompute, "recompute")?,
            threads: options.threads,
            seed: given(&options.seed, "seed")?,
            side,
            options,
        })
    }
}

impl Settings {
    /// Keeps the device that `auto` turned out to be: the run goes on there, and is repeated there.
    pub fn settle_on(&mut self, backend: Backend) {
        let (device, precision) = match backend {
            // Another device may read these settings; there `auto` is no float32.
            Backend::Cpu => (DeviceChoice::Cpu, self.precision),
            Backend::CudaBf16 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::Bf16),
            Backend::CudaTf32 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::Tf32),
            Backend::CudaF32 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::F32),
        };
        self.options.device = Some(device.to_string());
        self.options.precision = Some(precision.to_string());
    }
}

fn check_ranges(options: &TrainOptions) -> Result<()> {
    let share = |value: Option<f64>| value.is_none_or(|v| (0.0..=1.0).contains(&v));
    let positive = |value: Option<f64>| value.is_none_or(|v| v.is_finite() && v > 0.0);
    let not_negative = |value: Option<f64>| value.is_none_or(|v| v.is_finite() && v >= 0.0);
    let count = |value: Option<u64>| value.is_none_or(|v| v > 0);
    let drops = |value: Option<f32>| value.is_none_or(|v| (0.0..1.0).contains(&v));
    require(positive(options.lr), "lr", "must be a positive number")?;
    require(positive(options.head_lr), "head-lr", "must be a positive number")?;
    require(positive(options.layer_decay), "layer-decay", "must be a positive number; 1 means none")?;
    require(share(options.warmup), "warmup", "is a share of the steps, from 0 to 1")?;
    require(not_negative(options.weight_decay), "weight-decay", "must not be negative")?;
    require(not_negative(options.clip), "clip", "must not be negative; 0 means no clipping")?;
    require(not_negative(options.lambda), "lambda", "must not be negative; 0 means no distillation")?;
    require(positive(options.temperature.map(f64::from)), "temperature", "must be a positive number")?;
    require(drops(options.label_smoothing), "label-smoothing", "must be at least 0 and below 1")?;
    require(drops(options.dropout), "dropout", "is a probability, at least 0 and below 1")?;
    require(drops(options.attention_dropout), "attention-dropout", "is a probability, at least 0 and below 1")?;
    require(count(options.epochs), "epochs", "must be at least 1")?;
    require(count(options.max_steps), "max-steps", "must be at least 1")?;
    require(count(options.log_every), "log-every", "must be at least 1")?;
    require(count(options.average_from), "average-from", "counts steps from 1")?;
    // On the command line clap sees to these; a configuration file may have them too.
    let both = |one: bool, other: bool| one && other;
    require(!both(options.epochs.is_some(), options.max_steps.is_some()), "max-steps", "is given beside epochs")?;
    require(!both(options.dev.is_some(), options.dev_fraction.is_some()), "dev-fraction", "is given beside dev")?;
    require(!both(options.data_dir.is_some(), options.preset.is_none()), "data-dir", "is given without a preset")?;
    require(options.batch_size != Some(0), "batch-size", "must be at least 1")?;
    require(options.eval_batch_size != Some(0), "eval-batch-size", "must be at least 1")?;
    require(options.grad_accum != Some(0), "grad-accum", "must be at least 1")?;
    require(options.threads != Some(0), "threads", "must be at least 1")?;
    require(options.keep_checkpoints.is_none_or(|n| n < 1000), "keep-checkpoints", "must be below 1000")
}

fn data_source(options: &TrainOptions) -> Result<DataSource> {
    if let Some(name) = &options.preset {
        let preset = name.parse().map_err(|error| Error::setting("--preset", format!("{error}")))?;
        refuse_beside_preset(preset, options)?;
        return Ok(DataSource::Preset(preset, given(&options.data_dir, "data-dir")?));
    }
    let columns = Columns {
        text: options.text.iter().map(|column| column.as_str().into()).collect(),
        pair: options.text_pair.as_deref().map(Into::into),
        label: options.label.as_deref().map(Into::into),
        kept: Vec::new(),
    };
    Ok(DataSource::Files {
        train: given(&options.train, "train")?,
        dev: options.dev.clone(),
        test: options.test.clone(),
        columns,
        format: options.format.is_some().then(|| parse(&options.format, "format")).transpose()?,
        header: options.no_header != Some(true),
    })
}

/// A preset says itself what the options for files of one's own say.
fn refuse_beside_preset(preset: Preset, options: &TrainOptions) -> Result<()> {
    let rivals = [
        ("train", options.train.is_some()),
        ("dev", options.dev.is_some()),
        ("test", options.test.is_some()),
        ("text", !options.text.is_empty()),
        ("text-pair", options.text_pair.is_some()),
        ("label", options.label.is_some()),
        ("format", options.format.is_some()),
        ("no-header", options.no_header == Some(true)),
        ("dev-fraction", options.dev_fraction.is_some() && preset.has_dev()),
    ];
    let rival = rivals.into_iter().find(|(_, given)| *given).map(|(name, _)| name);
    rival.map_or(Ok(()), |name| {
        let message =
            format!("{preset} is a whole data set and says itself what --{name} says; leave one of the two out");
        Err(Error::setting("--preset", message))
    })
}

/// Without a development set there is nothing to choose the best by, to stop at, or to score in between.
fn require_dev(options: &TrainOptions, data: &DataSource) -> Result<()> {
    let has_dev = match data {
        DataSource::Preset(preset, _) => preset.has_dev(),
        DataSource::Files { dev, .. } => dev.is_some(),
    };
    if has_dev || options.dev_fraction.is_some() {
        return Ok(());
    }
    const RULE: &str = "needs a development set; give one with --dev or --dev-fraction";
    require(options.patience.is_none_or(|n| n == 0), "patience", RULE)?;
    require(options.eval_every.is_none_or(|n| n == 0), "eval-every", RULE)?;
    require(options.export.as_deref() != Some("best"), "export", RULE)
}

fn class_weights(text: &str) -> Result<ClassWeights> {
    match text {
        "none" => return Ok(ClassWeights::None),
        "balanced" => return Ok(ClassWeights::Balanced),
        _ => {}
    }
    let pair = |part: &str| {
        let (label, weight) = part.rsplit_once('=')?;
        let weight: f32 = weight.parse().ok()?;
        (weight.is_finite() && weight >= 0.0).then(|| (label.to_owned(), weight))
    };
    let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
    let pairs = pairs.ok_or_else(|| {
        let message = format!("'{text}' is neither none, balanced, nor LABEL=X,… with weights X of at least 0");
        Error::setting("--class-weights", message)
    })?;
    let twice = (1..pairs.len()).find(|&i| pairs[..i].iter().any(|(label, _)| *label == pairs[i].0));
    match twice {
        Some(i) => Err(Error::setting("--class-weights", format!("the label '{}' has two weights", pairs[i].0))),
        None => Ok(ClassWeights::Given(pairs)),
    }
}
