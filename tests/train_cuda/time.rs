//! How long a step of a real model takes on the simulator: what makes tests and trials without a GPU possible at all.
//! It takes 5 s on two free cores; the limit leaves room for the tests beside it.

use std::fs;

use bertsd_cuda::model::BertConfig;
use serde_json::Value;

use crate::{
    cuda_runs::{bert, on_cuda, write_model},
    runs::{Rng, Toy, succeed},
};

/// Sequences of a batch, and tokens of each.
const BATCH: (usize, usize) = (16, 32);
const MOST_SECONDS: f64 = 30.0;

#[test]
fn a_step_of_minilm_takes_less_than_half_a_minute() {
    let toy = Toy::new();
    // The shape of all-MiniLM-L6: time does not depend on the weights.
    let minilm = BertConfig { intermediate_size: 1536, ..bert(6, 12, 32, 30_522) };
    write_model(&toy.path("bert"), minilm, ["neg", "pos"], (0..30_000).map(|i| format!("w{i}")));
    let mut rng = Rng(7);
    let mut text = || (0..BATCH.1).map(|_| format!("w{}", rng.below(30_000))).collect::<Vec<_>>().join(" ");
    let rows: String = (0..BATCH.0 * 2).map(|i| format!("{},{}\n", text(), ["neg", "pos"][i % 2])).collect();
    toy.write("train.csv", &format!("text,label\n{rows}"));
    let options = format!("--model bert --max-steps 2 --batch-size {} --max-length {} --out run", BATCH.0, BATCH.1);
    succeed(on_cuda(toy.start(&options)).env("CUDASIM_CHECK", ""));
    let metrics = fs::read_to_string(toy.path("run/metrics.jsonl")).unwrap();
    let events = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rates: Vec<f64> =
        events.filter(|event| event["event"] == "step").map(|step| step["tokens_per_s"].as_f64().unwrap()).collect();
    assert_eq!(rates.len(), 2);
    for rate in rates {
        let seconds = (BATCH.0 * BATCH.1) as f64 / rate;
        eprintln!("a step took {seconds:.1} s");
        assert!(seconds < MOST_SECONDS, "{seconds} s");
    }
}
