//! Speed: thread instructions a second of an FFMA loop, FLOP a second of a bf16 matrix product; with one worker and two,
//! without checks and with all. Needs nvcc, like the tests.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Gpu, compile};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cuda::checks::Checks;
use cuda::driver::settings::Settings;

const ROUNDS: i32 = 2000;
const BLOCKS: u32 = 8;
const THREADS: u32 = 256;
const SIZE: usize = 256;

fn settings() -> [(&'static str, Settings); 3] {
    let base = Settings { threads: 1, ..Settings::default() };
    [
        ("1 worker", base.clone()),
        ("2 workers", Settings { threads: 2, ..base.clone() }),
        ("1 worker, all checks", Settings { checks: Checks::ALL, ..base }),
    ]
}

fn speed(c: &mut Criterion) {
    let ptx = compile("tensor", "sm_80", &[]);
    let mut group = c.benchmark_group("ffma thread instructions");
    group.sample_size(10);
    for (name, settings) in settings() {
        let gpu = Gpu::new(&ptx, settings);
        cuda::driver::count_traffic(false);
        // 64 fused multiply-adds a round and thread; the loop's own instructions are not counted.
        group.throughput(Throughput::Elements(64 * ROUNDS as u64 * u64::from(BLOCKS * THREADS)));
        let out = gpu.alloc((4 * BLOCKS * THREADS) as usize);
        group.bench_function(name, |b| {
            b.iter(|| {
                gpu.launch("ffma_chains", BLOCKS, THREADS, args![out, 0.999f32, 0.5f32, ROUNDS]);
                common::ok(gpu.sync());
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("gemm bf16 flop");
    group.sample_size(10);
    for (name, settings) in settings() {
        let gpu = Gpu::new(&ptx, settings);
        cuda::driver::count_traffic(false);
        group.throughput(Throughput::Elements(2 * (SIZE * SIZE * SIZE) as u64));
        let (a, b) = (gpu.upload(&vec![0x3f80u16; SIZE * SIZE]), gpu.upload(&vec![0x3f80u16; SIZE * SIZE]));
        let out = gpu.alloc(4 * SIZE * SIZE);
        let (n, k) = (SIZE as i32, SIZE as i32);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let grid = [SIZE as u32 / 64, SIZE as u32 / 64, 1];
                common::ok(gpu.try_launch("gemm_bf16", grid, [128, 1, 1], 0, args![out, a, b, n, k], 0));
                common::ok(gpu.sync());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, speed);
criterion_main!(benches);
