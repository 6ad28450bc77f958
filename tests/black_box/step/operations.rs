//! Single operations of the CPU device against f64, at sizes that leave tails: rows around multiples of a block, odd
//! widths, mixed lengths across the attention's block of 64 queries, repeated words.

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Attended, AttendedFirst, BranchGradient, Capacity, Mask, Matrix, Normed, RowStats, Rows, Shape, Sink, Site,
        StepScalars, Write, cpu::CpuDevice, families::*,
    },
    model::{
        Activation, BertConfig, Layout, View,
        layout::{Linear, Norm},
    },
    random::Philox,
};

use crate::{
    reference::{self, Masks, attention_element, dot},
    tiny,
};

/// float32 against f64, relative to the norm of a result: sums of up to 10³ rounded products stay below this.
const TOLERANCE: f64 = 2e-6;

type Batch = <CpuDevice as Buffers>::Batch;

/// Rows of a batch: one short of, at, and one beyond the blocks of 32 and 64 rows; primes.
const ROWS: [usize; 9] = [1, 7, 31, 32, 33, 63, 64, 65, 131];

fn config(heads: usize, head_size: usize) -> BertConfig {
    BertConfig { max_positions: 256, ..tiny::config(heads, head_size, 1) }
}

fn setup(config: &BertConfig, packed: &PackedBatch) -> (CpuDevice, Batch) {
    let sequences = packed.sequences();
    let capacity = Capacity { tokens: packed.tokens(), sequences, length: config.max_positions };
    let mut device = CpuDevice::new(Shape::new(config), capacity);
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, packed, &StepScalars::default()).unwrap();
    (device, batch)
}

fn random(name: u32, len: usize) -> Vec<f32> {
    let mut stream = tiny::stream(5000 + name);
    (0..len).map(|_| stream.normal() as f32).collect()
}

fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Error relative to the norm of what is expected.
fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let error = tiny::norm(found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
    let size = tiny::norm(expected.iter().copied());
    assert!(error <= TOLERANCE * size, "{what}: {error:e} of {size:e}");
}

/// A layer after another parameter, so that its place in the arena matters.
fn layer(inputs: usize, outputs: usize) -> (Linear, usize) {
    let (start, len) = (16, inputs * outputs);
    let bias = start + len.next_multiple_of(8);
    (
        Linear { weight: View { start, len }, bias: View { start: bias, len: outputs } },
        (bias + outputs).next_multiple_of(16),
    )
}

#[test]
fn linear_forms_at_every_tail() {
    for (i, rows) in (0..).zip(ROWS) {
        for (inputs, outputs) in [(24, 40), (40, 24), (72, 200)] {
            for activation in [Activation::GeluErf, Activation::GeluTanh] {
                let config = BertConfig { activation, ..config(1, 24) };
                let packed = tiny::batch(&config, &vec![1; rows], i);
                check_linear(&config, &packed, inputs, outputs);
            }
        }
    }
}

