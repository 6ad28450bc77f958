//! Whole optimizer steps on the CPU device: the all-MiniLM-L6 shape, dropout on, batch 32, lengths 16 to 64 (and batch
//! 8, 512 full).
//!
//! Throughput is real tokens. The floor of a step is its multiply-adds, `3 · 2 · T · parameters of the encoder's
//! matrices`, over what `gemm` reaches alone (bench `matmul`).

mod shapes;

use std::{hint::black_box, time::Duration};

use bertsd_cuda::{
    device::{Capacity, Distance, cpu::CpuDevice},
    distillation::{LambdaSchedule, Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer},
    model::Model,
    training::{Learner, LearningRates, Schedule, step::StepSettings},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batches, capacity, minilm};

fn learner(method: MethodSettings, capacity: Capacity) -> Learner<CpuDevice> {
    let config = minilm();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let model = Model::random(config, vec!["negative".into(), "positive".into()], 1);
    let settings = StepSettings {
        seed: 1,
        max_examples: 256,
        method,
        rates: LearningRates {
            encoder: 2e-5,
            head: 1e-3,
            layer_decay: 1.0,
            weight_decay: 0.01,
            warmup_steps: 10,
            total_steps: 1_000_000,
            schedule: Schedule::Linear,
            floor: 0.0,
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
    for (shape, batch) in batches() {
        let mut group = c.benchmark_group(format!("step/{shape}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_secs(1))
            .throughput(Throughput::Elements(batch.tokens() as u64));
        let capacity = capacity(&batch);
        for (name, method, teacher) in [
            ("ft", Method::Ft, TeacherKind::All),
            ("se", Method::Se, TeacherKind::All),
            ("sda_window5", Method::Sda, TeacherKind::Window(5)),
            ("sda_ema", Method::Sda, TeacherKind::Ema(0.999)),
        ] {
            let average_from = (method == Method::Se).then_some(1);
            let mut learner =
                learner(MethodSettings { average_from, ..MethodSettings::new(method, teacher) }, capacity);
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
