//! `libcuda.so`: what the loader gives to a program that asks for the CUDA driver.
//!
//! Everything is in `cudasim`, whose exported functions become this library's.

pub use cudasim::driver::api;
