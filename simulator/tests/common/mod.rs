//! What the tests share: nvcc, and a small safe face of the driver API.
//!
//! The driver is one per process, so tests that use it hold a lock for their whole life.

#![allow(dead_code)]

use std::ffi::{CString, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use cudasim::driver::api::{device, launch, memory, module, stream};
use cudasim::driver::settings::Settings;
use cudasim::driver::{Report, configure, last_report};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The nearest folder above a package's own that has such a path: several packages share this file.
fn folder_with(path: &str) -> &'static Path {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join(path).exists());
    found.expect("the packages lie in the workspace")
}

/// nvcc where scripts/fetch-nvcc.sh looks for it or puts it, or a panic that says how to get it.
pub fn nvcc() -> PathBuf {
    let root = folder_with("scripts/fetch-nvcc.sh");
    let named = std::env::var_os("NVCC").map(PathBuf::from);
    let home = std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = named.into_iter().chain(home).chain(std::env::split_paths(&path).map(|folder| folder.join("nvcc")));
    let fixed = [PathBuf::from("/usr/local/cuda/bin/nvcc"), root.join("target/cuda/bin/nvcc")];
    places.chain(fixed).find(|p| p.exists()).expect("no nvcc: run scripts/fetch-nvcc.sh, or set NVCC")
}

/// PTX of `tests/cuda/<name>.cu`.
pub fn compile(name: &str, arch: &str, more: &[&str]) -> String {
    let options = ["-ptx", "-lineinfo", "-arch", arch];
    String::from_utf8(nvcc_output(name, &[&options, more].concat())).expect("PTX is text")
}

/// What nvcc makes of `tests/cuda/<name>.cu` at -O3. Kept under target/tmp by its source and options, since nvcc takes
/// longer than most tests.
pub fn nvcc_output(name: &str, options: &[&str]) -> Vec<u8> {
    let sources = folder_with("tests/cuda").join("tests/cuda");
    let source = sources.join(format!("{name}.cu"));
    let compiler = nvcc();
    // A source may include another of the folder.
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&sources).expect("the folder is there").flatten().map(|f| f.path()).collect();
    files.sort();
    let text: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("the source is there")).collect();
    let made = std::fs::metadata(&compiler).and_then(|m| m.modified()).expect("nvcc is a file");
    let mut hasher = std::hash::DefaultHasher::new();
    (text, options, &compiler, made).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = folder.join(format!("{name}-{:016x}", hasher.finish()));
    if let Ok(output) = std::fs::read(&kept) {
        return output;
    }
    // Written beside and moved into place: other tests may be after the same.
    let fresh = tempfile::Builder::new().tempfile_in(folder).expect("a file in target/tmp").into_temp_path();
    let run =
        Command::new(compiler).args(["-O3", "-std=c++17"]).args(options).arg(&source).arg("-o").arg(&fresh).output();
    let run = run.expect("nvcc starts");
    assert!(run.status.success(), "nvcc failed: {}", String::from_utf8_lossy(&run.stderr));
    let output = std::fs::read(&fresh).expect("nvcc wrote its output");
    fresh.persist(&kept).expect("target/tmp can be written");
    output
}

/// A context with chosen settings and the modules loaded into it.
pub struct Gpu {
    module: u64,
    _lock: MutexGuard<'static, ()>,
}

pub fn ok(code: u32) {
    assert_eq!(code, 0, "{:?}", last_report().fault.map(|f| f.to_string()));
}

/// What every CUDA program here is compiled for.
pub const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

pub fn checked() -> Settings {
    Settings { checks: cudasim::checks::Checks::ALL, ..Settings::default() }
}

impl Gpu {
    pub fn new(ptx: &str, settings: Settings) -> Self {
        let mut gpu = Self::empty(settings);
        let text = CString::new(ptx).expect("PTX has no NUL");
        ok(unsafe { module::cuModuleLoadData(&mut gpu.module, text.as_ptr().cast()) });
        gpu
    }

    /// A context with a fat binary's module.
    pub fn of_image(image: &[u8], settings: Settings) -> Self {
        let mut gpu = Self::empty(settings);
        ok(unsafe { module::cuModuleLoadData(&mut gpu.module, image.as_ptr().cast()) });
        gpu
    }

    /// A context without a module.
    pub fn empty(settings: Settings) -> Self {
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        configure(settings);
        ok(device::cuInit(0));
        let mut context = 0;
        ok(unsafe { device::cuCtxCreate_v2(&mut context, 0, 0) });
        Self { module: 0, _lock: lock }
    }

