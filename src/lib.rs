//! Fine-tuning of BERT-family encoders with self-ensemble and self-distillation
//! (Xu, Qiu, Zhou, Huang, *Improving BERT Fine-Tuning via Self-Ensemble and Self-Distillation*, arXiv 2002.10345).
//!
//! Data flows one way: text → examples → packed batches → a step on a device → metrics and checkpoints.
//!
//! Shape letters, used in every comment of this crate:
//!
//! | letter | meaning |
//! |---|---|
//! | `B` | sequences in a batch |
//! | `T` | packed (real) tokens in a batch; there is no padding anywhere |
//! | `S` | tokens of the longest sequence |
//! | `C` | hidden size |
//! | `H` | attention heads |
//! | `D` | head size, `C / H` |
//! | `A` | width of attention: `H` heads in memory, `C` unless `D` is filled up to a multiple of 8 |
//! | `F` | feed-forward size |
//! | `V` | vocabulary size |
//! | `L` | encoder layers |
//! | `N` | labels |
//!
//! The library never prints, exits or panics on input; it returns [`Error`].
//!
//! What the command line can do a program can do with the same options and the same defaults:
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use bertsd_cuda::training::{Observation, RunOptions, Training, Watch};
//!
//! # let home = tempfile::tempdir().unwrap();
//! # let (train, out) = (home.path().join("train.csv"), home.path().join("run"));
//! # std::fs::write(&train, "text,label\nw1 w2,good\nw3,bad\nw1 w4,good\nw5 w3,bad\n").unwrap();
//! let model = "tests/golden/head32/model"; // or "bert-base-uncased", from the hub
//! let options = RunOptions { max_steps: Some(2), ..RunOptions::for_files(model, train, out) };
//! let mut losses = vec![];
//! let mut observe = |observation: Observation| {
//!     if let Observation::Step { event, .. } = observation {
//!         losses.push(event.loss);
//!     }
//! };
//! let outcome = Training::new(options).run(&mut Watch::new(&AtomicBool::new(false), &mut observe))?;
//! assert!(outcome.model.join("model.safetensors").is_file() && losses.len() == 2);
//! # Ok::<(), bertsd_cuda::Error>(())
//! ```

#![warn(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]

pub mod checkpoint;
pub mod data;
pub mod device;
pub mod distillation;
pub mod encoder;
pub mod ensemble;
mod error;
pub mod experiment;
pub mod inference;
pub mod metrics;
pub mod model;
pub mod random;
pub mod reports;
mod stop;
pub mod text_value;
pub mod threads;
pub mod training;

pub use error::{Error, Fault, Result};
pub use stop::Stop;
