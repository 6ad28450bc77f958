//! Several processes that work on one experiment: this one watches, and shows how far they are.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bertsd_cuda::{
    Error, Result,
    experiment::{Cell, Choice, ExperimentFile, Row, Store},
};

use super::board::Board;
use crate::cli::experiment::ExperimentRunArgs;

const INTERVAL: Duration = Duration::from_millis(300);

/// Starts the processes, and waits until they are done.
///
/// # Errors
/// [`Error::Interrupted`] when it was to stop; [`Error::Run`] when one failed, with what it said last.
pub fn run(
    args: &ExperimentRunArgs,
    file: &ExperimentFile,
    cells: &[Cell],
    store: &Store,
    stop: &AtomicBool,
    board: &mut Board<'_>,
) -> Result<()> {
    let mut jobs = (0..args.jobs).map(|number| Job::start(args, number)).collect::<Result<Vec<_>>>()?;
    let mut rows: HashMap<String, Row> = HashMap::new();
    let mut failed = None;
    loop {
        let is_first = rows.is_empty();
        let mut fresh = Vec::new();
        for cell in cells.iter().filter(|cell| !rows.contains_key(&cell.id)) {
            fresh.extend(store.row(cell)?.map(|row| (cell, row)));
        }
        rows.extend(fresh.iter().map(|(cell, row)| (cell.id.clone(), row.clone())));
        let choice = Choice::new(cells, file.choose.as_ref(), |cell| Ok(rows.get(&cell.id).cloned()))?;
        board.know(&choice, &rows);
        if !is_first {
            fresh.iter().for_each(|(cell, row)| board.done(cell, row));
        }
        let mut going = false;
        for job in &mut jobs {
            match job.ended()? {
                None => going = true,
                Some(Ok(())) => {}
                Some(Err(error)) => failed = Some(failed.unwrap_or(error)),
            }
        }
        if !going {
            break;
        }
        if failed.is_some() || stop.load(Ordering::Relaxed) {
            // Their standard input ends, at which they save what they have and stop.
            jobs.iter_mut().for_each(|job| drop(job.child.stdin.take()));
        }
        thread::sleep(INTERVAL);
    }
    match failed {
        _ if stop.load(Ordering::Relaxed) => {
            Err(Error::Interrupted { step: None, resume: "the same command".to_owned() })
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// One of the processes.
struct Job {
    child: Child,
    /// Where it says what it has to say.
    log: std::path::PathBuf,
    ended: bool,
}

impl Job {
    fn start(args: &ExperimentRunArgs, number: usize) -> Result<Self> {
        let program = env::current_exe().map_err(Error::io("find", "the program itself"))?;
        let log = args.out.join(format!("job-{}.log", number + 1));
        let file = File::create(&log).map_err(Error::io("create", &log))?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = args.threads.unwrap_or((cores / args.jobs).max(1));
        let mut command = Command::new(&program);
        command.args(["experiment", "run"]).arg(&args.file).arg("--out").arg(&args.out).arg("--worker");
        command.args(["--threads", &threads.to_string(), "--save-after", &args.save_after.to_string()]);
        if !args.device.is_empty() {
            command.args(["--device", &args.device[number % args.device.len()].to_string()]);
        }
        if let Some(share) = args.share {
            command.args(["--share", &share.to_string()]);
        }
        if args.keep_models {
            command.arg("--keep-models");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file).spawn();
        Ok(Self { child: child.map_err(Error::io("start", program))?, log, ended: false })
    }

    /// How it ended, if it has; nothing is said of it twice.
    fn ended(&mut self) -> Result<Option<Result<()>>> {
        if self.ended {
            return Ok(Some(Ok(())));
        }
        let Some(status) = self.child.try_wait().map_err(Error::io("wait for", &self.log))? else { return Ok(None) };
        self.ended = true;
        if status.success() {
            return Ok(Some(Ok(())));
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
        let last = last.trim_start_matches("error: ");
        Ok(Some(Err(Error::run(&self.log, format!("a process ended with {status}: {last}")))))
    }
}
