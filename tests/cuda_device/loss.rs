//! Kernels of kernels/loss.cu: values and gradients of every kind of loss, for 2 to 5,000 classes.

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Capacity, Copies, Distance, LossInputs, LossKind, LossOps, Shape, StepScalars, cpu::CpuDevice, cuda::CudaDevice,
    },
    model::BertConfig,
};

use super::{
    buffers::{assert_close, poisoned_vector, random, vector, written_vector},
    reference::{Loss, log_sum_exp},
    support::{self, double},
    tiny,
};

const SCALARS: StepScalars = StepScalars { step: 1, lambda: 0.7, ce_scale: 0.31, distill_scale: 0.25 };

/// One loss of the kinds there are.
#[derive(Clone, Copy, Debug)]
struct Case {
    classes: usize,
    sequences: usize,
    taught: bool,
    weighted: bool,
    kind: LossKind,
    /// Deviation of the logits.
    scale: f32,
}

fn config(classes: usize) -> BertConfig {
    BertConfig { labels: classes, ..tiny::config(1, 8, 1) }
}

/// Room for more than the examples.
fn capacity(sequences: usize) -> Capacity {
    Capacity { tokens: sequences + 2, sequences: sequences + 2, length: 8 }
}

/// Cases of the same sizes, on one device.
fn check_all(cases: impl IntoIterator<Item = Case>) {
    let mut device: Option<CudaDevice<f32>> = None;
    for case in cases {
        let open = || support::device(Shape::new(&config(case.classes)), capacity(case.sequences));
        check(device.get_or_insert_with(open), case);
    }
}

/// Examples of one token, in every third slot, backwards.
fn batch(case: Case) -> PackedBatch {
    let mut packed = tiny::batch(&config(case.classes), &vec![1; case.sequences], case.classes as u32);
    let last = case.sequences as u32 - 1;
    packed.slots.iter_mut().for_each(|slot| *slot = 3 * (last - *slot) + 1);
    packed
}

struct Input {
    packed: PackedBatch,
    logits: Vec<f32>,
    target: Option<Vec<f32>>,
    weights: Option<Vec<f32>>,
    slots: usize,
}

impl Input {
    fn new(case: Case) -> Self {
        let Case { classes, sequences, scale, .. } = case;
        let draw = |name, len| random::<f32>(name, len, scale, 0.0);
        let weights = |len| random::<f32>(3, len, 1.0, 0.0).iter().map(|v| 0.1 + v.abs()).collect();
        Self {
            packed: batch(case),
            logits: draw(1, sequences * classes),
            target: case.taught.then(|| draw(2, sequences * classes)),
            weights: case.weighted.then(|| weights(classes)),
            slots: 3 * sequences + 2,
        }
    }

    /// losses [2, E] and d_logits [B, N] of a device whose losses are all NaN before.
    fn run_cuda(&self, device: &mut CudaDevice<f32>, case: Case) -> (Vec<f32>, Vec<f32>) {
        let batch = support::upload(device, &self.packed, capacity(case.sequences), &SCALARS);
        let (mut losses, len) = (poisoned_vector(device, 2 * self.slots), self.logits.len());
        let mut d_logits = poisoned_vector(device, len + case.classes);
        let logits = vector(device, &self.logits);
        let [target, weights] = [&self.target, &self.weights].map(|v| v.as_ref().map(|v| vector(device, v)));
        let inputs = LossInputs { logits: &logits, target: target.as_ref(), class_weights: weights.as_ref() };
        device.distillation_loss(&mut losses, &mut d_logits, inputs, case.kind, &batch).unwrap();
        let d_logits = written_vector(device, &d_logits, len, &format!("{case:?}"));
        (device.read_vector(&losses).unwrap().into_owned(), d_logits)
    }

    fn run_cpu(&self, case: Case) -> (Vec<f32>, Vec<f32>) {
        let capacity = capacity(case.sequences);
        let mut device = CpuDevice::new(Shape::new(&config(case.classes)), capacity);
        let batch = support::upload(&mut device, &self.packed, capacity, &SCALARS);
        let (mut losses, mut d_logits) = (vec![f32::NAN; 2 * self.slots], vec![f32::NAN; self.logits.len()]);
        let (target, class_weights) = (self.target.as_ref(), self.weights.as_ref());
        let inputs = LossInputs { logits: &self.logits, target, class_weights };
        device.distillation_loss(&mut losses, &mut d_logits, inputs, case.kind, &batch).unwrap();
        (losses, d_logits)
    }
}

