//! What stands between the columns of a CSV or TSV file, given or recognised.

use std::{fmt, str::FromStr};

use crate::text_value::{InvalidValue, TextValue, text_serde};

/// One byte that separates columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiter(u8);

text_serde!(Delimiter);

impl TextValue for Delimiter {}

impl Delimiter {
    /// That of CSV.
    pub const COMMA: Self = Self(b',');
    /// That of TSV.
    pub const TAB: Self = Self(b'\t');
    /// Where a header shows one column only, these are tried.
    const USUAL: [Self; 4] = [Self(b';'), Self::TAB, Self(b'|'), Self::COMMA];

    /// The byte itself.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// The usual delimiter that cuts `line` into the most columns, if `present` cuts it into none. What stands in
    /// quotes counts for nothing.
    pub(super) fn recognise(line: &[u8], present: Self) -> Option<Self> {
        if present.count(line) > 0 {
            return None;
        }
        let counts = Self::USUAL.map(|delimiter| (delimiter.count(line), delimiter));
        let most = counts.iter().map(|(count, _)| *count).max().filter(|most| *most > 0)?;
        counts.iter().find(|(count, _)| *count == most).map(|(_, delimiter)| *delimiter)
    }

    /// The delimiter that a first line `sep=…` declares, as spreadsheets write and read it.
    pub(super) fn declared(line: &[u8]) -> Option<Self> {
        match line.strip_prefix(b"sep=") {
            Some(&[byte]) => Self::new(byte),
            _ => None,
        }
    }

    fn new(byte: u8) -> Option<Self> {
        (byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0)).then_some(Self(byte))
    }

    fn count(self, line: &[u8]) -> usize {
        let mut quoted = false;
        let outside = line.iter().filter(|&&byte| {
            quoted ^= byte == b'"';
            !quoted && byte == self.0
        });
        outside.count()
    }
}

impl FromStr for Delimiter {
    type Err = InvalidValue;

    /// A character of ASCII, or `tab`.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let given = match text.as_bytes() {
            b"tab" | b"\\t" => Some(Self::TAB),
            &[byte] => Self::new(byte),
            _ => None,
        };
        given
            .ok_or_else(|| InvalidValue(format!("'{text}' is neither one character of ASCII, such as ; or |, nor tab")))
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::TAB => f.write_str("tab"),
            Self(byte) => write!(f, "{}", char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ones_are_recognised_outside_quotes() {
        let recognise = |line: &str| Delimiter::recognise(line.as_bytes(), Delimiter::COMMA).map(Delimiter::byte);
        assert_eq!(recognise("text;label"), Some(b';'));
        assert_eq!(recognise("\"a,b\";label;more|less"), Some(b';'));
        assert_eq!(recognise("text\tlabel"), Some(b'\t'));
        assert_eq!(recognise("a|b;c|d"), Some(b'|'));
        assert_eq!(recognise("text"), None);
        assert_eq!(recognise("text,label;x;y"), None, "the format's own delimiter cuts it");
        assert_eq!(recognise("\"a;b\""), None);
        assert_eq!(Delimiter::recognise(b"text,label", Delimiter::TAB), Some(Delimiter::COMMA));
    }

    #[test]
    fn a_spreadsheet_declares_its_own() {
        assert_eq!(Delimiter::declared(b"sep=;"), Some(Delimiter(b';')));
        for line in ["sep=", "sep=;;", "sep=\"", "text;sep="] {
            assert_eq!(Delimiter::declared(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn one_character_or_tab() {
        for (text, byte) in [(";", b';'), ("tab", b'\t'), ("\\t", b'\t'), ("|", b'|'), (" ", b' '), ("x", b'x')] {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!(delimiter.byte(), byte);
            assert_eq!(delimiter.to_string().parse::<Delimiter>().unwrap(), delimiter);
        }
        for text in ["", ";;", "\"", "\n", "é"] {
            let message = text.parse::<Delimiter>().unwrap_err().to_string();
            assert!(message.contains("neither one character"), "{message}");
        }
    }
}
