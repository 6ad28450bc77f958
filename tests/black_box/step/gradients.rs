//! The CPU device against an independent f64 classifier: logits and loss, and its gradients against central finite
//! differences of that classifier's loss, dropout included.

use bertsd_cuda::{
    Stop,
    data::PackedBatch,
    device::{Capacity, Distance, Mask, StepScalars, cpu::CpuDevice, families::*},
    distillation::{Method, TeacherKind},
    encoder::{Encoder, Keep, LastLayer, Pass, Workspace},
    model::{Activation, BertConfig},
    random::Philox,
    training::step::StepSettings,
};

use crate::{
    reference::{Loss, Masks, Reference},
    tiny,
};

/// float32 against float64 through up to three layers: some 10⁻⁶ on logits of size 1.
const LOGITS: f64 = 1e-5;
/// An element's gradient in float32, relative to the norm of its tensor: 4·10⁻⁷ measured. A central difference in f64
/// with h = 10⁻⁴ errs by h²/6 · f''' + 10⁻¹⁶/h ≈ 10⁻⁸, far below.
const GRADIENT: f64 = 2e-6;
const H: f64 = 1e-4;

fn masks(step: u32, pass: u32) -> Masks {
    Masks { philox: Philox::new(tiny::SEED), step, pass }
}

/// Logits of the CPU device.
fn logits(config: &BertConfig, last: LastLayer, weights: &[f32], packed: &PackedBatch, mask: Mask) -> Vec<f32> {
    let encoder = Encoder::new(config, last);
    // More room than needed: rows beyond the batch must not matter.
    let capacity = Capacity { tokens: packed.tokens() + 5, sequences: packed.sequences() + 2, length: 80 };
    let mut device = CpuDevice::new(encoder.shape, capacity);
    let parameters = device.parameters(weights).unwrap();
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, packed, &StepScalars::default()).unwrap();
    let mut all = Vec::new();
    for keep in [Keep::ForBackward, Keep::Logits] {
        let mut workspace = Workspace::new(&device, &encoder, capacity, keep).unwrap();
        let (encoder, device) = (&encoder, &mut device);
        Pass { encoder, device, weights: &parameters, batch: &batch, mask, stop: Stop::NEVER }
            .forward(&mut workspace)
            .unwrap();
        all.push(device.read_vector(&workspace.logits).unwrap()[..packed.sequences() * config.labels].to_vec());
    }
    assert_eq!(all[0], all[1], "what is kept changes the logits");
    all.swap_remove(0)
}

#[test]
fn logits_agree_with_f64_for_every_head_size_and_depth() {
    let mut worst: f64 = 0.0;
    let shapes =
        [(1, 8, 1), (3, 8, 3), (2, 16, 2), (3, 24, 1), (2, 32, 3), (1, 40, 2), (2, 64, 2), (1, 96, 1), (1, 128, 2)];
    let shapes = shapes.into_iter().chain([(4, 26, 2), (8, 3, 2), (8, 1, 1), (8, 127, 1)]);
    for (i, (heads, head_size, layers)) in shapes.enumerate() {
        for activation in [Activation::GeluErf, Activation::GeluTanh] {
            let config = BertConfig { activation, ..tiny::config(heads, head_size, layers) };
            let weights = tiny::weights(&config, i as u32);
            let batch = tiny::batch(&config, &[1, 3, 7, 17, 33, 65, 2], i as u32);
            for active in [false, true] {
                let (step, pass) = (5, 3);
                let mask = Mask { philox: Philox::new(tiny::SEED), step, pass, active };
                let expected =
                    Reference::new(&config, &weights, active.then(|| masks(step, pass))).batch_logits(&batch);
                for last in [LastLayer::FirstRows, LastLayer::AllRows] {
                    let found = logits(&config, last, &weights, &batch, mask);
                    let error = tiny::distance(&found, &expected.concat());
                    assert!(error <= LOGITS, "{heads}×{head_size}, {layers} layers, {last:?}, {active}: {error:e}");
                    worst = worst.max(error);
                }
            }
        }
    }
    eprintln!("logits: worst {worst:.1e}");
}

/// The loss settings of a case, and its heads: how many, of how many elements.
struct Case {
    heads: (usize, usize),
    last: LastLayer,
    dropout: bool,
    teacher_dropout: bool,
    loss: Loss,
    activation: Activation,
}

