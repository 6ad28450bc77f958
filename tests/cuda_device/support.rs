//! What the tests of kernels share: a device, poisoned outputs, and how far a result may be off.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{env, sync::Once};

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Capacity, Device, Passes, Shape, StepScalars,
        cuda::{CudaDevice, Element},
    },
};

use super::gpu;

/// Chooses the simulator, with every check, where there is no GPU.
pub fn choose_driver() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !gpu::is_there() {
            // SAFETY: nothing but this program's own threads reads the environment, through the standard library's
            // lock.
            unsafe {
                env::set_var("CUDASIM", "1");
                if env::var_os("CUDASIM_CHECK").is_none() {
                    env::set_var("CUDASIM_CHECK", "mem,race,init,sync,leak");
                }
            }
        }
    });
}

/// A device of this precision; says which.
pub fn device<E: Element>(shape: Shape, capacity: Capacity) -> CudaDevice<E> {
    choose_driver();
    let device = CudaDevice::new(0, shape, capacity).unwrap();
    eprintln!("device: {}", device.name());
    device
}

/// An uploaded batch.
pub fn upload<D: Device>(device: &mut D, packed: &PackedBatch, capacity: Capacity, scalars: &StepScalars) -> D::Batch {
    let mut batch = device.batch(capacity).unwrap();
    device.upload(&mut batch, packed, scalars).unwrap();
    batch
}

/// The gradient norm of the last update.
pub fn gradient_norm<D: Device>(device: &mut D) -> f64 {
    let (mut outcome, losses) = (device.outcome(1).unwrap(), device.vector(1).unwrap());
    device.send_outcome(&mut outcome, &losses).unwrap();
    device.receive_outcome(&outcome).unwrap().1
}

pub fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// ‖found − expected‖ / ‖expected‖ (or the absolute error where nothing is expected).
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(expected).map(|(&a, &b)| f64::from(a) - b));
    let size = norm(&mut expected.iter().copied());
    if size == 0.0 { error } else { error / size }
}
