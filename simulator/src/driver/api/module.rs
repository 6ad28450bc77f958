//! Modules and functions.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};

use super::{api, get, put, put_optional, put_text, text};
use crate::driver::fatbin;
use crate::driver::images::{Image, Target};
use crate::driver::result::{Code, Outcome};
use crate::driver::session::Session;
use crate::driver::state::{Driver, Function};
use crate::profile::Profile;

const WRAPPER_MAGIC: u32 = 0x4662_43b1;

/// The bytes of an image in memory: a fat binary says its size, text ends in NUL.
pub(super) fn image_bytes<'a>(image: *const c_void) -> Outcome<&'a [u8]> {
    let mut start = image.cast::<u8>();
    let magic = get(start.cast::<[u8; 4]>())?;
    if u32::from_le_bytes(magic) == WRAPPER_MAGIC {
        // SAFETY: a wrapper is magic, version, then the pointer to its data.
        start = unsafe { image.cast::<u8>().add(8).cast::<*const u8>().read_unaligned() };
    }
    let magic = get(start.cast::<[u8; 4]>())?;
    let length = if fatbin::is_fatbin(&magic) {
        fatbin::total_bytes(&get(start.cast::<[u8; 16]>())?)
    } else if magic == *b"\x7fELF" {
        magic.len()
    } else {
        // SAFETY: neither of the binary forms, so the caller passed text that ends in NUL.
        unsafe { std::ffi::CStr::from_ptr(start.cast()) }.count_bytes()
    };
    // SAFETY: the image is as long as it says.
    Ok(unsafe { std::slice::from_raw_parts(start, length) })
}

impl Driver {
    /// Loads an image; the log of a refusal goes to stderr and to the caller.
    pub fn load_image(&mut self, bytes: &[u8]) -> Result<u64, (Code, String)> {
        let target = Target {
            capability: self.settings.profile.architecture(),
            newest: self.settings.newest_ptx(),
            numerics: self.settings.numerics,
        };
        if self.settings.unreadable && fatbin::has_machine_code(bytes, target.capability) {
            let log = "CUDASIM_MACHINE_CODE=unreadable, and the fat binary has some for this device".to_owned();
            return Err((Code::CUDA_ERROR_INVALID_IMAGE, log));
        }
        match Image::load(bytes, &self.memory, &target) {
            Ok(image) => {
                let handle = self.handle();
                self.images.insert(handle, image);
                Ok(handle)
            }
            Err(refusal) => Err((refusal.code, refusal.log)),
        }
    }

    pub(super) fn function_handle(&mut self, module: u64, name: &str) -> Outcome<u64> {
        let image = self.images.get(&module).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        let (program, architecture) = (image.program(name)?, image.architecture);
        let known = self.functions.iter().find(|(_, f)| f.module == module && f.program.name == name);
        if let Some((&handle, _)) = known {
            return Ok(handle);
        }
        let handle = self.handle();
        let c_name = CString::new(name).map_err(|_| Code::CUDA_ERROR_INVALID_VALUE)?;
        let max_dynamic_shared = Profile::DEFAULT_SHARED;
        let function =
            Function { program, module, name: c_name, architecture, max_dynamic_shared, carveout: -1, loaded: false };
        self.functions.insert(handle, function);
        Ok(handle)
    }

    pub fn function(&mut self, handle: u64) -> Outcome<&mut Function> {
        self.functions.get_mut(&handle).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
    }
}

pub(super) fn load(session: &mut Session, module: *mut u64, bytes: &[u8], logs: &Logs) -> Outcome {
    let driver = session.driver()?;
    driver.refuse_in_capture()?;
    match driver.load_image(bytes) {
        Ok(handle) => {
            let image = driver.images.get(&handle).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
            let refused: Vec<String> = image.refusals().map(|refusal| format!("; refused: {refusal}")).collect();
            let (kernels, device) = (image.programs.len() - refused.len(), driver.settings.profile.name);
            logs.write(&format!("{kernels} kernels loaded for {device}{}", refused.concat()), "");
            put(module, handle)
        }
        Err((code, log)) => {
            eprintln!("cudasim: {log}");
            logs.write("", &log);
            Err(code)
        }
    }
}

/// The log buffers among the options of a load (`CUjit_option`); all other options change nothing here.
pub(super) struct Logs {
    pub count: c_uint,
    pub options: *const c_uint,
    pub values: *mut *mut c_void,
}

const INFO_LOG: c_uint = 3;
const ERROR_LOG: c_uint = 5;

impl Logs {
    const NONE: Self = Self { count: 0, options: std::ptr::null(), values: std::ptr::null_mut() };

    /// Where the value of an option is.
    fn value(&self, wanted: c_uint) -> Option<*mut *mut c_void> {
        let index = (0..self.count as usize).find(|&k| get(self.options.wrapping_add(k)) == Ok(wanted))?;
        (!self.values.is_null()).then(|| self.values.wrapping_add(index))
    }

    /// Writes each text to its buffer, cut to fit, and the bytes written in the place of the buffer's size.
    fn write(&self, info: &str, error: &str) {
        for (option, text) in [(INFO_LOG, info), (ERROR_LOG, error)] {
            let (Some(buffer), Some(size)) = (self.value(option), self.value(option + 1)) else { continue };
            let (Ok(to), Ok(room)) = (get(buffer), get(size)) else { continue };
            if put_text(to.cast::<c_char>(), room as usize, text).is_ok() {
                // The size is a number in a pointer's place.
                put_optional(size.cast::<usize>(), text.len().min(room as usize - 1));
            }
        }
    }
}

