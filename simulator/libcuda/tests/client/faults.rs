//! Faults, and the names of errors.

use std::ffi::CStr;

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::{common, in_process, ptx};

#[test]
fn a_fault_stays_with_its_context() {
    let log = in_process("faults::a_fault_stays_with_its_context", &[("CUDASIM_CHECK", "mem")], || {
        let context = CudaContext::new(0)?;
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let module = ptx(&context, "bugs", "sm_90")?;
        let function = module.load_function("off_by_one")?;
        let out = stream.alloc_zeros::<i32>(100)?;
        let config = LaunchConfig { grid_dim: (4, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        // The launch itself succeeds; the fault is found when the work runs, and from then on by every call.
        unsafe { stream.launch_builder(&function).arg(&out).arg(&100i32).launch(config) }?;
        let illegal = DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(stream.synchronize(), Err(illegal));
        assert_eq!(stream.clone_dtoh(&out).err(), Some(illegal));
        assert_eq!(context.synchronize(), Err(illegal));
        assert_eq!(illegal.error_name()?, c"CUDA_ERROR_ILLEGAL_ADDRESS");
        // A new context, made when the old one is gone, is well.
        drop((out, function, module, stream));
        drop(context);
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        assert_eq!(stream.clone_dtoh(&stream.clone_htod(&[1, 2, 3])?)?, [1, 2, 3]);
        Ok(())
    });
    let Some(log) = log else { return };
    let report = log.lines().find(|line| line.contains("mem check")).unwrap_or_default();
    for part in [
        "illegal address",
        "0 bytes past the end",
        "of 400 bytes",
        "off_by_one",
        "bugs.cu:6",
        "block (3,0,0)",
        "thread (4,0,0)",
    ] {
        assert!(report.contains(part), "{part} is not in: {report}");
    }
}

/// cudarc's own names for error codes are those of the driver.
#[test]
fn errors_have_the_names_of_the_driver() {
    in_process("faults::errors_have_the_names_of_the_driver", &[], || {
        for (code, name) in [
            (CUresult::CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"),
            (CUresult::CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"),
            (CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
            (CUresult::CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN"),
        ] {
            let error = DriverError(code);
            assert_eq!(error.error_name()?.to_str(), Ok(name));
            assert!(!error.error_string()?.to_bytes().is_empty());
        }
        let mut text = std::ptr::null();
        let mut name = |code: u32| {
            let outcome = unsafe { sys::cuGetErrorName(std::mem::transmute::<u32, CUresult>(code), &mut text) };
            (outcome, if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }.to_owned()) })
        };
        assert_eq!(name(0), (CUresult::CUDA_SUCCESS, Some(c"CUDA_SUCCESS".to_owned())));
        Ok(())
    });
}

#[test]
fn the_environment_asks_for_a_fault() {
    const NAME: &str = "faults::the_environment_asks_for_a_fault";
    let log = in_process(NAME, &[("CUDASIM_FAULT", "fill:2")], || {
        let context = CudaContext::new(0)?;
        let stream = context.new_stream()?;
        let fill = ptx(&context, "bugs", "sm_90")?.load_function("fill")?;
        let mut out = stream.alloc_zeros::<i32>(64)?;
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };
        let mut launch = || unsafe { stream.launch_builder(&fill).arg(&mut out).arg(&1i32).arg(&64i32).launch(config) };
        launch()?;
        stream.synchronize()?;
        launch()?;
        assert_eq!(stream.synchronize(), Err(DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)));
        Ok(())
    });
    assert!(log.is_none_or(|log| log.contains("mem check: illegal address: asked for by CUDASIM_FAULT=fill:2")));
}

/// A setting that makes no sense stops the driver from starting, and says which it is.
#[test]
fn the_environment_is_wrong() {
    const NAME: &str = "faults::the_environment_is_wrong";
    for (name, value) in [("CUDASIM_FAULT", "fill:0"), ("CUDASIM_DRIVER_VERSION", "12.4"), ("CUDASIM_PROFILE", "p100")]
    {
        let log = in_process(NAME, &[(name, value)], || {
            assert_eq!(CudaContext::new(0).err(), Some(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE)));
            Ok(())
        });
        let Some(log) = log else { return };
        assert!(log.contains(&format!("cudasim: {name}={value} is")), "{log}");
    }
}

#[test]
fn the_environment_chooses_a_driver() {
    const NAME: &str = "faults::the_environment_chooses_a_driver";
    let log = in_process(NAME, &[("CUDASIM_DRIVER_VERSION", "12040")], || {
        // A program may ask before it starts the driver.
        let mut version = 0;
        unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
        assert_eq!(version, 12040);
        let context = CudaContext::new(0)?;
        // This nvcc's PTX is of its own release.
        let loaded = ptx(&context, "bugs", "sm_90").map(|_| ());
        assert_eq!(loaded, Err(DriverError(CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION)));
        let older = common::compile("bugs", "sm_80", &[])
            .lines()
            .map(|line| if line.starts_with(".version") { ".version 8.4\n".to_owned() } else { format!("{line}\n") })
            .collect::<String>();
        context.load_module(Ptx::from_src(older)).map(|_| ())
    });
    assert!(log.is_none_or(|log| log.contains("newer than the driver's 8.4")));
}
