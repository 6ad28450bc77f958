//! A state in a checkpoint goes on with the teacher that it was made with, and with no other; and weights that a run
//! does not keep are nobody's.

use std::sync::atomic::AtomicBool;

use bertsd_cuda::{
    Error, Stop,
    checkpoint::CheckpointStore,
    data::PackedBatch,
    device::cpu::CpuDevice,
    distillation::{Method, MethodSettings, SdvMode, TeacherKind},
    reports::Weights,
    training::{
        Learner, StepReport,
        state::{self, Position},
    },
};

use crate::tiny;

/// Steps before the state is saved.
const SAVED: u64 = 4;

/// One of every kind of teacher, and another of those that have a number.
fn methods() -> Vec<MethodSettings> {
    let sda = |teacher| tiny::method(Method::Sda, teacher);
    let sdv = |size, sdv_mode| MethodSettings { sdv_mode, ..tiny::method(Method::Sdv, TeacherKind::Window(size)) };
    vec![
        tiny::fine_tuning(),
        sda(TeacherKind::Window(2)),
        sda(TeacherKind::Window(3)),
        sda(TeacherKind::All),
        sda(TeacherKind::Ema(0.9)),
        sda(TeacherKind::Ema(0.5)),
        sdv(3, SdvMode::Stored),
        sdv(2, SdvMode::Stored),
        sdv(3, SdvMode::LookAhead),
        sdv(2, SdvMode::LookAhead),
    ]
}

fn batches() -> Vec<PackedBatch> {
    (0..9).map(|t| tiny::batch(&tiny::config(1, 8, 1), &[5, 3, 9], t)).collect()
}

fn learner(method: MethodSettings, batches: &[PackedBatch]) -> Learner<CpuDevice> {
    let config = tiny::config(1, 8, 1);
    tiny::learner(&config, tiny::settings(method), batches, &tiny::weights(&config, 3))
}

fn step(learner: &mut Learner<CpuDevice>, batches: &[PackedBatch], t: u64) -> StepReport {
    let ahead: Vec<&[PackedBatch]> =
        batches[t as usize + 1..].chunks(1).take(learner.state.teacher.steps_ahead()).collect();
    learner.step(t, &batches[t as usize..][..1], &ahead).unwrap()
}

/// A learner after [`SAVED`] steps.
fn saved_learner(method: MethodSettings, batches: &[PackedBatch]) -> Learner<CpuDevice> {
    let mut learner = learner(method, batches);
    for t in 0..SAVED {
        step(&mut learner, batches, t);
    }
    learner
}

#[test]
fn a_state_goes_on_with_its_own_teacher_only() {
    let (home, batches) = (tempfile::tempdir().unwrap(), batches());
    for (i, &saved) in methods().iter().enumerate() {
        let store = CheckpointStore::open(home.path().join(i.to_string()), 1).unwrap();
        let mut whole = saved_learner(saved, &batches);
        let position = Position { step: SAVED, ..Position::default() };
        state::save(&store, &mut whole, &position, 7, Stop::NEVER).unwrap();
        for (j, &other) in methods().iter().enumerate() {
            let (_, mut reader) = store.latest_valid().unwrap().checkpoint.unwrap();
            let mut parts = learner(other, &batches);
            let restored = state::restore(&mut reader, &mut parts, 7, Stop::NEVER);
            if i == j {
                assert_eq!(restored.unwrap(), position);
                let mut whole = saved_learner(saved, &batches);
                for t in SAVED..8 {
                    assert_eq!(step(&mut parts, &batches, t), step(&mut whole, &batches, t), "{saved:?}, step {t}");
                }
            } else {
                let error = restored.unwrap_err();
                let teachers = [whole.state.teacher.to_string(), parts.state.teacher.to_string()];
                let named = teachers.iter().all(|teacher| error.to_string().contains(teacher.as_str()));
                assert!(matches!(error, Error::Run { .. }) && named, "{saved:?} as {other:?}: {error}");
            }
        }
    }
}

#[test]
fn weights_that_a_run_does_not_keep_are_an_error() {
    let batches = batches();
    for method in methods() {
        for average_from in [None, Some(1)] {
            let mut learner = learner(MethodSettings { average_from, ..method }, &batches);
            step(&mut learner, &batches, 0);
            let mut logits = |which| learner.logits(&batches[0], which).map(|logits| logits.into_owned());
            let student = logits(Weights::Student).unwrap();
            for (which, is_kept) in
                [(Weights::Teacher, method.method == Method::Sda), (Weights::Average, average_from.is_some())]
            {
                match logits(which) {
                    Ok(logits) => assert!(is_kept && logits.len() == student.len(), "{method:?}, {which:?}"),
                    Err(error) => {
                        assert!(!is_kept && matches!(error, Error::Misuse { .. }), "{method:?}, {which:?}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_step_whose_batch_nobody_voted_on_is_an_error() {
    let batches = batches();
    let mut learner = learner(tiny::method(Method::Sdv, TeacherKind::Window(2)), &batches);
    learner.step(0, &batches[..1], &[&batches[1..2], &batches[2..3]]).unwrap();
    // Step 1 votes on step 2 alone, which two iterates vote on then, and nobody on step 3 but step 2.
    learner.step(1, &batches[1..2], &[&batches[2..3]]).unwrap();
    learner.step(2, &batches[2..3], &[&batches[3..4]]).unwrap();
    let error = learner.step(3, &batches[3..4], &[]).unwrap_err().to_string();
    assert!(error.contains("1 of 2 earlier iterates") && error.contains("step 3"), "{error}");
}

/// A stop does not wait for the disk, so what is known to be on it stays.
#[test]
fn a_state_saved_in_haste_is_whole_and_leaves_the_one_before() {
    let (home, batches) = (tempfile::tempdir().unwrap(), batches());
    let store = CheckpointStore::open(home.path(), 1).unwrap();
    let mut learner = saved_learner(methods()[0], &batches);
    let asked = AtomicBool::new(true);
    let saves = [(1, Stop::NEVER, vec![1]), (2, Stop::when(&asked), vec![1, 2]), (3, Stop::NEVER, vec![3])];
    for (step, stop, expected) in saves {
        let position = Position { step, ..Position::default() };
        state::save(&store, &mut learner, &position, 7, stop).unwrap();
        assert_eq!(store.steps().unwrap(), expected);
        let (newest, mut reader) = store.latest_valid().unwrap().checkpoint.unwrap();
        assert_eq!(newest, step);
        assert_eq!(state::restore(&mut reader, &mut learner, 7, Stop::NEVER).unwrap(), position);
    }
}
