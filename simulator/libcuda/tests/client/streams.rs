//! Modules, memory and streams; events.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUevent_flags, CUresult};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg, result,
};
use cudarc::nvrtc::Ptx;

use crate::{common, in_process, ptx};

/// `out = a + b` by cudarc's launch builder.
fn add(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    out: &mut CudaSlice<f32>,
    a: &CudaSlice<f32>,
    b: &CudaSlice<f32>,
) -> Result<(), DriverError> {
    let count = a.len() as i32;
    let config = LaunchConfig::for_num_elems(count as u32);
    unsafe { stream.launch_builder(function).arg(out).arg(a).arg(b).arg(&count).launch(config) }.map(|_| ())
}

#[test]
fn modules_memory_and_streams() {
    let log = in_process("streams::modules_memory_and_streams", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        let n = 1000usize;
        // A module from PTX, from fat binaries of machine code and compressed PTX, and from PTX in a fat binary alone.
        let fatbin = |options: &[&str]| Ptx::from_binary(common::nvcc_output("basics", options));
        let both = [
            "-fatbin",
            "-gencode",
            "arch=compute_90,code=sm_90",
            "-gencode",
            "arch=compute_80,code=[sm_80,compute_80]",
        ];
        let images = [
            Ptx::from_src(common::compile("basics", "sm_90", &[])),
            fatbin(&both),
            fatbin(&[&both[..], &["--compress-mode", "speed"]].concat()),
            fatbin(&[&both[..], &["--compress-mode", "none"]].concat()),
            fatbin(&["-fatbin", "-gencode", "arch=compute_80,code=compute_80"]),
            fatbin(&[
                "-fatbin",
                "-gencode",
                "arch=compute_90a,code=compute_90a",
                "-gencode",
                "arch=compute_80,code=compute_80",
            ]),
        ];
        for image in images {
            let function = context.load_module(image)?.load_function("vector_add")?;
            let (a, b) = (stream.clone_htod(&vec![1.0f32; n])?, stream.clone_htod(&vec![2.0f32; n])?);
            let mut out = stream.alloc_zeros::<f32>(n)?;
            add(&stream, &function, &mut out, &a, &b)?;
            assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
        }
        // Machine code alone cannot run here, and a module without the function says so.
        let machine_code = fatbin(&["-fatbin", "-gencode", "arch=compute_80,code=sm_80"]);
        assert_eq!(context.load_module(machine_code).err(), Some(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU)));
        let cubin = Ptx::from_binary(common::nvcc_output("basics", &["-cubin", "-arch", "sm_90"]));
        assert_eq!(context.load_module(cubin).err(), Some(DriverError(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU)));
        let module = ptx(&context, "basics", "sm_90")?;
        assert_eq!(module.load_function("absent").err(), Some(DriverError(CUresult::CUDA_ERROR_NOT_FOUND)));
        // A failure of the just-in-time compiler, with the error's name and description.
        let broken = context.load_module(Ptx::from_src(".version 8.0\n.target sm_80\n.address_size 64\nnonsense"));
        let error = broken.expect_err("nonsense is refused");
        assert_eq!(error.error_name()?.to_str(), Ok("CUDA_ERROR_INVALID_PTX"));
        assert_eq!(error.error_string()?.to_str(), Ok("a PTX JIT compilation failed"));
        // Copies by pinned memory, between device slices and views, and memset.
        let mut pinned = unsafe { context.alloc_pinned::<f32>(n) }?;
        pinned.as_mut_slice()?.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        let from_pinned = stream.clone_htod(&pinned)?;
        let mut copy = stream.alloc_zeros::<f32>(n)?;
        stream.memcpy_dtod(&from_pinned, &mut copy)?;
        stream.memset_zeros(&mut copy.slice_mut(10..20))?;
        let mut back = unsafe { context.alloc_pinned::<f32>(n) }?;
        stream.memcpy_dtoh(&copy, &mut back)?;
        let want: Vec<f32> = (0..n).map(|i| if (10..20).contains(&i) { 0.0 } else { i as f32 }).collect();
        assert_eq!(back.as_slice()?, want);
        // Managed memory has one address for both.
        let unified = unsafe { context.alloc_unified::<f32>(64, true) }?;
        assert_eq!(unified.len(), 64);
        // Memory that is taken is not free.
        let (free, total) = context.mem_get_info()?;
        let taken = unsafe { stream.alloc::<u8>(1 << 20) }?;
        assert_eq!(context.mem_get_info()?, (free - (1 << 20), total));
        drop(taken);
        stream.synchronize()?;
        assert_eq!(context.mem_get_info()?, (free, total));
        // Too much of it is refused.
        assert_eq!(unsafe { stream.alloc::<u8>(total) }.err(), Some(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        // Streams of other priorities, forks and joins.
        let (low, high) = (context.new_stream_with_priority(0)?, context.new_stream_with_priority(-5)?);
        let fork = low.fork()?;
        high.join(&fork)?;
        high.synchronize()?;
        // Work of the host in a stream's order.
        extern "C" fn count(counter: *mut c_void) {
            unsafe { *counter.cast::<u32>() += 1 };
        }
        let mut counter = 0u32;
        unsafe { result::stream::launch_host_function(fork.cu_stream(), count, (&raw mut counter).cast())? };
        fork.synchronize()?;
        assert_eq!(counter, 1);
        context.check_err()
    });
    assert!(log.is_none_or(|log| !log.contains("leak check")), "cudarc frees all it allocated");
}

#[test]
fn events_time_and_order() {
    in_process("streams::events_time_and_order", &[("CUDASIM_CHECK", "all")], || {
        let context = CudaContext::new(0)?;
        let function = ptx(&context, "tensor", "sm_90")?.load_function("ffma_chains")?;
        let stream = context.new_stream()?;
        let mut out = stream.alloc_zeros::<f32>(256)?;
        let timed = |rounds: i32, out: &mut CudaSlice<f32>| -> Result<f32, DriverError> {
            let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
            let mut launch = stream.launch_builder(&function);
            launch.record_kernel_launch(CUevent_flags::CU_EVENT_DEFAULT);
            launch.arg(out).arg(&0.5f32).arg(&0.25f32).arg(&rounds);
            let (start, end) = unsafe { launch.launch(config) }?.expect("events were asked for");
            start.elapsed_ms(&end)
        };
        let (short, long) = (timed(1, &mut out)?, timed(2000, &mut out)?);
        assert!(short > 0.0 && long > 4.0 * short, "{short} ms and {long} ms");
        // An event that nothing reached is not ready; one that was recorded and waited for is.
        let done = stream.record_event(None)?;
        done.synchronize()?;
        assert!(done.try_is_complete()?);
        // Without timing there is no time between.
        let other = stream.record_event(None)?;
        assert_eq!(done.elapsed_ms(&other), Err(DriverError(CUresult::CUDA_ERROR_INVALID_HANDLE)));
        context.check_err()
    });
}