/// Exact losses of the examples and gradients, by the loss of one example at a time.
fn exact(case: Case, input: &Input) -> (Vec<[f64; 2]>, Vec<f64>) {
    let n = case.classes;
    let weight = |class: usize| input.weights.as_ref().map_or(1.0, |w| f64::from(w[class]));
    let smoothing = f64::from(case.kind.label_smoothing);
    let temperature = match case.kind.distance {
        Distance::Mse => None,
        Distance::Kl { temperature } => Some(f64::from(temperature)),
        Distance::Twins => unreachable!("twins have a test of their own"),
    };
    let class_weights = input.weights.as_ref().map(|w| double(w));
    let loss = Loss { class_weights, smoothing, lambda: 1.0, temperature };
    let softmax = |z: &[f64], tau: f64| -> Vec<f64> {
        let scaled: Vec<f64> = z.iter().map(|v| v / tau).collect();
        let lse = log_sum_exp(&scaled);
        scaled.iter().map(|v| (v - lse).exp()).collect()
    };
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (b, row) in input.logits.chunks(n).enumerate() {
        let (z, label) = (double(row), input.packed.labels[b]);
        // The reference divides by the weight of the label, as a mean over one example does.
        let ce = loss.cross_entropy(std::slice::from_ref(&z), &[label]) * weight(label as usize);
        let teacher = input.target.as_ref().map(|t| double(&t[b * n..(b + 1) * n]));
        let distill =
            teacher.as_ref().map_or(0.0, |t| loss.distillation(std::slice::from_ref(&z), std::slice::from_ref(t)));
        losses.push([ce, distill]);
        let share = |c: usize| {
            let own = if c == label as usize { 1.0 - smoothing } else { 0.0 };
            (own + smoothing / n as f64) * weight(c)
        };
        let (p, total) = (softmax(&z, 1.0), (0..n).map(share).sum::<f64>());
        let soft = teacher.as_ref().zip(temperature).map(|(t, tau)| (softmax(&z, tau), softmax(t, tau), tau));
        for c in 0..n {
            let mut d = f64::from(SCALARS.ce_scale) * (total * p[c] - share(c));
            let factor = f64::from(SCALARS.lambda) * f64::from(SCALARS.distill_scale);
            match (&teacher, &soft) {
                (Some(_), Some((p, q, tau))) => d += factor * tau * (p[c] - q[c]),
                (Some(t), None) => d += factor * 2.0 / n as f64 * (z[c] - t[c]),
                (None, _) => {}
            }
            gradient.push(d);
        }
    }
    (losses, gradient)
}

fn check(device: &mut CudaDevice<f32>, case: Case) {
    let input = Input::new(case);
    let (losses, d_logits) = input.run_cuda(device, case);
    let (cpu_losses, cpu_d_logits) = input.run_cpu(case);
    let (exact_losses, exact_d_logits) = exact(case, &input);
    let what = format!("{case:?}");
    let mut expected = vec![f64::NAN; 2 * input.slots];
    for (pair, &slot) in exact_losses.iter().zip(&input.packed.slots) {
        [expected[slot as usize], expected[input.slots + slot as usize]] = *pair;
    }
    // A loss is a sum of differences of logits and logarithms, each of which double rounds; a divergence has τ² times
    // that.
    let factor = match case.kind.distance {
        Distance::Mse => 1.0,
        Distance::Kl { temperature } => f64::from(temperature).powi(2),
        Distance::Twins => 1.0,
    };
    let rounding = 16.0 * f64::EPSILON * factor * (1.0 + f64::from(case.scale));
    for ((&found, &expected), &cpu) in losses.iter().zip(&expected).zip(&cpu_losses) {
        assert_eq!(found.is_nan(), expected.is_nan(), "{what}: each example has its slot");
        if !expected.is_nan() {
            // Each example by itself.
            for of in [expected, f64::from(cpu)] {
                let error = (f64::from(found) - of).abs();
                assert!(error <= 1e-5 * of.abs() + rounding, "{what}: {found}, not {expected} and {cpu} on the CPU");
            }
        }
    }
    assert_close(&d_logits, &exact_d_logits, &what);
    assert_close(&d_logits, &double(&cpu_d_logits), &what);
}

fn kinds() -> impl Iterator<Item = LossKind> {
    let softened = [0.5, 1.0, 3.5, 20.0].map(|temperature| Distance::Kl { temperature });
    let distances = [Distance::Mse].into_iter().chain(softened);
    distances.flat_map(|distance| [0.0, 0.1].map(|label_smoothing| LossKind { distance, label_smoothing }))
}

