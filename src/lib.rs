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
//! | `F` | feed-forward size |
//! | `V` | vocabulary size |
//! | `L` | encoder layers |
//! | `N` | labels |
//!
//! The library never prints, exits or panics on input; it returns [`Error`].

pub mod checkpoint;
pub mod data;
pub mod device;
pub mod distillation;
pub mod encoder;
pub mod ensemble;
mod error;
pub mod inference;
pub mod metrics;
pub mod model;
pub mod random;
pub mod reports;
pub mod training;

pub use error::{Error, Fault, Result};
