//! What a step whose gradient is not finite does, on any device.

use bertsd_cuda::{
    data::PackedBatch,
    device::Device,
    distillation::{LambdaSchedule, Method, MethodSettings, TeacherKind},
    model::BertConfig,
    reports::Weights,
    training::{Learner, Skips},
};

use super::tiny;

pub fn config() -> BertConfig {
    tiny::without_dropout(tiny::config(2, 16, 2))
}

/// Window of two, and the mean of all iterates.
pub fn method() -> MethodSettings {
    MethodSettings { average_from: Some(1), ..tiny::method(Method::Sda, TeacherKind::Window(2)) }
}

pub fn batches() -> [PackedBatch; 1] {
    [tiny::batch(&config(), &[4, 9, 21], 7)]
}

/// Two learners of equal weights and [`method`]: one meets a step with an infinite λ, the other never sees that step.
pub fn leaves_a_step_out<D: Device>(mut learner: Learner<D>, mut other: Learner<D>) {
    let batches = batches();
    let weights =
        |learner: &Learner<D>| learner.device.read_parameters(&learner.state.student.weights).unwrap().into_owned();
    let moments = |learner: &Learner<D>| {
        let read = |arena| learner.device.read_arena(arena).unwrap().into_owned();
        [read(&learner.state.student.first_moment), read(&learner.state.student.second_moment)]
    };
    let mut iterates = vec![weights(&learner)];
    for t in 0..5 {
        let is_bad = t == 3;
        let lambda = if is_bad { f64::INFINITY } else { 0.0 };
        for learner in [&mut learner, &mut other] {
            learner.settings.lambda = LambdaSchedule { lambda, ramp_steps: 0 };
        }
        let before = (weights(&learner), moments(&learner));
        let report = learner.step(t, &batches, &[]).unwrap();
        assert_eq!(report.grad_norm.is_finite(), !is_bad, "step {t}: {report:?}");
        assert_eq!(before == (weights(&learner), moments(&learner)), is_bad, "step {t} moves the weights");
        if !is_bad {
            let updates = t - u64::from(t > 3);
            assert_eq!(other.step(updates, &batches, &[]).unwrap().grad_norm, report.grad_norm, "step {t}");
        }
        iterates.push(weights(&learner));
    }
    assert_eq!((learner.skips, other.skips), (Skips { total: 1, in_a_row: 0 }, Skips::default()));
    // The step after the skipped one is the fourth update. Its learning rate is that of its step, 1e-6 lower.
    let moved = |theta: &[f32]| tiny::norm(theta.iter().zip(&iterates[4]).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    let (end, other_end) = (weights(&learner), weights(&other));
    let apart = tiny::norm(end.iter().zip(&other_end).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    assert!(apart <= 1e-4 * moved(&other_end), "{apart:e} of {:e}", moved(&other_end));
    // Iterates 3 and 4 are the same weights, and both count.
    assert!(iterates[3] == iterates[4]);
    let mean_of = |iterates: &[Vec<f32>]| -> Vec<f64> {
        let at = |i: usize| iterates.iter().map(|theta| f64::from(theta[i])).sum::<f64>() / iterates.len() as f64;
        (0..iterates[0].len()).map(at).collect()
    };
    let read = |which| learner.device.read_parameters(learner.state.weights(which).unwrap()).unwrap();
    let teacher = read(Weights::Teacher);
    assert!(tiny::distance(&teacher, &mean_of(&iterates[3..5])) < 1e-6);
    let average = read(Weights::Average);
    assert!(tiny::distance(&average, &mean_of(&iterates[1..6])) < 1e-6);
}
