//! Nobody has to read what a command says: a closed standard output or error ends nothing.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    os::unix::ffi::OsStringExt,
    process::{Command, ExitStatus, Stdio},
};

use crate::runs::{Toy, refuse, succeed};

/// Runs a command of whose standard error the first `lines` lines are read, and of its standard output nothing; then
/// both are closed.
fn read_little(mut command: Command, lines: usize) -> ExitStatus {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    for _ in 0..lines {
        errors.read_line(&mut String::new()).unwrap();
    }
    drop(errors);
    child.wait().unwrap()
}

/// Another command than `train`, with the words of `arguments`.
fn other(toy: &Toy, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    command.current_dir(toy.home.path()).env("HF_HUB_OFFLINE", "1").args(arguments.split_whitespace());
    command
}

#[test]
fn a_run_that_nobody_reads_trains_to_its_end() {
    let toy = Toy::new();
    let options = "--dev dev.csv --test test.csv --epochs 2";
    let whole = toy.run("whole", options);
    for lines in [0, 1, 3] {
        let status = read_little(toy.start(&format!("{options} --out run --overwrite")), lines);
        assert_eq!(status.code(), Some(0), "after {lines} lines");
        toy.result("run").assert_same(&whole, "a run that nobody reads");
    }
    let resumed = toy.command("--resume run");
    assert_eq!(read_little(resumed, 1).code(), Some(0));
}

#[test]
fn every_command_ends_as_if_it_were_read() {
    let toy = Toy::new();
    toy.run("one", "--max-steps 1 --test test.csv");
    toy.run("two", "--max-steps 1 --seed 7 --test test.csv");
    for (arguments, code) in [
        ("eval --model one --data test.csv", 0),
        ("predict --model one --input test.csv", 0),
        ("ensemble --method vote one two", 0),
        ("report one", 0),
        ("info --model one", 0),
        ("completions bash", 0),
        ("--help", 0),
        ("train --help", 0),
        ("--version", 0),
        ("", 2),
        ("train --nonsense", 2),
        ("train --resume nowhere", 3),
        ("eval --model one --data none.csv", 3),
    ] {
        assert_eq!(read_little(other(&toy, arguments), 0).code(), Some(code), "{arguments}");
    }
}

/// The option once, what was given once, and what could have been given.
#[test]
fn errors_about_values_say_everything_once() {
    let toy = Toy::new();
    toy.run("one", "--max-steps 1");
    let data = "--train train.csv --out new --model one";
    let score = "--model one --data test.csv";
    for (arguments, message) in [
        (format!("train {data} --method x"), "--method: 'x' is none of ft, se, sda, sdv"),
        (format!("train {data} --device x"), "--device: 'x' is none of auto, cpu, cuda, cuda:N (N from 0)"),
        (format!("train {data} --precision x"), "--precision: 'x' is none of auto, bf16, tf32, f32"),
        (format!("train {data} --truncate x"), "--truncate: 'x' is none of head, tail, head+tail"),
        (format!("train {data} --format x"), "--format: 'x' is none of csv, tsv, tsv-quoted, jsonl, parquet"),
        (format!("train {data} --order x"), "--order: 'x' is none of shuffled, bucketed, file"),
        (format!("train {data} --export x"), "--export: 'x' is none of best, last"),
        (format!("train {data} --distill x"), "--distill: 'x' is none of mse, kl"),
        (format!("train {data} --teacher-dropout x"), "--teacher-dropout: 'x' is none of on, off"),
        (format!("train {data} --sdv-mode x"), "--sdv-mode: 'x' is none of look-ahead, stored"),
        (format!("train {data} --recompute x"), "--recompute: 'x' is none of none, gelu, layer"),
        (format!("train {data} --evaluate student,x"), "--evaluate: 'x' is none of student, teacher, average"),
        (
            "train --preset x --data-dir . --out new --model one".to_owned(),
            "--preset: 'x' is none of imdb, ag-news, dbpedia, yelp-p, yelp-f, snli, mnli",
        ),
        (
            format!("train {data} --best-metric x"),
            "--best-metric: 'x' is none of accuracy, macro-f1, weighted-f1, mcc, loss, ece",
        ),
        (format!("eval {score} --device x"), "--device: 'x' is none of auto, cpu, cuda, cuda:N (N from 0)"),
        (format!("eval {score} --format x"), "--format: 'x' is none of csv, tsv, tsv-quoted, jsonl, parquet"),
        (
            "predict --model one --format x".to_owned(),
            "--format: 'x' is none of lines, csv, tsv, tsv-quoted, jsonl, parquet",
        ),
        ("predict --model one --output-format x".to_owned(), "--output-format: 'x' is none of csv, tsv, jsonl"),
        (
            "report one --metric x".to_owned(),
            "--metric: 'x' is none of accuracy, macro-f1, weighted-f1, mcc, loss, ece",
        ),
        ("info --method x".to_owned(), "--method: 'x' is none of ft, se, sda, sdv"),
        ("ensemble --method vote --train-method x --seeds 1,2".to_owned(), "--train-method: 'x' is none of ft, se"),
    ] {
        let text = refuse(&mut other(&toy, &arguments), 2, &[]);
        assert!(text.starts_with(&format!("error: {message}")), "{arguments}\n{text}");
    }
    // What the library refuses is named as the option that it is.
    let text = refuse(&mut other(&toy, &format!("train {data} --lr=-1")), 2, &[]);
    assert!(text.starts_with("error: --lr: must be a positive number"), "{text}");
    let text = refuse(&mut other(&toy, &format!("eval {score} --max-length 2")), 2, &[]);
    assert!(text.starts_with("error: --max-length: 2 is too short"), "{text}");
}

#[test]
fn a_file_is_read_by_the_command_lines_parsers() {
    let toy = Toy::new();
    for (text, message) in [
        ("method = \"x\"", "own.toml, line 1: --method: 'x' is none of ft, se, sda, sdv"),
        ("epochs = 1\n\nteacher = \"window:0\"", "own.toml, line 3: --teacher: a window holds 1 to"),
        ("batch-size = 1.5", "own.toml, line 1: invalid value '1.5' for '--batch-size <N>'"),
    ] {
        toy.write("own.toml", text);
        let text = refuse(&mut toy.command("--config own.toml --train train.csv --out new"), 2, &[]);
        assert!(text.starts_with(&format!("error: {message}")), "{text}");
    }
    toy.write("own.toml", "method = \"ft\"\nlr = \"1e-3\"\nmax-steps = 0x3\n[class-weights]\nneg = 2\n\"pos\" = 0.5\n");
    succeed(&mut toy.start("--config own.toml --out one"));
    let two = toy.run("two", "--method ft --max-steps 3 --class-weights neg=2,\"pos\"=0.5");
    toy.result("one").assert_same(&two, "the same options in a file");
}

#[test]
fn a_path_that_is_no_text_is_named_by_its_option() {
    let toy = Toy::new();
    for option in ["--train", "--dev", "--test", "--data-dir", "--out", "--model"] {
        let mut command = toy.command("");
        for (name, value) in [("--train", "train.csv"), ("--out", "new"), ("--model", "one")] {
            if name != option {
                command.args([name, value]);
            }
        }
        command.arg(option).arg(OsString::from_vec(b"odd\xff.csv".to_vec()));
        let text = refuse(&mut command, 2, &["is not UTF-8"]);
        assert!(text.starts_with(&format!("error: {option}: ")), "{text}");
    }
}
