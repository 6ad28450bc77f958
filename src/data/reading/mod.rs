//! Tables read row by row; no file is ever held.
//!
//! Line numbers count from 1, the header included, and are those of a row's first line (in Parquet: the row's number).
//! Integers and booleans are read as their decimal string or `true` and `false`. A null is an error in a text, and
//! empty elsewhere; an empty text is none.
//!
//! ```text
//! bytes → unpack → lines → delimited, jsonl ┐
//!                                  parquet ┴→ records of cells → TableRows → rows of examples
//! ```

mod delimited;
mod jsonl;
pub(crate) mod lines;
mod parquet;
mod records;
mod shard_rows;
mod table_rows;
mod unpack;

pub use shard_rows::ShardRows;
pub use table_rows::TableRows;

/// The integer that a number is, as text.
fn integer(value: f64) -> Option<String> {
    // Beyond this there are integers that a float cannot be told apart from.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= LARGEST).then(|| (value as i64).to_string())
}
