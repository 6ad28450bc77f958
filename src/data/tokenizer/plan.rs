//! What the files of a model directory say about its tokenizer, and which of them holds where they disagree.
//!
//! The rules are those of `AutoTokenizer` in transformers 5:
//!
//! - The class is that of `tokenizer_config.json`, else that of `config.json`, else BERT's.
//! - The vocabulary is that of `tokenizer.json`, else `vocab.txt`.
//! - Added tokens are those of `added_tokens_decoder` in `tokenizer_config.json`. Only where it is absent do
//!   `special_tokens_map.json` (over the settings of `tokenizer_config.json`), `added_tokens.json` and the
//!   `added_tokens` of `tokenizer.json` count.
//! - BERT's class takes lower-casing, accents and Chinese characters from `tokenizer_config.json`, whatever
//!   `tokenizer.json` has.
//! - The side to cut at is that of `tokenizer_config.json`, else that of a truncation saved in `tokenizer.json`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::{self, Class};
use crate::{Error, Result};

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const VOCABULARY: &str = "vocab.txt";
pub(super) const SETTINGS: &str = "tokenizer_config.json";
const CONFIG: &str = "config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The settings that name one token each, in the order in which transformers adds what is not there yet.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of further special tokens: today's name, and what it was.
const EXTRA: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
/// What BERT's class takes where nothing is said.
const BERT_DEFAULTS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
/// A length beyond this is the way to say "no limit".
const UNLIMITED: f64 = 1e20;

/// Everything that decides which ids a text gets.
pub(super) struct TokenizerPlan {
    pub directory: PathBuf,
    pub class: Class,
    /// The file's content, truncation and padding off.
    pub json: Option<Value>,
    pub vocabulary: Option<Vec<u8>>,
    pub lowercase: bool,
    pub strip_accents: Option<bool>,
    pub chinese: bool,
    /// Texts that spell a special token are cut like any other.
    pub split_special: bool,
    /// Special tokens by the setting that names them.
    pub named: Vec<(&'static str, AddedToken)>,
    /// Tokens that the files add, in the order of their ids.
    pub added: BTreeMap<u32, AddedToken>,
    /// Further special tokens.
    pub extra: Vec<AddedToken>,
    /// Second texts are of type 1.
    pub types: bool,
    pub max_length: Option<usize>,
    pub truncates_left: bool,
    /// `tokenizer_config.json` as it holds.
    pub settings: Map<String, Value>,
}

impl TokenizerPlan {
    /// # Errors
    /// [`Error::Model`] naming the file that is malformed, the class that is not supported or the setting that has no
    /// meaning; [`Error::Io`] when a file is there and cannot be read.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = |name: &str| directory.join(name);
        let mut settings = object(&path(SETTINGS))?.unwrap_or_default();
        let config = object(&path(CONFIG))?.unwrap_or_default();
        let (class, class_has_types) = match text(&settings, "tokenizer_class") {
            Some(name) => class::named(Some(name), &path(SETTINGS))?,
            None => class::named(text(&config, "tokenizer_class"), &path(CONFIG))?,
        };
        let mut json = value(&path(TOKENIZER))?;
        let side = json.as_ref().and_then(|json| json["truncation"]["direction"].as_str()).map(str::to_owned);
        for past in ["truncation", "padding"] {
            if let Some(value) = json.as_mut().and_then(|json| json.get_mut(past)) {
                *value = Value::Null;
            }
        }
        let added = added_tokens(directory, &mut settings, json.as_ref())?;
        let vocabulary = if json.is_none() { read_if_present(&path(VOCABULARY))? } else { None };
        if json.is_none() && vocabulary.is_none() {
            return Err(Error::model(directory, format!("there is neither {TOKENIZER} nor {VOCABULARY}")));
        }
        if class == Class::AsSaved && json.is_none() {
            let name = text(&settings, "tokenizer_class").or(text(&config, "tokenizer_class")).unwrap_or_default();
            return Err(Error::model(
                directory,
                format!("tokenizer_class '{name}' needs a {TOKENIZER}, which is not there"),
            ));
        }
        let settings = Settings { values: settings, path: path(SETTINGS) };
        let types = match settings.values.get("model_input_names").and_then(Value::as_array) {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => class_has_types,
        };
        Ok(Self {
            directory: directory.to_owned(),
            class,
            json,
            vocabulary,
            lowercase: settings.flag("do_lower_case")?.unwrap_or(true),
            strip_accents: match settings.values.get("strip_accents") {
                None | Some(Value::Null) => None,
                Some(_) => settings.flag("strip_accents")?,
            },
            chinese: settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
            split_special: settings.flag("split_special_tokens")?.unwrap_or(false),
            named: settings.named_tokens(class, &added)?,
            extra: settings.extra_tokens()?,
            added,
            types,
            max_length: settings.max_length()?,
            truncates_left: settings.truncates_left(side.as_deref())?,
            settings: settings.values,
        })
    }
}

