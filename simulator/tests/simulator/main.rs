//! The simulator's tests: its instructions, whole CUDA programs, checks, counters and driver API.
//!
//! One binary, since each takes long to link. The driver is one per process, so its tests take turns (see `common`).

#[path = "../common/mod.rs"]
mod common;

mod access;
mod arithmetic;
mod captures;
mod cooperation;
mod counters;
mod driver;
mod faults;
mod fuzz;
mod graphs;
mod halves;
mod isa;
mod language;
mod libraries;
mod misuse;
mod order;
mod ordinary;
mod planted_bugs;
mod programs;
mod report;
mod shapes;
mod tensor;
