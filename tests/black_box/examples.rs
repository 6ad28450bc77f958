//! The examples do what they say: one trains, the other classifies with what came of it.

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../examples/classify.rs"]
mod classify;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../examples/fine_tune.rs"]
mod fine_tune;

use std::process::Command;

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
