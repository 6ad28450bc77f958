//! CUDA C++ compiled by nvcc for sm_80 and sm_90, run with all checks on, against the CPU.

use crate::args;
use crate::common::{Gpu, checked, compile, floats, numbers};

const SIZES: [usize; 7] = [1, 31, 32, 33, 255, 1000, 1025];

/// One test body a program, run for both architectures.
fn each_arch(body: impl Fn(&Gpu)) {
    for arch in ["sm_80", "sm_90"] {
        let gpu = Gpu::new(&compile("basics", arch, &[]), checked());
        body(&gpu);
        assert!(gpu.report().fault.is_none());
    }
}

fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= tolerance * w.abs().max(1.0), "element {i}: {g} instead of {w}");
    }
}

#[test]
fn vector_add() {
    each_arch(|gpu| {
        for n in SIZES {
            let (a, b) = (floats(1, n), floats(2, n));
            let out = gpu.alloc(4 * n);
            let (da, db) = (gpu.upload(&a), gpu.upload(&b));
            gpu.launch("vector_add", n.div_ceil(128) as u32, 128, args![out, da, db, n as i32]);
            let want: Vec<f32> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
            assert_eq!(gpu.download::<f32>(out, n), want);
        }
    });
}

#[test]
fn row_sums() {
    each_arch(|gpu| {
        for n in SIZES {
            let rows = 3;
            let data = floats(3, rows * n);
            let want: Vec<f64> = data.chunks(n).map(|row| row.iter().map(|&x| f64::from(x)).sum()).collect();
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * rows));
            for kernel in ["row_sum_shuffle", "row_sum_shared"] {
                gpu.launch(kernel, rows as u32, 256, args![out, input, n as i32]);
                close(&gpu.download(out, rows), &want, 1e-4);
            }
        }
    });
}

#[test]
fn transpose() {
    each_arch(|gpu| {
        for (rows, columns) in [(1, 1), (33, 31), (64, 32), (5, 100)] {
            let data = floats(4, rows * columns);
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * rows * columns));
            let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
            crate::common::ok(gpu.try_launch(
                "transpose",
                grid,
                [32, 8, 1],
                0,
                args![out, input, rows as i32, columns as i32],
                0,
            ));
            let got = gpu.download::<f32>(out, rows * columns);
            for y in 0..rows {
                for x in 0..columns {
                    assert_eq!(got[x * rows + y], data[y * columns + x]);
                }
            }
        }
    });
}

#[test]
fn scan() {
    each_arch(|gpu| {
        for n in [1, 31, 33, 500, 1024] {
            let mut next = numbers(5);
            let data: Vec<i32> = (0..n).map(|_| next() as i32 >> 16).collect();
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * n));
            gpu.launch("scan", 1, n.next_multiple_of(32) as u32, args![out, input, n as i32]);
            let mut sum = 0i32;
            let want: Vec<i32> = data
                .iter()
                .map(|&x| {
                    sum = sum.wrapping_add(x);
                    sum
                })
                .collect();
            assert_eq!(gpu.download::<i32>(out, n), want);
        }
    });
}

#[test]
fn histogram() {
    each_arch(|gpu| {
        let mut next = numbers(6);
        let data: Vec<u8> = (0..10_007).map(|_| (next() % 97) as u8).collect();
        let (input, bins) = (gpu.upload(&data), gpu.upload(&[0u32; 256]));
        gpu.launch("histogram", 3, 128, args![bins, input, data.len() as i32]);
        let mut want = vec![0u32; 256];
        data.iter().for_each(|&x| want[x as usize] += 1);
        assert_eq!(gpu.download::<u32>(bins, 256), want);
    });
}

#[test]
fn gemm_simt() {
    each_arch(|gpu| {
        for (m, n, k) in [(1, 1, 1), (17, 33, 20), (40, 16, 31)] {
            let (a, b) = (floats(7, m * k), floats(8, k * n));
            let (da, db, c) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc(4 * m * n));
            let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
            crate::common::ok(gpu.try_launch(
                "gemm_simt",
                grid,
                [16, 16, 1],
                0,
                args![c, da, db, m as i32, n as i32, k as i32],
                0,
            ));
            let dot = |i: usize| (0..k).map(|t| f64::from(a[i / n * k + t]) * f64::from(b[t * n + i % n])).sum();
            close(&gpu.download(c, m * n), &(0..m * n).map(dot).collect::<Vec<f64>>(), 1e-5);
        }
    });
}

#[test]
fn softmax_and_layer_norm() {
    each_arch(|gpu| {
        for n in [1, 33, 200] {
            let rows = 5;
            let data = floats(9, rows * n);
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * rows * n));
            crate::common::ok(gpu.try_launch(
                "softmax_online",
                [2, 1, 1],
                [32, 4, 1],
                0,
                args![out, input, rows as i32, n as i32],
                0,
            ));
            let rows_of = |f: &dyn Fn(&[f32]) -> Vec<f64>| data.chunks(n).flat_map(f).collect::<Vec<f64>>();
            let softmax = rows_of(&|row| {
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                row.iter().map(|&x| f64::from(x).exp() / sum).collect()
            });
            close(&gpu.download(out, rows * n), &softmax, 1e-5);
            let (gamma, beta) = (gpu.upload(&vec![1.5f32; n]), gpu.upload(&vec![0.25f32; n]));
            gpu.launch("layer_norm", rows as u32, 32, args![out, input, gamma, beta, n as i32, 1e-5f32]);
            let norm = rows_of(&|row| {
                let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
                let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
                row.iter().map(|&x| (f64::from(x) - mean) / (variance + 1e-5).sqrt() * 1.5 + 0.25).collect()
            });
            close(&gpu.download(out, rows * n), &norm, 1e-4);
        }
    });
}

