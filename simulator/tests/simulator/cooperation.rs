//! Threads that work together: cooperative groups, pipelines and barriers of the library, atomics.

use half::{bf16, f16};

use crate::args;
use crate::common::{ARCHITECTURES, Gpu, checked, compile, floats, numbers, ok};

fn each_arch(name: &str, body: impl Fn(&Gpu)) {
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile(name, arch, &[]), checked());
        body(&gpu);
        assert!(gpu.report().fault.is_none());
    }
}

fn small_numbers(seed: u64, count: usize) -> Vec<i32> {
    let mut next = numbers(seed);
    (0..count).map(|_| (next() % 100) as i32).collect()
}

/// The results of `tiles` for thread `i` of the warp that holds `warp`.
fn tile_results(warp: &[i32], i: usize) -> Vec<i32> {
    let x = warp[i];
    let eight = &warp[i / 8 * 8..][..8];
    let four = &warp[i / 4 * 4..][..4];
    let within = i % 8;
    let mask =
        |f: &dyn Fn(i32) -> bool| warp.iter().enumerate().fold(0u32, |m, (k, &v)| m | u32::from(f(v)) << k) as i32;
    let most = *warp.iter().max().unwrap_or(&0);
    let wide = i64::from(most) << 33;
    let mut out = vec![
        warp.iter().sum(),
        *eight.iter().min().unwrap_or(&0),
        four.iter().fold(0, |a, b| a ^ b),
        eight[..=within].iter().sum(),
        warp[..i].iter().sum(),
        eight[within ^ 3],
        eight[2],
        mask(&|v| v & 1 == 1),
        i32::from(eight.iter().any(|&v| v > 50)),
        mask(&|v| v & 3 == x & 3),
        (i / 8 * 100 + within) as i32,
        warp.iter().sum(),
        (wide as i32) + (wide >> 33) as i32,
    ];
    let thirds: Vec<usize> = (0..warp.len()).filter(|&k| warp[k] % 3 == 0).collect();
    if x % 3 == 0 {
        let rank = thirds.iter().position(|&k| k == i).unwrap_or(0);
        out.push((thirds.len() * 100 + rank) as i32);
        out.push(thirds.iter().map(|&k| warp[k]).sum());
        out.push(warp[thirds[0]]);
    } else {
        let like: Vec<i32> = warp.iter().copied().filter(|v| v % 3 != 0 && v & 1 == x & 1).collect();
        out.extend([like.len() as i32, like.iter().sum(), -1]);
    }
    out
}

#[test]
fn tiles_of_cooperative_groups() {
    for n in [128usize, 100, 1] {
        let mut data = small_numbers(5, n);
        each_arch("groups", |gpu| {
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * 16 * 128));
            gpu.launch("tiles", 2, 64, args![out, input, n as i32]);
            let mut padded = data.clone();
            padded.resize(128, 0);
            for (i, got) in gpu.download::<i32>(out, 16 * 128).chunks(16).enumerate() {
                assert_eq!(got, tile_results(&padded[i / 32 * 32..][..32], i % 32), "thread {i} of {n}");
            }
        });
        data.clear();
    }
}

#[test]
fn a_whole_grid_waits_for_itself() {
    each_arch("groups", |gpu| {
        for (blocks, threads, rounds) in [(1u32, 32u32, 3usize), (7, 33, 5), (40, 64, 4)] {
            let size = (blocks * threads) as usize;
            let mut want: Vec<i32> = (0..size as i32).map(|i| i * 10).collect();
            let data = gpu.upload(&want);
            ok(gpu.cooperative("whole_grid", blocks, threads, args![data, rounds as i32]));
            for _ in 0..rounds {
                want = (0..size).map(|t| want[(t + 1) % size] + 1).collect();
            }
            assert_eq!(gpu.download::<i32>(data, size), want);
        }
        // More blocks than can be there at once cannot wait for each other: 132 multiprocessors hold 32 blocks each.
        let data = gpu.alloc(4 * 32 * 5000);
        assert_eq!(gpu.cooperative("whole_grid", 132 * 32 + 1, 32, args![data, 1]), 720);
    });
    // An ordinary launch has no grid to wait for.
    let gpu = Gpu::new(&compile("groups", "sm_80", &[]), checked());
    let data = gpu.upload(&[0i32; 32]);
    gpu.launch("whole_grid", 1, 32, args![data, 1]);
    assert_ne!(gpu.sync(), 0);
}

#[test]
fn copies_by_a_group() {
    each_arch("groups", |gpu| {
        for n in [1usize, 31, 128, 1000] {
            let data = small_numbers(11, n);
            let (input, out) = (gpu.upload(&data), gpu.alloc(4 * n));
            let bytes = 4 * n as u32;
            ok(gpu.try_launch("reversed_copy", [1, 1, 1], [64, 1, 1], bytes, args![out, input, n as i32], 0));
            assert_eq!(gpu.download::<i32>(out, n), data.iter().rev().copied().collect::<Vec<i32>>());
        }
    });
}