fn check_linear(config: &BertConfig, packed: &PackedBatch, inputs: usize, outputs: usize) {
    let rows = packed.tokens();
    let what = format!("{rows} rows, {inputs} → {outputs}, {:?}", config.activation);
    let (mut device, batch) = setup(config, packed);
    let (layer, len) = layer(inputs, outputs);
    let values = random(1, len);
    let weights = device.parameters(&values).unwrap();
    let (weight, bias) = (double(&values[layer.weight.range()]), double(&values[layer.bias.range()]));
    let x = random(2, rows * inputs);
    let u: Vec<Vec<f64>> = x.chunks(inputs).map(|row| reference::linear(&double(row), &weight, &bias)).collect();
    let h: Vec<f64> = u.concat().iter().map(|&u| reference::gelu(u, config.activation)).collect();

    let (x, on) = (tiny::matrix(&x, inputs), tiny::on(&weights, &batch, Rows::Tokens));
    let [mut y, mut h1, mut h2, mut u1] = [0; 4].map(|_| device.matrix(rows, outputs).unwrap());
    device.linear(&mut y, &x, layer, on).unwrap();
    assert_close(y.elements(), &u.concat(), &what);
    device.linear_gelu(&mut h1, Some(&mut u1), &x, layer, on).unwrap();
    device.linear_gelu(&mut h2, None, &x, layer, on).unwrap();
    assert_close(u1.elements(), &u.concat(), &what);
    assert_close(h1.elements(), &h, &what);
    assert_eq!(h1.elements(), h2.elements(), "{what}: h does not depend on what is kept");

    // d_x = d_y · W (+ residual), and the gradients of W and b.
    let d_y = random(3, rows * outputs);
    let residual = random(4, rows * inputs);
    let d_x: Vec<f64> = d_y
        .chunks(outputs)
        .flat_map(|row| {
            let weight = &weight;
            (0..inputs).map(move |i| (0..outputs).map(|o| f64::from(row[o]) * weight[o * inputs + i]).sum::<f64>())
        })
        .collect();
    let (cpu_d_y, mut found) = (tiny::matrix(&d_y, outputs), device.matrix(rows, inputs).unwrap());
    device.linear_backward_input(&mut found, &cpu_d_y, None, layer, on).unwrap();
    assert_close(found.elements(), &d_x, &what);
    let added = tiny::matrix(&residual, inputs);
    device.linear_backward_input(&mut found, &cpu_d_y, Some(&added), layer, on).unwrap();
    let sum: Vec<f64> = d_x.iter().zip(&residual).map(|(a, &b)| a + f64::from(b)).collect();
    assert_close(found.elements(), &sum, &what);

    // Through GELU: its slope by a central difference of the f64 function, exact to 10⁻¹⁰.
    let before = random(5, rows * inputs);
    let slope =
        |u: f64| (reference::gelu(u + 1e-5, config.activation) - reference::gelu(u - 1e-5, config.activation)) / 2e-5;
    let expected: Vec<f64> = d_x.iter().zip(&before).map(|(d, &u)| d * slope(f64::from(u))).collect();
    let again: Vec<f64> = before.iter().map(|&u| reference::gelu(f64::from(u), config.activation)).collect();
    let (before, mut made) = (tiny::matrix(&before, inputs), device.matrix(rows, inputs).unwrap());
    device.linear_backward_input_gelu(&mut found, Some(&mut made), &cpu_d_y, &before, layer, on).unwrap();
    assert_close(found.elements(), &expected, &what);
    assert_close(made.elements(), &again, &what);

    let layout = Layout::new(config);
    let mut gradients = device.gradients(layout.len.max(len), &layout.embeddings).unwrap();
    for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0), (Write::Overwrite, 1.0)] {
        let mut sink = Sink { gradients: &mut gradients, write };
        device.linear_backward_weight(&mut sink, &cpu_d_y, &x, layer, on).unwrap();
        let column = |values: &[f32], width: usize, i: usize| -> Vec<f64> {
            values.chunks(width).map(|row| f64::from(row[i])).collect()
        };
        let xs: Vec<Vec<f64>> = (0..inputs).map(|i| column(x.elements(), inputs, i)).collect();
        let ds: Vec<Vec<f64>> = (0..outputs).map(|o| column(&d_y, outputs, o)).collect();
        let d_w: Vec<f64> = ds.iter().flat_map(|d| xs.iter().map(move |x| times * dot(d, x))).collect();
        let d_b: Vec<f64> = ds.iter().map(|d| times * d.iter().sum::<f64>()).collect();
        let found = device.read_gradients(&gradients).unwrap();
        assert_close(&found[layer.weight.range()], &d_w, &what);
        assert_close(&found[layer.bias.range()], &d_b, &what);
    }
}

