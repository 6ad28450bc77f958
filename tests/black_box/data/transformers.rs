//! Ids of odd texts against those that transformers gave, over directories whose files say how in many ways
//! (tests/transformers/make_tokenizers.py).

use std::{collections::HashMap, fs, path::Path};

use bertsd_cuda::data::{BertTokenizer, EncodeSettings, SequenceEncoder, Truncation};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const UNCUT: EncodeSettings = EncodeSettings { max_length: 1 << 30, truncation: Truncation::Head };
/// Hexadecimal digits of a hash.
const DIGITS: usize = 8;

#[derive(Deserialize)]
struct Recorded {
    rows: usize,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Case {
    name: String,
    files: Map<String, Value>,
    /// A few texts by number, with all their ids.
    ids: HashMap<usize, Vec<u32>>,
    /// Hashes of every text, of pairs with their types, of texts that are cut.
    single: String,
    pairs: String,
    cut: String,
}

struct Fixture {
    recorded: Recorded,
    texts: Vec<String>,
    vocabulary: String,
}

impl Fixture {
    fn read() -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/tokenizers");
        let read = |name: &str| fs::read_to_string(home.join(name)).unwrap();
        Self {
            recorded: serde_json::from_str(&read("cases.json")).unwrap(),
            texts: serde_json::from_str(&read("texts.json")).unwrap(),
            vocabulary: read("vocab.txt"),
        }
    }

    fn case(&self, name: &str) -> &Case {
        self.recorded.cases.iter().find(|case| case.name == name).unwrap()
    }

