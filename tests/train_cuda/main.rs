//! The program on a CUDA device: on a GPU where there is one, else on the simulator. With `cuda_device` and `golden` it
//! is what a GPU is checked with.

#[path = "../common/cuda_runs.rs"]
mod cuda_runs;
#[path = "../common/gpu.rs"]
mod gpu;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/runs.rs"]
mod runs;

mod faults;
mod memory;
mod profiles;
mod program;
mod reviews;
mod time;
