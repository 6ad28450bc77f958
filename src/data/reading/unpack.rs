//! Bytes of a file as they were before it was compressed.
//!
//! gzip and zstd are recognised by a file's first bytes, whatever its name, and unpacked while it is read. Other
//! archives, and Parquet read as text, are refused by name: they would only show as a line that is no text.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
};

use crate::{Error, Result};

/// Bytes asked from the operating system at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What is unpacked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By the first bytes of a file.
    pub(crate) fn detect(start: &[u8]) -> Option<Self> {
        const GZIP: [u8; 3] = [0x1F, 0x8B, 8];
        const ZSTD: [u8; 4] = 0xFD2F_B528u32.to_le_bytes();
        if start.starts_with(&GZIP) { Some(Self::Gzip) } else { start.starts_with(&ZSTD).then_some(Self::Zstd) }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What else a file of texts turns out to be, and what to do with it.
fn refuse_by_name(start: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 5] = [
        (b"PK\x03\x04", "the file is a ZIP archive, as spreadsheets' .xlsx are; unpack it, or save the table as CSV"),
        (b"\xFD7zXZ\0", "the file is compressed with xz; unpack it, or pack it with gzip or zstd"),
        (b"7z\xBC\xAF\x27\x1C", "the file is a 7z archive; unpack it"),
        (b"\x04\x22\x4D\x18", "the file is compressed with lz4; unpack it, or pack it with gzip or zstd"),
        (b"PAR1", "the file is Parquet; read it with --format parquet"),
    ];
    let bzip2 = start.starts_with(b"BZh") && start.get(4..10) == Some(b"1AY&SY");
    if bzip2 {
        return Some("the file is compressed with bzip2; unpack it, or pack it with gzip or zstd");
    }
    KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, message)| *message)
}

/// A file or stream, unpacked while it is read.
pub(super) struct Unpacked<'r> {
    reader: Box<dyn BufRead + 'r>,
    packing: Option<Packing>,
    /// Bytes taken from the file itself.
    taken: Rc<Cell<u64>>,
}

impl<'r> Unpacked<'r> {
    /// Looks at the first bytes: as many as the first read brings, so that a conversation over a pipe does not wait for
    /// more.
    pub(crate) fn open(reader: impl Read + 'r, path: &Path) -> Result<Self> {
        let taken = Rc::new(Cell::new(0));
        let counted = Counted { reader, taken: Rc::clone(&taken) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = raw.fill_buf().map_err(Error::io("read", path))?;
        if let Some(message) = refuse_by_name(start) {
            return Err(Error::table(path, message));
        }
        let packing = Packing::detect(start);
        let reader: Box<dyn BufRead + 'r> = match packing {
            None => Box::new(raw),
            Some(Packing::Gzip) => Box::new(buffered(flate2::bufread::MultiGzDecoder::new(raw))),
            Some(Packing::Zstd) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(Error::io("read", path))?;
                Box::new(buffered(decoder))
            }
        };
        Ok(Self { reader, packing, taken })
    }

    /// Bytes taken from a compressed file so far; `None` where the bytes are the file's own.
    pub(crate) fn packed_position(&self) -> Option<u64> {
        self.packing.map(|_| self.taken.get())
    }

    /// Appends a line with its terminator, or as much of it as `most` bytes, and returns how many bytes that are.
    pub(crate) fn read_line(&mut self, most: u64, line: &mut Vec<u8>, path: &Path) -> Result<usize> {
        (&mut self.reader).take(most).read_until(b'\n', line).map_err(|fault| self.explain(fault, path))
    }

    /// A decoder's fault is the file's; the operating system's is its own.
    fn explain(&self, fault: io::Error, path: &Path) -> Error {
        match self.packing {
            Some(packing) if fault.raw_os_error().is_none() => {
                let name = packing.name();
                let message =
                    format!("the {name} data is damaged or cut short ({fault}); fetch the file or pack it again");
                Error::table(path, message)
            }
            _ => Error::io("read", path)(fault),
        }
    }
}

fn buffered<R: Read>(decoder: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER_BYTES, decoder)
}

struct Counted<R> {
    reader: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}
