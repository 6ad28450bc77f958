//! The CUDA device against the CPU device and f64, kernel by kernel and as a whole. Without a GPU the tests run on the
//! simulator with all its checks; every test says which device it ran on.

#[path = "../common/gpu.rs"]
mod gpu;
#[path = "../common/padding.rs"]
mod padding;
#[path = "../common/reference.rs"]
mod reference;
#[path = "../common/skips.rs"]
mod skips;
#[path = "../common/tiny.rs"]
mod tiny;

mod attention;
mod buffers;
mod embedding;
mod every_kernel;
mod gelu;
mod head;
mod images;
mod layer_norm;
mod linear;
mod linear_fixture;
mod loss;
mod optimizer;
mod report;
mod short_buffers;
mod support;
mod training;
mod votes;
mod window;
