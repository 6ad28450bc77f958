//! Heads of a size that is no multiple of 8: the zeros that fill them up stay zeros whatever a training step does, on
//! any device.

use bertsd_cuda::{
    data::PackedBatch,
    device::Device,
    distillation::{Method, MethodSettings, TeacherKind},
    model::{BertConfig, Segment},
    reports::Weights,
    training::{Learner, step::StepSettings},
};

use super::tiny;

/// TinyBERT's heads, dropout on everywhere.
pub fn config() -> BertConfig {
    tiny::config(4, 26, 2)
}

pub fn batches(steps: usize) -> Vec<PackedBatch> {
    (0..steps as u32).map(|t| tiny::batch(&config(), &[9, 3, 33, 1, 13], t)).collect()
}

/// A method with weight decay, clipping and an average.
pub fn settings(method: Method, teacher: TeacherKind) -> StepSettings {
    let method = MethodSettings { average_from: Some(1), ..tiny::method(method, teacher) };
    let mut settings = StepSettings { clip: 1.0, ..tiny::settings(method) };
    settings.rates.weight_decay = 0.1;
    settings
}

pub const METHODS: [(Method, TeacherKind); 4] = [
    (Method::Ft, TeacherKind::All),
    (Method::Sda, TeacherKind::Window(2)),
    (Method::Sda, TeacherKind::Ema(0.9)),
    (Method::Sdv, TeacherKind::Window(2)),
];

/// Trains on [`batches`]; `has_teacher` says that the method keeps a teacher's weights.
pub fn stays_zero<D: Device>(mut learner: Learner<D>, steps: usize, has_teacher: bool) {
    let batches = batches(steps);
    let ahead = learner.state.teacher.steps_ahead();
    for t in 0..steps {
        let end = (t + 1 + ahead).min(steps);
        let ahead: Vec<&[PackedBatch]> = batches[t + 1..end].chunks(1).collect();
        let report = learner.step(t as u64, &batches[t..=t], &ahead).unwrap();
        // The norm is that of the parameters that there are.
        let gradients = learner.gradients().unwrap();
        let elements =
            learner.encoder.layout.segments.iter().flat_map(|s| s.runs(&gradients[s.view.range()]).flatten());
        let norm = tiny::norm(elements.map(|&g| f64::from(g)));
        assert!((report.grad_norm - norm).abs() <= 1e-5 * norm, "step {t}: {} {norm}", report.grad_norm);
    }
    let read = |arena| learner.device.read_arena(arena).unwrap().into_owned();
    let weights = |which| learner.state.weights(which).map(|w| learner.device.read_parameters(w).unwrap().into_owned());
    let student = &learner.state.student;
    let mut arenas = vec![
        ("gradient", learner.gradients().unwrap().into_owned()),
        ("first moment", read(&student.first_moment)),
        ("second moment", read(&student.second_moment)),
        ("student", learner.device.read_parameters(&student.weights).unwrap().into_owned()),
        ("average", weights(Weights::Average).expect("the mean is kept")),
    ];
    if has_teacher {
        arenas.push(("teacher", weights(Weights::Teacher).expect("the teacher has weights")));
    }
    let padded: Vec<&Segment> = learner.encoder.layout.segments.iter().filter(|segment| segment.is_padded()).collect();
    assert_eq!(padded.len(), 2 * 7, "query, key and value with their biases, and the output's weight");
    for (what, arena) in &arenas {
        for segment in &padded {
            let part = &arena[segment.view.range()];
            let filling: Vec<f32> = part.chunks_exact(segment.stride).flat_map(|c| c[segment.run..].to_vec()).collect();
            assert_eq!(filling.len(), part.len() - segment.elements());
            assert!(filling.iter().all(|&x| x == 0.0), "{what} of {}", segment.name);
            let moved = segment.runs(part).flatten().filter(|&&x| x != 0.0).count();
            let is_rounding = tiny::is_key_bias(&segment.name);
            assert!(is_rounding || 10 * moved > 9 * segment.elements(), "{what} of {}: {moved}", segment.name);
        }
    }
}
