//! One example as text.

use std::path::Path;

/// One example as text, borrowed from its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The text; several columns are joined by a space.
    pub text: &'a str,
    /// The second text of a pair.
    pub pair: Option<&'a str>,
    /// Present exactly if the source has a label column.
    pub label: Option<&'a str>,
    /// As [`Columns::kept`](super::Columns::kept) asks.
    pub kept: Kept<'a>,
    /// The file that the row is in.
    pub path: &'a Path,
    /// The row's first line, from 1; in Parquet its number.
    pub line: u64,
    /// How much of [`Source::size`](super::Source::size) lies before the end of this row.
    pub position: u64,
}

/// Cells that are handed on unread, one after another in one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept<'a> {
    text: &'a str,
    /// Where in `text` each cell ends.
    ends: &'a [usize],
}

impl<'a> Kept<'a> {
    /// Cells that end in `text` at `ends`, which ascend; the first starts at 0.
    pub(super) fn new(text: &'a str, ends: &'a [usize]) -> Self {
        Self { text, ends }
    }

    /// The cells in the order of their columns.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let cell = &self.text[start..end];
            start = end;
            cell
        })
    }
}