/// Two steps of `sda`; loss and gradients of the second, which has a teacher, against the f64 classifier.
fn check(case: Case) {
    let config = BertConfig { activation: case.activation, ..tiny::config(case.heads.0, case.heads.1, 2) };
    let config = if case.dropout { config } else { tiny::without_dropout(config) };
    let distance = match case.loss.temperature {
        None => Distance::Mse,
        Some(temperature) => Distance::Kl { temperature: temperature as f32 },
    };
    let mut settings = StepSettings {
        distance,
        label_smoothing: case.loss.smoothing as f32,
        class_weights: case.loss.class_weights.as_ref().map(|w| w.iter().map(|&w| w as f32).collect()),
        teacher_dropout: case.teacher_dropout,
        ..tiny::settings(tiny::method(Method::Sda, TeacherKind::Window(1)))
    };
    settings.lambda.lambda = case.loss.lambda;
    settings.rates.encoder = 1e-2; // far enough from the teacher
    settings.rates.head = 1e-1;
    let batch = tiny::batch(&config, &[9, 3, 13, 1, 6], 50);
    let teacher = tiny::weights(&config, 50);
    let batches = [batch.clone()];
    let mut learner = tiny::learner_of(&config, case.last, settings, &batches, &teacher);
    learner.step(0, &batches, &[]).unwrap();
    let student = learner.device.read_parameters(&learner.state.student.weights).unwrap().into_owned();
    let report = learner.step(1, &batches, &[]).unwrap();
    let gradients = learner.gradients().unwrap();

    let teacher_masks = (case.dropout && case.teacher_dropout).then(|| masks(1, 1));
    let target = Reference::new(&config, &teacher, teacher_masks).batch_logits(&batch);
    let mut reference = Reference::new(&config, &student, case.dropout.then(|| masks(1, 0)));
    let loss_of =
        |reference: &Reference| case.loss.total(&reference.batch_logits(&batch), &batch.labels, Some(&target));
    let logits = reference.batch_logits(&batch);
    for (name, found, expected) in [
        ("ce", report.ce, case.loss.cross_entropy(&logits, &batch.labels)),
        ("distill", report.distill, case.loss.distillation(&logits, &target)),
        ("loss", report.loss, loss_of(&reference)),
    ] {
        assert!(expected > 1e-3, "{name} is too small to show an error: {expected}");
        assert!((found - expected).abs() <= LOGITS * expected.max(1.0), "{name}: {found} {expected}");
    }

    let all = tiny::norm(gradients.iter().map(|&g| f64::from(g)));
    let mut random = tiny::stream(77);
    let mut worst: (f64, String) = (0.0, String::new());
    for segment in reference.layout.segments.clone() {
        let range = segment.view.range();
        let gradient: Vec<f64> = gradients[range.clone()].iter().map(|&g| f64::from(g)).collect();
        let size = tiny::norm(gradient.iter().copied());
        // A key bias has gradient 0; its rounding is compared with the whole norm.
        let allowed = GRADIENT * if tiny::is_key_bias(&segment.name) { all } else { size };
        assert!(tiny::is_key_bias(&segment.name) || size > 1e-5 * all, "{}: no gradient to check", segment.name);
        // The largest element, three at random, and the whole tensor along a random vector of ±1.
        let largest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
        let mut directions: Vec<Vec<(usize, f64)>> = vec![vec![(largest, 1.0)]];
        directions.extend((0..3).map(|_| vec![(random.below(gradient.len() as u64) as usize, 1.0)]));
        directions
            .push((0..gradient.len()).map(|i| (i, if random.next_u32() & 1 == 0 { 1.0 } else { -1.0 })).collect());
        for direction in directions {
            // A direction of length 1 keeps the third-order term small.
            let length = (direction.len() as f64).sqrt();
            let mut at = |h: f64| {
                for &(i, sign) in &direction {
                    reference.weights[range.start + i] += h * sign / length;
                }
                let loss = loss_of(&reference);
                for &(i, _) in &direction {
                    reference.weights[range.start + i] = f64::from(student[range.start + i]);
                }
                loss
            };
            let expected = (at(H) - at(-H)) / (2.0 * H);
            let found = direction.iter().map(|&(i, sign)| gradient[i] * sign).sum::<f64>() / length;
            let error = (found - expected).abs();
            assert!(error <= allowed, "{}: {found:e}, by differences {expected:e}, norm {size:e}", segment.name);
            if error / allowed > worst.0 {
                worst = (error / allowed, segment.name.clone());
            }
        }
    }
    eprintln!("gradients: worst {:.2} of what is allowed, in {}", worst.0, worst.1);
}

const HEADS: (usize, usize) = (2, 16);

fn plain_loss() -> Loss {
    Loss { class_weights: None, smoothing: 0.0, lambda: 1.0, temperature: None }
}

#[test]
fn gradients_agree_with_finite_differences_without_dropout() {
    for last in [LastLayer::FirstRows, LastLayer::AllRows] {
        let activation = Activation::GeluErf;
        check(Case { heads: HEADS, last, dropout: false, teacher_dropout: true, loss: plain_loss(), activation });
    }
}

#[test]
fn gradients_agree_with_finite_differences_with_dropout() {
    for (last, teacher_dropout) in
        [(LastLayer::FirstRows, true), (LastLayer::AllRows, true), (LastLayer::FirstRows, false)]
    {
        let activation = Activation::GeluTanh;
        check(Case { heads: HEADS, last, dropout: true, teacher_dropout, loss: plain_loss(), activation });
    }
}

#[test]
fn gradients_agree_with_finite_differences_for_every_loss() {
    let class_weights = Some(vec![0.5, 1.75, 2.25]);
    for temperature in [None, Some(1.0), Some(2.5)] {
        let loss = Loss { class_weights: class_weights.clone(), smoothing: 0.125, lambda: 0.75, temperature };
        let activation = Activation::GeluErf;
        check(Case {
            heads: HEADS,
            last: LastLayer::FirstRows,
            dropout: true,
            teacher_dropout: true,
            loss,
            activation,
        });
    }
}

#[test]
fn gradients_agree_with_finite_differences_where_heads_are_filled_up() {
    for (last, heads) in [(LastLayer::FirstRows, (4, 6)), (LastLayer::AllRows, (4, 26))] {
        let activation = Activation::GeluErf;
        check(Case { heads, last, dropout: true, teacher_dropout: true, loss: plain_loss(), activation });
    }
}
