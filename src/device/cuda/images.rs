//! The kernels of this build, as build.rs embedded them.

/// A compiled file of kernels/.
pub struct Image {
    /// Stem of the .cu file.
    pub file: &'static str,
    /// A fat binary: machine code, and PTX for what is newer.
    pub bytes: &'static [u8],
    /// Names of its kernels.
    pub kernels: &'static [&'static str],
}

// Statics, not constants: an executable has one copy, however many of its crates name them.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// All kernels of this build.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    IMAGES.iter().flat_map(|image| image.kernels.iter().copied())
}
