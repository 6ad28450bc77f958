//! CSV and TSV.
//!
//! Own code rather than the `csv` crate, because what a user needs to repair a file is what that crate does not tell:
//! the exact line of a row under CRLF and blank lines, a quote that never closes, and a quote that closes in mid-field.
//! A record is parsed from physical lines, so a line is the unit of reading here as everywhere. Empty lines are
//! skipped.

use std::{io::Read, path::Path};

use super::{
    lines::{LONGEST_LINE, LineReader, utf8, without_terminator},
    records::{Found, Records, fault},
};
use crate::{
    Error, Result,
    data::{Delimiter, Format, Table},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// A field may stand in `"`, and then hold delimiters, line breaks and doubled quotes.
    Rfc4180,
    /// Every byte counts.
    None,
}

/// The records of a CSV or TSV file below its header.
pub(super) struct Delimited<'r> {
    table: &'r Table,
    parser: Parser<'r>,
    recognised: Option<Delimiter>,
    /// Fields of the first record, which every other has too.
    width: usize,
    /// The fields of the chosen columns.
    chosen: Vec<usize>,
    /// The first record is no header, and has not been handed out.
    first_is_next: bool,
}

impl<'r> Delimited<'r> {
    /// Reads the header, or the first row where there is none, and finds the columns.
    pub(crate) fn open(table: &'r Table, reader: impl Read + 'r) -> Result<Self> {
        let path = &table.path;
        let (delimiter, quoting) = match table.format {
            Format::Tsv => (Delimiter::TAB, Quoting::None),
            Format::TsvQuoted => (Delimiter::TAB, Quoting::Rfc4180),
            _ => (Delimiter::COMMA, Quoting::Rfc4180),
        };
        let mut parser = Parser::new(path, reader, table.conventions.delimiter.unwrap_or(delimiter), quoting)?;
        if !parser.read_line()? {
            return Err(Error::table(path, "the file is empty"));
        }
        let recognised = parser.recognise(table)?.filter(|_| table.conventions.delimiter.is_none());
        if let Some(delimiter) = recognised {
            // Whoever replaces the delimiter quotes; unquoted files are a habit of tabs.
            (parser.delimiter, parser.quoting) = (delimiter, Quoting::Rfc4180);
        }
        if let Err(Found::Bad(error)) = parser.parse()? {
            return Err(error);
        }
        let chosen = parser.resolve(table)?;
        let width = parser.ends.len();
        Ok(Self { table, parser, recognised, width, chosen, first_is_next: !table.header })
    }

    /// What is wrong with the record, if anything is.
    fn check(&self) -> Option<Error> {
        let Self { table: Table { path, columns, conventions, header, .. }, parser, width, .. } = self;
        let (line, found) = (parser.line, parser.ends.len());
        if found != *width && !conventions.ragged {
            return Some(fault(path, line, None, wrong_width(found, *width, *header, parser.quoting)));
        }
        for (i, &index) in self.chosen.iter().enumerate() {
            // The names of columns are only needed in errors, and then the reference the user gave says most.
            let column = || columns.all().nth(i).map(ToString::to_string);
            if index >= found {
                let message = format!("the row ends before this column: it has {found} columns");
                return Some(Error::Table { path: path.clone(), line: Some(line), column: column(), message });
            }
            if std::str::from_utf8(parser.field(index)).is_err() {
                return utf8(parser.field(index), path, line, column().as_deref()).err();
            }
        }
        None
    }
}

impl Records for Delimited<'_> {
    fn advance(&mut self) -> Result<Found> {
        if !std::mem::take(&mut self.first_is_next) {
            if !self.parser.read_line()? {
                return Ok(Found::End);
            }
            if let Err(bad) = self.parser.parse()? {
                return Ok(bad);
            }
        }
        Ok(self.check().map_or(Found::Record, Found::Bad))
    }

    /// Checked in [`Records::advance`]; checking twice costs less than keeping a list of borrowed cells for every row.
    fn cell(&self, i: usize) -> &str {
        std::str::from_utf8(self.parser.field(self.chosen[i])).unwrap_or_default()
    }

    fn line(&self) -> u64 {
        self.parser.line
    }

    fn position(&self) -> u64 {
        self.parser.lines.position()
    }

    fn recognised(&self) -> Option<Delimiter> {
        self.recognised
    }
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

