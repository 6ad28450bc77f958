//! A linear layer with its weights and a batch, on a device; and buffers with NaN wherever nothing may be read or has
//! to be written.

use super::{
    buffers::{self, assert_as_the_cpu, factor, stored},
    reference, support, tiny,
};
use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Buffers, Capacity, Copies, Matrix, Memory, Shape, StepScalars,
        cpu::CpuDevice,
        cuda::{CudaBatch, CudaDevice, CudaGradients, CudaParameters, Element},
    },
    model::{
        Activation, BertConfig, Layout, View,
        layout::{Embeddings, Linear},
    },
};

pub const STEP: u32 = 3;
/// Rows of NaN beyond the rows of a batch, in inputs and outputs.
const SPARE: usize = 70;

/// A layer of I inputs and O outputs on a device whose hidden and intermediate sizes these are.
pub struct Fixture<E: Element> {
    pub what: String,
    pub device: CudaDevice<E>,
    pub batch: CudaBatch,
    pub packed: PackedBatch,
    pub layer: Linear,
    /// The arena of weights, as float32 and as the device's.
    pub values: Vec<f32>,
    pub weights: CudaParameters<E>,
    pub shape: Shape,
    pub rows: usize,
    pub seed: u32,
}

pub fn packed(lengths: &[usize]) -> PackedBatch {
    tiny::batch(&tiny::config(1, 16, 1), lengths, 9)
}

impl<E: Element> Fixture<E> {
    pub fn new(lengths: &[usize], inputs: usize, outputs: usize, activation: Activation) -> Self {
        Self::with_capacity(lengths, inputs, outputs, activation, 0)
    }

    /// `spare` more tokens of capacity than the batch has.
    pub fn with_capacity(
        lengths: &[usize],
        inputs: usize,
        outputs: usize,
        activation: Activation,
        spare: usize,
    ) -> Self {
        let packed = packed(lengths);
        let (rows, sequences) = (packed.tokens(), packed.sequences());
        let config = BertConfig { activation, ..tiny::config(1, 16, 1) };
        let shape = Shape { hidden: inputs, intermediate: outputs, ..Shape::new(&config) };
        let length = lengths.iter().copied().max().unwrap_or(1);
        let capacity = Capacity { tokens: rows + spare, sequences, length };
        let mut device = support::device::<E>(shape, capacity);
        let scalars = StepScalars { step: STEP, ..StepScalars::default() };
        let batch = support::upload(&mut device, &packed, capacity, &scalars);
        // A layer after another parameter, so that its place in the arena matters.
        let (start, len) = (16, inputs * outputs);
        let bias = start + len;
        let layer = Linear { weight: View { start, len }, bias: View { start: bias, len: outputs } };
        let values = random::<E>(1, (bias + outputs).next_multiple_of(16));
        let weights = device.parameters(&values).unwrap();
        let what = format!("{}: {rows} rows, {inputs} → {outputs}, {activation:?}", E::NAME);
        Self { what, device, batch, packed, layer, values, weights, shape, rows, seed: 100 }
    }

    pub fn random(&mut self, len: usize) -> Vec<f32> {
        self.seed += 1;
        random::<E>(self.seed, len)
    }

    /// Tables that no operation here asks for.
    pub fn embeddings(&self) -> Embeddings {
        Layout::new(&tiny::config(1, 16, 1)).embeddings
    }

    /// An arena of NaN.
    pub fn gradients(&self) -> CudaGradients {
        let mut gradients = self.device.gradients(self.values.len(), &self.embeddings()).unwrap();
        self.device.write_arena(&mut gradients.arena, &vec![f32::NAN; self.values.len()]).unwrap();
        gradients
    }

    pub fn weight(&self, factors: Factors) -> Vec<f64> {
        factors.of::<E>(&self.values[self.layer.weight.range()])
    }

    pub fn bias(&self) -> Vec<f64> {
        support::double(&self.values[self.layer.bias.range()])
    }

