//! The launches of a case's steps, as the simulator counts them in a process of its own.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use cudasim::counters::report::Line;
use serde_json::Value;

use super::{sample, steps::MethodName, workload::Case};

/// What was launched in the steps of a method.
pub struct Counted {
    pub method: MethodName,
    pub lines: Vec<Line>,
}

/// The lines of JSON that a program prints which runs the steps of a case, one for each method.
pub fn answers(mut command: Command, case: &Case, methods: &[MethodName]) -> anyhow::Result<Vec<Value>> {
    let output = command.stderr(Stdio::inherit()).output().context("start this program once more")?;
    ensure!(output.status.success(), "the steps of {} have failed", case.name());
    let text = String::from_utf8(output.stdout).context("it prints JSON")?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let answers: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>().context("it prints JSON")?;
    ensure!(answers.len() == methods.len(), "{} answers for {} methods", answers.len(), methods.len());
    Ok(answers)
}

/// Runs a program that runs the steps of a case on the simulator, which is to be this card: this program, or a test of
/// it. Which tile a product takes depends on the number of multiprocessors.
pub fn count(case: &Case, methods: &[MethodName], card: &str, mut command: Command) -> anyhow::Result<Vec<Counted>> {
    let folder = tempfile::tempdir().context("make a folder for the trace")?;
    let trace = folder.path().join("trace.jsonl");
    command
        .env("CUDASIM", "1")
        .env("CUDASIM_PROFILE", card)
        .env("CUDASIM_TRACE", &trace)
        .env("CUDASIM_SAMPLE", sample::rules())
        // Queued work runs in its order, and when something waits for it.
        .env("CUDASIM_SEED", "0")
        .env("CUDASIM_IDLE_MS", "0")
        .env_remove("CUDASIM_CHECK")
        .env_remove("CUDASIM_MEMORY_MIB");
    let answers = answers(command, case, methods)?;
    let text = fs::read_to_string(&trace).with_context(|| format!("read {}", trace.display()))?;
    let lines: Vec<&str> = text.lines().collect();
    let of_method = |(&method, answer): (&MethodName, &Value)| {
        let at = |name: &str| answer[name].as_u64().map(|number| number as usize);
        let range = at("first").zip(at("last")).and_then(|(first, last)| lines.get(first..last));
        let range = range.with_context(|| format!("{}: its steps are not in the trace", method.name()))?;
        let lines = range.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
        Ok(Counted { method, lines: lines.context("read a line of the trace")? })
    };
    methods.iter().zip(&answers).map(of_method).collect()
}
