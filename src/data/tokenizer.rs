//! The tokenizer of a model directory, by the `tokenizers` crate.
//!
//! Read from `tokenizer.json`, or built from `vocab.txt` and `tokenizer_config.json` as `BertTokenizerFast` does. Truncation
//! and padding saved in `tokenizer.json` are settings of somebody's past run and do not count. Special tokens are added by
//! [`SequenceEncoder`](super::SequenceEncoder), not by the post-processor; loading checks that both agree, so that another
//! scheme than BERT's is refused and not misread.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer, TokenizerBuilder,
    models::wordpiece::WordPiece, normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
    processors::bert::BertProcessing,
};
use xxhash_rust::xxh3::Xxh3;

use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";

pub struct BertTokenizer {
    directory: PathBuf,
    tokenizer: Tokenizer,
    cls: u32,
    sep: u32,
    vocab_size: usize,
    by_word: bool,
    /// All of it as a tokenizer.json, whatever it was read from.
    json: String,
}

impl BertTokenizer {
    /// Reads the tokenizer of a model whose embedding has `vocab_size` rows.
    pub fn from_dir(directory: &Path, vocab_size: usize) -> Result<Self> {
        let config = directory.join(CONFIG);
        let config = read_if_present(&config)?.map_or(Ok(Value::Null), |bytes| parse(&config, &bytes))?;
        let path = directory.join(TOKENIZER);
        let tokenizer = match read_if_present(&path)? {
            Some(bytes) => {
                let mut json = parse(&path, &bytes)?;
                for setting in ["truncation", "padding"] {
                    if let Some(value) = json.get_mut(setting) {
                        *value = Value::Null;
                    }
                }
                Tokenizer::from_bytes(json.to_string()).map_err(|fault| Error::model(&path, fault.to_string()))?
            }
            None => match read_if_present(&directory.join(VOCABULARY))? {
                Some(bytes) => from_vocabulary(&directory.join(VOCABULARY), &bytes, &config)?,
                None => return Err(Error::model(directory, "there is neither tokenizer.json nor vocab.txt")),
            },
        };
        let json = tokenizer.to_string(true).map_err(|fault| Error::model(&path, fault.to_string()))?;
        Self::check(directory, tokenizer, &config, vocab_size, json)
    }

    fn check(directory: &Path, tokenizer: Tokenizer, config: &Value, vocab_size: usize, json: String) -> Result<Self> {
        let fault = |message| Error::model(directory, message);
        let special = |key, default| {
            let token = special_token(config, key, default);
            let missing =
                || fault(format!("the tokenizer has no token '{token}', which begins or ends every sequence"));
            tokenizer.token_to_id(&token).ok_or_else(missing)
        };
        let (cls, sep) = (special("cls_token", "[CLS]")?, special("sep_token", "[SEP]")?);
        if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id)
            && id as usize >= vocab_size
        {
            let message = format!(
                "the tokenizer's token '{token}' has id {id}, but the model's embedding has only {vocab_size} rows; \
                 the tokenizer belongs to another model"
            );
            return Err(fault(message));
        }
        if let ModelWrapper::WordPiece(pieces) = tokenizer.get_model()
            && tokenizer.token_to_id(&pieces.unk_token).is_none()
        {
            return Err(fault(format!("the vocabulary lacks the token for unknown words, '{}'", pieces.unk_token)));
        }
        let by_word = is_by_word(&tokenizer);
        let directory = directory.to_path_buf();
        let tokenizer = Self { directory, tokenizer, cls, sep, vocab_size, by_word, json };
        tokenizer.check_scheme()?;
        Ok(tokenizer)
    }

    /// Compares the special tokens and types of the file's post-processor with BERT's.
    fn check_scheme(&self) -> Result<()> {
        if self.tokenizer.get_post_processor().is_none() {
            return Ok(());
        }
        let fault = |error: tokenizers::Error| Error::model(&self.directory, error.to_string());
        let mut a = Vec::new();
        self.append_whole("a", &mut a)?;
        let single = [&[self.cls][..], &a, &[self.sep]].concat();
        let pair = [&single[..], &a, &[self.sep]].concat();
        let types: Vec<u32> = (0..pair.len()).map(|i| u32::from(i >= single.len())).collect();
        let found_single = self.tokenizer.encode_fast("a", true).map_err(fault)?;
        let found_pair = self.tokenizer.encode_fast(("a", "a"), true).map_err(fault)?;
        if found_single.get_ids() == single && found_pair.get_ids() == pair && found_pair.get_type_ids() == types {
            return Ok(());
        }
        let message =
            "its tokenizer does not build [CLS] A [SEP] B [SEP] with token types 0 and 1; this is no BERT tokenizer";
        Err(Error::model(&self.directory, message))
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

    /// A text's tokens as strings, for people.
    pub fn tokens(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|id| self.tokenizer.id_to_token(*id).unwrap_or_default()).collect()
    }

    /// A hash of everything that decides which ids a text gets.
    pub(crate) fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(self.json.as_bytes());
        hash.update(&self.cls.to_le_bytes());
        hash.update(&self.sep.to_le_bytes());
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

