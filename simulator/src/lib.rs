//! A CUDA driver library for machines without a GPU: it executes PTX on the CPU, checks it, and counts.
//!
//! | module | what it does |
//! |---|---|
//! | [`ptx`] | text to a tree |
//! | [`isa`] | the instruction table: one row for each opcode, with its section of the PTX ISA |
//! | [`lower`], [`program`] | the tree to decoded instructions over allocated registers |
//! | [`memory`] | address space, allocations |
//! | [`launch`] | a launch, and what the lanes of a warp access |
//! | [`exec`] | lanes, strands, warps, blocks, grids |
//! | [`checks`] | bounds, races, uninitialised reads, barriers, leaks |
//! | [`counters`] | what a GPU would have issued and moved |
//! | [`driver`] | the driver API over all of this |
//!
//! # How a program finds it
//!
//! The shared library is a drop-in `libcuda.so`. There are two ways to it, and neither changes the program's own calls:
//!
//! - *Before the program starts*: put the folder that holds `libcuda.so` first in `LD_LIBRARY_PATH`. A program that was
//!   linked
//!   with the driver asks for `libcuda.so.1`: give it a link of that name in the folder.
//! - *From within the program*, before its first driver call: `dlopen` the library by its path with `RTLD_NOW |
//!   RTLD_GLOBAL`.
//!   The library's soname is `libcuda.so`, so the loader gives the same library to whoever opens `libcuda.so` by name
//!   afterwards, as cudarc does with `dynamic-loading`. A program that offers `CUDASIM=1` needs just this, with the
//!   path of the `libcuda.so` beside its own executable.
//!
//! Either way the device's name ends in `(simulated)`, so that no log can be mistaken for that of a GPU. Settings are
//! environment variables, read at `cuInit`: see [`driver::settings`].

pub mod checks;
pub mod counters;
pub mod driver;
pub mod error;
pub mod exec;
pub mod isa;
pub mod launch;
pub mod lower;
pub mod memory;
pub mod profile;
pub mod program;
pub mod ptx;
