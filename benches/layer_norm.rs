//! LayerNorm, forward and backward, and the dropout that rides on the backward.
//!
//! Bound by memory: forward reads r and writes y, 8 bytes an element; backward reads d_y and r and writes d_r and d_branch, 16.

mod shapes;

use std::time::Duration;

use bertsd_cuda::{
    device::{Device, Rows, Site, StepScalars, Write, cpu::CpuDevice},
    encoder::{Encoder, LastLayer},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batches, capacity, mask, minilm, noise};

fn layer_norm(c: &mut Criterion) {
    let config = minilm();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let norm = encoder.layout.layers[0].attention_norm;
    let dropout = mask().at(Site::AttentionOutput { layer: 0 }, config.hidden_drop_prob);
    let weights = noise(encoder.layout.len, 1);
    for (name, source) in batches() {
        let (tokens, elements) = (source.tokens(), source.tokens() * encoder.shape.hidden);
        let mut device = CpuDevice::new(encoder.shape, capacity(&source));
        let mut batch = device.batch(capacity(&source)).expect("memory for the bench");
        device.upload(&mut batch, &source, &StepScalars::default()).expect("a batch that fits");
        let layout = &encoder.layout;
        let mut gradients = device.gradients(layout.len, &layout.embeddings).expect("memory for the bench");
        let (r, d_y) = (noise(elements, 2), noise(elements, 3)); // [T, C]
        let (mut y, mut d_r, mut d_branch) = (vec![0.0; elements], vec![0.0; elements], vec![0.0; elements]);
        let (mut mean, mut rstd) = (vec![0.0; tokens], vec![0.0; tokens]);
        let mut group = c.benchmark_group(format!("layer_norm/{name}"));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(8 * elements as u64));
        group.bench_function("forward", |b| {
            b.iter(|| {
                device
                    .layer_norm(&mut y, &mut mean, &mut rstd, &r, &weights, &batch, Rows::Tokens, norm)
                    .expect("layer norm");
            });
        });
        group.throughput(Throughput::Bytes(16 * elements as u64));
        group.bench_function("backward", |b| {
            b.iter(|| {
                device
                    .layer_norm_backward(
                        &mut d_r,
                        &mut d_branch,
                        &mut gradients,
                        &d_y,
                        &r,
                        &mean,
                        &rstd,
                        &weights,
                        &batch,
                        Rows::Tokens,
                        norm,
                        dropout,
                        Write::Overwrite,
                    )
                    .expect("layer norm");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, layer_norm);
criterion_main!(benches);
