//! CSV and TSV.
//!
//! Own code rather than the `csv` crate, because what a user needs to repair a file is what that crate does not tell: the
//! exact line of a row under CRLF and blank lines, a quote that never closes, and a quote that closes in mid-field. A
//! record is parsed from physical lines, so a line is the unit of reading here as everywhere. Empty lines are skipped.

use std::io::Read;

use super::{
    Table,
    lines::{LONGEST_LINE, LineReader, utf8, without_terminator},
    table::Assembler,
};
use crate::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// A field may stand in `"`, and then hold delimiters, line breaks and doubled quotes.
    Rfc4180,
    /// Every byte counts.
    None,
}

/// Passes every row of `reader` to `rows`.
pub(super) fn read(
    table: &Table,
    reader: impl Read,
    delimiter: u8,
    quoting: Quoting,
    rows: &mut Assembler,
) -> Result<()> {
    let path = &table.path;
    let mut records = Records::new(table, reader, delimiter, quoting);
    if !records.next()? {
        return Err(Error::table(path, "the file is empty"));
    }
    let width = records.ends.len();
    let chosen = if table.header {
        let names = (0..width)
            .map(|i| utf8(records.field(i), path, records.line, None).map(str::trim))
            .collect::<Result<Vec<_>>>()?;
        if names.iter().any(|name| name.replace("\r\n", "").contains('\r')) {
            let message = "lines end with a carriage return alone, as on old Macs; convert them to line feeds";
            return Err(table.fault(records.line, None, message));
        }
        table.columns.resolve_names(&names, path)?
    } else {
        table.columns.resolve_indexes(width, path)?
    };
    let mut remains = !table.header || records.next()?;
    while remains {
        let line = records.line;
        let found = records.ends.len();
        if found != width && !table.conventions.ragged {
            return Err(table.fault(line, None, wrong_width(found, width, table.header, quoting)));
        }
        // The names of columns are only needed in errors, and then the reference the user gave says most.
        let column = |i: usize| table.columns.all().nth(i).map(ToString::to_string);
        for (i, index) in chosen.iter().enumerate() {
            if *index >= found {
                let message = format!("the row ends before this column: it has {found} columns");
                return Err(Error::Table { path: path.clone(), line: Some(line), column: column(i), message });
            }
            if std::str::from_utf8(records.field(*index)).is_err() {
                utf8(records.field(*index), path, line, column(i).as_deref())?;
            }
        }
        // Checked above; checking twice costs less than keeping a list of borrowed cells for every row.
        let cell = |i: usize| std::str::from_utf8(records.field(chosen[i])).unwrap_or_default();
        rows.row(cell, line, records.lines.position())?;
        remains = records.next()?;
    }
    Ok(())
}

fn wrong_width(found: usize, width: usize, header: bool, quoting: Quoting) -> String {
    let columns = |n| if n == 1 { "1 column".to_owned() } else { format!("{n} columns") };
    let reference = if header { "the header" } else { "the first row" };
    let advice = match (found > width, quoting) {
        (true, Quoting::Rfc4180) => "a field that holds the delimiter must stand in double quotes",
        (true, Quoting::None) => "a field cannot hold a tab; if this file quotes its fields, read it as tsv-quoted",
        (false, _) => "complete the row or delete it",
    };
    format!("the row has {} where {reference} has {}; {advice}", columns(found), columns(width))
}

struct Records<'t, R> {
    table: &'t Table,
    lines: LineReader<R>,
    delimiter: u8,
    quoting: Quoting,
    physical: Vec<u8>,
    fields: Vec<u8>,
    ends: Vec<usize>,
    line: u64,
}

impl<'t, R: Read> Records<'t, R> {
    fn new(table: &'t Table, reader: R, delimiter: u8, quoting: Quoting) -> Self {
        let lines = LineReader::new(reader, &table.path);
        Self { table, lines, delimiter, quoting, physical: vec![], fields: vec![], ends: vec![], line: 0 }
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.fields[start..self.ends[index]]
    }

    /// Reads the next record; false at the end.
    fn next(&mut self) -> Result<bool> {
        self.fields.clear();
        self.ends.clear();
        loop {
            if !self.lines.read(&mut self.physical)? {
                return Ok(false);
            }
            if !without_terminator(&self.physical).is_empty() {
                break;
            }
        }
        self.line = self.lines.line();
        let mut at = 0;
        loop {
            if self.quoting == Quoting::Rfc4180 && self.physical.get(at) == Some(&b'"') {
                at = self.quoted(at + 1)?;
            }
            let rest = &without_terminator(&self.physical)[at..];
            let length = memchr::memchr(self.delimiter, rest);
            self.fields.extend_from_slice(&rest[..length.unwrap_or(rest.len())]);
            self.ends.push(self.fields.len());
            match length {
                Some(length) => at += length + 1,
                None => return Ok(true),
            }
        }
    }

    /// Reads a quoted field whose content starts at `at`, over as many lines as it has; returns where it ended.
    fn quoted(&mut self, mut at: usize) -> Result<usize> {
        let opened = self.lines.line();
        loop {
            let rest = &self.physical[at..];
            let quote = memchr::memchr(b'"', rest);
            self.fields.extend_from_slice(&rest[..quote.unwrap_or(rest.len())]);
            match quote {
                Some(quote) if rest.get(quote + 1) == Some(&b'"') => {
                    self.fields.push(b'"');
                    at += quote + 2;
                }
                Some(quote) => {
                    at += quote + 1;
                    let end = without_terminator(&self.physical).len();
                    if at < end && self.physical[at] != self.delimiter {
                        let message = "a quoted field goes on after its closing quote; double the quotes inside it";
                        return Err(self.table.fault(self.lines.line(), None, message));
                    }
                    return Ok(at);
                }
                None => {
                    at = 0;
                    if self.fields.len() > LONGEST_LINE || !self.lines.read(&mut self.physical)? {
                        let message = "the quote that opens a field on this line is never closed";
                        return Err(self.table.fault(opened, None, message));
                    }
                }
            }
        }
    }
}
