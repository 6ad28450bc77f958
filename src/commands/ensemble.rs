//! `ensemble`: several finished runs as one classifier.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::{
    Error, Result,
    data::{Examples, LabelMap, Source, expand},
    ensemble::{ClassOrder, Vote, average},
    inference::{OutputFile, Prediction, PredictionFields, PredictionFormat, PredictionWriter},
    metrics::{Accumulator, Scores},
    model::ConfigFile,
    threads::set_threads,
    training::{EVALUATION_TOKENS, RunOptions, Start, Training},
};
use serde_json::{Map, Value};

use super::{
    console, score_table,
    scoring::{self, Compute, Loaded},
    train,
};
use crate::cli::{
    EnsembleArgs,
    ensemble::Combine,
    scoring::{ColumnOptions, DataOptions, EncodeOptions},
};

/// The result of classifying the data.
struct Outcome {
    /// Scores of each member alone; only a vote runs them.
    members: Vec<Scores>,
    scored: Option<Accumulator>,
    device: String,
}

/// The examples that the members classify.
enum Data {
    /// Files, with the columns that the user or the member names.
    Files(Vec<PathBuf>),
    /// The test part of the preset that the members are trained on.
    Preset(Source),
}

pub fn run(mut args: EnsembleArgs) -> anyhow::Result<()> {
    if args.seeds.is_empty() {
        adopt_test_set(&mut args)?;
    } else {
        let config = args.config.take();
        args.options = train::with_config(config.as_deref(), args.given.clone(), args.options)?;
    }
    let data = data(&args)?;
    require_purpose(&args, data.is_some())?;
    set_threads(args.options.threads)?;
    let compute = compute(&args)?;
    let members = if args.seeds.is_empty() {
        let named = if args.members.is_empty() { &args.models } else { &args.members };
        named.iter().map(|name| scoring::find(name)).collect::<Result<Vec<_>>>()?
    } else {
        train_seeds(&args)?
    };
    let labels = ConfigFile::read(&members[0])?.labels;
    let mut read = Vec::new();
    if let Some(Data::Files(files)) = &data {
        for file in files {
            read.extend(expand(file)?);
        }
    }
    let read: Vec<&Path> = read.iter().map(PathBuf::as_path).collect();
    let create = |path| OutputFile::create(path, &read).map(|file| (path, file));
    let output = args.output.predictions.as_deref().map(create).transpose()?;
    let mut saved = None;
    let examined = match (args.method, data.as_ref()) {
        (Combine::Vote, Some(data)) => Some(vote(&args, &members, &labels, data, compute)?),
        (Combine::Vote, None) => None,
        (Combine::Avg, data) => {
            let directory = save_average(&args, &members)?;
            saved = Some(directory.clone());
            let directory = vec![directory];
            // The mean alone, as a vote of one.
            data.map(|data| vote(&args, &directory, &labels, data, compute))
                .transpose()?
                .map(|(outcome, vote, examples)| (Outcome { members: Vec::new(), ..outcome }, vote, examples))
        }
    };
    if let (Some((path, file)), Some((_, vote, examples))) = (output, &examined) {
        write_predictions(path, file, vote, examples, &labels, args.unlabelled)?;
    }
    Ok(console::print(&report(&args, &members, &labels, examined.as_ref().map(|(outcome, ..)| outcome), saved))?)
}

/// Without data of its own an ensemble of runs classifies what the first of them was tested on. A vote needs it; a mean
/// of weights does without where it is no longer there.
fn adopt_test_set(args: &mut EnsembleArgs) -> Result<()> {
    if !args.data.is_empty() || !args.options.test.is_empty() || args.options.preset.is_some() {
        return Ok(());
    }
    let Some(first) = args.members.first().or(args.models.first()) else { return Ok(()) };
    let Some((run, of_run)) = train::options_of_run(Path::new(first))? else { return Ok(()) };
    let places: Vec<&PathBuf> = of_run.test.iter().chain(&of_run.data_dir).collect();
    if places.is_empty() {
        return Ok(());
    }
    let is_there =
        |place: &PathBuf| place.exists() || expand(place).is_ok_and(|files| files.iter().all(|file| file.exists()));
    if args.method == Combine::Avg && !places.iter().all(|place| is_there(place)) {
        return Ok(());
    }
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    console::say(format_args!("classifying {}, the test set of {}", names.join(", "), run.display()));
    let options = &mut args.options;
    (options.test, options.preset, options.data_dir) = (of_run.test, of_run.preset, of_run.data_dir);
    options.format = options.format.or(of_run.format);
    options.no_header = options.no_header.or(of_run.no_header);
    Ok(())
}

