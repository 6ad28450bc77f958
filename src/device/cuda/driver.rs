//! The CUDA driver: loading it (or the simulator in its place), the devices it names, opening one.
//!
//! The driver is loaded when asked for and not before: a machine without one has no devices, which is no error. With
//! `CUDASIM=1` the simulator's library is loaded first, under the driver's name, so that whoever asks for the driver
//! gets it.

use std::{
    env,
    ffi::c_int,
    panic,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use cudarc::driver::{
    CudaContext, DriverError, result,
    sys::{self, CUdevice_attribute},
};

use super::{
    fault::{DeviceLabel, driver_error},
    images::IMAGES,
};
use crate::Result;

/// What the driver says of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaInfo {
    /// Its number, as in `cuda:N`.
    pub ordinal: usize,
    /// As the driver calls it.
    pub name: String,
    /// All of its memory.
    pub memory_bytes: usize,
    /// Major and minor compute capability.
    pub capability: (i32, i32),
    /// How many it has.
    pub multiprocessors: i32,
    /// Most shared memory of a block, which kernels ask for beyond 48 KiB.
    pub shared_bytes: i32,
    /// Its second-level cache.
    pub l2_bytes: i32,
    /// The newest CUDA that the driver knows, as 1000 · major + 10 · minor.
    pub driver_version: i32,
}

/// The devices in the driver's order; an error says why there is no list.
///
/// # Errors
/// Why there is no list: no driver, one that is too old, or what it answered.
pub fn cuda_devices() -> Result<Vec<CudaInfo>, String> {
    load_driver()?;
    // The binding panics where a library of the driver's name lacks one of its functions.
    let listed = panic::catch_unwind(|| {
        result::init()?;
        (0..result::device::get_count()?).map(info).collect::<Result<Vec<_>, DriverError>>()
    });
    match listed {
        // The simulator is for those who ask for it, not for whoever has it on a library path.
        Ok(Ok(devices)) if !is_simulated() && devices.iter().any(CudaInfo::is_simulated) => {
            Err("no CUDA driver is installed (the libcuda that was found is the simulator, which CUDASIM=1 asks for)"
                .to_owned())
        }
        Ok(outcome) => outcome.map_err(|DriverError(code)| format!("the CUDA driver answers {code:?}")),
        Err(_) => Err("the library that was found as libcuda lacks functions of the CUDA driver".to_owned()),
    }
}

fn info(number: c_int) -> Result<CudaInfo, DriverError> {
    use CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as L2, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as SHARED,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS,
    };
    let device = result::device::get(number)?;
    // SAFETY: the handle is from `cuDeviceGet`, right above.
    let of = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let mut driver_version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&mut driver_version) }.result()?;
    Ok(CudaInfo {
        ordinal: usize::try_from(number).unwrap_or_default(),
        name: result::device::get_name(device)?,
        // SAFETY: as above.
        memory_bytes: unsafe { result::device::total_mem(device)? },
        capability: (of(MAJOR)?, of(MINOR)?),
        multiprocessors: of(MULTIPROCESSORS)?,
        shared_bytes: of(SHARED)?,
        l2_bytes: of(L2)?,
        driver_version,
    })
}

/// The least compute capability that the kernels run on.
const LEAST_CAPABILITY: (i32, i32) = (8, 0);

impl CudaInfo {
    /// Whether this is the simulator's device, which says so in its name.
    pub fn is_simulated(&self) -> bool {
        self.name.ends_with("(simulated)")
    }

    /// Why the kernels do not run on this device, if they do not.
    pub fn unusable(&self) -> Option<String> {
        let ((major, minor), (least, _)) = (self.capability, LEAST_CAPABILITY);
        if IMAGES.is_empty() {
            return Some("this build has no CUDA kernels: nvcc was not there when it was built".to_owned());
        }
        let name = &self.name;
        (self.capability < LEAST_CAPABILITY).then(|| {
            format!("{name} has compute capability {major}.{minor}; the kernels need {least}.0 (Ampere) or newer")
        })
    }
}

