//! Every device against values that Hugging Face transformers computed: forward pass, gradients, and eight steps of
//! each method.

mod common;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/place.rs"]
mod place;
#[path = "cuda_device/support.rs"]
mod support;

use std::collections::HashMap;

use bertsd_cuda::{
    Stop,
    data::PackedBatch,
    device::{
        Capacity, Device, Distance, Inspect, Mask, Passes, Shape, StepScalars,
        cpu::CpuDevice,
        cuda::{Bf16, CudaDevice, Element, Tf32},
    },
    distillation::{LambdaSchedule, Method, MethodSettings, SdvMode, TeacherKind},
    encoder::{Encoder, Keep, LastLayer, Pass, Workspace},
    training::{Learner, LearningRates, Schedule, StepReport, step::StepSettings},
};
use common::{Golden, directories, tensors};

/// What the golden values allow; a device of lower precision has its own.
struct Tolerance {
    activation: f64,
    gradient: f64,
    trace: f64,
    weight: f64,
}

const FLOAT32: Tolerance = Tolerance { activation: 1e-5, gradient: 2e-5, trace: 2e-5, weight: 5e-6 };
/// The kernels' sums run in other orders than those of a processor: five times as much.
const CUDA_FLOAT32: Tolerance = Tolerance { activation: 5e-5, gradient: 1e-4, trace: 1e-4, weight: 2.5e-5 };
/// Four units in the last place of a logit between 1 and 2.
const LOGIT_ROUNDING: f64 = 1.0 / (1 << 21) as f64;

/// What the rounding of logits makes of a mean `d` of squared differences of them: (√d + δ)² − d. Below d = 2·10⁻³ it
/// exceeds 2·10⁻⁵ of d, in torch too: its float32 differs from its float64 by 2.3·10⁻⁵ of a d of 5·10⁻⁵, and 5.6·10⁻⁵
/// of 2·10⁻⁶.
fn rounding_of_distillation(d: f64) -> f64 {
    (2.0 * d.sqrt() + LOGIT_ROUNDING) * LOGIT_ROUNDING
}

/// What a loss may be off where activations have eight bits.
const BF16_LOSS: f64 = 0.02;
/// The same where the factors of linear layers have eleven.
const TF32_LOSS: f64 = 6e-4;

type Make<D> = fn(Shape, Capacity) -> D;

fn cpu(shape: Shape, capacity: Capacity) -> CpuDevice {
    let device = CpuDevice::new(shape, capacity);
    eprintln!("device: {}", device.name());
    device
}

#[test]
fn forward_pass_on_cpu() {
    for_each_golden(|golden| {
        for last in [LastLayer::AllRows, LastLayer::FirstRows] {
            check_forward(golden, last, cpu, &FLOAT32);
        }
    });
}

#[test]
fn gradients_on_cpu() {
    for_each_golden(|golden| {
        for last in [LastLayer::AllRows, LastLayer::FirstRows] {
            check_gradients(golden, last, cpu, &FLOAT32);
        }
    });
}

#[test]
fn every_method_on_cpu() {
    for_each_golden(|golden| check_traces(golden, cpu, &FLOAT32));
}

fn cuda(shape: Shape, capacity: Capacity) -> CudaDevice<f32> {
    support::device(shape, capacity)
}

#[test]
fn forward_pass_on_cuda() {
    for_each_golden(|golden| {
        for last in [LastLayer::AllRows, LastLayer::FirstRows] {
            check_forward(golden, last, cuda, &CUDA_FLOAT32);
        }
    });
}

#[test]
fn gradients_on_cuda() {
    for_each_golden(|golden| {
        for last in [LastLayer::AllRows, LastLayer::FirstRows] {
            check_gradients(golden, last, cuda, &CUDA_FLOAT32);
        }
    });
}

#[test]
fn every_method_on_cuda() {
    for_each_golden(|golden| check_traces(golden, cuda, &CUDA_FLOAT32));
}

#[test]
fn losses_of_every_method_on_cuda_in_bf16() {
    for_each_golden(|golden| check_losses::<Bf16>(golden, BF16_LOSS));
}

