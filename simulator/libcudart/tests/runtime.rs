//! Programs of the CUDA runtime, compiled by nvcc without NVIDIA's and linked with this one, run on the simulator's
//! driver.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the libraries as cargo built them beside this test.
fn libraries() -> PathBuf {
    let own = std::env::current_exe().expect("the test has a path");
    let folder = own.parent().expect("it lies in a folder");
    let found = [folder.to_owned(), folder.join("..")].into_iter().find(|f| f.join("libcudart.so").exists());
    found.expect("cargo builds libcudart.so with the crate").canonicalize().expect("it has a path")
}

/// Compiles `programs/<name>.cu` into a folder.
fn program(name: &str, into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{name}.cu"));
    let program = into.join(name);
    let run = Command::new(common::nvcc())
        .args(["-O1", "-std=c++17", "-arch=sm_80", "-cudart", "none", "-o"])
        .args([&program, &source])
        .arg("-L")
        .arg(libraries())
        .arg("-lcudart")
        .output()
        .expect("nvcc starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    program
}

fn run(program: &Path, checks: &str) -> Output {
    let run = Command::new(program).env("LD_LIBRARY_PATH", libraries()).env("CUDASIM_CHECK", checks).output();
    run.expect("the program starts")
}

#[test]
fn an_ordinary_program_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program("ordinary", folder.path());
    for checks in ["", "all"] {
        let output = run(&program, checks);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.ends_with("all right\n"), "{text}{errors}");
        assert!(text.contains("hello from thread 0\nhello from thread 1\n"), "{text}");
    }
}

/// As `cudasim-run` does it: a folder of links.
#[test]
fn a_program_finds_the_libraries_by_their_usual_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program("ordinary", folder.path());
    for (name, library) in [("libcuda.so.1", "libcuda.so"), ("libcudart.so", "libcudart.so")] {
        std::os::unix::fs::symlink(libraries().join(library), folder.path().join(name)).expect("a link");
    }
    let output = Command::new(program).env("LD_LIBRARY_PATH", folder.path()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
