//! From labelled text in files to packed batches of token ids.
//!
//! [`Source`] reads rows from tables or folders, one at a time; [`Preset`] knows how the benchmark sets are laid out.
//! [`BertTokenizer`] turns texts into ids, [`TokenizedSet`] keeps them in a memory-mapped file, [`Examples`] is a set
//! or a part of one. [`StepPlan`] decides which examples an optimizer step sees and [`EvaluationPlan`] how a set is
//! swept once.

pub mod batch;
mod cache;
pub(crate) mod chunk;
mod columns;
mod delimiter;
mod evaluation;
mod examples;
mod folders;
mod format;
mod label_names;
mod label_summary;
mod label_text;
mod labels;
mod order;
mod pairs;
mod preset;
mod reading;
mod remarks;
mod row;
mod sequence;
mod shards;
mod source;
mod split;
mod table;
mod tokenized;
mod tokenizer;
mod truncation;
mod words;

pub use batch::{PackedBatch, StepBatches};
pub use columns::{ColumnRef, Columns};
pub use delimiter::Delimiter;
pub use evaluation::EvaluationPlan;
pub use examples::Examples;
pub use folders::Folders;
pub use format::Format;
pub use label_names::LabelNames;
pub use label_summary::LabelSummary;
pub use labels::{LabelMap, Labels};
pub use order::{OrderSettings, StepPlan, micro_batches};
pub use pairs::{parse_pairs, write_pair};
pub use preset::{Preset, Splits};
pub(crate) use reading::lines;
pub use reading::{ShardRows, TableRows};
pub use remarks::Remarks;
pub use row::{Kept, Row};
pub use sequence::SequenceEncoder;
pub use shards::expand;
pub use source::{Rows, Source, TableOptions};
pub use split::stratified_split;
pub use table::{BadRows, Conventions, Table};
pub use tokenized::{TokenizeRequest, TokenizedSet, TokenizingProgress};
pub use tokenizer::BertTokenizer;
pub use truncation::{EncodeSettings, Truncation};
