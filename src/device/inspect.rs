//! What checks and measurements ask of a device, and no run: numbers of matrices, in and out.

use std::borrow::Cow;

use super::{Buffers, Matrix};
use crate::Result;

/// Matrices in float32, from and to the host; what is read waits for the device. Not of the seam: a pass leaves its
/// matrices where they are.
///
/// # Errors
/// All of it: [`Error::Device`](crate::Error::Device) where the device has failed.
pub trait Inspect: Buffers {
    /// The numbers in use or not, row by row, in float32.
    fn read_matrix<'a>(&self, matrix: &'a Matrix<Self>) -> Result<Cow<'a, [f32]>>;

    /// Overwrites the first elements.
    fn write_matrix(&self, matrix: &mut Matrix<Self>, values: &[f32]) -> Result<()>;
}
