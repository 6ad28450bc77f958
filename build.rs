//! Compiles kernels/*.cu with nvcc and embeds what comes out.
//!
//! Each file becomes PTX for compute_80, in the version that the oldest driver takes, and from that very text machine
//! code for the architectures of `BERTSD_CUDA_ARCH` (default: all of `SASS`); both go into one fat binary. Newer GPUs
//! and the simulator take the PTX. ptxas's report is read back: a kernel that spills registers or needs a stack frame
//! fails the build unless `ALLOWED_SPILLS` names it with a reason. Written to OUT_DIR: `kernels.rs`, the images and the
//! names of their kernels, and `geometry.rs`, the constants of kernels/geometry.cuh. Without nvcc the list is empty and
//! the program runs on the processor only.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::SystemTime,
};

/// Architectures that get machine code.
const SASS: [&str; 6] = ["80", "86", "89", "90", "100", "120"];
/// The virtual architecture of the PTX: the baseline of every kernel.
const PTX: &str = "80";
/// Its version: that of CUDA 12.0, whose driver is the oldest that the program's binding to the driver knows. nvcc
/// writes the newest, which only a driver as new as nvcc would take. Machine code for compute_80 is made from it, so
/// that ptxas refuses what is not in this version.
const PTX_VERSION: &str = "8.0";
/// Kernels that may spill, and why.
const ALLOWED_SPILLS: [(&str, &str); 1] = [(
    "attention_backward_key_value_dropout_bf16_d128",
    "all 255 registers hold sums: one more goes to local memory on sm_90 and sm_100",
)];

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["NVCC", "CUDA_HOME", "PATH", "BERTSD_CUDA_ARCH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let root = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    rerun_in_another_checkout(&root);
    let out = PathBuf::from(required("OUT_DIR"));
    fs::write(out.join("geometry.rs"), geometry(&root.join("kernels/geometry.cuh"))).expect("OUT_DIR can be written");
    let images = match find_nvcc(&root) {
        Some(nvcc) => compile_all(&nvcc, &root.join("kernels"), &out),
        None => {
            println!(
                "cargo::warning=nvcc was not found: a build for the processor only (scripts/fetch-nvcc.sh fetches it)"
            );
            Vec::new()
        }
    };
    fs::write(out.join("kernels.rs"), table(&images)).expect("OUT_DIR can be written");
}

fn required(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"))
}

/// Cargo takes two checkouts that share a target directory for one package, and what is older than the last build for
/// built: the second would get the kernels of the first. A file of a name that only this checkout has, in its own
/// target directory, is missing in any other, where cargo then runs this program again.
fn rerun_in_another_checkout(root: &Path) {
    let mut hash = DefaultHasher::new();
    root.hash(&mut hash);
    let name = format!("target/kernels-of-{:016x}", hash.finish());
    let mark = |path: &Path| {
        fs::create_dir_all(root.join("target"))?;
        // Older than any build, so that it never looks changed.
        fs::File::create(path)?.set_modified(SystemTime::UNIX_EPOCH)
    };
    // In a directory that cannot be written there is one checkout at most.
    if mark(&root.join(&name)).is_ok() {
        println!("cargo::rerun-if-changed={name}");
    }
}

/// `constexpr int NAME = NUMBER;` as `pub(crate) const NAME: u32 = NUMBER;`.
fn geometry(header: &Path) -> String {
    let text = fs::read_to_string(header).expect("kernels/geometry.cuh is there");
    let mut rust = String::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("constexpr int ") else { continue };
        let (name, number) = rest.trim_end_matches(';').split_once(" = ").expect("constexpr int NAME = NUMBER;");
        let number: u32 = number.parse().unwrap_or_else(|_| panic!("geometry.cuh: {name} is not a plain number"));
        writeln!(rust, "pub(crate) const {name}: u32 = {number};").expect("a string takes everything");
    }
    rust
}

/// $NVCC, $CUDA_HOME, PATH, /usr/local/cuda, or the toolkit under target/.
fn find_nvcc(root: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os("NVCC").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "NVCC={} is not a file", path.display());
        return Some(path);
    }
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let fetched = [PathBuf::from("/usr/local/cuda/bin"), root.join("target/cuda/bin")];
    let directories = home.into_iter().chain(env::split_paths(&path)).chain(fetched);
    let found = directories.map(|directory| directory.join("nvcc")).find(|path| path.is_file());
    println!("cargo::rerun-if-changed={}", found.as_deref().unwrap_or(&root.join("target/cuda/bin/nvcc")).display());
    found
}

