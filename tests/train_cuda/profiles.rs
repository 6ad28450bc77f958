//! Training on each GPU that the simulator can present itself as: what differs between them is how much shared memory a
//! block may have (99 KB on an L40S), how many multiprocessors there are, and which code of the binary the driver
//! takes.

use crate::{
    cuda_runs::{bert, losses, on_cuda, write_model},
    gpu,
    runs::{Toy, stderr, succeed},
};

/// float32 as in the other comparisons of whole runs; bf16 rounds every activation to 8 bits, which moves a loss by
/// some of its 1/256.
const PRECISIONS: [(&str, f64); 2] = [("f32", 1e-3), ("bf16", 0.02)];

#[test]
fn every_gpu_trains_as_the_processor_does() {
    if gpu::is_there() {
        eprintln!("left out: the GPU of this machine is what it is");
        return;
    }
    let toy = Toy::new();
    // Heads of 128: the kernels that want the most shared memory.
    write_model(&toy.path("bert"), bert(2, 1, 128, 256), ["neg", "pos"], (0..200).map(|i| format!("w{i}")));
    let options = "--model bert --max-steps 3 --method sda --teacher window:2";
    let cpu = losses(&toy.run("cpu", options));
    assert_eq!(cpu.len(), 3);
    for (profile, name) in [("a100", "A100"), ("l40s", "L40S"), ("b200", "B200")] {
        for (precision, tolerance) in PRECISIONS {
            let mut command = on_cuda(toy.start(&format!("{options} --precision {precision} --out run --overwrite")));
            let output = stderr(&succeed(command.env("CUDASIM_PROFILE", profile)));
            let device = output.lines().find(|line| line.starts_with("device")).unwrap();
            assert!(device.contains(name), "{device}");
            assert!(!output.contains("cudasim: "), "the simulator's checks have nothing to say: {output}");
            let gpu = losses(&toy.result("run"));
            for (t, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
                assert!((a - b).abs() <= tolerance * a, "{profile} {precision}, step {t}: {a} on the processor, {b}");
            }
            eprintln!("{device}, {precision}: {gpu:?}, {cpu:?} on the processor");
        }
    }
}
