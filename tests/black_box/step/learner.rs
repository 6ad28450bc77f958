//! The optimizer step as a whole: what it moves, how micro-batches add up, extremes of size, losses with weights, and
//! what a number that is not one does.

use bertsd_cuda::{
    Error,
    data::PackedBatch,
    device::{Copies, Distance, cpu::CpuDevice},
    distillation::{LambdaSchedule, Method, TeacherKind},
    encoder::{Encoder, LastLayer, Recompute},
    model::{BertConfig, Layout},
    random::Philox,
    training::{
        Learner,
        step::{StepReport, StepSettings},
    },
};

use crate::{
    reference::{Loss, Masks, Reference},
    skips, tiny,
};

#[test]
fn every_parameter_receives_a_gradient_and_moves() {
    // Without the classifier's dropout, which may cut a column of the pooler off in all three sequences.
    let config = BertConfig { vocab_size: 12, max_positions: 9, classifier_drop_prob: 0.0, ..tiny::config(2, 8, 2) };
    let weights = tiny::weights(&config, 1);
    // Every word, position and type occurs.
    let mut batch = PackedBatch::default();
    batch.clear();
    let ids: Vec<u32> = (0..9).collect();
    batch.push(&ids, &[0, 0, 0, 0, 0, 1, 1, 1, 1], 0, 0);
    batch.push(&[9, 10, 11], &[0, 0, 1], 1, 1);
    batch.push(&[3, 3, 5], &[0, 1, 1], 2, 2);
    let batches = [batch];
    let mut learner = tiny::learner(&config, tiny::settings(tiny::fine_tuning()), &batches, &weights);
    learner.step(0, &batches, &[]).unwrap();
    let gradients = learner.gradients().unwrap().into_owned();
    let moved = learner.device.read_parameters(&learner.state.student.weights).unwrap();
    let layout = Layout::new(&config);
    for segment in layout.segments.iter().filter(|segment| !tiny::is_key_bias(&segment.name)) {
        let lr = if segment.name.starts_with("classifier") { 2e-3 } else { 1e-3 };
        for i in segment.view.range() {
            assert!(gradients[i] != 0.0, "{}[{}]: no gradient", segment.name, i - segment.view.start);
            // The first Adam step is lr in the direction of −g, on top of the decay; ε matters for tiny gradients only.
            let decay = if segment.decay { 0.01 } else { 0.0 };
            let g = f64::from(gradients[i]);
            let expected = f64::from(weights[i]) * (1.0 - lr * decay) - lr * g / (g.abs() + 1e-8);
            // Half a unit in the last place of weights below 4, and lr to 10⁻⁴ of itself.
            let error = (f64::from(moved[i]) - expected).abs();
            assert!(error < 4e-7, "{}[{}]: {error:e}", segment.name, i - segment.view.start);
        }
    }
}

#[test]
fn each_layer_has_its_own_rate() {
    let config = tiny::config(2, 8, 3);
    let weights = tiny::weights(&config, 3);
    let batches = [tiny::batch(&config, &[9, 3, 13], 3)];
    let mut settings = tiny::settings(tiny::fine_tuning());
    settings.rates.layer_decay = 0.5;
    settings.rates.weight_decay = 0.0;
    let mut learner = tiny::learner(&config, settings, &batches, &weights);
    learner.step(0, &batches, &[]).unwrap();
    let moved = learner.device.read_parameters(&learner.state.student.weights).unwrap();
    for (name, lr) in [
        ("classifier.weight", 2e-3),
        ("bert.pooler.dense.weight", 1e-3),
        ("bert.encoder.layer.2.output.dense.weight", 0.5e-3),
        ("bert.encoder.layer.1.output.dense.weight", 0.25e-3),
        ("bert.encoder.layer.0.output.dense.weight", 0.125e-3),
        ("bert.embeddings.token_type_embeddings.weight", 0.0625e-3),
    ] {
        let segment = learner.encoder.layout.segments.iter().find(|segment| segment.name == name).expect(name);
        // The first Adam step is lr long, whatever the gradient, if that is not tiny.
        let steps = segment.view.range().map(|i| f64::from((moved[i] - weights[i]).abs()));
        let longest = steps.fold(0.0, f64::max);
        assert!((longest - lr).abs() < 4e-7, "{name}: {longest:e} instead of {lr:e}");
    }
}

