//! Settings that contradict each other are refused rather than left aside, and what a run keeps of its settings is
//! enough to go on from, to repeat it elsewhere, and to read other files as training read its own.

use std::{fs, process::Command};

use serde_json::Value;

use crate::runs::{Toy, golden_model, refuse, stderr, succeed};

/// Another command than `train`, with the words of `arguments`.
fn other(toy: &Toy, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    command.current_dir(toy.home.path()).env("HF_HUB_OFFLINE", "1").args(arguments.split_whitespace());
    command
}

/// Two reviews a label, as aclImdb is laid out.
fn write_imdb(toy: &Toy) {
    for (split, label, text) in
        [("train", "neg", "w0 w5"), ("train", "pos", "w1 w6"), ("test", "neg", "w0 w7"), ("test", "pos", "w1 w8")]
    {
        let folder = format!("aclImdb/{split}/{label}");
        fs::create_dir_all(toy.path(&folder)).unwrap();
        for name in ["0_1.txt", "1_1.txt"] {
            toy.write(&format!("{folder}/{name}"), text);
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let toy = Toy::new();
    for (arguments, part) in [
        ("--patience 2", "--patience: needs a development set"),
        ("--eval-every 2", "--eval-every: needs a development set"),
        ("--export best", "--export: needs a development set"),
        ("--temperature 3", "--temperature: belongs to --distill kl"),
        ("--average-from 5", "--average-from: there is no average"),
        ("--method se --average-from 99 --max-steps 12", "begin at step 99, and the run has 12"),
        ("--dev dev.csv --evaluate student,student", "--evaluate: names the same weights twice"),
        ("--class-weights neg=0,pos=0", "--class-weights: all are 0"),
        ("--class-weights neg=1,neg=2", "the label 'neg' has two weights"),
        ("--format xml", "'xml' is none of csv, tsv"),
        ("--threads 100000", "--threads: 100000 is more than 1024"),
    ] {
        refuse(&mut toy.start(&format!("{arguments} --out new")), 2, &[part]);
        assert!(!toy.path("new").exists(), "{arguments}");
    }
    // What clap refuses on the command line is refused in a file too.
    for (text, part) in [
        ("epochs = 1\nmax-steps = 2", "--max-steps: is given beside epochs"),
        ("dev = \"dev.csv\"\ndev-fraction = 0.5", "--dev-fraction: is given beside dev"),
        ("data-dir = \"x\"", "--data-dir: is given without a preset"),
    ] {
        toy.write("own.toml", &format!("train = \"train.csv\"\n{text}"));
        refuse(toy.command("--config own.toml --out new --model").arg(golden_model()), 2, &[part]);
    }
}

#[test]
fn a_preset_leaves_nothing_of_the_data_to_say() {
    let toy = Toy::new();
    write_imdb(&toy);
    let with = |arguments: &str| {
        let mut command = toy.command(&format!("--preset imdb --data-dir . --out new --token-cache none {arguments}"));
        command.arg("--model").arg(golden_model());
        command
    };
    for name in ["train", "dev", "test", "text", "text-pair", "label", "format"] {
        let parts = [&format!("--preset: imdb is a whole data set and says itself what --{name} says") as &str];
        let value = if name == "format" { "csv" } else { "dev.csv" };
        refuse(&mut with(&format!("--{name} {value}")), 2, &parts);
    }
    refuse(&mut with("--no-header"), 2, &["what --no-header says"]);
    refuse(&mut with("--patience 1"), 2, &["--patience: needs a development set"]);
    let mut snli = toy.command("--preset snli --data-dir . --out new --dev-fraction 0.5");
    refuse(snli.arg("--model").arg(golden_model()), 2, &["snli", "what --dev-fraction says"]);
    let output = succeed(&mut with("--dev-fraction 0.5 --max-steps 1"));
    assert!(stderr(&output).contains("dev (student)"), "{}", stderr(&output));
}

/// On the command line a data set of one kind replaces one of the other kind in the file.
#[test]
fn a_configuration_can_change_its_data() {
    let toy = Toy::new();
    write_imdb(&toy);
    toy.run("files", "--dev-fraction 0.25 --test test.csv --max-steps 2");
    succeed(&mut toy.command("--config files/run.toml --preset imdb --data-dir . --out preset"));
    let preset = toy.result("preset");
    let examples: Vec<_> = preset.events("eval").iter().map(|event| event["examples"].clone()).collect();
    assert_eq!(examples, [1, 1, 4], "a quarter of imdb's training set after each epoch, and imdb's test set");
    let text = stderr(&succeed(&mut toy.command("--config preset/run.toml --train train.csv --out again")));
    assert!(text.contains("train        96 examples"), "{text}");
}

#[test]
fn run_toml_names_the_device_that_auto_was() {
    let toy = Toy::new();
    toy.run("run", "--device auto --max-steps 1");
    let text = fs::read_to_string(toy.path("run/run.toml")).unwrap();
    assert!(!text.contains("device = \"auto\""), "{text}");
    toy.run("cpu", "--device cpu --max-steps 1");
    assert!(fs::read_to_string(toy.path("cpu/run.toml")).unwrap().contains("\ndevice = \"cpu\"\n"));
}

#[test]
fn absurd_sizes_are_only_limits() {
    let toy = Toy::new();
    let most = usize::MAX;
    let whole = toy.run("whole", "--batch-size 96 --epochs 2");
    for arguments in [
        format!("--batch-size {most}"),
        format!("--batch-size {most} --grad-accum 1 --max-tokens {most}"),
        format!("--batch-size {most} --save-every {most} --lambda-ramp 0 --order shuffled"),
    ] {
        let run = toy.run("one", &format!("{arguments} --epochs 2 --overwrite"));
        run.assert_same(&whole, &arguments);
    }
    let accumulated = toy.run("two", &format!("--batch-size 16 --grad-accum {most} --epochs 2"));
    assert_eq!(accumulated.events("step").len(), 2);
}

#[test]
fn a_mean_that_has_not_begun_is_not_scored() {
    let toy = Toy::new();
    let run = toy.run("run", "--method se --average-from 7 --dev dev.csv --eval-every 3 --max-steps 12");
    let steps: Vec<_> = run.events("eval").iter().map(|event| event["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [9, 12]);
}

#[test]
fn files_without_a_header_stay_so_for_the_commands_after_training() {
    let toy = Toy::new();
    let rows: String = (0..12).map(|i| format!("{},w{} w{}\n", ["neg", "pos"][i % 2], i % 2, 20 + i)).collect();
    toy.write("rows.csv", &rows);
    let options = "--train rows.csv --no-header --text 1 --label 0 --max-steps 2";
    toy.run("run", options);
    let eval = |arguments: &str| -> Value {
        let output = succeed(&mut other(&toy, &format!("eval --model run --data rows.csv --json {arguments}")));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["examples"].clone()
    };
    assert_eq!([eval(""), eval("--no-header=false"), eval("--text 1")], [12, 11, 11].map(Value::from));
    let output = succeed(&mut other(&toy, "predict --model run --input rows.csv"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 13);
    // Columns by name are those of a file that has names.
    toy.write("named.csv", "review\nw1 w2\nw3\n");
    let output = succeed(&mut other(&toy, "predict --model run --input named.csv --text review"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
    toy.run("second", options);
    let output = succeed(&mut other(&toy, "ensemble --method vote run second --data rows.csv"));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("12 examples"));
}

#[test]
fn the_format_can_be_said() {
    let toy = Toy::new();
    toy.write("quoted.tsv", "text\tlabel\n\"w0\tw5\"\tneg\n\"w1\"\tpos\n");
    let part = "if this file quotes its fields, read it as tsv-quoted";
    refuse(&mut toy.start("--train quoted.tsv --out new"), 3, &["quoted.tsv, line 2", part]);
    toy.run("run", "--train quoted.tsv --format tsv-quoted --max-steps 1");
    fs::copy(toy.path("train.csv"), toy.path("train.txt")).unwrap();
    refuse(&mut toy.start("--train train.txt --out new"), 3, &["train.txt", "give it with --format"]);
    let text = toy.run("other", "--train train.txt --format csv --max-steps 1");
    assert_eq!(text.events("step").len(), 1);
    assert!(fs::read_to_string(toy.path("other/run.toml")).unwrap().contains("\nformat = \"csv\"\n"));
}

#[test]
fn a_run_goes_on_from_the_model_of_another_and_never_replaces_it() {
    let toy = Toy::new();
    let one = toy.run("one", "--max-steps 2");
    let mut second = toy.start("--model one --max-steps 2 --out two");
    succeed(second.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("HF_HOME"));
    assert!(toy.result("two").weights != one.weights);
    for model in ["one", "one/model", "./one/../one/model"] {
        let mut command = toy.start(&format!("--model {model} --max-steps 1 --out one --overwrite"));
        refuse(&mut command, 3, &["one/model: is the model to start from", "another --out"]);
    }
    toy.result("one").assert_same(&one, "the model to start from");
    // A directory called model beside which nothing else tells of a run.
    fs::create_dir(toy.path("mine")).unwrap();
    fs::rename(toy.path("two/model"), toy.path("mine/model")).unwrap();
    let before = fs::read(toy.path("mine/model/model.safetensors")).unwrap();
    refuse(&mut toy.start("--max-steps 1 --out mine"), 3, &["mine: already holds files", "a model", "--overwrite"]);
    assert_eq!(fs::read(toy.path("mine/model/model.safetensors")).unwrap(), before);
}