#[test]
fn philox_matches_its_definition() {
    each_arch(|gpu| {
        let n = 77;
        let out = gpu.alloc(16 * n);
        gpu.launch("philox", 3, 32, args![out, 0x1234_5678, 0x0bad_cafe, n as i32]);
        let got = gpu.download::<u32>(out, 4 * n);
        for i in 0..n {
            let (mut c, mut key) = ([i as u32, 0, 7, 0], [0x1234_5678u32, 0x0bad_cafe]);
            for _ in 0..10 {
                let (p0, p1) = (0xD251_1F53u64 * u64::from(c[0]), 0xCD9E_8D57u64 * u64::from(c[2]));
                c = [(p1 >> 32) as u32 ^ c[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ key[1], p0 as u32];
                key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
            }
            assert_eq!(got[4 * i..4 * i + 4], c);
        }
    });
}

#[test]
fn divergent_loops_with_early_exit() {
    each_arch(|gpu| {
        let (n, cut) = (1000, 100);
        let out = gpu.alloc(4 * n);
        gpu.launch("collatz", 8, 128, args![out, n as i32, cut]);
        let want: Vec<i32> = (1..=n as u64)
            .map(|start| {
                let (mut x, mut steps) = (start, 0);
                while x != 1 && steps < cut {
                    x = if x % 2 == 1 { 3 * x + 1 } else { x / 2 };
                    steps += 1;
                }
                if x == 1 { steps } else { -1 }
            })
            .collect();
        assert_eq!(gpu.download::<i32>(out, n), want);
    });
}

#[test]
fn recursion_and_function_pointers() {
    fn ackermann(m: i32, n: i32) -> i32 {
        if m == 0 { n + 1 } else { ackermann(m - 1, if n == 0 { 1 } else { ackermann(m, n - 1) }) }
    }
    each_arch(|gpu| {
        let out = gpu.alloc(128);
        gpu.launch("recursion", 1, 32, args![out]);
        let want: Vec<i32> = (0..32).map(|i| ackermann(i % 3, i / 8)).collect();
        assert_eq!(gpu.download::<i32>(out, 32), want);
        let which: Vec<i32> = (0..32).map(|i| i * 7 % 3).collect();
        let input = gpu.upload(&which);
        gpu.launch("pointers", 1, 32, args![out, input]);
        let want: Vec<i32> = (0..32)
            .map(|i| match which[i as usize] {
                0 => 2 * i,
                1 => i * i,
                _ => -i,
            })
            .collect();
        assert_eq!(gpu.download::<i32>(out, 32), want);
    });
}

#[test]
fn locks_between_warps_and_between_lanes() {
    each_arch(|gpu| {
        let (lock, sum) = (gpu.upload(&[0i32]), gpu.upload(&[0i32]));
        gpu.launch("spin_lock", 4, 256, args![lock, sum, 10]);
        assert_eq!(gpu.download::<i32>(sum, 1), [4 * 8 * 10]);
        gpu.launch("lane_lock", 1, 32, args![lock, sum]);
        assert_eq!(gpu.download::<i32>(sum, 1), [4 * 8 * 10 + 32]);
    });
}

#[test]
fn a_failed_assertion_is_an_error_with_its_message() {
    let gpu = Gpu::new(&compile("basics", "sm_80", &[]), checked());
    let mut data = [0i32; 64];
    data[40] = 100;
    let input = gpu.upload(&data);
    gpu.launch("asserts", 1, 64, args![input]);
    assert_eq!(gpu.sync(), 710);
    let fault = gpu.report().fault.expect("the fault is reported").to_string();
    assert!(
        fault.contains("basics.cu:42: asserts: Assertion `in[i] < 100` failed") && fault.contains("thread (40,0,0)"),
        "{fault}"
    );
    assert_eq!(gpu.sync(), 710, "a fault is sticky");
}

#[test]
fn syncwarp_joins_both_sides_of_a_branch() {
    each_arch(|gpu| {
        let out = gpu.alloc(128);
        gpu.launch("split_sync", 1, 32, args![out]);
        let want: Vec<i32> = (0..32).map(|i| if i < 16 { (i + 16) * 5 } else { (i - 16) * 3 }).collect();
        assert_eq!(gpu.download::<i32>(out, 32), want);
    });
}

#[test]
fn threads_that_return_early_are_not_missed_by_a_barrier() {
    each_arch(|gpu| {
        for n in [1, 33, 40, 64] {
            let out = gpu.alloc(256);
            gpu.launch("early_return", 1, 64, args![out, n]);
            assert_eq!(gpu.download::<i32>(out, n as usize), (0..n).rev().collect::<Vec<i32>>());
        }
    });
}
