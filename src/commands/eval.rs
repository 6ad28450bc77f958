//! `eval`: scores of a finished model on labelled examples.

use bertsd_cuda::{
    Error, Result,
    data::{LabelMap, Source, Splits},
    inference::{OutputFile, Prediction, PredictionFields, PredictionFormat, PredictionWriter, softmax},
    metrics::Accumulator,
    threads::set_threads,
};
use serde_json::{Map, Value};

use super::{
    console, score_table,
    scoring::{Compute, Loaded},
};
use crate::cli::EvalArgs;

pub fn run(args: EvalArgs) -> anyhow::Result<()> {
    set_threads(args.compute.threads)?;
    let compute = Compute::from(&args.compute);
    compute.device.resolve(compute.precision)?;
    let mut loaded = Loaded::open(&args.model)?;
    let labels = LabelMap::of_classifier(loaded.model.labels.clone())?;
    let source = source(&args, &loaded)?;
    // Before the work: a place that cannot be written is better known now.
    let create = |path| OutputFile::create(path, &source.files()).map(|file| (path, file));
    let predictions = args.output.predictions.as_deref().map(create);
    let predictions = predictions.transpose()?;
    let examples = loaded.examples(&source, &args.encode, Some(&labels))?;
    labels.notice().iter().for_each(console::say);

    let classes = labels.len();
    let mut scored = Accumulator::new(classes)?;
    let mut kept = vec![0.0f32; if predictions.is_some() { examples.len() * classes } else { 0 }];
    let device = loaded.sweep(&examples, compute, &mut |members, logits| {
        let truths: Vec<u32> = members.iter().map(|&member| examples.label(member as usize)).collect();
        for (&member, row) in members.iter().zip(logits.chunks_exact(classes)) {
            if let Some(place) = kept.get_mut(member as usize * classes..(member as usize + 1) * classes) {
                place.copy_from_slice(row);
            }
        }
        scored.add_logits(logits, &truths)
    })?;

    if let Some((path, file)) = predictions {
        let fields = PredictionFields { truth: true, ..PredictionFields::default() };
        let mut writer = PredictionWriter::new(file, PredictionFormat::for_path(path), fields, labels.names())?;
        for (i, logits) in kept.chunks_exact(classes).enumerate() {
            let truth = labels.name(examples.label(i)).unwrap_or_default();
            writer.write(&Prediction { truth, probabilities: &softmax(logits), ..Prediction::default() })?;
        }
        writer.finish()?;
    }
    let data = source.name();
    if args.json {
        let mut object = Map::new();
        object.insert("model".to_owned(), Value::from(args.model));
        object.insert("data".to_owned(), Value::from(data));
        object.insert("device".to_owned(), Value::from(device));
        score_table::add_json(&mut object, &scored, labels.names());
        console::print(&format!("{}\n", Value::Object(object)))?;
    } else {
        let head = format!("{} on {data}: {} examples; {device}\n\n", args.model, examples.len());
        let scores = score_table::comparison([("", &scored.scores())]);
        console::print(&format!("{head}{scores}\n{}", score_table::by_class(&scored, labels.names())))?;
    }
    Ok(())
}

fn source(args: &EvalArgs, loaded: &Loaded) -> Result<Source> {
    match args.preset {
        None => loaded.source(&args.data, &args.options, true),
        Some(preset) => {
            let [directory] = &args.data[..] else {
                return Err(Error::setting("data", "with --preset it is one directory, that of the preset's files"));
            };
            let mut part = part(preset.open(directory)?, args.split.as_deref().unwrap_or("test"))?;
            part.set_bad_rows(args.options.columns.bad_rows);
            Ok(part)
        }
    }
}

/// The part of a preset by what it is for, or by its name there.
fn part(splits: Splits, wanted: &str) -> Result<Source> {
    let Splits { train, dev, tests, .. } = splits;
    let mut parts = vec![("train", "train".to_owned(), train)];
    parts.extend(dev.map(|(name, source)| ("dev", name, source)));
    parts.extend(tests.into_iter().map(|(name, source)| ("test", name, source)));
    let names: Vec<String> = parts.iter().map(|(_, name, _)| name.clone()).collect();
    let found = parts.into_iter().find(|(purpose, name, _)| *purpose == wanted || name == wanted);
    found
        .map(|(_, _, source)| source)
        .ok_or_else(|| Error::setting("split", format!("'{wanted}' is none of {}", names.join(", "))))
}
