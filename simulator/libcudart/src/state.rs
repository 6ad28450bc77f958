//! What the runtime keeps: whether the driver has been started, and the code that programs register before `main`.

use std::collections::HashMap;
use std::ffi::{CString, c_int};
use std::sync::{Mutex, MutexGuard};

use crate::driver;
use crate::error::{INVALID_DEVICE_FUNCTION, INVALID_SYMBOL, INVALID_VALUE, Outcome};

/// A fat binary as it lies in the program, loaded when something of it is first used.
struct Binary {
    image: usize,
    module: Option<u64>,
}

struct Named {
    binary: usize,
    name: CString,
}

#[derive(Default)]
struct Registry {
    binaries: Vec<Binary>,
    /// Kernels by the address of the function that stands for them in the program.
    kernels: HashMap<usize, Named>,
    /// The driver's handles of those that have been used.
    functions: HashMap<usize, u64>,
    /// Variables by the address of their shadow in the program.
    variables: HashMap<usize, Named>,
    primary: Option<u64>,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

struct Guard(MutexGuard<'static, Option<Registry>>);

impl Guard {
    fn new() -> Self {
        Self(REGISTRY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn registry(&mut self) -> &mut Registry {
        self.0.get_or_insert_with(Registry::default)
    }
}

pub fn add_binary(image: usize) -> usize {
    let mut guard = Guard::new();
    let binaries = &mut guard.registry().binaries;
    binaries.push(Binary { image, module: None });
    binaries.len() - 1
}

pub fn add_kernel(binary: usize, host: usize, name: CString) {
    Guard::new().registry().kernels.insert(host, Named { binary, name });
}

pub fn add_variable(binary: usize, host: usize, name: CString) {
    Guard::new().registry().variables.insert(host, Named { binary, name });
}

/// Sees to it that the driver is started and this thread has a context.
pub fn ready() -> Outcome {
    let mut guard = Guard::new();
    let registry = guard.registry();
    if registry.primary.is_none() {
        driver::cuInit(0)?;
        let mut context = 0;
        driver::cuDevicePrimaryCtxRetain(&mut context, 0)?;
        registry.primary = Some(context);
    }
    let mut current = 0;
    driver::cuCtxGetCurrent(&mut current)?;
    match registry.primary {
        Some(primary) if current == 0 => driver::cuCtxSetCurrent(primary),
        _ => Ok(()),
    }
}

/// After a reset of the device modules are loaded again when they are next used.
pub fn reset() {
    let mut guard = Guard::new();
    let registry = guard.registry();
    registry.functions.clear();
    registry.binaries.iter_mut().for_each(|binary| binary.module = None);
}

impl Registry {
    fn module(&mut self, binary: usize) -> Outcome<u64> {
        let binary = self.binaries.get_mut(binary).ok_or(INVALID_VALUE)?;
        if let Some(module) = binary.module {
            return Ok(module);
        }
        let mut module = 0;
        driver::cuModuleLoadData(&mut module, binary.image as *const _)?;
        binary.module = Some(module);
        Ok(module)
    }
}

/// The driver's function for a kernel: the address of the function that stands for it, or already a handle of the
/// driver's.
pub fn function(host: usize) -> Outcome<u64> {
    ready()?;
    let mut guard = Guard::new();
    let registry = guard.registry();
    if let Some(&function) = registry.functions.get(&host) {
        return Ok(function);
    }
    if registry.functions.values().any(|&function| function == host as u64) {
        return Ok(host as u64);
    }
    let Some(Named { binary, name }) = registry.kernels.get(&host) else { return Err(INVALID_DEVICE_FUNCTION) };
    let (binary, name) = (*binary, name.clone());
    let module = registry.module(binary)?;
    let mut function = 0;
    driver::cuModuleGetFunction(&mut function, module, name.as_ptr()).map_err(|_| INVALID_DEVICE_FUNCTION)?;
    registry.functions.insert(host, function);
    Ok(function)
}

/// Address and size of a device variable.
pub fn variable(host: usize) -> Outcome<(u64, usize)> {
    ready()?;
    let mut guard = Guard::new();
    let registry = guard.registry();
    let Some(Named { binary, name }) = registry.variables.get(&host) else { return Err(INVALID_SYMBOL) };
    let (binary, name) = (*binary, name.clone());
    let module = registry.module(binary)?;
    let (mut address, mut bytes) = (0, 0);
    driver::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, name.as_ptr()).map_err(|_| INVALID_SYMBOL)?;
    Ok((address, bytes))
}

/// A program of one fat binary needs it as long as it runs; one that unloads a library of its own gives it back.
pub fn unload_binary(binary: usize) {
    let mut guard = Guard::new();
    let registry = guard.registry();
    registry.kernels.retain(|_, named| named.binary != binary);
    registry.variables.retain(|_, named| named.binary != binary);
    let module = registry.binaries.get_mut(binary).and_then(|binary| binary.module.take());
    registry.functions.clear();
    drop(guard);
    if let Some(module) = module {
        // At the end of the program the context may be gone already.
        let _ = driver::cuModuleUnload(module);
    }
}

/// Device 0 is all there is.
pub fn check_device(device: c_int) -> Outcome {
    if device == 0 { Ok(()) } else { Err(crate::error::INVALID_DEVICE) }
}

/// Declares exported functions that return a `cudaError_t`.
macro_rules! runtime {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        /// # Safety
        /// As in the CUDA runtime API: pointers are valid for what the function does with them.
        #[unsafe(no_mangle)]
        #[allow(clippy::too_many_arguments, reason = "the signatures are the runtime's")]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $crate::error::Code {
            let body = move || -> $crate::error::Outcome { $body };
            $crate::error::finish(body())
        }
    )*};
}
pub(crate) use runtime;

/// Writes a result through a pointer from C.
pub fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and the caller of the API function promised room for a `T`.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

pub fn get<T: Copy>(from: *const T) -> Outcome<T> {
    if from.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and the caller promised a `T` there.
    Ok(unsafe { from.read_unaligned() })
}
