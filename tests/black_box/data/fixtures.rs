//! Fixtures of the data tests: files in temporary directories and a tokenizer made from the movie reviews.
#![allow(dead_code, reason = "every test binary uses some of it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::data::{Columns, Source, Table};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

pub fn reviews(split: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/movie-reviews/{split}.csv"))
}

pub fn snli(split: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/snli/{split}.csv"))
}

pub fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

pub fn columns(text: &str, pair: Option<&str>, label: Option<&str>) -> Columns {
    Columns::new(text, pair.map(Into::into), label.map(Into::into))
}

pub fn source(path: &Path, text: &str, pair: Option<&str>, label: Option<&str>) -> Source {
    Source::from(Table::new(path, columns(text, pair, label)).unwrap())
}

/// A row that outlives its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRow {
    pub text: String,
    pub pair: Option<String>,
    pub label: Option<String>,
    pub line: u64,
}

pub fn own(text: &str, pair: Option<&str>, label: Option<&str>, line: u64) -> OwnRow {
    OwnRow { text: text.into(), pair: pair.map(Into::into), label: label.map(Into::into), line }
}

pub fn rows(source: &Source) -> bertsd_cuda::Result<Vec<OwnRow>> {
    let (mut reader, mut rows) = (source.rows()?, Vec::new());
    while let Some(row) = reader.next_row()? {
        rows.push(own(row.text, row.pair, row.label, row.line));
    }
    Ok(rows)
}

/// Special tokens, all characters of the reviews, their frequent words and word ends.
pub fn vocabulary() -> Vec<String> {
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(&source(&reviews("train"), "text", None, None)).unwrap() {
        for word in row.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *words.entry(word.to_lowercase()).or_default() += 1;
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut by_count: Vec<(&String, &usize)> = words.iter().collect();
    by_count.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
    let mut vocabulary: Vec<String> = SPECIAL.map(String::from).to_vec();
    let letters = ('!'..='~').chain("é中国ßàΣσς".chars());
    vocabulary.extend(letters.clone().map(String::from));
    vocabulary.extend(letters.filter(|c| c.is_alphanumeric()).map(|c| format!("##{c}")));
    vocabulary.extend(["ing", "ed", "er", "ly", "tion", "able", "ness"].map(|end| format!("##{end}")));
    for (word, _) in by_count.into_iter().take(4000) {
        if word.chars().count() > 1 {
            vocabulary.push(word.clone());
        }
    }
    vocabulary
}

/// `tokenizer.json` with the truncation and padding that somebody's last run left in it.
pub fn tokenizer_json(vocabulary: &[String]) -> Value {
    let id = |token: &str| vocabulary.iter().position(|known| known == token).unwrap();
    let special: Vec<Value> = SPECIAL
        .iter()
        .map(|token| {
            json!({"id": id(token), "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let token = |id: &str, kind: u32| json!({"SpecialToken": {"id": id, "type_id": kind}});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0), sequence("B", 1), token("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [id("[CLS]")], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [id("[SEP]")], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

/// A model directory with `tokenizer.json` only.
pub fn json_directory(json: &Value) -> TempDir {
    let directory = TempDir::new().unwrap();
    write(directory.path(), "tokenizer.json", json.to_string());
    directory
}

/// A model directory with `vocab.txt` and `tokenizer_config.json` only.
pub fn vocabulary_directory(vocabulary: &[String], config: &Value) -> TempDir {
    let directory = TempDir::new().unwrap();
    write(directory.path(), "vocab.txt", vocabulary.join("\n") + "\n");
    write(directory.path(), "tokenizer_config.json", config.to_string());
    directory
}

/// What `tokenizers` itself makes of the file, without its truncation and padding.
pub fn reference(json: &Value) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
    tokenizer.with_truncation(None).unwrap();
    tokenizer.with_padding(None);
    tokenizer
}
