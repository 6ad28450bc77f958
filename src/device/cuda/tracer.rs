//! Times of kernels, by an event before each launch: a kernel lasts until the next begins. Where it is launched several
//! times in a row, its time is the mean.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, sys::CUevent_flags};

use crate::device::{Scope, timeline::Span};

/// A kernel that was launched.
struct Launched {
    name: &'static str,
    scope: Option<Scope>,
    began: CudaEvent,
}

/// The kernels of a step so far.
pub(crate) struct Tracer {
    context: Arc<CudaContext>,
    /// How often each kernel is launched.
    repeats: u32,
    launched: Vec<Launched>,
    /// When the host launched the first of them, which stands for when the device began it.
    start: Instant,
}

impl Tracer {
    pub(crate) fn new(context: &Arc<CudaContext>, repeats: u32) -> Self {
        Self { context: Arc::clone(context), repeats, launched: Vec::new(), start: Instant::now() }
    }

    pub(crate) fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Call before the launches of a kernel.
    pub(crate) fn launch(
        &mut self,
        stream: &CudaStream,
        name: &'static str,
        scope: Option<Scope>,
    ) -> Result<(), DriverError> {
        if self.launched.is_empty() {
            self.start = Instant::now();
        }
        let began = self.event(stream)?;
        self.launched.push(Launched { name, scope, began });
        Ok(())
    }

    /// Waits for the kernels, and forgets them.
    pub(crate) fn take(&mut self, stream: &CudaStream) -> Result<Vec<Span>, DriverError> {
        let end = self.event(stream)?;
        let launched = std::mem::take(&mut self.launched);
        let Some(first) = launched.first() else { return Ok(Vec::new()) };
        let since = |event: &CudaEvent| {
            first.began.elapsed_ms(event).map(|ms| Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
        };
        let mut spans = Vec::with_capacity(launched.len());
        for (i, Launched { name, scope, began }) in launched.iter().enumerate() {
            let (from, to) = (since(began)?, since(launched.get(i + 1).map_or(&end, |next| &next.began))?);
            let (start, duration) = (self.start + from, to.saturating_sub(from) / self.repeats);
            spans.push(Span { name: (*name).to_owned(), scope: *scope, start, duration });
        }
        Ok(spans)
    }

    fn event(&self, stream: &CudaStream) -> Result<CudaEvent, DriverError> {
        let event = self.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        event.record(stream)?;
        Ok(event)
    }
}
