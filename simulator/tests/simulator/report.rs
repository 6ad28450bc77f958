//! `cudasim-report`: a trace as a table.

use std::path::Path;
use std::process::Command;

use cudasim::driver::settings::Settings;

use crate::args;
use crate::common::{Gpu, compile};

/// What the program prints, and whether it succeeded.
fn report(trace: &Path, arguments: &[&str]) -> (bool, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_cudasim-report")).arg(trace).args(arguments).output();
    let run = run.expect("it starts");
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.success(), text)
}

/// One row for each kernel, one column for each profile, with the floor and what sets it.
#[test]
fn a_trace_becomes_a_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.jsonl");
    let settings = Settings { trace: Some(trace.clone()), ..Settings::default() };
    let gpu = Gpu::new(&compile("basics", "sm_80", &[]), settings);
    let n = 1000;
    let buffers = [gpu.alloc(4 * n), gpu.upload(&vec![1f32; n]), gpu.upload(&vec![2f32; n])];
    gpu.launch("vector_add", 8, 128, args![buffers[0], buffers[1], buffers[2], n as i32]);
    assert_eq!(gpu.sync(), 0);
    let (good, table) = report(&trace, &[]);
    let row = table.lines().find(|line| line.starts_with("vector_add")).unwrap_or_default().to_owned();
    assert!(
        good && ["h100", "h200", "a100", "l40s", "b200", "v100"].iter().all(|profile| table.contains(profile)),
        "{table}"
    );
    assert_eq!(row.matches("memory").count(), 6, "12 KB bind every profile by memory: {row}");
    assert!(table.contains("estimate"), "{table}");
    let (_, one) = report(&trace, &["a100"]);
    assert!(one.lines().next().is_some_and(|head| head.contains("a100") && !head.contains("h100")));
    let (good, message) = report(&trace, &["p100"]);
    assert!(!good && message.contains("p100"), "{message}");
}
