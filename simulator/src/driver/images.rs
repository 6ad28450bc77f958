//! Modules: an image's bytes to programs, with its variables placed in device memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::fatbin::{self, Registers};
use super::made::{self, Made, Origin};
use super::result::{Code, Outcome};
use super::version::{Version, too_new};
use crate::error::LoadError;
use crate::isa;
use crate::lower::{Numerics, lower_module};
use crate::memory::{Kind, Memory};
use crate::program::{Program, function_address};
use crate::ptx::tree::{Initial, Module, Variable};
use crate::ptx::types::Space;

/// The most that a module's variables may take together.
const MAX_VARIABLES: usize = 1 << 30;

/// A loaded module.
pub struct Image {
    pub programs: HashMap<String, Arc<Program>>,
    /// Address and size of each global and constant variable.
    pub variables: HashMap<String, (u64, u64)>,
    /// What the PTX was compiled for, as `80`.
    pub architecture: u32,
}

/// What an image is loaded for.
pub struct Target {
    /// The device's capability, as `90`.
    pub capability: u32,
    /// The newest PTX that the driver takes, if not any.
    pub newest: Option<Version>,
    pub numerics: Numerics,
}

/// Why an image was not loaded: the code and the log.
pub struct Refusal {
    pub code: Code,
    pub log: String,
}

fn refuse<T>(code: Code, log: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, log: log.into() })
}

impl Image {
    /// Loads PTX text or a fat binary.
    pub fn load(bytes: &[u8], memory: &Memory, device: &Target) -> Result<Self, Refusal> {
        let &Target { capability, newest, numerics } = device;
        let (ptx, registers) = if fatbin::is_fatbin(bytes) {
            let chosen = fatbin::choose(bytes, capability, newest).map_err(|(code, log)| Refusal { code, log })?;
            (chosen.ptx, chosen.registers)
        } else if bytes.starts_with(b"\x7fELF") {
            return refuse(
                Code::CUDA_ERROR_NO_BINARY_FOR_GPU,
                "a cubin holds machine code only: the simulator needs PTX",
            );
        } else {
            match std::str::from_utf8(bytes) {
                Ok(text) => match too_new(text, newest) {
                    Some(log) => return refuse(Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, log),
                    None => (text.to_owned(), Registers::default()),
                },
                Err(_) => return refuse(Code::CUDA_ERROR_INVALID_IMAGE, "the image is neither PTX nor a fat binary"),
            }
        };
        let origin = Origin { ptx, registers, numerics };
        if let Some(Made { programs, architecture }) = made::find(&origin)
            && architecture <= capability
        {
            return Ok(Self { programs, variables: HashMap::new(), architecture });
        }
        let invalid = |e: LoadError| Refusal { code: Code::CUDA_ERROR_INVALID_PTX, log: e.to_string() };
        let module = crate::ptx::parse(&origin.ptx).map_err(invalid)?;
        let target: u32 = module.target.trim_start_matches("sm_").trim_end_matches(['a', 'f']).parse().unwrap_or(0);
        if target == 0 || target > capability {
            return refuse(
                Code::CUDA_ERROR_NO_BINARY_FOR_GPU,
                format!("PTX for {} on a device of capability {capability}", module.target),
            );
        }
        let mut image = Self { programs: HashMap::new(), variables: HashMap::new(), architecture: target };
        if let Err(refusal) = image.place(&module, memory) {
            image.unload(memory);
            return Err(refusal);
        }
        let addresses = image.variables.iter().map(|(name, &(address, _))| (name.clone(), address)).collect();
        let mut programs = lower_module(&module, &addresses, isa::decoder, numerics);
        programs.iter_mut().for_each(|program| origin.registers.give(program));
        image.programs = programs.into_iter().map(|p| (p.name.clone(), Arc::new(p))).collect();
        if image.variables.is_empty() {
            made::keep(origin, &Made { programs: image.programs.clone(), architecture: target });
        }
        Ok(image)
    }

    /// Why kernels of the image cannot run.
    pub fn refusals(&self) -> impl Iterator<Item = &LoadError> {
        self.programs.values().filter_map(|program| program.refusal.as_ref())
    }

