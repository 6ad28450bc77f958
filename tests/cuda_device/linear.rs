//! Kernels of kernels/linear*.cu against f64 and against the CPU device: every operation at every tail, tiles of every
//! size, masks, what must not be read or written, and what must not change a bit.
//!
//! Inputs are values that the working precision holds. float32 is held to 1e-5 of the result's norm, bf16 and tf32 to
//! twice the error of the exact result rounded where the kernels round: at each matrix that is stored, and tf32 at each
//! factor.

mod extreme;

use bertsd_cuda::{
    device::{
        Copies, Dropout, LinearOps, Mask, Matrix, Memory, Rows, Sink, Site, Write,
        cpu::CpuDevice,
        cuda::{Element, Tf32},
    },
    model::Activation,
    random::Philox,
};
use half::bf16;

use super::{
    buffers::{assert_as_good, assert_as_the_cpu, on, on_cpu, stored},
    gelu::slope,
    linear_fixture::{Factors, Fixture, STEP, matrix, poisoned, written},
    reference::{self, Masks},
    support::double,
    tiny,
};

const SITE: Site = Site::Output(1);

fn dropout(drop_prob: f32) -> Dropout {
    Mask { philox: Philox::new(tiny::SEED), step: STEP, pass: 1, active: true }.at(SITE, drop_prob)
}

use tiny::matrix as of_cpu;

fn poisoned_of_cpu(rows: usize, cols: usize) -> Matrix<CpuDevice> {
    of_cpu(&vec![f32::NAN; rows * cols], cols)
}

/// Rows of 1: as many tokens as sequences.
fn ones(rows: usize) -> Vec<usize> {
    vec![1; rows]
}

fn forward<E: Element>(f: &mut Fixture<E>) {
    let (inputs, outputs, rows, layer) = (f.shape.hidden, f.shape.intermediate, f.rows, f.layer);
    let host = f.random(rows * inputs);
    let x = matrix(&f.device, &host, inputs);
    let [mut y, mut h, mut h_alone, mut u] = [0; 4].map(|_| poisoned(&f.device, rows, outputs));
    let Fixture { device, batch, weights, .. } = f;
    let all = on(weights, batch, Rows::Tokens);
    device.linear(&mut y, &x, layer, all).unwrap();
    device.linear_gelu(&mut h, Some(&mut u), &x, layer, all).unwrap();
    device.linear_gelu(&mut h_alone, None, &x, layer, all).unwrap();
    let [y, h, h_alone, u] = [y, h, h_alone, u].map(|buffer| written(&buffer, rows * outputs));
    let (mut cpu, cpu_batch) = f.cpu();
    let [mut cpu_y, mut cpu_h, mut cpu_u] = [0; 3].map(|_| poisoned_of_cpu(rows, outputs));
    let (cpu_x, all) = (of_cpu(&host, inputs), on_cpu(&f.values, &cpu_batch, Rows::Tokens));
    cpu.linear(&mut cpu_y, &cpu_x, layer, all).unwrap();
    cpu.linear_gelu(&mut cpu_h, Some(&mut cpu_u), &cpu_x, layer, all).unwrap();
    f.check("y", &y, cpu_y.elements(), |factors| f.product(&host, factors));
    let gelu = |u: &[f64]| u.iter().map(|&u| reference::gelu(u, f.shape.activation)).collect::<Vec<_>>();
    f.check("h", &h, cpu_h.elements(), |factors| gelu(&f.product(&host, factors)));
    let of_stored = gelu(&double(&u));
    assert_as_good::<E>(&h, &of_stored, &stored::<E>(&of_stored), &format!("{}, h of u as it is stored", f.what));
    assert_eq!(u, y, "{}: u is y", f.what);
    assert_eq!(h, h_alone, "{}: h does not depend on what is kept", f.what);
}

