//! Writing model directories: bit equality through save and load, and a target that is never half written.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use bertsd_cuda::{
    Error, Stop,
    model::{Layout, Model, Purpose},
};
use serde_json::json;

use super::support::{Checkpoint, assert_mentions, golden, labels, model_error, tiny_config, train};

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn save_and_load_give_the_same_bits() {
    let home = tempfile::tempdir().unwrap();
    for name in ["head32", "head64"] {
        let (model, _) = Model::load(&golden(name), Purpose::Inference).unwrap();
        let target = home.path().join("deep/er").join(name);
        model.save(&target, &model.weights).unwrap();
        let (again, notices) = Model::load(&target, Purpose::Inference).unwrap();
        assert!(notices.is_empty());
        assert_eq!(again.weights, model.weights);
        assert_eq!((again.config, again.labels, again.tokenizer), (model.config, model.labels, model.tokenizer));
        let mut saved = Checkpoint::read(&target).tensors;
        saved.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(saved, Checkpoint::read(&golden(name)).tensors);
        assert_eq!(entries(&target), ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]);
    }
    assert_eq!(entries(&home.path().join("deep/er")), ["head32", "head64"]);
}

#[test]
fn a_save_that_is_called_off_leaves_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("m");
    let (model, _) = Model::load(&golden("head32"), Purpose::Inference).unwrap();
    model.save(&target, &model.weights).unwrap();
    let flag = AtomicBool::new(true);
    let called_off = model.save_unless(Stop::when(&flag), &target, &vec![0.0; model.weights.len()]);
    assert!(matches!(called_off, Err(Error::Interrupted { .. })), "{called_off:?}");
    assert_eq!(entries(home.path()), ["m"]);
    assert_eq!(Model::load(&target, Purpose::Inference).unwrap().0.weights, model.weights);
}

#[test]
fn odd_sizes_leave_no_padding_in_the_file() {
    // Three labels: the classifier's bias does not end at a multiple of 8.
    let home = tempfile::tempdir().unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let (again, _) = Model::load(&home.path().join("m"), Purpose::Inference).unwrap();
    assert_eq!(again.weights, model.weights);
    let bytes = fs::read(home.path().join("m/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!((bytes.len() - 8 - header) / 4, model.layout.parameters());
    assert_eq!(header % 8, 0);
}

#[test]
fn the_configuration_is_that_of_a_classifier() {
    let source = Checkpoint::head64()
        .set("architectures", json!(["BertModel"]))
        .set("torch_dtype", json!("float16"))
        .set("num_labels", json!(3))
        .set("unknown_field", json!([1, "é"]))
        .without("classifier");
    let (model, _) = source.load(train(&["bad", "good"], 0)).unwrap();
    let home = tempfile::tempdir().unwrap();
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let saved = Checkpoint::read(&home.path().join("m")).config;
    assert_eq!(saved["architectures"], json!(["BertForSequenceClassification"]));
    assert_eq!(saved["id2label"], json!({"0": "bad", "1": "good"}));
    assert_eq!(saved["label2id"], json!({"bad": 0, "good": 1}));
    assert_eq!(saved["problem_type"], json!("single_label_classification"));
    assert_eq!((&saved["dtype"], &saved["torch_dtype"]), (&json!("float32"), &json!("float32")));
    assert_eq!(saved["num_labels"], json!(2));
    assert_eq!(saved["unknown_field"], json!([1, "é"]));
    for (key, value) in &source.config {
        let decided = ["architectures", "id2label", "label2id", "torch_dtype", "dtype", "num_labels"];
        assert!(decided.contains(&key.as_str()) || saved[key] == *value, "{key}");
    }
    let (again, notices) = Model::load(&home.path().join("m"), Purpose::Inference).unwrap();
    assert!(notices.is_empty());
    assert_eq!((again.labels, again.weights), (model.labels, model.weights));
}

#[test]
fn other_weights_than_the_models_own_can_be_saved() {
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    let mut other = model.weights.clone();
    other.iter_mut().for_each(|x| *x *= 0.5);
    let home = tempfile::tempdir().unwrap();
    model.save(&home.path().join("m"), &other).unwrap();
    assert_eq!(Model::load(&home.path().join("m"), Purpose::Inference).unwrap().0.weights, other);
}

#[test]
fn an_older_model_is_replaced_and_nothing_is_left_over() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("m");
    let (golden_model, _) = Model::load(&golden("head64"), Purpose::Inference).unwrap();
    golden_model.save(&target, &golden_model.weights).unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    model.save(&target, &model.weights).unwrap();
    assert_eq!(entries(home.path()), ["m"]);
    assert_eq!(entries(&target), ["config.json", "model.safetensors"]);
    assert_eq!(Model::load(&target, Purpose::Inference).unwrap().0.weights, model.weights);
}

#[test]
fn a_model_can_be_saved_over_itself() {
    let home = Checkpoint::head64().write();
    let (model, _) = Model::load(home.path(), Purpose::Inference).unwrap();
    model.save(home.path(), &model.weights).unwrap();
    assert_eq!(Model::load(home.path(), Purpose::Inference).unwrap().0.weights, model.weights);
}

#[test]
fn the_tokenizer_survives_its_source() {
    let home = tempfile::tempdir().unwrap();
    let source = Checkpoint::head64().write();
    fs::write(source.path().join("tokenizer.json"), "{\"version\":\"1.0\"}").unwrap();
    let (model, _) = Model::load(source.path(), Purpose::Inference).unwrap();
    drop(source);
    model.save(&home.path().join("m"), &model.weights).unwrap();
    assert_eq!(fs::read(home.path().join("m/tokenizer.json")).unwrap(), b"{\"version\":\"1.0\"}");
    assert_eq!(fs::read(home.path().join("m/vocab.txt")).unwrap(), Checkpoint::head64().vocab);
}

#[test]
fn truncation_and_padding_of_a_past_run_are_not_handed_on() {
    let home = tempfile::tempdir().unwrap();
    let source = Checkpoint::head64().write();
    let json = r#"{"version":"1.0","truncation":{"max_length":128},"padding":{"strategy":{"Fixed":128}},"model":{"b":1,"a":2.5}}"#;
    fs::write(source.path().join("tokenizer.json"), json).unwrap();
    let (model, _) = Model::load(source.path(), Purpose::Inference).unwrap();
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let written = fs::read_to_string(home.path().join("m/tokenizer.json")).unwrap();
    let compact: String = written.split_whitespace().collect();
    assert_eq!(compact, r#"{"version":"1.0","truncation":null,"padding":null,"model":{"b":1,"a":2.5}}"#);
}

#[test]
fn a_directory_with_other_files_is_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("m");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("thesis.tex"), "years of work").unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    let text = model_error(model.save(&target, &model.weights));
    assert_mentions(&text, &["thesis.tex", "another directory"]);
    assert_eq!(entries(&target), ["thesis.tex"]);
    fs::remove_file(target.join("thesis.tex")).unwrap();
    model.save(&target, &model.weights).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_to_the_target_stays_a_link() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", home.path().join("link")).unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    model.save(&home.path().join("link"), &model.weights).unwrap();
    assert!(home.path().join("link").is_symlink());
    assert!(home.path().join("real/model.safetensors").is_file());
}