#[test]
fn clipping_scales_the_gradient_to_the_norm_asked_for() {
    let config = tiny::config(2, 8, 2);
    let weights = tiny::weights(&config, 4);
    let batches = [tiny::batch(&config, &[9, 3, 13], 4)];
    for clip in [0.125, 1e6] {
        let settings = StepSettings { clip, ..tiny::settings(tiny::fine_tuning()) };
        let mut learner = tiny::learner(&config, settings, &batches, &weights);
        let report = learner.step(0, &batches, &[]).unwrap();
        let gradients = learner.gradients().unwrap();
        let norm = tiny::norm(gradients.iter().map(|&g| f64::from(g)));
        assert!(norm > 0.25, "there is something to clip");
        assert!((report.grad_norm - norm).abs() < 1e-6 * norm, "{} {norm}", report.grad_norm);
        // The first moment is a tenth of the gradient that the optimizer saw.
        let moment = learner.device.read_arena(&learner.state.student.first_moment).unwrap();
        let seen = 10.0 * tiny::norm(moment.iter().map(|&m| f64::from(m)));
        assert!((seen - norm.min(clip)).abs() < 1e-5 * clip.min(norm), "clip {clip}: {seen} of {norm}");
    }
}

#[test]
fn words_that_do_not_occur_only_decay() {
    let config = tiny::config(1, 8, 1);
    let weights = tiny::weights(&config, 2);
    let mut batch = PackedBatch::default();
    batch.clear();
    batch.push(&[4, 7, 4], &[0, 0, 0], 1, 0);
    let batches = [batch];
    let mut learner = tiny::learner(&config, tiny::settings(tiny::fine_tuning()), &batches, &weights);
    learner.step(0, &batches, &[]).unwrap();
    let moved = learner.device.read_parameters(&learner.state.student.weights).unwrap();
    let word = learner.encoder.layout.embeddings.word;
    for row in (0..config.vocab_size).filter(|row| ![4, 7].contains(row)) {
        for i in word.part(row * 8, 8).range() {
            let expected = weights[i] * (1.0 - 1e-3 * 0.01);
            // One rounding of the factor and one of the product.
            assert!((moved[i] - expected).abs() <= 1.2e-7 * weights[i].abs(), "{row}");
        }
    }
}

/// The reports and gradients of two steps of `sda`, each cut into micro-batches as given.
fn two_steps(config: &BertConfig, cuts: &[Vec<usize>], settings: StepSettings) -> (Vec<StepReport>, Vec<f32>, Layout) {
    let weights = tiny::weights(config, 3);
    let whole = tiny::batch(config, &[5, 11, 3, 20, 7, 2, 9, 40], 3);
    let micro: Vec<PackedBatch> = cuts.iter().map(|cut| tiny::part(&whole, cut.iter().copied())).collect();
    let mut learner = tiny::learner(config, settings, &[whole], &weights);
    let reports = (0..2).map(|t| learner.step(t, &micro, &[]).unwrap()).collect();
    let gradients = learner.gradients().unwrap().into_owned();
    (reports, gradients, learner.encoder.layout.clone())
}

#[test]
fn micro_batches_equal_one_batch() {
    let config = tiny::config(2, 16, 2);
    let settings = || StepSettings {
        class_weights: Some(vec![0.5, 1.0, 3.0]),
        clip: 1.0,
        ..tiny::settings(tiny::method(Method::Sda, TeacherKind::Window(2)))
    };
    let (one, one_gradients, layout) = two_steps(&config, &[(0..8).collect()], settings());
    for cuts in [
        vec![(0..4).collect(), (4..8).collect()],
        vec![vec![7], vec![0, 1, 2], vec![3, 4, 5, 6]],
        (0..8).rev().map(|b| vec![b]).collect::<Vec<_>>(),
        vec![vec![6, 2, 0, 4, 7, 1, 3, 5]], // another order of packing
    ] {
        let (many, gradients, _) = two_steps(&config, &cuts, settings());
        for (a, b) in one.iter().zip(&many) {
            for (a, b) in [(a.loss, b.loss), (a.ce, b.ce), (a.distill, b.distill)] {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{cuts:?}: {a} {b}");
            }
            assert!((a.grad_norm - b.grad_norm).abs() <= 1e-5 * a.grad_norm, "{cuts:?}");
            assert_eq!((a.tokens, a.lr, a.lambda), (b.tokens, b.lr, b.lambda));
        }
        for segment in layout.segments.iter().filter(|segment| !tiny::is_key_bias(&segment.name)) {
            let pairs = || segment.view.range().map(|i| (f64::from(one_gradients[i]), f64::from(gradients[i])));
            let error = tiny::norm(pairs().map(|(a, b)| a - b)) / tiny::norm(pairs().map(|(a, _)| a));
            assert!(error <= 1e-5, "{cuts:?}: {} {error:e}", segment.name);
        }
    }
}

