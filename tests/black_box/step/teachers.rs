//! Teachers and averages over many steps, dropout on, against explicit means in f64 of the student's weights after each
//! step; and look-ahead voting against stored weights.

use bertsd_cuda::{
    data::PackedBatch,
    device::{Copies, cpu::CpuDevice},
    distillation::{Method, MethodSettings, SdvMode, TeacherKind},
    model::BertConfig,
    reports::Weights,
    training::{
        Learner,
        step::{StepReport, StepSettings},
    },
};

use crate::tiny;

fn config() -> BertConfig {
    tiny::config(2, 8, 2)
}

/// Batches of differing sizes, as the last of an epoch is.
fn batches(steps: usize) -> Vec<PackedBatch> {
    let lengths: [&[usize]; 3] = [&[5, 9, 3, 12], &[7, 4, 21], &[3]];
    (0..steps).map(|t| tiny::batch(&config(), lengths[t % 3], t as u32)).collect()
}

/// Runs all steps; `after` sees the learner after each.
fn run(
    settings: StepSettings,
    batches: &[PackedBatch],
    mut after: impl FnMut(u64, &Learner<CpuDevice>),
) -> Vec<StepReport> {
    let config = config();
    let mut learner = tiny::learner(&config, settings, batches, &tiny::weights(&config, 40));
    let ahead = learner.state.teacher.steps_ahead();
    (0..batches.len())
        .map(|t| {
            let end = (t + 1 + ahead).min(batches.len());
            let ahead: Vec<&[PackedBatch]> = batches[t + 1..end].chunks(1).collect();
            let report = learner.step(t as u64, &batches[t..=t], &ahead).unwrap();
            after(t as u64, &learner);
            report
        })
        .collect()
}

fn student(learner: &Learner<CpuDevice>) -> Vec<f64> {
    let weights = learner.device.read_parameters(&learner.state.student.weights).unwrap();
    weights.iter().map(|&w| f64::from(w)).collect()
}

fn teacher(learner: &Learner<CpuDevice>) -> Vec<f32> {
    let weights = learner.state.teacher.weights().expect("sda keeps weights");
    learner.device.read_parameters(weights).unwrap().into_owned()
}

fn start() -> Vec<f64> {
    tiny::weights(&config(), 40).iter().map(|&w| f64::from(w)).collect()
}

fn mean(iterates: &[Vec<f64>]) -> Vec<f64> {
    let sum = |i: usize| iterates.iter().map(|weights| weights[i]).sum::<f64>();
    (0..iterates[0].len()).map(|i| sum(i) / iterates.len() as f64).collect()
}

/// Both trajectories: every report and the last student.
fn trajectory(settings: StepSettings, batches: &[PackedBatch]) -> (Vec<StepReport>, Vec<f64>) {
    let mut last = Vec::new();
    let reports = run(settings, batches, |_, learner| last = student(learner));
    (reports, last)
}

/// The two ways differ by the rounding of a mean of K logits, which Adam amplifies where a gradient is near 0.
fn assert_same(a: &(Vec<StepReport>, Vec<f64>), b: &(Vec<StepReport>, Vec<f64>), what: &str) {
    for (a, b) in a.0.iter().zip(&b.0) {
        for (a, b) in [(a.loss, b.loss), (a.ce, b.ce), (a.distill, b.distill)] {
            assert!((a - b).abs() <= 1e-6, "{what}, {a} {b}");
        }
    }
    // Key biases have no gradient but rounding: left out.
    let layout = bertsd_cuda::model::Layout::new(&config());
    for segment in layout.segments.iter().filter(|segment| !tiny::is_key_bias(&segment.name)) {
        for i in segment.view.range() {
            let error = (a.1[i] - b.1[i]).abs();
            assert!(error <= 1e-6, "{what}, {}: {error:e}", segment.name);
        }
    }
}

