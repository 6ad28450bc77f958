//! The driver API: what a program calls, over queues of work that run in any order streams and events allow.
//!
//! `state` holds everything, `session` is the lock and the way in; `queue` decides what runs next, `work` runs it, and `sampling` knows what need not run. The
//! `extern "C"` functions are in `api`, one file for each chapter of NVIDIA's manual, and only check arguments and
//! convert.

pub mod api;
mod capture;
mod cubin;
mod current;
pub mod demand;
mod fatbin;
mod graph;
mod idle;
mod images;
mod lifecycle;
mod made;
mod queue;
mod recording;
pub mod result;
mod sampling;
mod session;
pub mod settings;
mod state;
mod version;
mod work;

pub use fatbin::{Registers, kernel_registers};
pub use lifecycle::{configure, count_traffic, last_report, reset};
pub use state::Report;
