//! Whole optimizer steps on the CPU device: the all-MiniLM-L6 shape, dropout on, batch 32, lengths 16 to 64 (and batch 8, 512 full).
//!
//! Throughput is real tokens. The floor of a step is its multiply-adds, `3 · 2 · T · parameters of the encoder's matrices`, over what
//! `gemm` reaches alone (bench `matmul`).

use std::{hint::black_box, time::Duration};

use bertsd_cuda::{
    data::PackedBatch,
    device::{Capacity, Distance, cpu::CpuDevice},
    distillation::{LambdaSchedule, Method, Plan, SdvMode, TeacherKind},
    encoder::{Encoder, LastLayer},
    model::{Activation, BertConfig, Model},
    random::Philox,
    training::{Learner, LearningRates, step::StepSettings},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn config() -> BertConfig {
    BertConfig {
        vocab_size: 30_522,
        hidden_size: 384,
        layers: 6,
        heads: 12,
        intermediate_size: 1536,
        max_positions: 512,
        type_vocab_size: 2,
        labels: 2,
        activation: Activation::GeluErf,
        layer_norm_eps: 1e-12,
        hidden_drop_prob: 0.1,
        attention_drop_prob: 0.1,
        classifier_drop_prob: 0.1,
        initializer_range: 0.02,
    }
}

fn batch(sequences: usize, lengths: std::ops::RangeInclusive<u64>) -> PackedBatch {
    let mut stream = Philox::new(1).stream(99, 0);
    let mut batch = PackedBatch::default();
    batch.clear();
    for b in 0..sequences {
        let length = (lengths.start() + stream.below(lengths.end() - lengths.start() + 1)) as usize;
        let ids: Vec<u32> = (0..length).map(|_| 1000 + stream.below(20_000) as u32).collect();
        batch.push(&ids, &vec![0; length], b as u32 % 2, b as u32);
    }
    batch
}

fn learner(plan: Plan, capacity: Capacity) -> Learner<CpuDevice> {
    let config = config();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let model = Model::random(config, vec!["negative".into(), "positive".into()], 1);
    let settings = StepSettings {
        seed: 1,
        plan,
        rates: LearningRates {
            encoder: 2e-5,
            head: 1e-3,
            layer_decay: 1.0,
            weight_decay: 0.01,
            warmup_steps: 10,
            total_steps: 1_000_000,
        },
        lambda: LambdaSchedule { lambda: 1.0, ramp_steps: 0 },
        distance: Distance::Mse,
        teacher_dropout: true,
        label_smoothing: 0.0,
        class_weights: None,
        clip: 1.0,
        beta1: 0.9,
        beta2: 0.999,
        adam_eps: 1e-8,
    };
    let device = CpuDevice::new(encoder.shape, capacity);
    Learner::new(device, encoder, settings, capacity, capacity, &model.weights).expect("memory for the bench")
}

fn steps(c: &mut Criterion) {
    for (shape, batch) in [("b32_l16-64", batch(32, 16..=64)), ("b8_l512", batch(8, 512..=512))] {
        let mut group = c.benchmark_group(format!("step/{shape}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_secs(1))
            .throughput(Throughput::Elements(batch.tokens() as u64));
        let capacity = Capacity { tokens: batch.tokens(), sequences: batch.sequences(), length: 512 };
        for (name, method, teacher) in [
            ("ft", Method::Ft, TeacherKind::All),
            ("se", Method::Se, TeacherKind::All),
            ("sda_window5", Method::Sda, TeacherKind::Window(5)),
            ("sda_ema", Method::Sda, TeacherKind::Ema(0.999)),
        ] {
            let plan = Plan::new(method, teacher, SdvMode::LookAhead, (method == Method::Se).then_some(1), false);
            let mut learner = learner(plan, capacity);
            let mut t = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    t += 1;
                    black_box(learner.step(t, std::slice::from_ref(&batch), &[]).expect("a step"))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
