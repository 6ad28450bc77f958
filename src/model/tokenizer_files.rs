//! The files that make a model's tokenizer, carried as bytes from where the model was loaded to where it is saved.
//!
//! They are read when the model is: hours later, when training ends, the directory it came from may be gone.

use std::path::Path;

use super::shards::read_limited;
use crate::Result;

/// Everything that `transformers` may look for. Any of them may be absent.
pub(super) const NAMES: [&str; 5] =
    ["tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

const FILE_MAX_BYTES: u64 = 256 << 20;

/// Name and content of each file, byte for byte.
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
        let files = present.map(|name| Ok((name, read_limited(&directory.join(name), FILE_MAX_BYTES)?)));
        Ok(Self { files: files.collect::<Result<_>>()? })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// The content of `name`, where there is one.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|(own, bytes)| (own == name).then_some(bytes))
    }
}