fn forward_with_masks<E: Element>(f: &mut Fixture<E>, drop_prob: f32) {
    let (inputs, outputs, layer) = (f.shape.hidden, f.shape.intermediate, f.layer);
    let masks = Masks { philox: Philox::new(tiny::SEED), step: STEP, pass: 1 };
    for kind in [Rows::Tokens, Rows::Sequences] {
        let places: Vec<(u32, usize)> = match kind {
            Rows::Tokens => f
                .packed
                .offsets
                .windows(2)
                .zip(&f.packed.slots)
                .flat_map(|(ends, &slot)| (0..(ends[1] - ends[0]) as usize).map(move |position| (slot, position)))
                .collect(),
            Rows::Sequences => f.packed.slots.iter().map(|&slot| (slot, 0)).collect(),
        };
        let rows = places.len();
        let (host, host_residual) = (f.random(rows * inputs), f.random(rows * outputs));
        let (x, residual) = (matrix(&f.device, &host, inputs), matrix(&f.device, &host_residual, outputs));
        let zero = matrix(&f.device, &vec![0.0; rows * outputs], outputs);
        let [mut r, mut branch] = [0; 2].map(|_| poisoned(&f.device, rows, outputs));
        let Fixture { device, batch, weights, .. } = &mut *f;
        let all = on(weights, batch, kind);
        device.linear_dropout_residual(&mut r, &x, &residual, layer, dropout(drop_prob), all).unwrap();
        device.linear_dropout_residual(&mut branch, &x, &zero, layer, dropout(drop_prob), all).unwrap();
        let (found, branch) = (written(&r, rows * outputs), written(&branch, rows * outputs));
        let (mut cpu, cpu_batch) = f.cpu();
        let [mut cpu_r, mut cpu_branch] = [0; 2].map(|_| poisoned_of_cpu(rows, outputs));
        let (cpu_x, all) = (of_cpu(&host, inputs), on_cpu(&f.values, &cpu_batch, kind));
        for (r, residual) in [(&mut cpu_r, &host_residual), (&mut cpu_branch, &vec![0.0; rows * outputs])] {
            let residual = of_cpu(residual, outputs);
            cpu.linear_dropout_residual(r, &cpu_x, &residual, layer, dropout(drop_prob), all).unwrap();
        }
        let (cpu_r, cpu_branch) = (cpu_r.elements(), cpu_branch.elements());
        let added = |factors| {
            let mut branch = f.product(&host, factors);
            for (i, v) in branch.iter_mut().enumerate() {
                let (slot, position) = places[i / outputs];
                *v *= masks.factor(reference::output(1), drop_prob, slot, position * outputs + i % outputs);
            }
            branch
        };
        f.check(&format!("r, {kind:?}"), &found, cpu_r, |factors| {
            added(factors).iter().zip(&host_residual).map(|(v, &residual)| v + f64::from(residual)).collect()
        });
        f.check(&format!("what is added, {kind:?}"), &branch, cpu_branch, added);
        // The very elements that are dropped. One that is kept may be 0 where its terms cancel, which a tensor core's
        // sum does to other elements than a sum in float32.
        let kept = added(Factors::AsMultiplied);
        let cancelled = 1e-5 * kept.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        for values in [&branch[..], cpu_branch] {
            let is_right =
                |(&v, &kept): (&f32, &f64)| if kept == 0.0 { v == 0.0 } else { v != 0.0 || kept.abs() <= cancelled };
            let wrong = values.iter().zip(&kept).position(|pair| !is_right(pair));
            assert_eq!(wrong, None, "{}, {kind:?}: the first element that is wrongly dropped or kept", f.what);
        }
    }
}

