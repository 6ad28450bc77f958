//! Rows of examples out of a table's records.

use std::{fs::File, io::Read};

use super::{
    delimited::Delimited,
    jsonl::JsonLines,
    parquet::{self, Parquet},
    records::{Found, Records, fault},
};
use crate::{
    Error, Result,
    data::{
        BadRows, Format, Remarks, Row, Table,
        label_text::{LabelText, same_label},
        pairs::write_pair,
        row::Kept,
    },
};

/// The rows of one table, one after another.
pub struct TableRows<'t> {
    table: &'t Table,
    records: Box<dyn Records + 't>,
    remarks: Remarks,
    // The present row, as far as it is not what its record says.
    label: String,
    text: Option<String>,
    pair: Option<String>,
    kept: String,
    kept_ends: Vec<usize>,
}

impl Table {
    /// What [`Row::position`] counts up to: bytes of text, rows of Parquet. 0 if unknown.
    pub fn size(&self) -> u64 {
        match self.format {
            Format::Parquet => File::open(&self.path).map_or(0, parquet::rows),
            _ => std::fs::metadata(&self.path).map_or(0, |file| file.len()),
        }
    }

    /// Opens the table at its first row.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Table`] when it is empty, or lacks a column that is asked
    /// for.
    pub fn rows(&self) -> Result<TableRows<'_>> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        match self.format {
            Format::Parquet => Ok(TableRows::new(self, Box::new(Parquet::open(self, file)?))),
            _ => self.rows_from(file),
        }
    }

    /// The same over a stream, such as standard input; the path only names it in errors.
    ///
    /// # Errors
    /// As [`Table::rows`], and [`Error::Table`] for Parquet, which cannot be streamed.
    pub fn rows_from<'t>(&'t self, reader: impl Read + 't) -> Result<TableRows<'t>> {
        let records: Box<dyn Records + 't> = match self.format {
            Format::Csv | Format::Tsv | Format::TsvQuoted => Box::new(Delimited::open(self, reader)?),
            Format::JsonLines => Box::new(JsonLines::open(self, reader)?),
            Format::Parquet => {
                let message = "Parquet cannot be read from a stream; write it to a file first";
                return Err(Error::table(&self.path, message));
            }
        };
        Ok(TableRows::new(self, records))
    }
}

/// What became of a record.
enum Assembled {
    Row,
    /// It has a label that is left out.
    LeftOut,
    Bad(Error),
}

impl<'t> TableRows<'t> {
    fn new(table: &'t Table, records: Box<dyn Records + 't>) -> Self {
        let mut remarks = Remarks::default();
        if let Some(delimiter) = records.recognised() {
            remarks.recognised(delimiter);
        }
        let kept_ends = Vec::with_capacity(table.columns.kept.len());
        let (label, kept) = (String::new(), String::new());
        Self { table, records, remarks, label, text: None, pair: None, kept, kept_ends }
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// [`Error::Table`] naming line and column of what cannot be used, unless such rows are to be skipped;
    /// [`Error::Io`].
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        Ok(if self.advance()? { Some(self.row()) } else { None })
    }

    /// What there is to say about the rows so far.
    pub fn remarks(&self) -> &Remarks {
        &self.remarks
    }

    /// Goes to the next row; false at the end.
    pub(in crate::data) fn advance(&mut self) -> Result<bool> {
        loop {
            let bad = match self.records.advance()? {
                Found::End => return Ok(false),
                Found::Bad(error) => error,
                Found::Record => match self.assemble()? {
                    Assembled::Row => return Ok(true),
                    Assembled::LeftOut => continue,
                    Assembled::Bad(error) => error,
                },
            };
            match self.table.conventions.bad_rows {
                BadRows::Refuse => return Err(bad),
                BadRows::Skip => self.remarks.skipped(&self.table.path, &bad),
            }
        }
    }

    /// The present row.
    pub(in crate::data) fn row(&self) -> Row<'_> {
        let columns = &self.table.columns;
        let texts = columns.text.len();
        Row {
            text: self.text.as_deref().unwrap_or_else(|| self.records.cell(0)),
            pair: columns.pair.as_ref().map(|_| self.pair.as_deref().unwrap_or_else(|| self.records.cell(texts))),
            label: columns.label.as_ref().map(|_| self.label.as_str()),
            kept: Kept::new(&self.kept, &self.kept_ends),
            path: &self.table.path,
            line: self.records.line(),
            position: self.records.position(),
        }
    }

    fn assemble(&mut self) -> Result<Assembled> {
        let Table { columns, conventions, .. } = self.table;
        if columns.label.is_some() {
            match self.assemble_label()? {
                Assembled::Row => {}
                other => return Ok(other),
            }
        }
        let texts = columns.text.len();
        self.text = (texts != 1).then(|| {
            let cells: Vec<&str> = (0..texts).map(|i| self.records.cell(i)).collect();
            cells.join(" ")
        });
        if conventions.escaped_newlines {
            let unescape = |text: &str| text.replace("\\n", "\n");
            self.text = Some(unescape(self.text.as_deref().unwrap_or_else(|| self.records.cell(0))));
            self.pair = columns.pair.as_ref().map(|_| unescape(self.records.cell(texts)));
        }
        self.kept.clear();
        self.kept_ends.clear();
        let before = texts + usize::from(columns.pair.is_some()) + usize::from(columns.label.is_some());
        for i in before..before + columns.kept.len() {
            self.kept.push_str(self.records.cell(i));
            self.kept_ends.push(self.kept.len());
        }
        Ok(Assembled::Row)
    }

    /// Sets the label to the name of a class.
    fn assemble_label(&mut self) -> Result<Assembled> {
        let Table { path, columns, conventions, .. } = self.table;
        let (line, column) =
            (self.records.line(), columns.label.as_ref().map(|column| column as &dyn std::fmt::Display));
        let written = self.records.cell(columns.text.len() + usize::from(columns.pair.is_some()));
        if let Some(ignored) = conventions.ignored_labels.iter().find(|ignored| same_label(ignored, written)) {
            self.remarks.left_out(ignored);
            return Ok(Assembled::LeftOut);
        }
        self.label.clear();
        if let Some((place, name)) = conventions.label_names.find(written) {
            self.remarks.named(place);
            self.label.push_str(name);
            return Ok(Assembled::Row);
        }
        if written.is_empty() {
            let message =
                "the label is empty; give the row one, delete it, or leave such rows out with --ignore-label ''";
            return Ok(Assembled::Bad(fault(path, line, column, message)));
        }
        let names = &conventions.class_names;
        match LabelText::from(written) {
            LabelText::Fraction => {
                let kind = match written.contains(',') {
                    true => "a number with a decimal comma (or two numbers)",
                    false => "a number with a fraction",
                };
                let named = write_pair(written, "NAME");
                let named = if named.contains('"') { format!("'{named}'") } else { named };
                let message = format!(
                    "the label '{written}' is {kind}: scores are no classes, and regression is not supported; sort \
                     them into classes first, or name those that are some with --label-map {named}"
                );
                return Err(fault(path, line, column, message));
            }
            LabelText::Name(text) if names.is_empty() => self.label.push_str(text),
            LabelText::Name(text) => {
                let name = text.parse::<usize>().ok().and_then(|class| names.get(class.checked_sub(1)?));
                let Some(name) = name else {
                    let message =
                        format!("class '{text}' is not a number from 1 to {}, the length of classes.txt", names.len());
                    return Ok(Assembled::Bad(fault(path, line, column, message)));
                };
                self.label.push_str(name);
            }
        }
        Ok(Assembled::Row)
    }
}
