//! Pinned memory that copies run from and to while the host goes on.
//!
//! The binding's own pinned slices know when a copy is over only where it tracks events, which one stream has no need
//! of; here each buffer has an event after its last copy.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DeviceRepr, DriverError, PinnedHostSlice, ValidAsZeroBits,
    sys::CUevent_flags,
};

pub(crate) struct Pinned<T> {
    memory: PinnedHostSlice<T>,
    /// After the last copy.
    copied: CudaEvent,
}

impl<T: DeviceRepr + ValidAsZeroBits + Copy> Pinned<T> {
    pub(crate) fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self, DriverError> {
        // Not write-combined memory: batches are sorted where they lie, outcomes are read.
        const FLAGS: u32 = 0;
        // SAFETY: zeros are a valid value of T, and are written before anything reads.
        let mut memory = unsafe { context.alloc_pinned_with_flags::<T>(len, FLAGS)? };
        // SAFETY: as above; an all-zero T is one by its trait.
        memory.as_mut_slice()?.fill(unsafe { std::mem::zeroed() });
        Ok(Self { memory, copied: context.new_event(Some(CUevent_flags::CU_EVENT_DISABLE_TIMING))? })
    }

    /// Waits for the last copy.
    pub(crate) fn read(&self) -> Result<&[T], DriverError> {
        self.copied.synchronize()?;
        self.memory.as_slice()
    }

    /// Waits for the last copy.
    pub(crate) fn write(&mut self) -> Result<&mut [T], DriverError> {
        self.copied.synchronize()?;
        self.memory.as_mut_slice()
    }

    pub(crate) fn copy_to(&self, stream: &Arc<CudaStream>, buffer: &mut CudaSlice<T>) -> Result<(), DriverError> {
        stream.memcpy_htod(&self.memory, buffer)?;
        self.copied.record(stream)
    }

    pub(crate) fn copy_from(&mut self, stream: &Arc<CudaStream>, buffer: &CudaSlice<T>) -> Result<(), DriverError> {
        stream.memcpy_dtoh(buffer, &mut self.memory)?;
        self.copied.record(stream)
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // The memory goes next; a copy that a fault has ended is over too.
        let _ = self.copied.synchronize();
    }
}
