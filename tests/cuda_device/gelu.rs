//! kernels/gelu.cuh element by element, beside the CPU device and f64: value and slope of both forms, from the least
//! denormal number to 1e30.

use bertsd_cuda::{
    device::{
        LinearOps, Matrix, Memory, Rows,
        cuda::{Element, Tf32},
    },
    model::Activation,
};
use half::bf16;

use super::{
    buffers::{factor, on, on_cpu},
    linear_fixture::{Fixture, matrix, poisoned, written},
    reference::{self, erf},
    tiny,
};

/// Absolute error of a slope, and of a value in parts of its argument: a few roundings of float32.
const TOLERANCE: f64 = 1e-6;

/// GELU'(u) in f64.
pub fn slope(u: f64, activation: Activation) -> f64 {
    match activation {
        Activation::GeluErf => {
            let density = (-u * u / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * (1.0 + erf(u / std::f64::consts::SQRT_2)) + u * density
        }
        Activation::GeluTanh => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let t = (factor * (u + 0.044715 * u.powi(3))).tanh();
            0.5 * (1.0 + t) + 0.5 * u * (1.0 - t * t) * factor * (1.0 + 3.0 * 0.044715 * u * u)
        }
    }
}

/// Numbers of every size and both signs, most of them where the functions bend; the device multiplies them as they are.
fn arguments<E: Element>(len: usize) -> Vec<f32> {
    let mut stream = tiny::stream(8000);
    let size = |i: usize| match i % 8 {
        0..=3 => 2.0,
        4 => 8.0,
        5 => 15.0,
        _ => 10f64.powi((i / 8 % 76) as i32 - 45),
    };
    (0..len)
        .map(|i| factor::<E>(E::from_f32((size(i) * stream.normal()) as f32).value()))
        .filter(|u| u.abs() < 1e31)
        .collect()
}

fn every_size<E: Element>(activation: Activation) {
    const WIDTH: usize = 128;
    const ROWS: usize = 33;
    let mut f = Fixture::<E>::new(&[1; ROWS], WIDTH, WIDTH, activation);
    // With W = 1, b = 0 and d_y = 1 the results are GELU and its slope themselves.
    let (weight, layer) = (f.layer.weight.range(), f.layer);
    f.values.fill(0.0);
    f.values[weight].iter_mut().step_by(WIDTH + 1).for_each(|w| *w = 1.0);
    f.weights = f.device.parameters(&f.values).unwrap();
    let mut u = arguments::<E>(ROWS * WIDTH);
    u.resize(ROWS * WIDTH, 0.0);
    let ones = vec![1.0; ROWS * WIDTH];
    let (x, d_y) = (matrix(&f.device, &u, WIDTH), matrix(&f.device, &ones, WIDTH));
    let [mut h, mut again, mut d_u] = [0; 3].map(|_| poisoned(&f.device, ROWS, WIDTH));
    let Fixture { device, batch, weights, .. } = &mut f;
    let all = on(weights, batch, Rows::Tokens);
    device.linear_gelu(&mut h, None, &x, layer, all).unwrap();
    device.linear_backward_input_gelu(&mut d_u, Some(&mut again), &d_y, &x, layer, all).unwrap();
    let (mut cpu, batch) = f.cpu();
    let of_cpu = |values: &[f32]| Matrix::from_values(values.to_vec(), WIDTH);
    let [mut cpu_h, mut cpu_again, mut cpu_d_u] = [0; 3].map(|_| of_cpu(&[f32::NAN; ROWS * WIDTH]));
    let (x, d_y, all) = (of_cpu(&u), of_cpu(&ones), on_cpu(&f.values, &batch, Rows::Tokens));
    cpu.linear_gelu(&mut cpu_h, None, &x, layer, all).unwrap();
    cpu.linear_backward_input_gelu(&mut cpu_d_u, Some(&mut cpu_again), &d_y, &x, layer, all).unwrap();
    let [cpu_h, cpu_again, cpu_d_u] = [&cpu_h, &cpu_again, &cpu_d_u].map(Matrix::elements);
    // What bf16 rounds off, twice; of a denormal number at least a quantum.
    let rounding = |exact: f64| E::choose(2.0 * (exact.abs() / 512.0 + 9.2e-41), 1.4e-45);
    let check = |name: &str, found: &[f32], cpu: &[f32], exact: fn(f64, Activation) -> f64, of: fn(f64) -> f64| {
        for ((&found, &cpu), &u) in found.iter().zip(cpu).zip(&u) {
            let u = f64::from(u);
            let (exact, allowed) = (exact(u, activation), TOLERANCE * of(u));
            let what = format!("{} {activation:?}, {name} of {u:e}: {found:e}, {cpu:e} on the processor", E::NAME);
            assert!((f64::from(cpu) - exact).abs() <= allowed + 1.4e-45, "{what}, not {exact:e}");
            assert!((f64::from(found) - exact).abs() <= allowed + rounding(exact), "{what}, not {exact:e}");
        }
    };
    check("GELU", &written(&h, ROWS * WIDTH), cpu_h, reference::gelu, f64::abs);
    check("GELU recomputed", &written(&again, ROWS * WIDTH), cpu_again, reference::gelu, f64::abs);
    check("slope", &written(&d_u, ROWS * WIDTH), cpu_d_u, slope, |_| 1.0);
}

#[test]
fn value_and_slope_at_every_size() {
    for activation in [Activation::GeluErf, Activation::GeluTanh] {
        every_size::<f32>(activation);
        every_size::<Tf32>(activation);
        every_size::<bf16>(activation);
    }
}
