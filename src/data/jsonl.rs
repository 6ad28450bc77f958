//! JSON lines: one object a line, of which only the chosen fields are kept.
//!
//! The rest of an object is skipped while parsing, never built: an SNLI line is nine tenths parse trees. A field may hold a
//! string, an integer or a boolean. Empty lines are skipped.

use std::{borrow::Cow, fmt, io::Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    ColumnRef, Table,
    columns::no_such_column,
    lines::{LineReader, utf8, without_terminator},
    table::Assembler,
};
use crate::{Error, Result};

/// Passes every row of `reader` to `rows`.
pub(super) fn read(table: &Table, reader: impl Read, rows: &mut Assembler) -> Result<()> {
    let mut lines = LineReader::new(reader, &table.path);
    let mut bytes = Vec::new();
    let columns: Vec<&ColumnRef> = table.columns.all().collect();
    let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let mut cells: Vec<Cell> = names.iter().map(|_| Cell::default()).collect();
    while lines.read(&mut bytes)? {
        let line = lines.line();
        let text = utf8(without_terminator(&bytes), &table.path, line, None)?;
        if text.trim().is_empty() {
            continue;
        }
        cells.iter_mut().for_each(|cell| cell.kind = Kind::Missing);
        let mut parser = serde_json::Deserializer::from_str(text);
        let outcome = Fields { names: &names, cells: &mut cells }.deserialize(&mut parser);
        outcome.and_then(|()| parser.end()).map_err(|fault| bad_json(table, line, &fault))?;
        for (cell, name) in cells.iter().zip(&names) {
            let message = match cell.kind {
                Kind::Text => continue,
                Kind::Missing => return Err(missing(table, line, text, name)),
                Kind::Null => "the value is null; give it a string or delete the line",
                Kind::Fraction => "the value is a number with a fraction; texts and labels are strings or integers",
                Kind::Composite => "the value is a list or an object; texts and labels are strings or integers",
            };
            return Err(table.fault(line, Some(name), message));
        }
        rows.row(|i| &cells[i].text, line, lines.position())?;
    }
    Ok(())
}

fn bad_json(table: &Table, line: u64, fault: &serde_json::Error) -> Error {
    // serde_json counts lines within what it was given, which is this one line.
    let message = fault.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    table.fault(line, None, format!("not one JSON object a line: {message} (character {})", fault.column()))
}

fn missing(table: &Table, line: u64, text: &str, wanted: &str) -> Error {
    let object: serde_json::Map<_, _> = serde_json::from_str(text).unwrap_or_default();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    no_such_column(&table.path, Some(line), wanted, &names)
}

#[derive(Default)]
struct Cell {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Kind {
    #[default]
    Missing,
    Null,
    Text,
    Fraction,
    Composite,
}

/// Fills the cells of the named fields from one object.
struct Fields<'a> {
    names: &'a [String],
    cells: &'a mut [Cell],
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let Some(first) = self.names.iter().position(|name| *name == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            map.next_value_seed(&mut self.cells[first])?;
            // The same field may be chosen twice.
            for other in first + 1..self.names.len() {
                if self.names[other] == key {
                    let (before, after) = self.cells.split_at_mut(other);
                    after[0].text.clone_from(&before[first].text);
                    after[0].kind = before[first].kind;
                }
            }
        }
        Ok(())
    }
}

/// A key, borrowed from the line unless it holds escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl Cell {
    fn set(&mut self, kind: Kind, text: &str) {
        self.kind = kind;
        self.text.clear();
        self.text.push_str(text);
    }
}

impl<'de> DeserializeSeed<'de> for &mut Cell {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Cell {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.set(Kind::Text, text);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.set(Kind::Text, &value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.set(Kind::Text, &value.to_string());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.set(Kind::Text, if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.set(Kind::Fraction, "");
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.set(Kind::Null, "");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.set(Kind::Composite, "");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.set(Kind::Composite, "");
        Ok(())
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<(), E> {
        Err(E::custom("bytes are not text"))
    }
}
