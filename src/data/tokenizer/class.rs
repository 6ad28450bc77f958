//! The `tokenizer_class` of a checkpoint: which of them are computed here, and how.
//!
//! The lists are of what is known to be equal. A class that is on neither is refused by name: what cuts words with a
//! dictionary of Japanese, or with SentencePiece, comes with a `vocab.txt` too.

use std::path::Path;

use crate::{Error, Result};

/// How a class makes its tokenizer from the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `BertTokenizer`, which takes the vocabulary from the files and builds everything else from
    /// `tokenizer_config.json`.
    Bert,
    /// Whatever `tokenizer.json` says.
    AsSaved,
}

/// Classes that are `BertTokenizer` under another name.
const BERT: [&str; 11] = [
    "BertTokenizer",
    "ConvBertTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "RetriBertTokenizer",
    "SqueezeBertTokenizer",
];

/// Classes that are `tokenizer.json` and nothing else.
const AS_SAVED: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];

/// Classes whose inputs have no token types unless `model_input_names` names them.
const WITHOUT_TYPES: [&str; 3] = ["DistilBertTokenizer", "PreTrainedTokenizer", "TokenizersBackend"];

/// The class of this name, and whether its second texts are of type 1 where nothing else is said; without a name it is
/// that of a BERT.
///
/// # Errors
/// [`Error::Model`] naming a class that is not known to be computed here. `file` is where the name stands.
pub(super) fn named(name: Option<&str>, file: &Path) -> Result<(Class, bool)> {
    let Some(name) = name else { return Ok((Class::Bert, true)) };
    // transformers 5 has one class for what used to be a slow and a fast one.
    let stem = name.strip_suffix("Fast").unwrap_or(name);
    let types = !WITHOUT_TYPES.contains(&stem);
    if BERT.contains(&stem) {
        return Ok((Class::Bert, types));
    }
    if AS_SAVED.contains(&stem) {
        return Ok((Class::AsSaved, types));
    }
    let message = format!(
        "tokenizer_class '{name}' is not supported, as it may cut texts in another way than BERT's tokenizer; \
         supported are {} (each also with 'Fast') and PreTrainedTokenizerFast with a tokenizer.json",
        BERT.join(", ")
    );
    Err(Error::model(file, message))
}