    /// The log of a text that must not load, or of a kernel in it that must not be launched.
    pub fn refusal(ptx: &str) -> String {
        let mut gpu = Self::empty(checked());
        let text = CString::new(ptx).expect("PTX has no NUL");
        let (mut module, mut log) = (0, vec![0u8; 1024]);
        // CU_JIT_ERROR_LOG_BUFFER and its size, which becomes that of the log.
        let options = [5, 6];
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), log.len() as *mut c_void];
        let code = unsafe {
            module::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_ptr(), values.as_mut_ptr())
        };
        if code == 0 {
            gpu.module = module;
            return gpu.refusal_at_launch();
        }
        assert_eq!(code, 218, "CUDA_ERROR_INVALID_PTX");
        log.truncate(values[1] as usize);
        String::from_utf8(log).expect("the log is text")
    }

    /// Why the first kernel that is refused is.
    fn refusal_at_launch(&self) -> String {
        let mut count = 0;
        ok(unsafe { module::cuModuleGetFunctionCount(&mut count, self.module) });
        let mut functions = vec![0u64; count as usize];
        ok(unsafe { module::cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, self.module) });
        for function in functions {
            let (zeros, none) = ([0u64; 64], std::ptr::null());
            let params: Vec<*const c_void> = (0..64).map(|_| zeros.as_ptr().cast()).collect();
            let code = unsafe { launch::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, 0, params.as_ptr(), none) };
            if code == 218 {
                return self.report().refusal.expect("a refusal is reported");
            }
        }
        panic!("no kernel is refused");
    }

    pub fn module(&self) -> u64 {
        self.module
    }

    pub fn function(&self, name: &str) -> u64 {
        let (mut function, name) = (0, CString::new(name).expect("a name has no NUL"));
        ok(unsafe { module::cuModuleGetFunction(&mut function, self.module, name.as_ptr()) });
        function
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        let mut address = 0;
        ok(unsafe { memory::cuMemAlloc_v2(&mut address, bytes) });
        address
    }

    pub fn upload<T: Copy>(&self, data: &[T]) -> u64 {
        let address = self.alloc(size_of_val(data));
        self.write(address, data);
        address
    }

    pub fn write<T: Copy>(&self, address: u64, data: &[T]) {
        ok(unsafe { memory::cuMemcpyHtoD_v2(address, data.as_ptr().cast(), size_of_val(data)) });
    }

    pub fn try_download<T: Copy + Default>(&self, address: u64, count: usize) -> Result<Vec<T>, u32> {
        let mut data = vec![T::default(); count];
        match unsafe { memory::cuMemcpyDtoH_v2(data.as_mut_ptr().cast(), address, count * size_of::<T>()) } {
            0 => Ok(data),
            code => Err(code),
        }
    }

    pub fn download<T: Copy + Default>(&self, address: u64, count: usize) -> Vec<T> {
        self.try_download(address, count).unwrap_or_else(|code| {
            panic!("download gives {code}: {}", last_report().fault.map(|f| f.to_string()).unwrap_or_default())
        })
    }

    pub fn free(&self, address: u64) {
        ok(unsafe { memory::cuMemFree_v2(address) });
    }

    pub fn try_launch(&self, name: &str, grid: [u32; 3], block: [u32; 3], shared: u32, args: &[Arg], on: u64) -> u32 {
        let pointers = pointers(args);
        let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
        let function = self.function(name);
        unsafe {
            launch::cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, on, pointers.as_ptr(), std::ptr::null())
        }
    }

    pub fn launch(&self, name: &str, grid: u32, block: u32, args: &[Arg]) {
        ok(self.try_launch(name, [grid, 1, 1], [block, 1, 1], 0, args, 0));
    }

    /// A launch whose blocks may wait for each other.
    pub fn cooperative(&self, name: &str, grid: u32, block: u32, args: &[Arg]) -> u32 {
        let (function, pointers) = (self.function(name), pointers(args));
        unsafe { launch::cuLaunchCooperativeKernel(function, grid, 1, 1, block, 1, 1, 0, 0, pointers.as_ptr()) }
    }

    /// Address and size of a variable of the module.
    pub fn global(&self, name: &str) -> (u64, usize) {
        let (mut address, mut bytes, name) = (0, 0, CString::new(name).expect("a name has no NUL"));
        ok(unsafe { module::cuModuleGetGlobal_v2(&mut address, &mut bytes, self.module, name.as_ptr()) });
        (address, bytes)
    }

    pub fn attribute(&self, function: &str, which: i32) -> i32 {
        let mut value = 0;
        ok(unsafe { module::cuFuncGetAttribute(&mut value, which, self.function(function)) });
        value
    }

    pub fn sync(&self) -> u32 {
        unsafe { device::cuCtxSynchronize() }
    }

    pub fn stream(&self) -> u64 {
        let mut handle = 0;
        ok(unsafe { stream::cuStreamCreate(&mut handle, 1) });
        handle
    }

    pub fn report(&self) -> Report {
        last_report()
    }
}

/// A kernel argument's bytes.
#[derive(Clone)]
pub struct Arg(Vec<u8>);

impl Arg {
    /// A structure passed by value.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

fn pointers(args: &[Arg]) -> Vec<*const c_void> {
    args.iter().map(|arg| arg.0.as_ptr().cast()).collect()
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self(value.to_le_bytes().to_vec())
    }
}
impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self(value.to_le_bytes().to_vec())
    }
}
impl From<f32> for Arg {
    fn from(value: f32) -> Self {
        Self(value.to_le_bytes().to_vec())
    }
}

/// `args![pointer, 5, 1.0f32]`
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::common::Arg::from($value)),*] };
}

/// A stream of numbers with no pattern, the same in every run.
pub fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut next = numbers(seed);
    (0..count).map(|_| (next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}