    /// x · Wᵀ + b.
    pub fn product(&self, x: &[f32], factors: Factors) -> Vec<f64> {
        let (x, weight, bias) = (factors.of::<E>(x), self.weight(factors), self.bias());
        x.chunks(self.shape.hidden).flat_map(|row| reference::linear(row, &weight, &bias)).collect()
    }

    /// d_y · W.
    pub fn input_product(&self, d_y: &[f32], factors: Factors) -> Vec<f64> {
        let (inputs, d_y, weight) = (self.shape.hidden, factors.of::<E>(d_y), self.weight(factors));
        let row = |row: &[f64]| {
            let mut sums = vec![0.0; inputs];
            for (d, w) in row.iter().zip(weight.chunks(inputs)) {
                sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += d * w);
            }
            sums
        };
        d_y.chunks(self.shape.intermediate).flat_map(row).collect()
    }

    /// d_yᵀ · x.
    pub fn weight_product(&self, d_y: &[f32], x: &[f32], factors: Factors) -> Vec<f64> {
        let (inputs, outputs) = (self.shape.hidden, self.shape.intermediate);
        let mut sums = vec![0.0; inputs * outputs];
        for (d, x) in factors.of::<E>(d_y).chunks(outputs).zip(factors.of::<E>(x).chunks(inputs)) {
            for (d, sums) in d.iter().zip(sums.chunks_mut(inputs)) {
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += d * x);
            }
        }
        sums
    }

    /// The CPU device with the batch; it reads `values`.
    pub fn cpu(&self) -> (CpuDevice, <CpuDevice as Buffers>::Batch) {
        let capacity = tiny::capacity(std::slice::from_ref(&self.packed));
        let mut device = CpuDevice::new(self.shape, capacity);
        let scalars = StepScalars { step: STEP, ..StepScalars::default() };
        let batch = support::upload(&mut device, &self.packed, capacity, &scalars);
        (device, batch)
    }

    /// A result that is rounded once, when it is stored, but for the factors of its products.
    pub fn check(&self, name: &str, found: &[f32], cpu: &[f32], expected: impl Fn(Factors) -> Vec<f64>) {
        let (exact, plain) = (expected(Factors::Exact), expected(Factors::AsMultiplied));
        assert_as_the_cpu::<E>(found, cpu, &exact, &stored::<E>(&plain), &format!("{}, {name}", self.what));
    }
}

/// How an expected result is made: of numbers as they are, or of what the device multiplies.
#[derive(Clone, Copy)]
pub enum Factors {
    Exact,
    AsMultiplied,
}

impl Factors {
    pub fn of<E: Element>(self, values: &[f32]) -> Vec<f64> {
        let one = |&v| match self {
            Self::Exact => v,
            Self::AsMultiplied => factor::<E>(v),
        };
        values.iter().map(|v| f64::from(one(v))).collect()
    }
}

pub fn random<E: Element>(name: u32, len: usize) -> Vec<f32> {
    let mut stream = tiny::stream(5000 + name);
    (0..len).map(|_| E::from_f32(stream.normal() as f32).value()).collect()
}

pub fn matrix<E: Element>(device: &CudaDevice<E>, values: &[f32], cols: usize) -> Matrix<CudaDevice<E>> {
    let padding = std::iter::repeat_n(f32::NAN, SPARE * cols);
    let values: Vec<f32> = values.iter().copied().chain(padding).collect();
    buffers::matrix(device, &values, cols)
}

pub fn poisoned<E: Element>(device: &CudaDevice<E>, rows: usize, cols: usize) -> Matrix<CudaDevice<E>> {
    matrix(device, &vec![f32::NAN; rows * cols], cols)
}

/// The first `len` numbers, all of them written; what lies beyond is not.
pub fn written<E: Element>(matrix: &Matrix<CudaDevice<E>>, len: usize) -> Vec<f32> {
    let buffer = matrix.elements();
    let values: Vec<f32> = buffer.stream().clone_dtoh(buffer).unwrap().into_iter().map(E::value).collect();
    assert!(values[len..].iter().all(|v| v.is_nan()), "rows beyond the batch are left alone");
    values[..len].to_vec()
}
