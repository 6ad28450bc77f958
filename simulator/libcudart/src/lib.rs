//! `libcudart.so`: the CUDA runtime for programs that nvcc has compiled, over whatever `libcuda` lies beside it or is
//! found by the loader; with the simulator's, ordinary programs run without a GPU.
//!
//! | module | what it does |
//! |---|---|
//! | [`driver`] | the driver's functions, found when first called |
//! | [`state`] | the primary context, errors of each thread, what programs register before `main` |
//! | [`register`] | the functions that nvcc's code calls by itself |
//! | [`device`], [`memory`], [`symbol`], [`stream`], [`launch`], [`graph`] | the API, a file for each chapter |
//!
//! Textures, arrays, virtual memory and dynamic parallelism are not here: a program that needs their functions does not
//! start, and the loader names the function.

#![allow(non_snake_case)]

mod device;
mod driver;
mod error;
mod graph;
mod launch;
mod memory;
mod register;
mod state;
mod stream;
mod symbol;
