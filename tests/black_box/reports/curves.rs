//! Pictures and tables made of recorded runs. The pictures stay in the build's temporary directory, to be looked at.

use std::{fs, path::Path};

use bertsd_cuda::{
    Error,
    metrics::{Metric, Scores},
    random::Philox,
    reports::{
        CurveOptions, EvalEvent, RunHistory, Split, StepEvent, Summary, Weights, curves_png, curves_svg, write_curves,
    },
};

/// A run that looks like one: losses fall with noise, scores rise and level off.
fn run(name: &str, steps: u64, distill: f64, seed: u64) -> RunHistory {
    let mut noise = Philox::new(seed).stream(0, 0);
    let mut history = RunHistory { name: name.into(), ..RunHistory::default() };
    for step in 1..=steps {
        let progress = step as f64 / steps as f64;
        let ce = (0.25 + 0.45 * (-4.0 * progress).exp()) * (1.0 + 0.35 * noise.normal()).abs();
        let distill = distill * progress.min(0.2) * (1.0 + 0.3 * noise.normal()).abs();
        let event = StepEvent { step, loss: ce + distill, ce, distill, tokens_per_s: 9_000.0, ..StepEvent::default() };
        history.steps.push(event);
        if step % (steps / 8) == 0 {
            for (weights, gain) in [(Weights::Student, 0.0), (Weights::Teacher, 0.006)] {
                if weights == Weights::Student || distill > 0.0 {
                    let accuracy = 0.86 - 0.08 * (-5.0 * progress).exp() + gain + 0.003 * noise.normal();
                    history.evals.push(EvalEvent::new(Split::Dev, weights, step, scores(accuracy)));
                }
            }
        }
    }
    history.evals.push(EvalEvent::new(Split::Test, Weights::Student, steps, scores(0.861)));
    history
}

fn scores(accuracy: f64) -> Scores {
    let [macro_f1, weighted_f1] = [accuracy - 0.01; 2];
    Scores {
        accuracy,
        macro_f1,
        weighted_f1,
        mcc: 2.0 * accuracy - 1.0,
        loss: 1.0 - accuracy,
        ece: 0.03,
        examples: 1000,
    }
}

fn tmp(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    fn of(png: &[u8]) -> Self {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        Self { width: info.width as usize, height: info.height as usize, rgb }
    }

    /// Pixels that are exactly of a colour, and the rows in which they lie.
    fn rows_with(&self, colour: [u8; 3]) -> Vec<usize> {
        let row = |y: &usize| self.rgb[y * self.width * 3..][..self.width * 3].chunks(3).any(|pixel| pixel == colour);
        (0..self.height).filter(row).collect()
    }
}

const BLUE: [u8; 3] = [0, 114, 178];
const VERMILION: [u8; 3] = [213, 94, 0];

#[test]
fn three_runs_make_three_panels() {
    let runs = [run("ft", 1512, 0.0, 1), run("sda-window-5", 1512, 0.4, 2), run("sdv-window-5", 1200, 0.6, 3)];
    let options = CurveOptions { title: "Movie reviews, all-MiniLM-L6".into(), ..CurveOptions::default() };
    write_curves(&runs, &options, tmp("curves.png")).unwrap();
    write_curves(&runs, &options, tmp("curves.svg")).unwrap();

    let picture = Pixels::of(&fs::read(tmp("curves.png")).unwrap());
    assert_eq!(picture.width, 1200);
    assert!((900..1200).contains(&picture.height), "{}", picture.height);
    // `ft` has no distillation: its blue is in the legend, the first and the last third, and not in the middle panel.
    let blue = picture.rows_with(BLUE);
    let panel = |number: usize| move |y: &&usize| (100 + 300 * number..400 + 300 * number).contains(*y);
    assert!(blue[0] < 100, "legend");
    assert!(blue.iter().filter(panel(0)).count() > 20 && blue.iter().filter(panel(2)).count() > 20, "{blue:?}");
    assert_eq!(blue.iter().filter(panel(1)).count(), 0);
    assert!(picture.rows_with(VERMILION).iter().filter(panel(1)).count() > 20);

    let svg = fs::read_to_string(tmp("curves.svg")).unwrap();
    assert!(svg.starts_with("<svg width=\"1200\""), "{}", &svg[..80]);
    for text in
        ["Movie reviews, all-MiniLM-L6", "sda-window-5", "Cross entropy, training", "Accuracy on dev", "teacher"]
    {
        assert!(svg.contains(text), "{text}");
    }
    assert!(svg.len() < 1_500_000, "{}", svg.len());
}

