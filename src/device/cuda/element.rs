//! What activations and the forward pass's weights are stored as, and what the factors of products are.

use bytemuck::{Pod, Zeroable};
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use half::bf16;

use crate::device::Storage;

/// The working precision of a device; arithmetic is float32 in all of them, but for the factors of the products of
/// linear layers.
pub trait Element: Pod + DeviceRepr + ValidAsZeroBits + Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;
    /// What a number takes, and whether weights have copies in it.
    const STORAGE: Storage;

    /// By what is stored.
    fn choose<T>(bf16: T, f32: T) -> T;
    /// By what the factors of the products of linear layers are.
    fn choose_product<T>(bf16: T, tf32: T, f32: T) -> T;
    /// Rounds to the nearest.
    fn from_f32(value: f32) -> Self;
    /// In float32.
    fn value(self) -> f32;
}

impl Element for bf16 {
    const NAME: &'static str = "bf16";
    const STORAGE: Storage = Storage::BF16;

    fn choose<T>(bf16: T, _: T) -> T {
        bf16
    }

    fn choose_product<T>(bf16: T, _: T, _: T) -> T {
        bf16
    }

    fn from_f32(value: f32) -> Self {
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

    fn choose_product<T>(_: T, _: T, f32: T) -> T {
        f32
    }

    fn from_f32(value: f32) -> Self {
        value
    }

    fn value(self) -> f32 {
        self
    }
}

/// A float32 number that linear layers multiply on tensor cores, as tf32: rounded to 10 bits of mantissa, exponents of
/// float32.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Tf32(f32);

// SAFETY: it is a float, as kernels take it.
unsafe impl DeviceRepr for Tf32 {}
// SAFETY: zeros are a float.
unsafe impl ValidAsZeroBits for Tf32 {}

impl Element for Tf32 {
    const NAME: &'static str = "tf32";
    const STORAGE: Storage = Storage::FLOAT32;

    fn choose<T>(_: T, f32: T) -> T {
        f32
    }

    fn choose_product<T>(_: T, tf32: T, _: T) -> T {
        tf32
    }

    fn from_f32(value: f32) -> Self {
        Self(value)
    }

    fn value(self) -> f32 {
        self.0
    }
}