/// `tokenizer_config.json`, with what `special_tokens_map.json` puts over it.
struct Settings {
    values: Map<String, Value>,
    path: PathBuf,
}

impl Settings {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::model(&self.path, message)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.error(format!("'{key}' is {other}; it must be true or false"))),
        }
    }

    fn named_tokens(&self, class: Class, added: &BTreeMap<u32, AddedToken>) -> Result<Vec<(&'static str, AddedToken)>> {
        let mut named = Vec::new();
        for key in NAMED {
            let default = BERT_DEFAULTS.iter().find(|(name, _)| class == Class::Bert && *name == key);
            let token = match (self.values.get(key), default) {
                (None, None) | (Some(Value::Null), _) => continue,
                (None, Some((_, content))) => AddedToken::from(*content, true),
                (Some(value), _) => token(value, true).ok_or_else(|| {
                    self.error(format!("'{key}' is {value}; it must be a string, or an object with its content"))
                })?,
            };
            // What the files say of the token itself holds, but that it is special is said here.
            let known = added.values().find(|known| known.content == token.content).cloned();
            named.push((key, AddedToken { special: true, ..known.unwrap_or(token) }));
        }
        Ok(named)
    }

    /// `extra_special_tokens` (a list, or names with their tokens) or, as it was called, `additional_special_tokens`;
    /// and every other setting that names a token.
    fn extra_tokens(&self) -> Result<Vec<AddedToken>> {
        let given =
            |key: &str| self.values.get(key).filter(|value| !is_empty(value)).map(|value| (key.to_owned(), value));
        let further = self.values.iter().filter(|(key, _)| key.ends_with("_token") && !NAMED.contains(&key.as_str()));
        let further = further.filter_map(|(_, value)| value.as_str());
        let mut extra: Vec<AddedToken> = further.map(|content| AddedToken::from(content, true)).collect();
        if let Some((key, list)) = EXTRA.iter().find_map(|key| given(key)) {
            let tokens: Vec<&Value> = match list {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                other => return Err(self.error(format!("'{key}' is {other}; it must be a list of tokens"))),
            };
            for value in tokens {
                let token = token(value, true);
                extra.push(token.ok_or_else(|| self.error(format!("'{key}' has {value}, which is no token")))?);
            }
        }
        Ok(extra)
    }

    fn max_length(&self) -> Result<Option<usize>> {
        let given = |key: &str| self.values.get(key).filter(|value| !value.is_null());
        let Some(value) = given("model_max_length").or_else(|| given("max_len")) else { return Ok(None) };
        match value.as_f64() {
            Some(length) if length > UNLIMITED => Ok(None),
            Some(length) if length >= 1.0 && length.fract() == 0.0 => Ok(Some(length as usize)),
            _ => Err(self.error(format!("'model_max_length' is {value}; it must be a whole number of tokens"))),
        }
    }

    fn truncates_left(&self, saved: Option<&str>) -> Result<bool> {
        let side = self.values.get("truncation_side").filter(|value| !value.is_null());
        match (side, side.and_then(Value::as_str)) {
            (None, _) => Ok(saved.is_some_and(|side| side.eq_ignore_ascii_case("left"))),
            (Some(_), Some("left")) => Ok(true),
            (Some(_), Some("right")) => Ok(false),
            (Some(value), _) => {
                Err(self.error(format!("'truncation_side' is {value}; it must be \"left\" or \"right\"")))
            }
        }
    }
}

