//! The steps, but for those that time.

use std::{fs, path::Path, process::Command};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    attempt::{Log, fresh},
    kit::Kit,
    report::Finding,
    speed,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// Card, driver, what the program says of them
    Facts,
    /// Three steps of a small model in each precision: as graphs, launched one by one, and beside the processor
    Smoke,
    /// Every kernel beside the processor and float64
    Kernels,
    /// Every method's golden trace in float32, tf32 and bf16
    Golden,
    /// Times of four shapes, ft and sda
    Speed,
    /// The same in PyTorch, where there is one
    Peer,
    /// Each kernel of a step: what it does, its floor and its time
    Report,
    /// The program's tests on a CUDA device
    Train,
    /// compute-sanitizer's memcheck and racecheck over two steps, where it is
    Sanitize,
    /// Counters of the kernels of a step, where ncu is
    Counters,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Smoke => "smoke",
            Self::Kernels => "kernels",
            Self::Golden => "golden",
            Self::Speed => "speed",
            Self::Peer => "peer",
            Self::Report => "report",
            Self::Train => "train",
            Self::Sanitize => "sanitize",
            Self::Counters => "counters",
        }
    }

    pub fn run(self, kit: &Kit, log: &mut Log) -> anyhow::Result<Finding> {
        match self {
            Self::Facts => facts(kit, log),
            Self::Smoke => smoke(kit, log),
            Self::Kernels => tests(kit, log, "cuda_device", 150, "loss::"),
            Self::Golden => tests(kit, log, "golden", 60, "bf16"),
            Self::Speed => speed::ours(kit, log),
            Self::Peer => speed::peer(kit, log),
            Self::Report => kernel_report(kit, log),
            Self::Train => tests(kit, log, "train_cuda", 90, "program::the_loss"),
            Self::Sanitize => sanitize(kit, log),
            Self::Counters => counters(kit, log),
        }
    }
}

fn facts(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let info = log.attempt(kit.command("bertsd-cuda").args(["info", "--json"]), 60)?;
    if !info.is_ok() {
        return Ok(Finding::failed(info.failure()));
    }
    let facts: Value =
        info.output.lines().find_map(|line| serde_json::from_str(line).ok()).context("info --json is JSON")?;
    let mut rows = vec![facts.clone()];
    if let Some(tool) = kit.tool("nvidia-smi") {
        let query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit";
        let asked = log.attempt(Command::new(tool).args([query, "--format=csv,noheader"]), 20)?;
        rows.push(json!({"nvidia-smi": asked.output.trim()}));
    }
    let devices = facts["devices"].as_array().into_iter().flatten();
    let names: Vec<&str> = devices.filter_map(|device| device["name"].as_str()).collect();
    let is_there = facts.to_string().contains("cuda:0");
    let text = names.join(", ");
    Ok(if is_there { Finding::passed(text) } else { Finding::failed(format!("no CUDA device: {text}")) }
        .with_rows(rows))
}

/// `train` on the smaller golden model with dropout; what it left in `metrics.jsonl`, and its weights.
struct SmallRun {
    events: Vec<Value>,
    weights: Vec<u8>,
}

fn train_small(kit: &Kit, log: &Log, name: &str, options: &[&str]) -> anyhow::Result<Result<SmallRun, String>> {
    let table = kit.work("small.csv");
    let rows: String =
        (0..24).map(|i| format!("w{} w{} w{},{}\n", 20 + i, 40 + 3 * i, i % 2, ["no", "yes"][i % 2])).collect();
    fs::write(&table, format!("text,label\n{rows}"))?;
    let out = fresh(&kit.work(name))?;
    let mut command = kit.command("bertsd-cuda");
    command.arg("train").arg("--model").arg(kit.golden_model()).arg("--train").arg(&table).arg("--out").arg(&out);
    command.args("--batch-size 8 --max-steps 3 --dropout 0.1 --attention-dropout 0.1 --token-cache none".split(' '));
    command.args("--method sda --teacher window:2 --keep-checkpoints 0".split(' ')).args(options);
    let attempt = log.attempt(&mut command, 60)?;
    if !attempt.is_ok() {
        return Ok(Err(format!("{name}: {}", attempt.failure())));
    }
    let text = fs::read_to_string(out.join("metrics.jsonl"))?;
    let mut events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    events.iter_mut().filter_map(Value::as_object_mut).for_each(|event| drop(event.remove("tokens_per_s")));
    Ok(Ok(SmallRun { events, weights: fs::read(out.join("model/model.safetensors"))? }))
}

/// The largest relative difference of two runs' losses.
fn distance(one: &SmallRun, other: &SmallRun) -> f64 {
    let losses = |run: &SmallRun| run.events.iter().filter_map(|event| event["ce"].as_f64()).collect::<Vec<_>>();
    losses(one).iter().zip(losses(other)).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max)
}