/// A compiled file and its kernels.
struct Image {
    stem: String,
    path: PathBuf,
    kernels: Vec<String>,
}

/// Compiles every kernels/*.cu whose text, headers or compiler changed since the last time. PTX is made once, for
/// `PTX`: the machine code of every architecture comes from the very text that the simulator's tests run.
fn compile_all(nvcc: &Path, kernels: &Path, out: &Path) -> Vec<Image> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(kernels).expect("kernels/ is there").map(|e| e.unwrap().path()).collect();
    files.sort();
    let of_kind = |kind: &'static str| files.iter().filter(move |path| path.extension().is_some_and(|e| e == kind));
    let mut shared = DefaultHasher::new();
    let version = Command::new(nvcc).arg("--version").output().ok().map(|output| output.stdout);
    (nvcc, version, architectures(), env!("CARGO_PKG_VERSION")).hash(&mut shared);
    fs::read(Path::new(&required("CARGO_MANIFEST_DIR")).join("build.rs")).ok().hash(&mut shared);
    of_kind("cuh").for_each(|path| fs::read(path).ok().hash(&mut shared));
    let sources: Vec<_> = of_kind("cu").map(|path| Source::new(path, out, shared.clone())).collect();

    let mut stale: Vec<_> = sources.iter().filter(|source| !source.is_compiled()).collect();
    // The longest first, so that no worker ends long after the others.
    stale.sort_by_key(|source| std::cmp::Reverse(fs::metadata(&source.path).map_or(0, |file| file.len())));
    in_parallel(&stale, |source| source.compile(nvcc));
    let mut wanted = architectures();
    if !wanted.iter().any(|arch| arch == PTX) {
        // For its check of the PTX alone.
        wanted.push(PTX.to_owned());
    }
    let codes: Vec<_> = stale.iter().flat_map(|source| wanted.iter().map(move |arch| (source, arch))).collect();
    in_parallel(&codes, |(source, arch)| source.assemble(nvcc, arch));
    stale.iter().for_each(|source| source.link(nvcc));
    sources.into_iter().map(Source::into_image).collect()
}

/// Calls `work` with every job, as many at a time as there are processors.
fn in_parallel<T: Sync>(jobs: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(job);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
}

fn architectures() -> Vec<String> {
    match env::var("BERTSD_CUDA_ARCH") {
        Ok(list) if !list.is_empty() => list.split([',', ' ', ';']).map(str::to_owned).collect(),
        _ => SASS.map(str::to_owned).to_vec(),
    }
}

/// A kernel file, and where in OUT_DIR its products lie.
struct Source {
    path: PathBuf,
    stem: String,
    out: PathBuf,
    /// Hash of all that its products come from; stands in its stamp once they are there.
    key: String,
}

impl Source {
    fn new(path: &Path, out: &Path, mut hash: DefaultHasher) -> Self {
        fs::read(path).expect("a kernel file can be read").hash(&mut hash);
        let stem = path.file_stem().expect("a .cu has a stem").to_string_lossy().into_owned();
        Self { path: path.to_owned(), stem, out: out.to_owned(), key: format!("{:016x}", hash.finish()) }
    }

    fn product(&self, suffix: &str) -> PathBuf {
        self.out.join(format!("{}.{suffix}", self.stem))
    }

    fn is_compiled(&self) -> bool {
        fs::read_to_string(self.product("key")).is_ok_and(|old| old == self.key)
    }

    fn compile(&self, nvcc: &Path) {
        let _ = fs::remove_file(self.product("key"));
        let ptx = self.product("ptx");
        let mut command = Command::new(nvcc);
        command.args(["-O3", "-std=c++17", "-lineinfo", "-ptx", &format!("-arch=compute_{PTX}"), "-o"]);
        run(command.arg(&ptx).arg(&self.path), &self.path);
        let text = fs::read_to_string(&ptx).expect("nvcc has written it");
        fs::write(&ptx, in_version(&text, PTX_VERSION)).expect("OUT_DIR can be written");
    }

