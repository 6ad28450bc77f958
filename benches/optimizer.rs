//! The optimizer pass: clip, AdamW and the teacher in one sweep over the arenas, and the gradient norm before it.
//!
//! Bound by memory. A pass for `ft` reads θ, g and both moments and writes θ and both moments: 28 bytes a parameter. A
//! window of K adds reading the K − 1 other slots and writing one slot and the mean: 4 · (K + 1) more. Moments of word
//! embeddings that no batch has touched are skipped, so a pass may beat that floor.

mod shapes;

use std::time::Duration;

use bertsd_cuda::{
    device::{Matrix, On, RowStats, Rows, Site, StepScalars, Update, cpu::CpuDevice, families::*},
    distillation::{LogitSizes, Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer},
    training::{LearningRates, Schedule, TrainingState},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batches, capacity, mask, minilm, noise};

const RATES: LearningRates = LearningRates {
    encoder: 2e-5,
    head: 1e-3,
    layer_decay: 1.0,
    weight_decay: 0.01,
    warmup_steps: 0,
    total_steps: 1_000_000,
    schedule: Schedule::Linear,
    floor: 0.0,
};
const WINDOW: usize = 5;

fn optimizer(c: &mut Criterion) {
    let config = minilm();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let layout = &encoder.layout;
    let [(_, source), _] = batches();
    let mut device = CpuDevice::new(encoder.shape, capacity(&source));
    let weights = noise(layout.len, 1);

    // Gradients that touch the word embeddings of one batch; the other rows and parameters hold zeros, which cost the
    // same.
    let mut batch = device.batch(capacity(&source)).expect("memory for the bench");
    device.upload(&mut batch, &source, &StepScalars::default()).expect("a batch that fits");
    let mut gradients = device.gradients(layout.len, &layout.embeddings).expect("memory for the bench");
    let d_x = Matrix::from_values(noise(source.tokens() * config.hidden_size, 2), config.hidden_size); // [T, C]
    let stats = RowStats { mean: vec![0.0; source.tokens()], rstd: vec![1.0; source.tokens()] };
    let table = &layout.embeddings;
    device.begin_step(&mut gradients, table).expect("gradients");
    let dropout = mask().at(Site::Embeddings, config.hidden_drop_prob);
    let on = On { weights: &weights, batch: &batch, rows: Rows::Tokens };
    device.embed_backward(&mut gradients, &d_x, &stats, table, dropout, on).expect("gradients");

    let parameters = layout.parameters() as u64;
    let mut group = c.benchmark_group("optimizer");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Bytes(4 * parameters));
    group.bench_function("gradient_norm", |b| b.iter(|| device.gradient_norm(&gradients).expect("a norm")));
    for (name, method, teacher, bytes) in [
        ("ft", Method::Ft, TeacherKind::All, 28),
        ("window5", Method::Sda, TeacherKind::Window(WINDOW), 28 + 4 * (WINDOW as u64 + 1)),
        ("ema", Method::Sda, TeacherKind::Ema(0.999), 28 + 16),
    ] {
        let settings = MethodSettings::new(method, teacher);
        let state = TrainingState::new(&device, &settings, &weights, LogitSizes { step: 1, batch: 1 });
        let mut state = state.expect("memory for the bench");
        let mut ranges = Vec::new();
        let mut t = 0;
        group.throughput(Throughput::Bytes(bytes * parameters));
        group.bench_function(format!("update/{name}"), |b| {
            b.iter(|| {
                RATES.fill_ranges(&mut ranges, layout, t);
                let update = Update {
                    step_number: t + 1,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    clip: 1.0,
                    teacher: state.teacher.follower(t),
                    average: None,
                };
                device.update(&mut state.student, &gradients, &ranges, update).expect("an update");
                t += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, optimizer);
criterion_main!(benches);
