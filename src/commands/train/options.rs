//! Options from three places: the command line, a configuration file, and the defaults, in this order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::{Error, Result, data::Preset};
use serde_json::Value;

use crate::cli::{TrainArgs, train::TrainOptions};

/// The options of a run, all that have a default filled in.
pub fn resolve(args: TrainArgs) -> Result<TrainOptions> {
    if let Some(directory) = args.resume {
        if args.options != TrainOptions::default() || args.config.is_some() || args.overwrite {
            let message = "continues a run with the settings it has; other options cannot be given with it";
            return Err(Error::setting("--resume", message));
        }
        let path = directory.join("run.toml");
        if !path.is_file() {
            return Err(Error::run(directory, "holds no run.toml, so there is no run to continue here"));
        }
        let stored = read(&path)?;
        return Ok(TrainOptions { out: Some(directory), ..stored });
    }
    let mut options = args.options;
    if let Some(path) = &args.config {
        let mut stored = read(path)?;
        drop_rivals(&options, &mut stored);
        options = overlay(options, stored)?;
    }
    Ok(with_defaults(options))
}

/// The settings of the run that `directory` is, or is the model of, and where the run is.
pub fn options_of_run(directory: &Path) -> Result<Option<(PathBuf, TrainOptions)>> {
    let places = [Some(directory), directory.parent().filter(|_| directory.ends_with("model"))];
    let run = places.into_iter().flatten().find(|run| run.join("run.toml").is_file());
    run.map(|run| Ok((run.to_path_buf(), read(&run.join("run.toml"))?))).transpose()
}

/// Refuses a run whose `run.toml` says something else than `asked`.
///
/// What was not asked for, or left to be found out, is as the run has it; a place is the same however it is written.
pub fn require_same(directory: &Path, asked: &TrainOptions) -> Result<()> {
    let json = |options: TrainOptions| {
        let value = serde_json::to_value(TrainOptions { out: None, ..options });
        value.map_err(|error| Error::run(directory, error.to_string()))
    };
    let there = json(read(&directory.join("run.toml"))?)?;
    let mut asked = with_absolute_paths(asked.clone());
    for choice in [&mut asked.device, &mut asked.precision] {
        choice.take_if(|choice| choice == "auto");
    }
    if let Value::Object(asked) = json(asked)? {
        for (name, value) in asked.into_iter().filter(|(_, value)| !value.is_null()) {
            if there.get(&name) != Some(&value) {
                let stored = there.get(&name).unwrap_or(&Value::Null);
                let message = format!(
                    "was trained with other settings: {name} is {stored} there and {value} here; give another --out, or \
                     --overwrite to train it again"
                );
                return Err(Error::run(directory, message));
            }
        }
    }
    Ok(())
}

/// The places of files made absolute, so that they mean the same from anywhere.
pub fn with_absolute_paths(mut options: TrainOptions) -> TrainOptions {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    for path in [&mut options.train, &mut options.dev, &mut options.test, &mut options.data_dir, &mut options.out] {
        *path = path.as_ref().map(absolute);
    }
    if let Some(model) = options.model.as_ref().map(PathBuf::from).filter(|model| model.is_dir()) {
        options.model = Some(absolute(&model).display().to_string());
    }
    options.token_cache = options.token_cache.map(|path| match path.as_os_str() == "none" {
        true => path,
        false => absolute(&path),
    });
    options
}

/// Reads a configuration file; unknown or misspelt keys are errors with line and column.
fn read(path: &Path) -> Result<TrainOptions> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    toml::from_str(&text).map_err(|error| {
        let message = format!("is no valid configuration: {}", error.to_string().trim_end());
        Error::setting(path.display().to_string(), message)
    })
}

/// An option on the command line also overrides the options of the file that say the same thing in another way.
fn drop_rivals(given: &TrainOptions, stored: &mut TrainOptions) {
    if given.epochs.is_some() {
        stored.max_steps = None;
    }
    if given.max_steps.is_some() {
        stored.epochs = None;
    }
    if given.dev.is_some() {
        stored.dev_fraction = None;
    }
    if given.dev_fraction.is_some() {
        stored.dev = None;
    }
    if let Some(preset) = &given.preset {
        (stored.train, stored.dev, stored.test) = (None, None, None);
        (stored.text, stored.text_pair, stored.label) = (Vec::new(), None, None);
        (stored.format, stored.no_header) = (None, None);
        if has_dev(preset) {
            stored.dev_fraction = None;
        }
    }
    if given.train.is_some() {
        (stored.preset, stored.data_dir) = (None, None);
    }
}

/// `over` where it says something, else `under`.
fn overlay(over: TrainOptions, under: TrainOptions) -> Result<TrainOptions> {
    let json = |options: &TrainOptions| {
        serde_json::to_value(options).map_err(|error| Error::setting("--config", error.to_string()))
    };
    let (mut merged, over) = (json(&under)?, json(&over)?);
    if let (Value::Object(merged), Value::Object(over)) = (&mut merged, over) {
        merged.extend(over.into_iter().filter(|(_, value)| !value.is_null()));
    }
    serde_json::from_value(merged).map_err(|error| Error::setting("--config", error.to_string()))
}

/// Whether the preset of this name has a development set; what is no preset is refused elsewhere.
fn has_dev(preset: &str) -> bool {
    preset.parse::<Preset>().is_ok_and(Preset::has_dev)
}

/// The paper's settings where nothing else is said.
fn with_defaults(mut options: TrainOptions) -> TrainOptions {
    let text = |value: &str| Some(value.to_owned());
    macro_rules! default {
        ($($field:ident = $value:expr;)*) => { $(if options.$field.is_none() { options.$field = $value; })* };
    }
    let has_dev =
        options.dev.is_some() || options.dev_fraction.is_some() || options.preset.as_deref().is_some_and(has_dev);
    default! {
        truncate = text("head");
        method = text("sda");
        teacher = text("window:5");
        lambda = Some(1.0);
        lambda_ramp = Some(0);
        distill = text("mse");
        temperature = Some(1.0);
        teacher_dropout = text("on");
        sdv_mode = text("look-ahead");
        average_from = Some(1);
        epochs = if options.max_steps.is_some() { None } else { Some(3) };
        batch_size = Some(16);
        grad_accum = Some(1);
        order = text("shuffled");
        lr = Some(2e-5);
        head_lr = Some(1e-3);
        layer_decay = Some(1.0);
        warmup = Some(0.1);
        weight_decay = Some(0.01);
        clip = Some(1.0);
        label_smoothing = Some(0.0);
        class_weights = text("none");
        seed = Some(42);
        device = text("auto");
        precision = text("auto");
        recompute = text("gelu");
        eval_every = Some(0);
        eval_batch_size = Some(64);
        best_metric = text("accuracy");
        export = text(if has_dev { "best" } else { "last" });
        patience = Some(0);
        save_every = Some(0);
        keep_checkpoints = Some(2);
        log_every = Some(1);
        no_header = Some(false);
    }
    let is_se = options.method.as_deref() == Some("se");
    if options.evaluate.is_empty() {
        options.evaluate = vec![if is_se { "average" } else { "student" }.to_owned()];
    }
    let wants_average = is_se || options.evaluate.iter().any(|weights| weights == "average");
    default! {
        average = Some(wants_average);
    }
    if options.preset.is_none() {
        if options.text.is_empty() {
            options.text = vec!["text".to_owned()];
        }
        default! {
            label = text("label");
        }
    }
    options
}