fn backward_input<E: Element>(f: &mut Fixture<E>) {
    let (inputs, outputs, rows, layer) = (f.shape.hidden, f.shape.intermediate, f.rows, f.layer);
    let (host, host_residual) = (f.random(rows * outputs), f.random(rows * inputs));
    let host_u = f.random(rows * inputs);
    let d_y = matrix(&f.device, &host, outputs);
    let [residual, u] = [&host_residual, &host_u].map(|values| matrix(&f.device, values, inputs));
    let [mut d_x, mut sum, mut d_u, mut h] = [0; 4].map(|_| poisoned(&f.device, rows, inputs));
    let Fixture { device, batch, weights, .. } = f;
    let all = on(weights, batch, Rows::Tokens);
    device.linear_backward_input(&mut d_x, &d_y, None, layer, all).unwrap();
    device.linear_backward_input(&mut sum, &d_y, Some(&residual), layer, all).unwrap();
    device.linear_backward_input_gelu(&mut d_u, Some(&mut h), &d_y, &u, layer, all).unwrap();
    let [d_x, sum, d_u, h] = [d_x, sum, d_u, h].map(|buffer| written(&buffer, rows * inputs));
    let (mut cpu, cpu_batch) = f.cpu();
    let [mut cpu_d_x, mut cpu_sum, mut cpu_d_u, mut cpu_h] = [0; 4].map(|_| poisoned_of_cpu(rows, inputs));
    let (d_y, all) = (of_cpu(&host, outputs), on_cpu(&f.values, &cpu_batch, Rows::Tokens));
    let [residual, u] = [&host_residual, &host_u].map(|values| of_cpu(values, inputs));
    for (d_x, residual) in [(&mut cpu_d_x, None), (&mut cpu_sum, Some(&residual))] {
        cpu.linear_backward_input(d_x, &d_y, residual, layer, all).unwrap();
    }
    cpu.linear_backward_input_gelu(&mut cpu_d_u, Some(&mut cpu_h), &d_y, &u, layer, all).unwrap();
    let [cpu_d_x, cpu_sum, cpu_d_u, cpu_h] = [&cpu_d_x, &cpu_sum, &cpu_d_u, &cpu_h].map(Matrix::elements);
    f.check("d_x", &d_x, cpu_d_x, |factors| f.input_product(&host, factors));
    let with = |other: &[f32], factors, by: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        f.input_product(&host, factors).iter().zip(other).map(|(&d, &v)| by(d, f64::from(v))).collect()
    };
    f.check("d_x with a residual", &sum, cpu_sum, |factors| with(&host_residual, factors, &|d, v| d + v));
    let activation = f.shape.activation;
    f.check("d_u", &d_u, cpu_d_u, |factors| with(&host_u, factors, &|d, u| d * slope(u, activation)));
    let again = |_| host_u.iter().map(|&u| reference::gelu(f64::from(u), activation)).collect();
    f.check("h recomputed", &h, cpu_h, again);
}

fn backward_weight<E: Element>(f: &mut Fixture<E>) {
    let (inputs, outputs, rows, layer) = (f.shape.hidden, f.shape.intermediate, f.rows, f.layer);
    let (host_d, host_x) = (f.random(rows * outputs), f.random(rows * inputs));
    let [d_w, plain_d_w] =
        [Factors::Exact, Factors::AsMultiplied].map(|factors| f.weight_product(&host_d, &host_x, factors));
    let d_b: Vec<f64> =
        (0..outputs).map(|o| host_d.iter().skip(o).step_by(outputs).map(|&d| f64::from(d)).sum()).collect();
    let (d_y, x) = (matrix(&f.device, &host_d, outputs), matrix(&f.device, &host_x, inputs));
    let mut gradients = f.gradients();
    let (mut cpu, cpu_batch) = f.cpu();
    let mut cpu_gradients = cpu.gradients(f.values.len(), &f.embeddings()).unwrap();
    let (cpu_d_y, cpu_x) = (of_cpu(&host_d, outputs), of_cpu(&host_x, inputs));
    for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0), (Write::Overwrite, 1.0)] {
        let mut sink = Sink { gradients: &mut cpu_gradients, write };
        let all = on_cpu(&f.values, &cpu_batch, Rows::Tokens);
        cpu.linear_backward_weight(&mut sink, &cpu_d_y, &cpu_x, layer, all).unwrap();
        let expected = cpu.read_gradients(&cpu_gradients).unwrap();
        let Fixture { device, batch, weights, .. } = &mut *f;
        let mut sink = Sink { gradients: &mut gradients, write };
        device.linear_backward_weight(&mut sink, &d_y, &x, layer, on(weights, batch, Rows::Tokens)).unwrap();
        let found = device.read_gradients(&gradients).unwrap();
        let scaled = |values: &[f64]| values.iter().map(|v| times * v).collect::<Vec<_>>();
        let what = |name| format!("{}, {name}, {write:?}", f.what);
        let (view, exact, plain) = (layer.weight.range(), scaled(&d_w), scaled(&plain_d_w));
        if E::choose_product(false, true, false) {
            assert_as_the_cpu::<E>(&found[view.clone()], &expected[view], &exact, &plain, &what("d_W"));
        } else {
            // Sums of rows are float32 whatever is stored.
            assert_as_the_cpu::<f32>(&found[view.clone()], &expected[view], &exact, &exact, &what("d_W"));
        }
        // No product: float32 in every precision.
        let (view, exact) = (layer.bias.range(), scaled(&d_b));
        assert_as_the_cpu::<f32>(&found[view.clone()], &expected[view], &exact, &exact, &what("d_b"));
        let beside = |range: std::ops::Range<usize>| found[range].iter().all(|v| v.is_nan());
        assert!(beside(0..16) && beside(layer.bias.range().end..found.len()), "{}: nothing beside it", f.what);
    }
}

