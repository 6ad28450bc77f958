//! What C++ compiles to beside arithmetic: tables, virtual functions, switches, unions, structures, recursion, globals.

use half::bf16;

use crate::args;
use crate::common::{ARCHITECTURES, Arg, Gpu, checked, compile, floats, numbers, ok};

fn each_arch(body: impl Fn(&Gpu)) {
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("language", arch, &[]), checked());
        body(&gpu);
        assert!(gpu.report().fault.is_none());
    }
}

#[test]
fn virtual_functions_and_tables_of_functions() {
    each_arch(|gpu| {
        let kind: Vec<i32> = (0..64).map(|i| i / 3 % 2).collect();
        let (input, out) = (gpu.upload(&kind), gpu.alloc(256));
        gpu.launch("virtual_functions", 1, 64, args![out, input]);
        let want = |i: usize| (i * i) as f32 * if kind[i] == 1 { 1.0 } else { 3.0 };
        assert_eq!(gpu.download::<f32>(out, 64), (0..64).map(want).collect::<Vec<f32>>());
        let which: Vec<i32> = (0..64).map(|i| i % 3).collect();
        let input = gpu.upload(&which);
        gpu.launch("function_tables", 1, 64, args![out, input]);
        let function = |w: i32, x: i32| [x + 1, x * 3, -x][w as usize];
        let want = |i: i32| 1000 * function(i % 3, i) + if i % 3 % 2 == 0 { -5 } else { 6 };
        assert_eq!(gpu.download::<i32>(out, 64), (0..64).map(want).collect::<Vec<i32>>());
        for w in 0..3 {
            gpu.launch("leave_function", 1, 1, args![w]);
            gpu.launch("call_function_left", 1, 64, args![out]);
            assert_eq!(gpu.download::<i32>(out, 64), (0..64).map(|i| function(w, i)).collect::<Vec<i32>>());
        }
    });
}

#[test]
fn switches_and_gotos() {
    each_arch(|gpu| {
        let input: Vec<i32> = (0..64).map(|i| i * 5 % 11 - 1).collect();
        let (data, out) = (gpu.upload(&input), gpu.upload(&[-7i32; 64]));
        gpu.launch("switches", 1, 64, args![out, data]);
        let want = |(i, &x): (usize, &i32)| match x {
            0 => 10,
            1 => 10,
            2 => 3,
            3 => 99,
            4 => (0..i as i32).map(|k| k * 4).sum(),
            5 => -1,
            6 => -7,
            7 => 4711,
            x => x * x,
        };
        assert_eq!(gpu.download::<i32>(out, 64), input.iter().enumerate().map(want).collect::<Vec<i32>>());
        gpu.launch("gotos", 1, 64, args![out, 9]);
        let want = |t: i32| {
            let (mut i, mut s) = (0, 0);
            loop {
                s += i;
                i += 1;
                if i >= 9 + t {
                    return s;
                }
                if s % 5 != 3 {
                    s ^= 1;
                }
            }
        };
        assert_eq!(gpu.download::<i32>(out, 64), (0..64).map(want).collect::<Vec<i32>>());
    });
}

