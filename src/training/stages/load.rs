//! Load: the model to start from, but for its weights, which wait for the labels.

use std::path::PathBuf;

use crate::{
    Result,
    data::BertTokenizer,
    inference::locate,
    model::{BertConfig, ConfigFile, Model, Purpose},
    training::{Observation, RunOptions, Watch},
};

/// A checkpoint to start runs from.
pub struct BaseModel {
    pub directory: PathBuf,
    pub config: BertConfig,
    pub tokenizer: BertTokenizer,
}

impl BaseModel {
    /// Finds a model by any of its names, downloading it if need be.
    ///
    /// # Errors
    /// As [`locate`] and [`ConfigFile::read`], and of the tokenizer's files.
    pub fn open(name: &str, watch: &mut Watch<'_>) -> Result<Self> {
        let directory = locate(name, &mut |download| watch.tell(Observation::Download(download)))?;
        let config = ConfigFile::read(&directory)?.config;
        let tokenizer = BertTokenizer::from_dir(&directory, config.vocab_size)?;
        Ok(Self { directory, config, tokenizer })
    }

    /// The classifier for these labels that a run starts from, with the drop probabilities of its options.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn classifier(&self, options: &RunOptions, labels: Vec<String>, watch: &mut Watch<'_>) -> Result<Model> {
        let purpose = Purpose::Train { labels, seed: options.init_seed() };
        let (mut model, notices) = Model::load(&self.directory, purpose)?;
        notices.iter().for_each(|notice| watch.note(notice));
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