/// Keys and values of all tokens, queries of first tokens; and back.
fn project_first<E: Element>(lengths: &[usize], c: usize) {
    let mut f = Fixture::<E>::new(lengths, c, 3 * c, Activation::GeluErf);
    let (rows, sequences, layer) = (f.rows, lengths.len(), f.layer);
    let host = f.random(rows * c);
    let x = matrix(&f.device, &host, c);
    let mut kv = poisoned(&f.device, rows, 2 * c);
    let [mut q, mut first] = [0; 2].map(|_| poisoned(&f.device, sequences, c));
    let Fixture { device, batch, weights, .. } = &mut f;
    device.project_first(&mut kv, &mut q, &mut first, &x, layer, on(weights, batch, Rows::Tokens)).unwrap();
    let starts: Vec<usize> = f.packed.offsets[..sequences].iter().map(|&start| start as usize).collect();
    let part = |all: &[f64], row: usize, from: usize, to: usize| all[(row * 3 + from) * c..(row * 3 + to) * c].to_vec();
    let (mut cpu, cpu_batch) = f.cpu();
    let mut cpu_kv = poisoned_of_cpu(rows, 2 * c);
    let [mut cpu_q, mut cpu_first] = [0; 2].map(|_| poisoned_of_cpu(sequences, c));
    let all = on_cpu(&f.values, &cpu_batch, Rows::Tokens);
    cpu.project_first(&mut cpu_kv, &mut cpu_q, &mut cpu_first, &of_cpu(&host, c), layer, all).unwrap();
    let [cpu_kv, cpu_q, cpu_first] = [&cpu_kv, &cpu_q, &cpu_first].map(Matrix::elements);
    f.check("kv", &written(&kv, rows * 2 * c), cpu_kv, |factors| {
        let all = f.product(&host, factors);
        (0..rows).flat_map(|row| part(&all, row, 1, 3)).collect()
    });
    f.check("q", &written(&q, sequences * c), cpu_q, |factors| {
        let all = f.product(&host, factors);
        starts.iter().flat_map(|&row| part(&all, row, 0, 1)).collect()
    });
    assert_eq!(&written(&first, sequences * c), cpu_first, "{}: first rows", f.what);
    let expected: Vec<f32> = starts.iter().flat_map(|&row| host[row * c..][..c].to_vec()).collect();
    assert_eq!(cpu_first, &expected, "{}: first rows", f.what);

    let (host_kv, host_q, host_residual) = (f.random(rows * 2 * c), f.random(sequences * c), f.random(sequences * c));
    let d_kv = matrix(&f.device, &host_kv, 2 * c);
    let [d_q, residual] = [&host_q, &host_residual].map(|values| matrix(&f.device, values, c));
    let mut d_x = poisoned(&f.device, rows, c);
    let Fixture { device, batch, weights, .. } = &mut f;
    let all = on(weights, batch, Rows::Tokens);
    device.project_first_backward_input(&mut d_x, &d_kv, &d_q, &residual, layer, all).unwrap();
    let mut cpu_d_x = poisoned_of_cpu(rows, c);
    let (d_kv, d_q, residual) = (of_cpu(&host_kv, 2 * c), of_cpu(&host_q, c), of_cpu(&host_residual, c));
    let all = on_cpu(&f.values, &cpu_batch, Rows::Tokens);
    cpu.project_first_backward_input(&mut cpu_d_x, &d_kv, &d_q, &residual, layer, all).unwrap();
    let joined = |q: &[f32], kv: &[f32]| [q, kv].concat();
    let wide_kv: Vec<f32> = host_kv.chunks(2 * c).flat_map(|kv| joined(&vec![0.0; c], kv)).collect();
    let wide_q: Vec<f32> = host_q.chunks(c).flat_map(|q| joined(q, &vec![0.0; 2 * c])).collect();
    let summed = |mut d_x: Vec<f64>, factors| {
        let of_q = f.input_product(&wide_q, factors);
        for (b, &row) in starts.iter().enumerate() {
            for j in 0..c {
                d_x[row * c + j] += of_q[b * c + j] + f64::from(host_residual[b * c + j]);
            }
        }
        d_x
    };
    let exact = summed(f.input_product(&wide_kv, Factors::Exact), Factors::Exact);
    // The first launch stores what comes from keys and values, in the working precision; the second adds to it and
    // stores again.
    let of_kv = stored::<E>(&f.input_product(&wide_kv, Factors::AsMultiplied));
    let plain = stored::<E>(&summed(of_kv, Factors::AsMultiplied));
    let what = format!("{}, d_x of first tokens", f.what);
    assert_as_the_cpu::<E>(&written(&d_x, rows * c), cpu_d_x.elements(), &exact, &plain, &what);
}

