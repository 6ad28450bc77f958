//! Reading model directories: every variant that published checkpoints come in gives the same arena, and what does not
//! fit is named.

use bertsd_cuda::model::{Activation, Model, Purpose};
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::json;

use super::support;
use super::support::{Checkpoint, Stored, assert_mentions, golden, model_error, train};

#[test]
fn golden_models_equal_their_files() {
    for (name, labels) in [("head32", 2), ("head64", 3)] {
        let (model, notices) = Model::load(&golden(name), Purpose::Inference).unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        assert_eq!(model.config.labels, labels);
        assert_eq!(model.labels[1], "LABEL_1");
        assert_eq!(model.weights.len(), model.layout.len);
        let tensors = Checkpoint::read(&golden(name)).tensors;
        assert_eq!(tensors.len(), model.layout.segments.len());
        for tensor in tensors {
            let segment = model.layout.segment(&tensor.name).unwrap();
            assert_eq!(segment.shape, tensor.shape, "{}", tensor.name);
            assert_eq!(model.weights[segment.view.range()], tensor.values(), "{}", tensor.name);
        }
        assert_eq!(model.tokenizer.get("vocab.txt").unwrap(), std::fs::read(golden(name).join("vocab.txt")).unwrap());
    }
}

#[test]
fn the_configuration_is_read() {
    let (model, _) = Model::load(&golden("head64"), Purpose::Inference).unwrap();
    let config = &model.config;
    assert_eq!((config.vocab_size, config.hidden_size, config.layers, config.heads), (256, 128, 2, 2));
    assert_eq!((config.intermediate_size, config.max_positions, config.type_vocab_size), (160, 64, 2));
    assert_eq!((config.activation, config.layer_norm_eps), (Activation::GeluErf, 1e-12));
    assert_eq!((config.hidden_drop_prob, config.classifier_drop_prob, config.head_size()), (0.0, 0.0, 64));
}

fn weights_of(checkpoint: &Checkpoint) -> (Vec<f32>, Vec<String>) {
    let (model, notices) = checkpoint.load(Purpose::Inference).unwrap();
    (model.weights, notices)
}

#[test]
fn names_without_prefix_and_of_the_first_releases_are_understood() {
    let plain = Checkpoint::head64();
    let expected = weights_of(&plain);
    let mut bare = plain.clone();
    let mut old = plain.clone();
    for tensor in &mut bare.tensors {
        tensor.name = tensor.name.trim_start_matches("bert.").to_owned();
    }
    for tensor in &mut old.tensors {
        tensor.name =
            tensor.name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
    }
    assert!(old.tensors.iter().any(|tensor| tensor.name.ends_with("LayerNorm.gamma")));
    assert_eq!(weights_of(&bare), expected);
    assert_eq!(weights_of(&old), expected);
}

#[test]
fn narrow_and_wide_floats_are_converted() {
    let plain = Checkpoint::head64();
    let (exact, _) = weights_of(&plain);
    let stored_as = |convert: fn(&mut Stored)| {
        let mut checkpoint = plain.clone();
        checkpoint.tensors.iter_mut().for_each(convert);
        weights_of(&checkpoint).0
    };
    let half = stored_as(|tensor| tensor.convert(Dtype::F16, |x| f16::from_f32(x).to_le_bytes()));
    let brain = stored_as(|tensor| tensor.convert(Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes()));
    let double = stored_as(|tensor| tensor.convert(Dtype::F64, |x| f64::from(x).to_le_bytes()));
    assert_eq!(double, exact);
    assert_eq!(half, exact.iter().map(|&x| f16::from_f32(x).to_f32()).collect::<Vec<_>>());
    assert_eq!(brain, exact.iter().map(|&x| bf16::from_f32(x).to_f32()).collect::<Vec<_>>());
    assert_ne!(half, exact);
}

#[test]
fn shards_are_joined() {
    let plain = Checkpoint::head64();
    let directory = plain.write_sharded();
    let (model, notices) = Model::load(directory.path(), Purpose::Inference).unwrap();
    assert_eq!((model.weights, notices), weights_of(&plain));
}