/// One step of a batch, compared with the f64 classifier.
fn check_step(config: &BertConfig, lengths: &[usize], name: u32) {
    let weights = tiny::weights(config, name);
    let batches = [tiny::batch(config, lengths, name)];
    let mut learner = tiny::learner(config, tiny::settings(tiny::fine_tuning()), &batches, &weights);
    let report = learner.step(0, &batches, &[]).unwrap();
    let masks = Masks { philox: Philox::new(tiny::SEED), step: 0, pass: 0 };
    let logits = Reference::new(config, &weights, Some(masks)).batch_logits(&batches[0]);
    let loss = Loss { class_weights: None, smoothing: 0.0, lambda: 0.0, temperature: None };
    let expected = loss.cross_entropy(&logits, &batches[0].labels);
    // Logits err by 10⁻⁶, the loss no more.
    assert!((report.loss - expected).abs() <= 1e-5, "{lengths:?}: {} {expected}", report.loss);
    assert_eq!((report.distill, report.lambda), (0.0, 0.0));
    assert_eq!(report.tokens as usize, lengths.iter().sum::<usize>());
    let gradients = learner.gradients().unwrap();
    let norm = tiny::norm(gradients.iter().map(|&g| f64::from(g)));
    assert!(norm > 0.0 && (report.grad_norm - norm).abs() <= 1e-6 * norm, "{} {norm}", report.grad_norm);
}

#[test]
fn batches_of_one_and_extreme_lengths() {
    let config = tiny::config(2, 16, 2);
    for (name, lengths) in (10..).zip([&[17][..], &[3], &[1], &[3, 3, 3], &[80], &[80, 3, 80]]) {
        check_step(&config, lengths, name);
    }
}

#[test]
fn sequences_of_512_tokens() {
    check_step(&BertConfig { max_positions: 512, ..tiny::config(1, 8, 1) }, &[512, 3], 20);
}

#[test]
fn five_thousand_classes() {
    let config = BertConfig { labels: 5000, ..tiny::config(1, 16, 1) };
    check_step(&config, &[4, 9, 30], 21);
}

#[test]
fn lambda_ramps_and_weighs_the_distillation() {
    let config = tiny::config(1, 8, 1);
    let settings = StepSettings {
        lambda: LambdaSchedule { lambda: 2.0, ramp_steps: 4 },
        ..tiny::settings(tiny::method(Method::Sda, TeacherKind::Window(2)))
    };
    let batches = [tiny::batch(&config, &[4, 9], 30)];
    let mut learner = tiny::learner(&config, settings, &batches, &tiny::weights(&config, 30));
    for t in 0..6 {
        let report = learner.step(t, &batches, &[]).unwrap();
        let lambda = 2.0 * (t as f64 / 4.0).min(1.0);
        assert_eq!(report.lambda, lambda);
        assert_eq!(report.loss, if lambda == 0.0 { report.ce } else { report.ce + lambda * report.distill });
        assert_eq!(report.distill > 0.0, t > 0, "no teacher at the first step only");
    }
}

