//! Counters against numbers worked out by hand.

use crate::args;
use crate::common::{Gpu, compile};
use cuda::counters::Totals;
use cuda::driver::settings::Settings;

fn count(kernel: &str, args: impl Fn(&Gpu) -> Vec<crate::common::Arg>) -> Totals {
    let gpu = Gpu::new(&compile("access", "sm_80", &[]), Settings::default());
    let args = args(&gpu);
    gpu.launch(kernel, 1, 32, &args);
    crate::common::ok(gpu.sync());
    gpu.report().launches.last().expect("a launch was counted").totals.clone()
}

fn buffers(gpu: &Gpu) -> Vec<crate::common::Arg> {
    vec![gpu.alloc(4096).into(), gpu.upload(&[1.0f32; 1024]).into()]
}

#[test]
fn coalesced_is_four_sectors() {
    let t = count("coalesced", buffers);
    assert_eq!((t.global_load_requests, t.global_load_sectors, t.global_load_bytes), (1, 4, 128));
    assert_eq!((t.global_store_requests, t.global_store_sectors, t.global_store_bytes), (1, 4, 128));
    assert_eq!((t.distinct_sectors, t.l2_bytes), (8, 256));
}

#[test]
fn a_stride_of_a_sector_is_a_sector_a_lane() {
    let t = count("strided", buffers);
    assert_eq!((t.global_load_sectors, t.global_load_bytes, t.distinct_sectors), (32, 128, 36));
}

#[test]
fn a_broadcast_is_one_sector() {
    let t = count("broadcast", buffers);
    assert_eq!((t.global_load_requests, t.global_load_sectors, t.global_load_bytes), (1, 1, 128));
}

#[test]
fn vectors_are_sixteen_sectors() {
    let t = count("vectors", buffers);
    assert_eq!((t.global_load_requests, t.global_load_sectors, t.global_store_sectors), (1, 16, 16));
}

#[test]
fn bank_conflicts() {
    // Lanes `stride` words apart fall on 32 / gcd(stride, 32) banks.
    for (stride, wavefronts) in [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (17, 1), (32, 32), (0, 1)] {
        let t = count("banks", |gpu| vec![gpu.alloc(4096).into(), stride.into()]);
        assert_eq!(
            (t.shared_requests, t.shared_wavefronts, t.shared_ideal_wavefronts),
            (2, 2 * wavefronts, 2),
            "{stride}"
        );
        assert_eq!(t.barriers, 1);
    }
}

#[test]
fn divergence_and_operations() {
    let t = count("half_warp", |gpu| vec![gpu.alloc(128).into(), 2.0f32.into()]);
    assert_eq!(t.fp32_flops, 16 * 2);
    assert!(t.thread_instructions < 32 * t.warp_instructions);
    assert_eq!((t.global_store_requests, t.global_store_sectors), (1, 2));
}

#[test]
fn every_run_counts_the_same() {
    let run = |threads: usize| {
        let gpu = Gpu::new(&compile("tensor", "sm_80", &[]), Settings { threads, ..Settings::default() });
        let (a, b) = (gpu.upload(&[0x3f80u16; 256 * 64]), gpu.upload(&[0x3f80u16; 256 * 64]));
        let c = gpu.alloc(4 * 256 * 256);
        crate::common::ok(gpu.try_launch("gemm_bf16", [4, 4, 1], [128, 1, 1], 0, args![c, a, b, 256, 64], 0));
        crate::common::ok(gpu.sync());
        gpu.report().launches[0].totals.clone()
    };
    let one = run(1);
    assert_eq!(one, run(3));
    // 256·256·64 products, two operations each; swizzled tiles have no conflicts.
    assert_eq!(one.tensor_flops, 2 * 256 * 256 * 64);
    assert_eq!(one.tensor_operations * 2 * 16 * 8 * 16, one.tensor_flops);
    assert_eq!(one.shared_wavefronts, one.shared_ideal_wavefronts);
    // Compulsory traffic: both inputs once, the output once.
    assert_eq!(one.distinct_sectors * 32, (2 * 256 * 64 * 2 + 4 * 256 * 256) as u64);
}
