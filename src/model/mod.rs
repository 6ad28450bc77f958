//! What a BERT classifier is: its configuration, the order of its parameters, and the files it comes in.
//!
//! ```text
//! --model → hub::resolve → directory → ConfigFile → Layout → weights → Model → save → directory
//! ```
//!
//! Every byte of a model directory is checked on the way in; [`Model::save`] writes what `transformers` loads.

pub mod config;
mod config_file;
pub mod hub;
mod init;
mod labels;
pub mod layout;
mod save;
mod shards;
mod tensor_file;
mod tokenizer_files;
mod torch_file;
mod weights;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use config::{Activation, BertConfig};
pub use config_file::ConfigFile;
pub use hub::Hub;
pub use labels::class_key;
pub use layout::{Layout, Segment, View};
pub use tokenizer_files::TokenizerFiles;

use crate::{Error, Result, Stop};

/// A classifier in memory.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its configuration.
    pub config: BertConfig,
    /// Where its parameters lie in the arena.
    pub layout: Layout,
    /// The name of class i at index i; `config.labels` of them.
    pub labels: Vec<String>,
    /// All of `config.json` as it was read. Fields added here are saved too.
    pub raw: Map<String, Value>,
    /// Where it was loaded from; empty for [`Model::random`].
    pub source: PathBuf,
    /// The files of its tokenizer.
    pub tokenizer: TokenizerFiles,
    /// The arena, `layout.len` elements. A trainer may take it out; [`Model::save`] is given the weights to save.
    pub weights: Vec<f32>,
}

/// What a model is loaded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be trained for these classes, which replace those of `config.json`. A missing pooler or classifier, or a
    /// classifier for another number of classes, is initialised from the seed.
    Train {
        /// Names of the classes.
        labels: Vec<String>,
        /// Of what is initialised.
        seed: u64,
    },
    /// To classify as it is: nothing may be missing.
    Inference,
}

impl Model {
    /// Loads a Hugging Face directory. The second value tells the user what was initialised or ignored.
    ///
    /// # Errors
    /// [`Error::Model`] naming what is missing, damaged, contradictory or not supported; [`Error::Io`] when a file
    /// cannot be read; [`Error::Setting`] when the labels of [`Purpose::Train`] are none or not distinct.
    pub fn load(directory: &Path, purpose: Purpose) -> Result<(Self, Vec<String>)> {
        let mut file = ConfigFile::read(directory)?;
        let foreign_classifier = file.has_foreign_classifier();
        let mut old_labels = None;
        let seed = match purpose {
            Purpose::Inference => {
                file.require_classification(directory)?;
                None
            }
            Purpose::Train { labels, seed } => {
                require_distinct(&labels)?;
                file.config.labels = labels.len();
                old_labels = Some(std::mem::replace(&mut file.labels, labels));
                Some(seed)
            }
        };
        let layout = Layout::new(&file.config);
        let request = weights::Request { directory, config: &file.config, layout: &layout, foreign_classifier, seed };
        let tokenizer = TokenizerFiles::read(directory)?;
        let weights::Loaded { arena, mut notices, new_classifier } =
            weights::read(&shards::open(directory)?, &request)?;
        let ConfigFile { config, labels, raw } = file;
        let mut model = Self { config, layout, labels, raw, source: directory.to_owned(), tokenizer, weights: arena };
        // A new classifier has no old meaning.
        if let Some(old) = old_labels.filter(|_| !new_classifier) {
            let order = labels::rows_by_name(&old, &model.labels);
            notices.extend(labels::order_notice(&old, &model.labels, &order));
            model.reorder_classes(&order);
        }
        Ok((model, notices))
    }

    /// Gives class i the classifier's row of what was class `order[i]`. The names stay where they are.
    ///
    /// # Panics
    /// When `order` is not of this model's classes.
    pub fn reorder_classes(&mut self, order: &[usize]) {
        assert_eq!(order.len(), self.config.labels, "an old place for every class");
        if order.iter().enumerate().all(|(new, &old)| new == old) {
            return;
        }
        for view in [self.layout.classifier.weight, self.layout.classifier.bias] {
            let rows = &mut self.weights[view.range()];
            let (old, width) = (rows.to_vec(), view.len / order.len());
            for (row, &from) in rows.chunks_exact_mut(width).zip(order) {
                row.copy_from_slice(&old[from * width..][..width]);
            }
        }
    }

    /// Configuration and tokenizer of `directory`, all weights new.
    ///
    /// # Errors
    /// As [`Model::load`], the weights excepted, which are not looked at.
    pub fn from_scratch(directory: &Path, labels: Vec<String>, seed: u64) -> Result<Self> {
        require_distinct(&labels)?;
        let ConfigFile { mut config, raw, .. } = ConfigFile::read(directory)?;
        config.labels = labels.len();
        let model = Self::random(config, labels, seed);
        Ok(Self { raw, source: directory.to_owned(), tokenizer: TokenizerFiles::read(directory)?, ..model })
    }

    /// A model of these sizes with new weights and no tokenizer. The same seed gives the same weights.
    ///
    /// # Panics
    /// When there are not `config.labels` labels.
    pub fn random(config: BertConfig, labels: Vec<String>, seed: u64) -> Self {
        assert_eq!(config.labels, labels.len(), "a name for every class");
        let layout = Layout::new(&config);
        let mut weights = vec![0.0; layout.len];
        init::fill(&layout, config.initializer_range, seed, &mut weights);
        let (raw, source, tokenizer) = (Map::new(), PathBuf::new(), TokenizerFiles::default());
        Self { config, layout, labels, raw, source, tokenizer, weights }
    }

    /// Writes a directory that `transformers` loads, `weights` (an arena of this model's layout, usually
    /// `&model.weights`) as its parameters. It appears whole or not at all; an older model there is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file that could not be written; [`Error::Model`] when `directory` holds files that are
    /// not those of a model, which replacing it would lose.
    ///
    /// # Panics
    /// When `weights` has not `layout.len` elements.
    pub fn save(&self, directory: &Path, weights: &[f32]) -> Result<()> {
        self.save_unless(Stop::NEVER, directory, weights)
    }

    /// [`Model::save`], unless it is called off: then what was there still is.
    ///
    /// # Errors
    /// As there, and [`Error::Interrupted`] when it was called off.
    ///
    /// # Panics
    /// As there.
    pub fn save_unless(&self, stop: Stop<'_>, directory: &Path, weights: &[f32]) -> Result<()> {
        save::save(self, directory, weights, stop)
    }
}

fn require_distinct(labels: &[String]) -> Result<()> {
    let mut sorted: Vec<_> = labels.iter().collect();
    sorted.sort_unstable();
    if labels.is_empty() {
        return Err(Error::setting("labels", "there are none; a classifier needs at least one class"));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::setting("labels", format!("the name '{}' comes twice", pair[0]))),
        None => Ok(()),
    }
}
