//! What a run reports about itself: `metrics.jsonl`, TensorBoard event files, the progress line, learning curves and a
//! summary table.
//!
//! Everything is made from the two kinds of [`Event`]; `metrics.jsonl` is the record and the rest can be made again
//! from it. Nothing here prints, or reads a clock behind the caller's back but for TensorBoard's wall times, which its
//! format demands, and the timeline, which is about nothing else.

mod axis;
mod curves;
mod events;
mod font;
mod history;
mod picture;
mod progress;
mod raster;
mod series;
mod smoothing;
mod summary;
mod tensorboard;
mod timeline;

pub use curves::{CurveOptions, curves_png, curves_svg, write_curves};
pub use events::{EvalEvent, Event, EventLog, Split, StepEvent, Weights};
pub use history::{RunHistory, read_events};
pub use progress::{Progress, ProgressLine, short_duration};
pub use summary::{RunSummary, Summary};
pub use tensorboard::TensorBoardWriter;
pub use timeline::Timeline;