    fn assemble(&self, nvcc: &Path, arch: &str) {
        let mut command = Command::new(nvcc.with_file_name("ptxas"));
        command.args(["-m64", "--generate-line-info", "-v", &format!("-arch=sm_{arch}"), "-o"]);
        command.arg(self.product(&format!("{arch}.cubin"))).arg(self.product("ptx"));
        check_spills(&run(&mut command, &self.path), &self.path);
    }

    fn link(&self, nvcc: &Path) {
        let mut command = Command::new(nvcc.with_file_name("fatbinary"));
        command.args(["-64", "--cmdline=--generate-line-info", "--compress-mode=none"]);
        command.arg(image("create", &self.product("fatbin")));
        command.arg(image(&format!("image3=kind=ptx,sm={PTX},file"), &self.product("ptx")));
        for arch in architectures() {
            let code = self.product(&format!("{arch}.cubin"));
            command.arg(image(&format!("image3=kind=elf,sm={arch},file"), &code));
        }
        run(&mut command, &self.path);
        fs::write(self.product("key"), &self.key).expect("OUT_DIR can be written");
    }

    fn into_image(self) -> Image {
        Image { kernels: entries(&self.product("ptx")), path: self.product("fatbin"), stem: self.stem }
    }
}

fn image(option: &str, path: &Path) -> String {
    format!("--{option}={}", path.display())
}

/// A PTX text in this version, if it is in a newer one: what is newer in it are hints, which go.
fn in_version(text: &str, version: &str) -> String {
    let number = |version: &str| -> (u32, u32) {
        let (major, minor) = version.split_once('.').expect("MAJOR.MINOR");
        (major.parse().expect("a number"), minor.parse().expect("a number"))
    };
    let is_version = |line: &str| line.starts_with(".version ");
    let stated = text.lines().find(|line| is_version(line)).expect("PTX says its version");
    if number(stated[".version ".len()..].trim()) <= number(version) {
        return text.to_owned();
    }
    let stays = |line: &&str| !line.trim_start().starts_with(".pragma \"used_bytes_mask");
    let lines = text.lines().filter(stays);
    lines.map(|line| if is_version(line) { format!(".version {version}\n") } else { format!("{line}\n") }).collect()
}

fn run(command: &mut Command, source: &Path) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
    let report = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "nvcc cannot compile {}:\n{report}", source.display());
    report
}

/// Reads `ptxas info : Compiling entry function 'NAME' for 'ARCH'` and the line of its stack frame and spills.
fn check_spills(report: &str, source: &Path) {
    let mut kernel = "";
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap_or_default();
        }
        let counts = line.trim().strip_suffix(" bytes spill loads").filter(|_| line.contains("bytes stack frame"));
        let clean = counts.is_none_or(|counts| counts == "0 bytes stack frame, 0 bytes spill stores, 0");
        let allowed = ALLOWED_SPILLS.iter().any(|(name, _)| *name == kernel);
        assert!(clean || allowed, "{}: {kernel} spills: {}", source.display(), line.trim());
    }
}

/// Names of the kernels in a PTX file.
fn entries(ptx: &Path) -> Vec<String> {
    let text = fs::read_to_string(ptx).expect("nvcc has written it");
    let names = text
        .lines()
        .filter_map(|line| line.split_once(".entry ").map(|(_, name)| name.trim_end_matches(['(', ')', ' '])));
    names.map(str::to_owned).collect()
}

fn table(images: &[Image]) -> String {
    let mut rust = String::from("/// All of kernels/, by file.\npub static IMAGES: &[Image] = &[\n");
    for Image { stem, path, kernels } in images {
        let bytes = fs::read(path).expect("it was written");
        // The first image in it, without comments; its text ends in NUL.
        let start = bytes.windows(9).position(|window| window == b".version ").expect("PTX is stored as text");
        let end = start + bytes[start..].iter().position(|&byte| byte == 0).expect("the text ends");
        let (path, ptx) = (path.display().to_string(), start..end);
        writeln!(
            rust,
            "    Image {{ file: {stem:?}, bytes: include_bytes!({path:?}), ptx: {ptx:?}, kernels: &{kernels:?} }},"
        )
        .expect("a string takes everything");
    }
    rust + "];\n"
}