fn smoke(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let cpu = match train_small(kit, log, "small-cpu", &["--device", "cpu"])? {
        Ok(run) => run,
        Err(failure) => return Ok(Finding::failed(failure)),
    };
    let (mut failures, mut found, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let trace = kit.work("trace.json");
    let trace = trace.to_string_lossy();
    // Masks and order are the processor's to the bit; what is left is rounding.
    for (precision, limit) in [("bf16", 0.05), ("tf32", 2e-3), ("f32", 1e-4)] {
        let device = ["--device", "cuda", "--precision", precision];
        let graphs = train_small(kit, log, &format!("small-{precision}"), &device)?;
        let eager =
            train_small(kit, log, &format!("small-{precision}-eager"), &[&device[..], &["--trace", &trace]].concat())?;
        let (graphs, eager) = match (graphs, eager) {
            (Ok(graphs), Ok(eager)) => (graphs, eager),
            (graphs, eager) => {
                failures.extend([graphs.err(), eager.err()].into_iter().flatten());
                continue;
            }
        };
        let off = distance(&graphs, &cpu);
        let is_same = graphs.weights == eager.weights && graphs.events == eager.events;
        found.push(format!("{precision} {off:.1e} off the processor"));
        rows.push(
            json!({"precision": precision, "off_the_processor": off, "limit": limit, "graphs_equal_eager": is_same}),
        );
        if off.is_nan() || off > limit {
            failures.push(format!("{precision}: losses are {off:.1e} off the processor's, allowed is {limit:.0e}"));
        }
        if !is_same {
            failures.push(format!("{precision}: graphs and single launches differ"));
        }
    }
    Ok(Finding::unless(&failures, found.join(", ") + "; graphs and single launches agree to the bit").with_rows(rows))
}

/// A test binary, or in a rehearsal the part of it that `filter` names.
fn tests(kit: &Kit, log: &Log, program: &str, limit_s: u64, filter: &str) -> anyhow::Result<Finding> {
    let mut command = kit.command(program);
    command.args(["--test-threads", "4"]);
    if kit.rehearse {
        command.arg(filter);
    }
    let attempt = log.attempt(&mut command, if kit.rehearse { 300 } else { limit_s })?;
    let count = |ending: &str| {
        attempt.output.lines().filter(|line| line.starts_with("test ") && line.ends_with(ending)).count()
    };
    let failed: Vec<String> = attempt
        .output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect();
    let rows = vec![json!({"passed": count("... ok"), "failed": failed, "seconds": attempt.seconds})];
    let text = format!("{} tests in {:.0} s", count("... ok"), attempt.seconds);
    let finding = match (attempt.is_ok(), failed.is_empty()) {
        (true, _) if count("... ok") > 0 => Finding::passed(text),
        (_, false) => Finding::failed(format!(
            "{} of {} tests: {}",
            failed.len(),
            failed.len() + count("... ok"),
            failed.join(", ")
        )),
        _ => Finding::failed(attempt.failure()),
    };
    Ok(finding.with_rows(rows))
}

/// The kernels of BERT-base in full batches, counted on the simulator and timed here.
fn kernel_report(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let mut command = kit.command("kernel_report");
    let (json, page) = (kit.out.join("kernels.json"), kit.out.join("kernels.md"));
    command.arg("--measure").arg("--json").arg(&json).arg("--markdown").arg(&page);
    if kit.rehearse {
        command.arg("--small");
    } else {
        command.args(["--only", "bert-base/32x128", "--method", "ft", "--method", "sda"]);
    }
    let attempt = log.attempt(&mut command, if kit.rehearse { 200 } else { 120 })?;
    if !attempt.is_ok() {
        return Ok(Finding::failed(attempt.failure()));
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&json)?).context("the report's JSON")?;
    let steps = found["steps"].as_array().into_iter().flatten();
    let text: Vec<String> = steps
        .map(|step| {
            let estimate = step["total"]["critical_ms"].as_f64().unwrap_or(f64::NAN);
            let measured = step["measured"][1].as_f64().unwrap_or(f64::NAN);
            format!(
                "{} {}: {measured:.2} ms of kernels, {estimate:.2} estimated",
                step["case"].as_str().unwrap_or_default(),
                step["method"].as_str().unwrap_or_default()
            )
        })
        .collect();
    Ok(Finding::passed(text.join("; ") + "; kernel by kernel in kernels.md"))
}

/// Two steps of the small model, launched one by one, under a tool.
fn small_steps(kit: &Kit, tool: &Path, tool_arguments: &[&str], name: &str) -> anyhow::Result<Command> {
    let mut command = kit.under(tool, tool_arguments, "bertsd-cuda");
    command.arg("train").arg("--model").arg(kit.golden_model()).arg("--train").arg(kit.work("small.csv"));
    command.arg("--out").arg(fresh(&kit.work(name))?).arg("--trace").arg(kit.work("trace.json"));
    command.args("--batch-size 8 --max-steps 2 --device cuda --token-cache none --keep-checkpoints 0".split(' '));
    command.args(["--method", "sda", "--teacher", "window:2"]);
    Ok(command)
}

fn sanitize(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let Some(tool) = kit.tool("compute-sanitizer") else { return Ok(Finding::not_here("no compute-sanitizer")) };
    let (mut failures, mut found) = (Vec::new(), Vec::new());
    for check in ["memcheck", "racecheck"] {
        let options = ["--tool", check, "--error-exitcode", "9", "--print-limit", "20"];
        let attempt = log.attempt(&mut small_steps(kit, &tool, &options, "sanitized")?, 60)?;
        match attempt.is_ok() {
            true => found.push(format!("{check} clean in {:.0} s", attempt.seconds)),
            false => failures.push(format!("{check}: {}", attempt.failure())),
        }
    }
    Ok(Finding::unless(&failures, found.join(", ")))
}

fn counters(kit: &Kit, log: &Log) -> anyhow::Result<Finding> {
    let Some(tool) = kit.tool("ncu") else { return Ok(Finding::not_here("no ncu")) };
    let options = ["--csv", "--set", "basic", "--launch-count", "120"];
    let mut command = small_steps(kit, &tool, &options, "counted")?;
    let attempt = log.attempt(&mut command, 60)?;
    let table: Vec<&str> = attempt.output.lines().filter(|line| line.starts_with('"')).collect();
    fs::write(kit.out.join("counters.csv"), table.join("\n") + "\n")?;
    Ok(match attempt.is_ok() && table.len() > 1 {
        true => Finding::passed(format!("{} lines in counters.csv", table.len())),
        false => Finding::failed(attempt.failure()),
    })
}
