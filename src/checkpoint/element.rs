//! What a section's bytes are: little-endian numbers of one type, cast in place and never converted.

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

#[cfg(target_endian = "big")]
compile_error!("checkpoints are raw little-endian memory; this target would need a byte swap");

/// The element type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Bytes.
    U8,
    /// 32-bit unsigned integers.
    U32,
    /// 64-bit unsigned integers.
    U64,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::U32 | Self::F32 => 4,
            Self::U64 | Self::F64 => 8,
        }
    }

    /// The name in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// A Rust type that sections are made of.
pub trait SectionElement: Pod {
    /// What a header calls it.
    const DTYPE: Dtype;
}

impl SectionElement for u8 {
    const DTYPE: Dtype = Dtype::U8;
}

impl SectionElement for u32 {
    const DTYPE: Dtype = Dtype::U32;
}

impl SectionElement for u64 {
    const DTYPE: Dtype = Dtype::U64;
}

impl SectionElement for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

impl SectionElement for f64 {
    const DTYPE: Dtype = Dtype::F64;
}
