//! Passes on the CUDA device: named for profilers, recorded as graphs, and what arrives of them on the host.

use std::cell::RefCell;

use cudarc::driver::CudaSlice;

use super::{CudaBatch, CudaDevice, CudaOutcome, element::Element, ranges::Level, recorder, tracer::Tracer};
use crate::{
    Result,
    data::PackedBatch,
    device::{PassKey, Passes, Scope, StepScalars, timeline::Span},
};

impl<E: Element> Passes for CudaDevice<E> {
    const QUEUES: bool = true;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn enter_step(&mut self, step: u64) {
        self.launcher.ranges.enter(Level::Step, format!("step {step}"));
    }

    fn enter(&mut self, scope: Scope) {
        self.launcher.enter(scope);
    }

    fn trace(&mut self) {
        self.record(false);
        self.launcher.tracer = Some(RefCell::new(Tracer::new(&self.context, 1)));
    }

    fn take_spans(&mut self) -> Result<Vec<Span>> {
        self.launcher.take_spans()
    }

    fn upload(&mut self, batch: &mut CudaBatch, source: &PackedBatch, scalars: &StepScalars) -> Result<()> {
        batch.upload(&self.launcher.stream, source, scalars)
    }

    fn replay(&mut self, key: PassKey, batch: &CudaBatch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        recorder::replay(self, key, batch, pass)
    }

    fn send_outcome(&mut self, outcome: &mut CudaOutcome, losses: &CudaSlice<f32>) -> Result<()> {
        outcome.send(&self.launcher, losses, &self.optimizer.outcome)
    }

    fn receive_outcome<'a>(&mut self, outcome: &'a CudaOutcome) -> Result<(&'a [f32], f64)> {
        outcome.receive(&self.launcher)
    }
}

impl<E: Element> CudaDevice<E> {
    /// Launches every kernel so often in a row from now on, and times it as the mean of these launches. That is closer
    /// to what a kernel takes in a recorded pass than one launch is, but what it computes is nothing to go on with:
    /// sums that grow grow by each launch.
    ///
    /// # Panics
    /// For no launches at all.
    pub fn time_launches(&mut self, repeats: u32) {
        assert!(repeats > 0, "a kernel is launched once or more");
        self.record(false);
        self.launcher.tracer = Some(RefCell::new(Tracer::new(&self.context, repeats)));
    }
}
