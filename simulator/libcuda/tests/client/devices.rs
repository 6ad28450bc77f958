//! Profiles as devices; functions, their limits and occupancy.

use std::ffi::c_int;

use cudarc::driver::sys::{CUdevice_attribute as DeviceAttribute, CUfunction_attribute as FunctionAttribute, CUresult};
use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg};

use crate::{INNER, in_process, ptx};

#[test]
fn profiles_are_devices() {
    const NAME: &str = "devices::profiles_are_devices";
    // Name, capability, multiprocessors, most shared memory of a block, memory in GiB.
    let profiles = [
        ("h100", "NVIDIA H100 SXM (simulated)", (9, 0), 132, 227, 80),
        ("a100", "NVIDIA A100 SXM4 80GB (simulated)", (8, 0), 108, 163, 80),
        ("l40s", "NVIDIA L40S (simulated)", (8, 9), 142, 99, 48),
        ("b200", "NVIDIA B200 (simulated)", (10, 0), 148, 227, 180),
        ("v100", "Tesla V100-SXM2-32GB (simulated)", (7, 0), 80, 96, 32),
    ];
    let named = std::env::var("CUDASIM_PROFILE").unwrap_or_default();
    for (key, name, capability, multiprocessors, shared_kb, memory_gb) in profiles {
        if std::env::var_os(INNER).is_some() && key != named {
            continue;
        }
        in_process(NAME, &[("CUDASIM_PROFILE", key)], || {
            let context = CudaContext::new(0)?;
            assert_eq!((context.name()?.as_str(), context.compute_capability()?), (name, capability));
            let get = |which| context.attribute(which);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?, multiprocessors);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)?, 48 << 10);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?, shared_kb << 10);
            assert_eq!(get(DeviceAttribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?, 32);
            assert_eq!(context.total_mem()?, memory_gb << 30);
            // PTX for an architecture above the device's cannot be loaded.
            let (major, minor) = capability;
            for (arch, number) in [("sm_80", 80), ("sm_90", 90)] {
                let loaded = ptx(&context, "basics", arch).map(|_| ());
                let want = if number <= 10 * major + minor {
                    Ok(())
                } else {
                    Err(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU))
                };
                assert_eq!(loaded, want, "{arch} on {key}");
            }
            Ok(())
        });
    }
}

#[test]
fn functions_their_limits_and_occupancy() {
    in_process("devices::functions_their_limits_and_occupancy", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        let big = ptx(&context, "bugs", "sm_90")?.load_function("big_shared")?;
        let mut out = stream.alloc_zeros::<i32>(64)?;
        let mut launch = |shared: u32, threads: u32| {
            let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared };
            unsafe { stream.launch_builder(&big).arg(&mut out).launch(config) }.map(|_| ())
        };
        let invalid = Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE));
        // Beyond 48 KB only after the opt-in, and up to what the device has.
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(launch(49 << 10, 64), invalid);
        assert_eq!(big.set_attribute(attribute, 228 << 10), invalid);
        big.set_attribute(attribute, 227 << 10)?;
        assert_eq!(big.get_attribute(attribute)?, 227 << 10);
        launch(227 << 10, 64)?;
        assert_eq!(launch((227 << 10) + 1, 64), invalid);
        // Blocks and grids have limits.
        assert_eq!(launch(512, 1025), invalid);
        assert_eq!(launch(512, 0), invalid);
        stream.synchronize()?;
        // A multiprocessor of 228 KB holds two blocks of 100 KB and one of 200, of which it keeps 1 KB each; 64 of 32
        // threads and no shared memory to speak of are more than its 32 blocks.
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(64, 100 << 10, None)?, 2);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(64, 200 << 10, None)?, 1);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(32, 128, None)?, 32);
        assert_eq!(big.occupancy_max_active_blocks_per_multiprocessor(1024, 128, None)?, 2);
        assert_eq!(big.occupancy_available_dynamic_smem_per_block(2, 64)?, 113 << 10);
        extern "C" fn none(_threads: c_int) -> usize {
            0
        }
        let (grid, block) = big.occupancy_max_potential_block_size(none, 0, 0, None)?;
        assert_eq!((grid, block), (2 * 132, 1024));
        assert_eq!((big.shared_size_bytes()?, big.local_size_bytes()?, big.max_threads_per_block()?), (0, 0, 1024));
        assert!((16..=255).contains(&big.num_regs()?) && big.ptx_version()? >= 80);
        // Launch bounds are a limit of the function.
        let bounded = ptx(&context, "language", "sm_90")?.load_function("bounded")?;
        assert_eq!((bounded.max_threads_per_block()?, bounded.num_regs()? <= 32), (1024, true));
        // Threads of all blocks of a cooperative launch wait for each other.
        let grid = ptx(&context, "groups", "sm_90")?.load_function("whole_grid")?;
        let mut data = stream.clone_htod(&(0..96).collect::<Vec<i32>>())?;
        let config = LaunchConfig { grid_dim: (3, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        unsafe { stream.launch_builder(&grid).arg(&mut data).arg(&2i32).launch_cooperative(config) }?;
        assert_eq!(stream.clone_dtoh(&data)?, (0..96).map(|i| (i + 2) % 96 + 2).collect::<Vec<i32>>());
        let huge = LaunchConfig { grid_dim: (132 * 32 + 1, 1, 1), ..config };
        let refused = unsafe { stream.launch_builder(&grid).arg(&mut data).arg(&2i32).launch_cooperative(huge) };
        assert_eq!(refused.err(), Some(DriverError(CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE)));
        context.check_err()
    });
}
