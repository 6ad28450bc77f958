//! All randomness of a run: stateless, addressed by counters, the same bits on every device.

mod philox;

pub use philox::{Philox, Stream};