fn data(args: &EnsembleArgs) -> Result<Option<Data>> {
    let options = &args.options;
    let files = if args.data.is_empty() { &options.test } else { &args.data };
    if !files.is_empty() {
        return Ok(Some(Data::Files(files.clone())));
    }
    let (Some(preset), Some(directory)) = (options.preset, &options.data_dir) else { return Ok(None) };
    let mut splits = preset.open(directory)?;
    splits.set_bad_rows(options.bad_rows);
    let test = splits.tests.into_iter().next();
    Ok(test.map(|(_, source)| Data::Preset(source)))
}

/// What can be known to be wrong before anything is loaded or trained.
fn require_purpose(args: &EnsembleArgs, data: bool) -> Result<()> {
    let named = args.members.len() + args.models.len();
    let count = if args.seeds.is_empty() { named } else { args.seeds.len() };
    if count < 2 {
        return Err(Error::setting("ensemble", format!("takes two or more runs or --seeds, not {count}")));
    }
    let mut seeds = args.seeds.clone();
    seeds.sort_unstable();
    if let Some(pair) = seeds.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::setting("seeds", format!("{} comes twice; the same seed gives the same run", pair[0])));
    }
    if !data && args.method == Combine::Vote {
        return Err(Error::setting(
            "data",
            "a vote classifies examples, and the runs have no test set; give a file with --data",
        ));
    }
    if !data && args.output.predictions.is_some() {
        return Err(Error::setting("predictions", "there are no examples to classify; give them with --data FILE"));
    }
    if args.options.out.is_none() && (args.method == Combine::Avg || !args.seeds.is_empty()) {
        return Err(Error::setting("out", "give the directory in which the result is to lie: --out DIR"));
    }
    Ok(())
}

fn compute(args: &EnsembleArgs) -> Result<Compute> {
    let RunOptions { device, precision, eval_batch_size: batch_size, max_tokens, .. } = args.options;
    device.resolve(precision)?;
    let max_tokens = max_tokens.unwrap_or(EVALUATION_TOKENS);
    for (name, count) in [("eval-batch-size", batch_size), ("max-tokens", max_tokens)] {
        if count == 0 {
            return Err(Error::setting(name, "must be at least 1"));
        }
    }
    Ok(Compute { device, precision, batch_size, max_tokens })
}

fn out(args: &EnsembleArgs) -> Result<&Path> {
    args.options.out.as_deref().ok_or_else(|| Error::setting("out", "give a directory: --out DIR"))
}

/// One run per seed, each in its own directory; returns their models. A run that is there already goes on from where it
/// ended.
fn train_seeds(args: &EnsembleArgs) -> anyhow::Result<Vec<PathBuf>> {
    let mut members = Vec::new();
    for seed in &args.seeds {
        let run = out(args)?.join(format!("seed-{seed}"));
        let options = RunOptions { seed: *seed, out: Some(run.clone()), ..args.options.clone() };
        if run.join("run.toml").is_file() && !args.overwrite {
            train::require_same(&run, &options)?;
            console::say(format_args!("going on with {}", run.display()));
            train::train(Training::resume(&run, Vec::new())?)?;
        } else {
            console::say(format_args!("training {}", run.display()));
            let start = if args.overwrite { Start::Overwrite } else { Start::New };
            train::train(Training { start, ..Training::new(options) })?;
        }
        members.push(run.join("model"));
    }
    Ok(members)
}

fn save_average(args: &EnsembleArgs, members: &[PathBuf]) -> Result<PathBuf> {
    let directory = out(args)?.join("model");
    let real = |path: &Path| fs::canonicalize(path).ok();
    if let Some(member) =
        members.iter().find(|member| real(member).is_some_and(|there| real(&directory) == Some(there)))
    {
        return Err(Error::run(member, "is one of the members, which their mean would replace; choose another --out"));
    }
    if directory.exists() && !args.overwrite {
        let message = "is there already; choose another --out, or replace it with --overwrite";
        return Err(Error::run(&directory, message));
    }
    let parent = out(args)?;
    fs::create_dir_all(parent).map_err(Error::io("create directory", parent))?;
    let model = average(members, &mut |member, notice| console::say(format_args!("{}: {notice}", member.display())))?;
    model.save(&directory, &model.weights)?;
    Ok(directory)
}