#[test]
fn look_ahead_votes_equal_stored_weights() {
    // 20 steps; from step 20 − K on there are fewer batches ahead than K.
    let batches = batches(20);
    for window in [1, 3, 5] {
        for teacher_dropout in [true, false] {
            let of = |sdv_mode| {
                let method = MethodSettings { sdv_mode, ..tiny::method(Method::Sdv, TeacherKind::Window(window)) };
                trajectory(StepSettings { teacher_dropout, ..tiny::settings(method) }, &batches)
            };
            let (ahead, stored) = (of(SdvMode::LookAhead), of(SdvMode::Stored));
            assert!(ahead.0[1..].iter().all(|report| report.distill > 1e-6), "every step but the first is taught");
            assert_same(&ahead, &stored, &format!("window {window}, teacher dropout {teacher_dropout}"));
        }
    }
}

#[test]
fn a_window_of_one_is_the_same_by_look_ahead_and_by_weights() {
    let batches = batches(20);
    let of = |keeps_teacher| {
        let method = MethodSettings { keeps_teacher, ..tiny::method(Method::Sda, TeacherKind::Window(1)) };
        let learner = tiny::learner(&config(), tiny::settings(method), &batches, &tiny::weights(&config(), 40));
        assert_eq!(learner.state.teacher.steps_ahead(), usize::from(!keeps_teacher));
        trajectory(tiny::settings(method), &batches)
    };
    assert_same(&of(false), &of(true), "window 1");
}

#[test]
fn teacher_dropout_makes_a_difference_and_has_its_own_masks() {
    let batches = batches(3);
    let of = |teacher_dropout| {
        let method = tiny::method(Method::Sda, TeacherKind::Ema(0.9));
        let reports = run(StepSettings { teacher_dropout, ..tiny::settings(method) }, &batches, |_, _| {});
        reports[0].distill
    };
    // At step 0 the EMA is the student: with the student's masks its logits would be the student's.
    let (on, off) = (of(true), of(false));
    assert!(on > 1e-3 && off > 1e-3 && (on - off).abs() > 1e-3, "{on} {off}");
}

#[test]
fn a_window_teacher_is_the_mean_of_its_iterates() {
    for window in [1usize, 3, 5] {
        let batches = batches(10 * window);
        let mut iterates = vec![start()];
        run(tiny::settings(tiny::method(Method::Sda, TeacherKind::Window(window))), &batches, |t, learner| {
            // After update t the teacher is that of step t + 1: θ_t, θ_{t−1}, … and not θ_{t+1}.
            let expected = mean(&iterates[iterates.len().saturating_sub(window)..]);
            let error = tiny::distance(&teacher(learner), &expected);
            // K additions in float32 of weights below 2, each rounded to 1.2·10⁻⁷ of its size, divided by K.
            assert!(error <= if window == 1 { 0.0 } else { 5e-7 }, "window {window}, step {t}: {error:e}");
            let moved = student(learner);
            let distance = tiny::norm(moved.iter().zip(iterates.last().unwrap()).map(|(a, b)| a - b));
            assert!(distance > 1e-3, "the student moves, or the means say nothing");
            iterates.push(moved);
        });
        assert_eq!(iterates.len(), 10 * window + 1);
    }
}

#[test]
fn a_sparse_window_is_the_mean_of_every_s_th_iterate() {
    for (size, every) in [(6usize, 3usize), (4, 2), (5, 5)] {
        let batches = batches(5 * size);
        let mut iterates = vec![start()];
        let teacher_kind = TeacherKind::Sparse { size, every };
        run(tiny::settings(tiny::method(Method::Sda, teacher_kind)), &batches, |t, learner| {
            // After update t: of θ_t, θ_{t−1}, … those whose number `every` divides, the newest of them.
            let taken: Vec<Vec<f64>> = iterates.iter().step_by(every).cloned().collect();
            assert_eq!(taken.len() as u64, t / every as u64 + 1);
            let expected = mean(&taken[taken.len().saturating_sub(size / every)..]);
            let error = tiny::distance(&teacher(learner), &expected);
            assert!(error <= if size == every { 0.0 } else { 5e-7 }, "{size}/{every}, step {t}: {error:e}");
            iterates.push(student(learner));
        });
    }
}