#[test]
fn every_kind_of_loss() {
    let given = [(false, false), (true, false), (false, true), (true, true)];
    check_all(kinds().flat_map(|kind| {
        given.map(|(taught, weighted)| Case { classes: 5, sequences: 3, taught, weighted, kind, scale: 2.0 })
    }));
}

#[test]
fn any_number_of_classes_and_examples() {
    let sizes = [(2, 1), (2, 67), (3, 8), (31, 2), (33, 5), (127, 1), (128, 2), (129, 3), (1000, 2), (5000, 3)];
    let kinds: Vec<LossKind> = kinds().collect();
    for (i, (classes, sequences)) in sizes.into_iter().enumerate() {
        check_all([(i, i % 2 == 0), (i + 3, true)].map(|(number, weighted)| {
            let kind = kinds[number % kinds.len()];
            Case { classes, sequences, taught: true, weighted, kind, scale: 3.0 }
        }));
    }
}

#[test]
fn every_kind_of_loss_of_five_thousand_classes() {
    check_all(kinds().map(|kind| Case { classes: 5000, sequences: 3, taught: true, weighted: true, kind, scale: 2.0 }));
}

#[test]
fn logits_near_one_another_far_apart_and_denormal() {
    let scales = [1e-42, 1e-30, 1e-6, 30.0, 3e3, 1e15];
    check_all(kinds().flat_map(|kind| {
        scales.map(|scale| Case { classes: 7, sequences: 2, taught: true, weighted: true, kind, scale })
    }));
}

/// ½ (KL(p ‖ q) + KL(q ‖ p)) of the sequences half a batch apart, against f64: losses as they are defined, and gradients by
/// central differences of the whole loss, on both devices.
#[test]
fn twins_teach_each_other() {
    for (classes, pairs, scale) in [(2, 1, 1.0f32), (3, 4, 2.0), (129, 2, 2.0), (1000, 1, 1.0)] {
        let kind = LossKind { distance: Distance::Twins, label_smoothing: 0.0 };
        let case = Case { classes, sequences: 2 * pairs, taught: false, weighted: false, kind, scale };
        let mut input = Input::new(case);
        input.target = Some(input.logits.clone());
        let mut device = support::device(Shape::new(&config(classes)), capacity(case.sequences));
        let (losses, d_logits) = input.run_cuda(&mut device, case);
        let (cpu_losses, cpu_d_logits) = input.run_cpu(case);
        let z = double(&input.logits);
        let logarithms = |z: &[f64], b: usize| -> Vec<f64> {
            let row = &z[b * classes..(b + 1) * classes];
            let lse = log_sum_exp(row);
            row.iter().map(|v| v - lse).collect()
        };
        let divergence = |z: &[f64], b: usize| -> f64 {
            let (p, q) = (logarithms(z, b), logarithms(z, (b + pairs) % case.sequences));
            0.5 * p.iter().zip(&q).map(|(p, q)| (p.exp() - q.exp()) * (p - q)).sum::<f64>()
        };
        let labels = &input.packed.labels;
        let total = |z: &[f64]| -> f64 {
            let ce: f64 = (0..case.sequences).map(|b| -logarithms(z, b)[labels[b] as usize]).sum();
            let twins: f64 = (0..case.sequences).map(|b| divergence(z, b)).sum();
            f64::from(SCALARS.ce_scale) * ce + f64::from(SCALARS.lambda) * f64::from(SCALARS.distill_scale) * twins
        };
        for (b, &slot) in input.packed.slots.iter().enumerate() {
            let expected = divergence(&z, b);
            for found in [losses[input.slots + slot as usize], cpu_losses[input.slots + slot as usize]] {
                assert!((f64::from(found) - expected).abs() <= 1e-6 * expected.max(1e-3), "{found} {expected}");
            }
        }
        for i in (0..z.len()).step_by(z.len().div_ceil(60)) {
            let at = |by: f64| {
                let mut moved = z.clone();
                moved[i] += by;
                total(&moved)
            };
            let expected = (at(1e-4) - at(-1e-4)) / 2e-4;
            for found in [d_logits[i], cpu_d_logits[i]] {
                // The third derivative's part of a central difference, and the rounding of a sum of this size.
                assert!((f64::from(found) - expected).abs() <= 1e-6, "{classes} classes, {i}: {found} {expected}");
            }
        }
    }
}
