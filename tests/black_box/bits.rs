//! The bits of seeded runs, dropout on, of every method: losses, gradient norms, scores and final weights, as sha256
//! values that tests/black_box/bits/recorded.json holds. A change that moves a bit on purpose records them anew, with
//! `BERTSD_RECORD_BITS=1`, and says so.
//!
//! What the processor computes depends on its vector instructions (the length of a vector is the order of a sum) and on
//! the number of threads, which is fixed here. An instruction set without recorded values is compared with itself.

use std::{collections::BTreeMap, fs, path::Path};

use sha2::{Digest, Sha256};

use crate::runs::{Run, Toy, succeed};

const OPTIONS: &str = "--dev dev.csv --test test.csv --threads 2 --seed 5";

/// Every way to teach, and every option that changes what a step computes.
const RUNS: [&str; 15] = [
    "--method ft",
    "--method ft --recompute none --label-smoothing 0.1 --class-weights balanced",
    "--method ft --recompute layer --grad-accum 3 --layer-decay 0.9 --clip 0.5",
    "--method ft --max-tokens 24 --clip 0",
    "--method se",
    "--method se --average-from 5",
    "--method sda --teacher window:1",
    "--method sda --teacher window:3",
    "--method sda --teacher window:3 --average --evaluate student,teacher,average --teacher-dropout off",
    "--method sda --teacher all --grad-accum 2",
    "--method sda --teacher all --evaluate teacher",
    "--method sda --teacher ema:0.9 --lambda 0.5 --distill kl --temperature 2",
    "--method sdv --teacher window:3",
    "--method sdv --teacher window:3 --grad-accum 2",
    "--method sdv --teacher window:3 --sdv-mode stored",
];

#[test]
fn runs_on_the_processor_have_the_recorded_bits() {
    let toy = Toy::new();
    compare(instruction_set(), |options| toy.run("run", &format!("{OPTIONS} --epochs 2 {options} --overwrite")));
}

#[test]
fn float32_runs_on_a_cuda_device_have_the_recorded_bits() {
    on_cuda("f32");
}

#[test]
fn bf16_runs_on_a_cuda_device_have_the_recorded_bits() {
    on_cuda("bf16");
}

/// On the simulator, whatever the machine has: a GPU adds the products of a tile in another order.
fn on_cuda(precision: &str) {
    let toy = Toy::new();
    compare(precision, |options| {
        let options = format!("{OPTIONS} --device cuda --precision {precision} --max-steps 5 {options}");
        succeed(toy.start(&format!("{options} --out run --overwrite")).env("CUDASIM", "1"));
        toy.result("run")
    });
}

/// What decides the order of the processor's sums.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    std::env::consts::ARCH
}

fn compare(device: &str, run: impl Fn(&str) -> Run) {
    let found: BTreeMap<String, String> = RUNS.iter().map(|&name| (name.to_owned(), sha256(&run(name)))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/black_box/bits/recorded.json");
    let mut recorded: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    if std::env::var_os("BERTSD_RECORD_BITS").is_some() {
        recorded.insert(device.to_owned(), found);
        fs::write(&path, serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
        return;
    }
    let expected = recorded.remove(device).unwrap_or_else(|| {
        eprintln!("no values are recorded for {device}: each run is compared with a second one");
        RUNS.iter().map(|&name| (name.to_owned(), sha256(&run(name)))).collect()
    });
    for name in RUNS {
        assert_eq!(found[name], expected[name], "{device}: {name}");
    }
}

/// Of the weights and of each line of metrics.
fn sha256(run: &Run) -> String {
    let mut hash = Sha256::new();
    hash.update(&run.weights);
    for event in &run.metrics {
        hash.update(event.to_string());
        hash.update("\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
