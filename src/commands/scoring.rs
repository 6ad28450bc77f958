//! What `eval`, `predict` and `ensemble` share: opening a model, deciding how it is fed, and sweeping a set with it.

use std::{path::PathBuf, sync::Arc};

use bertsd_cuda::{
    Error, Result, Stop,
    data::{
        BertTokenizer, Columns, Conventions, EncodeSettings, EvaluationPlan, Examples, Format, LabelMap, Labels,
        Source, TableOptions, TokenizeRequest, TokenizedSet,
    },
    device::{Capacity, Device, DeviceChoice, OnDevice, Precision, Shape},
    inference::{Classifier, TrainedWith, Visit, locate},
    model::{Model, Purpose},
    text_value::InvalidValue,
};

use super::console::{self, DownloadBar};
use crate::cli::scoring::{ColumnOptions, ComputeOptions, DataOptions, EncodeOptions};

/// The value of `--text-pair` that says that there is no second text.
const NO_PAIR: &str = "none";

/// The directory of a model by any of its names.
pub fn find(name: &str) -> Result<PathBuf> {
    let mut bar = DownloadBar::default();
    let found = locate(name, &mut |download| bar.update(download));
    bar.clear();
    found
}

/// A model with what is needed to feed it.
pub struct Loaded {
    pub model: Model,
    pub trained: TrainedWith,
    pub tokenizer: BertTokenizer,
}

impl Loaded {
    pub fn open(name: &str) -> Result<Self> {
        let directory = find(name)?;
        let (model, notices) = Model::load(&directory, Purpose::Inference)?;
        notices.iter().for_each(|notice| console::say(format_args!("{}: {notice}", directory.display())));
        Self::with_model(model)
    }

    pub fn with_model(model: Model) -> Result<Self> {
        let tokenizer = BertTokenizer::from_dir(&model.source, model.config.vocab_size)?;
        let note = |notice| console::say(format_args!("{}: {notice}", model.source.display()));
        tokenizer.notices().iter().for_each(note);
        Ok(Self { trained: TrainedWith::from_model(&model)?, tokenizer, model })
    }

    /// How texts become sequences: as the user says, else as in training.
    pub fn encode_settings(&self, options: &EncodeOptions, paired: bool) -> Result<EncodeSettings> {
        let config = &self.model.config;
        let trained = match &self.trained.truncate {
            None => self.tokenizer.truncation(),
            Some(part) => part.parse().map_err(|reason: InvalidValue| {
                Error::model(self.model.source.join("config.json"), format!("truncate: {reason}"))
            })?,
        };
        // A model that was made elsewhere says in the tokenizer's settings what it was trained with. Where both say
        // something, the settings may have been changed since.
        let said = self.tokenizer.max_length_within(config.max_positions);
        let longest = || self.trained.max_length.map_or(said, |trained| trained.min(said));
        let settings = EncodeSettings {
            max_length: options.max_length.unwrap_or_else(longest),
            truncation: options.truncate.unwrap_or(trained),
        };
        settings.check(config.max_positions, config.type_vocab_size, paired)?;
        Ok(settings)
    }

    /// The columns of the texts: as the user says, else as in training, else `text`.
    pub fn columns(&self, options: &ColumnOptions) -> Columns {
        let text = match (&options.text[..], &self.trained.text[..]) {
            ([], []) => vec!["text".into()],
            ([], trained) => trained.iter().map(|column| column.as_str().into()).collect(),
            (given, _) => given.iter().map(|column| column.as_str().into()).collect(),
        };
        let pair = options.text_pair.as_ref().or(self.trained.text_pair.as_ref());
        Columns {
            text,
            pair: pair.filter(|column| *column != NO_PAIR).map(|column| column.as_str().into()),
            label: None,
            kept: Vec::new(),
        }
    }

    /// How files of texts are read: as the user says, else as in training.
    pub fn table_options(&self, options: &ColumnOptions, format: Option<Format>) -> TableOptions {
        let trained = &self.trained;
        TableOptions {
            format,
            // Numbers of columns go with it.
            no_header: options.no_header.unwrap_or(trained.no_header && options.text.is_empty()),
            columns: self.columns(options),
            conventions: Conventions {
                delimiter: options.delimiter.or(trained.delimiter),
                bad_rows: options.bad_rows,
                ..Conventions::default()
            },
        }
    }

