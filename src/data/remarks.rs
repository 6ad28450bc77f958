//! What reading has to say besides the rows: what was recognised, left out, skipped.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};

use super::{Delimiter, LabelNames};
use crate::Error;

/// How many of the skipped rows are shown.
const SHOWN: usize = 5;

/// Remarks about the files of a source. They are kept with its tokens and name no path, as the files may have moved
/// since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remarks {
    /// Files and the delimiters they turned out to have.
    delimiters: Vec<(usize, String)>,
    /// Labels and how many rows were left out for them.
    left_out: Vec<(String, u64)>,
    /// Labels that were given names and that no row has, and these names.
    #[serde(default)]
    unseen: Vec<(String, String)>,
    /// Places of the labels that some row has, in the list of names.
    #[serde(skip)]
    named: BTreeSet<usize>,
    skipped: u64,
    /// Files, and what is wrong with the first of their skipped rows.
    first_skipped: Vec<(usize, String)>,
}

impl Remarks {
    pub(super) fn recognised(&mut self, delimiter: Delimiter) {
        self.delimiters.push((0, delimiter.to_string()));
    }

    pub(super) fn left_out(&mut self, label: &str) {
        self.add_left_out(label, 1);
    }

    fn add_left_out(&mut self, label: &str, rows: u64) {
        match self.left_out.iter_mut().find(|(known, _)| known == label) {
            Some((_, count)) => *count += rows,
            None => self.left_out.push((label.to_owned(), rows)),
        }
    }

    pub(super) fn named(&mut self, place: usize) {
        self.named.insert(place);
    }

    /// When all rows are read: which labels of `names` they do not have.
    pub(super) fn look_for(&mut self, names: &LabelNames) {
        let pairs = names.pairs().iter().enumerate();
        self.unseen = pairs.filter(|(place, _)| !self.named.contains(place)).map(|(_, pair)| pair.clone()).collect();
    }

    pub(super) fn skipped(&mut self, path: &Path, fault: &Error) {
        self.skipped += 1;
        if self.first_skipped.len() < SHOWN {
            let text = fault.to_string();
            let name = path.display().to_string();
            self.first_skipped.push((0, text.strip_prefix(&name).unwrap_or(&text).to_owned()));
        }
    }

    /// Adds what one of several files had to say.
    pub(super) fn add(&mut self, file: usize, remarks: &Self) {
        self.delimiters.extend(remarks.delimiters.iter().map(|(_, delimiter)| (file, delimiter.clone())));
        remarks.left_out.iter().for_each(|(label, rows)| self.add_left_out(label, *rows));
        self.named.extend(&remarks.named);
        self.skipped += remarks.skipped;
        let room = SHOWN - self.first_skipped.len();
        self.first_skipped.extend(remarks.first_skipped.iter().take(room).map(|(_, text)| (file, text.clone())));
    }

    /// All remarks about the files of these names, together called `name`.
    pub fn describe(&self, name: &str, files: &[&Path]) -> Vec<String> {
        let path = |file: usize| files.get(file).map_or_else(String::new, |path| path.display().to_string());
        let mut lines = Vec::new();
        for (file, delimiter) in &self.delimiters {
            let file = path(*file);
            lines.push(format!("{file}: its first line shows that '{delimiter}' separates the columns (--delimiter)"));
        }
        for (label, rows) in &self.left_out {
            let kind = if *rows == 1 { "row with the label" } else { "rows with the label" };
            lines.push(format!("{name}: {rows} {kind} '{label}' left out"));
        }
        for (label, class) in &self.unseen {
            lines.push(format!("{name}: no row has the label '{label}', which --label-map calls '{class}'"));
        }
        lines.extend(self.first_skipped.iter().map(|(file, text)| format!("{}{text}", path(*file))));
        if self.skipped > 0 {
            let rows = if self.skipped == 1 { "row that cannot be read is" } else { "rows that cannot be read are" };
            let shown = if self.skipped > SHOWN as u64 {
                format!(", of which the first {SHOWN} are above")
            } else {
                String::new()
            };
            lines.push(format!("{name}: {} {rows} skipped{shown}", self.skipped));
        }
        lines
    }
}
