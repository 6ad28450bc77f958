//! Memory of a device: allocation, and copies from and to the host.

use std::borrow::Cow;

use super::{Buffers, Capacity, Matrix, Storage};
use crate::{Result, model::layout::Embeddings};

/// Allocation. Everything is allocated before the first step, and starts as zeros.
///
/// # Errors
/// All of it: [`Error::Device`](crate::Error::Device) where the device has no memory left.
pub trait Memory: Buffers {
    /// How it stores matrices and weights.
    fn storage(&self) -> Storage;

    /// Memory that is still free, where the device's memory is its own.
    fn free_bytes(&self) -> Result<Option<usize>>;

    fn matrix(&self, rows: usize, cols: usize) -> Result<Matrix<Self>>;
    fn vector(&self, len: usize) -> Result<Self::Vector>;
    fn arena(&self, len: usize) -> Result<Self::Arena>;
    fn parameters(&self, values: &[f32]) -> Result<Self::Parameters>;
    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<Self::Gradients>;
    fn batch(&self, capacity: Capacity) -> Result<Self::Batch>;
    /// For that many losses.
    fn outcome(&self, losses: usize) -> Result<Self::Outcome>;
}

/// Copies from and to the host, in float32; what is read waits for the device.
///
/// # Errors
/// All of it: [`Error::Device`](crate::Error::Device) where the device has failed.
pub trait Copies: Buffers {
    fn read_vector<'a>(&self, vector: &'a Self::Vector) -> Result<Cow<'a, [f32]>>;
    fn read_arena<'a>(&self, arena: &'a Self::Arena) -> Result<Cow<'a, [f32]>>;
    fn read_parameters<'a>(&self, parameters: &'a Self::Parameters) -> Result<Cow<'a, [f32]>>;
    fn read_gradients<'a>(&self, gradients: &'a Self::Gradients) -> Result<Cow<'a, [f32]>>;
    /// Overwrites the first elements.
    fn write_vector(&self, vector: &mut Self::Vector, values: &[f32]) -> Result<()>;
    fn write_arena(&self, arena: &mut Self::Arena, values: &[f32]) -> Result<()>;
    fn write_gradients(&self, gradients: &mut Self::Gradients, values: &[f32]) -> Result<()>;
    fn write_parameters(&self, parameters: &mut Self::Parameters, values: &[f32]) -> Result<()>;
}
