//! From labelled text in files to packed batches of token ids.
//!
//! [`Source`] reads rows from tables or folders, one at a time; [`Preset`] knows how the benchmark sets are laid out.
//! [`BertTokenizer`] turns texts into ids, [`TokenizedSet`] keeps them in a memory-mapped file, [`Examples`] is a set or a
//! part of one. [`StepPlan`] decides which examples an optimizer step sees and [`EvaluationPlan`] how a set is swept once.

pub mod batch;
mod cache;
pub(crate) mod chunk;
mod columns;
mod delimited;
mod encoder;
mod evaluation;
mod examples;
mod folders;
mod jsonl;
mod labels;
pub(crate) mod lines;
mod order;
mod parquet;
mod preset;
mod source;
mod split;
mod table;
mod tokenized;
mod tokenizer;
mod truncation;
mod words;

pub use batch::PackedBatch;
pub use columns::{ColumnRef, Columns};
pub use encoder::SequenceEncoder;
pub use evaluation::EvaluationPlan;
pub use examples::Examples;
pub use folders::Folders;
pub use labels::{LabelMap, Labels};
pub use order::{OrderSettings, StepPlan, micro_batches};
pub use preset::{Preset, Splits};
pub use source::{Row, Source};
pub use split::stratified_split;
pub use table::{Conventions, Format, Table};
pub use tokenized::{Progress, TokenizeRequest, TokenizedSet};
pub use tokenizer::BertTokenizer;
pub use truncation::{EncodeSettings, Truncation};
