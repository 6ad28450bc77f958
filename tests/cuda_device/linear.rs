//! Kernels of kernels/linear*.cu against f64 and against the CPU device: every operation at every tail, tiles of every size, masks,
//! what must not be read or written, and what must not change a bit.
//!
//! Inputs are values that the working precision holds. float32 is held to 1e-5 of the result's norm, bf16 and tf32 to twice the
//! error of the exact result rounded where the kernels round: at each matrix that is stored, and tf32 at each factor.

use bertsd_cuda::{
    device::{
        Device, Dropout, Mask, Rows, Site, Write,
        cuda::{Element, Tf32},
    },
    model::Activation,
    random::Philox,
};
use half::bf16;

use super::{
    buffers::{TOLERANCE, assert_as_good, assert_close},
    linear_fixture::{Factors, Fixture, STEP, matrix, poisoned, written},
    reference::{self, Masks},
    support::{double, relative_error},
    tiny,
};

const SITE: Site = Site::Output { layer: 1 };

fn dropout() -> Dropout {
    Mask { philox: Philox::new(tiny::SEED), step: STEP, pass: 1, active: true }.at(SITE, 0.3)
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
    device.linear(&mut y, &x, weights, batch, Rows::Tokens, layer).unwrap();
    device.linear_gelu(&mut h, Some(&mut u), &x, weights, batch, Rows::Tokens, layer).unwrap();
    device.linear_gelu(&mut h_alone, None, &x, weights, batch, Rows::Tokens, layer).unwrap();
    let [y, h, h_alone, u] = [y, h, h_alone, u].map(|buffer| written(&buffer, rows * outputs));
    f.check("y", &y, |factors| f.product(&host, factors));
    let activation = f.shape.activation;
    f.check("h", &h, |factors| f.product(&host, factors).iter().map(|&u| reference::gelu(u, activation)).collect());
    assert_eq!(u, y, "{}: u is y", f.what);
    assert_eq!(h, h_alone, "{}: h does not depend on what is kept", f.what);
}

