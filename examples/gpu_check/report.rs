//! What was found: a line and some numbers a step, kept as they come, and the table made of them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Value, json};

use super::kit::Kit;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// What it needs is not on this machine; no check counts as done.
    NotHere,
}

pub struct Finding {
    verdict: Verdict,
    text: String,
    rows: Vec<Value>,
}

impl Finding {
    pub fn passed(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Passed, text: text.into(), rows: Vec::new() }
    }

    pub fn failed(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, text: text.into(), rows: Vec::new() }
    }

    pub fn not_here(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotHere, text: text.into(), rows: Vec::new() }
    }

    /// Passed if nothing failed.
    pub fn unless(failures: &[String], text: impl Into<String>) -> Self {
        if failures.is_empty() { Self::passed(text) } else { Self::failed(failures.join("; ")) }
    }

    pub fn with_rows(self, rows: Vec<Value>) -> Self {
        Self { rows, ..self }
    }

    pub fn line(&self) -> String {
        format!("{}: {}", self.word(), self.text)
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::NotHere => "not here",
        }
    }
}

/// The newest finding of each step.
pub struct Results {
    path: PathBuf,
    found: Vec<Value>,
}

impl Results {
    pub fn read(out: &Path) -> anyhow::Result<Self> {
        let path = out.join("results.jsonl");
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        let mut results = Self { path, found: Vec::new() };
        // A line that a stopped run has cut short is none.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|value| results.replace(value));
        Ok(results)
    }

    pub fn add(&mut self, step: &str, finding: Finding) -> anyhow::Result<()> {
        let value = json!({"step": step, "verdict": finding.word(), "text": finding.text, "rows": finding.rows});
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        writeln!(file, "{value}").with_context(|| format!("write {}", self.path.display()))?;
        self.replace(value);
        Ok(())
    }

    fn replace(&mut self, value: Value) {
        self.found.retain(|old| old["step"] != value["step"]);
        self.found.push(value);
    }

    pub fn passed(&self, step: &str) -> bool {
        self.found.iter().any(|value| value["step"] == step && value["verdict"] == "passed")
    }

    pub fn has_failures(&self) -> bool {
        self.found.iter().any(|value| value["verdict"] == "FAILED")
    }

    pub fn rows(&self, step: &str) -> &[Value] {
        let found = self.found.iter().find(|value| value["step"] == step);
        found.and_then(|value| value["rows"].as_array()).map_or(&[], Vec::as_slice)
    }
}

/// Markdown: what each step found, and the times beside PyTorch's.
pub fn text(kit: &Kit, results: &Results) -> String {
    let mut text = format!("# {}\n\n| step | | |\n|---|---|---|\n", kit.describe());
    for value in &results.found {
        let word = |name: &str| value[name].as_str().unwrap_or_default().replace('|', "/");
        text.push_str(&format!("| {} | {} | {} |\n", word("step"), word("verdict"), word("text")));
    }
    if results.rows("speed").is_empty() {
        return text;
    }
    text.push_str(
        "\n| shape | method | ms a step | tokens/s | share of peak | PyTorch, ms | ours / PyTorch | compiled, ms \
         | ours / compiled |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for row in results.rows("speed") {
        let peer = |compiled: bool| {
            let of_case = |peer: &&Value| peer["case"] == row["case"] && peer["method"] == row["method"];
            let found =
                results.rows("peer").iter().filter(of_case).filter(|peer| (peer["compile"] != "off") == compiled);
            let tokens = found.filter_map(|peer| Some((peer["ms"].as_f64()?, peer["tokens_per_s"].as_f64()?)));
            tokens.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
        let beside = |compiled| match peer(compiled) {
            Some((ms, rate)) => format!("{ms:.2} | {:.2}", number("tokens_per_s") / rate),
            None => "– | –".to_owned(),
        };
        let share = row["share_of_peak"].as_f64().map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let (case, method) = (row["case"].as_str().unwrap_or(""), row["method"].as_str().unwrap_or(""));
        text.push_str(&format!(
            "| {case} | {method} | {:.3} | {:.0} | {share} | {} | {} |\n",
            number("ms"),
            number("tokens_per_s"),
            beside(false),
            beside(true)
        ));
    }
    text
}

/// `report.md` and `report.json`.
pub fn write(kit: &Kit, results: &Results, text: &str) -> anyhow::Result<()> {
    let object = json!({"kit": kit.describe(), "steps": results.found});
    for (name, content) in [("report.md", text.to_owned()), ("report.json", format!("{object:#}\n"))] {
        let path = kit.out.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
