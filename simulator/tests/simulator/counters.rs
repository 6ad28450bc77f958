//! Counters against numbers worked out by hand.

use crate::args;
use crate::common::{Gpu, compile};
use cudasim::counters::Totals;
use cudasim::driver::settings::Settings;
use cudasim::launch::sample::Sampling;

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
fn an_offset_of_one_element_touches_a_fifth_sector() {
    let t = count("shifted", buffers);
    assert_eq!((t.global_load_requests, t.global_load_sectors, t.global_load_bytes), (1, 5, 128));
}

/// Lanes go through the banks in groups of 128 bytes: two of 16 lanes for 8 bytes, four of 8 lanes for 16.
#[test]
fn wide_shared_accesses() {
    // Neighbours: as many passes as groups, which is ideal.
    let t = count("banks_double", |gpu| vec![gpu.alloc(4096).into(), 1.into()]);
    assert_eq!((t.shared_requests, t.shared_wavefronts, t.shared_ideal_wavefronts), (2, 4, 4));
    // Every other double word: 16 lanes on 16 pairs of the 32 banks, two lanes a pair.
    let t = count("banks_double", |gpu| vec![gpu.alloc(4096).into(), 2.into()]);
    assert_eq!((t.shared_wavefronts, t.shared_ideal_wavefronts), (8, 4));
    let t = count("banks_quad", |gpu| vec![gpu.alloc(4096).into(), 1.into()]);
    assert_eq!((t.shared_requests, t.shared_wavefronts, t.shared_ideal_wavefronts), (2, 8, 8));
    let t = count("banks_quad", |gpu| vec![gpu.alloc(4096).into(), 2.into()]);
    assert_eq!((t.shared_wavefronts, t.shared_ideal_wavefronts), (16, 8));
}

/// Blocks that read the same memory move it again between L1 and L2, and not from DRAM.
#[test]
fn what_several_blocks_touch_is_compulsory_once() {
    let gpu = Gpu::new(&compile("access", "sm_80", &[]), Settings::default());
    let (out, input) = (gpu.alloc(4096), gpu.upload(&[1.0f32; 1024]));
    gpu.launch("coalesced", 5, 32, args![out, input]);
    crate::common::ok(gpu.sync());
    let t = gpu.report().launches.last().expect("a launch was counted").totals.clone();
    assert_eq!((t.global_load_sectors, t.global_store_sectors), (20, 20));
    assert_eq!((t.distinct_sectors, t.l2_bytes), (8, 5 * 256));
}

/// Every instruction of a kernel written out, by its class, for 40 threads: a warp of 32 lanes and one of 8.
#[test]
fn instructions_one_by_one() {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out) {
        .reg .b64 %d<4>; .reg .b32 %r<4>; .reg .f32 %f<4>; .reg .f64 %g<4>; .reg .pred %p;
        .shared .align 4 .b8 box[512];
        ld.param.u64 %d1, [out];
        mov.u32 %r1, %tid.x;
        mul.wide.u32 %d2, %r1, 4;
        add.s64 %d1, %d1, %d2;
        setp.lt.u32 %p, %r1, 12;
        cvt.rn.f32.u32 %f1, %r1;
        fma.rn.f32 %f2, %f1, %f1, %f1;
        @%p add.f32 %f2, %f2, %f1;
        ex2.approx.f32 %f3, %f1;
        cvt.f64.f32 %g1, %f1;
        mul.rn.f64 %g2, %g1, %g1;
        mov.u32 %r2, box;
        shl.b32 %r3, %r1, 2;
        add.u32 %r2, %r2, %r3;
        st.shared.f32 [%r2], %f2;
        bar.sync 0;
        ld.shared.f32 %f3, [%r2];
        st.global.f32 [%d1], %f3;
        red.global.add.f32 [%d1], %f1;
        ret; }\n";
    let gpu = Gpu::new(ptx, Settings::default());
    gpu.launch("k", 1, 40, args![gpu.alloc(256)]);
    crate::common::ok(gpu.sync());
    let t = gpu.report().launches.last().expect("a launch was counted").totals.clone();
    let class = |name: &str| t.classes.get(name).copied().unwrap_or(0);
    // Two warps each; the guarded sum is one instruction of the first warp's 12 lanes, and of the second's none.
    let want = [
        ("constant", 2),
        ("move", 2 * 2),
        ("integer", 2 * 5),
        ("convert", 2 * 2),
        ("fp32", 2 * 2),
        ("sfu", 2),
        ("fp64", 2),
        ("shared", 2 * 2),
        ("barrier", 2),
        ("global", 2),
        ("atomic", 2),
        ("control", 2),
    ];
    for (name, count) in want {
        assert_eq!(class(name), count, "{name}: {:?}", t.classes);
    }
    assert_eq!((t.fp32_flops, t.fp64_flops, t.sfu_operations), (40 * 2 + 12, 40, 40));
    assert_eq!((t.atomics, t.barriers), (40, 2));
    // 20 instructions, `ret` with them: 19 by all lanes and one by 12.
    assert_eq!((t.warp_instructions, t.thread_instructions), (40, 19 * 40 + 12));
    assert!((t.divergence_efficiency() - 772.0 / (40.0 * 32.0)).abs() < 1e-12);
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

