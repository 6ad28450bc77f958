//! JSON lines: one object a line, of which only the chosen fields are kept.
//!
//! The rest of an object is skipped while parsing, never built: an SNLI line is nine tenths parse trees. A text may be
//! a string, an integer or a boolean, a label any number too; a field that is handed on unread may be anything. Empty
//! lines are skipped.

use std::{borrow::Cow, fmt, io::Read};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    lines::{LineReader, utf8, without_terminator},
    records::{Found, Records, fault},
};
use crate::{
    Error, Result,
    data::{
        Table,
        columns::{Role, no_such_column},
    },
};

/// The records of a file of JSON lines.
pub(super) struct JsonLines<'r> {
    table: &'r Table,
    lines: LineReader<'r>,
    bytes: Vec<u8>,
    /// The names of the chosen fields, their roles and their cells.
    fields: Vec<(String, Role)>,
    cells: Vec<String>,
}

impl<'r> JsonLines<'r> {
    pub(crate) fn open(table: &'r Table, reader: impl Read + 'r) -> Result<Self> {
        let names = table.columns.all().map(ToString::to_string);
        let fields: Vec<_> = names.enumerate().map(|(i, name)| (name, table.columns.role(i))).collect();
        let lines = LineReader::new(reader, &table.path)?;
        Ok(Self { table, lines, bytes: Vec::new(), cells: vec![String::new(); fields.len()], fields })
    }

    /// Fills the cells from one line.
    fn parse(&mut self) -> Result<()> {
        let (path, line) = (&self.table.path, self.lines.line());
        let text = utf8(without_terminator(&self.bytes), path, line, None)?;
        let mut parser = serde_json::Deserializer::from_str(text);
        let values = Chosen(&self.fields).deserialize(&mut parser).and_then(|values| parser.end().map(|()| values));
        let values = values.map_err(|reason| {
            // serde_json counts lines within what it was given, which is this one line.
            let message = reason.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            fault(path, line, None, format!("not one JSON object a line: {message} (character {})", reason.column()))
        })?;
        for (((name, role), value), cell) in self.fields.iter().zip(values).zip(&mut self.cells) {
            let value = value.ok_or_else(|| missing(self.table, line, text, name))?;
            cell.clear();
            fill(cell, value.get(), *role).map_err(|message| fault(path, line, Some(name), message))?;
        }
        Ok(())
    }
}

impl Records for JsonLines<'_> {
    fn advance(&mut self) -> Result<Found> {
        loop {
            if !self.lines.read(&mut self.bytes)? {
                return Ok(Found::End);
            }
            if !self.bytes.trim_ascii().is_empty() {
                return Ok(self.parse().err().map_or(Found::Record, Found::Bad));
            }
        }
    }

    fn cell(&self, i: usize) -> &str {
        &self.cells[i]
    }

    fn line(&self) -> u64 {
        self.lines.line()
    }

    fn position(&self) -> u64 {
        self.lines.position()
    }
}

/// Writes a value, as it stands in the line, as the text of a cell; or says why it has none.
fn fill(cell: &mut String, value: &str, role: Role) -> Result<(), &'static str> {
    let fraction = |value: &str| value.contains(['.', 'e', 'E']);
    match (value.as_bytes().first(), role) {
        (Some(b'"'), _) => {
            // The parser has seen that it is a string; half an escaped pair of surrogates is all that can be wrong now.
            let text: Text = serde_json::from_str(value).map_err(|_| "the string holds half a surrogate pair")?;
            cell.push_str(&text.0);
        }
        (Some(b'n'), Role::Text) => return Err("the value is null; give it a string or delete the line"),
        (Some(b'n'), _) => {}
        (Some(b'{' | b'['), Role::Text | Role::Label) => {
            return Err("the value is a list or an object; texts and labels are strings or integers");
        }
        (Some(b'-' | b'0'..=b'9'), Role::Text) if fraction(value) => {
            let whole = whole_number(value);
            let message = "the value is a number with a fraction; texts and labels are strings or integers";
            cell.push_str(&whole.ok_or(message)?);
        }
        (Some(b'-' | b'0'..=b'9'), Role::Label) if fraction(value) => {
            cell.push_str(whole_number(value).as_deref().unwrap_or(value));
        }
        _ => cell.push_str(value),
    }
    Ok(())
}

/// The integer that a number such as `1.0` or `2e3` is.
fn whole_number(value: &str) -> Option<String> {
    value.parse().ok().and_then(super::integer)
}

fn missing(table: &Table, line: u64, text: &str, wanted: &str) -> Error {
    let object: serde_json::Map<_, _> = serde_json::from_str(text).unwrap_or_default();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    no_such_column(&table.path, Some(line), wanted, &names)
}

/// A name or a string, borrowed from the line unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes the values of the named fields out of one object, the last of each name.
struct Chosen<'a>(&'a [(String, Role)]);

impl<'de> DeserializeSeed<'de> for Chosen<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.0.len()];
        while let Some(Text(key)) = map.next_key()? {
            if self.0.iter().all(|(name, _)| *name != key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            // The same field may be chosen twice.
            let named = self.0.iter().zip(&mut values).filter(|((name, _), _)| *name == key);
            named.for_each(|(_, place)| *place = Some(value));
        }
        Ok(values)
    }
}
