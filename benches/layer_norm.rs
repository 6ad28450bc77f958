//! LayerNorm, forward and backward, and the dropout that rides on the backward.
//!
//! Bound by memory: forward reads r and writes y, 8 bytes an element; backward reads d_y and r and writes d_r and
//! d_branch, 16.

mod shapes;

use std::time::Duration;

use bertsd_cuda::{
    device::{
        BranchGradient, Matrix, Normed, On, RowStats, Rows, Sink, Site, StepScalars, Write, cpu::CpuDevice, families::*,
    },
    encoder::{Encoder, LastLayer},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batches, capacity, mask, minilm, noise};

fn layer_norm(c: &mut Criterion) {
    let config = minilm();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let norm = encoder.layout.layers[0].attention_norm;
    let dropout = mask().at(Site::AttentionOutput(0), config.hidden_drop_prob);
    let weights = noise(encoder.layout.len, 1);
    for (name, source) in batches() {
        let (tokens, elements) = (source.tokens(), source.tokens() * encoder.shape.hidden);
        let mut device = CpuDevice::new(encoder.shape, capacity(&source));
        let mut batch = device.batch(capacity(&source)).expect("memory for the bench");
        device.upload(&mut batch, &source, &StepScalars::default()).expect("a batch that fits");
        let layout = &encoder.layout;
        let mut gradients = device.gradients(layout.len, &layout.embeddings).expect("memory for the bench");
        let width = encoder.shape.hidden;
        let [r, d_y] = [2, 3].map(|seed| Matrix::from_values(noise(elements, seed), width)); // [T, C]
        let [mut y, mut d_r, mut d_branch] =
            [(); 3].map(|()| device.matrix(tokens, width).expect("memory for the bench"));
        let mut stats = RowStats::new(&device, tokens).expect("memory for the bench");
        let on = On { weights: &weights, batch: &batch, rows: Rows::Tokens };
        let mut group = c.benchmark_group(format!("layer_norm/{name}"));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(8 * elements as u64));
        group.bench_function("forward", |b| {
            b.iter(|| device.layer_norm(&mut y, &mut stats, &r, norm, on).expect("layer norm"));
        });
        group.throughput(Throughput::Bytes(16 * elements as u64));
        group.bench_function("backward", |b| {
            b.iter(|| {
                let branch = BranchGradient { d: &mut d_branch, dropout };
                let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
                let kept = Normed { r: &r, stats: &stats, norm };
                device.layer_norm_backward(&mut d_r, branch, &mut sink, &d_y, kept, on).expect("layer norm");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, layer_norm);
criterion_main!(benches);
