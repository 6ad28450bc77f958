//! The kernels of this build, as build.rs embedded them.

use std::ops::Range;

/// A compiled file of kernels/.
pub struct Image {
    /// Stem of the .cu file.
    pub file: &'static str,
    /// A fat binary: machine code, and PTX for what is newer.
    pub bytes: &'static [u8],
    /// Where in it the PTX stands, as text.
    ptx: Range<usize>,
    /// Names of its kernels.
    pub kernels: &'static [&'static str],
}

impl Image {
    /// The PTX, for a driver that cannot read the machine code.
    pub fn ptx(&self) -> &'static str {
        str::from_utf8(&self.bytes[self.ptx.clone()]).expect("nvcc writes ASCII")
    }
}

// Statics, not constants: an executable has one copy, however many of its crates name them.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// All kernels of this build.
pub(crate) fn kernel_names() -> impl Iterator<Item = &'static str> {
    IMAGES.iter().flat_map(|image| image.kernels.iter().copied())
}
