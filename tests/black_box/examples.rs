//! The examples do what they say: one trains, the other classifies with what came of it.

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../examples/classify.rs"]
mod classify;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../examples/fine_tune.rs"]
mod fine_tune;

use std::{process::Command, sync::atomic::AtomicBool};

use bertsd_cuda::training::{BaseModel, Observation, RunData, RunOptions, Training, Watch};

use crate::runs::{Toy, golden_model, succeed};

#[test]
fn a_program_trains_and_classifies_as_the_command_line_does() {
    let toy = Toy::new();
    let model = golden_model();
    let [train, dev, out] = ["train.csv", "dev.csv", "run"].map(|name| toy.path(name));
    let outcome = fine_tune::fine_tune(model.to_str().unwrap(), &train, &dev, &out).unwrap();
    assert_eq!((outcome.steps, &outcome.model), (12, &out.join("model")));
    let mut command = toy.command("--train train.csv --dev dev.csv --epochs 2 --lr 5e-5 --out same --model");
    succeed(command.arg(&model));
    toy.result("run").assert_same(&toy.result("same"), "from a program and from the command line");

    toy.write("lines.txt", &(0..20).map(|i| format!("w{i} w{}\n", i * 7 % 50)).collect::<String>());
    let mut found = Vec::new();
    let mut tell = |text: &str, label: &str| found.push(format!("{text}\t{label}"));
    classify::classify(out.to_str().unwrap(), &toy.path("lines.txt"), &mut tell).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    command.current_dir(toy.home.path()).args(["predict", "--model", "run", "--input", "lines.txt", "--echo"]);
    let answers = String::from_utf8(succeed(command.args(["--output-format", "tsv"])).stdout).unwrap();
    let cells = |line: &str| line.split('\t').take(2).collect::<Vec<_>>().join("\t");
    let expected: Vec<String> = answers.lines().skip(1).map(cells).collect();
    assert_eq!((found.len(), found), (20, expected));
}

/// Runs of other seeds share the model and the tokenized examples, and each is what it is alone.
#[test]
fn runs_share_what_they_have_in_common() {
    let toy = Toy::new();
    let model = golden_model();
    let options = |seed: u64| RunOptions {
        seed,
        dev_fraction: Some(0.25),
        max_steps: Some(3),
        ..RunOptions::for_files(model.to_str().unwrap(), toy.path("train.csv"), toy.path(&format!("run-{seed}")))
    };
    let (stop, mut tokenized) = (AtomicBool::new(false), 0);
    let mut observe = |observation: Observation<'_>| {
        tokenized += usize::from(matches!(observation, Observation::Tokenized { .. }));
    };
    let mut watch = Watch::new(&stop, &mut observe);
    let base = BaseModel::open(model.to_str().unwrap(), &mut watch).unwrap();
    let data = RunData::read(&options(1), &base, &mut watch).unwrap();
    for seed in [1, 2] {
        Training::new(options(seed)).run_over(&base, &data, &mut watch).unwrap();
        let mut command = toy.command(&format!("--train train.csv --dev-fraction 0.25 --max-steps 3 --seed {seed}"));
        succeed(command.args(["--out", &format!("alone-{seed}"), "--model"]).arg(&model));
        let alone = toy.result(&format!("alone-{seed}"));
        toy.result(&format!("run-{seed}")).assert_same(&alone, "sharing a model and examples");
    }
    assert_eq!(tokenized, 1);
}