/// Far from 0 GELU is u or 0 and its slope 1 or 0, also where u² is beyond float32.
#[test]
fn large_activations_are_as_they_are_or_nothing() {
    const WIDTH: usize = 8;
    for activation in [Activation::GeluErf, Activation::GeluTanh] {
        let config = BertConfig { activation, ..config(1, WIDTH) };
        let (mut device, batch) = setup(&config, &tiny::batch(&config, &[5], 1));
        let (layer, len) = layer(WIDTH, WIDTH);
        let mut weights = vec![0.0; len];
        weights[layer.weight.range()].iter_mut().step_by(WIDTH + 1).for_each(|w| *w = 1.0);
        let mut stream = tiny::stream(40);
        let mut size = 20.0f32;
        while size < 1e37 {
            let u: Vec<f32> = (0..5 * WIDTH).map(|_| size * stream.normal().signum() as f32).collect();
            let [mut h, mut made, mut d] = [0; 3].map(|_| tiny::matrix(&vec![f32::NAN; u.len()], WIDTH));
            let (x, ones) = (tiny::matrix(&u, WIDTH), tiny::matrix(&vec![1.0; u.len()], WIDTH));
            let on = tiny::on(&weights, &batch, Rows::Tokens);
            device.linear_gelu(&mut h, None, &x, layer, on).unwrap();
            device.linear_backward_input_gelu(&mut d, Some(&mut made), &ones, &x, layer, on).unwrap();
            let positive: Vec<f64> = u.iter().map(|&u| f64::from(u.max(0.0))).collect();
            let slope: Vec<f64> = u.iter().map(|&u| f64::from(u8::from(u > 0.0))).collect();
            for (found, expected) in [(&h, &positive), (&made, &positive), (&d, &slope)] {
                assert_close(found.elements(), expected, &format!("{activation:?} of {size:e}"));
            }
            size *= 7.0;
        }
    }
}

#[test]
fn layer_norm_and_its_backward_at_every_tail() {
    for (i, rows) in (0..).zip(ROWS) {
        for width in [8, 24, 136] {
            let config = config(1, width.min(128));
            let config = BertConfig { hidden_size: width, ..config };
            let packed = tiny::batch(&config, &vec![1; rows], i);
            let (mut device, batch) = setup(&config, &packed);
            let norm = Norm { gamma: View { start: 8, len: width }, beta: View { start: 8 + width, len: width } };
            let values = random(1, 8 + 2 * width);
            let weights = device.parameters(&values).unwrap();
            let (gamma, beta) = (double(&values[norm.gamma.range()]), double(&values[norm.beta.range()]));
            // A mean far from 0 shows a variance computed in one pass.
            let r: Vec<f32> = random(2, rows * width).iter().map(|v| v + 30.0).collect();
            let d_y = random(3, rows * width);
            let [mut y, mut d_r, mut d_branch] = [0; 3].map(|_| device.matrix(rows, width).unwrap());
            let mut stats = RowStats::new(&device, rows).unwrap();
            let layout = Layout::new(&config);
            let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
            let dropout = Mask::none().at(Site::Embeddings, 0.0);
            let on = tiny::on(&weights, &batch, Rows::Tokens);
            let (cpu_r, cpu_d_y) = (tiny::matrix(&r, width), tiny::matrix(&d_y, width));
            device.layer_norm(&mut y, &mut stats, &cpu_r, norm, on).unwrap();
            let (mut expected, mut expected_d) = (Vec::new(), Vec::new());
            let (mut d_gamma, mut d_beta) = (vec![0.0; width], vec![0.0; width]);
            for (r, d) in r.chunks(width).zip(d_y.chunks(width)) {
                let (r, d) = (double(r), double(d));
                expected.extend(reference::layer_norm(&r, &gamma, &beta, 1e-12));
                let hat = reference::layer_norm(&r, &vec![1.0; width], &vec![0.0; width], 1e-12);
                let n = width as f64;
                let middle = r.iter().sum::<f64>() / n;
                let sigma = (r.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / n).sqrt();
                let g: Vec<f64> = d.iter().zip(&gamma).map(|(d, gamma)| d * gamma).collect();
                let (sum, along) = (g.iter().sum::<f64>() / n, dot(&g, &hat) / n);
                expected_d.extend(g.iter().zip(&hat).map(|(g, hat)| (g - sum - hat * along) / sigma));
                for j in 0..width {
                    d_gamma[j] += d[j] * hat[j];
                    d_beta[j] += d[j];
                }
            }
            let what = format!("{rows} rows of {width}");
            // Rounding of r itself, 30 · 6·10⁻⁸, is common to both; that of its mean is not: twice the tolerance.
            let half = |found: &[f32], expected: &[f64]| {
                let error = tiny::norm(found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
                assert!(error <= 2.0 * TOLERANCE * tiny::norm(expected.iter().copied()), "{what}: {error:e}");
            };
            half(y.elements(), &expected);
            for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0)] {
                let branch = BranchGradient { d: &mut d_branch, dropout };
                let mut sink = Sink { gradients: &mut gradients, write };
                let kept = Normed { r: &cpu_r, stats: &stats, norm };
                device.layer_norm_backward(&mut d_r, branch, &mut sink, &cpu_d_y, kept, on).unwrap();
                half(d_r.elements(), &expected_d);
                assert_eq!(d_r.elements(), d_branch.elements(), "nothing is dropped");
                let found = device.read_gradients(&gradients).unwrap();
                let scaled = |values: &[f64]| values.iter().map(|v| v * times).collect::<Vec<_>>();
                half(&found[norm.gamma.range()], &scaled(&d_gamma));
                half(&found[norm.beta.range()], &scaled(&d_beta));
            }
        }
    }
}

