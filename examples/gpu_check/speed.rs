//! Times: this program's, and PyTorch's on the same shapes.

use std::{fs, process::Command};

use cudasim::profile::Profile;
use serde_json::{Value, json};

use super::{
    attempt::{Log, fresh},
    kit::Kit,
    report::Finding,
    workload::{REHEARSAL, SHAPES, Shape, model_config, write_model, write_texts},
};

/// Methods, and how many forward and backward passes' work a step is, where a backward pass counts two.
const METHODS: [(&str, &[&str], f64); 2] =
    [("ft", &["--method", "ft"], 3.0), ("sda", &["--method", "sda", "--teacher", "window:5"], 4.0)];

fn shapes(kit: &Kit) -> &'static [Shape] {
    if kit.rehearse { &REHEARSAL } else { &SHAPES }
}

/// Steps of a run that do not count: graphs are recorded in them, and a window fills.
fn warm(shape: &Shape) -> usize {
    (shape.steps / 4).min(20)
}

pub fn ours(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let config = model_config(kit.rehearse);
    let model = kit.work("model");
    if !model.join("vocab.txt").is_file() {
        write_model(&fresh(&model)?, &config)?;
    }
    let info = log.attempt(kit.command("bertsd-cuda").arg("info"), 30)?.output;
    let peak = Profile::tensor_tflops_of(&info).map(|tflops| 1e12 * tflops).filter(|_| !kit.rehearse);
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for shape in shapes(kit) {
        let texts = kit.work(&format!("{}.csv", shape.name));
        let tokens = write_texts(&texts, shape, (config.vocab_size - 5) as u64)?;
        for (method, options, passes) in METHODS {
            let out = fresh(&kit.work("timed"))?;
            let mut command = kit.command("bertsd-cuda");
            command.arg("train").arg("--model").arg(&model).arg("--train").arg(&texts).arg("--out").arg(&out);
            command.args("--order file --epochs 1 --device cuda --keep-checkpoints 0 --token-cache none".split(' '));
            command.args(["--batch-size", &shape.sequences.to_string()]).args(options);
            let attempt = log.attempt(&mut command, 90)?;
            let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
            let rates = rates(&metrics);
            if !attempt.is_ok() || rates.len() != tokens.len() {
                failures.push(format!("{} {method}: {}", shape.name, attempt.failure()));
                continue;
            }
            let kept = warm(shape)..;
            let mut ms: Vec<f64> =
                tokens[kept.clone()].iter().zip(&rates[kept.clone()]).map(|(&t, rate)| 1e3 * t as f64 / rate).collect();
            ms.sort_by(f64::total_cmp);
            let counted: usize = tokens[kept].iter().sum();
            let rate = 1e3 * counted as f64 / ms.iter().sum::<f64>();
            // Products of weights, and of scores and values, for the length that a token sees.
            let length = (shape.lengths.start() + shape.lengths.end()) as f64 / 2.0;
            let (layers, hidden) = (config.layers as f64, config.hidden_size as f64);
            let flops = passes * 2.0 * layers * (12.0 * hidden * hidden + 2.0 * hidden * length);
            rows.push(json!({
                "case": shape.name, "method": method, "ms": ms[ms.len() / 2], "ms_p90": ms[ms.len() * 9 / 10],
                "tokens_per_s": rate.round(), "share_of_peak": peak.map(|peak| rate * flops / peak), "steps": ms.len(),
            }));
        }
    }
    Ok(Finding::unless(&failures, format!("{} runs timed", rows.len())).with_rows(rows))
}

/// Tokens a second of each step.
fn rates(metrics: &str) -> Vec<f64> {
    let events = metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == "step").filter_map(|event| event["tokens_per_s"].as_f64()).collect()
}

pub fn peer(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    if kit.rehearse {
        return Ok(Finding::not_here("PyTorch is timed on a GPU only"));
    }
    let asks = "import sys, torch, transformers; sys.exit(not torch.cuda.is_available())";
    let there = log.attempt(Command::new(&kit.python).args(["-c", asks]), 60);
    if !there.is_ok_and(|attempt| attempt.is_ok()) {
        return Ok(Finding::not_here(format!("{} has no torch with CUDA, or no transformers", kit.python.display())));
    }
    let mut command = Command::new(&kit.python);
    command.arg(kit.peer()).args(["--seconds", "150"]);
    for compile in ["off", "model"] {
        for shape in shapes(kit) {
            // Mixed lengths would be compiled anew for each.
            if compile == "model" && shape.lengths.start() != shape.lengths.end() {
                continue;
            }
            for (method, ..) in METHODS {
                let (low, high) = (shape.lengths.start(), shape.lengths.end());
                command.arg("--case");
                command
                    .arg(format!("{}:{method}:{}:{low}-{high}:{}:{compile}", shape.name, shape.sequences, shape.steps));
            }
        }
    }
    let attempt = log.attempt(&mut command, 170)?;
    let rows: Vec<Value> = attempt.output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let timed = rows.iter().filter(|row| row["ms"].is_number()).count();
    Ok(match timed {
        0 => Finding::failed(attempt.failure()),
        _ => Finding::passed(format!("{timed} cases timed")).with_rows(rows),
    })
}
