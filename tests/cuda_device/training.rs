//! Whole steps on the CUDA device: next to the CPU device, and the same to the bit however they are launched.

use std::fmt::Debug;

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Device,
        cpu::CpuDevice,
        cuda::{Bf16, CudaDevice, Element, Tf32},
    },
    distillation::{Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer, Recompute},
    model::BertConfig,
    training::{Learner, StepReport, step::StepSettings},
};

use super::{padding, skips, support, tiny};

/// Dropout on everywhere, a hidden size that is no multiple of a tile.
fn config() -> BertConfig {
    BertConfig { max_positions: 140, ..tiny::config(2, 32, 2) }
}

/// Batches of mixed lengths, the longest beyond one tile of attention.
fn batches(config: &BertConfig, steps: usize) -> Vec<PackedBatch> {
    (0..steps as u32).map(|t| tiny::batch(config, &[5, 17 + t as usize % 3, 1, 130, 64, 9], t)).collect()
}

fn settings(method: Method, teacher: TeacherKind) -> StepSettings {
    let method = MethodSettings { average_from: Some(1), ..tiny::method(method, teacher) };
    StepSettings { clip: 1.0, ..tiny::settings(method) }
}

fn cuda_learner<E: Element>(
    config: &BertConfig,
    settings: StepSettings,
    batches: &[PackedBatch],
) -> Learner<CudaDevice<E>> {
    let encoder = Encoder::new(config, LastLayer::FirstRows);
    let capacity = tiny::capacity(batches);
    let device = support::device::<E>(encoder.shape, capacity);
    Learner::new(device, encoder, settings, capacity, capacity, &tiny::weights(config, 1)).unwrap()
}

#[test]
fn what_is_made_again_has_the_bits_of_what_is_kept() {
    fn gradients<E: Element>(config: &BertConfig, batches: &[PackedBatch], recompute: Recompute) -> Vec<u32> {
        let encoder = Encoder::new(config, LastLayer::FirstRows).with_recompute(recompute);
        let capacity = tiny::capacity(batches);
        let device = support::device::<E>(encoder.shape, capacity);
        let (settings, weights) = (settings(Method::Ft, TeacherKind::All), tiny::weights(config, 1));
        let mut learner = Learner::new(device, encoder, settings, capacity, capacity, &weights).unwrap();
        step(&mut learner, batches, 0);
        learner.gradients().unwrap().iter().map(|g| g.to_bits()).collect()
    }
    let config = BertConfig { max_positions: 140, ..tiny::config(2, 32, 3) };
    let batches = batches(&config, 1);
    let (f32, bf16) = (gradients::<f32>, gradients::<Bf16>);
    let (kept_f32, kept_bf16) = (f32(&config, &batches, Recompute::None), bf16(&config, &batches, Recompute::None));
    for recompute in [Recompute::Gelu, Recompute::Layer] {
        assert!(f32(&config, &batches, recompute) == kept_f32, "{recompute:?} in f32");
        assert!(bf16(&config, &batches, recompute) == kept_bf16, "{recompute:?} in bf16");
    }
}

fn step<D: Device>(learner: &mut Learner<D>, batches: &[PackedBatch], t: usize) -> StepReport {
    let end = (t + 1 + learner.state.teacher.steps_ahead()).min(batches.len());
    let ahead: Vec<&[PackedBatch]> = batches[t + 1..end].chunks(1).collect();
    learner.step(t as u64, &batches[t..=t], &ahead).unwrap()
}

/// Reports and final weights of a run.
fn run<D: Device>(learner: &mut Learner<D>, batches: &[PackedBatch]) -> (Vec<StepReport>, Vec<f32>) {
    let reports = (0..batches.len()).map(|t| step(learner, batches, t)).collect();
    (reports, learner.device.read_parameters(&learner.state.student.weights).unwrap().into_owned())
}

const METHODS: [(Method, TeacherKind); 4] = [
    (Method::Ft, TeacherKind::All),
    (Method::Sda, TeacherKind::Window(3)),
    (Method::Sda, TeacherKind::Ema(0.9)),
    (Method::Sdv, TeacherKind::Window(2)),
];

#[test]
fn twenty_steps_with_dropout_stay_beside_the_cpu() {
    let config = config();
    let batches = batches(&config, 20);
    for (method, teacher) in METHODS {
        let mut cpu = tiny::learner(&config, settings(method, teacher), &batches, &tiny::weights(&config, 1));
        let mut gpu = cuda_learner::<f32>(&config, settings(method, teacher), &batches);
        for t in 0..batches.len() {
            let (a, b): (StepReport, StepReport) =
                (step::<CpuDevice>(&mut cpu, &batches, t), step(&mut gpu, &batches, t));
            let error = (a.loss - b.loss).abs() / a.loss;
            assert!(error <= 1e-3, "{method:?} {teacher}, step {t}: {} on the processor, {}", a.loss, b.loss);
        }
    }
}

fn assert_same<T: PartialEq + Debug>(a: &(T, Vec<f32>), b: &(T, Vec<f32>), what: &str) {
    assert_eq!(a.0, b.0, "{what}");
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(bits(&a.1) == bits(&b.1), "{what}: the weights differ");
}

fn check_recorded_passes<E: Element>() {
    let config = config();
    let batches = batches(&config, 4);
    for (method, teacher) in METHODS {
        let mut recorded = cuda_learner::<E>(&config, settings(method, teacher), &batches);
        let first = run(&mut recorded, &batches);
        assert!(recorded.device.recorded() > 0, "nothing was recorded");
        let mut launched = cuda_learner::<E>(&config, settings(method, teacher), &batches);
        launched.device.record(false);
        assert_same(&first, &run(&mut launched, &batches), &format!("{method:?} {teacher} in {}", E::NAME));
        assert_eq!(launched.device.recorded(), 0);
    }
}

#[test]
fn recorded_passes_give_the_bits_of_launched_ones() {
    check_recorded_passes::<Bf16>();
    check_recorded_passes::<Tf32>();
}

fn check_padding<E: Element>() {
    for (method, teacher) in padding::METHODS {
        let settings = padding::settings(method, teacher);
        let learner = cuda_learner::<E>(&padding::config(), settings, &padding::batches(3));
        padding::stays_zero(learner, 3, method == Method::Sda);
    }
}

#[test]
fn what_fills_heads_up_stays_zero() {
    check_padding::<f32>();
    check_padding::<Tf32>();
    check_padding::<Bf16>();
}

#[test]
fn a_step_without_a_finite_gradient_is_left_out() {
    let (config, batches) = (skips::config(), skips::batches());
    let learner = || cuda_learner::<f32>(&config, tiny::settings(skips::method()), &batches);
    skips::leaves_a_step_out(learner(), learner());
    let learner = || cuda_learner::<Tf32>(&config, tiny::settings(skips::method()), &batches);
    skips::leaves_a_step_out(learner(), learner());
    let learner = || cuda_learner::<Bf16>(&config, tiny::settings(skips::method()), &batches);
    skips::leaves_a_step_out(learner(), learner());
}

#[test]
fn fifty_repeats_of_a_step_give_the_same_bits() {
    let config = config();
    let batches = batches(&config, 1);
    let once = || run(&mut cuda_learner::<Bf16>(&config, settings(Method::Ft, TeacherKind::All), &batches), &batches);
    let first = once();
    for repeat in 1..50 {
        assert_same(&first, &once(), &format!("repeat {repeat}"));
    }
}
