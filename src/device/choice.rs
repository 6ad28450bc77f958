//! Which device the user asks for, and which one that is here.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// The value of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest that this build can use.
    #[default]
    Auto,
    Cpu,
    /// A CUDA device by its number.
    Cuda {
        ordinal: usize,
    },
}

/// A device that this build can run on. Static dispatch starts from a match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Cpu,
}

impl DeviceChoice {
    /// # Errors
    /// [`Error::Device`] when the device asked for cannot be used, saying what can.
    pub fn resolve(self) -> Result<Backend> {
        match self {
            Self::Auto | Self::Cpu => Ok(Backend::Cpu),
            Self::Cuda { .. } => Err(Error::Device {
                device: self.to_string(),
                message: "this build has no CUDA kernels; run on the processor with --device cpu".to_owned(),
            }),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// `cuda` is `cuda:0`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::setting("device", format!("'{text}' is none of auto, cpu, cuda, cuda:N (N from 0)"));
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
    fn cuda_is_refused_with_what_to_do_instead() {
        assert_eq!(DeviceChoice::Auto.resolve().unwrap(), Backend::Cpu);
        assert_eq!(DeviceChoice::Cpu.resolve().unwrap(), Backend::Cpu);
        let error = DeviceChoice::Cuda { ordinal: 3 }.resolve().unwrap_err().to_string();
        assert!(error.contains("cuda:3") && error.contains("--device cpu"), "{error}");
    }
}
