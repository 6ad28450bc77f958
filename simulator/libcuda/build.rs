//! Gives the shared library the name that programs look for.
//!
//! With `libcuda.so` as its soname the loader takes the library as the answer to a later `dlopen("libcuda.so")` once a
//! program has opened it by its path: no search path need be set before the program starts.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
