//! The kernel that began last (kernels/mark.cuh): one word of the host's memory that each kernel writes as it begins.
//!
//! Kernels are launched without waiting, so the driver reports a fault long after the launch that made it, recorded
//! passes and all, and from then on answers nothing else. The word says which kernel had begun last, and what it was
//! launched for.
//!
//! A write over the bus takes longer than a short kernel, and the kernel is not over before it: so marks are left only
//! where they are asked for, by [`MARKS`] or by a trace.

use std::{env, ffi::c_void, ptr::NonNull, sync::Arc};

use cudarc::driver::{
    CudaContext, DeviceRepr, DriverError, result,
    sys::{CU_MEMHOSTALLOC_DEVICEMAP, CU_MEMHOSTALLOC_PORTABLE},
};

use super::images::kernel_names;
use crate::device::{Direction, Scope};

/// The variable that asks for marks: `1`.
pub(crate) const MARKS: &str = "BERTSD_MARK_KERNELS";

/// What a kernel takes of it. Mirrors `Mark` in kernels/mark.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkArgs {
    last_begun: u64,
    mark: u32,
}

// SAFETY: an address and a word, laid out as the kernel's struct.
unsafe impl DeviceRepr for MarkArgs {}

/// The word, in pinned memory that the device writes.
pub(crate) struct LastBegun {
    word: NonNull<c_void>,
    /// Whether every kernel leaves its mark.
    always: bool,
    context: Arc<CudaContext>,
}

// SAFETY: the word is never written by the host after it is made, and read in one volatile access.
unsafe impl Send for LastBegun {}
// SAFETY: as above.
unsafe impl Sync for LastBegun {}

/// No kernel has left a mark.
const NOTHING: u32 = u32::MAX;

impl LastBegun {
    pub(crate) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: the context is bound; the memory is written right away, before anything reads it.
        let word = unsafe {
            let word = result::malloc_host(size_of::<u32>(), CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE)?;
            word.cast::<u32>().write_volatile(NOTHING);
            word
        };
        let word = NonNull::new(word).expect("the driver gives memory or an error");
        let always = env::var_os(MARKS).is_some_and(|value| value == "1");
        Ok(Self { word, always, context: Arc::clone(context) })
    }

    /// What the kernel of this number, launched for `scope`, takes; it leaves a mark if `wanted`, or if all do.
    /// Addresses of pinned memory are the same on both sides.
    pub(crate) fn mark(&self, kernel: u16, scope: Option<Scope>, wanted: bool) -> MarkArgs {
        let last_begun = if wanted || self.always { self.word.as_ptr() as u64 } else { 0 };
        MarkArgs { last_begun, mark: u32::from(kernel) << 16 | u32::from(scope.map_or(0, code)) }
    }

    /// The kernel that began last, and what it was launched for: "attention_forward_f32_d32 (layer 3 forward)". None
    /// without marks.
    pub(crate) fn last(&self) -> Option<String> {
        // SAFETY: the word lives as long as `self`; the device writes all of it at once.
        let mark = unsafe { self.word.cast::<u32>().as_ptr().read_volatile() };
        let name = kernel_names().nth((mark >> 16) as usize).filter(|_| mark != NOTHING)?;
        Some(scope_of(mark as u16).map_or_else(|| name.to_owned(), |scope| format!("{name} ({scope})")))
    }
}

impl Drop for LastBegun {
    fn drop(&mut self) {
        // After a fault the driver refuses, and the process takes the memory with it.
        if self.context.synchronize().is_ok() {
            // SAFETY: memory of `malloc_host` that nothing else frees; the kernels that were given its address have
            // ended.
            let _ = unsafe { result::free_host(self.word.as_ptr()) };
        }
    }
}

/// A scope as a number above 0; layers from `LAYERS` on, two numbers each.
fn code(scope: Scope) -> u16 {
    let way = |direction| u16::from(direction == Direction::Backward);
    match scope {
        Scope::Loss => 1,
        Scope::Optimizer => 2,
        Scope::Embeddings(direction) => 4 + way(direction),
        Scope::Head(direction) => 6 + way(direction),
        Scope::Layer(layer, direction) => (layer as u16).saturating_mul(2).saturating_add(LAYERS + way(direction)),
    }
}

const LAYERS: u16 = 8;

/// The scope of a number of [`code`].
fn scope_of(code: u16) -> Option<Scope> {
    let direction = if code.is_multiple_of(2) { Direction::Forward } else { Direction::Backward };
    Some(match code {
        1 => Scope::Loss,
        2 => Scope::Optimizer,
        4 | 5 => Scope::Embeddings(direction),
        6 | 7 => Scope::Head(direction),
        LAYERS.. => Scope::Layer(usize::from((code - LAYERS) / 2), direction),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_comes_back_from_its_number() {
        use Direction::{Backward, Forward};
        let layers = (0..200).flat_map(|l| [Scope::Layer(l, Forward), Scope::Layer(l, Backward)]);
        let others = [Scope::Loss, Scope::Optimizer, Scope::Head(Forward), Scope::Head(Backward)];
        let embeddings = [Scope::Embeddings(Forward), Scope::Embeddings(Backward)];
        for scope in layers.chain(others).chain(embeddings) {
            assert_eq!(scope_of(code(scope)), Some(scope));
        }
        assert_eq!(scope_of(0), None);
    }
}
