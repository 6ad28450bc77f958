//! Linear layers and their GELU of numbers at the ends of float32.

use bertsd_cuda::{
    device::{
        LinearOps, Matrix, Memory, Rows,
        cuda::{Element, Tf32},
    },
    model::Activation,
};
use half::bf16;

use super::{
    super::{
        buffers::{on, on_cpu},
        gelu::slope,
        linear_fixture::{Factors, Fixture, matrix, poisoned, written},
        reference,
        support::double,
    },
    of_cpu, ones, poisoned_of_cpu,
};

/// Products of large and of tiny factors stay what they are; the activations stay finite wherever they are asked.
fn extremes<E: Element>(activation: Activation) {
    let (inputs, outputs, rows) = (24, 40, 33);
    for (x_size, w_size) in [(1e-39, 1e6), (1e19, 1e17), (1e-18, 1e-18), (1e-41, 1.0), (30.0, 1.0)] {
        let mut f = Fixture::<E>::new(&ones(rows), inputs, outputs, activation);
        let (weight, bias) = (f.layer.weight.range(), f.layer.bias.range());
        f.values[weight].iter_mut().for_each(|w| *w = E::from_f32(*w * w_size).value());
        f.values[bias].fill(0.0);
        f.weights = f.device.parameters(&f.values).unwrap();
        let host: Vec<f32> = f.random(rows * inputs).iter().map(|v| E::from_f32(v * x_size).value()).collect();
        let layer = f.layer;
        let x = matrix(&f.device, &host, inputs);
        let [mut h, mut u] = [0; 2].map(|_| poisoned(&f.device, rows, outputs));
        let [mut d_u, mut again] = [0; 2].map(|_| poisoned(&f.device, rows, inputs));
        let host_d = f.random(rows * outputs);
        let d_y = matrix(&f.device, &host_d, outputs);
        let Fixture { device, batch, weights, .. } = &mut f;
        let all = on(weights, batch, Rows::Tokens);
        device.linear_gelu(&mut h, Some(&mut u), &x, layer, all).unwrap();
        device.linear_backward_input_gelu(&mut d_u, Some(&mut again), &d_y, &x, layer, all).unwrap();
        f.what = format!("{}, x of {x_size:e}, W of {w_size:e}", f.what);
        let (mut cpu, cpu_batch) = f.cpu();
        let [mut cpu_h, mut cpu_u] = [0; 2].map(|_| poisoned_of_cpu(rows, outputs));
        let [mut cpu_d_u, mut cpu_again] = [0; 2].map(|_| poisoned_of_cpu(rows, inputs));
        let (x, d_y) = (of_cpu(&host, inputs), of_cpu(&host_d, outputs));
        let all = on_cpu(&f.values, &cpu_batch, Rows::Tokens);
        cpu.linear_gelu(&mut cpu_h, Some(&mut cpu_u), &x, layer, all).unwrap();
        cpu.linear_backward_input_gelu(&mut cpu_d_u, Some(&mut cpu_again), &d_y, &x, layer, all).unwrap();
        let [cpu_h, cpu_u, cpu_d_u, cpu_again] = [&cpu_h, &cpu_u, &cpu_d_u, &cpu_again].map(Matrix::elements);
        // Below the least normal number every product and every sum is rounded to a multiple of the least denormal one,
        // a result in bf16 to one of its own. A factor in tf32 is a multiple of 1.1e-41: the exact result is out of its
        // reach, and what is made of such factors is not.
        let quantum = 1.4e-45 * inputs.max(outputs) as f64;
        let check = |name: &str, found: &[f32], cpu: &[f32], expected: &dyn Fn(Factors) -> Vec<f64>| {
            let (exact, plain) = (expected(Factors::Exact), expected(Factors::AsMultiplied));
            if exact.iter().all(|v| v.abs() < f64::from(f32::MIN_POSITIVE)) {
                let near = |values: &[f32], to: &[f64], quantum: f64| {
                    values.iter().zip(to).all(|(&a, b)| (f64::from(a) - b).abs() <= quantum)
                };
                assert!(near(cpu, &exact, quantum), "{}, {name}, on the processor", f.what);
                assert!(near(found, &plain, quantum + E::choose(9.2e-41, 0.0)), "{}, {name}", f.what);
            } else {
                f.check(name, found, cpu, expected);
            }
        };
        let gelu = |u: Vec<f64>| u.iter().map(|&u| reference::gelu(u, activation)).collect::<Vec<_>>();
        check("u", &written(&u, rows * outputs), cpu_u, &|factors| f.product(&host, factors));
        check("h", &written(&h, rows * outputs), cpu_h, &|factors| gelu(f.product(&host, factors)));
        check("h recomputed", &written(&again, rows * inputs), cpu_again, &|_| gelu(double(&host)));
        check("d_u", &written(&d_u, rows * inputs), cpu_d_u, &|factors| {
            let d_h = f.input_product(&host_d, factors);
            d_h.iter().zip(&host).map(|(d, &u)| d * slope(f64::from(u), activation)).collect()
        });
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
