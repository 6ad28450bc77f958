//! Runs of the built binary on a toy task: the label follows from one word of the text.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use super::place;

/// The smaller golden model: 3 layers of 64, its own drop probabilities 0.
pub fn golden_model() -> PathBuf {
    place::root().join("tests/golden/head32/model")
}

/// Numbers that only look random.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A directory with train.csv, dev.csv and test.csv, in which commands run.
pub struct Toy {
    pub home: TempDir,
}

impl Toy {
    pub fn new() -> Self {
        let toy = Self { home: tempfile::tempdir().unwrap() };
        for (name, rows) in [("train.csv", 96), ("dev.csv", 32), ("test.csv", 16)] {
            toy.write(name, &rows_of(rows, rows as u64));
        }
        toy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &(impl AsRef<[u8]> + ?Sized)) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// `train` with the words of `arguments`.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = place::program();
        command.current_dir(self.home.path()).env("HF_HUB_OFFLINE", "1").arg("train");
        command.args(arguments.split_whitespace());
        command
    }

    /// A new run, with dropout, at settings at which the toy task is learnt; `arguments` replace them.
    pub fn start(&self, arguments: &str) -> Command {
        let defaults = [
            ("--train", "train.csv"),
            ("--token-cache", "none"),
            ("--batch-size", "8"),
            ("--lr", "2e-3"),
            ("--head-lr", "2e-3"),
            ("--dropout", "0.1"),
            ("--attention-dropout", "0.1"),
        ];
        let given: Vec<&str> = arguments.split_whitespace().collect();
        let mut command = self.command(arguments);
        for (name, value) in defaults.into_iter().filter(|(name, _)| !given.contains(name)) {
            command.args([name, value]);
        }
        if !given.contains(&"--model") {
            command.arg("--model").arg(golden_model());
        }
        command
    }

    /// A new run that has to succeed, in `out`.
    #[track_caller]
    pub fn run(&self, out: &str, arguments: &str) -> Run {
        succeed(self.start(arguments).args(["--out", out]));
        self.result(out)
    }

    pub fn result(&self, out: &str) -> Run {
        Run::read(&self.path(out))
    }
}

/// `text,label` rows.
pub fn rows_of(rows: usize, seed: u64) -> String {
    let mut rng = Rng(seed);
    let mut table = "text,label\n".to_owned();
    for i in 0..rows {
        let mut words: Vec<String> = (0..2 + rng.below(7)).map(|_| format!("w{}", 10 + rng.below(190))).collect();
        words.insert(rng.below(words.len() as u64) as usize, format!("w{}", i % 2));
        table.push_str(&format!("{},{}\n", words.join(" "), ["neg", "pos"][i % 2]));
    }
    table
}

/// What a finished run left.
#[derive(PartialEq)]
pub struct Run {
    pub weights: Vec<u8>,
    /// Without `tokens_per_s`, the only thing that may differ.
    pub metrics: Vec<Value>,
}

impl Run {
    pub fn read(directory: &Path) -> Self {
        let weights = fs::read(directory.join("model/model.safetensors")).unwrap();
        let text = fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
        let mut metrics: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for event in &mut metrics {
            event.as_object_mut().unwrap().remove("tokens_per_s");
        }
        Self { weights, metrics }
    }

    pub fn events(&self, kind: &str) -> Vec<&Value> {
        self.metrics.iter().filter(|event| event["event"] == kind).collect()
    }

    /// Asserts equality to the bit, showing the first line that differs.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        for (i, (one, two)) in self.metrics.iter().zip(&other.metrics).enumerate() {
            assert_eq!(one, two, "{what}: line {}", i + 1);
        }
        assert_eq!(self.metrics.len(), other.metrics.len(), "{what}: lines");
        assert!(self.weights == other.weights, "{what}: the weights differ");
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", stderr(&output));
    output
}

/// Runs a command that has to fail with this code and one error that holds every part; returns standard error.
#[track_caller]
pub fn refuse(command: &mut Command, code: i32, parts: &[&str]) -> String {
    let output = command.output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    text
}