#[test]
fn class_weights_smoothing_and_temperature_agree_with_f64() {
    let config = tiny::config(2, 8, 1);
    let batches = [tiny::batch(&config, &[4, 9, 3, 8, 15], 31)];
    let weights = tiny::weights(&config, 31);
    let masks = |step, pass| Some(Masks { philox: Philox::new(tiny::SEED), step, pass });
    for (class_weights, smoothing, temperature) in [
        (Some([0.25, 4.0, 1.5]), 0.0, None),
        (None, 0.25, None),
        (Some([2.0, 0.5, 0.125]), 0.125, Some(4.0)),
        (Some([0.0, 1.0, 1.0]), 0.5, Some(0.5)),
    ] {
        let settings = StepSettings {
            class_weights: class_weights.map(|w| w.map(|w| w as f32).to_vec()),
            label_smoothing: smoothing as f32,
            distance: temperature.map_or(Distance::Mse, |t| Distance::Kl { temperature: t as f32 }),
            ..tiny::settings(tiny::method(Method::Sda, TeacherKind::Ema(0.5)))
        };
        let mut learner = tiny::learner(&config, settings, &batches, &weights);
        // ξ_0 = θ_0: the EMA teaches from step 0 on, with its own masks.
        let report = learner.step(0, &batches, &[]).unwrap();
        let logits = Reference::new(&config, &weights, masks(0, 0)).batch_logits(&batches[0]);
        let target = Reference::new(&config, &weights, masks(0, 1)).batch_logits(&batches[0]);
        let class_weights = class_weights.map(|w| w.to_vec());
        let loss = Loss { class_weights, smoothing, lambda: 1.0, temperature };
        let ce = loss.cross_entropy(&logits, &batches[0].labels);
        let distill = loss.distillation(&logits, &target);
        assert!((report.ce - ce).abs() <= 1e-5, "{} {ce}", report.ce);
        assert!((report.distill - distill).abs() <= 1e-5 * distill.max(1.0), "{} {distill}", report.distill);
    }
}

#[test]
fn weights_that_are_not_numbers_are_left_alone_and_soon_stop_the_run() {
    let config = tiny::config(2, 8, 2);
    let batches = [tiny::batch(&config, &[4, 9], 32)];
    for poison in [f32::NAN, f32::INFINITY] {
        let method = tiny::method(Method::Sda, TeacherKind::Window(2));
        let mut learner = tiny::learner(&config, tiny::settings(method), &batches, &tiny::weights(&config, 32));
        for t in 0..3 {
            learner.step(t, &batches, &[]).unwrap();
        }
        let mut weights = learner.device.read_parameters(&learner.state.student.weights).unwrap().into_owned();
        weights[learner.encoder.layout.layers[1].intermediate.weight.start + 5] = poison;
        learner.device.write_parameters(&mut learner.state.student.weights, &weights).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let moments = [learner.state.student.first_moment.clone(), learner.state.student.second_moment.clone()];
        for t in 3..7 {
            let report = learner.step(t, &batches, &[]).unwrap();
            assert!(!report.grad_norm.is_finite() && !report.loss.is_finite(), "{report:?}");
        }
        match learner.step(7, &batches, &[]) {
            Err(Error::NotFinite { step: 7, what, .. }) => assert_eq!(what, "the gradient norm"),
            other => panic!("{other:?}"),
        }
        let after = learner.device.read_parameters(&learner.state.student.weights).unwrap();
        assert_eq!(bits(&after), bits(&weights));
        assert_eq!([learner.state.student.first_moment.clone(), learner.state.student.second_moment.clone()], moments);
    }
}

#[test]
fn a_step_without_a_finite_gradient_is_left_out() {
    let (config, method, batches) = (skips::config(), skips::method(), skips::batches());
    let learner = || tiny::learner(&config, tiny::settings(method), &batches, &tiny::weights(&config, 5));
    skips::leaves_a_step_out(learner(), learner());
}

#[test]
fn layers_made_again_give_the_same_bits() {
    for layers in [1, 2, 4] {
        let config = tiny::config(2, 16, layers);
        let weights = tiny::weights(&config, 3);
        let batches = [tiny::batch(&config, &[5, 40, 1, 9], 3)];
        let gradients = |recompute, last| {
            let encoder = Encoder::new(&config, last).with_recompute(recompute);
            let capacity = tiny::capacity(&batches);
            let device = CpuDevice::new(encoder.shape, capacity);
            let settings = tiny::settings(tiny::fine_tuning());
            let mut learner = Learner::new(device, encoder, settings, capacity, capacity, &weights).unwrap();
            learner.step(0, &batches, &[]).unwrap();
            learner.gradients().unwrap().iter().map(|g| g.to_bits()).collect::<Vec<_>>()
        };
        for last in [LastLayer::FirstRows, LastLayer::AllRows] {
            let kept = gradients(Recompute::None, last);
            for recompute in [Recompute::Gelu, Recompute::Layer] {
                assert!(gradients(recompute, last) == kept, "{layers} layers, {last:?}, {recompute:?}");
            }
        }
    }
}
