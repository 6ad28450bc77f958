//! Whether there is a GPU, as the driver says: a device file is no driver, and containers have drivers without the
//! file.

use std::{
    env,
    ffi::{CStr, c_char, c_int, c_uint},
    sync::OnceLock,
};

use libloading::{Library, Symbol};

/// Whether tests run on a GPU: the driver has one, and nobody asks for the simulator.
pub fn is_there() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| env::var_os("CUDASIM").is_none_or(|value| value != "1") && driver_has_one().unwrap_or(false))
}

/// Asks a driver of its own, which is closed again: the program may yet load the simulator under the driver's name.
fn driver_has_one() -> Result<bool, libloading::Error> {
    // SAFETY: the driver's initialisers set up its own state; the functions have these types since CUDA 2.0, and write
    // what they are given room for.
    unsafe {
        let driver = Library::new("libcuda.so.1")?;
        let init: Symbol<'_, unsafe extern "C" fn(c_uint) -> c_int> = driver.get(b"cuInit\0")?;
        let count: Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> = driver.get(b"cuDeviceGetCount\0")?;
        let name: Symbol<'_, unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            driver.get(b"cuDeviceGetName\0")?;
        let (mut devices, mut text) = (0, [0; 256]);
        let answered = init(0) == 0 && count(&mut devices) == 0 && devices > 0;
        // On a library path the simulator is found under this name as well.
        let named = answered && name(text.as_mut_ptr(), text.len() as c_int - 1, 0) == 0;
        Ok(named && !CStr::from_ptr(text.as_ptr()).to_string_lossy().ends_with("(simulated)"))
    }
}
