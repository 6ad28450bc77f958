//! A stop signal is acknowledged at once and acted on soon, whatever the run is busy with.

use std::{
    cell::{Cell, OnceCell},
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    place,
    runs::{Rng, Toy, golden_model, refuse, rows_of, stderr, succeed},
};

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
    let mut text = rows_of(20_000, 3);
    let rows = text.split_once('\n').unwrap().1.to_owned();
    (0..160).for_each(|_| text.push_str(&rows));
    toy.write("train.csv", &text);
    let mut rng = Rng(5);
    let (mut latest, mut caught) = (600, 0);
    for _ in 0..20 {
        let (started, delay) = (Instant::now(), rng.below(latest));
        let is_time = || started.elapsed() > Duration::from_millis(100 + delay);
        let output = stop(toy.start("--out run"), is_time);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{text}");
        if text.contains("interrupted after step") {
            // It trained already: how long tokenizing takes is the machine's.
            latest = delay.max(1);
            fs::remove_dir_all(toy.path("run")).unwrap();
            continue;
        }
        assert!(text.contains("stopping") && text.contains("interrupted before a step was done"), "{text}");
        assert!(!toy.path("run").exists(), "something is left of a run that never began");
        caught += 1;
        if caught == 5 {
            break;
        }
    }
    assert_eq!(caught, 5, "of 20 signals none came later than {latest} ms");
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

/// Rows of many words.
fn long_rows(rows: usize, seed: u64) -> String {
    let mut rng = Rng(seed);
    let mut table = "text,label\n".to_owned();
    for i in 0..rows {
        let words: Vec<String> = (0..30).map(|_| format!("w{}", 10 + rng.below(190))).collect();
        table.push_str(&format!("{} w{},{}\n", words.join(" "), i % 2, ["neg", "pos"][i % 2]));
    }
    table
}

/// A step of seconds is called off, and done again by the run that goes on, votes on coming batches included.
#[test]
fn while_a_step_is_long() {
    let toy = Toy::new();
    toy.write("train.csv", &long_rows(12_000, 3));
    let options = "--batch-size 4000 --max-length 40 --method sdv --teacher window:2 --epochs 1 --log-every 1";
    let whole = toy.run("whole", options);
    let log = toy.path("cut/metrics.jsonl");
    let mut rng = Rng(11);
    refuse(&mut toy.start(&format!("{options} --stop-after 1 --out cut")), 130, &["interrupted after step 1"]);
    for _ in 0..4 {
        let command = toy.command("--resume cut");
        let (ready, delay) = (toy.path("cut/checkpoints"), Duration::from_millis(500 + rng.below(2000)));
        let started = Instant::now();
        let output = stop(command, || ready.exists() && started.elapsed() > delay);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.contains("continue with"), "{text}");
        if lines(&log) > 1 {
            break;
        }
    }
    succeed(&mut toy.command("--resume cut"));
    toy.result("cut").assert_same(&whole, "stopped within steps");
}

#[test]
fn in_the_first_step() {
    let toy = Toy::new();
    toy.write("train.csv", &long_rows(12_000, 3));
    let options = "--batch-size 12000 --max-length 40 --method ft --max-steps 1";
    let output = stop(toy.start(&format!("{options} --out cut")), || toy.path("cut/tensorboard").exists());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    let advice = "interrupted before a step was done; continue with: bertsd-cuda train --resume cut";
    assert!(text.contains(advice), "{text}");
    succeed(&mut toy.command("--resume cut"));
    toy.run("whole", options);
    toy.result("cut").assert_same(&toy.result("whole"), "stopped in its first step");
}

/// A hub that takes the call and never says a word.
#[test]
fn while_it_downloads() {
    let toy = Toy::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut command = toy.start("--out run --model own/model");
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", endpoint).env("HF_HOME", toy.path("hub"));
    listener.set_nonblocking(true).unwrap();
    let call = OnceCell::new();
    let output = stop(command, || {
        if call.get().is_none()
            && let Ok((stream, _)) = listener.accept()
        {
            call.get_or_init(|| (stream, Instant::now()));
        }
        call.get().is_some_and(|(_, since)| since.elapsed() > Duration::from_millis(200))
    });
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("stopping") && text.contains("interrupted before a step was done"), "{text}");
}

/// Between its runs and in its vote an ensemble has nothing to save.
#[test]
fn while_an_ensemble_votes() {
    let toy = Toy::new();
    toy.write("new.csv", &rows_of(200_000, 7));
    let train = format!(
        "--seeds 1,2 --out both --model {} --train train.csv --token-cache none --max-steps 1 --data new.csv",
        golden_model().display()
    );
    let mut command = place::program();
    command.current_dir(toy.home.path()).args(["ensemble", "--method", "vote"]).args(train.split_whitespace());
    let trained = toy.path("both/seed-2/model");
    let since = Cell::new(None);
    let output = stop(command, || {
        if trained.exists() && since.get().is_none() {
            since.set(Some(Instant::now()));
        }
        since.get().is_some_and(|since| since.elapsed() > Duration::from_millis(700))
    });
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
}
