//! Classifying with a finished model: find its directory, put it on a device, and run texts through it.
//!
//! ```text
//! --model → locate → Model, TrainedWith → Classifier ← batches of a set   (sweep: eval, ensemble)
//!                                                    ← chunks of a stream (classify_stream: predict)
//!                                                    → logits → probabilities → PredictionWriter → OutputFile
//! ```
//!
//! There is no dropout here, so the same model gives the same logits however it was trained.

mod classifier;
mod located;
mod output_file;
mod prediction;
mod probabilities;
mod stream;
mod text_input;
mod trained_with;

pub use classifier::{Classifier, Visit};
pub use located::locate;
pub use output_file::{OutputFile, STANDARD_OUTPUT};
pub use prediction::{Prediction, PredictionFields, PredictionFormat, PredictionWriter};
pub use probabilities::{largest, softmax};
pub use stream::{StreamEvent, StreamSettings, Streamed, classify_stream};
pub use text_input::{STANDARD_INPUT, TextInput};
pub use trained_with::TrainedWith;
