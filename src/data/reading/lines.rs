//! Lines of a text file, counted from 1, with bounded memory.
//!
//! Compressed files are unpacked while they are read. A UTF-8 byte-order mark is dropped; UTF-16 is recognised and
//! refused. A line longer than [`LONGEST_LINE`] is an error rather than a file read into memory: such "lines" are
//! binary files, or a quote that was never closed.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::unpack::Unpacked;
use crate::{Error, Result};

/// Most bytes of one line or one quoted record.
pub(super) const LONGEST_LINE: usize = 64 << 20;

pub(crate) struct LineReader<'r> {
    source: Unpacked<'r>,
    path: PathBuf,
    line: u64,
    position: u64,
}

impl<'r> LineReader<'r> {
    /// # Errors
    /// [`Error::Io`] when the reader fails; [`Error::Table`] when its first bytes are those of another kind of file.
    pub(crate) fn new(reader: impl Read + 'r, path: &Path) -> Result<Self> {
        Ok(Self { source: Unpacked::open(reader, path)?, path: path.into(), line: 0, position: 0 })
    }

    /// Number of the line read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Bytes consumed so far: of the lines, or of the compressed file.
    pub(crate) fn position(&self) -> u64 {
        self.source.packed_position().unwrap_or(self.position)
    }

    /// Replaces `line` by the next line, terminator included; false at the end of the file.
    ///
    /// # Errors
    /// [`Error::Io`] when the reader fails; [`Error::Table`] for a line that is too long, UTF-16, or damaged
    /// compression.
    pub(crate) fn read(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let read = self.source.read_line(LONGEST_LINE as u64 + 1, line, &self.path)?;
        self.position += read as u64;
        self.line += 1;
        if line.len() > LONGEST_LINE {
            let message = format!("the line is longer than {} MiB; is this a text file?", LONGEST_LINE >> 20);
            return Err(Error::table_line(&self.path, self.line, message));
        }
        if self.line == 1 {
            if line.starts_with(&[0xFF, 0xFE]) || line.starts_with(&[0xFE, 0xFF]) {
                return Err(Error::table_line(&self.path, 1, "the file is UTF-16; save it as UTF-8"));
            }
            if line.starts_with("\u{FEFF}".as_bytes()) {
                line.drain(..3);
            }
        }
        Ok(read > 0)
    }
}

/// `line` without its terminator, `\n` or `\r\n`.
pub(crate) fn without_terminator(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `bytes` as text; `column` names the place if they are not UTF-8.
pub(crate) fn utf8<'a>(bytes: &'a [u8], path: &Path, line: u64, column: Option<&str>) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|fault| Error::Table {
        path: path.into(),
        line: Some(line + bytes[..fault.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64),
        column: column.map(str::to_owned),
        message: format!("byte 0x{:02X} is not UTF-8; convert the file to UTF-8", bytes[fault.valid_up_to()]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = LineReader::new(bytes, Path::new("x")).unwrap();
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        while reader.read(&mut line).unwrap() {
            lines.push(line.clone());
        }
        assert_eq!(reader.position(), bytes.len() as u64);
        lines
    }

    #[test]
    fn keeps_terminators_and_drops_the_byte_order_mark() {
        assert_eq!(lines(b"\xEF\xBB\xBFa\r\nb\n\nc"), [&b"a\r\n"[..], b"b\n", b"\n", b"c"]);
        assert_eq!(lines(b""), [b""; 0]);
    }

    #[test]
    fn a_bad_byte_is_found_on_its_own_line_of_a_long_record() {
        let error = utf8(b"one\ntwo\n\xE9t\xE9", Path::new("x"), 10, Some("text")).unwrap_err();
        assert_eq!(error.to_string(), "x, line 12, column 'text': byte 0xE9 is not UTF-8; convert the file to UTF-8");
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = LineReader::new(std::io::repeat(b'x'), Path::new("x")).unwrap();
        assert!(reader.read(&mut Vec::new()).unwrap_err().to_string().contains("longer than 64 MiB"));
    }
}
