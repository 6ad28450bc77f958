//! What activations and the forward pass's weights are stored as.

use bytemuck::Pod;
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use half::bf16;

use crate::device::Storage;

/// The working precision of a device; arithmetic is float32 in either.
pub trait Element: Pod + DeviceRepr + ValidAsZeroBits + Send + Sync + 'static {
    const NAME: &'static str;
    const STORAGE: Storage;

    fn choose<T>(bf16: T, f32: T) -> T;
    fn of(value: f32) -> Self;
    fn value(self) -> f32;
}

impl Element for bf16 {
    const NAME: &'static str = "bf16";
    const STORAGE: Storage = Storage::BF16;

    fn choose<T>(bf16: T, _: T) -> T {
        bf16
    }

    fn of(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn value(self) -> f32 {
        self.to_f32()
    }
}

impl Element for f32 {
    const NAME: &'static str = "float32";
    const STORAGE: Storage = Storage::FLOAT32;

    fn choose<T>(_: T, f32: T) -> T {
        f32
    }

    fn of(value: f32) -> Self {
        value
    }

    fn value(self) -> f32 {
        self
    }
}
