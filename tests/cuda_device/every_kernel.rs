//! The table of kernels against what the tests of this binary launch.

use std::{collections::BTreeSet, env, fs, process::Command};

use bertsd_cuda::device::cuda::IMAGES;
use serde_json::Value;

use super::gpu;

/// Tests that between them launch all of it.
const TESTS: [&str; 14] = [
    "attention::every_head_size_bf16",
    "attention::every_head_size_f32",
    "embedding::forward_and_backward_at_every_tail",
    "head::forward_and_backward_at_every_tail",
    "layer_norm::rows_at_every_tail_of_a_warp",
    "layer_norm::rows_wider_than_a_warp",
    "linear::every_operation_at_every_tail",
    "linear::large_and_medium_tiles",
    "linear::masks_are_those_of_the_cpu_device",
    "linear::projections_of_first_tokens",
    "loss::every_kind_of_loss",
    "optimizer::a_gradient_that_is_not_finite_moves_neither_weights_nor_moments",
    "optimizer::the_norm_is_that_of_the_whole_arena",
    "votes::sums_and_means_are_those_of_the_cpu",
];

/// Runs those tests once more in a process of their own, without the simulator's checks and with its trace of launches.
#[test]
fn every_kernel_is_launched_by_a_test() {
    if gpu::is_there() {
        eprintln!("left out: a GPU keeps no list of launches; the same tests launch the same kernels there");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("launches.jsonl");
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg("--exact").args(TESTS).env("CUDASIM_CHECK", "").env("CUDASIM_TRACE", &trace);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(&format!("{} passed", TESTS.len())), "{text}");
    let launches = fs::read_to_string(&trace).unwrap();
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["kernel"].as_str().unwrap().to_owned();
    let launched: BTreeSet<String> = launches.lines().map(name).collect();
    let kernels: BTreeSet<String> =
        IMAGES.iter().flat_map(|image| image.kernels).map(|&kernel| kernel.to_owned()).collect();
    let missing: Vec<_> = kernels.difference(&launched).collect();
    assert!(missing.is_empty(), "no test launches {missing:?}");
    assert!(kernels.len() > 150, "{} kernels", kernels.len());
    eprintln!("{} kernels in {} launches", kernels.len(), launches.lines().count());
}
