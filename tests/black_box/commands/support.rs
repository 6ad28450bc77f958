//! What the tests of the commands share: the binary, the golden models, and logits computed without either's data path.
#![allow(dead_code, reason = "every test binary uses some of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use bertsd_cuda::{
    Stop,
    data::PackedBatch,
    device::{Capacity, Mask, Shape, StepScalars, cpu::CpuDevice, families::*},
    encoder::{Encoder, Keep, LastLayer, Pass, Workspace},
    model::{Model, Purpose},
};
use serde_json::Value;

const CLS: u32 = 2;
const SEP: u32 = 3;
const UNKNOWN: u32 = 1;
/// `w0` has this id in the golden vocabularies.
const FIRST_WORD: u32 = 5;

/// Three labels; two layers.
pub fn head64() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/head64/model")
}

/// Two labels; three layers.
pub fn head32() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/head32/model")
}

/// Runs the binary to its end.
pub fn run(args: &[&str], stdin: impl Into<Vec<u8>>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    command.env("HF_HUB_OFFLINE", "1").args(args).write_stdin(stdin).output().unwrap()
}

/// Standard output of a run that must succeed.
pub fn succeed(args: &[&str], stdin: impl Into<Vec<u8>>) -> String {
    let output = run(args, stdin);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a run that must fail with this exit code, which has to contain all of `parts`.
pub fn fail(code: i32, parts: &[&str], args: &[&str], stdin: impl Into<Vec<u8>>) -> String {
    let output = run(args, stdin);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    for part in parts {
        assert!(errors.contains(part), "no '{part}' in: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

pub fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The lines of a JSON-lines text.
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{found:?} is not {expected:?}");
    }
}

pub fn load(directory: &Path) -> Model {
    Model::load(directory, Purpose::Inference).unwrap().0
}

/// A golden model with other labels and, unless `shift` is 0, other weights, saved under `directory`.
pub fn variant(base: &Path, labels: &[&str], shift: f32, directory: &Path) -> PathBuf {
    let mut model = load(base);
    model.labels = labels.iter().map(|label| (*label).to_owned()).collect();
    for segment in &model.layout.segments {
        for (i, weight) in model.weights[segment.view.range()].iter_mut().enumerate() {
            *weight += shift * ((i % 7) as f32 - 3.0);
        }
    }
    model.save(directory, &model.weights).unwrap();
    directory.to_owned()
}

/// Ids of `w0 w1 …` and their types, special tokens included.
pub fn ids(text: &str, pair: Option<&str>) -> (Vec<u32>, Vec<u32>) {
    let word = |word: &str| {
        word.strip_prefix('w').and_then(|number| number.parse().ok()).map_or(UNKNOWN, |n: u32| n + FIRST_WORD)
    };
    let mut ids = vec![CLS];
    ids.extend(text.split_whitespace().map(word));
    ids.push(SEP);
    let mut types = vec![0; ids.len()];
    if let Some(pair) = pair {
        ids.extend(pair.split_whitespace().map(word));
        ids.push(SEP);
        types.resize(ids.len(), 1);
    }
    (ids, types)
}

/// Logits of one text, by the full last layer, alone in its batch.
pub fn logits(model: &Model, ids: &[u32], types: &[u32]) -> Vec<f64> {
    let capacity = Capacity { tokens: ids.len(), sequences: 1, length: ids.len() };
    let mut device = CpuDevice::new(Shape::new(&model.config), capacity);
    let encoder = Encoder::new(&model.config, LastLayer::AllRows);
    let mut workspace = Workspace::new(&device, &encoder, capacity, Keep::Logits).unwrap();
    let weights = device.parameters(&model.weights).unwrap();
    let mut packed = PackedBatch::default();
    packed.clear();
    packed.push(ids, types, 0, 0);
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, &packed, &StepScalars::default()).unwrap();
    let (encoder, mask) = (&encoder, Mask::none());
    Pass { encoder, device: &mut device, weights: &weights, batch: &batch, mask, stop: Stop::NEVER }
        .forward(&mut workspace)
        .unwrap();
    device.read_vector(&workspace.logits).unwrap().iter().map(|&z| f64::from(z)).collect()
}

pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.iter().map(|z| z.exp() / sum).collect()
}

pub fn argmax(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Texts of many lengths, `w…` words in no order; the same ones every time.
pub fn texts(count: usize) -> Vec<String> {
    let mut state = 12345u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    (0..count).map(|_| (0..1 + next(30)).map(|_| format!("w{}", next(250))).collect::<Vec<_>>().join(" ")).collect()
}
