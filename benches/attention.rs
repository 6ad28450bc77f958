//! Attention of one layer, forward and backward, with dropout on its probabilities; for all rows, and for first rows
//! only.
//!
//! Throughput is multiply-adds: forward 2 · Σ S² · C (scores, context), backward 5 · Σ S² · C (scores again, d_p, d_q,
//! d_k, d_v).

mod shapes;

use std::time::Duration;

use bertsd_cuda::{
    data::PackedBatch,
    device::{Attended, AttendedFirst, Matrix, Site, StepScalars, cpu::CpuDevice, families::*},
    encoder::{Encoder, LastLayer},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batches, capacity, mask, minilm, noise};

/// Σ over the sequences of S².
fn squares(batch: &PackedBatch) -> u64 {
    batch.offsets.windows(2).map(|ends| u64::from(ends[1] - ends[0]).pow(2)).sum()
}

fn attention(c: &mut Criterion) {
    let config = minilm();
    let shape = Encoder::new(&config, LastLayer::FirstRows).shape;
    let hidden = shape.hidden;
    let dropout = mask().at(Site::Probabilities(0), config.attention_drop_prob);
    for (name, source) in batches() {
        let (tokens, sequences) = (source.tokens(), source.sequences());
        let mut device = CpuDevice::new(shape, capacity(&source));
        let mut batch = device.batch(capacity(&source)).expect("memory for the bench");
        device.upload(&mut batch, &source, &StepScalars::default()).expect("a batch that fits");
        let mut group = c.benchmark_group(format!("attention/{name}"));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));

        let matrix = |rows: usize, cols: usize, seed: u64| Matrix::from_values(noise(rows * cols, seed), cols);
        let (qkv, d_ctx) = (matrix(tokens, 3 * hidden, 1), matrix(tokens, hidden, 2));
        let (mut ctx, mut lse) = (matrix(tokens, hidden, 6), vec![0.0; shape.heads * tokens]);
        let mut d_qkv = matrix(tokens, 3 * hidden, 6);
        group.throughput(Throughput::Elements(2 * squares(&source) * hidden as u64));
        group.bench_function("forward", |b| {
            b.iter(|| device.attention(&mut ctx, &mut lse, &qkv, dropout, &batch).expect("attention"));
        });
        group.throughput(Throughput::Elements(5 * squares(&source) * hidden as u64));
        group.bench_function("backward", |b| {
            b.iter(|| {
                let kept = Attended { qkv: &qkv, ctx: &ctx, lse: &lse };
                device.attention_backward(&mut d_qkv, &d_ctx, kept, dropout, &batch).expect("attention")
            });
        });

        let (q, kv, d_ctx) =
            (matrix(sequences, hidden, 3), matrix(tokens, 2 * hidden, 4), matrix(sequences, hidden, 5));
        let (mut ctx, mut lse) = (matrix(sequences, hidden, 6), vec![0.0; sequences * shape.heads]);
        let (mut d_q, mut d_kv) = (matrix(sequences, hidden, 6), matrix(tokens, 2 * hidden, 6));
        group.throughput(Throughput::Elements((2 * tokens * hidden) as u64));
        group.bench_function("first_forward", |b| {
            b.iter(|| device.attention_first(&mut ctx, &mut lse, &q, &kv, dropout, &batch).expect("attention"));
        });
        group.throughput(Throughput::Elements((5 * tokens * hidden) as u64));
        group.bench_function("first_backward", |b| {
            b.iter(|| {
                let kept = AttendedFirst { q: &q, kv: &kv, ctx: &ctx, lse: &lse };
                device.attention_first_backward(&mut d_q, &mut d_kv, &d_ctx, kept, dropout, &batch).expect("attention");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