fn at_every_tail<E: Element>() {
    let sizes = [
        (1, 8, 8),
        (31, 24, 40),
        (33, 200, 72),
        (63, 72, 200),
        (65, 64, 136),
        (127, 8, 264),
        (131, 264, 64),
        (1, 1024, 64),
    ];
    for (i, (rows, inputs, outputs)) in sizes.into_iter().enumerate() {
        let activation = if i % 2 == 0 { Activation::GeluErf } else { Activation::GeluTanh };
        let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, activation);
        forward(&mut f);
        backward_input(&mut f);
        backward_weight(&mut f);
    }
}

#[test]
fn every_operation_at_every_tail() {
    at_every_tail::<f32>();
    at_every_tail::<Tf32>();
    at_every_tail::<bf16>();
}

/// Hidden and feed-forward sizes of BERTs from tiny to large, by a prime number of tokens.
fn on_widths_of_real_models<E: Element>(activation: Activation, sizes: &[(usize, usize, usize)]) {
    for &(rows, inputs, outputs) in sizes {
        let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, activation);
        forward(&mut f);
        backward_input(&mut f);
        backward_weight(&mut f);
    }
}

#[test]
fn widths_of_real_models() {
    let on_tensor_cores = [(37, 64, 256), (31, 256, 64), (67, 768, 3072), (13, 3072, 768), (17, 1024, 4096)];
    on_widths_of_real_models::<bf16>(Activation::GeluErf, &on_tensor_cores);
    on_widths_of_real_models::<Tf32>(Activation::GeluErf, &on_tensor_cores);
    let sizes = [(37, 64, 256), (31, 256, 64), (11, 768, 3072), (5, 4096, 1024)];
    on_widths_of_real_models::<f32>(Activation::GeluTanh, &sizes);
}

fn on_large_and_medium_tiles<E: Element>() {
    // 9 × 11 large tiles; 15 × 8 medium ones. Forward and d_x have other columns, so each shape is there both ways
    // round.
    let erf = [(1103, 40, 1400), (1103, 1400, 40), (925, 72, 520), (925, 520, 72)];
    // Both forms of GELU; its kernels differ in nothing else.
    let tanh = [(1103, 8, 1400), (1103, 1400, 8), (925, 8, 520), (925, 520, 8)];
    for (activation, sizes) in [(Activation::GeluErf, erf), (Activation::GeluTanh, tanh)] {
        for (rows, inputs, outputs) in sizes {
            let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, activation);
            if outputs > inputs { forward(&mut f) } else { backward_input(&mut f) }
        }
    }
    // The same with masks, which a few long sequences draw.
    let lengths: Vec<usize> = [60; 18].into_iter().chain([23]).collect();
    forward_with_masks(&mut Fixture::<E>::new(&lengths, 40, 1400, Activation::GeluErf), 0.3);
    forward_with_masks(&mut Fixture::<E>::new(&lengths[4..], 72, 520, Activation::GeluErf), 0.3);
    forward_with_masks(&mut Fixture::<E>::new(&lengths, 8, 1400, Activation::GeluErf), 0.0);
    forward_with_masks(&mut Fixture::<E>::new(&lengths[4..], 8, 520, Activation::GeluErf), 0.0);
    // 5 × 7 large tiles of a weight gradient.
    backward_weight(&mut Fixture::<E>::new(&ones(67), 840, 520, Activation::GeluErf));
}

#[test]
fn large_and_medium_tiles() {
    on_large_and_medium_tiles::<bf16>();
    on_large_and_medium_tiles::<Tf32>();
}