/// Cuts physical lines into the fields of records.
struct Parser<'r> {
    path: &'r Path,
    lines: LineReader<'r>,
    delimiter: Delimiter,
    quoting: Quoting,
    physical: Vec<u8>,
    /// The record's fields one after another, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// The record's first line.
    line: u64,
}

impl<'r> Parser<'r> {
    fn new(path: &'r Path, reader: impl Read + 'r, delimiter: Delimiter, quoting: Quoting) -> Result<Self> {
        let lines = LineReader::new(reader, path)?;
        Ok(Self { path, lines, delimiter, quoting, physical: vec![], fields: vec![], ends: vec![], line: 0 })
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.fields[start..self.ends[index]]
    }

    /// Reads the next line that is not empty; false at the end.
    fn read_line(&mut self) -> Result<bool> {
        loop {
            if !self.lines.read(&mut self.physical)? {
                return Ok(false);
            }
            if !without_terminator(&self.physical).is_empty() {
                self.line = self.lines.line();
                return Ok(true);
            }
        }
    }

    /// The delimiter that the first line shows in place of the present one, if the columns are not found with that.
    fn recognise(&mut self, table: &Table) -> Result<Option<Delimiter>> {
        if let Some(declared) = Delimiter::declared(without_terminator(&self.physical)) {
            if !self.read_line()? {
                return Err(Error::table(self.path, "the file is empty"));
            }
            return Ok(Some(declared).filter(|delimiter| *delimiter != self.delimiter));
        }
        let line = without_terminator(&self.physical);
        let Some(found) = Delimiter::recognise(line, self.delimiter) else { return Ok(None) };
        let whole = std::str::from_utf8(line).unwrap_or_default().trim().trim_matches('"');
        let resolved = match table.header {
            true => table.columns.resolve_names(&[whole], self.path),
            false => table.columns.resolve_indexes(1, self.path),
        };
        Ok(resolved.is_err().then_some(found))
    }

    /// The fields of the chosen columns, by the header or by their numbers.
    fn resolve(&self, table: &Table) -> Result<Vec<usize>> {
        let width = self.ends.len();
        if !table.header {
            return table.columns.resolve_indexes(width, self.path);
        }
        let name = |i| utf8(self.field(i), self.path, self.line, None).map(str::trim);
        let names = (0..width).map(name).collect::<Result<Vec<_>>>()?;
        if names.iter().any(|name| name.replace("\r\n", "").contains('\r')) {
            let message = "lines end with a carriage return alone, as on old Macs; convert them to line feeds";
            return Err(fault(self.path, self.line, None, message));
        }
        table.columns.resolve_names(&names, self.path)
    }

    /// Cuts the present line, and as many more as its quotes take in, into fields.
    fn parse(&mut self) -> Result<Result<(), Found>> {
        self.fields.clear();
        self.ends.clear();
        let mut at = 0;
        loop {
            if self.quoting == Quoting::Rfc4180 && self.physical.get(at) == Some(&b'"') {
                at = match self.parse_quoted(at + 1)? {
                    Ok(end) => end,
                    Err(bad) => return Ok(Err(bad)),
                };
            }
            let rest = &without_terminator(&self.physical)[at..];
            let length = memchr::memchr(self.delimiter.byte(), rest);
            self.fields.extend_from_slice(&rest[..length.unwrap_or(rest.len())]);
            self.ends.push(self.fields.len());
            match length {
                Some(length) => at += length + 1,
                None => return Ok(Ok(())),
            }
        }
    }

    /// Reads a quoted field whose content starts at `at`, over as many lines as it has; returns where it ended.
    fn parse_quoted(&mut self, mut at: usize) -> Result<Result<usize, Found>> {
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
                    if at < end && self.physical[at] != self.delimiter.byte() {
                        let message = "a quoted field goes on after its closing quote; double the quotes inside it";
                        return Ok(Err(Found::Bad(fault(self.path, self.lines.line(), None, message))));
                    }
                    return Ok(Ok(at));
                }
                None => {
                    at = 0;
                    if self.fields.len() > LONGEST_LINE || !self.lines.read(&mut self.physical)? {
                        // The rest of the file is inside the quote: there is no row to go on with.
                        let message = "the quote that opens a field on this line is never closed";
                        return Err(fault(self.path, opened, None, message));
                    }
                }
            }
        }
    }
}
