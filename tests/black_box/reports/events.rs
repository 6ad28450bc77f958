//! `metrics.jsonl`: its spelling, what resuming keeps, and what reading refuses.

use std::{fs, path::Path};

use bertsd_cuda::{
    Error,
    metrics::Scores,
    reports::{EvalEvent, Event, EventLog, RunHistory, Split, StepEvent, Weights, read_events},
};
use proptest::prelude::*;

fn step(step: u64) -> Event {
    let (loss, ce, distill, lr) = (0.75, 0.5, 0.25, 2e-5);
    StepEvent { step, loss, ce, distill, lr, grad_norm: 1.5, tokens_per_s: 9000.0, ..StepEvent::default() }.into()
}

fn eval(step: u64) -> Event {
    let [accuracy, macro_f1, weighted_f1, mcc, loss, ece] = [0.875, 0.75, 0.5, 0.25, 0.125, 0.0625];
    let scores = Scores { accuracy, macro_f1, weighted_f1, mcc, loss, ece, examples: 8 };
    EvalEvent::new(Split::Dev, Weights::Teacher, step, scores).into()
}

fn write(path: &Path, events: &[Event]) {
    let mut log = EventLog::create(path).unwrap();
    events.iter().for_each(|event| log.write(event).unwrap());
}

#[test]
fn the_spelling_is_fixed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    let mut log = EventLog::create(&path).unwrap();
    log.write(&step(7)).unwrap();
    log.write(&eval(7)).unwrap();
    let mut odd =
        StepEvent { step: 8, loss: f64::NAN, grad_norm: f64::INFINITY, skipped: Some(1), ..StepEvent::default() };
    odd.epoch = Some(0.5);
    odd.lr_head = Some(0.001);
    odd.lambda = Some(1.0);
    odd.extra.insert("seconds".into(), 2.into());
    log.write(&odd.into()).unwrap();
    // Each line is in the file as soon as it is written.
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"event":"step","step":7,"loss":0.75,"ce":0.5,"distill":0.25,"lr":0.00002,"grad_norm":1.5,"tokens_per_s":9000.0}"#
    );
    assert_eq!(
        lines[1],
        r#"{"event":"eval","split":"dev","weights":"teacher","step":7,"accuracy":0.875,"macro_f1":0.75,"weighted_f1":0.5,"mcc":0.25,"loss":0.125,"ece":0.0625,"examples":8}"#
    );
    assert_eq!(
        lines[2],
        r#"{"event":"step","step":8,"loss":null,"ce":0.0,"distill":0.0,"lr":0.0,"grad_norm":null,"tokens_per_s":0.0,"epoch":0.5,"lr_head":0.001,"lambda":1.0,"skipped":1,"seconds":2}"#
    );
    let events = read_events(&path).unwrap();
    assert_eq!(events[..2], [step(7), eval(7)]);
    let Event::Step(odd) = &events[2] else { panic!("{events:?}") };
    assert!(odd.loss.is_nan() && odd.grad_norm.is_nan() && odd.ce == 0.0);
    assert_eq!((odd.skipped, odd.extra.len(), &odd.extra["seconds"]), (Some(1), 1, &2.into()));
    log.sync().unwrap();
}

proptest! {
    /// Killed after any byte and resumed from any checkpoint before that, the file becomes the uninterrupted one.
    #[test]
    fn resuming_leaves_each_step_once(killed in 0.0..=1.0f64, checkpoint in 0u64..12) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let events: Vec<Event> =
            (1..=12).flat_map(|n| if n % 4 == 0 { vec![step(n), eval(n)] } else { vec![step(n)] }).collect();
        write(&path, &events);
        let whole = fs::read(&path).unwrap();
        // A checkpoint of a step comes after the events of that step.
        let safe: usize = events.iter().zip(whole.split_inclusive(|&b| b == b'\n'))
            .filter(|(event, _)| event.step() <= checkpoint).map(|(_, line)| line.len()).sum();
        let end = safe + ((whole.len() - safe) as f64 * killed) as usize;
        fs::write(&path, &whole[..end]).unwrap();

        let mut log = EventLog::resume(&path, checkpoint).unwrap();
        prop_assert_eq!(fs::read(&path).unwrap(), &whole[..safe]);
        for event in events.iter().filter(|event| event.step() > checkpoint) {
            log.write(event).unwrap();
        }
        prop_assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn resuming_cuts_zeros_but_never_good_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    write(&path, &[step(1), step(2)]);
    let whole = fs::read(&path).unwrap();
    // A power cut may leave blocks of zeros, and even lines of nonsense, behind the good ones.
    fs::write(&path, [&whole[..], &[0; 64], b"\nnonsense\n", &whole[..5]].concat()).unwrap();
    EventLog::resume(&path, 2).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    // An event without its end of line is half a line: the next one would be written behind it.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    EventLog::resume(&path, 2).unwrap().write(&step(2)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Damage before events that are to be kept is not healed by deleting them.
    let damaged = [b"nonsense\n", &whole[..]].concat();
    fs::write(&path, &damaged).unwrap();
    let error = EventLog::resume(&path, 2).unwrap_err();
    assert!(matches!(error, Error::Table { line: Some(1), .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), damaged);
    // No file: a new one.
    fs::remove_file(&path).unwrap();
    EventLog::resume(&path, 2).unwrap().write(&step(3)).unwrap();
    assert_eq!(read_events(&path).unwrap(), [step(3)]);
}

#[test]
fn reading_names_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    write(&path, &[step(1), eval(1)]);
    let good = fs::read_to_string(&path).unwrap();
    // A half line at the end is a run that goes on; an unknown kind is a newer program's.
    fs::write(&path, format!("{{\"event\":\"note\",\"text\":1}}\n{good}{{\"event\":\"st")).unwrap();
    assert_eq!(read_events(&path).unwrap(), [step(1), eval(1)]);
    let bad: [(&[u8], &str); 6] = [
        (b"{\"event\":\"st\n", "is not JSON"),
        (b"\n", "is not JSON"),
        (b"[1]\n", "has no field \"event\""),
        (b"{\"event\":\"step\",\"step\":-1}\n", "is no 'step' event"),
        (b"{\"event\":\"eval\",\"step\":1}\n", "missing field `split`"),
        (b"{\"event\":\"\xff\"}\n", "is not JSON"),
    ];
    for (line, expected) in bad {
        fs::write(&path, [good.as_bytes(), line, good.as_bytes()].concat()).unwrap();
        let error = read_events(&path).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Table { line: Some(3), .. }) && message.contains(expected), "{message}");
    }
}

#[test]
fn runs_are_named_by_their_directories() {
    let directory = tempfile::tempdir().unwrap();
    for run in ["a/sda", "b/sda", "b/ft"] {
        fs::create_dir_all(directory.path().join(run)).unwrap();
        write(&directory.path().join(run).join("metrics.jsonl"), &[step(1), eval(1), step(2)]);
    }
    let paths = ["a/sda", "b/sda", "b/ft/metrics.jsonl"].map(|run| directory.path().join(run));
    let runs = RunHistory::open_all(&paths).unwrap();
    assert_eq!(runs[0].name, paths[0].display().to_string());
    assert_eq!(runs[1].name, paths[1].display().to_string());
    assert_eq!(runs[2].name, "ft");
    assert_eq!((runs[2].steps.len(), runs[2].evals.len()), (2, 1));
    let missing = RunHistory::open(directory.path().join("c")).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().contains("/c"), "{missing}");
}
