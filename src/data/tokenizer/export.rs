//! The files of a tokenizer, written so that every release of transformers makes of them what is computed here.
//!
//! Where the files of a checkpoint disagree, releases choose differently; so all of them are written from the one
//! tokenizer that was used. `tokenizer_config.json` keeps the fields that nothing here knows.

use serde_json::{Map, Value, json};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{ModelWrapper, NormalizerWrapper};

use super::{
    BertTokenizer,
    class::Class,
    plan::{SETTINGS, TOKENIZER, VOCABULARY},
};
use crate::data::{EncodeSettings, Truncation};

/// Files whose content has gone into the others.
const SUPERSEDED: [&str; 2] = ["special_tokens_map.json", "added_tokens.json"];
/// Fields that say nothing of the tokens, or again what tokenizer.json says: its list of added tokens is enough, and a
/// second one would overrule files that somebody adds later.
const PRIVATE: [&str; 6] =
    ["name_or_path", "special_tokens_map_file", "tokenizer_file", "max_len", "max_length", "added_tokens_decoder"];

impl BertTokenizer {
    /// The tokenizer's files for a model that was trained with sequences cut as `cut` says: each name with its content,
    /// or with none where the file is to be left out. `vocabulary` is the `vocab.txt` that came with the model.
    ///
    /// What `head+tail` keeps, transformers has no setting for: there the files say the start of a text.
    pub fn exported(&self, cut: EncodeSettings, vocabulary: Option<&[u8]>) -> Vec<(&'static str, Option<Vec<u8>>)> {
        let pretty = |value: &Value| {
            let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value can be written");
            bytes.push(b'\n');
            bytes
        };
        let mut files = vec![
            (TOKENIZER, Some(pretty(&self.exported_json(cut)))),
            (SETTINGS, Some(pretty(&Value::Object(self.exported_settings(cut))))),
        ];
        if let Some(bytes) = vocabulary {
            files.push((VOCABULARY, self.is_vocabulary(bytes).then(|| bytes.to_vec())));
        }
        files.extend(SUPERSEDED.map(|name| (name, None)));
        files
    }

    fn exported_json(&self, cut: EncodeSettings) -> Value {
        let mut json: Value = serde_json::from_str(&self.json).expect("a tokenizer writes JSON");
        let direction = if cut.truncation == Truncation::Tail { "Left" } else { "Right" };
        json["truncation"] =
            json!({"direction": direction, "max_length": cut.max_length, "strategy": "LongestFirst", "stride": 0});
        json
    }

    fn exported_settings(&self, cut: EncodeSettings) -> Map<String, Value> {
        let mut settings = self.settings.clone();
        settings.retain(|key, _| !PRIVATE.contains(&key.as_str()));
        let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
        if let Some(NormalizerWrapper::BertNormalizer(normalizer)) = self.tokenizer.get_normalizer() {
            set("do_lower_case", normalizer.lowercase.into());
            set("strip_accents", normalizer.strip_accents.map_or(Value::Null, Value::from));
            set("tokenize_chinese_chars", normalizer.handle_chinese_chars.into());
        }
        for (key, content) in &self.named {
            set(key, content.as_str().into());
        }
        set("split_special_tokens", self.tokenizer.get_encode_special_tokens().into());
        let types = if self.types { &["token_type_ids"][..] } else { &[] };
        set("model_input_names", [&["input_ids"], types, &["attention_mask"]].concat().into());
        set("model_max_length", cut.max_length.into());
        set("truncation_side", if cut.truncation == Truncation::Tail { "left" } else { "right" }.into());
        let class = if self.class == Class::Bert { "BertTokenizer" } else { "PreTrainedTokenizerFast" };
        set("tokenizer_class", class.into());
        settings
    }

    /// Whether these lines are the vocabulary that is used.
    fn is_vocabulary(&self, bytes: &[u8]) -> bool {
        let ModelWrapper::WordPiece(pieces) = self.tokenizer.get_model() else { return false };
        let used = tokenizers::Model::get_vocab(pieces);
        let lines = WordPiece::read_bytes(bytes);
        lines.is_ok_and(|lines| lines.len() == used.len() && lines.iter().all(|(line, id)| used.get(line) == Some(id)))
    }
}
