//! Speed of four kernels: fused multiply-adds, a bf16 product on tensor cores, an optimizer's stream through memory,
//! random numbers; each with one worker, with two, and with one and all checks. Needs nvcc, like the tests.
//!
//! Traffic is not counted, as for a program without `CUDASIM_TRACE`; instructions always are. After the figures come
//! two ratios of each kernel. What the checks cost is compared in processor time, which a busy machine does not change,
//! and must be at most [`CHECKS_COST`]. What a second worker gains is time on the clock, and must be at least
//! [`TWO_WORKERS`] where the machine was idle when the bench began.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Gpu, compile};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cudasim::checks::Checks;
use cudasim::driver::settings::Settings;

const CHECKS_COST: f64 = 3.0;
const TWO_WORKERS: f64 = 1.8;
/// Load average below which a machine is idle.
const IDLE: f64 = 0.5;
/// Pairs of runs of which the best counts.
const PAIRS: usize = 7;

const THREADS: u32 = 256;
/// Rounds of 64 fused multiply-adds.
const ROUNDS: i32 = 1000;
/// Rows, columns and depth of the product.
const SIZE: usize = 512;
/// Elements of each of the optimizer's four arrays.
const ELEMENTS: usize = 1 << 20;
/// Random numbers, four a thread.
const NUMBERS: usize = 1 << 20;

/// A kernel, ready to run, and its memory.
struct Ready<'g> {
    buffers: Vec<u64>,
    run: Box<dyn Fn() + 'g>,
}

impl<'g> Ready<'g> {
    fn new<const N: usize>(buffers: [u64; N], run: impl Fn([u64; N]) + 'g) -> Self {
        Self { buffers: buffers.to_vec(), run: Box::new(move || run(buffers)) }
    }
}

struct Workload {
    name: &'static str,
    source: &'static str,
    /// What one run does, in the unit that the name says.
    work: Throughput,
    prepare: fn(&Gpu) -> Ready<'_>,
}

/// The multiply-adds alone are counted as thread instructions, not the loop around them.
const WORKLOADS: [Workload; 4] = [
    Workload {
        name: "ffma thread instructions",
        source: "tensor",
        work: Throughput::Elements(64 * ROUNDS as u64 * 8 * THREADS as u64),
        prepare: ffma,
    },
    Workload {
        name: "gemm bf16 flop",
        source: "tensor",
        work: Throughput::Elements(2 * (SIZE * SIZE * SIZE) as u64),
        prepare: gemm,
    },
    Workload {
        name: "adamw bytes",
        source: "streaming",
        work: Throughput::BytesDecimal(7 * 4 * ELEMENTS as u64),
        prepare: adamw,
    },
    Workload { name: "philox numbers", source: "basics", work: Throughput::Elements(NUMBERS as u64), prepare: philox },
];

fn ffma(gpu: &Gpu) -> Ready<'_> {
    let buffers = [gpu.alloc(4 * 8 * THREADS as usize)];
    Ready::new(buffers, |[out]| gpu.launch("ffma_chains", 8, THREADS, args![out, 0.999f32, 0.5f32, ROUNDS]))
}

fn gemm(gpu: &Gpu) -> Ready<'_> {
    let ones = vec![0x3f80u16; SIZE * SIZE];
    let (grid, n) = ([SIZE as u32 / 64, SIZE as u32 / 64, 1], SIZE as i32);
    Ready::new([gpu.alloc(4 * SIZE * SIZE), gpu.upload(&ones), gpu.upload(&ones)], move |[out, a, b]| {
        common::ok(gpu.try_launch("gemm_bf16", grid, [128, 1, 1], 0, args![out, a, b, n, n], 0));
    })
}

fn adamw(gpu: &Gpu) -> Ready<'_> {
    let packs = ELEMENTS as u32 / 4;
    Ready::new([(); 4].map(|()| gpu.upload(&vec![0.5f32; ELEMENTS])), move |[theta, m, v, g]| {
        let args = args![theta, m, v, g, packs as i32, 1e-3f32, 0.01f32];
        gpu.launch("adamw", packs / THREADS, THREADS, args);
    })
}

fn philox(gpu: &Gpu) -> Ready<'_> {
    let n = NUMBERS as u32 / 4;
    Ready::new([gpu.alloc(4 * NUMBERS)], move |[out]| {
        gpu.launch("philox", n / THREADS, THREADS, args![out, 1, 2, n as i32]);
    })
}

/// Runs `body` with the kernel under these settings.
fn with_kernel(workload: &Workload, settings: Settings, body: impl FnOnce(&dyn Fn())) {
    let gpu = Gpu::new(&compile(workload.source, "sm_80", &[]), settings);
    cudasim::driver::count_traffic(false);
    let Ready { buffers, run } = (workload.prepare)(&gpu);
    body(&|| {
        run();
        common::ok(gpu.sync());
    });
    drop(run);
    buffers.into_iter().for_each(|buffer| gpu.free(buffer));
}

fn one_worker() -> Settings {
    Settings { threads: 1, ..Settings::default() }
}

fn speed(c: &mut Criterion) {
    let load = load_average();
    for workload in &WORKLOADS {
        let mut group = c.benchmark_group(workload.name);
        group.sample_size(10).throughput(workload.work.clone());
        let settings = [
            ("1 worker", one_worker()),
            ("2 workers", Settings { threads: 2, ..one_worker() }),
            ("1 worker, all checks", Settings { checks: Checks::ALL, ..one_worker() }),
        ];
        for (name, settings) in settings {
            with_kernel(workload, settings, |run| {
                group.bench_function(name, |bench| bench.iter(run));
            });
        }
        group.finish();
    }
    WORKLOADS.iter().for_each(|workload| ratios(workload, load));
}

fn ratios(workload: &Workload, load: f64) {
    let best = |settings: Settings, clock: fn() -> Duration| {
        let mut best = Duration::MAX;
        with_kernel(workload, settings, |run| {
            run();
            for _ in 0..PAIRS {
                let start = clock();
                run();
                best = best.min(clock() - start);
            }
        });
        best.as_secs_f64()
    };
    let checks =
        best(Settings { checks: Checks::ALL, ..one_worker() }, processor_time) / best(one_worker(), processor_time);
    let workers = best(one_worker(), wall_time) / best(Settings { threads: 2, ..one_worker() }, wall_time);
    println!("{}: all checks cost {checks:.2}x, two workers gain {workers:.2}x", workload.name);
    assert!(checks <= CHECKS_COST, "{}: all checks cost {checks:.2}x", workload.name);
    if load < IDLE {
        assert!(workers >= TWO_WORKERS, "{}: two workers gain {workers:.2}x", workload.name);
    }
}

fn wall_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which `time` is.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(code, 0, "the process has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processes that wanted to run in the last minute; infinite where the system does not say.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(f64::INFINITY)
}

criterion_group!(benches, speed);
criterion_main!(benches);
