//! Configurations: what is not BERT as computed here is refused by name, and what is read is written back.

use std::path::Path;

use bertsd_cuda::model::{Activation, BertConfig, Model};
use serde_json::{Value, json};

use super::support::{Checkpoint, assert_mentions, labels, model_error, tiny_config};

fn parse(checkpoint: &Checkpoint) -> Result<BertConfig, bertsd_cuda::Error> {
    BertConfig::from_json(&checkpoint.config, Path::new("dir/config.json"))
}

fn with(key: &str, value: Value) -> Result<BertConfig, bertsd_cuda::Error> {
    parse(&Checkpoint::head64().set(key, value))
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (key, value, part) in [
        ("model_type", json!("roberta"), "'roberta'"),
        ("position_embedding_type", json!("relative_key"), "'relative_key'"),
        ("position_embedding_type", json!("relative_key_query"), "'relative_key_query'"),
        ("position_embedding_type", json!("alibi"), "'alibi'"),
        ("hidden_act", json!("relu"), "'relu'"),
        ("hidden_act", json!("quick_gelu"), "'quick_gelu'"),
        ("hidden_act", json!("gelu_10"), "'gelu_10'"),
        ("hidden_act", json!(3), "'hidden_act' is 3"),
        ("is_decoder", json!(true), "'is_decoder'"),
        ("add_cross_attention", json!(true), "'add_cross_attention'"),
        ("is_encoder_decoder", json!(true), "'is_encoder_decoder'"),
        ("pruned_heads", json!({"0": [1]}), "'pruned_heads'"),
        ("quantization_config", json!({"bits": 4}), "'quantization_config'"),
        ("auto_map", json!({"AutoModel": "x.y"}), "AutoModel"),
        ("hidden_size", json!(124), "hidden_size 124 is not a multiple of 8"),
        ("hidden_size", json!(129), "not a multiple of num_attention_heads 2"),
        ("hidden_size", json!(512), "head size is 256"),
        ("intermediate_size", json!(161), "intermediate_size 161"),
        ("num_attention_heads", json!(0), "'num_attention_heads' is 0"),
        ("num_hidden_layers", json!(-1), "'num_hidden_layers' is -1"),
        ("num_hidden_layers", json!(2.5), "'num_hidden_layers' is 2.5"),
        ("vocab_size", json!("256"), "'vocab_size' is \"256\""),
        ("vocab_size", json!(1u64 << 40), "'vocab_size' is 1099511627776"),
        ("vocab_size", json!(u64::MAX), "'vocab_size'"),
        ("vocab_size", Value::Null, "'vocab_size' is missing"),
        ("type_vocab_size", json!(0), "'type_vocab_size'"),
        ("max_position_embeddings", json!(1e30), "'max_position_embeddings'"),
        ("hidden_dropout_prob", json!(1.0), "'hidden_dropout_prob' is 1"),
        ("attention_probs_dropout_prob", json!(-0.1), "'attention_probs_dropout_prob'"),
        ("classifier_dropout", json!("0.1"), "'classifier_dropout'"),
        ("layer_norm_eps", json!(0.0), "'layer_norm_eps'"),
        ("layer_norm_eps", json!(1e-60), "'layer_norm_eps'"),
        ("initializer_range", json!(-1), "'initializer_range'"),
        ("id2label", json!({}), "'id2label' has 0 labels"),
        ("id2label", json!({"0": "a", "2": "b"}), "key \"2\""),
        ("id2label", json!({"0": "a", "00": "b"}), "key \"00\""),
        ("id2label", json!({"0": "a", "x": "b"}), "key \"x\""),
        ("id2label", json!({"0": ["a"]}), "class 0"),
        ("id2label", json!(["a", "b"]), "'id2label'"),
    ] {
        let text = model_error(with(key, value));
        assert_mentions(&text, &["dir/config.json", part]);
    }
    let huge = Checkpoint::head64()
        .set("hidden_size", json!(32768))
        .set("num_attention_heads", json!(256))
        .set("num_hidden_layers", json!(1024));
    assert_mentions(&model_error(parse(&huge)), &["parameters; the limit is"]);
    let many = Checkpoint::head64().unset("id2label").set("num_labels", json!(1u64 << 50));
    assert_mentions(&model_error(parse(&many)), &["'num_labels'"]);
    let nameless = Checkpoint::head64().unset("model_type").unset("architectures");
    assert_mentions(&model_error(parse(&nameless)), &["model_type"]);
}

#[test]
fn harmless_fields_and_defaults_are_accepted() {
    let plain = parse(&Checkpoint::head64()).unwrap();
    for (key, value) in [
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("pruned_heads", json!({})),
        ("chunk_size_feed_forward", json!(64)),
        ("auto_map", json!({"AutoTokenizer": "x.y"})),
        ("quantization_config", Value::Null),
        ("model_type", Value::Null),
        ("type_vocab_size", Value::Null),
        ("layer_norm_eps", Value::Null),
        ("hidden_act", json!("gelu_python")),
    ] {
        assert_eq!(with(key, value).unwrap(), plain, "{key}");
    }
    for name in ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh"] {
        assert_eq!(with("hidden_act", json!(name)).unwrap().activation, Activation::GeluTanh);
    }
    let inherited = Checkpoint::head64().set("hidden_dropout_prob", json!(0.25)).unset("classifier_dropout");
    assert_eq!(parse(&inherited).unwrap().classifier_drop_prob, 0.25);
    assert_eq!(with("num_labels", json!(9)).unwrap().labels, 3);
    assert_eq!(parse(&Checkpoint::head64().unset("id2label").set("num_labels", json!(9))).unwrap().labels, 9);
}

#[test]
fn a_config_that_is_no_object_is_an_error() {
    for text in ["", "[]", "{\"a\": NaN}", "\u{feff}{}", "{\"model_type\": \"bert\""] {
        let directory = Checkpoint::head64().write();
        std::fs::write(directory.path().join("config.json"), text).unwrap();
        let text = model_error(Model::load(directory.path(), bertsd_cuda::model::Purpose::Inference));
        assert_mentions(&text, &["config.json: is not a JSON object"]);
    }
}

#[test]
fn writing_a_configuration_keeps_what_it_means_and_all_else() {
    let original = Checkpoint::head64().set("layer_norm_eps", json!(1e-12)).set("custom", json!({"kept": [1, null]}));
    let config = parse(&original).unwrap();
    let mut raw = original.config.clone();
    config.write_to(&mut raw);
    assert_eq!(raw, original.config);

    let changed = BertConfig { hidden_drop_prob: 0.15, activation: Activation::GeluTanh, ..config };
    changed.write_to(&mut raw);
    assert_eq!(raw["hidden_dropout_prob"], json!(0.15));
    assert_eq!(raw["hidden_act"], json!("gelu_new"));
    assert_eq!(raw["custom"], json!({"kept": [1, null]}));
    assert_eq!(BertConfig::from_json(&raw, Path::new("x")).unwrap(), changed);
}

#[test]
fn a_configuration_made_here_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 1);
    model.save(&directory.path().join("m"), &model.weights).unwrap();
    let read = Checkpoint::read(&directory.path().join("m"));
    assert_eq!(parse(&read).unwrap(), tiny_config());
}
