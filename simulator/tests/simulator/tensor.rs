//! Asynchronous copies, matrix instructions and mbarriers in whole kernels.

use crate::args;
use crate::common::{ARCHITECTURES, Gpu, checked, compile, floats, numbers};
use half::bf16;

fn gemm(arch: &str, (m, n, k): (usize, usize, usize)) {
    let gpu = Gpu::new(&compile("tensor", arch, &[]), checked());
    let round = |v: Vec<f32>| v.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (round(floats(1, m * k)), round(floats(2, n * k)));
    let bits = |v: &[bf16]| v.iter().map(|x| x.to_bits()).collect::<Vec<u16>>();
    let (da, db, c) = (gpu.upload(&bits(&a)), gpu.upload(&bits(&b)), gpu.alloc(4 * m * n));
    let grid = [n as u32 / 64, m as u32 / 64, 1];
    crate::common::ok(gpu.try_launch("gemm_bf16", grid, [128, 1, 1], 0, args![c, da, db, n as i32, k as i32], 0));
    check(&gpu.download::<f32>(c, m * n), &a, &b, (n, k));
}

fn check(got: &[f32], a: &[bf16], b: &[bf16], (n, k): (usize, usize)) {
    for i in 0..got.len() {
        // Products of bf16 are exact; k of them summed in f32 are off by at most k roundings of the sum of magnitudes.
        let terms = (0..k).map(|t| a[i / n * k + t].to_f64() * b[i % n * k + t].to_f64());
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()));
        assert!(
            (f64::from(got[i]) - sum).abs() <= size * f64::from(f32::EPSILON) * k as f64,
            "{i}: {} for {sum}",
            got[i]
        );
    }
}

/// Sizes about the tile's 64 rows and columns and 32 terms: one less, the same, one more, and far from any.
#[test]
fn gemm_bf16_at_awkward_sizes() {
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("tails", arch, &[]), checked());
        for (m, n, k) in [(1, 1, 8), (63, 65, 40), (64, 64, 32), (65, 1, 136), (33, 130, 24), (7, 200, 72)] {
            let round = |v: Vec<f32>| v.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
            let (a, b) = (round(floats(1, m * k)), round(floats(2, n * k)));
            let bits = |v: &[bf16]| v.iter().map(|x| x.to_bits()).collect::<Vec<u16>>();
            let (da, db, c) = (gpu.upload(&bits(&a)), gpu.upload(&bits(&b)), gpu.alloc(4 * m * n));
            let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1];
            let sizes = args![c, da, db, m as i32, n as i32, k as i32];
            crate::common::ok(gpu.try_launch("gemm_bf16_tails", grid, [128, 1, 1], 0, sizes, 0));
            check(&gpu.download::<f32>(c, m * n), &a, &b, (n, k));
        }
    }
}

#[test]
fn gemm_bf16_with_cp_async_ldmatrix_mma() {
    gemm("sm_80", (64, 64, 32));
    gemm("sm_80", (128, 192, 160));
    gemm("sm_90", (64, 128, 96));
}

#[test]
fn producer_and_consumer_with_mbarriers() {
    for arch in ["sm_80", "sm_90"] {
        let gpu = Gpu::new(&compile("tensor", arch, &[]), checked());
        for n in [1usize, 2, 3, 17] {
            let mut next = numbers(3);
            let data: Vec<i32> = (0..32 * n).map(|_| next() as i32 >> 8).collect();
            let (input, out) = (gpu.upload(&data), gpu.alloc(128 * n));
            gpu.launch("producer_consumer", 1, 64, args![out, input, n as i32]);
            let want: Vec<i32> = (0..32 * n).map(|i| data[i / 32 * 32 + 31 - i % 32] * 2 + 1).collect();
            assert_eq!(gpu.download::<i32>(out, 32 * n), want);
        }
    }
}
