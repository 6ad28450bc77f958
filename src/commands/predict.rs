//! `predict`: labels for texts as they come.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use bertsd_cuda::{
    Error, Result,
    data::EncodeSettings,
    device::{Capacity, Device, OnDevice, Shape},
    inference::{
        Classifier, OutputFile, Prediction, PredictionFields, PredictionFormat, PredictionWriter, STANDARD_INPUT,
        StreamEvent, StreamSettings, TextInput, classify_stream, softmax,
    },
    threads::set_threads,
};
use indicatif::ProgressBar;

use super::{
    console,
    scoring::{Compute, Loaded},
};
use crate::cli::{
    PredictArgs,
    predict::{InputFormat, Probabilities},
};

/// Texts of a chunk, unless somebody waits at a terminal.
const CHUNK: usize = 4096;

pub fn run(args: PredictArgs) -> anyhow::Result<()> {
    set_threads(args.compute.threads)?;
    let backend = args.compute.device.resolve(args.compute.precision)?;
    let mut loaded = Loaded::open(&args.model)?;
    let input = input(&args, &loaded)?;
    let encode = loaded.encode_settings(&args.encode, input.is_paired())?;
    let labels = loaded.model.labels.clone();
    let fields = PredictionFields {
        kept: args.keep.clone(),
        text: args.echo,
        pair: args.echo && input.is_paired(),
        truth: false,
        probabilities: args.probabilities == Probabilities::All,
        logits: args.logits,
        input_ids: args.input_ids,
    };
    let format = args.output_format.unwrap_or_else(|| PredictionFormat::for_path(&args.output));
    let file = OutputFile::create(&args.output, &input.files())?;
    let settings = settings(&args, encode);
    // A bar between the answers would spoil both.
    let talks = args.output.as_os_str() == "-" && io::stdout().is_terminal();
    let bar = if talks { ProgressBar::hidden() } else { console::bar("classifying", input.size()) };
    let outcome = PredictionWriter::new(file, format, fields, &labels)
        .and_then(|writer| backend.run(Answers { loaded: &mut loaded, input, settings, writer, bar: &bar }));
    bar.finish_and_clear();
    Ok(console::forgive_broken_pipe(outcome)?)
}

/// Every text once, on any device.
struct Answers<'a> {
    loaded: &'a mut Loaded,
    input: TextInput,
    settings: StreamSettings,
    writer: PredictionWriter<'a>,
    bar: &'a ProgressBar,
}

impl OnDevice for Answers<'_> {
    type Output = Result<()>;

    fn run<D: Device>(self, make: impl FnOnce(Shape, Capacity) -> Result<D>) -> Result<()> {
        let Self { loaded, input, settings, mut writer, bar } = self;
        let capacity = capacity(settings);
        let device = make(Shape::new(&loaded.model.config), capacity)?;
        let mut classifier = Classifier::new(device, &loaded.model, capacity)?;
        loaded.model.weights = Vec::new();
        classify_stream(&mut classifier, &loaded.tokenizer, input, settings, &mut |event| match event {
            StreamEvent::Row(row) => writer.write(&Prediction {
                kept: row.kept,
                text: row.text,
                pair: row.pair.unwrap_or_default(),
                truth: "",
                probabilities: &softmax(row.logits),
                logits: row.logits,
                input_ids: row.input_ids,
            }),
            StreamEvent::Chunk { position } => {
                bar.set_position(position);
                writer.flush()
            }
            StreamEvent::Remark(remark) => {
                console::say(format_args!("note: {remark}"));
                Ok(())
            }
        })?;
        writer.finish()
    }
}

fn input(args: &PredictArgs, loaded: &Loaded) -> Result<TextInput> {
    let (stdin, path) = match &args.input[..] {
        [only] if only.as_os_str() == "-" => (true, Path::new(STANDARD_INPUT).to_owned()),
        [first, ..] => (false, first.clone()),
        [] => return Err(Error::setting("input", "must be given")),
    };
    let is_lines = match args.format {
        Some(format) => format == InputFormat::Lines,
        None => stdin || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt")),
    };
    let format = match args.format {
        Some(InputFormat::Table(format)) => Some(format),
        _ => None,
    };
    let mut tables = loaded.table_options(&args.columns, format);
    if !is_lines {
        tables.columns.kept = args.keep.iter().map(|column| column.as_str().into()).collect();
        return Ok(if stdin {
            TextInput::Stream(tables.table(path)?)
        } else {
            TextInput::Tables(tables.tables(&args.input)?)
        });
    }
    if !args.keep.is_empty() {
        return Err(Error::setting("keep", "plain lines have no columns; say how the input is read with --format"));
    }
    if args.input.len() > 1 {
        return Err(Error::setting("input", "several files are read as tables only; say how with --format"));
    }
    Ok(TextInput::Lines { path, paired: tables.columns.pair.is_some(), stdin })
}

fn settings(args: &PredictArgs, encode: EncodeSettings) -> StreamSettings {
    let at_terminal = args.input.iter().any(|input| input.as_os_str() == "-") && io::stdin().is_terminal();
    let Compute { batch_size, max_tokens, .. } = Compute::from(&args.compute);
    StreamSettings {
        encode,
        chunk_rows: args.chunk.unwrap_or(if at_terminal { 1 } else { CHUNK }),
        max_sequences: batch_size,
        max_tokens,
    }
}

/// The largest batch that can come: nothing is known of the texts beforehand.
fn capacity(settings: StreamSettings) -> Capacity {
    let StreamSettings { encode, chunk_rows, max_sequences, max_tokens } = settings;
    let sequences = max_sequences.min(chunk_rows);
    let tokens = max_tokens.max(encode.max_length).min(sequences.saturating_mul(encode.max_length));
    Capacity { tokens, sequences, length: encode.max_length }
}
