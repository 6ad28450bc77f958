//! `info`, `report` and `completions`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::support::*;

fn info(extra: &[&str]) -> Value {
    let model = head64();
    let text = succeed(&[&["info", "--json", "--model", str(&model)][..], extra].concat(), "");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_models_sizes_are_those_of_its_file() {
    let found = info(&[]);
    let model = load(&head64());
    assert_eq!(found["model"]["parameters"], model.layout.parameters());
    assert_eq!(found["model"]["labels"][2], "LABEL_2");
    let text = succeed(&["info", "--model", str(&head64())], "");
    for part in ["hidden size", "128", "memory to train it", "activations", "total"] {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
}

#[test]
fn the_memory_plan_follows_the_method() {
    let arena = load(&head64()).layout.len as u64 * 4;
    let bytes = |found: &Value, name: &str| found["memory"][format!("{name}_bytes")].as_u64().unwrap();
    let (ft, se) = (info(&["--method", "ft"]), info(&["--method", "se"]));
    let (window, ema) = (info(&["--teacher", "window:3"]), info(&["--teacher", "ema:0.99"]));
    assert_eq!([&ft, &se, &window, &ema].map(|found| bytes(found, "teacher") / arena), [0, 0, 4, 2]);
    assert_eq!([&ft, &se].map(|found| bytes(found, "average") / arena), [0, 2]);
    assert_eq!(bytes(&ft, "moments"), 2 * arena);
    let parts = ["weights", "gradients", "moments", "teacher", "average", "activations", "scratch"];
    let sum: u64 = parts.iter().map(|name| bytes(&window, name)).sum();
    assert_eq!(bytes(&window, "total"), sum + bytes(&window, "teacher_and_evaluation_activations"));
    let twice = info(&["--method", "ft", "--batch-size", "32"]);
    assert_eq!(bytes(&twice, "activations"), 2 * bytes(&ft, "activations"));
    let model = head64();
    fail(2, &["max-length", "64"], &["info", "--model", str(&model), "--max-length", "65"], "");
    fail(2, &["teacher", "window:K"], &["info", "--model", str(&model), "--method", "sdv", "--teacher", "all"], "");
    fail(2, &["window"], &["info", "--teacher", "window:0"], "");
}

#[test]
fn devices_are_listed_without_a_model() {
    let text = succeed(&["info", "--threads", "1"], "");
    assert!(text.contains("cpu (1 threads, ") && text.contains("cuda"), "{text}");
}

fn run_directory(home: &TempDir, name: &str, accuracy: f64) -> String {
    let directory = home.path().join(name);
    fs::create_dir(&directory).unwrap();
    let step = |step: u32| {
        format!(
            r#"{{"event":"step","step":{step},"loss":0.7,"ce":0.6,"distill":0.1,"lr":1e-5,"grad_norm":1.0,"tokens_per_s":900.0}}"#
        )
    };
    let eval = format!(
        r#"{{"event":"eval","split":"dev","step":2,"accuracy":{accuracy},"macro_f1":0.25,"weighted_f1":0.5,"mcc":0.1,"loss":0.4,"ece":0.05,"examples":8}}"#
    );
    write(&directory, "metrics.jsonl", format!("{}\n{}\n{eval}\n", step(1), step(2)));
    str(&directory).to_owned()
}

#[test]
fn a_report_has_a_row_a_run_and_draws_both_kinds_of_picture() {
    let home = TempDir::new().unwrap();
    let runs = [run_directory(&home, "first", 0.75), run_directory(&home, "second", 0.5)];
    let (png, svg) = (home.path().join("c.png"), home.path().join("c.svg"));
    let base = ["report", &runs[0], &runs[1]];
    let text = succeed(&[&base[..], &["--out", str(&png), "--out", str(&svg)]].concat(), "");
    assert!(text.contains("first") && text.contains("0.7500") && text.contains("second"), "{text}");
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    let json: Value =
        serde_json::from_str(&succeed(&[&base[..], &["--json", "--metric", "macro-f1"]].concat(), "")).unwrap();
    assert_eq!(json["metric"], "macro-f1");
    assert_eq!((&json["rows"][1]["run"], &json["rows"][1]["best_dev"]), (&Value::from("second"), &Value::from(0.25)));

    fail(3, &["gone"], &["report", "gone"], "");
    fail(2, &[".png or .svg"], &[&base[..], &["--out", "c.gif"]].concat(), "");
    fail(2, &["metric", "accuracy"], &[&base[..], &["--metric", "f2"]].concat(), "");
    fail(2, &["<DIR>"], &["report"], "");
}

#[test]
fn completions_name_every_command_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(&["completions", shell], "");
        for name in ["train", "eval", "predict", "ensemble", "report", "info", "completions", "max-length"] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    fail(2, &["bash"], &["completions", "cmd"], "");
}