/// The tokens that the files add, by the ids that they give them. Where `tokenizer_config.json` has no list of them,
/// puts `special_tokens_map.json` over its settings.
fn added_tokens(
    directory: &Path,
    settings: &mut Map<String, Value>,
    json: Option<&Value>,
) -> Result<BTreeMap<u32, AddedToken>> {
    let mut added = BTreeMap::new();
    if let Some(decoder) = settings.get("added_tokens_decoder") {
        let path = directory.join(SETTINGS);
        let fault = |message: String| Error::model(&path, message);
        let decoder =
            decoder.as_object().ok_or_else(|| fault("'added_tokens_decoder' must be an object".to_owned()))?;
        for (id, value) in decoder {
            let entry = || fault(format!("'added_tokens_decoder' has {id}: {value}; it must be an id and a token"));
            added.insert(id.parse().map_err(|_| entry())?, token(value, false).ok_or_else(entry)?);
        }
        return Ok(added);
    }
    // Lists of further special tokens that special_tokens_map.json has under the older name say nothing of these
    // tokens, and nothing at all where the settings have one.
    let mut listed = EXTRA.iter().filter_map(|key| settings.get(*key)).find(|list| !is_empty(list)).cloned();
    for (key, value) in object(&directory.join(SPECIAL))?.unwrap_or_default() {
        match (key.as_str(), &mut listed, value) {
            ("additional_special_tokens", Some(_), _) => {}
            ("extra_special_tokens", Some(Value::Array(own)), Value::Array(more)) => {
                own.extend(more);
                settings.insert(key, own.as_slice().into());
            }
            ("extra_special_tokens", _, value) => {
                listed = Some(value.clone());
                settings.insert(key, value);
            }
            (_, _, value) => {
                settings.insert(key, value);
            }
        }
    }
    let path = directory.join(ADDED);
    for (content, id) in object(&path)?.unwrap_or_default() {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| Error::model(&path, format!("'{content}' has no id that is a whole number")))?;
        let special = is_named(settings, listed.as_ref(), &content);
        added.insert(id, AddedToken::from(content, special));
    }
    for value in json.and_then(|json| json["added_tokens"].as_array()).into_iter().flatten() {
        let id = value["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let (Some(id), Some(token)) = (id, token(value, false)) else {
            let message = format!("'added_tokens' has {value}, which is no token with its id");
            return Err(Error::model(directory.join(TOKENIZER), message));
        };
        added.insert(id, token);
    }
    Ok(added)
}

/// Whether one of the settings says that this is a special token.
fn is_named(settings: &Map<String, Value>, listed: Option<&Value>, content: &str) -> bool {
    let is = |value: &Value| token(value, true).is_some_and(|token| token.content == content);
    NAMED.iter().any(|key| settings.get(*key).is_some_and(is))
        || listed.and_then(Value::as_array).is_some_and(|list| list.iter().any(is))
}

/// A token as the files write one: its text, or an object with its content and flags. A text is special if `special`.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, special));
    }
    let content = value.get("content")?.as_str()?;
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let token = AddedToken::from(content, flag("special").unwrap_or(special));
    Some(AddedToken {
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(token.normalized),
        ..token
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match value(path)? {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Error::model(path, "is not a JSON object")),
    }
}

fn value(path: &Path) -> Result<Option<Value>> {
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes).map_err(|fault| Error::model(path, format!("not valid JSON: {fault}")))
    };
    read_if_present(path)?.map(parse).transpose()
}

fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(Error::io("read", path)(fault)),
    }
}
