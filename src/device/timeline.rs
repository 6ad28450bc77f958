//! What a device did and when: spans for a timeline.

use std::time::{Duration, Instant};

use super::Scope;

/// A stretch of a device's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// A kernel, or on the processor the part of the step.
    pub name: String,
    /// The part of the step that a kernel belongs to.
    pub scope: Option<Scope>,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub duration: Duration,
}

/// Spans of a device that works while it is called: each scope lasts until the next begins.
#[derive(Debug, Default)]
pub struct ScopeClock {
    open: Option<(Scope, Instant)>,
    spans: Vec<Span>,
}

impl ScopeClock {
    /// Ends the part under way, if there is one, and begins another.
    pub fn enter(&mut self, scope: Scope) {
        self.close();
        self.open = Some((scope, Instant::now()));
    }

    /// The spans since the last call; the open one ends.
    pub fn take(&mut self) -> Vec<Span> {
        self.close();
        std::mem::take(&mut self.spans)
    }

    fn close(&mut self) {
        if let Some((scope, start)) = self.open.take() {
            let (name, duration) = (scope.to_string(), start.elapsed());
            self.spans.push(Span { name, scope: Some(scope), start, duration });
        }
    }
}
