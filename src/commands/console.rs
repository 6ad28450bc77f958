//! What commands print: results to standard output, remarks and progress to standard error.
//!
//! A reader that has seen enough closes the pipe (`… | head`); that ends the output and is no failure. Bars are drawn on
//! terminals only.

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

use bertsd_cuda::{Error, Result, inference::STANDARD_OUTPUT, model::hub::Download};
use indicatif::{ProgressBar, ProgressStyle};

/// Writes to standard output, as it is.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    forgive_broken_pipe(
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("write", STANDARD_OUTPUT)),
    )
}

/// Ends quietly when nobody reads standard output any more.
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

/// A remark to the user.
pub fn note(text: impl Display) {
    // Without anybody to tell there is nothing to be done about it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar that counts to `total`, or a counter where that is 0.
pub fn bar(what: &'static str, total: u64) -> ProgressBar {
    const UNKNOWN: &str = "{msg} {spinner} {elapsed}";
    const KNOWN: &str = "{msg} {wide_bar} {percent}% {eta} left";
    let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
    let template = if total == 0 { UNKNOWN } else { KNOWN };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
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
    pub fn hear(&mut self, news: Download) {
        if self.current.as_ref().is_none_or(|(file, _)| *file != news.file) {
            self.clear();
            let bar = bar("downloading", news.total_bytes);
            bar.set_message(news.file.clone());
            self.current = Some((news.file, bar));
        }
        if let Some((_, bar)) = &self.current {
            bar.set_position(news.done_bytes);
        }
    }

    pub fn clear(&mut self) {
        if let Some((_, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}
