//! Buffers in device memory: weights with their copies in the working precision, gradients, and what is copied from and
//! to them.

use std::borrow::Cow;

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr, ValidAsZeroBits};

use super::{
    CudaBatch, CudaDevice, CudaOutcome,
    buffer::{download, write, zeros},
    element::Element,
    fault::driver_error,
    optimizer,
};
use crate::{
    Result,
    device::{Buffers, Capacity, Copies, Extent, Inspect, Matrix, Memory, Storage},
    model::{View, layout::Embeddings},
};

impl<E: Element> Buffers for CudaDevice<E> {
    type Elements = CudaSlice<E>;
    type Vector = CudaSlice<f32>;
    type Arena = CudaSlice<f32>;
    type Parameters = CudaParameters<E>;
    type Gradients = CudaGradients;
    type Batch = CudaBatch;
    type Outcome = CudaOutcome;
}

impl<T> Extent for CudaSlice<T> {
    fn elements(&self) -> usize {
        self.len()
    }
}

impl<E: Element> Memory for CudaDevice<E> {
    fn storage(&self) -> Storage {
        E::STORAGE
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        let free = self.context.mem_get_info().map(|(free, _)| Some(free));
        free.map_err(driver_error(&self.launcher.device, "ask for free memory"))
    }

    fn head_room_bytes(&self, layers: usize, sizes: Capacity, batches: Option<usize>) -> usize {
        Self::graph_bytes(layers, sizes, batches)
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<Matrix<Self>> {
        Ok(Matrix::new(self.zeros(rows * cols)?, rows, cols))
    }

    fn vector(&self, len: usize) -> Result<CudaSlice<f32>> {
        self.zeros(len)
    }

    fn arena(&self, len: usize) -> Result<CudaSlice<f32>> {
        self.zeros(len)
    }

    fn parameters(&self, values: &[f32]) -> Result<CudaParameters<E>> {
        let working = if E::STORAGE.copies_weights { Some(self.zeros(values.len())?) } else { None };
        let mut parameters = CudaParameters { master: self.zeros(values.len())?, working };
        self.write_parameters(&mut parameters, values)?;
        Ok(parameters)
    }

    fn gradients(&self, len: usize, embeddings: &Embeddings) -> Result<CudaGradients> {
        let vocabulary = embeddings.word.len / self.shape.hidden;
        Ok(CudaGradients { arena: self.zeros(len)?, touched: self.zeros(vocabulary)?, word: embeddings.word })
    }

    fn batch(&self, capacity: Capacity) -> Result<CudaBatch> {
        CudaBatch::new(&self.context, &self.launcher, self.shape, capacity)
    }

    fn outcome(&self, losses: usize) -> Result<CudaOutcome> {
        CudaOutcome::new(&self.context, &self.launcher.device, losses)
    }
}

impl<E: Element> Inspect for CudaDevice<E> {
    fn read_matrix<'a>(&self, matrix: &'a Matrix<Self>) -> Result<Cow<'a, [f32]>> {
        self.download(&matrix.elements)
    }

    fn write_matrix(&self, matrix: &mut Matrix<Self>, values: &[f32]) -> Result<()> {
        let values: Vec<E> = values.iter().map(|&v| E::from_f32(v)).collect();
        self.write(&mut matrix.elements, &values)
    }
}

impl<E: Element> Copies for CudaDevice<E> {
    fn read_vector<'a>(&self, vector: &'a CudaSlice<f32>) -> Result<Cow<'a, [f32]>> {
        self.download(vector)
    }

    fn read_arena<'a>(&self, arena: &'a CudaSlice<f32>) -> Result<Cow<'a, [f32]>> {
        self.download(arena)
    }

    fn read_parameters<'a>(&self, parameters: &'a CudaParameters<E>) -> Result<Cow<'a, [f32]>> {
        self.download(&parameters.master)
    }

    fn read_gradients<'a>(&self, gradients: &'a CudaGradients) -> Result<Cow<'a, [f32]>> {
        self.download(&gradients.arena)
    }

    fn write_vector(&self, vector: &mut CudaSlice<f32>, values: &[f32]) -> Result<()> {
        self.write(vector, values)
    }

    fn write_arena(&self, arena: &mut CudaSlice<f32>, values: &[f32]) -> Result<()> {
        self.write(arena, values)
    }

    fn write_gradients(&self, gradients: &mut CudaGradients, values: &[f32]) -> Result<()> {
        let CudaGradients { arena, touched, word } = gradients;
        let rows = values[word.range()].chunks_exact(self.shape.hidden);
        let flags: Vec<u8> = rows.map(|row| row.iter().any(|&g| g != 0.0).into()).collect();
        self.write(touched, &flags)?;
        self.write(arena, values)
    }

    fn write_parameters(&self, parameters: &mut CudaParameters<E>, values: &[f32]) -> Result<()> {
        self.write(&mut parameters.master, values)?;
        match &mut parameters.working {
            Some(working) => optimizer::working_copy(self, working, &parameters.master),
            None => Ok(()),
        }
    }
}

impl<E: Element> CudaDevice<E> {
    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<CudaSlice<T>> {
        zeros(&self.launcher.stream, &self.launcher.device, len)
    }

    fn download<'a, T: Element>(&self, buffer: &CudaSlice<T>) -> Result<Cow<'a, [f32]>> {
        download(&self.launcher.stream, &self.launcher.device, buffer)
    }

    fn write<T: DeviceRepr>(&self, buffer: &mut CudaSlice<T>, values: &[T]) -> Result<()> {
        write(&self.launcher.stream, &self.launcher.device, buffer, values)
    }
}

/// Weights that a forward pass reads.
pub struct CudaParameters<E: Element> {
    /// The float32 arena; biases and LayerNorms are read from it.
    pub master: CudaSlice<f32>, // [len]
    /// The same in the working precision, where that is another; matrices are read from it.
    pub working: Option<CudaSlice<E>>, // [len]
}

impl<E: Element> CudaParameters<E> {
    /// A matrix in the working precision.
    pub fn matrix(&self, view: View) -> CudaView<'_, E> {
        match &self.working {
            Some(working) => working.slice(view.range()),
            None => {
                let view = self.master.slice(view.range());
                // SAFETY: without copies the working precision is float32, so E is a float.
                unsafe { view.transmute(view.len()) }.expect("as many elements of the same size")
            }
        }
    }

    /// A bias, or a scale or shift of a LayerNorm, in float32.
    pub fn vector(&self, view: View) -> CudaView<'_, f32> {
        self.master.slice(view.range())
    }
}

/// A float32 arena of gradients. Padding between views stays 0; so do word embeddings that the last step has not
/// touched.
pub struct CudaGradients {
    /// The gradients, laid out as the weights.
    pub arena: CudaSlice<f32>, // [len]
    /// 1 for each row of the word embeddings that may not be 0.
    pub touched: CudaSlice<u8>, // [V]
    /// Where the word embeddings lie.
    pub word: View,
}

impl CudaGradients {
    /// One parameter's gradient.
    pub fn view(&mut self, view: View) -> CudaViewMut<'_, f32> {
        self.arena.slice_mut(view.range())
    }
}