/// Gradient of Σ d · attention(q, k, v), analytically, one head of one sequence; rows are [D].
fn attention_gradients([q, k, v, d]: [&[Vec<f64>]; 4], factor: &dyn Fn(usize, usize) -> f64) -> [Vec<Vec<f64>>; 3] {
    let (length, size) = (q.len(), q[0].len());
    let scale = 1.0 / (size as f64).sqrt();
    let zeros = || vec![vec![0.0; size]; length];
    let [mut d_q, mut d_k, mut d_v] = [zeros(), zeros(), zeros()];
    for i in 0..length {
        let scores: Vec<f64> = k.iter().map(|k| scale * dot(&q[i], k)).collect();
        let lse = reference::log_sum_exp(&scores);
        let p: Vec<f64> = scores.iter().map(|s| (s - lse).exp()).collect();
        let d_p: Vec<f64> = (0..length).map(|j| factor(i, j) * dot(&d[i], &v[j])).collect();
        let mean = dot(&p, &d_p);
        for j in 0..length {
            let d_s = scale * p[j] * (d_p[j] - mean);
            for c in 0..size {
                d_v[j][c] += p[j] * factor(i, j) * d[i][c];
                d_q[i][c] += d_s * k[j][c];
                d_k[j][c] += d_s * q[i][c];
            }
        }
    }
    [d_q, d_k, d_v]
}

#[test]
fn attention_and_its_backward_across_blocks_of_queries() {
    for (heads, head_size, lengths) in [
        (2, 8, vec![1, 2, 31, 32, 33, 63, 64, 65, 7, 127, 128, 129, 200]),
        (3, 24, vec![65, 1, 17]),
        (1, 128, vec![130, 5]),
    ] {
        for active in [false, true] {
            check_attention(&config(heads, head_size), &lengths, active);
        }
    }
}