#[test]
fn one_run_without_distillation_makes_two_panels() {
    let runs = [run("ft", 400, 0.0, 1)];
    write_curves(&runs, &CurveOptions { width: 900, metric: Metric::Loss, ..CurveOptions::default() }, tmp("one.png"))
        .unwrap();
    let picture = Pixels::of(&fs::read(tmp("one.png")).unwrap());
    assert_eq!((picture.width, picture.height < 800), (900, true));
    let svg = curves_svg(&runs, &CurveOptions { metric: Metric::Loss, ..CurveOptions::default() }).unwrap();
    assert!(svg.contains("Cross entropy on dev") && !svg.contains("Distillation") && !svg.contains("teacher"));
}

#[test]
fn many_runs_wrap_the_legend() {
    let runs: Vec<RunHistory> =
        (0..12).map(|i| run(&format!("a rather long name of a run, seed {i}"), 80, 0.3, i)).collect();
    write_curves(&runs, &CurveOptions::default(), tmp("many.png")).unwrap();
    let few = Pixels::of(&curves_png(&runs[..2], &CurveOptions::default()).unwrap());
    let many = Pixels::of(&fs::read(tmp("many.png")).unwrap());
    assert!(many.height > few.height + 50);
}

#[test]
fn extreme_histories_are_drawn() {
    let mut single = run("one step", 8, 0.0, 1);
    single.steps.truncate(1);
    single.evals.truncate(1);
    let mut constant = run("constant", 50, 0.3, 2);
    constant.steps.iter_mut().for_each(|event| event.ce = 0.5);
    let mut diverged = run("diverged", 50, 0.3, 3);
    diverged.steps[20].ce = 1e300;
    diverged.steps.iter_mut().skip(30).for_each(|event| event.ce = f64::NAN);
    for histories in
        [vec![single.clone()], vec![constant.clone()], vec![diverged.clone()], vec![single, constant, diverged]]
    {
        Pixels::of(&curves_png(&histories, &CurveOptions::default()).unwrap());
        curves_svg(&histories, &CurveOptions::default()).unwrap();
    }
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let setting = |result: Result<(), Error>| matches!(result, Err(Error::Setting { .. }));
    let runs = [run("ft", 16, 0.0, 1)];
    assert!(setting(write_curves(&runs, &CurveOptions::default(), tmp("curves.pdf"))));
    assert!(setting(write_curves(&[], &CurveOptions::default(), tmp("none.png"))));
    assert!(setting(write_curves(&[RunHistory::default()], &CurveOptions::default(), tmp("none.png"))));
    let huge = CurveOptions { width: 100_000, ..CurveOptions::default() };
    assert!(setting(write_curves(&runs, &huge, tmp("huge.png"))));
    assert!(matches!(
        write_curves(&runs, &CurveOptions::default(), "/nonexistent/curves.png"),
        Err(Error::Io { path, .. }) if path == Path::new("/nonexistent/curves.png")
    ));
}

#[test]
fn the_table_names_the_best_evaluation() {
    let mut sda = run("sda", 80, 0.4, 2);
    sda.evals = vec![
        EvalEvent::new(Split::Dev, Weights::Student, 10, scores(0.80)),
        EvalEvent::new(Split::Dev, Weights::Teacher, 10, scores(0.85)),
        EvalEvent::new(Split::Dev, Weights::Student, 20, scores(0.90)),
        EvalEvent::new(Split::Dev, Weights::Student, 30, scores(0.90)),
        EvalEvent::new(Split::Dev, Weights::Student, 40, scores(0.88)),
        EvalEvent::new(Split::Test, Weights::Student, 40, scores(0.87)),
    ];
    sda.steps.iter_mut().for_each(|event| event.ce = 0.25);
    let summary = Summary::new(&[run("ft", 80, 0.0, 1), sda.clone()], Metric::Accuracy);
    let [ft, student, teacher] = &summary.rows[..] else { panic!("{summary:?}") };
    assert_eq!((ft.final_distill, ft.test), (None, Some(0.861)));
    assert_eq!(
        (student.best_dev, student.best_step, student.last_dev, student.test),
        (Some(0.9), Some(20), Some(0.88), Some(0.87))
    );
    assert_eq!((student.final_ce, student.steps, student.tokens_per_s), (Some(0.25), 80, Some(9_000.0)));
    assert_eq!((teacher.weights, teacher.best_dev, teacher.test), (Weights::Teacher, Some(0.85), None));

    let text = summary.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("run  weights  steps") && lines[0].contains("best dev accuracy"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
    assert!(lines[2].contains("0.9000") && lines[2].ends_with("0.8700") && lines[3].ends_with('-'), "{text}");

    let by_loss = Summary::new(&[sda], Metric::Loss);
    assert_eq!(by_loss.rows[0].best_step, Some(20), "the lowest loss, the first of equals");
}