#[test]
fn warp_and_block_primitives() {
    let data = small_numbers(13, 64);
    each_arch("groups", |gpu| {
        let (input, out) = (gpu.upload(&data), gpu.alloc(4 * 16 * 64));
        gpu.launch("primitives", 1, 64, args![out, input]);
        let odd_in_block = data.iter().filter(|&&x| x & 1 == 1).count() as i32;
        for (t, got) in gpu.download::<i32>(out, 16 * 64).chunks(16).enumerate() {
            let (warp, i, x) = (&data[t / 32 * 32..][..32], t % 32, data[t]);
            let mask = |f: &dyn Fn(i32) -> bool| {
                warp.iter().enumerate().fold(0u32, |m, (k, &v)| m | u32::from(f(v)) << k) as i32
            };
            let odd: Vec<i32> = warp.iter().copied().filter(|v| v & 1 == 1).collect();
            let want = [
                warp[5],
                if i % 16 >= 3 { warp[i - 3] } else { x },
                if i % 8 < 5 { warp[i + 3] } else { x },
                warp[i ^ 7],
                mask(&|v| v & 1 == 1),
                mask(&|v| v & 3 == x & 3),
                1,
                warp.iter().sum(),
                *warp.iter().max().unwrap_or(&0),
                warp.iter().fold(0, |a, b| a ^ b),
                odd_in_block,
                i32::from(odd_in_block == 64),
                i32::from(odd_in_block > 0),
                if x & 1 == 1 { odd.len() as i32 } else { 0 },
                if x & 1 == 1 { odd[0] } else { 0 },
                if i < 30 { warp[i + 2] } else { x },
            ];
            assert_eq!(got, want, "thread {t}");
        }
    });
}

#[test]
fn pipelines_and_barriers_of_the_library() {
    each_arch("asynchronous", |gpu| {
        let data = floats(17, 128 * 9);
        let (input, out) = (gpu.upload(&data), gpu.alloc(512));
        for tiles in [1usize, 2, 3, 9] {
            gpu.launch("block_pipeline", 1, 128, args![out, input, tiles as i32]);
            let want = |t: usize| (0..tiles).fold(0f32, |sum, tile| sum + data[tile * 128 + 127 - t]);
            assert_eq!(gpu.download::<f32>(out, 128), (0..128).map(want).collect::<Vec<f32>>());
        }
        gpu.launch("thread_pipeline", 1, 128, args![out, input]);
        assert_eq!(gpu.download::<f32>(out, 128), (0..128).map(|t| data[4 * t + 3]).collect::<Vec<f32>>());
        gpu.launch("pipeline_primitives", 1, 128, args![out, input]);
        assert_eq!(gpu.download::<f32>(out, 128), (0..128).map(|t| data[127 - t]).collect::<Vec<f32>>());
        for threads in [32usize, 65, 128] {
            gpu.launch("barriers", 1, threads as u32, args![out, 6]);
            let mut want: Vec<i32> = (0..threads as i32).collect();
            for _ in 0..6 {
                want = (0..threads).map(|t| want[t] + want[(t + 1) % threads]).collect();
            }
            assert_eq!(gpu.download::<i32>(out, threads), want);
        }
    });
}

#[test]
fn atomics_of_integers() {
    each_arch("atomics", |gpu| {
        let (blocks, threads) = (3, 70);
        let all: Vec<i32> = (0..blocks * threads).collect();
        let count = all.len() as i32;
        let i = gpu.upload(&[0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0]);
        let u = gpu.upload(&[0u32, 0, 1]);
        let l = gpu.upload(&[0u64; 4]);
        gpu.launch("integer_atomics", blocks as u32, threads as u32, args![i, u, l]);
        let sum: i32 = all.iter().sum();
        let xor = all.iter().fold(0, |a, b| a ^ b);
        let cleared = all.iter().fold(-1i32, |a, t| a & !(1 << (t % 30)));
        let set = all.iter().fold(0, |a, t| a | 1 << (t % 30));
        let last = count - 1;
        let want = [sum, -sum, -last, last, cleared, set, xor, count, count, 2 * count, (count & 0xff) << 8];
        assert_eq!(gpu.download::<i32>(i, 11), want);
        let product = all.iter().fold(1u32, |a, &t| a.wrapping_mul(2 * t as u32 + 3));
        assert_eq!(gpu.download::<u32>(u, 3), [count as u32 % 100, (100 - count % 100) as u32 % 100, product]);
        let high = u64::try_from(last).unwrap_or(0) << 40;
        let want = [(count as u64) << 33, high, high.wrapping_neg(), (xor as u64) << 32];
        assert_eq!(gpu.download::<u64>(l, 4), want);
    });
}

#[test]
fn atomics_of_floats() {
    each_arch("atomics", |gpu| {
        // 120 ones: every format up to bf16's 8 bits counts them exactly.
        let (blocks, threads) = (3, 40);
        let count = (blocks * threads) as f32;
        let (f, d) = (gpu.upload(&[0f32; 2]), gpu.upload(&[0f64; 2]));
        let [h, h2, b, b2] = [0; 4].map(|zero: u32| gpu.upload(&[zero]));
        gpu.launch("float_atomics", blocks, threads, args![f, d, h, h2, b, b2]);
        assert_eq!(gpu.download::<f32>(f, 2), [count, count]);
        assert_eq!(gpu.download::<f64>(d, 2), [f64::from(count), f64::from(count) / 2.0]);
        let f16s =
            |at, n| gpu.download::<u16>(at, n).into_iter().map(|x| f16::from_bits(x).to_f32()).collect::<Vec<f32>>();
        let bf16s =
            |at, n| gpu.download::<u16>(at, n).into_iter().map(|x| bf16::from_bits(x).to_f32()).collect::<Vec<f32>>();
        assert_eq!((f16s(h, 1), f16s(h2, 2)), (vec![count], vec![count, 2.0 * count]));
        assert_eq!((bf16s(b, 1), bf16s(b2, 2)), (vec![count], vec![count, 2.0 * count]));
    });
}
