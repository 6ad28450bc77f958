//! The kernels of this build: images that build.rs embedded, loaded into a context, and found by name.

use std::{collections::HashMap, sync::Arc};

use cudarc::{
    driver::{
        CudaContext, CudaFunction, CudaModule, DriverError,
        sys::{CUfunction_attribute, CUresult},
    },
    nvrtc::Ptx,
};

use super::{
    element::Element,
    fault::{DeviceLabel, driver_error},
    images::{IMAGES, Image},
};
use crate::{Result, device::Dropout};

/// Block sizes, from kernels/geometry.cuh.
#[allow(dead_code, reason = "some are of the kernels alone")]
pub(crate) mod geometry {
    include!(concat!(env!("OUT_DIR"), "/geometry.rs"));
}

/// Elements that a thread takes together.
pub(crate) const PACK: usize = geometry::PACK as usize;
const _: () = assert!(PACK == Dropout::GROUP, "a thread has the dropout bits of what it takes");

/// A kernel and its name, which errors and traces give.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub name: &'static str,
    /// Its place among [`kernel_names`](super::images::kernel_names).
    pub number: u16,
    pub function: CudaFunction,
}

/// Loads the machine code for the device, or else compiles the PTX. The driver does so by itself where there is no
/// machine code for the device; one that is older than the compiler's own may find it and not be able to read it.
fn load_image(context: &Arc<CudaContext>, image: &Image) -> Result<Arc<CudaModule>, DriverError> {
    context.load_module(Ptx::from_binary(image.bytes.to_vec())).or_else(|error| match error {
        DriverError(CUresult::CUDA_ERROR_INVALID_IMAGE | CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU) => {
            context.load_module(Ptx::from_src(image.ptx()))
        }
        error => Err(error),
    })
}

/// All images, loaded.
pub(crate) struct Kernels {
    modules: HashMap<&'static str, (u16, Arc<CudaModule>)>, // by kernel
    device: DeviceLabel,
}

impl Kernels {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the driver takes neither the machine code nor the PTX.
    pub(crate) fn load(context: &Arc<CudaContext>, device: &DeviceLabel) -> Result<Self> {
        if IMAGES.is_empty() {
            let message = "this build has no CUDA kernels: nvcc was not there when it was built. Install it (make \
                           does), build again, or run on the processor with --device cpu";
            return Err(device.error(message));
        }
        let mut modules = HashMap::new();
        for image in IMAGES {
            let module = load_image(context, image).map_err(driver_error(device, "load the kernels"))?;
            for &name in image.kernels {
                modules.insert(name, (modules.len() as u16, Arc::clone(&module)));
            }
        }
        Ok(Self { modules, device: device.clone() })
    }

    /// The kernel, ready to be launched in a recording: a driver that loads lazily would put the loading off to the
    /// first launch, which those before CUDA 12.3 refuse there. To say what the kernel needs, it has to load it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where no image has a kernel of this name, or the driver cannot load it.
    pub(crate) fn get(&self, name: &'static str) -> Result<Kernel> {
        let Some((number, module)) = self.modules.get(name) else {
            return Err(self.device.error(format!("has no kernel {name}")));
        };
        let function = module.load_function(name).map_err(driver_error(&self.device, "find a kernel"))?;
        let asked = function.get_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
        asked.map_err(driver_error(&self.device, format_args!("load {name}")))?;
        Ok(Kernel { name, number: *number, function })
    }

    /// The form of a kernel that works on `E`.
    pub(crate) fn of<E: Element>(&self, bf16: &'static str, f32: &'static str) -> Result<Kernel> {
        self.get(E::choose(bf16, f32))
    }
}
