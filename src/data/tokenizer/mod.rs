//! The tokenizer of a model directory, by the `tokenizers` crate.
//!
//! ```text
//! files → plan (what holds where they disagree) → build → BertTokenizer → SequenceEncoder
//!                                                                      → export (files that read the same elsewhere)
//! ```
//!
//! The same directory gives a text the same ids as `AutoTokenizer` of transformers 5 does; what it does not, is refused
//! by name. Truncation and padding saved in `tokenizer.json` are settings of somebody's past run and do not count.
//! Special tokens are added by [`SequenceEncoder`](super::SequenceEncoder), not by the post-processor.

mod build;
mod class;
mod export;
mod plan;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::{ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};
use xxhash_rust::xxh3::Xxh3;

use super::Truncation;
use crate::{Error, Result};
use build::Built;
use class::Class;
use plan::TokenizerPlan;

/// Tokens of the longest sequence where nothing says how long it is.
const LONGEST: usize = 512;

/// Cuts texts into the ids of one model's vocabulary.
pub struct BertTokenizer {
    directory: PathBuf,
    tokenizer: Tokenizer,
    class: Class,
    cls: u32,
    sep: u32,
    vocab_size: usize,
    by_word: bool,
    types: bool,
    max_length: Option<usize>,
    truncates_left: bool,
    /// The tokens that settings name: `cls_token` and the like.
    named: Vec<(&'static str, String)>,
    /// `tokenizer_config.json` as it holds.
    settings: Map<String, Value>,
    /// All of it as a tokenizer.json, whatever it was read from.
    json: String,
    notices: Vec<String>,
}

impl BertTokenizer {
    /// Reads the tokenizer of a model whose embedding has `vocab_size` rows.
    ///
    /// # Errors
    /// [`Error::Model`] when the files are malformed, of a class that is not supported, or of another model;
    /// [`Error::Io`] when one is there and cannot be read.
    pub fn from_dir(directory: &Path, vocab_size: usize) -> Result<Self> {
        let plan = TokenizerPlan::read(directory)?;
        let Built { tokenizer, cls, sep, notices } = build::build(&plan, vocab_size)?;
        require_rows(&tokenizer, vocab_size).map_err(|message| Error::model(directory, message))?;
        let json = tokenizer.to_string(true).map_err(|fault| Error::model(directory, fault.to_string()))?;
        Ok(Self {
            by_word: is_by_word(&tokenizer),
            directory: plan.directory,
            tokenizer,
            class: plan.class,
            cls,
            sep,
            vocab_size,
            types: plan.types,
            max_length: plan.max_length,
            truncates_left: plan.truncates_left,
            named: plan.named.into_iter().map(|(key, token)| (key, token.content)).collect(),
            settings: plan.settings,
            json,
            notices,
        })
    }

    /// For the user: where the files disagree, and what holds.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Id of the token that begins every sequence.
    pub fn cls(&self) -> u32 {
        self.cls
    }

    /// Id of the token that ends each text.
    pub fn sep(&self) -> u32 {
        self.sep
    }

    /// Rows of the model's embedding; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether the second text of a pair has token type 1; models made without token types have 0 throughout.
    pub fn has_types(&self) -> bool {
        self.types
    }

    /// Tokens of the longest sequence, special ones included, where the files say it (`model_max_length`).
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Where nobody says a length: that of the files, at most 512 and what a model of so many positions knows.
    pub fn max_length_within(&self, positions: usize) -> usize {
        self.max_length.unwrap_or(LONGEST).min(LONGEST).min(positions)
    }

    /// The part of a text that is too long which stays, as the files say it (`truncation_side`).
    pub fn truncation(&self) -> Truncation {
        if self.truncates_left { Truncation::Tail } else { Truncation::Head }
    }

    /// A text's tokens as strings, for people.
    pub fn tokens(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|id| self.tokenizer.id_to_token(*id).unwrap_or_default()).collect()
    }

    /// A hash of everything that decides which ids and types a text gets.
    pub(crate) fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(self.json.as_bytes());
        hash.update(&self.cls.to_le_bytes());
        hash.update(&self.sep.to_le_bytes());
        hash.update(&[u8::from(self.types), u8::from(self.tokenizer.get_encode_special_tokens())]);
        hash.digest128()
    }

    /// Whether a text's tokens are those of its stretches between white space, one after another.
    pub(super) fn works_by_word(&self) -> bool {
        self.by_word
    }

    /// Appends the tokens of `text`, computed as one piece, without special ones.
    pub(super) fn append_whole(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|fault| Error::model(&self.directory, fault.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

/// Every id that a text may get has a row. An empty line of a vocabulary is no token that a text may get.
fn require_rows(tokenizer: &Tokenizer, vocab_size: usize) -> Result<(), String> {
    let vocabulary = tokenizer.get_vocab(true).into_iter();
    match vocabulary.filter(|(token, _)| !token.is_empty()).max_by_key(|(_, id)| *id) {
        Some((token, id)) if id as usize >= vocab_size => Err(format!(
            "the tokenizer's token '{token}' has id {id}, but the model's embedding has only {vocab_size} rows; \
             the tokenizer belongs to another model"
        )),
        _ => Ok(()),
    }
}

/// True for BERT's own three stages, each of which works within stretches free of white space: cleaning, Chinese
/// characters, decomposition (a space starts a new combining sequence) and lower case by character; splitting;
/// WordPiece by word. Added tokens are searched in the whole text, so they must not hold white space, before or after
/// cleaning, or look at their neighbours.
fn is_by_word(tokenizer: &Tokenizer) -> bool {
    let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else { return false };
    let cleaned_has_space = |content: &str| {
        let mut cleaned = NormalizedString::from(content);
        normalizer.normalize(&mut cleaned).is_err() || cleaned.get().contains(char::is_whitespace)
    };
    matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        && matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_))
        && tokenizer.get_added_tokens_decoder().values().all(|token| {
            let spaced =
                token.content.contains(char::is_whitespace) || (token.normalized && cleaned_has_space(&token.content));
            !(token.single_word || token.lstrip || token.rstrip || spaced)
        })
}