#[test]
fn losses_of_every_method_on_cuda_in_tf32() {
    for_each_golden(|golden| check_losses::<Tf32>(golden, TF32_LOSS));
}

fn check_losses<E: Element>(golden: &Golden, limit: f64) {
    for (method, trace) in &golden.traces {
        let settings = settings_of(method, golden);
        let mut learner = learner(golden, LastLayer::FirstRows, settings, support::device::<E>);
        let mut worst: f64 = 0.0;
        for (t, expected) in trace.as_array().unwrap().iter().enumerate() {
            let report = step(&mut learner, golden, t);
            let expected = expected["ce"].as_f64().unwrap();
            let error = (report.ce - expected).abs() / expected;
            assert!(error <= limit, "{method} step {t}: {} {expected}", report.ce);
            worst = worst.max(error);
        }
        eprintln!("  {method:8} in {}: worst {worst:.2e}", E::NAME);
    }
}

/// Step t, with the batches ahead that the teacher asks for.
fn step<D: Device>(learner: &mut Learner<D>, golden: &Golden, t: usize) -> StepReport {
    if learner.state.teacher.is_twin() {
        return learner.step(t as u64, &[twins(golden, t)], &[]).unwrap();
    }
    let end = (t + 1 + learner.state.teacher.steps_ahead()).min(golden.batches.len());
    let ahead: Vec<&[PackedBatch]> = golden.batches[t + 1..end].chunks(1).collect();
    learner.step(t as u64, &golden.batches[t..=t], &ahead).unwrap()
}

/// Batch t, and as its twins the sequences of the batch after it, with the labels of batch t.
fn twins(golden: &Golden, t: usize) -> PackedBatch {
    let (mut both, next) = (golden.batches[t].clone(), &golden.batches[(t + 1) % golden.batches.len()]);
    for b in 0..next.sequences() {
        let tokens = next.offsets[b] as usize..next.offsets[b + 1] as usize;
        let slot = (next.sequences() + b) as u32;
        both.push(&next.ids[tokens.clone()], &next.types[tokens], golden.batches[t].labels[b], slot);
    }
    both
}

fn for_each_golden(check: impl Fn(&Golden)) {
    for directory in directories() {
        eprintln!("{}", directory.display());
        check(&Golden::open(&directory));
    }
}

/// Largest absolute difference.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, f64::max)
}

/// Real rows of a padded [B, S, C] tensor.
fn unpad(padded: &[f32], batch: &PackedBatch, length: usize, width: usize) -> Vec<f32> {
    let mut rows = Vec::new();
    for b in 0..batch.sequences() {
        let real = (batch.offsets[b + 1] - batch.offsets[b]) as usize;
        rows.extend_from_slice(&padded[b * length * width..][..real * width]);
    }
    rows
}

fn check_forward<D: Device + Inspect>(golden: &Golden, last: LastLayer, make: Make<D>, tolerance: &Tolerance) {
    let encoder = Encoder::new(&golden.model.config, last);
    let capacity = golden.capacity();
    let mut device = make(encoder.shape, capacity);
    let weights = device.parameters(&golden.model.weights).unwrap();
    let mut workspace = Workspace::new(&device, &encoder, capacity, Keep::ForBackward).unwrap();
    let packed = &golden.batches[0];
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, packed, &StepScalars::default()).unwrap();
    let (encoder, device) = (&encoder, &mut device);
    Pass { encoder, device, weights: &weights, batch: &batch, mask: Mask::none(), stop: Stop::NEVER }
        .forward(&mut workspace)
        .unwrap();

    let (c, layers) = (golden.model.config.hidden_size, golden.model.config.layers);
    let close = |name: &str, values: &[f32], expected: &[f32]| {
        let error = distance(values, expected);
        eprintln!("  {name:12} {error:.2e}  ({last:?})");
        assert!(error <= tolerance.activation, "{name}: {error:e}");
    };
    for l in 0..=layers {
        if l == layers && last == LastLayer::FirstRows {
            continue;
        }
        let name = if l == 0 { "embeddings".to_owned() } else { format!("layer.{}", l - 1) };
        let x = device.read_matrix(&workspace.x[l]).unwrap();
        let expected = unpad(&golden.forward[&name], packed, golden.padded, c);
        close(&name, &x[..expected.len()], &expected);
    }
    let pooled = device.read_matrix(&workspace.pooled).unwrap();
    close("pooled", &pooled[..packed.sequences() * c], &golden.forward["pooled"]);
    let expected = &golden.forward["logits"];
    close("logits", &device.read_vector(&workspace.logits).unwrap()[..expected.len()], expected);
}