    /// Files of labelled examples, or of unlabelled ones.
    pub fn source(&self, data: &[PathBuf], options: &DataOptions, labelled: bool) -> Result<Source> {
        let trained = &self.trained;
        let mut tables = self.table_options(&options.columns, options.format);
        if labelled {
            let label = options.label.as_deref().or(trained.label.as_deref()).unwrap_or("label");
            let ignored = if options.ignore_label.is_empty() { &trained.ignore_label } else { &options.ignore_label };
            let names = options.label_map.clone().or_else(|| trained.label_map.clone()).unwrap_or_default();
            tables.columns.label = Some(label.into());
            tables.conventions.ignored_labels = ignored.clone();
            tables.conventions.label_names = names.with_fractions(&self.model.labels);
        }
        Ok(Source::Tables(tables.tables(data)?))
    }

    /// All examples of a source, tokenized. `labels`: the classes that its labels name; none: it has no labels.
    pub fn examples(&self, source: &Source, encode: &EncodeOptions, labels: Option<&LabelMap>) -> Result<Examples> {
        let settings = self.encode_settings(encode, source.is_paired())?;
        let bar = console::bar("tokenizing", source.size());
        let set = TokenizedSet::open(
            source,
            TokenizeRequest {
                tokenizer: &self.tokenizer,
                settings,
                labels: labels.map_or(Labels::Ignore, Labels::Known),
                cache: None,
                progress: &mut |progress| {
                    bar.set_position(progress.done);
                    Ok(())
                },
                stop: Stop::NEVER,
            },
        );
        bar.finish_and_clear();
        let set = set?;
        set.notices().iter().for_each(|notice| console::say(format_args!("note: {notice}")));
        Ok(Examples::all(Arc::new(set)))
    }

    /// Logits of every example, in batches of the device's liking. Returns the device's name.
    ///
    /// The model's own copy of the weights is given up once the device has one.
    pub fn sweep(&mut self, examples: &Examples, compute: Compute, visit: &mut Visit<'_>) -> Result<String> {
        let lengths = examples.lengths();
        let plan = EvaluationPlan::new(&lengths, compute.batch_size, compute.max_tokens);
        let capacity = Capacity {
            tokens: plan.token_capacity(),
            sequences: plan.sequence_capacity(),
            length: lengths.iter().copied().max().unwrap_or(0) as usize,
        };
        let backend = compute.device.resolve(compute.precision)?;
        backend.run(Sweep { loaded: self, examples, plan: &plan, capacity, visit })
    }
}

/// Every example once, on any device.
struct Sweep<'a, 'v> {
    loaded: &'a mut Loaded,
    examples: &'a Examples,
    plan: &'a EvaluationPlan,
    capacity: Capacity,
    visit: &'a mut Visit<'v>,
}

impl OnDevice for Sweep<'_, '_> {
    type Output = Result<String>;

    fn run<D: Device>(self, make: impl FnOnce(Shape, Capacity) -> Result<D>) -> Result<String> {
        let Self { loaded, examples, plan, capacity, visit } = self;
        let device = make(Shape::new(&loaded.model.config), capacity)?;
        let mut classifier = Classifier::new(device, &loaded.model, capacity)?;
        loaded.model.weights = Vec::new();
        let bar = console::bar("classifying", examples.tokens());
        let lengths = examples.lengths();
        classifier.sweep(examples, plan, &mut |members, logits| {
            bar.inc(members.iter().map(|&member| u64::from(lengths[member as usize])).sum());
            visit(members, logits)
        })?;
        bar.finish_and_clear();
        Ok(classifier.device_name())
    }
}

/// Where and in what portions to compute.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    pub device: DeviceChoice,
    pub precision: Precision,
    pub batch_size: usize,
    pub max_tokens: usize,
}

impl From<&ComputeOptions> for Compute {
    fn from(options: &ComputeOptions) -> Self {
        let &ComputeOptions { device, precision, .. } = options;
        Self { device, precision, batch_size: options.batch_size, max_tokens: options.max_tokens }
    }
}