/// `CUfunction_attribute`s.
pub(super) fn attribute(function: &Function, which: c_int, capability: u32) -> Outcome<c_int> {
    let program = &function.program;
    let most = program.max_threads.unwrap_or(Profile::MAX_THREADS).min(Profile::MAX_THREADS);
    let by_registers = Profile::REGISTERS_PER_SM / program.registers.max(1) / 32 * 32;
    let by_registers = if program.registers_are_exact { by_registers } else { most };
    Ok(match which {
        0 => most.min(by_registers) as c_int,
        1 => program.shared_bytes as c_int,
        2 | 7 => 0,
        3 => program.local_bytes as c_int,
        4 => program.registers as c_int,
        // Architectures: of the PTX, and of the machine code that a driver makes of it for the device.
        5 => function.architecture as c_int,
        6 => capability as c_int,
        8 => function.max_dynamic_shared as c_int,
        9 => function.carveout,
        10..=15 => 0,
        _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
    })
}

pub(super) fn set_attribute(driver: &mut Driver, function: u64, which: c_int, value: c_int) -> Outcome {
    let limit = driver.settings.profile.shared_per_block;
    let function = driver.function(function)?;
    match which {
        8 => {
            let room = limit - (function.program.shared_bytes as u32).min(limit);
            if value < 0 || value as u32 > room {
                return Err(Code::CUDA_ERROR_INVALID_VALUE);
            }
            function.max_dynamic_shared = value as u32;
        }
        9 if (-1..=100).contains(&value) => function.carveout = value,
        _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
    }
    Ok(())
}

pub(super) fn unload(session: &mut Session, module: u64) -> Outcome {
    session.wait(None)?;
    let driver = session.driver()?;
    let image = driver.images.remove(&module).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
    image.unload(&driver.memory);
    driver.functions.retain(|_, f| f.module != module);
    Ok(())
}

/// Handles of a module's functions in the order of their names, as many as there is room for.
pub(super) fn list_functions(driver: &mut Driver, functions: *mut u64, room: c_uint, module: u64) -> Outcome {
    let image = driver.images.get(&module).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
    let mut names: Vec<String> = image.programs.keys().cloned().collect();
    names.sort_unstable();
    for (k, name) in names.iter().take(room as usize).enumerate() {
        put(functions.wrapping_add(k), driver.function_handle(module, name)?)?;
    }
    Ok(())
}

api! {
    call fn cuModuleLoad(module: *mut u64, path: *const c_char) |s| {
        let bytes = std::fs::read(text(path)?).map_err(|_| Code::CUDA_ERROR_FILE_NOT_FOUND)?;
        load(s, module, &bytes, &Logs::NONE)
    }
    call fn cuModuleLoadData(module: *mut u64, image: *const c_void) |s| {
        load(s, module, image_bytes(image)?, &Logs::NONE)
    }
    call fn cuModuleLoadFatBinary(module: *mut u64, image: *const c_void) |s| {
        load(s, module, image_bytes(image)?, &Logs::NONE)
    }
    call fn cuModuleLoadDataEx(
        module: *mut u64, image: *const c_void, count: c_uint, options: *const c_uint, values: *mut *mut c_void,
    ) |s| {
        load(s, module, image_bytes(image)?, &Logs { count, options, values })
    }
    call fn cuModuleUnload(module: u64) |s| { unload(s, module) }
    call_anyway fn cuModuleGetLoadingMode(mode: *mut c_uint) |_s| { put(mode, 1) }
    call fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char) |s| {
        let name = text(name)?;
        put(function, s.driver()?.function_handle(module, name)?)
    }
    call fn cuModuleEnumerateFunctions(functions: *mut u64, room: c_uint, module: u64) |s| {
        list_functions(s.driver()?, functions, room, module)
    }
    call fn cuModuleGetFunctionCount(count: *mut c_uint, module: u64) |s| {
        let image = s.driver()?.images.get(&module).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        put(count, image.programs.len() as c_uint)
    }
    call fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: u64, name: *const c_char) |s| {
        let image = s.driver()?.images.get(&module).ok_or(Code::CUDA_ERROR_INVALID_HANDLE)?;
        let &(at, size) = image.variables.get(text(name)?).ok_or(Code::CUDA_ERROR_NOT_FOUND)?;
        put_optional(address, at);
        put_optional(bytes, size as usize);
        Ok(())
    }
    call fn cuFuncGetAttribute(value: *mut c_int, which: c_int, function: u64) |s| {
        let driver = s.driver()?;
        let capability = driver.settings.profile.architecture();
        let function = driver.function(function)?;
        function.loaded = true;
        put(value, attribute(function, which, capability)?)
    }
    call fn cuFuncSetAttribute(function: u64, which: c_int, value: c_int) |s| {
        set_attribute(s.driver()?, function, which, value)
    }
    call fn cuFuncSetCacheConfig(function: u64, _config: c_uint) |s| { s.driver()?.function(function).map(|_| ()) }
    call fn cuFuncGetModule(module: *mut u64, function: u64) |s| { put(module, s.driver()?.function(function)?.module) }
    call fn cuFuncGetName(name: *mut *const c_char, function: u64) |s| {
        put(name, s.driver()?.function(function)?.name.as_ptr())
    }
}