#[test]
fn a_bad_index_is_named() {
    let index = |text: &str| {
        let directory = Checkpoint::head64().write_sharded();
        std::fs::write(directory.path().join("model.safetensors.index.json"), text).unwrap();
        model_error(Model::load(directory.path(), Purpose::Inference))
    };
    for shard in ["../x", "/etc/passwd", "a/b", "..", ".", "", "c:x", "a\\\\b"] {
        let text = index(&format!(r#"{{"weight_map": {{"classifier.bias": "{shard}"}}}}"#));
        assert_mentions(&text, &["index.json", "plain file names"]);
    }
    let absent = index(r#"{"weight_map": {"classifier.bias": "model-7.safetensors"}}"#);
    assert_mentions(&absent, &["missing shards: model-7.safetensors"]);
    let elsewhere = index(r#"{"weight_map": {"bert.nothing": "model-00001-of-00002.safetensors"}}"#);
    assert_mentions(&elsewhere, &["model-00001-of-00002.safetensors", "'bert.nothing'"]);
    assert_mentions(&index(r#"{"weight_map": {}}"#), &["empty"]);
    assert_mentions(&index("{"), &["cannot be read"]);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let mut checkpoint = Checkpoint::head64();
    let again = checkpoint.tensor("classifier.bias").clone();
    let directory = checkpoint.write_sharded();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for shard in shards {
        let mut tensors = vec![again.clone()];
        tensors.extend(Checkpoint::head64().without("classifier.bias").tensors);
        std::fs::write(directory.path().join(shard), support::file_of(&tensors)).unwrap();
    }
    let text = model_error(Model::load(directory.path(), Purpose::Inference));
    assert_mentions(&text, &["both", shards[0], shards[1]]);
}

#[test]
fn known_extras_are_silent_and_unknown_ones_reported() {
    let plain = Checkpoint::head64();
    let expected = weights_of(&plain);
    let ids = |name: &str| Stored {
        name: name.to_owned(),
        dtype: Dtype::I64,
        shape: vec![1, 64],
        bytes: (0i64..64).flat_map(i64::to_le_bytes).collect(),
    };
    let known = plain
        .clone()
        .with(ids("bert.embeddings.position_ids"))
        .with(Stored::f32("cls.predictions.bias", &[2], [0.0, f32::NAN]))
        .with(Stored::f32("cls.seq_relationship.weight", &[1], [0.0]));
    assert_eq!(weights_of(&known), expected);
    assert_eq!(weights_of(&plain.clone().with(ids("embeddings.position_ids"))), expected);
    let (weights, notices) = weights_of(&plain.with(Stored::f32("adapter.up", &[1], [0.0])));
    assert_eq!(weights, expected.0);
    assert_eq!(notices.len(), 1);
    assert_mentions(&notices[0], &["ignored", "adapter.up"]);
}

#[test]
fn missing_heads_are_initialised_repeatably_when_training_only() {
    let encoder =
        Checkpoint::head64().without("classifier").without("bert.pooler").set("architectures", json!(["BertModel"]));
    let load = |seed| encoder.load(train(&["no", "yes"], seed)).unwrap();
    let (model, notices) = load(7);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_mentions(&notices[0], &["new pooler", "seed 7"]);
    assert_mentions(&notices[1], &["new classifier"]);
    assert_eq!(load(7).0.weights, model.weights);
    assert_ne!(load(8).0.weights, model.weights);
    assert_eq!(model.labels, ["no", "yes"]);

    let pooler = &model.weights[model.layout.pooler.weight.range()];
    let deviation = (pooler.iter().map(|x| x * x).sum::<f32>() / pooler.len() as f32).sqrt();
    assert!((0.019..0.021).contains(&deviation), "{deviation}");
    let classifier = &model.weights[model.layout.classifier.weight.range()];
    assert_eq!(classifier.len(), 2 * 128);
    assert!(classifier.iter().all(|x| x.abs() < 0.02 * 6.0) && classifier.iter().any(|x| x.abs() > 0.01));
    assert_ne!(classifier, &pooler[..256]);
    for bias in [model.layout.pooler.bias, model.layout.classifier.bias] {
        assert!(model.weights[bias.range()].iter().all(|&x| x == 0.0));
    }
    assert_mentions(&model_error(encoder.load(Purpose::Inference)), &["no pooler", "fine-tune"]);
    let pooled = Checkpoint::head64().without("classifier");
    assert_mentions(&model_error(pooled.load(Purpose::Inference)), &["no classifier"]);
}

#[test]
fn a_classifier_for_other_labels_gives_way_when_training_only() {
    let checkpoint = Checkpoint::head64();
    let (plain, _) = checkpoint.load(Purpose::Inference).unwrap();
    let (model, notices) = checkpoint.load(train(&["a", "b", "c", "d", "e"], 0)).unwrap();
    assert_mentions(&notices.join("\n"), &["for 3 labels", "has 5", "new classifier"]);
    assert_eq!(model.config.labels, 5);
    assert_eq!(model.layout.classifier.weight.len, 5 * 128);
    let encoder = plain.layout.classifier.weight.start;
    assert_eq!(model.weights[..encoder], plain.weights[..encoder]);

    let contradicting = checkpoint.clone().set("id2label", json!({"0": "a", "1": "b"}));
    assert_mentions(&model_error(contradicting.load(Purpose::Inference)), &["3 labels", "config.json has 2"]);
    // The same number: kept, and the new names reported only where there were old ones.
    let (kept, notices) = checkpoint.load(train(&["a", "b", "c"], 0)).unwrap();
    assert_eq!((kept.weights, notices), (plain.weights.clone(), vec![]));
    let named = checkpoint.set("id2label", json!({"0": "x", "1": "b", "2": "c"}));
    let (kept, notices) = named.load(train(&["a", "b", "c"], 0)).unwrap();
    assert_eq!(kept.weights, plain.weights);
    assert_mentions(&notices.join("\n"), &["other names", "'x' is now 'a'"]);
}

#[test]
fn rows_of_a_classifier_follow_the_names_of_its_classes() {
    let checkpoint =
        Checkpoint::head64().set("id2label", json!({"0": "Neutral", "1": "entail ment", "2": "contradiction"}));
    let (plain, _) = Checkpoint::head64().load(Purpose::Inference).unwrap();
    let (model, notices) = checkpoint.load(train(&["contradiction", "entailment", "neutral"], 0)).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_mentions(
        &notices[0],
        &["in the order of the names here: contradiction, entailment, neutral (there Neutral,"],
    );
    let (weight, bias) = (plain.layout.classifier.weight, plain.layout.classifier.bias);
    for (new, old) in [(0, 2), (1, 1), (2, 0)] {
        let row = |model: &Model, i: usize| model.weights[weight.range()][i * 128..(i + 1) * 128].to_vec();
        assert_eq!(row(&model, new), row(&plain, old));
        assert_eq!(model.weights[bias.range()][new], plain.weights[bias.range()][old]);
    }
    assert_eq!(model.weights[..weight.start], plain.weights[..weight.start]);
    // Names that transformers made up have nothing to follow, and a new classifier has no old order.
    let (kept, notices) = Checkpoint::head64().load(train(&["c", "b", "a"], 0)).unwrap();
    assert_eq!((kept.weights, notices), (plain.weights.clone(), vec![]));
    let (_, notices) =
        checkpoint.without("classifier").load(train(&["contradiction", "entailment", "neutral"], 0)).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn prefixes_of_wrappers_are_left_out_and_that_is_said() {
    let plain = Checkpoint::head64();
    let expected = weights_of(&plain).0;
    for (wrapper, encoder) in [
        ("module.", "bert."),
        ("_orig_mod.", "bert."),
        ("model.", "roberta."),
        ("module._orig_mod.", "bert."),
        ("model.", ""),
    ] {
        let mut wrapped = plain.clone();
        for tensor in &mut wrapped.tensors {
            let own = tensor.name.strip_prefix("bert.").map(|body| format!("{encoder}{body}"));
            tensor.name = format!("{wrapper}{}", own.unwrap_or_else(|| tensor.name.clone()));
        }
        let (weights, notices) = weights_of(&wrapped);
        assert_eq!(weights, expected, "{wrapper}{encoder}");
        assert_mentions(&notices.join("\n"), &[&format!("begin with '{wrapper}', which is left out")]);
    }
}

#[test]
fn names_that_are_missing_stand_beside_names_that_are_there() {
    let mut other = Checkpoint::head64();
    for tensor in &mut other.tensors {
        tensor.name = tensor.name.replace("bert.encoder.layer", "text.blocks");
    }
    let text = model_error(other.load(Purpose::Inference));
    assert_mentions(&text, &["lack bert.encoder.layer.0.", "they have text.blocks.0.", "27 more"]);
}

#[test]
fn the_classifier_of_another_task_is_not_taken_over() {
    let tagger = Checkpoint::head64().set("architectures", json!(["BertForTokenClassification"]));
    let (own, _) = Checkpoint::head64().load(Purpose::Inference).unwrap();
    let (model, notices) = tagger.load(train(&["a", "b", "c"], 0)).unwrap();
    assert_mentions(&notices.join("\n"), &["classifier.weight", "new classifier"]);
    let range = own.layout.classifier.weight.range();
    assert_ne!(model.weights[range.clone()], own.weights[range]);
    assert_mentions(&model_error(tagger.load(Purpose::Inference)), &["no classifier"]);
}

#[test]
fn missing_tensors_are_listed() {
    let one = Checkpoint::head64().without("bert.encoder.layer.1.output.dense.bias");
    assert_mentions(&model_error(one.load(train(&["a", "b"], 0))), &["lack bert.encoder.layer.1.output.dense.bias;"]);
    let many = Checkpoint::head64().without("bert.encoder.layer.0");
    assert_mentions(&model_error(many.load(Purpose::Inference)), &["layer.0.attention.self.query", "16 in all"]);
    let half_a_head = Checkpoint::head64().without("bert.pooler.dense.bias");
    assert_mentions(&model_error(half_a_head.load(train(&["a", "b"], 0))), &["lack bert.pooler.dense.bias"]);
}

#[test]
fn contradictions_between_config_and_weights_are_named() {
    let checkpoint = Checkpoint::head64();
    for (key, value, parts) in [
        ("vocab_size", 300, ["word_embeddings", "[256, 128]", "[300, 128]"]),
        ("max_position_embeddings", 512, ["position_embeddings", "[64, 128]", "[512, 128]"]),
        ("intermediate_size", 16_384, ["intermediate.dense", "[160, 128]", "[16384, 128]"]),
        ("num_hidden_layers", 1, ["layer.1", "num_hidden_layers 1", "do not belong"]),
        ("num_hidden_layers", 1000, ["lack", "layer.2", "in all"]),
    ] {
        let text = model_error(checkpoint.clone().set(key, json!(value)).load(Purpose::Inference));
        assert_mentions(&text, &parts);
    }
    let mut turned = checkpoint;
    turned.tensor("bert.encoder.layer.0.intermediate.dense.weight").shape.reverse();
    assert_mentions(&model_error(turned.load(Purpose::Inference)), &["[128, 160]", "[160, 128]"]);
}

#[test]
fn two_names_of_one_parameter_are_refused() {
    let mut checkpoint = Checkpoint::head64();
    let mut again = checkpoint.tensor("bert.embeddings.LayerNorm.weight").clone();
    again.name = "embeddings.LayerNorm.gamma".to_owned();
    let text = model_error(checkpoint.with(again).load(Purpose::Inference));
    assert_mentions(&text, &["both", "'bert.embeddings.LayerNorm.weight'", "'embeddings.LayerNorm.gamma'"]);
}

#[test]
fn numbers_that_are_none_are_named_with_their_place() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut checkpoint = Checkpoint::head64();
        let name = "bert.encoder.layer.1.attention.output.dense.weight";
        checkpoint.tensor(name).bytes[4 * 1234..4 * 1235].copy_from_slice(&value.to_le_bytes());
        let text = model_error(checkpoint.load(Purpose::Inference));
        assert_mentions(&text, &[name, &format!("is {word} at element 1234")]);
    }
    let mut wide = Checkpoint::head64();
    wide.tensor("classifier.bias").convert(Dtype::F64, |_| 1e300_f64.to_le_bytes());
    assert_mentions(&model_error(wide.load(Purpose::Inference)), &["classifier.bias", "inf at element 0"]);
}

#[test]
fn integers_are_no_weights() {
    let mut checkpoint = Checkpoint::head64();
    checkpoint.tensor("bert.pooler.dense.weight").convert(Dtype::I8, |x| [x as u8]);
    assert_mentions(&model_error(checkpoint.load(Purpose::Inference)), &["bert.pooler.dense.weight", "I8"]);
}

#[test]
fn directories_without_a_usable_model_say_what_to_do() {
    let missing = std::path::Path::new("/nonexistent/model");
    assert_mentions(
        &model_error(Model::load(missing, Purpose::Inference)),
        &["/nonexistent/model", "no such directory"],
    );
    let directory = Checkpoint::head64().write();
    let load = || model_error(Model::load(directory.path(), Purpose::Inference));
    std::fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    assert_mentions(&load(), &["none of model.safetensors,", "fetch the weights"]);
    std::fs::write(directory.path().join("pytorch_model.bin"), "").unwrap();
    assert_mentions(&load(), &["pytorch_model.bin", "cannot be read as PyTorch weights"]);
    std::fs::remove_file(directory.path().join("config.json")).unwrap();
    assert_mentions(&load(), &["no config.json"]);
}

#[test]
fn models_without_a_most_probable_class_are_not_evaluated() {
    let checkpoint = Checkpoint::head64();
    let several = checkpoint.clone().set("problem_type", json!("multi_label_classification"));
    assert_mentions(&model_error(several.load(Purpose::Inference)), &["multi_label_classification"]);
    assert!(several.load(train(&["a", "b"], 0)).is_ok());
    let single = checkpoint.set("id2label", json!({"0": "score"}));
    assert_mentions(&model_error(single.load(Purpose::Inference)), &["regression"]);
}

#[test]
fn training_labels_must_be_distinct() {
    for names in [&[][..], &["a", "b", "a"]] {
        assert!(Checkpoint::head64().load(train(names, 0)).unwrap_err().to_string().starts_with("labels: "));
    }
}
