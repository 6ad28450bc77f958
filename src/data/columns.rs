//! Which columns of a table hold the text, the second text of a pair and the label.
//!
//! A column is named by its header or, in files without one, by its position from 0. A reference that does not resolve
//! is answered with the columns that exist and the nearest name.

use std::{convert::Infallible, fmt, path::Path, str::FromStr};

use crate::{Error, Result};

/// A column by name or by position from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// By its name in the header.
    Name(String),
    /// By its number, from 0.
    Index(usize),
}

impl FromStr for ColumnRef {
    type Err = Infallible;

    /// Digits alone are a position. In a table with a header a column whose name is those digits comes first.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(match text.parse() {
            Ok(index) if digits => Self::Index(index),
            _ => Self::Name(text.to_owned()),
        })
    }
}

impl From<&str> for ColumnRef {
    fn from(text: &str) -> Self {
        let Ok(column) = text.parse();
        column
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

/// The columns that make an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text; several columns are joined by a space.
    pub text: Vec<ColumnRef>,
    /// The second text of a pair.
    pub pair: Option<ColumnRef>,
    /// The label; `None` where labels are not read.
    pub label: Option<ColumnRef>,
    /// Columns that are handed on unread.
    pub kept: Vec<ColumnRef>,
}

/// What a column is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Text,
    Label,
    /// It is handed on unread.
    Kept,
}

impl Columns {
    /// One column of texts, with those that go with it.
    pub fn new(text: impl Into<ColumnRef>, pair: Option<ColumnRef>, label: Option<ColumnRef>) -> Self {
        Self { text: vec![text.into()], pair, label, kept: Vec::new() }
    }

    /// All of them in the order text…, pair, label, kept….
    pub(super) fn all(&self) -> impl Iterator<Item = &ColumnRef> {
        self.text.iter().chain(&self.pair).chain(&self.label).chain(&self.kept)
    }

    /// What the `i`-th of [`Columns::all`] is for.
    pub(super) fn role(&self, i: usize) -> Role {
        let label = self.text.len() + usize::from(self.pair.is_some());
        match i {
            _ if i < label => Role::Text,
            _ if i == label && self.label.is_some() => Role::Label,
            _ => Role::Kept,
        }
    }

    /// Positions of all columns in a table whose header is `names`.
    pub(super) fn resolve_names(&self, names: &[&str], path: &Path) -> Result<Vec<usize>> {
        self.all().map(|column| resolve_name(column, names, path)).collect()
    }

    /// Positions of all columns in a table of `width` columns without a header.
    pub(super) fn resolve_indexes(&self, width: usize, path: &Path) -> Result<Vec<usize>> {
        let fault = |column: &ColumnRef, message| {
            Err(Error::Table { path: path.into(), line: None, column: Some(column.to_string()), message })
        };
        self.all()
            .map(|column| match *column {
                ColumnRef::Index(index) if index < width => Ok(index),
                ColumnRef::Index(_) => fault(column, format!("no such column; {}", numbered(width))),
                ColumnRef::Name(_) => fault(
                    column,
                    format!("the file is read without a header, so columns go by number; {}", numbered(width)),
                ),
            })
            .collect()
    }
}

fn numbered(width: usize) -> String {
    match width {
        1 => "there is one column, number 0".into(),
        _ => format!("there are {width} columns, numbered 0 to {}", width.saturating_sub(1)),
    }
}

fn resolve_name(column: &ColumnRef, names: &[&str], path: &Path) -> Result<usize> {
    let wanted = column.to_string();
    let mut named = (0..names.len()).filter(|&i| names[i] == wanted);
    let (named, again) = (named.next(), named.next());
    if let (Some(first), Some(second)) = (named, again) {
        let message =
            format!("columns {first} and {second} both have this name; give the number of the one that is meant");
        return Err(Error::Table { path: path.into(), line: None, column: Some(wanted), message });
    }
    let found = match *column {
        ColumnRef::Index(index) => named.or(Some(index).filter(|index| *index < names.len())),
        ColumnRef::Name(_) => named,
    };
    found.ok_or_else(|| no_such_column(path, None, &wanted, names))
}

/// The error for a name that is not among `names`.
pub(super) fn no_such_column(path: &Path, line: Option<u64>, wanted: &str, names: &[&str]) -> Error {
    // A file can have a thousand columns; the first of them are enough to see what went wrong.
    const SHOWN: usize = 20;
    let mut list: Vec<String> = names.iter().take(SHOWN).map(|name| format!("'{name}'")).collect();
    if names.len() > SHOWN {
        list.push(format!("and {} more", names.len() - SHOWN));
    }
    let nearest = names
        .iter()
        .map(|name| (edit_distance(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .min()
        .filter(|(distance, _)| *distance <= wanted.chars().count().max(3) / 2)
        .map(|(_, name)| format!("; did you mean '{name}'?"));
    let message = format!("no such column; there are {}{}", list.join(", "), nearest.unwrap_or_default());
    Error::Table { path: path.into(), line, column: Some(wanted.to_owned()), message }
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_positions_and_the_rest_are_names() {
        assert_eq!(ColumnRef::from("12"), ColumnRef::Index(12));
        for name in ["text", "1a", "+1", "-1", "", "99999999999999999999999999"] {
            assert_eq!(ColumnRef::from(name), ColumnRef::Name(name.into()));
        }
    }

    #[test]
    fn a_header_named_by_digits_comes_before_the_position() {
        let columns = Columns::new("0", None, None);
        assert_eq!(columns.resolve_names(&["1", "0"], Path::new("x")).unwrap(), [1]);
        assert_eq!(columns.resolve_names(&["text", "label"], Path::new("x")).unwrap(), [0]);
    }

    #[test]
    fn edit_distance_counts_single_changes() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("größe", "grösse"), 2);
    }
}
