//! The one way to the user: results go to standard output, all else to standard error.
//!
//! A reader that has seen enough closes the pipe (`… | head`). That ends what is shown, and nothing else: a command
//! goes on and leaves its files. Bars are drawn on terminals only, and give way to every line that is written while
//! they stand.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::LazyLock,
    time::Duration,
};

use bertsd_cuda::{Error, Result, inference::STANDARD_OUTPUT, model::hub::Download};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars that stand.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes to standard output, as it is.
///
/// # Errors
/// [`Error::Io`] when it cannot be written, but for a reader that is gone.
pub fn print(text: &str) -> Result<()> {
    let written = BARS.suspend(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    forgive_broken_pipe(written.map_err(Error::io("write", STANDARD_OUTPUT)))
}

/// Ends quietly when nobody reads standard output any more.
///
/// # Errors
/// Every other error that comes in.
pub fn forgive_broken_pipe(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Io { source, path, .. })
            if source.kind() == io::ErrorKind::BrokenPipe && path.as_os_str() == STANDARD_OUTPUT =>
        {
            Ok(())
        }
        other => other,
    }
}

/// A line on standard error.
pub fn say(line: impl Display) {
    // Without anybody to tell there is nothing to be done about it.
    let _ = BARS.suspend(|| writeln!(io::stderr().lock(), "{line}"));
}

/// What clap answers in place of a command: help on standard output, or an error.
pub fn answer(answer: &clap::Error) -> ExitCode {
    // As with every other line.
    let _ = answer.print();
    ExitCode::from(if answer.use_stderr() { 2 } else { 0 })
}

/// A bar on a terminal, in a style of indicatif's; hidden elsewhere.
pub fn styled_bar(length: u64, template: &str) -> ProgressBar {
    let bar = if io::stderr().is_terminal() { BARS.add(ProgressBar::new(length)) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar
}

/// A bar that counts to `total`, or a counter where that is 0.
pub fn bar(what: &'static str, total: u64) -> ProgressBar {
    const UNKNOWN: &str = "{msg} {spinner} {elapsed}";
    const KNOWN: &str = "{msg} {wide_bar} {percent}% {eta} left";
    let bar = styled_bar(total, if total == 0 { UNKNOWN } else { KNOWN });
    bar.set_message(what);
    if total == 0 {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

/// Shows the downloads of a model.
#[derive(Default)]
pub struct DownloadBar {
    current: Option<(String, ProgressBar)>,
}

impl DownloadBar {
    pub fn update(&mut self, download: Download) {
        if self.current.as_ref().is_none_or(|(file, _)| *file != download.file) {
            self.clear();
            let bar = bar("downloading", download.total_bytes);
            bar.set_message(download.file.clone());
            self.current = Some((download.file.clone(), bar));
        }
        if let Some((_, bar)) = &self.current {
            bar.set_position(download.done_bytes);
        }
        if download.done_bytes == download.total_bytes {
            self.clear();
            say(format_args!("fetched {} ({} MB)", download.file, download.total_bytes >> 20));
        }
    }

    pub fn clear(&mut self) {
        if let Some((_, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}
