//! The CUDA devices of this machine, as its driver names them.
//!
//! The driver is loaded when asked for and not before: a machine without one has no devices, which is no error.

use std::{ffi::c_int, panic};

use cudarc::driver::{DriverError, result, sys};

/// What the driver says of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDevice {
    /// Its number, as in `cuda:N`.
    pub ordinal: usize,
    pub name: String,
    pub memory_bytes: usize,
    /// Major and minor compute capability.
    pub capability: (i32, i32),
}

/// The devices in the driver's order; an error says why there is no list.
pub fn cuda_devices() -> Result<Vec<CudaDevice>, String> {
    // SAFETY: loading the driver library runs its initialisers, which is what every CUDA program does first.
    if !unsafe { sys::is_culib_present() } {
        return Err("no CUDA driver is installed (libcuda was not found)".to_owned());
    }
    // The binding panics where a library of the driver's name lacks one of its functions.
    let listed = panic::catch_unwind(|| {
        result::init()?;
        (0..result::device::get_count()?).map(describe).collect::<Result<Vec<_>, DriverError>>()
    });
    match listed {
        Ok(outcome) => outcome.map_err(|DriverError(code)| format!("the CUDA driver answers {code:?}")),
        Err(_) => Err("the library that was found as libcuda lacks functions of the CUDA driver".to_owned()),
    }
}

fn describe(number: c_int) -> Result<CudaDevice, DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let device = result::device::get(number)?;
    // SAFETY: the handle is from `cuDeviceGet`, right above.
    let (memory_bytes, major, minor) = unsafe {
        let of = |attribute| result::device::get_attribute(device, attribute);
        (result::device::total_mem(device)?, of(MAJOR)?, of(MINOR)?)
    };
    let name = result::device::get_name(device)?;
    Ok(CudaDevice {
        ordinal: usize::try_from(number).unwrap_or_default(),
        name,
        memory_bytes,
        capability: (major, minor),
    })
}
