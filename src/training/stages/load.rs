//! Load: the model to start from, but for its weights, which wait for the labels.
//!
//! A run keeps a copy of all but the weights, so that it can go on where the model is no longer there: its weights are
//! those of its last checkpoint.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    data::BertTokenizer,
    inference::locate,
    model::{BertConfig, ConfigFile, Model, Purpose},
    training::{RunOptions, Watch},
};

/// Where a run keeps configuration and tokenizer of the model that it started from.
const KEPT: &str = "checkpoints/base";
/// Large files that are no part of either.
const INDEX_SUFFIX: &str = ".index.json";

/// A checkpoint to start runs from.
pub struct BaseModel {
    /// Where it lies.
    pub directory: PathBuf,
    /// Its configuration.
    pub config: BertConfig,
    /// Its tokenizer.
    pub tokenizer: BertTokenizer,
    /// Without weights it serves a run that has its own.
    has_weights: bool,
}

impl BaseModel {
    /// Finds a model by any of its names, downloading it if need be.
    ///
    /// # Errors
    /// As [`locate`] and [`ConfigFile::read`], and of the tokenizer's files.
    pub fn open(name: &str, watch: &mut Watch<'_>) -> Result<Self> {
        let name = name.to_owned();
        watch.wait_for(move |downloads| {
            // Nobody listens when the run is to end.
            let directory = locate(&name, &mut |download| drop(downloads.send(download)))?;
            Self::read(directory, true)
        })
    }

    /// What a run that has weights of its own kept of the model it started from, if it did.
    ///
    /// # Errors
    /// As [`BaseModel::open`].
    pub fn kept_by(run: &Path) -> Result<Option<Self>> {
        let directory = run.join(KEPT);
        directory.join("config.json").is_file().then(|| Self::read(directory, false)).transpose()
    }

    fn read(directory: PathBuf, has_weights: bool) -> Result<Self> {
        let config = ConfigFile::read(&directory)?.config;
        let tokenizer = BertTokenizer::from_dir(&directory, config.vocab_size)?;
        Ok(Self { directory, config, tokenizer, has_weights })
    }

    /// Copies configuration and tokenizer into a run's directory; config.json last, which makes the copy one.
    pub(super) fn keep_in(&self, run: &Path) -> Result<()> {
        let target = run.join(KEPT);
        fs::create_dir_all(&target).map_err(Error::io("create", &target))?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(Error::io("list", &self.directory))? {
            let name = entry.map_err(Error::io("list", &self.directory))?.file_name().into_string().unwrap_or_default();
            let is_text = (name.ends_with(".json") && !name.ends_with(INDEX_SUFFIX)) || name.ends_with(".txt");
            names.extend(is_text.then_some(name));
        }
        names.sort_by_key(|name| name == "config.json");
        names.iter().try_for_each(|name| {
            fs::copy(self.directory.join(name), target.join(name))
                .map(drop)
                .map_err(Error::io("copy", target.join(name)))
        })
    }

    /// Refuses a model that is not the one which a run started from.
    pub(crate) fn require_same(&self, kept: &Self) -> Result<()> {
        if self.config == kept.config && self.tokenizer.digest() == kept.tokenizer.digest() {
            return Ok(());
        }
        let message = "is not the model that this run started from: its configuration or its tokenizer differs";
        Err(Error::model(&self.directory, message))
    }

    /// The classifier for these labels that a run starts from, with the drop probabilities of its options.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn classifier(&self, options: &RunOptions, labels: Vec<String>, watch: &mut Watch<'_>) -> Result<Model> {
        let seed = options.init_seed();
        let mut model = if self.has_weights {
            let directory = self.directory.clone();
            let (model, notices) = watch.wait_for(move |_| Model::load(&directory, Purpose::Train { labels, seed }))?;
            notices.iter().for_each(|notice| watch.note(notice));
            model
        } else {
            Model::from_scratch(&self.directory, labels, seed)?
        };
        if let Some(drop_prob) = options.dropout {
            model.config.hidden_drop_prob = drop_prob;
            model.config.classifier_drop_prob = drop_prob;
        }
        if let Some(drop_prob) = options.attention_dropout {
            model.config.attention_drop_prob = drop_prob;
        }
        Ok(model)
    }
}