#[cfg(unix)]
#[test]
fn others_may_read_what_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (plain_dir, plain_file) = (home.path().join("d"), home.path().join("f"));
    fs::create_dir(&plain_dir).unwrap();
    fs::write(&plain_file, "").unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&home.path().join("m")), mode(&plain_dir));
    assert_eq!(mode(&home.path().join("m/model.safetensors")), mode(&plain_file));
}

#[test]
fn an_impossible_target_is_an_error_with_its_path() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    for target in ["file", "file/m", "file/deep/m"] {
        let error = model.save(&home.path().join(target), &model.weights).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &[home.path().join("file").to_str().unwrap()]);
    }
    assert_eq!(entries(home.path()), ["file"]);
}

#[test]
fn new_weights_are_those_of_transformers_and_repeat() {
    let config = bertsd_cuda::model::BertConfig { vocab_size: 500, initializer_range: 0.05, ..tiny_config() };
    let make = |seed| Model::random(config.clone(), labels(&["a", "b", "c"]), seed);
    let model = make(3);
    assert_eq!(make(3).weights, model.weights);
    assert_ne!(make(4).weights, model.weights);
    let mut covered = 0;
    for segment in &model.layout.segments {
        let values = &model.weights[segment.view.range()];
        covered += values.iter().filter(|&&x| x != 0.0).count();
        if segment.name.ends_with("LayerNorm.weight") {
            assert!(values.iter().all(|&x| x == 1.0), "{}", segment.name);
        } else if segment.name.ends_with(".bias") {
            assert!(values.iter().all(|&x| x == 0.0), "{}", segment.name);
        } else {
            let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
            assert!((0.035..0.065).contains(&deviation), "{} {deviation}", segment.name);
        }
    }
    assert_eq!(covered, model.weights.iter().filter(|&&x| x != 0.0).count(), "nothing between the parameters");
    let word = &model.weights[model.layout.embeddings.word.range()];
    assert!(word[..16].iter().all(|&x| x == 0.0) && word[16..32].iter().all(|&x| x != 0.0));
}

#[test]
fn from_scratch_takes_all_but_the_weights() {
    let (trained, _) = Model::load(&golden("head64"), Purpose::Inference).unwrap();
    let model = Model::from_scratch(&golden("head64"), labels(&["a", "b"]), 3).unwrap();
    assert_eq!((&model.tokenizer, &model.raw), (&trained.tokenizer, &trained.raw));
    assert_eq!(model.config, bertsd_cuda::model::BertConfig { labels: 2, ..trained.config });
    assert_eq!(model.weights.len(), Layout::new(&model.config).len);
    assert_ne!(model.weights[..1000], trained.weights[..1000]);
}
