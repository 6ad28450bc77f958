//! A fault on demand, `CUDASIM_FAULT=KERNEL[:N]`: the N-th launch of a kernel runs its blocks and then ends as if it
//! had touched memory that is not the program's, so that a program can test how it takes a fault.
//!
//! Launches are counted from one in the order in which they run, those of graphs among them.

use crate::error::{Fault, FaultKind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub kernel: String,
    /// Which of the kernel's launches, from one.
    pub launch: u64,
}

impl Demand {
    /// `KERNEL` or `KERNEL:N`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kernel, launch) = match text.split_once(':') {
            Some((kernel, launch)) => (kernel, launch.parse().ok().filter(|&n| n > 0)?),
            None => (text, 1),
        };
        let kernel = kernel.trim();
        (!kernel.is_empty()).then(|| Self { kernel: kernel.to_owned(), launch })
    }

    /// The fault that was asked for, once that many launches of the kernel have run.
    pub fn fault(&self, runs: u64) -> Option<Fault> {
        let Self { kernel, launch } = self;
        let message =
            || format!("asked for by CUDASIM_FAULT={kernel}:{launch}, at the end of launch {launch} of {kernel}");
        (runs == *launch).then(|| Fault::new(FaultKind::IllegalAddress, message()))
    }
}

#[cfg(test)]
mod tests {
    use super::Demand;

    #[test]
    fn a_kernel_and_the_number_of_its_launch() {
        let demand = |kernel: &str, launch| Some(Demand { kernel: kernel.to_owned(), launch });
        assert_eq!(Demand::parse("fill"), demand("fill", 1));
        assert_eq!(Demand::parse("fill:12"), demand("fill", 12));
        for wrong in ["", ":", ":3", "fill:", "fill:0", "fill:-1", "fill:x", "fill:1:2"] {
            assert_eq!(Demand::parse(wrong), None, "{wrong}");
        }
    }
}
