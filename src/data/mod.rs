//! From labelled text in files to packed batches of token ids.

pub mod batch;

pub use batch::PackedBatch;
