//! Small random models and batches, and learners on the CPU device.
#![allow(dead_code, reason = "each test binary uses its part")]

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Capacity, Distance, Matrix, On, Rows,
        cpu::{CpuBatch, CpuDevice},
    },
    distillation::{LambdaSchedule, Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer},
    model::{Activation, BertConfig, Model},
    random::{Philox, Stream},
    training::{Learner, LearningRates, Schedule, step::StepSettings},
};

/// Seed of every mask.
pub const SEED: u64 = 0x5eed_0001_0000_0007;

pub fn config(heads: usize, head_size: usize, layers: usize) -> BertConfig {
    let hidden_size = heads * head_size;
    BertConfig {
        vocab_size: 61,
        hidden_size,
        layers,
        heads,
        intermediate_size: 2 * hidden_size + 8,
        max_positions: 80,
        type_vocab_size: 2,
        labels: 3,
        activation: Activation::GeluErf,
        layer_norm_eps: 1e-12,
        hidden_drop_prob: 0.1,
        attention_drop_prob: 0.15,
        classifier_drop_prob: 0.2,
        initializer_range: 0.02,
    }
}

pub fn without_dropout(config: BertConfig) -> BertConfig {
    BertConfig { hidden_drop_prob: 0.0, attention_drop_prob: 0.0, classifier_drop_prob: 0.0, ..config }
}

/// Numbers of a test, by name.
pub fn stream(name: u32) -> Stream {
    Philox::new(11).stream(0x7e57, name)
}

/// Random weights that leave nothing at 0 or 1: matrices of deviation 1 / √C, biases and LayerNorms moved by 0.1.
pub fn weights(config: &BertConfig, name: u32) -> Vec<f32> {
    let labels = (0..config.labels).map(|i| format!("class {i}")).collect();
    let mut model = Model::random(config.clone(), labels, 1);
    let (mut stream, deviation) = (stream(name), 1.0 / (config.hidden_size as f64).sqrt());
    for segment in &model.layout.segments {
        let deviation = if segment.shape.len() == 1 { 0.1 } else { deviation };
        for w in segment.runs_mut(&mut model.weights[segment.view.range()]).flatten() {
            *w += (deviation * stream.normal()) as f32;
        }
    }
    model.weights
}

/// Sequences of these lengths, in slots 0, 1, …
pub fn batch(config: &BertConfig, lengths: &[usize], name: u32) -> PackedBatch {
    let mut stream = stream(1000 + name);
    let mut batch = PackedBatch::default();
    batch.clear();
    for (slot, &length) in lengths.iter().enumerate() {
        let ids: Vec<u32> = (0..length).map(|_| stream.below(config.vocab_size as u64) as u32).collect();
        let types: Vec<u32> = (0..length).map(|p| u32::from(2 * p > length)).collect();
        batch.push(&ids, &types, stream.below(config.labels as u64) as u32, slot as u32);
    }
    batch
}

/// The sequences `from..to` of a batch as one of their own, slots kept.
pub fn part(batch: &PackedBatch, sequences: impl IntoIterator<Item = usize>) -> PackedBatch {
    let mut part = PackedBatch::default();
    part.clear();
    for b in sequences {
        let tokens = batch.offsets[b] as usize..batch.offsets[b + 1] as usize;
        part.push(&batch.ids[tokens.clone()], &batch.types[tokens], batch.labels[b], batch.slots[b]);
    }
    part
}

pub fn capacity(batches: &[PackedBatch]) -> Capacity {
    let length = |batch: &PackedBatch| batch.offsets.windows(2).map(|o| o[1] - o[0]).max().unwrap_or(0) as usize;
    Capacity {
        tokens: batches.iter().map(PackedBatch::tokens).max().unwrap(),
        sequences: batches.iter().map(PackedBatch::sequences).max().unwrap(),
        length: batches.iter().map(length).max().unwrap(),
    }
}

/// A method whose teacher, if it is one of averaged weights, keeps them.
pub fn method(method: Method, teacher: TeacherKind) -> MethodSettings {
    MethodSettings { keeps_teacher: method == Method::Sda, ..MethodSettings::new(method, teacher) }
}

pub fn fine_tuning() -> MethodSettings {
    method(Method::Ft, TeacherKind::All)
}

/// A constant learning rate, no clipping, λ = 1, MSE.
pub fn settings(method: MethodSettings) -> StepSettings {
    StepSettings {
        seed: SEED,
        max_examples: 256,
        method,
        rates: LearningRates {
            encoder: 1e-3,
            head: 2e-3,
            layer_decay: 1.0,
            weight_decay: 0.01,
            warmup_steps: 0,
            total_steps: 1_000_000,
            schedule: Schedule::Linear,
            floor: 0.0,
        },
        lambda: LambdaSchedule { lambda: 1.0, ramp_steps: 0 },
        distance: Distance::Mse,
        teacher_dropout: true,
        label_smoothing: 0.0,
        class_weights: None,
        clip: f64::INFINITY,
        beta1: 0.9,
        beta2: 0.999,
        adam_eps: 1e-8,
    }
}

pub fn learner(
    config: &BertConfig,
    settings: StepSettings,
    batches: &[PackedBatch],
    weights: &[f32],
) -> Learner<CpuDevice> {
    learner_of(config, LastLayer::FirstRows, settings, batches, weights)
}

pub fn learner_of(
    config: &BertConfig,
    last: LastLayer,
    settings: StepSettings,
    batches: &[PackedBatch],
    weights: &[f32],
) -> Learner<CpuDevice> {
    let encoder = Encoder::new(config, last);
    let capacity = capacity(batches);
    let device = CpuDevice::new(encoder.shape, capacity);
    Learner::new(device, encoder, settings, capacity, capacity, weights).unwrap()
}

/// Rows of `cols` numbers for the CPU device.
pub fn matrix(values: &[f32], cols: usize) -> Matrix<CpuDevice> {
    Matrix::from_values(values.to_vec(), cols)
}

/// What operations of the CPU device work on.
pub fn on<'a>(weights: &'a Vec<f32>, batch: &'a CpuBatch, rows: Rows) -> On<'a, CpuDevice> {
    On { weights, batch, rows }
}

/// The true gradient of a key bias is 0: it moves all scores of a row alike.
pub fn is_key_bias(name: &str) -> bool {
    name.ends_with("attention.self.key.bias")
}

pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Largest absolute difference.
pub fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}