/// Of a grid of 4 × 8 tiles a sample runs 2 × 3. Tiles of the inputs are shared along one axis each and the output is
/// each block's own, so that every count, distinct sectors among them, is that of the whole grid.
#[test]
fn a_sample_of_alike_blocks_counts_as_all_of_them_do() {
    let run = |rules: &str| {
        let sampling = Sampling::parse(rules).expect("rules");
        let gpu = Gpu::new(&compile("tensor", "sm_80", &[]), Settings { sampling, ..Settings::default() });
        let (a, b) = (gpu.upload(&[0x3f80u16; 512 * 64]), gpu.upload(&[0x3f80u16; 256 * 64]));
        let c = gpu.alloc(4 * 512 * 256);
        for _ in 0..2 {
            crate::common::ok(gpu.try_launch("gemm_bf16", [4, 8, 1], [128, 1, 1], 0, args![c, a, b, 256, 64], 0));
        }
        crate::common::ok(gpu.sync());
        gpu.report().launches
    };
    let whole = run("");
    assert_eq!((whole[0].blocks_run, whole[1].blocks_run, whole[1].is_repeated), (32, 32, false));
    assert_eq!(whole[0].totals.tensor_flops, 2 * 512 * 256 * 64);
    for rules in ["gemm_*:2.3.*", "other:2.2.2,gemm_bf16:3.2.2", "gemm_bf16:2.4.*!"] {
        let sample = run(rules);
        assert_eq!(sample[0].totals, whole[0].totals, "{rules}");
        assert!(sample[0].blocks_run <= 8 && !sample[0].is_repeated, "{rules}");
        assert_eq!((&sample[1].totals, sample[1].is_repeated), (&whole[0].totals, !rules.ends_with('!')), "{rules}");
    }
}

/// Launches alike in what is compared stand for each other; another number among the parameters makes another launch.
#[test]
fn a_launch_with_other_numbers_is_not_like_one_before() {
    let settings = Settings { sampling: Sampling::parse("banks:2.*.*").expect("a rule"), ..Settings::default() };
    let gpu = Gpu::new(&compile("access", "sm_80", &[]), settings);
    let (one, other) = (gpu.alloc(4096), gpu.alloc(4096));
    for (out, stride) in [(one, 1), (one, 2), (other, 1), (one, 2)] {
        gpu.launch("banks", 1, 32, args![out, stride]);
    }
    crate::common::ok(gpu.sync());
    let launches = gpu.report().launches;
    let repeated: Vec<bool> = launches.iter().map(|line| line.is_repeated).collect();
    assert_eq!(repeated, [false, false, true, true], "pointers do not count");
    let wavefronts: Vec<u64> = launches.iter().map(|line| line.totals.shared_wavefronts).collect();
    assert_eq!(wavefronts, [2, 4, 2, 4]);
    assert_eq!(launches[1].arguments, [None, Some(2)], "the pointer is left out");
}

/// What a launch follows: the one before on its stream, until the program has waited.
#[test]
fn lines_say_which_launches_they_follow() {
    let gpu = Gpu::new(&compile("access", "sm_80", &[]), Settings { seed: 0, ..Settings::default() });
    let (out, from) = (gpu.alloc(4096), gpu.upload(&[1.0f32; 1024]));
    let launch = || gpu.launch("coalesced", 1, 32, args![out, from]);
    launch();
    launch();
    crate::common::ok(gpu.sync());
    launch();
    crate::common::ok(gpu.sync());
    let lines = gpu.report().launches;
    assert_eq!((lines[0].after.len(), lines[2].after.len()), (0, 0));
    assert_eq!(lines[1].after, [lines[0].number]);
}

/// Sectors that are read, that are written, and both.
#[test]
fn floor_bytes_are_sectors_read_and_sectors_written() {
    let t = count("coalesced", buffers);
    assert_eq!((t.distinct_read_sectors, t.distinct_written_sectors, t.floor_bytes()), (4, 4, 256));
    // In place: the sectors are the same, and come and go.
    let t = count("coalesced", |gpu| {
        let buffer = gpu.upload(&[1.0f32; 1024]);
        vec![buffer.into(), buffer.into()]
    });
    assert_eq!((t.distinct_sectors, t.floor_bytes()), (4, 256));
}