/// A learner with the settings of the golden script.
fn learner<D: Device>(golden: &Golden, last: LastLayer, method: MethodSettings, make: Make<D>) -> Learner<D> {
    let encoder = Encoder::new(&golden.model.config, last);
    let settings = StepSettings {
        seed: 0,
        max_examples: 256,
        method,
        rates: LearningRates {
            encoder: golden.arg("lr"),
            head: golden.arg("lr_head"),
            layer_decay: 1.0,
            weight_decay: 0.01,
            warmup_steps: golden.arg("warmup") as u64,
            total_steps: golden.arg("steps") as u64,
            schedule: Schedule::Linear,
            floor: 0.0,
        },
        lambda: LambdaSchedule { lambda: golden.arg("lam"), ramp_steps: 0 },
        distance: if method.method == Method::Rdrop { Distance::Twins } else { Distance::Mse },
        teacher_dropout: true,
        label_smoothing: 0.0,
        class_weights: None,
        clip: 1.0,
        beta1: 0.9,
        beta2: 0.999,
        adam_eps: 1e-8,
    };
    let Capacity { tokens, sequences, length } = golden.capacity();
    let copies = method.method.copies();
    let capacity = Capacity { tokens: copies * tokens, sequences: copies * sequences, length };
    let device = make(encoder.shape, capacity);
    Learner::new(device, encoder, settings, capacity, capacity, &golden.model.weights).unwrap()
}

