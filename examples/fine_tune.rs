//! Fine-tunes a checkpoint as `bertsd-cuda train` does: `fine_tune MODEL TRAIN.csv DEV.csv OUT`.

use std::{env, path::Path, process, sync::atomic::AtomicBool};

use bertsd_cuda::{
    Result,
    training::{Observation, Outcome, RunOptions, Training, Watch},
};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, train, dev, out] = &arguments[..] else {
        eprintln!("usage: fine_tune MODEL TRAIN.csv DEV.csv OUT");
        process::exit(2);
    };
    let outcome = fine_tune(model, train.as_ref(), dev.as_ref(), out.as_ref())?;
    println!("the model of step {} is in {}", outcome.exported_step, outcome.model.display());
    Ok(())
}

/// Every option that is not named here is as on the command line.
pub fn fine_tune(model: &str, train: &Path, dev: &Path, out: &Path) -> Result<Outcome> {
    let options =
        RunOptions { dev: vec![dev.into()], epochs: Some(2), lr: 5e-5, ..RunOptions::for_files(model, train, out) };
    let mut show = |observation: Observation<'_>| match observation {
        Observation::Step { event, .. } => println!("step {}: loss {:.4}", event.step, event.loss),
        Observation::Evaluation(event) => println!("step {}: accuracy {:.4}", event.step, event.scores.accuracy),
        Observation::Notice(text) => println!("{text}"),
        _ => {}
    };
    // A signal handler, or another thread, may set it: then the run saves its state and ends.
    let stop = AtomicBool::new(false);
    Training::new(options).run(&mut Watch::new(&stop, &mut show))
}
