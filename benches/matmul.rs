//! The three products of a linear layer through the seam, against what the crate `gemm-f32` alone reaches on the same
//! shapes.
//!
//! ```text
//! y = x · Wᵀ + b     d_x = d_y · W     d_W = d_yᵀ · x, d_b = column sums of d_y        x [T, I], W [O, I], T = 1280
//! ```
//!
//! First a table of ratios, each from rounds that time both in turn: the seam's operation does more than the product
//! (bias, bias gradient), and still must reach 80 % of it. Then the same operations as criterion keeps them.

mod shapes;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bertsd_cuda::{
    device::{
        Matrix, On, Rows, Sink, StepScalars, Write,
        cpu::{CpuBatch, CpuDevice, CpuGradients},
        families::*,
    },
    encoder::{Encoder, LastLayer},
    model::layout::Linear,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shapes::{batch, capacity, minilm, noise};

const SEQUENCES: usize = 32;
const LENGTH: u64 = 40;
/// What a product through the seam must reach of the bare one.
const TARGET: f64 = 0.8;
const ROUNDS: usize = 15;

/// A linear layer with everything its three products touch.
struct Case {
    name: &'static str,
    layer: Linear,
    rows: usize,    // T
    inputs: usize,  // I
    outputs: usize, // O
    weights: Vec<f32>,
    gradients: CpuGradients,
    batch: CpuBatch,
    device: CpuDevice,
    x: Matrix<CpuDevice>,   // [T, I]
    y: Matrix<CpuDevice>,   // [T, O]
    d_x: Matrix<CpuDevice>, // [T, I]
    bare: Bare,
}

/// The same matrices for bare products.
struct Bare {
    x: Vec<f32>,   // [T, I]
    y: Vec<f32>,   // [T, O]
    d_x: Vec<f32>, // [T, I]
    d_w: Vec<f32>, // [O, I]
}

#[derive(Clone, Copy)]
enum Product {
    Forward,
    BackwardInput,
    BackwardWeight,
}

const PRODUCTS: [(&str, Product); 3] =
    [("y", Product::Forward), ("d_x", Product::BackwardInput), ("d_W", Product::BackwardWeight)];

fn cases() -> Vec<Case> {
    let config = minilm();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let layer = encoder.layout.layers[0];
    let (c, f) = (config.hidden_size, config.intermediate_size);
    let layers = [
        ("qkv", layer.qkv, c, 3 * c),
        ("attention_output", layer.attention_output, c, c),
        ("intermediate", layer.intermediate, c, f),
        ("output", layer.output, f, c),
    ];
    let source = batch(SEQUENCES, LENGTH..=LENGTH);
    let make = |(name, layer, inputs, outputs)| {
        let capacity = capacity(&source);
        let mut device = CpuDevice::new(encoder.shape, capacity);
        let mut batch = device.batch(capacity).expect("memory for the bench");
        device.upload(&mut batch, &source, &StepScalars::default()).expect("a batch that fits");
        let rows = source.tokens();
        Case {
            name,
            layer,
            rows,
            inputs,
            outputs,
            weights: noise(encoder.layout.len, 1),
            gradients: device.gradients(encoder.layout.len, &encoder.layout.embeddings).expect("memory for the bench"),
            batch,
            x: Matrix::from_values(noise(rows * inputs, 2), inputs),
            y: Matrix::from_values(noise(rows * outputs, 3), outputs),
            d_x: Matrix::from_values(vec![0.0; rows * inputs], inputs),
            bare: Bare {
                x: noise(rows * inputs, 2),
                y: noise(rows * outputs, 3),
                d_x: vec![0.0; rows * inputs],
                d_w: vec![0.0; outputs * inputs],
            },
            device,
        }
    };
    layers.into_iter().map(make).collect()
}

impl Case {
    fn flops(&self) -> u64 {
        2 * (self.rows * self.inputs * self.outputs) as u64
    }

    fn through_the_seam(&mut self, product: Product) {
        let Self { device, batch, weights, gradients, layer, x, y, d_x, .. } = self;
        let on = On { weights: &*weights, batch: &*batch, rows: Rows::Tokens };
        let done = match product {
            Product::Forward => device.linear(y, x, *layer, on),
            Product::BackwardInput => device.linear_backward_input(d_x, y, None, *layer, on),
            Product::BackwardWeight => {
                let mut sink = Sink { gradients, write: Write::Overwrite };
                device.linear_backward_weight(&mut sink, y, x, *layer, on)
            }
        };
        done.expect("a product");
    }

    fn bare(&mut self, product: Product) {
        let (t, i, o) = (self.rows, self.inputs, self.outputs);
        let w = &self.weights[self.layer.weight.range()];
        let Bare { x, y, d_x, d_w } = &mut self.bare;
        match product {
            Product::Forward => gemm(y, (t, o, i), (x, i, 1), (w, 1, i)),
            Product::BackwardInput => gemm(d_x, (t, i, o), (y, o, 1), (w, i, 1)),
            Product::BackwardWeight => gemm(d_w, (o, i, t), (y, 1, o), (x, i, 1)),
        }
    }
}

/// dst \[m, n\] = lhs · rhs on all threads; an operand is (data, row stride, column stride).
fn gemm(dst: &mut [f32], (m, n, k): (usize, usize, usize), lhs: (&[f32], usize, usize), rhs: (&[f32], usize, usize)) {
    assert!(dst.len() == m * n && lhs.0.len() == m * k && rhs.0.len() == k * n, "the operands have the sizes they say");
    // SAFETY: all three are dense matrices of the lengths checked above, and `dst` is borrowed apart from the operands.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            dst.as_mut_ptr(),
            n as isize,
            1,
            false,
            rhs.0.as_ptr(),
            rhs.1 as isize,
            rhs.2 as isize,
            lhs.0.as_ptr(),
            lhs.1 as isize,
            lhs.2 as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::Rayon(0),
        );
    }
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratios() {
    println!("{:<28}{:>14}{:>14}{:>9}", "product, T = 1280", "gemm GFLOP/s", "seam GFLOP/s", "ratio");
    for case in &mut cases() {
        for (name, product) in PRODUCTS {
            let (mut bare, mut seam, mut ratio) = (vec![], vec![], vec![]);
            for round in 0..=ROUNDS {
                let b = seconds(|| case.bare(product));
                let s = seconds(|| case.through_the_seam(product));
                if round > 0 {
                    bare.push(b);
                    seam.push(s);
                    ratio.push(b / s);
                }
            }
            let rate = |times: &mut [f64]| case.flops() as f64 / median(times) * 1e-9;
            let (ratio, label) = (median(&mut ratio), format!("{} {name}", case.name));
            let verdict = if ratio < TARGET { "  below 80 %" } else { "" };
            let (bare, seam) = (rate(&mut bare), rate(&mut seam));
            println!("{label:<28}{bare:>14.1}{seam:>14.1}{:>8.0}%{verdict}", 100.0 * ratio);
        }
    }
}

fn matmul(c: &mut Criterion) {
    ratios();
    let mut group = c.benchmark_group("matmul");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    for case in &mut cases() {
        group.throughput(Throughput::Elements(case.flops()));
        for (name, product) in PRODUCTS {
            group.bench_function(format!("{}/{name}", case.name), |b| {
                b.iter(|| case.through_the_seam(black_box(product)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, matmul);
criterion_main!(benches);
