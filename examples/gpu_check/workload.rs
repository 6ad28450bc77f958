//! What is timed: a model of random weights, and texts of words that are one token each.

#[path = "../common/bert.rs"]
mod bert;

use std::{fs, ops::RangeInclusive, path::Path};

use anyhow::Context;
use bertsd_cuda::{
    model::{BertConfig, Model},
    random::Philox,
};

use self::bert::bert;

/// Sequences of an optimizer step, and their lengths in tokens.
pub struct Shape {
    pub name: &'static str,
    pub sequences: usize,
    pub lengths: RangeInclusive<u64>,
    pub steps: usize,
}

/// BERT-base in full batches, at the longest length, mixed, and the paper's batch of short texts.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "32x128", sequences: 32, lengths: 128..=128, steps: 80 },
    Shape { name: "8x512", sequences: 8, lengths: 512..=512, steps: 80 },
    Shape { name: "32x16-128", sequences: 32, lengths: 16..=128, steps: 80 },
    Shape { name: "16x16-64", sequences: 16, lengths: 16..=64, steps: 120 },
];

/// The same, small enough for the simulator.
pub const REHEARSAL: [Shape; 2] = [
    Shape { name: "2x8", sequences: 2, lengths: 8..=8, steps: 6 },
    Shape { name: "3x4-9", sequences: 3, lengths: 4..=9, steps: 6 },
];

/// BERT-base, or a model that the simulator can train.
pub fn model_config(is_small: bool) -> BertConfig {
    if is_small { bert(2, 64, 2, 400) } else { bert(12, 768, 12, 30_522) }
}

/// A checkpoint of random weights whose vocabulary is `w0`, `w1`, …
pub fn write_model(directory: &Path, config: &BertConfig) -> anyhow::Result<()> {
    let model = Model::random(config.clone(), vec!["class 0".to_owned(), "class 1".to_owned()], 42);
    model.save(directory, &model.weights)?;
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let words = (0..config.vocab_size - special.len()).map(|i| format!("w{i}"));
    let vocabulary: Vec<String> = special.into_iter().chain(words).collect();
    fs::write(directory.join("vocab.txt"), vocabulary.join("\n") + "\n")?;
    let settings = r#"{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}"#;
    fs::write(directory.join("tokenizer_config.json"), settings).context("write the tokenizer's settings")
}

/// Texts of all steps, in file order. Returns the tokens of each step; a text of n words has n + 2.
pub fn write_texts(path: &Path, shape: &Shape, words: u64) -> anyhow::Result<Vec<usize>> {
    let mut stream = Philox::new(42).stream(97, 0);
    let (mut table, mut tokens) = ("text,label\n".to_owned(), Vec::new());
    for _ in 0..shape.steps {
        let mut sum = 0;
        for b in 0..shape.sequences {
            let length = shape.lengths.start() + stream.below(shape.lengths.end() - shape.lengths.start() + 1);
            let text: Vec<String> = (2..length).map(|_| format!("w{}", stream.below(words))).collect();
            table.push_str(&format!("{},class {}\n", text.join(" "), b % 2));
            sum += length as usize;
        }
        tokens.push(sum);
    }
    fs::write(path, table).with_context(|| format!("write {}", path.display()))?;
    Ok(tokens)
}
