//! `config.json` as a whole: what is computed with, the names of the labels, and every other field, to be written back.

use std::path::Path;

use serde_json::{Map, Value};

use super::{BertConfig, config, labels, shards::read_limited};
use crate::{Error, Result};

pub(super) const NAME: &str = "config.json";
const MAX_BYTES: u64 = 64 << 20;

/// The one kind of model that is written, and whose classifier is taken over.
pub(super) const ARCHITECTURE: &str = "BertForSequenceClassification";
const PROBLEM: &str = "single_label_classification";

/// A configuration as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What was read.
    pub config: BertConfig,
    /// The name of class i at index i; `config.labels` of them.
    pub labels: Vec<String>,
    /// The JSON object, in its order.
    pub raw: Map<String, Value>,
}

impl ConfigFile {
    /// Reads `config.json` of a model directory.
    ///
    /// # Errors
    /// [`Error::Model`] when the directory or the file is not there, the JSON is malformed, or as
    /// [`BertConfig::from_json`]; [`Error::Io`] when the file cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        if !directory.is_dir() {
            return Err(Error::model(directory, "there is no such directory"));
        }
        let path = directory.join(NAME);
        if !path.exists() {
            return Err(Error::model(directory, format!("has no {NAME}; give the directory of a Hugging Face BERT")));
        }
        let bytes = read_limited(&path, MAX_BYTES)?;
        let raw: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::model(&path, format!("is not a JSON object: {error}")))?;
        let config = BertConfig::from_json(&raw, &path)?;
        let labels = labels::from_json(&raw, &path)?;
        Ok(Self { config, labels, raw })
    }

    /// The checkpoint says that it is something else than a sequence classifier; its `classifier` may be for tokens.
    pub(super) fn has_foreign_classifier(&self) -> bool {
        let names = config::architectures(&self.raw);
        !names.is_empty() && !names.contains(&ARCHITECTURE)
    }

    /// # Errors
    /// [`Error::Model`] for what has no most probable class: regression, several labels a text, a single class.
    pub(super) fn require_classification(&self, directory: &Path) -> Result<()> {
        let path = directory.join(NAME);
        match self.raw.get("problem_type").and_then(Value::as_str) {
            None | Some(PROBLEM) => {}
            Some(other) => {
                let message = format!("problem_type '{other}' is not supported; only '{PROBLEM}' is");
                return Err(Error::model(path, message));
            }
        }
        if self.config.labels < 2 {
            let message = "has a single label, which transformers takes as a regression; a classifier has two or more";
            return Err(Error::model(path, message));
        }
        Ok(())
    }
}

/// The JSON object for a classifier: `raw` with the fields that training decides.
pub(super) fn to_json(raw: &Map<String, Value>, config: &BertConfig, names: &[String]) -> Map<String, Value> {
    let mut json = raw.clone();
    json.insert("architectures".to_owned(), vec![ARCHITECTURE].into());
    json.insert("model_type".to_owned(), "bert".into());
    config.write_to(&mut json);
    labels::write_to(&mut json, names);
    json.insert("problem_type".to_owned(), PROBLEM.into());
    // Releases before 4.56 know "torch_dtype" only and take float32 where it is absent.
    json.insert("dtype".to_owned(), "float32".into());
    if json.contains_key("torch_dtype") {
        json.insert("torch_dtype".to_owned(), "float32".into());
    }
    json
}
