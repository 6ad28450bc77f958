//! `train` learns, repeats itself to the bit, and writes what it says it writes.

use std::fs;

use serde_json::Value;

use crate::runs::{Toy, refuse, stderr, succeed};

const DROPOUT: &str = "--dev dev.csv --dropout 0.1 --attention-dropout 0.1 --epochs 2";

const METHODS: [&str; 7] = [
    "--method ft",
    "--method se",
    "--method sda --teacher window:5",
    "--method sda --teacher all",
    "--method sda --teacher ema:0.99",
    "--method sdv --teacher window:3",
    "--method sdv --teacher window:3 --sdv-mode stored",
];

#[test]
fn every_method_repeats_itself_and_its_run_file_repeats_it() {
    let toy = Toy::new();
    for method in METHODS {
        let one = toy.run("one", &format!("{DROPOUT} {method} --overwrite"));
        let two = toy.run("two", &format!("{DROPOUT} {method} --overwrite"));
        two.assert_same(&one, method);
        let file = fs::read_to_string(toy.path("one/run.toml")).unwrap();
        for setting in ["dropout = 0.1", "attention-dropout = 0.1", "max-length = 64", "threads = ", "lambda = 1.0"] {
            assert!(file.contains(&format!("\n{setting}")), "no {setting:?} in\n{file}");
        }
        succeed(&mut toy.command("--config one/run.toml --out three --overwrite"));
        toy.result("three").assert_same(&one, &format!("{method}, from run.toml"));
        let other = toy.run("two", &format!("{DROPOUT} {method} --overwrite --seed 7"));
        assert!(other.weights != one.weights && other.metrics != one.metrics, "{method}: another seed");
    }
}

#[test]
fn the_ways_of_sdv_agree() {
    let toy = Toy::new();
    let [ahead, stored] = ["look-ahead", "stored"]
        .map(|mode| toy.run(mode, &format!("{DROPOUT} --method sdv --teacher window:3 --sdv-mode {mode}")));
    assert_close(&ahead.events("step"), &stored.events("step"), 1e-3);
}

#[track_caller]
fn assert_close(one: &[&Value], two: &[&Value], tolerance: f64) {
    assert_eq!(one.len(), two.len());
    for (a, b) in one.iter().zip(two) {
        let [a, b] = [a, b].map(|event| event["loss"].as_f64().unwrap());
        assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{a} and {b}");
    }
}

#[test]
fn two_micro_batches_equal_one() {
    let toy = Toy::new();
    let one = toy.run("one", "--method ft --epochs 2 --batch-size 8 --lr 1e-4");
    let two = toy.run("two", "--method ft --epochs 2 --batch-size 4 --grad-accum 2 --lr 1e-4");
    assert_eq!(one.events("step").len(), 24);
    assert_close(&one.events("step"), &two.events("step"), 1e-4);
    toy.run("three", "--method ft --epochs 1 --max-tokens 24")
        .assert_same(&toy.run("four", "--method ft --epochs 1 --max-tokens 24"), "--max-tokens");
}

#[test]
fn it_learns_and_a_first_run_looks_as_documented() {
    let toy = Toy::new();
    for method in ["--method ft", "--method sda"] {
        let run = toy.run("run", &format!("--dev dev.csv --test test.csv --epochs 6 {method} --overwrite"));
        let steps = run.events("step");
        let loss =
            |events: &[&Value]| events.iter().map(|e| e["ce"].as_f64().unwrap()).sum::<f64>() / events.len() as f64;
        let (first, last) = (loss(&steps[..12]), loss(&steps[60..]));
        assert!(last < 0.3 * first, "{method}: from {first} to {last}");
        let evals = run.events("eval");
        let (dev, test) = evals.split_at(6);
        assert!(dev.iter().all(|event| event["split"] == "dev") && test.len() == 1);
        for event in [dev[5], test[0]] {
            assert!(event["accuracy"].as_f64().unwrap() > 0.85, "{method}: {event}");
            assert!(event["loss"].is_number() && event["step"].is_u64());
        }
        assert_eq!(test[0]["split"], "test");
    }
    let text = fs::read_to_string(toy.path("run/metrics.jsonl")).unwrap();
    let first: Vec<&str> =
        text.lines().next().unwrap().split(['{', ',']).filter_map(|p| p.split_once(':')).map(|p| p.0).collect();
    let fixed = ["event", "step", "loss", "ce", "distill", "lr", "grad_norm", "tokens_per_s"];
    assert_eq!(first[..8], fixed.map(|name| format!("\"{name}\"")));
    let board = fs::read_dir(toy.path("run/tensorboard")).unwrap().next().unwrap().unwrap();
    assert!(board.file_name().to_str().unwrap().contains("tfevents") && board.metadata().unwrap().len() > 1000);
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        assert!(toy.path("run/model").join(file).is_file(), "{file}");
    }
    let config: Value = serde_json::from_slice(&fs::read(toy.path("run/model/config.json")).unwrap()).unwrap();
    assert_eq!(config["label2id"], serde_json::json!({"neg": 0, "pos": 1}));
}

