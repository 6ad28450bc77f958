//! Rows of several tables, read one after another as if they were one.

use super::TableRows;
use crate::{
    Result,
    data::{Remarks, Row, Table},
};

/// The rows of one or several tables.
pub struct ShardRows<'t> {
    tables: &'t [Table],
    /// Which table is being read, and its rows.
    number: usize,
    present: Option<TableRows<'t>>,
    /// Sizes of the tables before it.
    before: u64,
    /// Remarks on the tables before it.
    remarks: Remarks,
}

impl<'t> ShardRows<'t> {
    /// Opens the first table; the others when it is their turn.
    ///
    /// # Errors
    /// As [`Table::rows`].
    pub fn open(tables: &'t [Table]) -> Result<Self> {
        let present = tables.first().map(Table::rows).transpose()?;
        Ok(Self { tables, number: 0, present, before: 0, remarks: Remarks::default() })
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// As [`TableRows::next_row`], and as [`Table::rows`] where the next table is opened.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        Ok(if self.advance()? { self.row() } else { None })
    }

    /// What there is to say about the rows so far.
    pub fn remarks(&self) -> Remarks {
        let mut remarks = self.remarks.clone();
        if let Some(present) = &self.present {
            remarks.add(self.number, present.remarks());
        }
        remarks
    }

    /// Goes to the next row; false at the end.
    pub(in crate::data) fn advance(&mut self) -> Result<bool> {
        while let Some(present) = &mut self.present {
            if present.advance()? {
                return Ok(true);
            }
            let Some(next) = self.tables.get(self.number + 1) else { return Ok(false) };
            self.remarks.add(self.number, present.remarks());
            self.before += self.tables[self.number].size();
            self.number += 1;
            self.present = Some(next.rows()?);
        }
        Ok(false)
    }

    /// The present row.
    pub(in crate::data) fn row(&self) -> Option<Row<'_>> {
        let row = self.present.as_ref()?.row();
        Some(Row { position: self.before + row.position, ..row })
    }
}
