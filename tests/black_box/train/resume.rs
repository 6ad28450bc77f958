//! Stopped, signalled, killed and damaged runs, continued: the same bits as the run nobody disturbed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::runs::{Rng, Toy, golden_model, refuse, stderr, succeed};

const BASE: &str = "--dev dev.csv --test test.csv --epochs 2 --dropout 0.1 --attention-dropout 0.1 --save-every 1";
/// Steps of a run with [`BASE`].
const STEPS: u64 = 24;

const METHODS: [&str; 8] = [
    "--method ft",
    "--method se",
    "--method sda --teacher window:5 --average",
    "--method sda --teacher all --evaluate student,teacher",
    "--method sda --teacher ema:0.99",
    "--method sdv --teacher window:3",
    "--method sdv --teacher window:3 --sdv-mode stored",
    "--method rdrop --rdrop-alpha 2",
];

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|&&byte| byte == b'\n').count())
}

/// Waits until a file has this many lines.
fn wait_for_lines(path: &Path, count: usize) {
    let started = Instant::now();
    while lines(path) < count && started.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_micros(300));
    }
}

fn checkpoints(toy: &Toy, out: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(toy.path(out).join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(".ckpt")).collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("step-"));
    found.sort();
    found
}

#[test]
fn every_method_goes_on_to_the_bit_from_any_step() {
    let toy = Toy::new();
    for method in METHODS {
        let whole = toy.run("whole", &format!("{BASE} {method} --overwrite"));
        assert_eq!(whole.events("step").len() as u64, STEPS);
        let start = format!("{BASE} {method} --out parts --overwrite --stop-after 1");
        refuse(&mut toy.start(&start), 130, &["interrupted after step 1", "--resume"]);
        for stop in [4, 12, 23] {
            let command = format!("--resume parts --stop-after {stop}");
            refuse(&mut toy.command(&command), 130, &[&format!("interrupted after step {stop}")]);
        }
        succeed(&mut toy.command("--resume parts"));
        toy.result("parts").assert_same(&whole, method);
        succeed(&mut toy.command("--resume parts"));
        toy.result("parts").assert_same(&whole, &format!("{method}, finished and resumed"));
    }
}