fn check_attention(config: &BertConfig, lengths: &[usize], active: bool) {
    let packed = tiny::batch(config, lengths, 6);
    let (mut device, batch) = setup(config, &packed);
    let (tokens, sequences, c, d) = (packed.tokens(), packed.sequences(), config.hidden_size, config.head_size());
    let mask = Mask { philox: Philox::new(tiny::SEED), step: 1, pass: 0, active };
    let dropout = mask.at(Site::Probabilities(2), 0.2);
    let masks = Masks { philox: mask.philox, step: 1, pass: 0 };
    let (qkv, d_ctx) = (random(1, tokens * 3 * c), random(2, tokens * c));
    let [mut ctx, mut d_qkv] = [c, 3 * c].map(|width| device.matrix(tokens, width).unwrap());
    let mut lse = device.vector(config.heads * tokens).unwrap();
    let (cpu_qkv, cpu_d_ctx) = (tiny::matrix(&qkv, 3 * c), tiny::matrix(&d_ctx, c));
    device.attention(&mut ctx, &mut lse, &cpu_qkv, dropout, &batch).unwrap();
    let kept = Attended { qkv: &cpu_qkv, ctx: &ctx, lse: &lse };
    device.attention_backward(&mut d_qkv, &cpu_d_ctx, kept, dropout, &batch).unwrap();
    let [ctx, d_qkv] = [&ctx, &d_qkv].map(Matrix::elements);

    // The same of first tokens only.
    let rows = |x: &[f32], width: usize, from: usize, to: usize| -> Vec<f32> {
        x.chunks(width).flat_map(|row| row[from..to].to_vec()).collect()
    };
    let firsts: Vec<usize> = packed.offsets[..sequences].iter().map(|&o| o as usize).collect();
    let kv = rows(&qkv, 3 * c, c, 3 * c);
    let first_of = |x: &[f32], width: usize| -> Vec<f32> {
        firsts.iter().flat_map(|&t| x[t * width..t * width + c].to_vec()).collect()
    };
    let (q, d_first) = (first_of(&qkv, 3 * c), first_of(&d_ctx, c));
    let [mut ctx_first, mut d_q] = [0; 2].map(|_| device.matrix(sequences, c).unwrap());
    let mut d_kv = device.matrix(tokens, 2 * c).unwrap();
    let mut lse_first = device.vector(sequences * config.heads).unwrap();
    let (q, kv, d_first) = (tiny::matrix(&q, c), tiny::matrix(&kv, 2 * c), tiny::matrix(&d_first, c));
    device.attention_first(&mut ctx_first, &mut lse_first, &q, &kv, dropout, &batch).unwrap();
    let kept = AttendedFirst { q: &q, kv: &kv, ctx: &ctx_first, lse: &lse_first };
    device.attention_first_backward(&mut d_q, &mut d_kv, &d_first, kept, dropout, &batch).unwrap();
    let [ctx_first, d_q, d_kv] = [&ctx_first, &d_q, &d_kv].map(Matrix::elements);
    assert_close(ctx_first, &double(&first_of(ctx, c)), "the first row");

    for b in 0..sequences {
        let (start, end) = (packed.offsets[b] as usize, packed.offsets[b + 1] as usize);
        let slot = packed.slots[b];
        let what = format!("length {}, {} × {d}, dropout {active}", end - start, config.heads);
        let input: Vec<Vec<f64>> = qkv[start * 3 * c..end * 3 * c].chunks(3 * c).map(double).collect();
        let site = active.then_some((masks, reference::probabilities(2), 0.2, slot));
        let expected = reference::attention(&input, config.heads, d, site).concat();
        assert_close(&ctx[start * c..end * c], &expected, &what);
        for head in 0..config.heads {
            let part = |x: &[f32], width: usize, offset: usize| -> Vec<Vec<f64>> {
                let from = offset + head * d;
                x[start * width..end * width].chunks(width).map(|row| double(&row[from..from + d])).collect()
            };
            let factor = |query: usize, key: usize| {
                let element = attention_element(end - start, head, query, key);
                if active { masks.factor(reference::probabilities(2), 0.2, slot, element) } else { 1.0 }
            };
            let [q, k, v] = [0, c, 2 * c].map(|offset| part(&qkv, 3 * c, offset));
            let mut d_out = part(&d_ctx, c, 0);
            let found = [0, c, 2 * c].map(|offset| part(d_qkv, 3 * c, offset));
            compare(&found, &attention_gradients([&q, &k, &v, &d_out], &factor), &what);
            // Only the first row has a gradient.
            d_out[1..].iter_mut().flatten().for_each(|d| *d = 0.0);
            let expected = attention_gradients([&q, &k, &v, &d_out], &factor);
            let mut d_q_rows = vec![vec![0.0; d]; end - start];
            d_q_rows[0] = double(&d_q[b * c + head * d..b * c + (head + 1) * d]);
            let found = [d_q_rows, part(d_kv, 2 * c, 0), part(d_kv, 2 * c, c)];
            compare(&found, &expected, &format!("first row, {what}"));
        }
    }
}

/// q, k and v together: with one token the gradients of q and k are 0.
fn compare(found: &[Vec<Vec<f64>>; 3], expected: &[Vec<Vec<f64>>; 3], what: &str) {
    let flat = |parts: &[Vec<Vec<f64>>; 3]| parts.concat().concat();
    let (found, expected) = (flat(found), flat(expected));
    let error = tiny::norm(found.iter().zip(&expected).map(|(a, b)| a - b));
    let size = tiny::norm(expected.iter().copied());
    assert!(error <= TOLERANCE * size, "{what}: {error:e} of {size:e}");
}