#[test]
fn split_sums_of_weight_gradients() {
    // Two parts and three; the last has 1 row, then 18.
    backward_weight(&mut Fixture::<bf16>::new(&ones(257), 72, 136, Activation::GeluErf));
    backward_weight(&mut Fixture::<bf16>::new(&ones(530), 840, 520, Activation::GeluErf));
    backward_weight(&mut Fixture::<Tf32>::new(&ones(257), 72, 136, Activation::GeluErf));
    backward_weight(&mut Fixture::<Tf32>::new(&ones(530), 840, 520, Activation::GeluErf));
    backward_weight(&mut Fixture::<f32>::new(&ones(530), 72, 136, Activation::GeluErf));
}

#[test]
fn masks_are_those_of_the_cpu_device() {
    for lengths in [vec![1], vec![5, 70, 1, 33], vec![2; 40]] {
        for drop_prob in [0.3, 0.0] {
            forward_with_masks(&mut Fixture::<Tf32>::new(&lengths, 72, 136, Activation::GeluErf), drop_prob);
            forward_with_masks(&mut Fixture::<f32>::new(&lengths, 72, 136, Activation::GeluErf), drop_prob);
            forward_with_masks(&mut Fixture::<bf16>::new(&lengths, 72, 136, Activation::GeluErf), drop_prob);
        }
    }
}

#[test]
fn projections_of_first_tokens() {
    for (lengths, c) in [(vec![1], 8), (vec![3, 64, 1, 33], 72), (vec![2; 40], 136)] {
        project_first::<f32>(&lengths, c);
        project_first::<Tf32>(&lengths, c);
        project_first::<bf16>(&lengths, c);
    }
    // 21 × 5 medium tiles of keys and values; 24 × 4 large ones.
    project_first::<bf16>(&[512, 300, 1, 500], 136);
    project_first::<Tf32>(&[512, 300, 1, 500], 136);
    project_first::<bf16>(&[512; 6], 200);
    project_first::<Tf32>(&[512; 6], 200);
}

/// y, the gradients of W and b, and d_x, for a batch of 600 tokens.
fn bits<E: Element>(spare: usize) -> [Vec<f32>; 3] {
    let (inputs, outputs) = (40, 1400);
    let mut f = Fixture::<E>::with_capacity(&ones(600), inputs, outputs, Activation::GeluErf, spare);
    let (rows, layer) = (f.rows, f.layer);
    let (x, d_y) = (f.random(rows * inputs), f.random(rows * outputs));
    let (x, d_y) = (matrix(&f.device, &x, inputs), matrix(&f.device, &d_y, outputs));
    let mut y = poisoned(&f.device, rows, outputs);
    let mut gradients = f.gradients();
    let Fixture { device, batch, weights, .. } = &mut f;
    let all = on(weights, batch, Rows::Tokens);
    device.linear(&mut y, &x, layer, all).unwrap();
    let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
    device.linear_backward_weight(&mut sink, &d_y, &x, layer, all).unwrap();
    let gradients = device.read_gradients(&gradients).unwrap();
    let of_layer = gradients[layer.weight.start..layer.bias.range().end].to_vec();

    // As wide as y.
    let mut f = Fixture::<E>::with_capacity(&ones(600), outputs, inputs, Activation::GeluErf, spare);
    let d_y = f.random(rows * inputs);
    let (d_y, mut d_x) = (matrix(&f.device, &d_y, inputs), poisoned(&f.device, rows, outputs));
    let Fixture { device, batch, weights, layer, .. } = &mut f;
    device.linear_backward_input(&mut d_x, &d_y, None, *layer, on(weights, batch, Rows::Tokens)).unwrap();
    [written(&y, rows * outputs), of_layer, written(&d_x, rows * outputs)]
}

#[test]
fn neither_bucket_nor_tile_changes_a_bit() {
    // 20,000 tokens more of capacity: a bucket of 1,280 tokens instead of 640, large tiles instead of medium ones, and
    // eight parts of a sum instead of three.
    assert_eq!(bits::<bf16>(0), bits::<bf16>(20_000));
    assert_eq!(bits::<Tf32>(0), bits::<Tf32>(20_000));
    assert_eq!(bits::<f32>(0), bits::<f32>(20_000));
}
