//! build.rs in checkouts that share a target directory.

use std::{env, fs, path::Path, process::Command};

/// A package with this project's build script, which prints the one constant of its geometry.
fn checkout(directory: &Path, number: u32) {
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::create_dir_all(directory.join("kernels")).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs"), directory.join("build.rs")).unwrap();
    let manifest = "[package]\nname = \"checkout\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("kernels/geometry.cuh"), format!("constexpr int NUMBER = {number};\n")).unwrap();
    let program =
        "include!(concat!(env!(\"OUT_DIR\"), \"/geometry.rs\"));\nfn main() {\n    print!(\"{NUMBER}\");\n}\n";
    fs::write(directory.join("src/main.rs"), program).unwrap();
}

#[test]
fn checkouts_that_share_a_target_directory_get_their_own_kernels() {
    let home = tempfile::tempdir().unwrap();
    let number = |name: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--offline"]).current_dir(home.path().join(name));
        cargo.env("CARGO_TARGET_DIR", home.path().join("shared")).env_remove("NVCC").env_remove("CUDA_HOME");
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Both are older than any build, as they are wherever builds take turns.
    checkout(&home.path().join("one"), 1);
    checkout(&home.path().join("two"), 2);
    for _ in 0..2 {
        assert_eq!([number("one"), number("two")], ["1", "2"]);
    }
}