/// Its distillation term is the mean square of the student's logits, from the first step on.
#[test]
fn the_teacher_zero_is_a_penalty_on_the_logits() {
    let config = BertConfig { hidden_drop_prob: 0.0, attention_drop_prob: 0.0, classifier_drop_prob: 0.0, ..config() };
    let (batches, settings) = (batches(6), tiny::settings(MethodSettings::new(Method::Sda, TeacherKind::Zero)));
    let mut learner = tiny::learner(&config, settings, &batches, &tiny::weights(&config, 40));
    for (t, batch) in batches.iter().enumerate() {
        // Without dropout the student of the step has the logits of evaluation.
        let before = learner.logits(batch, Weights::Student).unwrap().into_owned();
        let logits = &before[..batch.sequences() * config.labels];
        let square = logits.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>() / logits.len() as f64;
        let report = learner.step(t as u64, std::slice::from_ref(batch), &[]).unwrap();
        assert!(square > 1e-4 && (report.distill - square).abs() <= 1e-5 * square, "{} {square}", report.distill);
        assert!((report.loss - report.ce - square).abs() <= 1e-5, "step {t}");
    }
}

#[test]
fn the_teacher_of_all_is_the_mean_of_all_iterates() {
    let batches = batches(60);
    let mut iterates = vec![start()];
    run(tiny::settings(tiny::method(Method::Sda, TeacherKind::All)), &batches, |t, learner| {
        let error = tiny::distance(&teacher(learner), &mean(&iterates));
        // A mean in two floats: half a unit in the last place of weights below 2.
        assert!(error <= 1.3e-7, "step {t}: {error:e}");
        iterates.push(student(learner));
    });
}

#[test]
fn an_exponential_mean_moves_at_0_9999() {
    let batches = batches(200);
    let first = start();
    for decay in [0.9999, 0.9] {
        let mut expected = first.clone();
        run(tiny::settings(tiny::method(Method::Sda, TeacherKind::Ema(decay))), &batches, |t, learner| {
            for (mean, w) in expected.iter_mut().zip(student(learner)) {
                *mean += (1.0 - decay) * (w - *mean);
            }
            if t == 0 || t == 199 {
                let found = teacher(learner);
                let error = tiny::distance(&found, &expected);
                // As above; the weight 1 − D is a float32, 6·10⁻⁸ of the way walked.
                assert!(error <= 1.3e-7, "decay {decay}, step {t}: {error:e}");
                let moved = tiny::distance(&found, &first);
                assert!(t == 0 || moved > 1e-4, "decay {decay}: the teacher moved by {moved:e} in 200 steps");
            }
        });
    }
}

#[test]
fn the_average_is_the_mean_of_the_iterates_from_a_step_on() {
    let batches = batches(40);
    for from in [1usize, 2, 15, 40, 41] {
        let method = tiny::method(Method::Se, TeacherKind::All);
        let method = MethodSettings { average_from: Some(from as u64), ..method };
        let mut iterates = Vec::new();
        let mut average = Vec::new();
        run(tiny::settings(method), &batches, |_, learner| {
            iterates.push(student(learner)); // θ_1 at index 0
            let mean = learner.state.average.as_ref().unwrap();
            average = learner.device.read_parameters(mean.weights()).unwrap().into_owned();
        });
        let expected = if from > 40 { start() } else { mean(&iterates[from - 1..]) };
        let error = tiny::distance(&average, &expected);
        assert!(error <= 1.3e-7, "from {from}: {error:e}");
    }
}

#[test]
fn an_average_beside_a_teacher_changes_neither() {
    let batches = batches(12);
    let of = |average_from| {
        let method = tiny::method(Method::Sda, TeacherKind::Window(3));
        trajectory(tiny::settings(MethodSettings { average_from, ..method }), &batches)
    };
    assert_eq!(of(None), of(Some(1)));
}