    /// The directory that a case describes.
    fn write(&self, files: &Map<String, Value>) -> TempDir {
        let directory = TempDir::new().unwrap();
        for (name, content) in files {
            let text = match content {
                Value::String(text) if text == "@vocab" => self.vocabulary.clone(),
                Value::String(text) => text.clone(),
                json => {
                    let mut json = json.clone();
                    if let Some(vocab) = json.get_mut("model").and_then(|model| model.get_mut("vocab"))
                        && vocab == "@vocab"
                    {
                        *vocab = self
                            .vocabulary
                            .lines()
                            .enumerate()
                            .map(|(i, piece)| (piece.to_owned(), Value::from(i)))
                            .collect();
                    }
                    json.to_string()
                }
            };
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn load(&self, directory: &Path) -> BertTokenizer {
        BertTokenizer::from_dir(directory, self.recorded.rows).unwrap()
    }

    /// Where a tokenizer gives other ids than those recorded: of texts, pairs, and texts that are cut.
    fn differences(&self, case: &Case, tokenizer: &BertTokenizer) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, cut: EncodeSettings, hashes: &str, pairs: bool| {
            let mut encoder = SequenceEncoder::new(tokenizer, cut);
            for i in 0..hashes.len() / DIGITS {
                let pair = pairs.then(|| self.texts[i + 1].as_str());
                let mut ids = Vec::new();
                let second = encoder.encode(&self.texts[i], pair, &mut ids).unwrap();
                let types: Vec<u32> = SequenceEncoder::types(ids.len(), second).collect();
                let all = if pairs { [ids, types].concat() } else { ids };
                if format!("{:08x}", fnv(&all)) != hashes[i * DIGITS..(i + 1) * DIGITS] {
                    let own = case.ids.get(&i).filter(|_| what == "text");
                    found.push(format!(
                        "{what} {i} {:?}: {:?}, recorded {own:?}",
                        self.texts[i],
                        &all[..all.len().min(40)]
                    ));
                }
            }
        };
        compare("text", UNCUT, &case.single, false);
        compare("pair", UNCUT, &case.pairs, true);
        if let Some(max_length) = tokenizer.max_length() {
            compare("cut", EncodeSettings { max_length, truncation: tokenizer.truncation() }, &case.cut, false);
        } else {
            assert_eq!(case.cut, "", "{}: transformers cuts, and nothing is cut here", case.name);
        }
        found
    }
}

fn fnv(numbers: &[u32]) -> u32 {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[test]
fn every_directory_means_what_it_means_to_transformers() {
    let fixture = Fixture::read();
    assert!(fixture.recorded.cases.len() >= 30 && fixture.texts.len() >= 1500);
    let mut wrong = String::new();
    for case in &fixture.recorded.cases {
        assert_eq!(case.single.len(), fixture.texts.len() * DIGITS, "{}", case.name);
        let directory = fixture.write(&case.files);
        let differences = fixture.differences(case, &fixture.load(directory.path()));
        if let Some(first) = differences.first() {
            wrong.push_str(&format!("{}: {} differ; {first}\n", case.name, differences.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_exported_means_the_same_again() {
    let fixture = Fixture::read();
    for case in &fixture.recorded.cases {
        let directory = fixture.write(&case.files);
        let tokenizer = fixture.load(directory.path());
        let truncation = tokenizer.truncation();
        let cut = EncodeSettings { max_length: tokenizer.max_length().unwrap_or(512), truncation };
        let vocabulary = fs::read(directory.path().join("vocab.txt")).ok();
        let config = fs::read(directory.path().join("config.json")).ok();
        let exported = TempDir::new().unwrap();
        let mut files = tokenizer.exported(cut, vocabulary.as_deref());
        files.push(("config.json", config));
        for (name, bytes) in files {
            if let Some(bytes) = bytes {
                fs::write(exported.path().join(name), bytes).unwrap();
            }
        }
        let again = fixture.load(exported.path());
        assert_eq!(again.notices(), &[] as &[String], "{}", case.name);
        assert_eq!((again.max_length(), again.truncation()), (Some(cut.max_length), truncation), "{}", case.name);
        // A length that the files did not say is one now.
        let cut = if tokenizer.max_length().is_some() { case.cut.clone() } else { String::new() };
        assert_eq!(fixture.differences(&Case { cut, ..case.clone() }, &again), Vec::<String>::new());
    }
}

#[test]
fn the_files_of_an_export_say_how_the_model_was_trained() {
    let fixture = Fixture::read();
    let directory = fixture.write(&fixture.case("special-names-disagree").files);
    let tokenizer = fixture.load(directory.path());
    let files = tokenizer.exported(EncodeSettings { max_length: 48, truncation: Truncation::Tail }, None);
    let file = |name: &str| files.iter().find(|(own, _)| *own == name).unwrap().1.clone();
    assert_eq!((file("special_tokens_map.json"), file("added_tokens.json")), (None, None));
    let settings: Value = serde_json::from_slice(&file("tokenizer_config.json").unwrap()).unwrap();
    for (key, value) in [
        ("model_max_length", json!(48)),
        ("truncation_side", json!("left")),
        ("do_lower_case", json!(true)),
        ("strip_accents", Value::Null),
        ("tokenize_chinese_chars", json!(true)),
        ("unk_token", json!("<unk>")),
        ("mask_token", json!("[unused1]")),
        ("tokenizer_class", json!("BertTokenizer")),
        ("model_input_names", json!(["input_ids", "token_type_ids", "attention_mask"])),
    ] {
        assert_eq!(settings[key], value, "{key}");
    }
    assert_eq!(settings.get("added_tokens_decoder"), None);
    let json: Value = serde_json::from_slice(&file("tokenizer.json").unwrap()).unwrap();
    let added = json["added_tokens"].as_array().unwrap().iter().find(|token| token["content"] == "[unused1]").unwrap();
    assert_eq!((&added["id"], &added["lstrip"], &added["special"]), (&json!(11), &json!(true), &json!(true)));
    let truncation = json!({"direction": "Left", "max_length": 48, "strategy": "LongestFirst", "stride": 0});
    assert_eq!((&json["truncation"], &json["padding"]), (&truncation, &Value::Null));
    assert_eq!((&json["normalizer"]["lowercase"], &json["model"]["unk_token"]), (&json!(true), &json!("<unk>")));
}

/// The error of a directory with these files beside a vocabulary.
#[track_caller]
fn refused(files: Value, parts: &[&str]) {
    let fixture = Fixture::read();
    let mut all = json!({"vocab.txt": "@vocab"}).as_object().unwrap().clone();
    all.extend(files.as_object().unwrap().clone());
    let directory = fixture.write(&all);
    let error = BertTokenizer::from_dir(directory.path(), fixture.recorded.rows).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(parts.iter().all(|part| error.contains(part)), "'{error}' lacks one of {parts:?}");
}

#[test]
fn classes_with_another_algorithm_are_refused_by_name() {
    for class in ["BertJapaneseTokenizer", "MPNetTokenizerFast", "RoFormerTokenizer", "FunnelTokenizer", "MyTokenizer"]
    {
        let parts = [format!("tokenizer_class '{class}' is not supported"), "BertTokenizer".to_owned()];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        refused(
            json!({"tokenizer_config.json": {"tokenizer_class": class}}),
            &[&parts[..], &["tokenizer_config.json"]].concat(),
        );
        refused(json!({"config.json": {"tokenizer_class": class}}), &[&parts[..], &["config.json"]].concat());
    }
    let named = json!({"tokenizer_class": "PreTrainedTokenizerFast"});
    refused(json!({"tokenizer_config.json": named}), &["'PreTrainedTokenizerFast' needs a tokenizer.json"]);
    let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}});
    refused(json!({"tokenizer.json": unigram}), &["tokenizer.json", "its model is Unigram"]);
}

#[test]
fn settings_without_a_meaning_are_refused_by_name() {
    let settings = |key: &str, value: Value| json!({"tokenizer_config.json": {key: value}});
    refused(
        settings("do_lower_case", json!("no")),
        &["tokenizer_config.json: 'do_lower_case' is \"no\"", "true or false"],
    );
    refused(settings("strip_accents", json!(1)), &["'strip_accents' is 1"]);
    refused(settings("model_max_length", json!(0)), &["'model_max_length' is 0"]);
    refused(settings("model_max_length", json!("512")), &["'model_max_length' is \"512\""]);
    refused(settings("truncation_side", json!("middle")), &["'truncation_side' is \"middle\""]);
    refused(settings("unk_token", Value::Null), &["'unk_token' is null"]);
    refused(settings("cls_token", json!(3)), &["'cls_token' is 3"]);
    refused(settings("cls_token", json!("[NONE]")), &["the vocabulary lacks '[NONE]'"]);
    refused(settings("added_tokens_decoder", json!({"x": "y"})), &["'added_tokens_decoder' has x"]);
    refused(settings("additional_special_tokens", json!([1])), &["'additional_special_tokens' has 1"]);
    refused(json!({"added_tokens.json": {"<a>": -1}}), &["added_tokens.json: '<a>' has no id"]);
    refused(json!({"tokenizer_config.json": "[]"}), &["tokenizer_config.json: is not a JSON object"]);
}

#[test]
fn tokens_beyond_the_embedding_are_refused_and_a_default_one_is_left_out() {
    let fixture = Fixture::read();
    let rows = fixture.vocabulary.lines().count();
    let load = |files: Value| {
        let directory = fixture.write(files.as_object().unwrap());
        BertTokenizer::from_dir(directory.path(), rows).map_err(|error| error.to_string())
    };
    let error = load(json!({"vocab.txt": "@vocab", "added_tokens.json": {"<user>": rows}})).err().unwrap();
    assert!(error.contains(&format!("token '<user>' has id {rows}, but the model's embedding has only {rows} rows")));
    // transformers gives a [MASK] that the vocabulary lacks the next id; a text that spells it would have no row.
    let without = fixture.vocabulary.replace("[MASK]\n", "[mask-was-here]\n");
    let tokenizer = load(json!({"vocab.txt": without})).unwrap();
    let mut ids = Vec::new();
    SequenceEncoder::new(&tokenizer, UNCUT).encode("[MASK]", None, &mut ids).unwrap();
    assert!(ids.iter().all(|id| (*id as usize) < rows), "{ids:?}");
    // Lines without a token are no tokens beyond the embedding.
    load(json!({"vocab.txt": format!("{}\n\n", fixture.vocabulary)})).unwrap();
}

#[test]
fn files_that_disagree_are_named_with_what_holds() {
    let fixture = Fixture::read();
    let notices = |case: &str| {
        let directory = fixture.write(&fixture.case(case).files);
        fixture.load(directory.path()).notices().join("\n")
    };
    let notice = notices("json-lower-config-cased");
    assert!(notice.contains("tokenizer.json has lower-casing yes"), "{notice}");
    assert!(notice.contains("tokenizer_config.json holds, as in transformers: lower-casing no"), "{notice}");
    assert!(notices("json-other-normalizer").contains("another normalizer than BERT's"));
    assert!(notices("json-keeps-controls").contains("control characters kept"));
    assert_eq!(notices("json-agrees"), "");
    assert_eq!(notices("vocab-cased"), "");
}
