//! What a person sees while a run goes on: on standard error, a live line on a terminal and plain lines elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use bertsd_cuda::{
    data::{self, TokenizedSet},
    device::Device,
    model::hub::Download,
    reports::{EvalEvent, Progress, Split},
    training::{Observation, Outcome, Run},
};
use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(15);

/// Something the user should know.
pub fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Progress of a download from the hub.
pub fn download(download: Download) {
    if download.done_bytes == download.total_bytes {
        eprintln!("fetched {} ({} MB)", download.file, download.total_bytes >> 20);
    }
}

/// A bar on a terminal; hidden elsewhere.
fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar
}

/// The bar of a set that is being tokenized.
pub struct Tokenizing {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl Tokenizing {
    pub fn new(name: &str) -> Self {
        let bar = bar(0, "tokenizing {prefix} {bar:24} {percent:>3} % {msg}");
        bar.set_prefix(name.to_owned());
        Self { bar, name: name.to_owned(), started: Instant::now() }
    }

    pub fn update(&mut self, progress: data::Progress) {
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        self.bar.set_message(format!("{} examples, {} tokens", progress.examples, progress.tokens));
    }

    pub fn finish(self, set: &TokenizedSet) {
        self.bar.finish_and_clear();
        if let Some(notice) = set.notice() {
            note(notice);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let origin =
            if set.from_cache() { "from the cache".to_owned() } else { format!("tokenized in {seconds:.1} s") };
        eprintln!("{:<12} {} examples, {} tokens, {origin}", self.name, set.len(), set.tokens());
    }
}

/// The live view of a run.
pub struct Screen {
    bar: ProgressBar,
    progress: Progress,
    last_line: Instant,
}

impl Screen {
    pub fn new<D: Device>(run: &Run<D>) -> Self {
        eprintln!("device       {}", run.learner.device.name());
        eprintln!(
            "training     {} parameters, {} steps, {} a pass over the data",
            run.learner.encoder.layout.parameters(),
            run.settings.total_steps,
            run.steps.steps_per_epoch()
        );
        let bar = bar(run.settings.total_steps, "{bar:24} {msg}");
        bar.set_position(run.position.step);
        let progress = Progress::new(run.settings.total_steps, run.position.step);
        Self { bar, progress, last_line: Instant::now() }
    }

    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Step { event, tokens, elapsed } => {
                self.progress.update(event, tokens, elapsed);
                self.bar.set_position(event.step);
                if self.bar.is_hidden() {
                    if self.last_line.elapsed() >= QUIET_INTERVAL {
                        self.last_line = Instant::now();
                        eprintln!("{}", self.progress.line());
                    }
                } else {
                    self.bar.set_message(self.progress.line().to_string());
                }
            }
            Observation::Skipped { step, skips } => {
                let total = skips.total;
                self.say(&format!("step {step}: skipped, as its gradient is not finite ({total} so far)"));
            }
            Observation::Evaluation(event) => self.say(&evaluation_line(event)),
            Observation::Saved { step } => self.say(&format!("step {step}: saved")),
            Observation::StoppedEarly { step, best } => {
                self.say(&format!("step {step}: no improvement since step {}; stopping", best.step));
            }
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn evaluation_line(event: &EvalEvent) -> String {
    let split = match event.split {
        Split::Dev => "dev",
        Split::Test => "test",
    };
    let s = &event.scores;
    format!(
        "step {}: {split} ({}) accuracy {:.4}, macro F1 {:.4}, MCC {:.4}, loss {:.4}, ECE {:.4}",
        event.step,
        format!("{:?}", event.weights).to_lowercase(),
        s.accuracy,
        s.macro_f1,
        s.mcc,
        s.loss,
        s.ece
    )
}

/// The result, on standard output.
pub fn print_outcome(outcome: &Outcome) {
    for (name, scores) in &outcome.tests {
        println!("{name} accuracy {:.4}, macro F1 {:.4}, loss {:.4}", scores.accuracy, scores.macro_f1, scores.loss);
    }
    println!("model of step {} in {}", outcome.exported_step, outcome.model.display());
}