/// The true gradient of a key bias is 0; what is stored is rounding, and Adam moves by it.
fn is_key_bias(name: &str) -> bool {
    name.ends_with("attention.self.key.bias")
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn check_gradients<D: Device>(golden: &Golden, last: LastLayer, make: Make<D>, tolerance: &Tolerance) {
    let mut learner = learner(golden, last, MethodSettings::new(Method::Ft, TeacherKind::All), make);
    let report = learner.step(0, &golden.batches[..1], &[]).unwrap();
    let loss = f64::from(golden.forward["loss"][0]);
    assert!((report.ce - loss).abs() <= tolerance.activation, "loss {} {loss}", report.ce);
    let gradients = learner.gradients().unwrap();
    let mut worst = (0.0, "");
    for segment in golden.model.layout.segments.iter().filter(|segment| !is_key_bias(&segment.name)) {
        let expected = &golden.forward[&format!("grad.{}", segment.name)];
        let found = segment.runs(&gradients[segment.view.range()]).flatten();
        let difference = found.zip(expected).map(|(&a, &b)| f64::from(a - b));
        let error = norm(difference) / norm(expected.iter().map(|&v| f64::from(v)));
        assert!(error <= tolerance.gradient, "{}: {error:e}", segment.name);
        worst = if error > worst.0 { (error, &segment.name) } else { worst };
    }
    eprintln!("  gradients: worst {:.2e} in {} ({last:?})", worst.0, worst.1);
}

fn settings_of(method: &str, golden: &Golden) -> MethodSettings {
    let window = |text: &str| TeacherKind::Window(text.parse().unwrap());
    let (kind, teacher) = match method.split_once('_') {
        None if method == "se" => (Method::Se, TeacherKind::All),
        None if method == "rdrop" => (Method::Rdrop, TeacherKind::All),
        None => (Method::Ft, TeacherKind::All),
        Some(("sda", "zero")) => (Method::Sda, TeacherKind::Zero),
        Some(("sda", sparse)) if sparse.contains("of") => {
            let (size, every) = sparse.split_once("of").unwrap();
            (Method::Sda, TeacherKind::Sparse { size: size.parse().unwrap(), every: every.parse().unwrap() })
        }
        Some(("sda", "all")) => (Method::Sda, TeacherKind::All),
        Some(("sda", "ema")) => (Method::Sda, TeacherKind::Ema(golden.arg("ema"))),
        Some(("sda", k)) => (Method::Sda, window(&k[1..])),
        Some(("sdv", k)) => (Method::Sdv, window(&k[1..])),
        other => panic!("{other:?}"),
    };
    MethodSettings { average_from: (kind == Method::Se).then_some(1), ..MethodSettings::new(kind, teacher) }
}

fn check_traces<D: Device>(golden: &Golden, make: Make<D>, tolerance: &Tolerance) {
    assert!(golden.traces.len() >= 7, "seven methods");
    let is_own = golden.directory.starts_with(place::root());
    assert!(!is_own || golden.traces.contains_key("sda_zero"), "and the further teachers");
    for (method, trace) in &golden.traces {
        let settings = settings_of(method, golden);
        let mut ways = vec![settings];
        if method.starts_with("sdv") {
            ways.push(MethodSettings { sdv_mode: SdvMode::Stored, ..settings });
        }
        if method == "sda_k1" {
            ways.push(MethodSettings { keeps_teacher: true, ..settings });
        }
        for settings in ways {
            let mut learner = learner(golden, LastLayer::FirstRows, settings, make);
            let mut worst: f64 = 0.0;
            for (t, expected) in trace.as_array().unwrap().iter().enumerate() {
                let report = step(&mut learner, golden, t);
                let pairs = [
                    ("ce", report.ce),
                    ("distill", report.distill),
                    ("lr", report.lr),
                    ("lr_head", report.lr_head),
                    ("grad_norm", report.grad_norm),
                ];
                for (name, value) in pairs {
                    let expected = expected[name].as_f64().unwrap();
                    let error = (value - expected).abs() / expected.abs().max(1e-30);
                    let error = if value == expected { 0.0 } else { error };
                    let rounding = if name == "distill" { rounding_of_distillation(value.max(expected)) } else { 0.0 };
                    let error = if (value - expected).abs() <= rounding { 0.0 } else { error };
                    // With θ_1 = θ_0 (lr is 0 at step 0) the distillation term is 0; what is stored may be the square
                    // of the rounding of a logit, which is at most (3e-6)².
                    let is_rounding = name == "distill" && expected.max(value) < 1e-11;
                    assert!(error <= tolerance.trace || is_rounding, "{method} step {t} {name}: {value} {expected}");
                    worst = worst.max(if is_rounding { 0.0 } else { error });
                }
            }
            eprintln!("  {method:8} {}: worst {worst:.2e}", learner.state.teacher);
            check_final(golden, method, &learner, tolerance);
        }
    }
}

fn check_final<D: Device>(golden: &Golden, method: &str, learner: &Learner<D>, tolerance: &Tolerance) {
    let path = golden.directory.join(format!("final.{method}.safetensors"));
    if !path.is_file() {
        return;
    }
    let expected: HashMap<String, Vec<f32>> = tensors(&path);
    let student = learner.device.read_parameters(&learner.state.student.weights).unwrap();
    let average = learner.state.average.as_ref().map(|mean| learner.device.read_parameters(mean.weights()).unwrap());
    assert!(!expected.is_empty());
    let mut worst: f64 = 0.0;
    for (name, values) in expected.iter().filter(|(name, _)| !is_key_bias(name)) {
        let (weights, name) = match name.strip_prefix("averaged.") {
            Some(name) => (average.as_ref().expect("se keeps an average"), name),
            None => (&student, name.as_str()),
        };
        let segment = golden.model.layout.segment(name).unwrap_or_else(|| panic!("{name}"));
        let found: Vec<f32> = segment.runs(&weights[segment.view.range()]).flatten().copied().collect();
        let error = distance(&found, values);
        assert!(error <= tolerance.weight, "{method} {name}: {error:e}");
        worst = worst.max(error);
    }
    eprintln!("           final weights: worst {worst:.2e}");
}
