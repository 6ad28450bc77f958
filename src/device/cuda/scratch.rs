//! Memory that operations keep for themselves: one list, allocated or only counted.

use std::cell::Cell;

use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};

use super::{
    Setup,
    attention::RowStatistics,
    buffer::zeros,
    element::Element,
    linear_tiles::{self, Multiprocessors},
    row_sums::RowSums,
};
use crate::{
    Result,
    device::{Capacity, Shape},
};

/// Gives memory that starts as zeros.
pub(crate) trait Zeros {
    type Buffer<T>;

    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<Self::Buffer<T>>;
}

impl Zeros for Setup<'_> {
    type Buffer<T> = CudaSlice<T>;

    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<CudaSlice<T>> {
        zeros(self.stream, self.device, len)
    }
}

/// Counts bytes.
#[derive(Default)]
struct Count(Cell<usize>);

impl Zeros for Count {
    type Buffer<T> = ();

    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<()> {
        self.0.set(self.0.get() + len * size_of::<T>());
        Ok(())
    }
}

/// What operations share, or keep between two launches.
pub(crate) struct Scratch<E: Element, Z: Zeros> {
    /// Parts of split sums of weight gradients, and how many of them are there.
    pub parts: Z::Buffer<f32>, // [parts, tiles, part]
    pub arrivals: Z::Buffer<u32>,             // [tiles]
    pub statistics: Z::Buffer<RowStatistics>, // [H, T]
    pub row_sums: Z::Buffer<f32>,             // see `row_sums`
    /// Gradient of the summed embeddings.
    pub d_sum: Z::Buffer<E>, // [T, C]
    /// Gradient before the pooler's tanh.
    pub d_pre: Z::Buffer<E>, // [B, C]
}

impl<E: Element, Z: Zeros> Scratch<E, Z> {
    pub(crate) fn new(memory: &Z, on: Multiprocessors, shape: Shape, capacity: Capacity) -> Result<Self> {
        let (parts, arrivals) = linear_tiles::plan(&linear_tiles::weight_tiles::<E>(), on, shape, capacity);
        Ok(Self {
            parts: memory.zeros(parts)?,
            arrivals: memory.zeros(arrivals)?,
            statistics: memory.zeros(shape.heads * capacity.tokens)?,
            row_sums: memory.zeros(RowSums::len(shape.hidden))?,
            d_sum: memory.zeros(capacity.tokens * shape.hidden)?,
            d_pre: memory.zeros(capacity.sequences * shape.hidden)?,
        })
    }
}

/// Bytes of all of it.
pub(crate) fn bytes<E: Element>(on: Multiprocessors, shape: Shape, capacity: Capacity) -> usize {
    let count = Count::default();
    Scratch::<E, Count>::new(&count, on, shape, capacity).expect("counting does not fail");
    count.0.get()
}