fn forward_with_masks<E: Element>(f: &mut Fixture<E>) {
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
        device.linear_dropout_residual(&mut r, &x, &residual, weights, batch, kind, layer, dropout()).unwrap();
        device.linear_dropout_residual(&mut branch, &x, &zero, weights, batch, kind, layer, dropout()).unwrap();
        let (found, branch) = (written(&r, rows * outputs), written(&branch, rows * outputs));
        f.check("r", &found, |factors| {
            let mut r = f.product(&host, factors);
            for (i, v) in r.iter_mut().enumerate() {
                let (slot, position) = places[i / outputs];
                let kept = masks.factor(reference::output(1), 0.3, slot, position * outputs + i % outputs);
                *v = *v * kept + f64::from(host_residual[i]);
            }
            r
        });

        // The very elements that the CPU device drops.
        let (mut cpu, cpu_batch) = f.cpu();
        let mut expected = vec![0.0; rows * outputs];
        let zero = vec![0.0; rows * outputs];
        cpu.linear_dropout_residual(&mut expected, &host, &zero, &f.values, &cpu_batch, kind, layer, dropout())
            .unwrap();
        let dropped = |values: &[f32]| values.iter().map(|&v| v == 0.0).collect::<Vec<_>>();
        assert_eq!(dropped(&branch), dropped(&expected), "{}, {kind:?}", f.what);
        if E::choose_product(false, false, true) {
            assert!(relative_error(&branch, &double(&expected)) < TOLERANCE, "{}: as the CPU device", f.what);
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
    device.linear_backward_input(&mut d_x, &d_y, None, weights, batch, Rows::Tokens, layer).unwrap();
    device.linear_backward_input(&mut sum, &d_y, Some(&residual), weights, batch, Rows::Tokens, layer).unwrap();
    device.linear_backward_input_gelu(&mut d_u, Some(&mut h), &d_y, &u, weights, batch, Rows::Tokens, layer).unwrap();
    let [d_x, sum, d_u, h] = [d_x, sum, d_u, h].map(|buffer| written(&buffer, rows * inputs));
    f.check("d_x", &d_x, |factors| f.input_product(&host, factors));
    let with = |other: &[f32], factors, by: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        f.input_product(&host, factors).iter().zip(other).map(|(&d, &v)| by(d, f64::from(v))).collect()
    };
    f.check("d_x with a residual", &sum, |factors| with(&host_residual, factors, &|d, v| d + v));
    // The slope as a central difference, exact to 1e-10.
    let slope =
        |activation, u: f64| (reference::gelu(u + 1e-5, activation) - reference::gelu(u - 1e-5, activation)) / 2e-5;
    let activation = f.shape.activation;
    f.check("d_u", &d_u, |factors| with(&host_u, factors, &|d, u| d * slope(activation, u)));
    f.check("h made again", &h, |_| host_u.iter().map(|&u| reference::gelu(f64::from(u), activation)).collect());
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
    for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0), (Write::Overwrite, 1.0)] {
        let Fixture { device, batch, .. } = &mut *f;
        device.linear_backward_weight(&mut gradients, &d_y, &x, batch, Rows::Tokens, layer, write).unwrap();
        let found = device.read_gradients(&gradients).unwrap();
        let scaled = |values: &[f64]| values.iter().map(|v| times * v).collect::<Vec<_>>();
        let what = |name| format!("{}, {name}, {write:?}", f.what);
        let found_d_w = &found[layer.weight.range()];
        if E::choose_product(false, true, false) {
            assert_as_good::<E>(found_d_w, &scaled(&d_w), &scaled(&plain_d_w), &what("d_W"));
        } else {
            assert_close(found_d_w, &scaled(&d_w), &what("d_W"));
        }
        // No product: float32 in every precision.
        assert_close(&found[layer.bias.range()], &scaled(&d_b), &what("d_b"));
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
    device.project_first(&mut kv, &mut q, &mut first, &x, weights, batch, layer).unwrap();
    let starts: Vec<usize> = f.packed.offsets[..sequences].iter().map(|&start| start as usize).collect();
    let part = |all: &[f64], row: usize, from: usize, to: usize| all[(row * 3 + from) * c..(row * 3 + to) * c].to_vec();
    f.check("kv", &written(&kv, rows * 2 * c), |factors| {
        let all = f.product(&host, factors);
        (0..rows).flat_map(|row| part(&all, row, 1, 3)).collect()
    });
    f.check("q", &written(&q, sequences * c), |factors| {
        let all = f.product(&host, factors);
        starts.iter().flat_map(|&row| part(&all, row, 0, 1)).collect()
    });
    let expected: Vec<f32> = starts.iter().flat_map(|&row| host[row * c..][..c].to_vec()).collect();
    assert_eq!(written(&first, sequences * c), expected, "{}: first rows", f.what);

    let (host_kv, host_q, host_residual) = (f.random(rows * 2 * c), f.random(sequences * c), f.random(sequences * c));
    let d_kv = matrix(&f.device, &host_kv, 2 * c);
    let [d_q, residual] = [&host_q, &host_residual].map(|values| matrix(&f.device, values, c));
    let (mut d_x, mut scratch) = (poisoned(&f.device, rows, c), poisoned(&f.device, sequences, c));
    let Fixture { device, batch, weights, .. } = &mut f;
    device.project_first_backward_input(&mut d_x, &mut scratch, &d_kv, &d_q, &residual, weights, batch, layer).unwrap();
    let joined = |q: &[f32], kv: &[f32]| [q, kv].concat();
    let wide_kv: Vec<f32> = host_kv.chunks(2 * c).flat_map(|kv| joined(&vec![0.0; c], kv)).collect();
    let wide_q: Vec<f32> = host_q.chunks(c).flat_map(|q| joined(q, &vec![0.0; 2 * c])).collect();
    f.check("d_x", &written(&d_x, rows * c), |factors| {
        let (mut d_x, of_q) = (f.input_product(&wide_kv, factors), f.input_product(&wide_q, factors));
        for (b, &row) in starts.iter().enumerate() {
            for j in 0..c {
                let stored = &mut d_x[row * c + j];
                // The first launch stores this sum, in the working precision.
                *stored = E::choose(f64::from(E::of(*stored as f32).value()), *stored);
                *stored += of_q[b * c + j] + f64::from(host_residual[b * c + j]);
            }
        }
        d_x
    });
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

fn on_large_and_medium_tiles<E: Element>() {
    // 9 × 11 large tiles; 15 × 8 medium ones. Forward and d_x have other columns, so each shape is there both ways round.
    for (rows, inputs, outputs) in [(1103, 40, 1400), (1103, 1400, 40), (925, 72, 520), (925, 520, 72)] {
        let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, Activation::GeluErf);
        if outputs > inputs { forward(&mut f) } else { backward_input(&mut f) }
    }
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
        forward_with_masks(&mut Fixture::<Tf32>::new(&lengths, 72, 136, Activation::GeluErf));
        forward_with_masks(&mut Fixture::<f32>::new(&lengths, 72, 136, Activation::GeluErf));
        forward_with_masks(&mut Fixture::<bf16>::new(&lengths, 72, 136, Activation::GeluErf));
    }
}