/// Every member on every example, one member at a time.
fn vote(
    args: &EnsembleArgs,
    members: &[PathBuf],
    labels: &[String],
    data: &Data,
    compute: Compute,
) -> Result<(Outcome, Vote, Examples)> {
    let known = LabelMap::of_classifier(labels.to_vec())?;
    let classes = labels.len();
    let mut sum: Option<(Vote, Examples)> = None;
    let mut outcome = Outcome { members: Vec::new(), scored: None, device: String::new() };
    for member in members {
        let mut loaded = Loaded::open(&member.display().to_string())?;
        let order = ClassOrder::new(labels, &loaded.model.labels, member)?;
        order.notice().iter().for_each(|notice| console::say(format_args!("{}: {notice}", member.display())));
        let source = match data {
            Data::Files(files) => loaded.source(files, &data_options(args), !args.unlabelled)?,
            Data::Preset(source) => source.clone(),
        };
        let examples = loaded.examples(&source, &encode_options(args), (!args.unlabelled).then_some(&known))?;
        let mut logits = vec![0.0f32; examples.len() * classes];
        outcome.device = loaded.sweep(&examples, compute, &mut |numbers, batch| {
            for (&number, row) in numbers.iter().zip(batch.chunks_exact(classes)) {
                logits[number as usize * classes..][..classes].copy_from_slice(row);
            }
            Ok(())
        })?;
        if !args.unlabelled {
            let mut alone = Accumulator::new(classes)?;
            let mut row = vec![0.0; classes];
            for (i, theirs) in logits.chunks_exact(classes).enumerate() {
                row.iter_mut().zip(order.numbers()).for_each(|(ours, &number)| *ours = theirs[number]);
                alone.add_logits(&row, &[examples.label(i)])?;
            }
            outcome.members.push(alone.scores());
        }
        let (vote, _) = sum.get_or_insert_with(|| (Vote::new(examples.len(), classes), examples));
        vote.add(&logits, &order)?;
    }
    known.notice().iter().for_each(console::say);
    let (vote, examples) = sum.ok_or_else(|| Error::setting("ensemble", "there are no members"))?;
    if !args.unlabelled {
        let mut scored = Accumulator::new(classes)?;
        for i in 0..examples.len() {
            let row: Vec<f32> = vote.probabilities(i).iter().map(|&p| p as f32).collect();
            scored.add_probabilities(&row, &[examples.label(i)])?;
        }
        outcome.scored = Some(scored);
    }
    Ok((outcome, vote, examples))
}

fn data_options(args: &EnsembleArgs) -> DataOptions {
    let RunOptions { text, text_pair, no_header, label, format, delimiter, ignore_label, label_map, bad_rows, .. } =
        args.options.clone();
    let columns = ColumnOptions { text, text_pair, no_header, delimiter, bad_rows };
    DataOptions { columns, label, ignore_label, label_map, format }
}

fn encode_options(args: &EnsembleArgs) -> EncodeOptions {
    // A default is not said, and as trained wins over it.
    let truncate = args.given.contains("truncate").then_some(args.options.truncate);
    EncodeOptions { max_length: args.options.max_length, truncate }
}

fn write_predictions(
    path: &Path,
    file: OutputFile,
    vote: &Vote,
    examples: &Examples,
    labels: &[String],
    unlabelled: bool,
) -> Result<()> {
    let fields = PredictionFields { truth: !unlabelled, probabilities: true, ..PredictionFields::default() };
    let mut writer = PredictionWriter::new(file, PredictionFormat::for_path(path), fields, labels)?;
    for i in 0..examples.len() {
        let truth = labels.get(examples.label(i) as usize).map_or("", String::as_str);
        writer.write(&Prediction { truth, probabilities: &vote.probabilities(i), ..Prediction::default() })?;
    }
    writer.finish()
}

fn report(
    args: &EnsembleArgs,
    members: &[PathBuf],
    labels: &[String],
    outcome: Option<&Outcome>,
    saved: Option<PathBuf>,
) -> String {
    let method = if args.method == Combine::Vote { "vote" } else { "avg" };
    let names: Vec<String> = members.iter().map(|member| member.display().to_string()).collect();
    let scored = outcome.and_then(|outcome| outcome.scored.as_ref());
    let alone = outcome.map_or(&[][..], |outcome| &outcome.members);
    if args.json {
        let mut object = Map::new();
        object.insert("method".to_owned(), method.into());
        object.extend(saved.map(|directory| ("model".to_owned(), directory.display().to_string().into())));
        object.extend(outcome.map(|outcome| ("device".to_owned(), outcome.device.as_str().into())));
        let member = |(i, name): (usize, &String)| {
            let mut member = Map::new();
            member.insert("model".to_owned(), name.as_str().into());
            member.extend(alone.get(i).map(score_table::scores_json).unwrap_or_default());
            Value::Object(member)
        };
        object.insert("members".to_owned(), names.iter().enumerate().map(member).collect());
        if let Some(scored) = scored {
            score_table::add_json(&mut object, scored, labels);
        }
        return format!("{}\n", Value::Object(object));
    }
    let mut text = String::new();
    if let Some(directory) = saved {
        text.push_str(&format!("the mean of {} models is in {}\n", members.len(), directory.display()));
    }
    if let Some(scored) = scored {
        let together = scored.scores();
        let mut rows: Vec<(&str, &Scores)> = names.iter().map(String::as_str).zip(alone).collect();
        rows.push((method, &together));
        let head = outcome.map_or("", |outcome| &outcome.device);
        let table = score_table::comparison(rows);
        text.push_str(&format!(
            "{} examples; {head}\n\n{table}\n{}",
            together.examples,
            score_table::by_class(scored, labels)
        ));
    }
    text
}
