//! Sequences against what `tokenizers` itself makes of the same texts.

use bertsd_cuda::data::{BertTokenizer, EncodeSettings, SequenceEncoder, Truncation};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::{
    Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy, utils::truncation::truncate_encodings,
};

use super::fixtures::{
    json_directory, reference, reviews, rows, snli, source, tokenizer_json, vocabulary, vocabulary_directory, write,
};

const UNTRUNCATED: EncodeSettings = EncodeSettings { max_length: 1 << 30, truncation: Truncation::Head };

fn load(directory: &TempDir) -> BertTokenizer {
    BertTokenizer::from_dir(directory.path(), 8192).unwrap()
}

/// Ids and token types.
fn encode(encoder: &mut SequenceEncoder, text: &str, pair: Option<&str>) -> (Vec<u32>, Vec<u32>) {
    let mut ids = vec![7; 3];
    let second = encoder.encode(text, pair, &mut ids).unwrap();
    let ids = ids.split_off(3);
    let types = SequenceEncoder::types(ids.len(), second).collect();
    (ids, types)
}

fn expect(tokenizer: &Tokenizer, text: &str, pair: Option<&str>) -> (Vec<u32>, Vec<u32>) {
    let encoding = match pair {
        Some(pair) => tokenizer.encode((text, pair), true),
        None => tokenizer.encode(text, true),
    };
    let encoding = encoding.unwrap();
    (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
}

#[test]
fn every_review_equals_the_post_processed_encoding() {
    let (vocabulary, json) = (vocabulary(), tokenizer_json(&vocabulary()));
    let from_json = json_directory(&json);
    let from_vocabulary = vocabulary_directory(&vocabulary, &json!({"do_lower_case": true}));
    let reference = reference(&json);
    for directory in [from_json, from_vocabulary] {
        let tokenizer = load(&directory);
        let mut encoder = SequenceEncoder::new(&tokenizer, UNTRUNCATED);
        let mut longest = 0;
        for row in rows(&source(&reviews("train"), "text", None, None)).unwrap() {
            let found = encode(&mut encoder, &row.text, None);
            assert_eq!(found, expect(&reference, &row.text, None), "{}", row.text);
            longest = longest.max(found.0.len());
        }
        // The file's own truncation is 16.
        assert!(longest > 40);
        for row in rows(&source(&snli("dev"), "premise", Some("hypothesis"), None)).unwrap() {
            let pair = row.pair.as_deref();
            assert_eq!(encode(&mut encoder, &row.text, pair), expect(&reference, &row.text, pair));
        }
    }
}

#[test]
fn saved_truncation_and_padding_do_not_leak() {
    let json = tokenizer_json(&vocabulary());
    let directory = json_directory(&json);
    // The fixture does what it is for: as it stands it cuts and pads.
    let untouched = Tokenizer::from_file(directory.path().join("tokenizer.json")).unwrap();
    let text = "good ".repeat(300);
    assert_eq!(untouched.encode(text.as_str(), true).unwrap().len(), 128);
    assert_eq!(untouched.encode(text.as_str(), true).unwrap().get_attention_mask().iter().sum::<u32>(), 16);
    let tokenizer = load(&directory);
    let mut encoder = SequenceEncoder::new(&tokenizer, UNTRUNCATED);
    assert_eq!(encode(&mut encoder, &text, None).0.len(), 302);
    assert_eq!(encode(&mut encoder, "good", None).0.len(), 3);
}

#[test]
fn truncation_of_one_text_and_of_pairs_is_that_of_the_library() {
    let json = tokenizer_json(&vocabulary());
    let tokenizer = load(&json_directory(&json));
    let reference = reference(&json);
    // Whole encodings, cut by the library's own function: its `encode` forgets which of two texts was the longer when
    // both are longer than `max_length`.
    let cut = |text: &str, pair: Option<&str>, params: TruncationParams| {
        let specials = if pair.is_some() { 3 } else { 2 };
        let params = TruncationParams { max_length: params.max_length - specials, ..params };
        let encode = |text: &str| reference.encode(text, false).unwrap();
        let (first, second) = truncate_encodings(encode(text), pair.map(encode), &params).unwrap();
        let encoding = reference.post_process(first, second, true).unwrap();
        (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
    };
    let rows = rows(&source(&snli("dev"), "premise", Some("hypothesis"), None)).unwrap();
    let ends = [(Truncation::Head, TruncationDirection::Right), (Truncation::Tail, TruncationDirection::Left)];
    for (truncation, direction) in ends {
        for max_length in [5, 6, 7, 8, 9, 12, 13, 20, 21, 33, 34, 50] {
            let params =
                TruncationParams { max_length, direction, strategy: TruncationStrategy::LongestFirst, stride: 0 };
            let mut encoder = SequenceEncoder::new(&tokenizer, EncodeSettings { max_length, truncation });
            for row in rows.iter().take(400) {
                for pair in [None, row.pair.as_deref(), Some("")] {
                    let found = encode(&mut encoder, &row.text, pair);
                    assert_eq!(found, cut(&row.text, pair, params.clone()), "{max_length} {truncation} {row:?}");
                }
            }
        }
    }
}

#[test]
fn head_and_tail_keep_the_first_and_the_last_tokens() {
    let tokenizer = load(&json_directory(&tokenizer_json(&vocabulary())));
    let text: String = (0..600).map(|i| format!("{} ", ["good", "bad", "film"][i % 7 % 3])).collect();
    let whole = encode(&mut SequenceEncoder::new(&tokenizer, UNTRUNCATED), &text, None).0;
    let settings = EncodeSettings { max_length: 512, truncation: Truncation::HeadTail };
    let found = encode(&mut SequenceEncoder::new(&tokenizer, settings), &text, None).0;
    assert_eq!(whole.len(), 602);
    assert_eq!(found, [&whole[..129], &whole[602 - 383..]].concat());
}

#[test]
fn case_accents_and_chinese_follow_the_configuration() {
    let vocabulary = vocabulary();
    let text = "Good CAFÉ café 中国";
    for (config, normalizer) in [
        (json!({"do_lower_case": false}), json!([true, null, false])),
        (json!({"do_lower_case": false, "strip_accents": true}), json!([true, true, false])),
        (json!({"do_lower_case": true, "strip_accents": false}), json!([true, false, true])),
        (json!({"tokenize_chinese_chars": false}), json!([false, null, true])),
        (json!({"cls_token": {"content": "[CLS]", "lstrip": false}}), json!([true, null, true])),
    ] {
        let mut json = tokenizer_json(&vocabulary);
        for (i, key) in ["handle_chinese_chars", "strip_accents", "lowercase"].into_iter().enumerate() {
            json["normalizer"][key] = normalizer[i].clone();
        }
        let tokenizer = load(&vocabulary_directory(&vocabulary, &config));
        let found = encode(&mut SequenceEncoder::new(&tokenizer, UNTRUNCATED), text, None);
        assert_eq!(found, expect(&reference(&json), text, None), "{config}");
    }
}

#[test]
fn texts_without_tokens_are_two_special_tokens() {
    let json = tokenizer_json(&vocabulary());
    let tokenizer = load(&json_directory(&json));
    let mut encoder = SequenceEncoder::new(&tokenizer, UNTRUNCATED);
    for text in ["", " \t\r\n", "\u{0}\u{FFFD}\u{200D}", "\u{3000}\u{a0}"] {
        assert_eq!(encode(&mut encoder, text, None), (vec![2, 3], vec![0, 0]), "{text:?}");
        assert_eq!(encode(&mut encoder, text, Some(text)), (vec![2, 3, 3], vec![0, 0, 1]));
    }
}

#[test]
fn a_million_characters_take_a_moment_and_not_minutes() {
    let json = tokenizer_json(&vocabulary());
    let tokenizer = load(&json_directory(&json));
    let reference = reference(&json);
    let started = std::time::Instant::now();
    for (text, truncation) in [
        ("good film ".repeat(100_000), Truncation::Head),
        ("good film ".repeat(100_000), Truncation::Tail),
        ("x".repeat(1_000_000), Truncation::Head),
        ("a,b!".repeat(250_000), Truncation::HeadTail),
        ("中国".repeat(500_000), Truncation::Tail),
    ] {
        let settings = EncodeSettings { max_length: 512, truncation };
        let found = encode(&mut SequenceEncoder::new(&tokenizer, settings), &text, None).0;
        let whole = encode(&mut SequenceEncoder::new(&tokenizer, UNTRUNCATED), &text, None).0;
        let inner = &whole[1..whole.len() - 1];
        let kept = inner.len().min(510);
        let head = match truncation {
            Truncation::Head => kept,
            Truncation::Tail => 0,
            Truncation::HeadTail => 128,
        };
        assert_eq!(found[1..found.len() - 1], [&inner[..head], &inner[inner.len() - (kept - head)..]].concat());
    }
    let text = "x,中".repeat(100_000);
    assert_eq!(
        encode(&mut SequenceEncoder::new(&tokenizer, UNTRUNCATED), &text, None),
        expect(&reference, &text, None)
    );
    // Quadratic work on the longest would take hours.
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}

#[test]
fn a_tokenizer_that_is_not_this_models_is_refused() {
    let vocabulary = vocabulary();
    let json = tokenizer_json(&vocabulary);
    let refuse = |json: &Value, vocab_size: usize| {
        let directory = json_directory(json);
        BertTokenizer::from_dir(directory.path(), vocab_size).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let size = vocabulary.len();
    assert_eq!(refuse(&json, size), "");
    let message = refuse(&json, size - 1);
    assert!(message.contains(&format!("'{}' has id {}", vocabulary[size - 1], size - 1)), "{message}");
    let mut changed = json.clone();
    changed["post_processor"]["single"].as_array_mut().unwrap().pop();
    assert!(refuse(&changed, size).contains("does not build [CLS] A [SEP] B [SEP]"));
    let mut changed = json.clone();
    changed["post_processor"]["pair"][3]["Sequence"]["type_id"] = 0.into();
    assert!(refuse(&changed, size).contains("does not build"));
    let mut changed = json.clone();
    changed["model"]["vocab"].as_object_mut().unwrap().shift_remove("[UNK]");
    changed["added_tokens"].as_array_mut().unwrap().remove(1);
    assert!(refuse(&changed, size).contains("[UNK]"), "{}", refuse(&changed, size));
    let empty = TempDir::new().unwrap();
    let error = BertTokenizer::from_dir(empty.path(), size).err().unwrap().to_string();
    assert!(error.contains("neither tokenizer.json nor vocab.txt"));
    write(empty.path(), "vocab.txt", "[PAD]\n[UNK]\n[SEP]\ngood\n");
    assert!(BertTokenizer::from_dir(empty.path(), size).err().unwrap().to_string().contains("lacks '[CLS]'"));
    write(empty.path(), "tokenizer.json", "{\"version\":");
    assert!(
        BertTokenizer::from_dir(empty.path(), size)
            .err()
            .unwrap()
            .to_string()
            .contains("tokenizer.json: not valid JSON")
    );
}

/// Texts made of what tokenization looks at: letters, marks, spaces of every kind, controls, Chinese, special tokens.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "good",
        "Film",
        "x",
        "É",
        "e\u{301}",
        "\u{301}",
        "中",
        "国a",
        " ",
        "  ",
        "\t",
        "\r\n",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{0}",
        "\u{200d}",
        "\u{fffd}",
        "[SEP]",
        "[MASK]",
        "[sep]",
        "[",
        "SEP]",
        "!",
        ",",
        "ΑΣ",
        "σ",
        "İ",
        "ß",
        "ǅ",
        "한",
        "😀",
        "\u{1F1E9}",
        "##ing",
        "unaffable",
        "\u{ad}",
        "٣",
    ];
    let known = prop::sample::select(pieces.to_vec()).prop_map(String::from);
    prop::collection::vec(prop_oneof![8 => known, 1 => any::<char>().prop_map(String::from)], 0..24)
        .prop_map(|pieces| pieces.concat())
}

#[test]
fn word_by_word_is_the_same_as_the_whole_text() {
    let vocabulary = vocabulary();
    let mut cased = tokenizer_json(&vocabulary);
    cased["normalizer"]["lowercase"] = false.into();
    cased["normalizer"]["clean_text"] = false.into();
    // The class that takes tokenizer.json as it is.
    let as_saved = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["token_type_ids"]});
    for (json, config) in [(tokenizer_json(&vocabulary), json!({})), (cased, as_saved)] {
        let directory = json_directory(&json);
        write(directory.path(), "tokenizer_config.json", config.to_string());
        let tokenizer = load(&directory);
        let reference = reference(&json);
        proptest!(ProptestConfig::with_cases(3000), |(text in text(), pair in prop::option::of(text()))| {
            let mut encoder = SequenceEncoder::new(&tokenizer, UNTRUNCATED);
            let expected = expect(&reference, &text, pair.as_deref());
            prop_assert_eq!(encode(&mut encoder, &text, pair.as_deref()), expected.clone());
            // Again, from the words remembered.
            prop_assert_eq!(encode(&mut encoder, &text, pair.as_deref()), expected);
        });
    }
}

#[test]
fn tokens_that_span_words_are_found_in_the_whole_text() {
    let mut json = tokenizer_json(&vocabulary());
    let id = json["model"]["vocab"].as_object().unwrap().len();
    let token = json!({"id": id, "content": "New York", "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": false});
    json["added_tokens"].as_array_mut().unwrap().push(token);
    let tokenizer = load(&json_directory(&json));
    let mut encoder = SequenceEncoder::new(&tokenizer, UNTRUNCATED);
    let found = encode(&mut encoder, "good New York film", None);
    assert_eq!(found, expect(&reference(&json), "good New York film", None));
    assert!(found.0.contains(&(id as u32)));
}