    pub fn unload(&self, memory: &Memory) {
        self.variables.values().for_each(|&(address, _)| {
            memory.free(address);
        });
    }

    /// Allocates and initialises every variable; addresses in initializers are known once all are placed.
    fn place(&mut self, module: &Module, memory: &Memory) -> Result<(), Refusal> {
        let functions = module.functions.iter().filter_map(|f| Some((f.name.as_str(), f.body.as_ref()?)));
        let scoped = functions.flat_map(|(name, body)| body_variables(body).into_iter().map(move |v| (Some(name), v)));
        let all: Vec<(Option<&str>, &Variable)> = module.variables.iter().map(|v| (None, v)).chain(scoped).collect();
        let placed: Vec<_> = all.into_iter().filter(|(_, v)| matches!(v.space, Space::Global | Space::Const)).collect();
        let total = placed.iter().try_fold(0usize, |all, (_, v)| all.checked_add(v.bytes()?));
        if total.is_none_or(|bytes| bytes > MAX_VARIABLES) {
            return refuse(
                Code::CUDA_ERROR_OUT_OF_MEMORY,
                format!("the variables take more than {MAX_VARIABLES} bytes"),
            );
        }
        for (scope, variable) in &placed {
            if variable.external && variable.elements.is_none() {
                return refuse(
                    Code::CUDA_ERROR_INVALID_PTX,
                    format!("extern variable {} is not defined", variable.name),
                );
            }
            let bytes = variable.bytes().unwrap_or(usize::MAX) as u64;
            let Some(address) = memory.allocate(bytes, Kind::Module) else {
                return refuse(Code::CUDA_ERROR_OUT_OF_MEMORY, format!("no memory for variable {}", variable.name));
            };
            let name = scope.map_or(variable.name.clone(), |scope| format!("{scope}::{}", variable.name));
            self.variables.insert(name, (address, bytes));
        }
        for (scope, variable) in &placed {
            let name = scope.map_or(variable.name.clone(), |scope| format!("{scope}::{}", variable.name));
            let (address, bytes) = self.variables[&name];
            let image = self.initial_bytes(variable, bytes as usize, module)?;
            if let Some(window) = memory.window(address, bytes) {
                window.zero(address, bytes);
                window.copy_in(address, &image);
            }
            // A variable without an initializer is zero, which counts as written.
            memory.mark_written(address, bytes);
        }
        Ok(())
    }

    /// The bytes that the initializer gives; those behind them are zero.
    fn initial_bytes(&self, variable: &Variable, bytes: usize, module: &Module) -> Result<Vec<u8>, Refusal> {
        let size = variable.ty.bytes();
        let mut image = vec![0u8; bytes.min(variable.initial.len() * size)];
        let mut at = 0;
        for initial in &variable.initial {
            let value = match initial {
                Initial::Number(value) => *value,
                Initial::Address { name, offset, mask, .. } => {
                    let Some(address) = self.address(name, module) else {
                        return refuse(
                            Code::CUDA_ERROR_INVALID_PTX,
                            format!("{name} in an initializer is not defined"),
                        );
                    };
                    let address = address.wrapping_add(*offset as u64);
                    match mask {
                        Some(mask) if *mask != 0 => (address & mask) >> mask.trailing_zeros(),
                        _ => address,
                    }
                }
            };
            let end = (at + size).min(image.len());
            image[at..end].copy_from_slice(&value.to_le_bytes()[..(end - at).min(8)]);
            at = end;
        }
        Ok(image)
    }

    fn address(&self, name: &str, module: &Module) -> Option<u64> {
        match self.variables.get(name) {
            Some(&(address, _)) => Some(address),
            None => module.function_named(name).map(function_address),
        }
    }

    pub fn program(&self, name: &str) -> Outcome<Arc<Program>> {
        self.programs.get(name).cloned().ok_or(Code::CUDA_ERROR_NOT_FOUND)
    }
}

fn body_variables(block: &crate::ptx::tree::Block) -> Vec<&Variable> {
    use crate::ptx::tree::Statement;
    block
        .statements
        .iter()
        .flat_map(|statement| match statement {
            Statement::Variable(variable) => vec![variable],
            Statement::Block(inner) => body_variables(inner),
            _ => Vec::new(),
        })
        .collect()
}
