//! Buffers of the tests: matrices of given numbers in the device's precision, poisoned outputs, and what may be expected of results.

use bertsd_cuda::device::{
    Device,
    cuda::{CudaDevice, Element},
};
use cudarc::driver::CudaSlice;

use super::{support::relative_error, tiny};

/// Error of a result in float32, relative to its norm.
pub const TOLERANCE: f64 = 1e-5;
/// The same for products of factors that are known exactly; tensor cores cut the bits of a sum off where float32 rounds.
const TENSOR_CORE_SUMS: f64 = 5e-5;

/// Numbers that are exact in the precision of the device.
pub fn random<E: Element>(name: u32, len: usize, scale: f32, shift: f32) -> Vec<f32> {
    let mut stream = tiny::stream(name);
    (0..len).map(|_| E::of(scale * stream.normal() as f32 + shift).value()).collect()
}

pub fn matrix<E: Element>(device: &CudaDevice<E>, values: &[f32]) -> CudaSlice<E> {
    let mut matrix = device.matrix(values.len(), 1).unwrap();
    let values: Vec<E> = values.iter().map(|&v| E::of(v)).collect();
    let stream = matrix.stream().clone();
    stream.memcpy_htod(&values, &mut matrix).unwrap();
    matrix
}

pub fn vector<E: Element>(device: &CudaDevice<E>, values: &[f32]) -> CudaSlice<f32> {
    let mut vector = device.vector(values.len()).unwrap();
    device.write_vector(&mut vector, values).unwrap();
    vector
}

/// NaN everywhere.
pub fn poisoned_matrix<E: Element>(device: &CudaDevice<E>, len: usize) -> CudaSlice<E> {
    matrix(device, &vec![f32::NAN; len])
}

pub fn poisoned_vector<E: Element>(device: &CudaDevice<E>, len: usize) -> CudaSlice<f32> {
    vector(device, &vec![f32::NAN; len])
}

/// The first `len` numbers of a buffer that was poisoned; what lies behind them must still be.
pub fn written<D: Device>(device: &D, matrix: &D::Matrix, len: usize, what: &str) -> Vec<f32> {
    cut(device.read_matrix(matrix).unwrap().into_owned(), len, what)
}

pub fn written_vector<D: Device>(device: &D, vector: &D::Vector, len: usize, what: &str) -> Vec<f32> {
    cut(device.read_vector(vector).unwrap().into_owned(), len, what)
}

fn cut(mut values: Vec<f32>, len: usize, what: &str) -> Vec<f32> {
    assert!(values[len..].iter().all(|v| v.is_nan()), "{what}: written behind the last row");
    values.truncate(len);
    values
}

/// A result in float32, whatever the precision of what it was made from.
pub fn assert_close(found: &[f32], exact: &[f64], what: &str) {
    let error = relative_error(found, exact);
    assert!(error <= TOLERANCE, "{what}: {error:e}");
}

/// A result in the device's precision: float32 to the tolerance; bf16 and tf32 to twice the error of `plain`, exact arithmetic
/// rounded where the device stores or multiplies; and tf32 is what that says, not only as good.
pub fn assert_as_good<E: Element>(found: &[f32], exact: &[f64], plain: &[f64], what: &str) {
    let rounded: Vec<f32> = plain.iter().map(|&v| v as f32).collect();
    let (error, least) = (relative_error(found, exact), relative_error(&rounded, exact));
    let limit = E::choose_product(2.0 * least, TOLERANCE.max(2.0 * least), TOLERANCE);
    assert!(error <= limit, "{what}: {error:e}, and {least:e} of the plain computation");
    let beside = E::choose_product(0.0, relative_error(found, plain), 0.0);
    assert!(beside <= TENSOR_CORE_SUMS, "{what}: {beside:e} beside the plain computation");
}

/// What is read of a number that was stored in the device's precision.
pub fn stored<E: Element>(exact: &[f64]) -> Vec<f64> {
    exact.iter().map(|&v| f64::from(E::of(v as f32).value())).collect()
}

/// What products of linear layers take for a number: itself, or in tf32 the nearest number with 10 bits of mantissa, ties away
/// from zero.
pub fn factor<E: Element>(value: f32) -> f32 {
    let cut = 13; // bits
    let rounded = f32::from_bits((value.to_bits() + (1 << (cut - 1))) >> cut << cut);
    E::choose_product(value, rounded, value)
}

pub fn factors<E: Element>(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(factor::<E>(v))).collect()
}
