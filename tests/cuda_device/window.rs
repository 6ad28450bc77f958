//! A window's mean over many updates: CPU and CUDA beside each other, and beside explicit means in f64.
//!
//! The bounds are those of `Window` in src/device/optimizer.rs. What rounds at random stays far below them, so every
//! other parameter drifts in such a way that each move of the mean rounds in the same direction, by nearly half a unit:
//! moves that piled up beyond one round of the ring would show.

use std::collections::VecDeque;

use bertsd_cuda::{
    device::{
        Capacity, Copies, Memory, Shape,
        cpu::CpuDevice,
        cuda::{Bf16, Element},
    },
    distillation::{Method, TeacherKind},
    model::{BertConfig, Layout},
};

use super::{
    optimizer::{assert_copies, gradient, state, step},
    support::{self, double},
    tiny,
};

const CAPACITY: Capacity = Capacity { tokens: 8, sequences: 1, length: 8 };
/// K.
const WINDOW: usize = 64;
const UPDATES: u64 = 200;
/// u, half a unit in the last place of 1.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

fn config() -> BertConfig {
    tiny::config(1, 8, 1)
}

/// A parameter that drifts: from 1 by one or two units in the last place, so that in any 64 updates it goes 95 of them.
/// A mean of 64 then moves by 95/64 units, which rounds to one.
fn drifting(t: u64) -> f32 {
    let units = t + (31 * t).div_ceil(WINDOW as u64);
    1.0 + units as f32 * f32::EPSILON
}

/// Error of the mean of the last 64 iterates in units of u · M, the largest over the parameters. M is of the iterates
/// since the slots were last added up, which are up to two windows: a mean that has shrunk since then still has the
/// roundings of a larger one.
fn worst(found: &[f32], iterates: &VecDeque<Vec<f64>>) -> f64 {
    let window = WINDOW.min(iterates.len());
    let error = |i: usize| {
        let mean = iterates.iter().rev().take(window).map(|theta| theta[i]).sum::<f64>() / window as f64;
        let largest = iterates.iter().map(|theta| theta[i].abs()).fold(0.0, f64::max);
        if largest == 0.0 {
            f64::from(found[i]).abs()
        } else {
            (f64::from(found[i]) - mean).abs() / (ROUNDING * largest)
        }
    };
    (0..found.len()).map(error).fold(0.0, f64::max)
}

fn check<E: Element>() {
    let (config, k) = (config(), WINDOW as f64);
    let layout = Layout::new(&config);
    let method = tiny::method(Method::Sda, TeacherKind::Window(WINDOW));
    let mut gpu = support::device::<E>(Shape::new(&config), CAPACITY);
    let mut cpu = CpuDevice::new(Shape::new(&config), CAPACITY);
    let mut theta = tiny::weights(&config, 5);
    let (mut gpu_state, mut cpu_state) = (state(&gpu, &method, &theta), state(&cpu, &method, &theta));
    let mut gpu_gradients = gpu.gradients(layout.len, &layout.embeddings).unwrap();
    let mut cpu_gradients = cpu.gradients(layout.len, &layout.embeddings).unwrap();
    let mut iterates = VecDeque::new();
    let (mut worst_gpu, mut worst_cpu): (f64, f64) = (0.0, 0.0);
    for t in 0..UPDATES {
        // Both devices take in the same iterates to the bit.
        for segment in &layout.segments {
            theta[segment.view.range()].iter_mut().step_by(2).for_each(|w| *w = drifting(t));
        }
        gpu.write_parameters(&mut gpu_state.student.weights, &theta).unwrap();
        cpu.write_parameters(&mut cpu_state.student.weights, &theta).unwrap();
        let values = gradient(&layout, t, 0.1);
        gpu.write_gradients(&mut gpu_gradients, &values).unwrap();
        cpu.write_gradients(&mut cpu_gradients, &values).unwrap();
        step(&mut gpu, &mut gpu_state, &gpu_gradients, &layout, t, 1.0);
        step(&mut cpu, &mut cpu_state, &cpu_gradients, &layout, t, 1.0);
        iterates.push_back(double(&theta));
        if iterates.len() > 2 * WINDOW {
            iterates.pop_front();
        }
        let on_gpu = gpu.read_parameters(gpu_state.teacher.weights().unwrap()).unwrap();
        let on_cpu = cpu.read_parameters(cpu_state.teacher.weights().unwrap()).unwrap();
        worst_gpu = worst_gpu.max(worst(&on_gpu, &iterates));
        worst_cpu = worst_cpu.max(worst(&on_cpu, &iterates));
        assert!(worst_cpu <= (k + 5.0) / 2.0, "step {t}: {worst_cpu:.1} u on the processor");
        assert!(worst_gpu <= (3.0 * k + 11.0) / 2.0, "step {t}: {worst_gpu:.1} u in {}", E::NAME);
        theta = cpu.read_parameters(&cpu_state.student.weights).unwrap().into_owned();
    }
    assert_copies(&gpu, &mut gpu_state);
    eprintln!(
        "K = {WINDOW}, {UPDATES} updates in {}: {worst_gpu:.1} u off, {worst_cpu:.1} u on the processor",
        E::NAME
    );
    assert!(worst_gpu > k / 2.0, "the drifting parameters do not make the moves round in one direction");
}

#[test]
fn a_long_window_stays_within_its_rounding() {
    check::<f32>();
    check::<Bf16>();
}

/// A device may serve several states; each has a ring of its own.
#[test]
fn two_states_on_one_device_keep_their_windows_apart() {
    let config = config();
    let layout = Layout::new(&config);
    let method = tiny::method(Method::Sda, TeacherKind::Window(3));
    let mut device = support::device::<f32>(Shape::new(&config), CAPACITY);
    let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
    let weights = [5, 6].map(|name| tiny::weights(&config, name));
    let mut states = [0, 1].map(|i| state(&device, &method, &weights[i]));
    for t in 0..5 {
        device.write_gradients(&mut gradients, &gradient(&layout, t, 0.1)).unwrap();
        for state in &mut states {
            step(&mut device, state, &gradients, &layout, t, 1.0);
        }
    }
    for (i, state) in states.iter_mut().enumerate() {
        let mut alone = support::device::<f32>(Shape::new(&config), CAPACITY);
        let mut expected = self::state(&alone, &method, &weights[i]);
        let mut gradients = alone.gradients(layout.len, &layout.embeddings).unwrap();
        for t in 0..5 {
            alone.write_gradients(&mut gradients, &gradient(&layout, t, 0.1)).unwrap();
            step(&mut alone, &mut expected, &gradients, &layout, t, 1.0);
        }
        let mean = |device: &bertsd_cuda::device::cuda::CudaDevice<f32>,
                    state: &bertsd_cuda::training::TrainingState<_>| {
            device.read_parameters(state.teacher.weights().unwrap()).unwrap().into_owned()
        };
        assert!(mean(&device, state) == mean(&alone, &expected), "state {i}");
    }
}