#[test]
fn projections_of_first_tokens() {
    for (lengths, c) in [(vec![1], 8), (vec![3, 64, 1, 33], 72), (vec![2; 40], 136)] {
        project_first::<f32>(&lengths, c);
        project_first::<Tf32>(&lengths, c);
        project_first::<bf16>(&lengths, c);
    }
    // 24 × 4 large tiles of keys and values.
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
    device.linear(&mut y, &x, weights, batch, Rows::Tokens, layer).unwrap();
    device.linear_backward_weight(&mut gradients, &d_y, &x, batch, Rows::Tokens, layer, Write::Overwrite).unwrap();
    let gradients = device.read_gradients(&gradients).unwrap();
    let of_layer = gradients[layer.weight.start..layer.bias.range().end].to_vec();

    // As wide as y.
    let mut f = Fixture::<E>::with_capacity(&ones(600), outputs, inputs, Activation::GeluErf, spare);
    let d_y = f.random(rows * inputs);
    let (d_y, mut d_x) = (matrix(&f.device, &d_y, inputs), poisoned(&f.device, rows, outputs));
    let Fixture { device, batch, weights, layer, .. } = &mut f;
    device.linear_backward_input(&mut d_x, &d_y, None, weights, batch, Rows::Tokens, *layer).unwrap();
    [written(&y, rows * outputs), of_layer, written(&d_x, rows * outputs)]
}

#[test]
fn neither_bucket_nor_tile_changes_a_bit() {
    // 20,000 tokens more of capacity: a bucket of 1,280 tokens instead of 640, large tiles instead of medium ones, and eight parts
    // of a sum instead of three.
    assert_eq!(bits::<bf16>(0), bits::<bf16>(20_000));
    assert_eq!(bits::<Tf32>(0), bits::<Tf32>(20_000));
    assert_eq!(bits::<f32>(0), bits::<f32>(20_000));
}

/// Products of large and of tiny factors stay what they are; the activations stay finite wherever they are asked.
fn extremes<E: Element>(activation: Activation) {
    let (inputs, outputs, rows) = (24, 40, 33);
    for (x_size, w_size) in [(1e-39, 1e6), (1e19, 1e17), (1e-18, 1e-18), (30.0, 1.0)] {
        let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, activation);
        let (weight, bias) = (f.layer.weight.range(), f.layer.bias.range());
        f.values[weight].iter_mut().for_each(|w| *w = E::of(*w * w_size).value());
        f.values[bias].fill(0.0);
        f.weights = f.device.parameters(&f.values).unwrap();
        let host: Vec<f32> = f.random(rows * inputs).iter().map(|v| E::of(v * x_size).value()).collect();
        let layer = f.layer;
        let x = matrix(&f.device, &host, inputs);
        let [mut h, mut u] = [0; 2].map(|_| poisoned(&f.device, rows, outputs));
        let [mut d_u, mut again] = [0; 2].map(|_| poisoned(&f.device, rows, inputs));
        let host_d = f.random(rows * outputs);
        let d_y = matrix(&f.device, &host_d, outputs);
        let Fixture { device, batch, weights, .. } = &mut f;
        device.linear_gelu(&mut h, Some(&mut u), &x, weights, batch, Rows::Tokens, layer).unwrap();
        device
            .linear_backward_input_gelu(&mut d_u, Some(&mut again), &d_y, &x, weights, batch, Rows::Tokens, layer)
            .unwrap();
        f.what = format!("{}, x of {x_size:e}, W of {w_size:e}", f.what);
        f.check("u", &written(&u, rows * outputs), |factors| f.product(&host, factors));
        // Far from 0, GELU is u or 0.
        let gelu = |u: f64| if u.abs() > 12.0 { u.max(0.0) } else { reference::gelu(u, activation) };
        let h = written(&h, rows * outputs);
        f.check("h", &h, |factors| f.product(&host, factors).iter().map(|&u| gelu(u)).collect());
        let again = written(&again, rows * inputs);
        f.check("h made again", &again, |_| host.iter().map(|&u| gelu(f64::from(u))).collect());
        assert!(written(&d_u, rows * inputs).iter().all(|d| d.is_finite()), "{}: d_u", f.what);
    }
}

#[test]
fn extreme_and_denormal_numbers() {
    for activation in [Activation::GeluErf, Activation::GeluTanh] {
        extremes::<f32>(activation);
        extremes::<Tf32>(activation);
        extremes::<bf16>(activation);
    }
}
