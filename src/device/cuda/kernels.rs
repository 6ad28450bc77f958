//! The kernels of this build: images that build.rs embedded, loaded into a context, and found by name.

use std::{collections::HashMap, sync::Arc};

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaModule},
    nvrtc::Ptx,
};

use super::{element::Element, fault::driver_error};
use crate::{Error, Result};

/// A compiled file of kernels/.
pub struct Image {
    /// Stem of the .cu file.
    pub file: &'static str,
    /// A fat binary: machine code, and PTX for what is newer.
    pub bytes: &'static [u8],
    pub kernels: &'static [&'static str],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Block sizes, from kernels/geometry.cuh.
#[allow(dead_code, reason = "some are of the kernels alone")]
pub mod geometry {
    include!(concat!(env!("OUT_DIR"), "/geometry.rs"));
}

/// A kernel and its name, which errors and traces give.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: &'static str,
    pub function: CudaFunction,
}

/// All images, loaded.
pub struct Kernels {
    modules: HashMap<&'static str, Arc<CudaModule>>, // by kernel
    device: String,
}

impl Kernels {
    /// # Errors
    /// [`Error::Device`] where the driver takes neither the machine code nor the PTX.
    pub fn load(context: &Arc<CudaContext>, device: &str) -> Result<Self> {
        if IMAGES.is_empty() {
            let message = "this build has no CUDA kernels: nvcc was not there when it was built. Install it (make does), \
                           build again, or run on the processor with --device cpu";
            return Err(Error::Device { device: device.to_owned(), message: message.to_owned() });
        }
        let mut modules = HashMap::new();
        for image in IMAGES {
            let module = context
                .load_module(Ptx::from_binary(image.bytes.to_vec()))
                .map_err(driver_error(device, "load the kernels"))?;
            modules.extend(image.kernels.iter().map(|&name| (name, Arc::clone(&module))));
        }
        Ok(Self { modules, device: device.to_owned() })
    }

    /// # Errors
    /// [`Error::Device`] where no image has a kernel of this name.
    pub fn get(&self, name: &'static str) -> Result<Kernel> {
        let Some(module) = self.modules.get(name) else {
            return Err(Error::Device { device: self.device.clone(), message: format!("has no kernel {name}") });
        };
        let function = module.load_function(name).map_err(driver_error(&self.device, "find a kernel"))?;
        Ok(Kernel { name, function })
    }

    /// The form of a kernel that works on `E`.
    pub fn of<E: Element>(&self, bf16: &'static str, f32: &'static str) -> Result<Kernel> {
        self.get(E::choose(bf16, f32))
    }
}