/// The first GPU that the kernels run on. The simulator is no GPU: whoever wants it names it.
pub fn first_usable() -> Option<usize> {
    if is_simulated() {
        return None;
    }
    cuda_devices().ok()?.iter().find(|device| device.unusable().is_none()).map(|device| device.ordinal)
}

/// # Errors
/// [`Error::Device`](crate::Error::Device) where there is no such device, or the kernels do not run on it.
pub fn check(ordinal: usize) -> Result<()> {
    let refuse = |message: String| DeviceLabel::new(ordinal).error(message);
    let devices =
        cuda_devices().map_err(|reason| refuse(format!("{reason}; run on the processor with --device cpu")))?;
    let Some(found) = devices.get(ordinal) else {
        let numbers = match devices.len() {
            0 => "none".to_owned(),
            count => format!("0 to {}", count - 1),
        };
        return Err(refuse(format!("there is no such device; the driver has {numbers}")));
    };
    match found.unusable() {
        Some(reason) => Err(refuse(format!("{reason}; run on the processor with --device cpu"))),
        None => Ok(()),
    }
}

/// The primary context of a device, without the event tracking of cudarc: there is one stream, whose order is enough.
pub(crate) fn open(ordinal: usize, label: &DeviceLabel) -> Result<Arc<CudaContext>> {
    check(ordinal)?;
    let context = CudaContext::new(ordinal).map_err(driver_error(label, "open the device"))?;
    // SAFETY: all work goes to one stream, in whose order every buffer is written and read.
    unsafe { context.disable_event_tracking() };
    Ok(context)
}

/// How many multiprocessors it has.
pub(crate) fn multiprocessors(context: &CudaContext, label: &DeviceLabel) -> Result<usize> {
    let count = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    let count = count.map_err(driver_error(label, "count the multiprocessors"))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// The device for logs.
pub(crate) fn describe(context: &CudaContext, label: &DeviceLabel, precision: &str) -> Result<String> {
    let ask =
        || -> Result<_, DriverError> { Ok((context.name()?, context.compute_capability()?, context.total_mem()?)) };
    let (name, (major, minor), bytes) = ask().map_err(driver_error(label, "describe the device"))?;
    let gib = bytes as f64 / f64::from(1 << 30);
    let ordinal = context.ordinal();
    Ok(format!("cuda:{ordinal} ({name}, compute capability {major}.{minor}, {gib:.0} GiB, {precision})"))
}

/// File name of the simulator's library.
const SIMULATOR: &str = "libcuda.so";

/// Whether `CUDASIM=1` asks for the simulator.
fn is_simulated() -> bool {
    env::var_os("CUDASIM").is_some_and(|value| value == "1")
}

/// Loads the driver, or with `CUDASIM=1` the simulator.
fn load_driver() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            if is_simulated() {
                load_simulator()?;
            }
            // SAFETY: loading the driver library runs its initialisers, which is what every CUDA program does first.
            match unsafe { sys::is_culib_present() } {
                true => Ok(()),
                false => Err("no CUDA driver is installed (libcuda was not found)".to_owned()),
            }
        })
        .clone()
}

/// Loads the simulator into the process: its name is the driver's, so the loader gives it to whoever asks for the
/// driver next.
fn load_simulator() -> Result<(), String> {
    let candidates = simulator_candidates();
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        let list: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(format!(
            "CUDASIM=1 asks for the simulator, which is none of {}; build it with: cargo build --release --workspace, \
             or name it with CUDASIM_LIBRARY",
            list.join(", ")
        ));
    };
    // SAFETY: the simulator's initialisers only set up its own state.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| format!("{}: {error}", path.display()))?;
    // It stays for the life of the process, as the driver does.
    std::mem::forget(library);
    Ok(())
}

/// Where the simulator may lie: named, or beside the program, or where cargo puts it for tests.
fn simulator_candidates() -> Vec<PathBuf> {
    if let Some(named) = env::var_os("CUDASIM_LIBRARY") {
        return vec![PathBuf::from(named)];
    }
    let program = env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new("."));
    let folders = [beside.to_owned(), beside.join("deps"), beside.join(".."), beside.join("../deps")];
    folders.map(|folder| folder.join(SIMULATOR)).into()
}
