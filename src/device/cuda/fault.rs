//! What the driver's error codes mean to the user, and what to do about them.

use std::{fmt::Display, sync::Arc};

use cudarc::driver::{DriverError, sys::CUresult};

use super::last_begun::{LastBegun, MARKS};
use crate::Error;

/// The device as errors name it, and which of its kernels began last.
#[derive(Clone)]
pub(crate) struct DeviceLabel {
    name: String,
    /// None before the device is open.
    last_begun: Option<Arc<LastBegun>>,
}

impl DeviceLabel {
    pub(crate) fn new(ordinal: usize) -> Self {
        Self { name: format!("cuda:{ordinal}"), last_begun: None }
    }

    pub(crate) fn with_last_begun(self, last_begun: Arc<LastBegun>) -> Self {
        Self { last_begun: Some(last_begun), ..self }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), message: message.into() }
    }
}

/// An error of the driver while the device was asked to do something ("launch linear_bf16"). A kernel's fault is
/// reported by whatever call comes next, so there the mark of the kernel that began last names who did it, if kernels
/// leave marks.
pub(crate) fn driver_error<'a>(
    label: &'a DeviceLabel,
    action: impl Display + 'a,
) -> impl FnOnce(DriverError) -> Error + 'a {
    move |DriverError(code)| {
        let explained = explain(code);
        let last_begun = label.last_begun.as_ref().filter(|_| is_kernel_fault(code));
        label.error(match last_begun.map(|last_begun| last_begun.last()) {
            Some(Some(kernel)) => format!("{kernel} has failed: {explained}"),
            Some(None) => format!("a kernel has failed: {explained}; with {MARKS}=1 in the environment it is named"),
            None => format!("cannot {action}: {explained}"),
        })
    }
}

/// Whether a kernel made this error, after which the driver gives no other answer.
fn is_kernel_fault(code: CUresult) -> bool {
    matches!(
        code,
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
    )
}

fn explain(code: CUresult) -> String {
    let advice = match code {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            "out of memory: use a smaller --batch-size with --grad-accum, --max-tokens or a shorter --max-length"
        }
        CUresult::CUDA_ERROR_NO_DEVICE => "the driver knows no GPU here; run on the processor with --device cpu",
        CUresult::CUDA_ERROR_INVALID_DEVICE => "there is no GPU of this number; `bertsd-cuda info` lists them",
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            "this build has no code for this GPU: it needs compute capability 8.0 (Ampere) or newer"
        }
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "the driver is older than CUDA 12.0, the oldest that the kernels can be compiled by, and takes no machine \
             code of this build: update the driver"
        }
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "the driver's parts do not belong together: reinstall it, and restart"
        }
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS => {
            "it has touched memory that is not its own, which is a defect of the program"
        }
        CUresult::CUDA_ERROR_LAUNCH_TIMEOUT => "it ran too long and was ended by the driver's watchdog",
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR => {
            "the GPU reports a hardware fault; restart, and see the system log"
        }
        _ => "",
    };
    match advice {
        "" => format!("the driver answers {code:?}"),
        _ => format!("{advice} ({code:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let message = |code| driver_error(&DeviceLabel::new(3), "load the kernels")(DriverError(code)).to_string();
        let cases = [
            (CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the driver is older than CUDA 12.0"),
            (CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU, "it needs compute capability 8.0"),
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, "--batch-size"),
            (CUresult::CUDA_ERROR_NO_DEVICE, "--device cpu"),
            (CUresult::CUDA_ERROR_INVALID_DEVICE, "bertsd-cuda info"),
            (CUresult::CUDA_ERROR_NOT_READY, "the driver answers CUDA_ERROR_NOT_READY"),
        ];
        for (code, part) in cases {
            let text = message(code);
            assert!(text.starts_with("device cuda:3: cannot load the kernels: ") && text.contains(part), "{text}");
        }
    }
}
