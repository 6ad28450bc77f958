//! The files that make a model's tokenizer, carried as bytes from where the model was loaded to where it is saved.
//!
//! They are read when the model is: hours later, when training ends, the directory it came from may be gone. Truncation
//! and padding in tokenizer.json are left behind: they are settings of somebody's past run, and would cut the texts of
//! whoever uses the file. Training puts its own in their place ([`TokenizerFiles::replace`]).

use std::path::Path;

use serde_json::{Map, Value};

use super::shards::read_limited;
use crate::Result;

const TOKENIZER: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";

/// Everything that `transformers` may look for. Any of them may be absent.
pub(super) const NAMES: [&str; 5] = [TOKENIZER, "vocab.txt", SETTINGS, "special_tokens_map.json", "added_tokens.json"];

const FILE_MAX_BYTES: u64 = 256 << 20;

/// Settings of tokenizer.json that say nothing of the tokens.
const PAST_SETTINGS: [&str; 2] = ["truncation", "padding"];
/// Settings of tokenizer_config.json that say how sequences are cut.
const CUT: [&str; 2] = ["model_max_length", "truncation_side"];

/// Name and content of each file, byte for byte but for the settings of a past run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    files: Vec<(&'static str, Vec<u8>)>,
}

impl TokenizerFiles {
    /// Those that are in `directory`; none is not an error here.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when one is there and cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        let present = NAMES.into_iter().filter(|name| directory.join(name).exists());
        let files = present.map(|name| {
            let bytes = read_limited(&directory.join(name), FILE_MAX_BYTES)?;
            Ok((name, if name == TOKENIZER { without_past_settings(bytes) } else { bytes }))
        });
        Ok(Self { files: files.collect::<Result<_>>()? })
    }

    /// Names and contents.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// Puts other content in the place of some files, or leaves them out where there is none.
    pub fn replace(&mut self, files: Vec<(&'static str, Option<Vec<u8>>)>) {
        for (name, content) in files {
            self.files.retain(|(own, _)| *own != name);
            self.files.extend(content.map(|bytes| (name, bytes)));
        }
    }

    /// Whether a text gets the same ids from both; the length and the side to cut at may differ.
    pub fn same_tokens(&self, other: &Self) -> bool {
        let content = |files: &Self| -> Vec<(&'static str, Vec<u8>)> {
            files
                .iter()
                .map(|(name, bytes)| (name, if name == SETTINGS { without_cut(bytes) } else { bytes.to_vec() }))
                .collect()
        };
        content(self) == content(other)
    }

    /// The content of `name`, where there is one.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|(own, bytes)| (own == name).then_some(bytes))
    }
}

/// tokenizer_config.json without what it says of the length of sequences. What is no JSON stays as it is.
fn without_cut(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut settings) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return bytes.to_vec() };
    settings.retain(|key, _| !CUT.contains(&key.as_str()));
    serde_json::to_vec(&settings).unwrap_or_default()
}

/// tokenizer.json with truncation and padding off. What is no JSON stays as it is: whoever reads it says so.
fn without_past_settings(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) else { return bytes };
    let mut changed = false;
    for setting in PAST_SETTINGS {
        if let Some(value) = json.get_mut(setting).filter(|value| !value.is_null()) {
            *value = Value::Null;
            changed = true;
        }
    }
    if !changed {
        return bytes;
    }
    serde_json::to_vec_pretty(&json).unwrap_or(bytes)
}
