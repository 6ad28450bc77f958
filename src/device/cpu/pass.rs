//! Passes on the CPU device: done while they are asked for.

use super::{CpuBatch, CpuDevice, CpuOutcome};
use crate::{
    Result,
    data::PackedBatch,
    device::{
        PassKey, Passes, Scope, StepScalars,
        timeline::{ScopeClock, Span},
    },
};

impl Passes for CpuDevice {
    const QUEUES: bool = false;

    fn name(&self) -> String {
        Self::description()
    }

    fn enter(&mut self, scope: Scope) {
        if let Some(clock) = &mut self.clock {
            clock.enter(scope);
        }
    }

    fn trace(&mut self) {
        self.clock = Some(ScopeClock::default());
    }

    fn take_spans(&mut self) -> Result<Vec<Span>> {
        Ok(self.clock.as_mut().map(ScopeClock::take).unwrap_or_default())
    }

    fn upload(&mut self, batch: &mut CpuBatch, source: &PackedBatch, scalars: &StepScalars) -> Result<()> {
        batch.fill(source, *scalars)
    }

    fn replay(&mut self, _: PassKey, _: &CpuBatch, pass: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        pass(self)
    }

    fn send_outcome(&mut self, outcome: &mut CpuOutcome, losses: &Vec<f32>) -> Result<()> {
        outcome.losses.copy_from_slice(losses);
        outcome.norm = self.norm;
        Ok(())
    }

    fn receive_outcome<'a>(&mut self, outcome: &'a CpuOutcome) -> Result<(&'a [f32], f64)> {
        Ok((&outcome.losses, outcome.norm))
    }
}
