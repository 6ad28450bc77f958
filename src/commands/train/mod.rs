//! `train`: options → settings → an open run → training → what came of it.

mod open;
mod options;
mod settings;
mod show;

pub use options::{options_of_run, require_same, resolve};

use std::sync::{Arc, atomic::AtomicBool};

use bertsd_cuda::{
    Error,
    checkpoint::RunLock,
    device::{Capacity, Device, Shape},
    training::Outcome,
};

use self::open::Start;
use super::{on_device::on_device, threads::set_threads};
use crate::cli::TrainArgs;

/// Trains, and prints the result.
pub fn run(args: TrainArgs) -> anyhow::Result<()> {
    let outcome = train(args)?;
    show::print_outcome(&outcome);
    Ok(())
}

/// Trains one run and prints nothing on standard output; `ensemble` uses it for each of its seeds.
pub fn train(args: TrainArgs) -> anyhow::Result<Outcome> {
    let resumed = args.resume.is_some();
    let side = settings::Side { stop_after: args.stop_after, trace: args.trace.clone() };
    let overwrite = args.overwrite;
    let options = resolve(args)?;
    let mut settings = settings::Settings::new(options, side)?;
    set_threads(settings.threads)?;
    let backend = settings.device.resolve(settings.precision)?;
    settings.settle_on(backend);
    let stop = on_signals()?;
    let lock = if resumed {
        RunLock::for_resume(&settings.directory)?
    } else {
        open::check_inputs(&settings)?;
        match overwrite {
            true => RunLock::for_overwriting(&settings.directory)?,
            false => RunLock::for_new_run(&settings.directory, false)?,
        }
    };
    let start = match (resumed, overwrite) {
        (true, _) => Start::Resume,
        (false, true) => Start::Overwrite(&lock),
        (false, false) => Start::New,
    };
    let outcome = on_device!(backend, make => train_on(&settings, start, &stop, make));
    drop(lock);
    outcome
}

fn train_on<D: Device>(
    settings: &settings::Settings,
    start: Start,
    stop: &AtomicBool,
    make: impl FnOnce(Shape, Capacity) -> bertsd_cuda::Result<D>,
) -> anyhow::Result<Outcome> {
    let mut run = open::open(settings, start, make)?;
    let mut screen = show::Screen::new(&run);
    let result = run.run(stop, &mut |observation| screen.observe(observation));
    screen.finish();
    if matches!(result, Err(Error::Io { .. })) && run.settings.save {
        let directory = settings.directory.display();
        show::note(&format!("when that is mended, the run goes on with: bertsd-cuda train --resume {directory}"));
    }
    Ok(result?)
}

/// A flag that SIGINT and SIGTERM set; a second signal ends the process at once.
fn on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::{consts::TERM_SIGNALS, flag};
    let stop = Arc::new(AtomicBool::new(false));
    for &signal in TERM_SIGNALS {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
