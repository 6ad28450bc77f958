//! A timeline of a run in the Trace Event Format that Chrome and Perfetto open: an array of complete events, times in
//! microseconds.
//!
//! Track 1 is the host (steps, evaluations, checkpoints), track 2 the device (kernels, or on the processor the parts of
//! a step).

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{Error, Result, device::timeline::Span};

const HOST: u32 = 1;
const DEVICE: u32 = 2;

#[derive(Serialize)]
struct Complete<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
}

/// The file, open for one more event.
pub struct Timeline {
    path: PathBuf,
    file: BufWriter<File>,
    origin: Instant,
}

impl Timeline {
    /// Starts a timeline, replacing what was at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut timeline = Self { path, file: BufWriter::new(file), origin: Instant::now() };
        let names = [(HOST, "host"), (DEVICE, "device")].map(|(track, name)| {
            format!(r#"{{"name":"thread_name","ph":"M","pid":1,"tid":{track},"args":{{"name":"{name}"}}}}"#)
        });
        timeline.put(&format!("[\n{}", names.join(",\n")))?;
        Ok(timeline)
    }

    /// Something the host did, from `start` to now.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn host(&mut self, name: &str, start: Instant) -> Result<()> {
        self.complete(name, "host", HOST, start, start.elapsed())
    }

    /// What the device did.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn device(&mut self, spans: &[Span]) -> Result<()> {
        spans.iter().try_for_each(|span| {
            let scope = span.scope.map_or_else(String::new, |scope| scope.to_string());
            self.complete(&span.name, &scope, DEVICE, span.start, span.duration)
        })
    }

    /// Ends the array and writes everything out.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.put("\n]\n")?;
        self.file.flush().map_err(Error::io("write", &self.path))
    }

    fn complete(&mut self, name: &str, cat: &str, tid: u32, start: Instant, duration: Duration) -> Result<()> {
        let ts = start.saturating_duration_since(self.origin).as_secs_f64() * 1e6;
        let event = Complete { name, cat, ph: "X", ts, dur: duration.as_secs_f64() * 1e6, pid: 1, tid };
        let json = serde_json::to_string(&event).map_err(|error| Error::run(&self.path, error.to_string()))?;
        self.put(&format!(",\n{json}"))
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Direction, Scope};

    #[test]
    fn it_is_json_with_every_span() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let mut timeline = Timeline::create(path.clone()).unwrap();
        let start = Instant::now();
        let scope = Some(Scope::Layer(3, Direction::Backward));
        let span = Span { name: "linear".into(), scope, start, duration: Duration::from_micros(250) };
        timeline.device(&[span.clone(), span]).unwrap();
        timeline.host("step 1", start).unwrap();
        timeline.finish().unwrap();
        let events: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(events.len(), 5);
        assert_eq!((events[2]["name"].as_str(), events[2]["cat"].as_str()), (Some("linear"), Some("layer 3 backward")));
        assert!((events[2]["dur"].as_f64().unwrap() - 250.0).abs() < 1e-6);
        assert_eq!(events[4]["name"], "step 1");
    }
}
