//! Runs of the program on a CUDA device, and models of any size for them.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{fs, path::Path, process::Command};

use bertsd_cuda::model::{BertConfig, Model};

use super::{gpu, runs::Run};

/// What the simulator checks unless a test is about time.
pub const CHECKS: &str = "mem,race,init,sync,leak";

/// The command on a GPU, or without one on the simulator with all its checks.
pub fn on_cuda(mut command: Command) -> Command {
    command.args(["--device", "cuda"]);
    if !gpu::is_there() {
        command.env("CUDASIM", "1").env("CUDASIM_CHECK", CHECKS);
    }
    command
}

/// The loss of every step.
pub fn losses(run: &Run) -> Vec<f64> {
    run.events("step").iter().map(|event| event["loss"].as_f64().unwrap()).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A model of these labels with random weights, whose tokenizer knows these words.
pub fn write_model(directory: &Path, config: BertConfig, labels: [&str; 2], words: impl IntoIterator<Item = String>) {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let vocabulary: Vec<String> = special.into_iter().chain(words).collect();
    assert!(vocabulary.len() <= config.vocab_size, "{} words", vocabulary.len());
    let model = Model::random(config, labels.map(str::to_owned).to_vec(), 1);
    model.save(directory, &model.weights).unwrap();
    fs::write(directory.join("vocab.txt"), vocabulary.join("\n") + "\n").unwrap();
    let settings = r#"{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}"#;
    fs::write(directory.join("tokenizer_config.json"), settings).unwrap();
}

/// BERT of two labels without dropout.
pub fn bert(layers: usize, heads: usize, head_size: usize, vocab_size: usize) -> BertConfig {
    BertConfig {
        vocab_size,
        hidden_size: heads * head_size,
        layers,
        heads,
        intermediate_size: 4 * heads * head_size,
        max_positions: 64,
        type_vocab_size: 2,
        labels: 2,
        activation: bertsd_cuda::model::Activation::GeluErf,
        layer_norm_eps: 1e-12,
        hidden_drop_prob: 0.0,
        attention_drop_prob: 0.0,
        classifier_drop_prob: 0.0,
        initializer_range: 0.02,
    }
}
