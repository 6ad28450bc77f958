//! Which device the user asks for, and which one that is here.

use std::{fmt, str::FromStr};

use clap::{ValueEnum, builder::PossibleValue};

use super::cuda;
use crate::{
    Error, Result,
    text_value::{InvalidValue, TextValue, text_enum, text_serde},
};

/// The value of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest that this build can use.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA device by its number.
    Cuda {
        /// Its number in the driver's order.
        ordinal: usize,
    },
}

/// The value of `--precision`: what a GPU stores activations and the forward pass's weights as, and what it multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// bf16 on a GPU, float32 on the processor.
    #[default]
    Auto,
    /// Activations and products in bf16, sums and weights in float32.
    Bf16,
    /// float32, but for the factors of the products of linear layers.
    Tf32,
    /// Everything in float32.
    F32,
}

text_enum!(Precision);
text_serde!(Precision, DeviceChoice);

/// A device that this build can run on. Static dispatch starts from a match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The processor, in float32.
    Cpu,
    /// A GPU, in bf16.
    CudaBf16 {
        /// Its number in the driver's order.
        ordinal: usize,
    },
    /// A GPU, in float32 with tf32 products.
    CudaTf32 {
        /// Its number in the driver's order.
        ordinal: usize,
    },
    /// A GPU, in float32.
    CudaF32 {
        /// Its number in the driver's order.
        ordinal: usize,
    },
}

impl DeviceChoice {
    /// What to run on. `auto` is the first GPU that the kernels run on, else the processor.
    ///
    /// # Errors
    /// [`Error::Device`] when the device asked for cannot be used, saying what can; [`Error::Setting`] for another
    /// precision than float32 on the processor.
    pub fn resolve(self, precision: Precision) -> Result<Backend> {
        let ordinal = match self {
            Self::Cpu => None,
            Self::Auto => cuda::first_usable(),
            Self::Cuda { ordinal } => {
                cuda::check(ordinal)?;
                Some(ordinal)
            }
        };
        match (ordinal, precision) {
            (None, Precision::Bf16 | Precision::Tf32) => Err(Error::setting(
                "precision",
                format!("the processor computes in float32 only; {precision} needs --device cuda"),
            )),
            (None, Precision::Auto | Precision::F32) => Ok(Backend::Cpu),
            (Some(ordinal), Precision::Tf32) => Ok(Backend::CudaTf32 { ordinal }),
            (Some(ordinal), Precision::F32) => Ok(Backend::CudaF32 { ordinal }),
            (Some(ordinal), Precision::Auto | Precision::Bf16) => Ok(Backend::CudaBf16 { ordinal }),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = InvalidValue;

    /// `cuda` is `cuda:0`.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let unknown = || InvalidValue(format!("'{text}' is none of auto, cpu, cuda, cuda:N (N from 0)"));
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda { ordinal: 0 }),
            // `parse` would take a sign too.
            Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map(|ordinal| Self::Cuda { ordinal }).map_err(|_| unknown())
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl TextValue for DeviceChoice {
    fn offered() -> Vec<PossibleValue> {
        ["auto", "cpu", "cuda"].map(PossibleValue::new).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_read() {
        for text in ["auto", "cpu", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda { ordinal: 0 });
        for text in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:+1", "cuda:1x", "cpu:0", "cuda:99999999999999999999"] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains("auto, cpu, cuda, cuda:N"), "{text}: {error}");
        }
    }

    #[test]
    fn precisions_are_written_as_they_are_read() {
        for text in ["auto", "bf16", "tf32", "f32"] {
            assert_eq!(text.parse::<Precision>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_processor_computes_in_float32() {
        for precision in ["auto", "f32"] {
            assert_eq!(DeviceChoice::Cpu.resolve(precision.parse().unwrap()).unwrap(), Backend::Cpu);
        }
        for precision in ["bf16", "tf32"] {
            let error = DeviceChoice::Cpu.resolve(precision.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(precision) && error.contains("--device cuda"), "{error}");
        }
        assert!("fp16".parse::<Precision>().unwrap_err().to_string().contains("auto, bf16, tf32, f32"));
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_with_what_to_do_instead() {
        let error = DeviceChoice::Cuda { ordinal: 99 }.resolve(Precision::Auto).unwrap_err().to_string();
        assert!(error.contains("cuda:99"), "{error}");
    }
}
