//! `experiment`: a grid of runs, here or in processes of its own, and what came of it.

mod board;
mod jobs;
mod summary;

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bertsd_cuda::{
    Error, Result,
    experiment::{Cell, Choice, ExperimentFile, News, Row, Share, Store, Table, Worker},
    training::Observation,
};

use self::board::Board;
use super::{console, train::signals};
use crate::cli::experiment::{ExperimentAction, ExperimentArgs, ExperimentRunArgs, ExperimentTableArgs};

pub fn run(args: ExperimentArgs) -> anyhow::Result<()> {
    match args.action {
        ExperimentAction::Run(args) => run_cells(&args),
        ExperimentAction::Table(args) => table(&args),
    }
}

fn run_cells(args: &ExperimentRunArgs) -> anyhow::Result<()> {
    let file = ExperimentFile::read(&args.file)?;
    let cells = file.cells()?;
    // What cannot be chosen or compared is known before anything is run.
    Choice::new(&cells, file.choose.as_ref(), |_| Ok(None))?;
    file.compare.check(&cells, file.choose.as_ref())?;
    if args.list {
        let names: Vec<String> = cells.iter().map(|cell| format!("{}  {}\n", cell.id, cell.name())).collect();
        return Ok(console::print(&names.concat())?);
    }
    let store = Store::create(&args.out, &args.file)?;
    let stoppable = signals::Stoppable::begin()?;
    let stop = stoppable.flag();
    if args.worker {
        end_with_parent(stop);
        work(args, &file, &cells, &store, stop, &mut |_| ())?;
        return Ok(());
    }
    let mut board = Board::new(&cells, args.jobs);
    let mut noted = HashSet::new();
    let done = match args.jobs {
        1 => work(args, &file, &cells, &store, stop, &mut |news| match news {
            News::Begun(cell) => board.begin(cell),
            // What is said of one run is said of all of them.
            News::Run(Observation::Notice(text)) if noted.insert(text.to_owned()) => {
                console::say(format_args!("note: {text}"));
            }
            News::Run(Observation::Step { event, .. }) => board.step(event.step),
            News::Done(cell, row) => board.done(cell, row),
            News::Known(choice, rows) => board.know(choice, rows),
            News::Waiting => board.wait(),
            News::Run(_) => {}
        }),
        _ => jobs::run(args, &file, &cells, &store, stop, &mut board),
    };
    board.finish();
    done?;
    Ok(console::print(&summary::text(&store, &file)?)?)
}

/// Works in this process.
fn work(
    args: &ExperimentRunArgs,
    file: &ExperimentFile,
    cells: &[Cell],
    store: &Store,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News<'_, '_>),
) -> Result<()> {
    let mut worker = Worker::new(store, cells, file.choose.as_ref());
    worker.share = args.share.map_or_else(Share::of_job_array, |share| Ok(Some(share)))?;
    worker.threads = args.threads;
    worker.device = args.device.first().copied();
    worker.keeps_models = args.keep_models;
    worker.save_after = Duration::from_secs(args.save_after);
    let choice = worker.work(stop, tell)?;
    if choice.open() > 0 {
        console::say(format_args!(
            "{} choices wait for cells of other tasks; run the experiment once more when those are done",
            choice.open()
        ));
    }
    Ok(())
}

/// A process whose parent is gone stops as on a signal: the parent holds the other end of standard input.
fn end_with_parent(stop: &'static AtomicBool) {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
}

fn table(args: &ExperimentTableArgs) -> anyhow::Result<()> {
    let (store, file) = Store::open(&args.directory)?;
    let cells = file.cells()?;
    let (rows, choice) = known(&store, &file, &cells)?;
    if !args.out.is_empty() {
        let table = Table::new(&store, &cells, &choice, |cell| rows.get(&cell.id))?;
        for path in &args.out {
            table.write(path)?;
            console::say(format_args!("wrote {}: {} rows", path.display(), table.rows));
        }
    }
    let text = if args.json { summary::json(&store, &file)? } else { summary::text(&store, &file)? };
    Ok(console::print(&text)?)
}

/// The rows that are there, by cell, and what they settle.
fn known(store: &Store, file: &ExperimentFile, cells: &[Cell]) -> Result<(HashMap<String, Row>, Choice), Error> {
    let mut rows = HashMap::new();
    for cell in cells {
        rows.extend(store.row(cell)?.map(|row| (cell.id.clone(), row)));
    }
    let choice = Choice::new(cells, file.choose.as_ref(), |cell| Ok(rows.get(&cell.id).cloned()))?;
    Ok((rows, choice))
}