/// True for BERT's own three stages, each of which works within stretches free of white space: cleaning, Chinese characters,
/// decomposition (a space starts a new combining sequence) and lower case by character; splitting; WordPiece by word.
/// Added tokens are searched in the whole text, so they must not hold white space or look at their neighbours.
fn is_by_word(tokenizer: &Tokenizer) -> bool {
    matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(_)))
        && matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        && matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_))
        && tokenizer.get_added_tokens_decoder().values().all(|token| {
            !(token.single_word || token.lstrip || token.rstrip || token.content.contains(char::is_whitespace))
        })
}

fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(Error::io("read", path)(fault)),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|fault| Error::model(path, format!("not valid JSON: {fault}")))
}

/// A special token's text: configurations give it as a string or as an object with its `content`.
fn special_token(config: &Value, key: &str, default: &str) -> String {
    let value = &config[key];
    value.as_str().or_else(|| value["content"].as_str()).unwrap_or(default).to_owned()
}

fn from_vocabulary(path: &Path, bytes: &[u8], config: &Value) -> Result<Tokenizer> {
    let fault = |error: tokenizers::Error| Error::model(path, error.to_string());
    let flag = |key: &str| config[key].as_bool();
    let vocabulary = WordPiece::read_bytes(bytes).map_err(fault)?;
    let id = |token: &str| {
        let missing = || Error::model(path, format!("the vocabulary lacks '{token}'; is this a BERT vocabulary?"));
        vocabulary.get(token).copied().ok_or_else(missing)
    };
    let [unk, sep, pad, cls, mask] =
        [("unk", "[UNK]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("cls", "[CLS]"), ("mask", "[MASK]")]
            .map(|(key, default)| special_token(config, &format!("{key}_token"), default));
    let processing = BertProcessing::new((sep.clone(), id(&sep)?), (cls.clone(), id(&cls)?));
    id(&unk)?;
    // Only tokens the vocabulary has: an added one would get an id that the embedding lacks.
    let special: Vec<AddedToken> = [&unk, &sep, &pad, &cls, &mask]
        .into_iter()
        .filter(|token| vocabulary.contains_key(*token))
        .map(|token| AddedToken::from(token.clone(), true))
        .collect();
    let normalizer = BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars").unwrap_or(true),
        flag("strip_accents"),
        flag("do_lower_case").unwrap_or(true),
    );
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unk).build().map_err(fault)?;
    let mut tokenizer: Tokenizer = TokenizerBuilder::new()
        .with_model(ModelWrapper::from(model))
        .with_normalizer(Some(NormalizerWrapper::from(normalizer)))
        .with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)))
        .with_post_processor(Some(tokenizers::PostProcessorWrapper::Bert(processing)))
        .with_decoder(Some(
            tokenizers::DecoderWrapper::WordPiece(tokenizers::decoders::wordpiece::WordPiece::default()),
        ))
        .build()
        .map_err(fault)?
        .into();
    tokenizer.add_special_tokens(special).map_err(fault)?;
    Ok(tokenizer)
}