#[test]
fn unions_structures_and_local_arrays() {
    each_arch(|gpu| {
        let words = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let input = words(&floats(3, 4 * 32));
        let (data, out) = (gpu.upload(&input), gpu.alloc(16 * 32));
        for at in [0, 7, 15] {
            gpu.launch("unions", 1, 32, args![out, data, at]);
            for (vector, got) in input.chunks(4).zip(gpu.download::<u32>(out, 4 * 32).chunks(4)) {
                let mut bytes: Vec<u8> = vector.iter().flat_map(|w| w.to_le_bytes()).collect();
                for pair in bytes.chunks_mut(2) {
                    let sum = bf16::from_le_bytes([pair[0], pair[1]]).to_f64() + 1.0;
                    pair.copy_from_slice(&bf16::from_f64(sum).to_le_bytes());
                }
                bytes[at as usize] ^= 0x55;
                let mut want: Vec<u32> =
                    bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let doubled = &mut want[(at as usize / 4 + 1) & 3];
                *doubled = (f32::from_bits(*doubled) * 2.0).to_bits();
                assert_eq!(got, want, "{at}");
            }
        }
        // struct { int numbers[20]; double weight; char letters[3]; } of 96 bytes, passed by value.
        let mut record = [0u8; 96];
        (0..20).for_each(|i| record[4 * i..][..4].copy_from_slice(&(i as i32 * 3 - 20).to_le_bytes()));
        record[80..88].copy_from_slice(&1.25f64.to_le_bytes());
        record[88..91].copy_from_slice(b"abc");
        let out = gpu.alloc(96 * 32);
        gpu.launch("structures", 1, 32, &[out.into(), Arg::bytes(&record), 5.into()]);
        let got = gpu.download::<u8>(out, 96 * 32);
        for (t, got) in got.chunks(96).enumerate() {
            let k = 5 + t;
            let mut numbers: Vec<i32> = (0..20).map(|i| i * 3 - 20).collect();
            (0..20).for_each(|i| numbers[i] = numbers[(i + k) % 20] + i as i32);
            assert_eq!(got[..80], numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
            assert_eq!((&got[80..88], &got[88..91]), (&2.5f64.to_le_bytes()[..], &[b'a', k as u8, b'c'][..]));
        }
        gpu.launch("grid_constant", 1, 32, &[out.into(), Arg::bytes(&record)]);
        assert_eq!(gpu.download::<i32>(out, 32), (0..32).map(|t| t % 20 * 3 - 20).collect::<Vec<i32>>());
        gpu.launch("local_arrays", 1, 32, args![out, 37]);
        let want = |t: i32| {
            let mut x: Vec<i32> = (0..32).map(|i| i * 37 + t).collect();
            (0..37).for_each(|i| {
                let j = ((i * 7 + t) & 31) as usize;
                x.swap(j, (j + 37) & 31);
            });
            x.iter().fold(0i32, |sum, &v| sum.wrapping_mul(31).wrapping_add(v))
        };
        assert_eq!(gpu.download::<i32>(out, 32), (0..32).map(want).collect::<Vec<i32>>());
    });
}

#[test]
fn globals_and_constants() {
    each_arch(|gpu| {
        let out = gpu.alloc(128);
        gpu.launch("globals", 1, 32, args![out]);
        gpu.launch("globals", 1, 32, args![out]);
        let text = b"text";
        let want = |t: usize| (t % 4 + 1) as f32 * 2.5 + 3.0 + f32::from(text[t % 4]);
        assert_eq!(gpu.download::<f32>(out, 32), (0..32).map(want).collect::<Vec<f32>>());
        let (counter, bytes) = gpu.global("counter");
        assert_eq!((bytes, gpu.download::<i32>(counter, 1)), (4, vec![9]));
        // The host writes a constant, and the kernel sees it.
        let (weights, bytes) = gpu.global("weights");
        assert_eq!(bytes, 16);
        gpu.write(weights, &[10f32, 20.0, 30.0, 40.0]);
        gpu.launch("globals", 1, 32, args![out]);
        assert_eq!(gpu.download::<f32>(out, 2)[1], 20.0 * 2.5 + 3.0 + f32::from(b'e'));
    });
}

#[test]
fn recursion_of_one_and_of_two() {
    each_arch(|gpu| {
        let out = gpu.alloc(128);
        gpu.launch("recursive", 1, 32, args![out]);
        let fibonacci = |n: usize| (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0;
        assert_eq!(gpu.download::<i32>(out, 32), (0..32).map(|t| fibonacci(t % 12)).collect::<Vec<i32>>());
        gpu.launch("mutual", 1, 32, args![out, 11]);
        assert_eq!(gpu.download::<i32>(out, 32), (0..32).map(|t| 1 - (11 + t) % 2).collect::<Vec<i32>>());
    });
    // Without end it is a stack overflow, not the host's.
    let gpu = Gpu::new(&compile("language", "sm_80", &["-Xcicc", "-O1"]), checked());
    let out = gpu.alloc(128);
    gpu.launch("mutual", 1, 32, args![out, -100]);
    assert_eq!(gpu.sync(), 714);
    assert!(gpu.report().fault.is_some_and(|f| f.to_string().contains("calls deep")));
}

#[test]
fn assertions_of_the_standard_header() {
    for arch in ARCHITECTURES {
        let gpu = Gpu::new(&compile("language", arch, &[]), checked());
        let mut data = [3i32; 64];
        let input = gpu.upload(&data);
        gpu.launch("asserting", 1, 64, args![input]);
        assert_eq!(gpu.sync(), 0);
        data[33] = 200;
        gpu.write(input, &data);
        gpu.launch("asserting", 1, 64, args![input]);
        assert_eq!(gpu.sync(), 710);
        let fault = gpu.report().fault.expect("the fault is reported").to_string();
        assert!(fault.contains("in[threadIdx.x] < 100 && \"too large\"") && fault.contains("language.cu"), "{fault}");
        assert!(fault.contains("thread (33,0,0)"), "{fault}");
    }
}

/// A kernel with launch bounds may use as many registers as let its blocks fit, whatever it holds.
#[test]
fn launch_bounds_are_kept() {
    let mut next = numbers(7);
    let input: Vec<f32> = (0..48).map(|_| (next() % 64) as f32).collect();
    each_arch(|gpu| {
        let (data, out) = (gpu.upload(&input), gpu.alloc(4096));
        ok(gpu.try_launch("bounded", [1, 1, 1], [1024, 1, 1], 0, args![out, data], 0));
        let a: Vec<f64> = input.iter().enumerate().map(|(i, &x)| f64::from(x) * i as f64).collect();
        let want: f64 = (0..48).map(|i| a[i] * a[47 - i]).sum();
        assert_eq!(gpu.download::<f32>(out, 1024), vec![want as f32; 1024]);
        assert!(gpu.attribute("bounded", 4) <= 32, "two blocks of 1,024 threads share 65,536 registers");
        assert_eq!(gpu.attribute("bounded", 0), 1024);
    });
}
