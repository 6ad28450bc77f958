//! A stop signal is acknowledged at once and acted on soon, whatever the run is busy with.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::runs::{Rng, Toy, rows_of, stderr, succeed};

const SOON: Duration = Duration::from_secs(2);

/// Sends SIGTERM once `is_time` says so, and waits for the end, which has to come soon.
#[track_caller]
fn stop(mut command: Command, is_time: impl Fn() -> bool) -> Output {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !is_time() && started.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(1));
    }
    succeed(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < SOON, "it took {:?}\n{}", asked.elapsed(), stderr(&output));
    output
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|&&byte| byte == b'\n').count())
}

#[test]
fn while_it_tokenizes() {
    let toy = Toy::new();
    // Many seconds of work.
    let mut text = rows_of(20_000, 3);
    let rows = text.split_once('\n').unwrap().1.to_owned();
    (0..80).for_each(|_| text.push_str(&rows));
    toy.write("train.csv", &text);
    let mut rng = Rng(5);
    for _ in 0..5 {
        let (started, delay) = (Instant::now(), Duration::from_millis(150 + rng.below(600)));
        let output = stop(toy.start("--out run"), || started.elapsed() > delay);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.contains("stopping") && text.contains("interrupted before a step was done"), "{text}");
        assert!(!toy.path("run").exists(), "something is left of a run that never began");
    }
}

#[test]
fn while_it_evaluates() {
    let toy = Toy::new();
    toy.write("dev.csv", &rows_of(60_000, 7));
    let options = "--dev dev.csv --max-steps 6 --eval-every 3 --evaluate student,teacher --log-every 1";
    let whole = toy.run("whole", options);
    let log = toy.path("cut/metrics.jsonl");
    let started = Instant::now();
    let output = stop(toy.start(&format!("{options} --out cut")), || lines(&log) >= 3 || started.elapsed() > SOON * 10);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("stopping") && text.contains("interrupted after step 3"), "{text}");
    assert_eq!(lines(&log), 3, "an evaluation that was called off leaves no scores");
    succeed(&mut toy.command("--resume cut"));
    toy.result("cut").assert_same(&whole, "stopped in an evaluation");
}

#[test]
fn while_it_evaluates_the_last_step_or_scores_the_test_set() {
    let toy = Toy::new();
    toy.write("dev.csv", &rows_of(60_000, 7));
    toy.write("test.csv", &rows_of(60_000, 9));
    let options = "--dev dev.csv --test test.csv --max-steps 2";
    let whole = toy.run("whole", options);
    let log = toy.path("cut/metrics.jsonl");
    for events in [2, 3] {
        let _ = fs::remove_file(&log);
        let output = stop(toy.start(&format!("{options} --out cut --overwrite")), || lines(&log) >= events);
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        succeed(&mut toy.command("--resume cut"));
        toy.result("cut").assert_same(&whole, &format!("stopped after {events} events"));
    }
}
