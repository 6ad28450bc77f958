//! Running a program for at most so long, with all that it prints in the log.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

pub struct Log {
    path: PathBuf,
    end: Instant,
}

/// How a program ended.
pub struct Attempt {
    /// None: it was stopped at its limit.
    pub code: Option<i32>,
    pub output: String,
    pub seconds: f64,
}

impl Attempt {
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// What went wrong, with the last lines printed.
    pub fn failure(&self) -> String {
        let end = match self.code {
            None => format!("stopped after {:.0} s", self.seconds),
            Some(code) => format!("exit status {code}"),
        };
        let lines: Vec<&str> = self.output.lines().filter(|line| !line.trim().is_empty()).collect();
        format!("{end}: {}", lines[lines.len().saturating_sub(3)..].join(" | "))
    }
}

impl Log {
    pub fn open(out: &Path, budget: Duration) -> anyhow::Result<Self> {
        let path = out.join("log.txt");
        OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { path, end: Instant::now() + budget })
    }

    pub fn seconds_left(&self) -> u64 {
        self.end.saturating_duration_since(Instant::now()).as_secs()
    }

    /// Runs a command for at most `limit_s` seconds, and no longer than the budget.
    pub fn attempt(&self, command: &mut Command, limit_s: u64) -> anyhow::Result<Attempt> {
        let limit = Duration::from_secs(limit_s.min(self.seconds_left()));
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        writeln!(file, "\n=== at most {} s: {command:?}", limit.as_secs())?;
        let from = file.seek(SeekFrom::End(0))?;
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if begun.elapsed() >= limit {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(20));
        };
        // A program that a signal ended has no exit status.
        let code = status.map(|status| status.code().unwrap_or(-1));
        Ok(Attempt { code, output: self.read(from)?, seconds: begun.elapsed().as_secs_f64() })
    }

    fn read(&self, from: u64) -> anyhow::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A folder that is not there.
pub fn fresh(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(path.to_owned())
}
