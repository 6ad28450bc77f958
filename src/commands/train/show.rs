//! What a person sees while a run goes on: on standard error, a live line on a terminal and plain lines elsewhere.

use std::time::{Duration, Instant};

use bertsd_cuda::{
    Result,
    data::{self, TokenizedSet},
    metrics::Scores,
    reports::{EvalEvent, Progress},
    training::{Observation, Outcome},
};
use indicatif::ProgressBar;

use crate::commands::console::{self, DownloadBar};

/// How often a line is written where there is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(15);

/// The live view of a run.
#[derive(Default)]
pub struct Screen {
    download: DownloadBar,
    tokenizing: Option<ProgressBar>,
    training: Option<Live>,
}

/// The line of a run that is training.
struct Live {
    bar: ProgressBar,
    progress: Progress,
    last_line: Instant,
}

impl Screen {
    pub fn observe(&mut self, observation: Observation<'_>) {
        match observation {
            Observation::Notice(text) => console::say(format_args!("note: {text}")),
            Observation::Download(download) => self.download.update(download),
            Observation::Tokenizing { set, progress } => self.show_tokenizing(set, progress),
            Observation::Tokenized { set, tokens, elapsed } => self.show_tokenized(set, tokens, elapsed),
            Observation::Labels(summary) => console::say(&summary.line),
            Observation::Ready { device, parameters, total_steps, steps_per_epoch, step, .. } => {
                console::say(format_args!("device       {device}"));
                console::say(format_args!(
                    "training     {parameters} parameters, {total_steps} steps, {steps_per_epoch} a pass over the data"
                ));
                let bar = console::styled_bar(total_steps, "{bar:24} {msg}");
                bar.set_position(step);
                self.training =
                    Some(Live { bar, progress: Progress::new(total_steps, step), last_line: Instant::now() });
            }
            Observation::Step { event, tokens, elapsed } => {
                let Some(Live { bar, progress, last_line }) = &mut self.training else { return };
                progress.update(event, tokens, elapsed);
                bar.set_position(event.step);
                if !bar.is_hidden() {
                    bar.set_message(progress.line().to_string());
                } else if last_line.elapsed() >= QUIET_INTERVAL {
                    *last_line = Instant::now();
                    console::say(progress.line());
                }
            }
            Observation::Skipped { step, skips } => {
                let total = skips.total;
                console::say(format_args!("step {step}: skipped, as its gradient is not finite ({total} so far)"));
            }
            Observation::Evaluation(event) => console::say(evaluation_line(event)),
            Observation::Saved { step } => console::say(format_args!("step {step}: saved")),
            Observation::StoppedEarly { step, best } => {
                let best = best.step;
                console::say(format_args!("step {step}: no improvement since step {best}; stopping"));
            }
            _ => {}
        }
    }

    fn show_tokenizing(&mut self, set: &str, progress: data::TokenizingProgress) {
        let bar = self.tokenizing.get_or_insert_with(|| {
            let bar = console::styled_bar(0, "tokenizing {prefix} {bar:24} {percent:>3} % {msg}");
            bar.set_prefix(set.to_owned());
            bar
        });
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("{} examples, {} tokens", progress.examples, progress.tokens));
    }

    fn show_tokenized(&mut self, set: &str, tokens: &TokenizedSet, elapsed: Duration) {
        if let Some(bar) = self.tokenizing.take() {
            bar.finish_and_clear();
        }
        let origin = match tokens.from_cache() {
            true => "from the cache".to_owned(),
            false => format!("tokenized in {:.1} s", elapsed.as_secs_f64()),
        };
        let (examples, tokens) = (tokens.len(), tokens.tokens());
        console::say(format_args!("{set:<12} {examples} examples, {tokens} tokens, {origin}"));
    }

    /// Removes what is live.
    pub fn finish(&mut self) {
        self.download.clear();
        for bar in [self.tokenizing.take(), self.training.take().map(|live| live.bar)].into_iter().flatten() {
            bar.finish_and_clear();
        }
    }
}

fn evaluation_line(event: &EvalEvent) -> String {
    let Scores { accuracy, macro_f1, mcc, loss, ece, .. } = event.scores;
    let (step, split, weights) = (event.step, event.split.name(), event.weights);
    format!(
        "step {step}: {split} ({weights}) accuracy {accuracy:.4}, macro F1 {macro_f1:.4}, MCC {mcc:.4}, loss \
         {loss:.4}, ECE {ece:.4}"
    )
}

/// The result, on standard output.
///
/// # Errors
/// As [`console::print`].
pub fn print_outcome(outcome: &Outcome) -> Result<()> {
    let mut text = String::new();
    for (name, scores) in &outcome.tests {
        let Scores { accuracy, macro_f1, loss, .. } = scores;
        text.push_str(&format!("{name} accuracy {accuracy:.4}, macro F1 {macro_f1:.4}, loss {loss:.4}\n"));
    }
    text.push_str(&format!("model of step {} in {}\n", outcome.exported_step, outcome.model.display()));
    console::print(&text)
}
