//! `cudasim-run PROGRAM [ARGUMENT...]`: runs a program that finds the simulator's libraries where it looks for CUDA's.
//!
//! The libraries lie beside this program under the names that cargo gives them. Programs ask for others, so a folder of
//! links is made and put first in `LD_LIBRARY_PATH`.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const LINKS: [(&str, &str); 5] = [
    ("libcuda.so", "libcuda.so"),
    ("libcuda.so.1", "libcuda.so"),
    ("libcudart.so", "libcudart.so"),
    ("libcudart.so.12", "libcudart.so"),
    ("libcudart.so.13", "libcudart.so"),
];

/// A folder of links to the libraries in `from`, the same for every run that has the same libraries.
fn links(from: &Path) -> std::io::Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    // SAFETY: the call has no conditions.
    let user = unsafe { libc::getuid() };
    let folder = std::env::temp_dir().join(format!("cudasim-{user}-{:016x}", hasher.finish()));
    std::fs::create_dir_all(&folder)?;
    for (name, library) in LINKS {
        let (link, target) = (folder.join(name), from.join(library));
        if std::fs::read_link(&link).is_ok_and(|held| held == target) {
            continue;
        }
        let _ = std::fs::remove_file(&link);
        // Another run may have been quicker.
        if let Err(e) = symlink(&target, &link)
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(e);
        }
    }
    Ok(folder)
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: cudasim-run PROGRAM [ARGUMENT...]")?;
    let own = std::env::current_exe().and_then(|path| path.canonicalize()).map_err(|e| format!("own path: {e}"))?;
    let from = own.parent().unwrap_or(Path::new("/"));
    if !from.join("libcuda.so").exists() {
        return Err(format!(
            "there is no libcuda.so in {}: cargo build --release --workspace makes it",
            from.display()
        ));
    }
    let mut path = links(from).map_err(|e| format!("links to the libraries: {e}"))?.into_os_string();
    if let Some(held) = std::env::var_os("LD_LIBRARY_PATH").filter(|held| !held.is_empty()) {
        path.push(":");
        path.push(held);
    }
    // Does not return when it succeeds.
    let error = Command::new(&program).args(arguments).env("LD_LIBRARY_PATH", path).exec();
    Err(format!("{}: {error}", Path::new(&program).display()))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("cudasim-run: {message}");
            ExitCode::FAILURE
        }
    }
}