#[test]
fn orders_threads_and_dev_fraction() {
    let toy = Toy::new();
    let orders = ["shuffled", "bucketed", "file"].map(|order| toy.run(order, &format!("--epochs 1 --order {order}")));
    assert!(orders[0].weights != orders[1].weights && orders[1].weights != orders[2].weights);
    assert_eq!(orders[0].events("eval").len(), 0);
    let one = toy.run("one", "--epochs 1 --threads 1");
    toy.run("again", "--epochs 1 --threads 1").assert_same(&one, "--threads 1");
    assert_close(&one.events("step"), &orders[0].events("step"), 1e-3);
    let split = toy.run("split", "--epochs 1 --dev-fraction 0.25");
    assert_eq!(split.events("eval")[0]["examples"], 24);
    assert_eq!(split.events("step").len(), 9, "72 examples in batches of 8");
}

#[test]
fn early_stopping_and_export() {
    let toy = Toy::new();
    let run = toy.run("stopped", "--dev dev.csv --epochs 40 --patience 2");
    let evals = run.events("eval");
    assert!(run.events("step").len() < 480, "perfect accuracy cannot get better");
    let best = evals[evals.len() - 3]["accuracy"].as_f64().unwrap();
    assert!(evals[evals.len() - 2..].iter().all(|event| event["accuracy"].as_f64().unwrap() <= best));
    assert!(evals[..evals.len() - 3].iter().all(|event| event["accuracy"].as_f64().unwrap() < best));
    // Against labels that are all wrong the loss on dev climbs while the model learns: the last weights are not the
    // best.
    let wrong = fs::read_to_string(toy.path("dev.csv")).unwrap();
    let wrong = wrong.replace(",neg", ",x").replace(",pos", ",neg").replace(",x", ",pos");
    toy.write("wrong.csv", &wrong);
    let (epochs, steps) = (4, 48);
    let options = format!("--dev wrong.csv --epochs {epochs} --best-metric loss");
    let bests = toy.run("best", &format!("{options} --export best"));
    let lasts = toy.run("last", &format!("{options} --export last"));
    assert_eq!((bests.events("eval").len(), &bests.metrics), (epochs, &lasts.metrics));
    let losses: Vec<f64> = bests.events("eval").iter().map(|event| event["loss"].as_f64().unwrap()).collect();
    let best = (0..epochs).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert!(best + 1 < epochs, "the last step is not the best: {losses:?}");
    assert!(bests.weights != lasts.weights, "the best weights are those of step {}", 12 * (best + 1));
    let output = succeed(&mut toy.command("--resume last"));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(&format!("model of step {steps} ")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn all_weights_can_be_scored() {
    let toy = Toy::new();
    let run = toy.run("run", "--dev dev.csv --epochs 1 --average --evaluate student,teacher,average");
    let scored: Vec<_> = run.events("eval").iter().map(|event| event["weights"].as_str().unwrap().to_owned()).collect();
    assert_eq!(scored, ["student", "teacher", "average"]);
    let losses: Vec<_> = run.events("eval").iter().map(|event| event["loss"].to_string()).collect();
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");
    refuse(&mut toy.start("--out no --method ft --evaluate teacher"), 2, &["--evaluate", "sda"]);
}
