//! Buffers of the tests: matrices of given numbers in the device's precision, poisoned outputs, and what may be
//! expected of results.

use bertsd_cuda::device::{
    Device, Inspect, Matrix, On, RowStats, Rows,
    cuda::{CudaBatch, CudaDevice, CudaParameters, Element},
};

use super::{
    support::{double, relative_error},
    tiny,
};

/// Error of a result in float32, relative to its norm: a product rounds by 6e-8, and sums of some thousand of them, in
/// whatever order, stay a hundred times below what a lost term or a wrong factor makes.
pub const TOLERANCE: f64 = 1e-5;
/// The same for products of factors that are known exactly; tensor cores cut the bits of a sum off where float32
/// rounds.
const TENSOR_CORE_SUMS: f64 = 5e-5;
/// Error of a result in bf16 or tf32 over that of the plain computation: a kernel may add its own error to that of the
/// rounding that it cannot avoid, once.
pub const TIMES_PLAIN: f64 = 2.0;

/// Numbers that are exact in the precision of the device.
pub fn random<E: Element>(name: u32, len: usize, scale: f32, shift: f32) -> Vec<f32> {
    let mut stream = tiny::stream(name);
    (0..len).map(|_| E::from_f32(scale * stream.normal() as f32 + shift).value()).collect()
}

/// Rows of `cols` numbers, in the device's precision.
pub fn matrix<D: Device + Inspect>(device: &D, values: &[f32], cols: usize) -> Matrix<D> {
    let mut matrix = device.matrix(values.len() / cols, cols).unwrap();
    device.write_matrix(&mut matrix, values).unwrap();
    matrix
}

pub fn vector<D: Device>(device: &D, values: &[f32]) -> D::Vector {
    let mut vector = device.vector(values.len()).unwrap();
    device.write_vector(&mut vector, values).unwrap();
    vector
}

pub fn stats<D: Device>(device: &D, mean: &[f32], rstd: &[f32]) -> RowStats<D> {
    RowStats { mean: vector(device, mean), rstd: vector(device, rstd) }
}

/// NaN everywhere.
pub fn poisoned_matrix<D: Device + Inspect>(device: &D, rows: usize, cols: usize) -> Matrix<D> {
    matrix(device, &vec![f32::NAN; rows * cols], cols)
}

pub fn poisoned_vector<D: Device>(device: &D, len: usize) -> D::Vector {
    vector(device, &vec![f32::NAN; len])
}

pub fn poisoned_stats<D: Device>(device: &D, rows: usize) -> RowStats<D> {
    let poison = vec![f32::NAN; rows];
    stats(device, &poison, &poison)
}

/// What operations of a device work on.
pub fn on<'a, E: Element>(weights: &'a CudaParameters<E>, batch: &'a CudaBatch, rows: Rows) -> On<'a, CudaDevice<E>> {
    On { weights, batch, rows }
}

pub use tiny::on as on_cpu;

/// The first `len` numbers of a buffer that was poisoned; what lies beyond them must still be.
pub fn written<D: Device + Inspect>(device: &D, matrix: &Matrix<D>, len: usize, what: &str) -> Vec<f32> {
    cut(device.read_matrix(matrix).unwrap().into_owned(), len, what)
}

pub fn written_vector<D: Device>(device: &D, vector: &D::Vector, len: usize, what: &str) -> Vec<f32> {
    cut(device.read_vector(vector).unwrap().into_owned(), len, what)
}

fn cut(mut values: Vec<f32>, len: usize, what: &str) -> Vec<f32> {
    assert!(values[len..].iter().all(|v| v.is_nan()), "{what}: written beyond the last row");
    values.truncate(len);
    values
}

/// What some roundings below the least normal number leave of an element.
const DENORMAL: f64 = 1e-44;

/// A result in float32, whatever the precision of what it was made from.
pub fn assert_close(found: &[f32], exact: &[f64], what: &str) {
    assert_within(found, exact, TOLERANCE, what);
}

fn assert_within(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    let distance = tiny::norm(found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
    let size = tiny::norm(expected.iter().copied());
    assert_eq!(found.len(), expected.len(), "{what}");
    let allowed = tolerance * size + DENORMAL * (expected.len() as f64).sqrt();
    assert!(distance <= allowed, "{what}: {distance:e} of {size:e}, limit {allowed:e}");
}

/// A result in the device's precision: float32 to the tolerance; bf16 and tf32 to twice the error of `plain`, exact
/// arithmetic rounded where the device stores or multiplies; and tf32 is what that says, not only as good.
pub fn assert_as_good<E: Element>(found: &[f32], exact: &[f64], plain: &[f64], what: &str) {
    if E::choose_product(false, false, true) {
        return assert_close(found, exact, what);
    }
    let least = plain_error(plain, exact);
    let limit = TIMES_PLAIN * least;
    if E::choose_product(true, false, false) {
        let error = relative_error(found, exact);
        assert!(error <= limit, "{what}: {error:e}, and {least:e} of the plain computation");
    } else {
        assert_within(found, exact, limit.max(TOLERANCE), what);
        assert_within(found, plain, TENSOR_CORE_SUMS, &format!("{what}, beside the plain computation"));
    }
}

/// Within the limits of exact arithmetic, and as close to what the CPU device makes of the same numbers, which is
/// itself within those of float32.
pub fn assert_as_the_cpu<E: Element>(found: &[f32], cpu: &[f32], exact: &[f64], plain: &[f64], what: &str) {
    assert_as_good::<E>(found, exact, plain, what);
    assert_close(cpu, exact, &format!("{what}, on the processor"));
    let rounded = TIMES_PLAIN * plain_error(plain, exact) + TOLERANCE;
    let limit = E::choose_product(rounded, rounded, TOLERANCE);
    let error = relative_error(found, &double(cpu));
    assert!(error <= limit, "{what}: {error:e} from the CPU device, limit {limit:e}");
}

/// Error of the plain computation, read as float32.
fn plain_error(plain: &[f64], exact: &[f64]) -> f64 {
    relative_error(&plain.iter().map(|&v| v as f32).collect::<Vec<_>>(), exact)
}

/// What is read of a number that was stored in the device's precision.
pub fn stored<E: Element>(exact: &[f64]) -> Vec<f64> {
    exact.iter().map(|&v| f64::from(E::from_f32(v as f32).value())).collect()
}

/// What products of linear layers take for a number: itself, or in tf32 the nearest number with 10 bits of mantissa,
/// ties away from zero.
pub fn factor<E: Element>(value: f32) -> f32 {
    let cut = 13; // bits
    let rounded = f32::from_bits((value.to_bits() + (1 << (cut - 1))) >> cut << cut);
    E::choose_product(value, rounded, value)
}

pub fn factors<E: Element>(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(factor::<E>(v))).collect()
}

/// What a sum on tensor cores takes for a number: itself, or in tf32 a factor and a second one of what the first leaves
/// of it, 21 bits of mantissa together. Both are multiples of 2⁻¹³⁶, so that numbers around the least normal one keep
/// fewer.
pub fn summand<E: Element>(value: f32) -> f32 {
    let high = factor::<E>(value);
    high + factor::<E>(value - high)
}
