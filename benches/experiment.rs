//! What a cell of an experiment costs beside its steps: loading weights, allocating, scoring 64 + 64 sentences, writing
//! its row. The bound is 1.5 s on a processor.
//!
//! Needs the demo's model in target/demo-model (scripts/fetch-demo-model.sh).

use std::{fs, path::Path, sync::atomic::AtomicBool, time::Duration};

use bertsd_cuda::experiment::{ExperimentFile, News, Store, Worker};
use criterion::{Criterion, criterion_group, criterion_main};

/// The first rows of a table of the demo.
const ROWS: usize = 64;

fn cell(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("target/demo-model");
    if !model.is_dir() {
        eprintln!("experiment: left out, {} is not there; run scripts/fetch-demo-model.sh first", model.display());
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let table = fs::read_to_string(root.join("data/movie-reviews/dev.csv")).expect("the demo's sentences");
    let rows: String = table.lines().take(1 + ROWS).map(|line| format!("{line}\n")).collect();
    let data = home.path().join("rows.csv");
    fs::write(&data, rows).expect("a table");
    let mut group = c.benchmark_group("experiment");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    let mut count = 0;
    group.bench_function("cell-beside-its-steps", |b| {
        b.iter_custom(|cells| {
            count += 1;
            let seeds: Vec<String> = (0..cells).map(|seed| seed.to_string()).collect();
            let (data, model, seeds) = (data.display(), model.display(), seeds.join(","));
            let text = format!(
                "[options]\nmodel = '{model}'\ntrain = '{data}'\ndev = '{data}'\ntest = '{data}'\nmax-steps = 4\n\
                 token-cache = 'none'\ndevice = 'cpu'\n[grid]\nseed = [{seeds}]\n"
            );
            let path = home.path().join("experiment.toml");
            fs::write(&path, text).expect("an experiment");
            let file = ExperimentFile::read(&path).expect("an experiment");
            let cells = file.cells().expect("cells");
            let store = Store::create(&home.path().join(format!("out-{count}")), &path).expect("a directory");
            let mut beside = 0.0;
            let mut worker = Worker::new(&store, &cells, None);
            let told = worker.work(&AtomicBool::new(false), &mut |news| {
                if let News::Done(_, row) = news {
                    beside += row.seconds - row.step_seconds;
                }
            });
            told.expect("every cell is run");
            Duration::from_secs_f64(beside)
        });
    });
    group.finish();
}

criterion_group!(benches, cell);
criterion_main!(benches);
