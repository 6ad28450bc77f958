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

    /// What the device takes beside all buffers while it trains a model of so many layers, on batches up to a size, of
    /// which there are so many, if that is known.
    fn head_room_bytes(&self, _layers: usize, _sizes: Capacity, _batches: Option<usize>) -> usize {
        0
    }

    /// Zeros in rows and columns, in the working precision.
    fn matrix(&self, rows: usize, cols: usize) -> Result<Matrix<Self>>;
    /// Zeros in float32.
    fn vector(&self, len: usize) -> Result<Self::Vector>;
    /// Zeros for something of each parameter.
    fn arena(&self, len: usize) -> Result<Self::Arena>;
    /// Weights with these values.
    fn parameters(&self, values: &[f32]) -> Result<Self::Parameters>;
    /// Zeros for the gradients of a model.
    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<Self::Gradients>;
    /// Room for batches up to this size.
    fn batch(&self, capacity: Capacity) -> Result<Self::Batch>;
    /// For that many losses.
    fn outcome(&self, losses: usize) -> Result<Self::Outcome>;
}

/// Copies from and to the host, in float32; what is read waits for the device.
///
/// # Errors
/// All of it: [`Error::Device`](crate::Error::Device) where the device has failed.
pub trait Copies: Buffers {
    /// The numbers of a vector.
    fn read_vector<'a>(&self, vector: &'a Self::Vector) -> Result<Cow<'a, [f32]>>;
    /// The numbers of an arena.
    fn read_arena<'a>(&self, arena: &'a Self::Arena) -> Result<Cow<'a, [f32]>>;
    /// The weights in float32.
    fn read_parameters<'a>(&self, parameters: &'a Self::Parameters) -> Result<Cow<'a, [f32]>>;
    /// The gradients as a step has left them.
    fn read_gradients<'a>(&self, gradients: &'a Self::Gradients) -> Result<Cow<'a, [f32]>>;
    /// Overwrites the first elements.
    fn write_vector(&self, vector: &mut Self::Vector, values: &[f32]) -> Result<()>;
    /// Overwrites an arena.
    fn write_arena(&self, arena: &mut Self::Arena, values: &[f32]) -> Result<()>;
    /// Overwrites all gradients.
    fn write_gradients(&self, gradients: &mut Self::Gradients, values: &[f32]) -> Result<()>;
    /// Overwrites the weights, and their copies in the working precision.
    fn write_parameters(&self, parameters: &mut Self::Parameters, values: &[f32]) -> Result<()>;
}