#[test]
fn a_signal_saves_and_ends_with_130() {
    let toy = Toy::new();
    let options = "--max-steps 400 --save-every 0 --dropout 0.1 --dev dev.csv --eval-every 10000";
    let whole = toy.run("whole", options);
    for signal in ["-TERM", "-INT"] {
        let mut command = toy.start(&format!("{options} --out cut --overwrite"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = fs::remove_file(toy.path("cut/metrics.jsonl"));
        wait_for_lines(&toy.path("cut/metrics.jsonl"), 17);
        succeed(Command::new("kill").args([signal, &child.id().to_string()]));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert!(stderr(&output).contains("continue with: bertsd-cuda train --resume cut"), "{}", stderr(&output));
        succeed(&mut toy.command("--resume cut"));
        toy.result("cut").assert_same(&whole, signal);
    }
}

#[test]
fn twenty_kills_at_random_moments_change_nothing() {
    let toy = Toy::new();
    let options = format!("{BASE} --method sdv --teacher window:3");
    let whole = toy.run("whole", &options);
    let log = toy.path("cut/metrics.jsonl");
    let mut rng = Rng(7);
    let (mut kills, mut finished) = (0, 0);
    while kills < 20 || finished == 0 {
        let mut command = match toy.path("cut/run.toml").exists() {
            true => toy.command("--resume cut"),
            false => toy.start(&format!("{options} --out cut --overwrite")),
        };
        let target = lines(&log) as u64 + rng.below(4);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if kills < 20 {
            if target == lines(&log) as u64 {
                sleep(Duration::from_millis(rng.below(80)));
            } else {
                wait_for_lines(&log, target.min(whole.metrics.len() as u64) as usize);
                // Within a few milliseconds of a logged step: mostly while its checkpoint is written.
                sleep(Duration::from_micros(rng.below(4000)));
            }
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        if !status.success() {
            assert_eq!(status.code(), None, "ended by itself: {status}");
            kills += 1;
            if let Ok(true) = toy.path("cut/checkpoints").try_exists() {
                toy.write("cut/checkpoints/.step-00000099.ckpt.partial", "half of a");
            }
            continue;
        }
        toy.result("cut").assert_same(&whole, &format!("after {kills} kills"));
        assert!(!toy.path("cut/checkpoints/.step-00000099.ckpt.partial").exists(), "partial files are cleared");
        fs::remove_dir_all(toy.path("cut")).unwrap();
        finished += 1;
    }
}

#[test]
fn damaged_checkpoints_are_named_and_passed_over() {
    let toy = Toy::new();
    let whole = toy.run("whole", BASE);
    for damage in ["flip", "truncate", "empty", "all"] {
        refuse(&mut toy.start(&format!("{BASE} --out cut --overwrite --stop-after 15")), 130, &[]);
        let files = checkpoints(&toy, "cut");
        assert_eq!(files.len(), 2);
        let damaged = if damage == "all" { &files[..] } else { &files[1..] };
        for path in damaged {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            match damage {
                "truncate" => bytes.truncate(middle),
                "empty" => bytes.clear(),
                _ => bytes[middle] ^= 1,
            }
            fs::write(path, bytes).unwrap();
        }
        let text = stderr(&succeed(&mut toy.command("--resume cut")));
        assert!(text.contains("step-00000015.ckpt"), "{text}");
        let went_on = if damage == "all" { "starting over" } else { "going on after step 14" };
        assert!(text.contains(went_on), "{text}");
        toy.result("cut").assert_same(&whole, damage);
    }
}

#[test]
fn damaged_best_weights_are_named_and_can_be_given_up() {
    let toy = Toy::new();
    let whole = toy.run("whole", BASE);
    refuse(&mut toy.start(&format!("{BASE} --out cut --stop-after 23")), 130, &[]);
    let best = toy.path("cut/checkpoints/best.ckpt");
    let mut bytes = fs::read(&best).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&best, &bytes).unwrap();
    // Step 24 is scored too: where it is the best, the damaged weights are replaced unread.
    let replaced = toy.command("--resume cut").output().unwrap();
    if replaced.status.success() {
        toy.result("cut").assert_same(&whole, "replaced");
        fs::write(&best, &bytes).unwrap();
    }
    refuse(&mut toy.command("--resume cut"), 3, &["best.ckpt", "remove it"]);
    fs::remove_file(&best).unwrap();
    succeed(&mut toy.command("--resume cut"));
    let events = toy.result("cut").metrics;
    assert_eq!(events[..events.len() - 1], whole.metrics[..whole.metrics.len() - 1], "all but the scores on test");
}

#[test]
fn a_directory_is_for_one_process() {
    let toy = Toy::new();
    let mut first = toy.start("--max-steps 20000 --save-every 0 --out run").stderr(Stdio::null()).spawn().unwrap();
    wait_for_lines(&toy.path("run/metrics.jsonl"), 3);
    let owner = format!("is in use by process {}", first.id());
    for command in [&mut toy.command("--resume run"), &mut toy.start("--out run --overwrite")] {
        refuse(command, 3, &["run", &owner]);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lines(&toy.path("run/metrics.jsonl")) >= 3, "nothing was removed");
}

#[test]
fn resume_takes_no_options_that_change_the_run_and_works_from_anywhere() {
    let toy = Toy::new();
    let whole = toy.run("whole", BASE);
    refuse(&mut toy.start(&format!("{BASE} --out cut --stop-after 9")), 130, &[]);
    let longer =
        "train on from its result with: bertsd-cuda train --config cut/run.toml --model cut/model --epochs N --out DIR";
    refuse(&mut toy.command("--resume cut --epochs 7"), 2, &["--epochs: the length of a run", longer]);
    refuse(&mut toy.command("--resume cut --lr 1"), 2, &["--lr: a run goes on with the settings it has", "--resume"]);
    refuse(&mut toy.command("--resume cut --data-dir ."), 2, &["--data-dir: the run in cut has none"]);
    refuse(&mut toy.command("--resume cut --overwrite"), 2, &["--resume", "--overwrite"]);
    refuse(&mut toy.command("--resume nowhere"), 3, &["nowhere", "no run"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = toy.command("--resume");
    succeed(command.arg(toy.path("cut")).current_dir(elsewhere.path()));
    toy.result("cut").assert_same(&whole, "from another directory");
    succeed(&mut toy.command("--config cut/run.toml --model cut/model --epochs 1 --out longer"));
    assert_eq!(toy.result("longer").events("step").len(), 12);
}

/// The model is gone and the data has moved: what is in the files counts, and of the model the run has kept what it
/// needs.
#[test]
fn a_run_goes_on_where_its_files_have_moved() {
    let toy = Toy::new();
    fs::create_dir(toy.path("base")).unwrap();
    for entry in fs::read_dir(golden_model()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, toy.path("base").join(path.file_name().unwrap())).unwrap();
    }
    let whole = toy.run("whole", &format!("{BASE} --model base"));
    refuse(&mut toy.start(&format!("{BASE} --model base --out cut --stop-after 9")), 130, &[]);
    fs::rename(toy.path("base"), toy.path("elsewhere")).unwrap();
    fs::create_dir(toy.path("data")).unwrap();
    for name in ["train.csv", "dev.csv", "test.csv"] {
        fs::rename(toy.path(name), toy.path("data").join(name)).unwrap();
    }
    refuse(&mut toy.command("--resume cut"), 3, &["cannot open", "train.csv"]);
    let moved = "--train data/train.csv --dev data/dev.csv --test data/test.csv";
    // Another file under the name of the data, another model under the name of the model.
    let other = format!("{moved} --train data/dev.csv").replacen("--train data/train.csv ", "", 1);
    refuse(&mut toy.command(&format!("--resume cut {other}")), 3, &["other training examples"]);
    let text = fs::read_to_string(toy.path("elsewhere/config.json")).unwrap();
    toy.write("elsewhere/config.json", &text.replace("1e-12", "1e-5"));
    let refused = &["elsewhere: is not the model that this run started from"];
    refuse(&mut toy.command(&format!("--resume cut {moved} --model elsewhere")), 3, refused);
    toy.write("elsewhere/config.json", &text);
    let go_on = format!("--resume cut {moved} --model elsewhere --stop-after 15");
    refuse(&mut toy.command(&go_on), 130, &["interrupted after step 15"]);
    // The new places are kept, and the model is not needed at all.
    fs::remove_dir_all(toy.path("elsewhere")).unwrap();
    succeed(&mut toy.command("--resume cut"));
    toy.result("cut").assert_same(&whole, "with moved files");
    for name in ["config.json", "vocab.txt", "tokenizer_config.json"] {
        let [one, two] = ["cut", "whole"].map(|run| fs::read(toy.path(run).join("model").join(name)).unwrap());
        assert!(one == two, "{name}");
    }
    // Before the first checkpoint a run has no weights but those of the model.
    refuse(&mut toy.start("--train data/train.csv --out early --stop-after 1 --epochs 1"), 130, &[]);
    fs::remove_file(checkpoints(&toy, "early").remove(0)).unwrap();
    succeed(&mut toy.command("--resume early --threads 1"));
    assert!(fs::read_to_string(toy.path("early/run.toml")).unwrap().contains("\nthreads = 1\n"));
}

#[test]
fn other_training_examples_are_not_gone_on_with() {
    let toy = Toy::new();
    let whole = toy.run("whole", BASE);
    refuse(&mut toy.start(&format!("{BASE} --out cut --stop-after 9")), 130, &[]);
    let before = fs::read_to_string(toy.path("train.csv")).unwrap();
    let lines: Vec<&str> = before.lines().collect();
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let relabelled = before.replacen(",neg", ",pos", 1);
    for changed in [swapped.join("\n"), relabelled, lines[..90].join("\n")] {
        toy.write("train.csv", &changed);
        refuse(&mut toy.command("--resume cut"), 3, &["step-00000009.ckpt", "other training examples", "--overwrite"]);
    }
    toy.write("train.csv", &before);
    succeed(&mut toy.command("--resume cut"));
    toy.result("cut").assert_same(&whole, "with the examples put back");
}
