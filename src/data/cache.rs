//! The file that a tokenized set is kept in, and mapped from.
//!
//! ```text
//! header  64 bytes
//! ids     u32 [T]     sequences one after another, special tokens included; padded to 8 bytes
//! offsets u64 [N + 1] sequence i is ids[offsets[i]..offsets[i + 1]]
//! lines   u64 [N]     where the row stands in its file
//! seconds u32 [N]     where in the sequence the second text starts; its length if there is none
//! labels  u32 [N]
//! facts   JSON        the label names, and what there was to say about the rows
//! ```
//!
//! Numbers are in the machine's byte order (another order reads as another version). The header holds the key of what
//! was tokenized and a checksum of everything else. A file appears under its name only when it is complete. Without a
//! name it is an unlinked temporary file, or memory.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
};

use bytemuck::{Pod, Zeroable};
use memmap2::{Mmap, MmapMut};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::Remarks;
use crate::{Stop, checkpoint::AtomicFile};

const MAGIC: [u8; 8] = *b"BERTSDTK";
/// Raised whenever the layout, the tokenization or the truncation changes.
pub(super) const VERSION: u32 = 2;
const HEADER_BYTES: usize = size_of::<Header>();
/// Bytes between two looks at whether to go on.
const STOP_BYTES: usize = 1 << 24;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    reserved: u32,
    key: [u64; 2],
    examples: u64,
    tokens: u64,
    facts_bytes: u64,
    checksum: u64,
}

impl Header {
    /// Hash of the header without the checksum, on top of the hash of what follows it.
    fn sealed(mut self, body: u64) -> u64 {
        self.checksum = 0;
        xxh3_64_with_seed(bytemuck::bytes_of(&self), body)
    }

    /// Bytes of the whole file; `None` if the counts are absurd.
    fn file_bytes(&self) -> Option<usize> {
        let [examples, tokens, facts] = [self.examples, self.tokens, self.facts_bytes].map(usize::try_from);
        let (examples, tokens) = (examples.ok()?, tokens.ok()?);
        let rows = examples.checked_mul(8 + 8 + 4 + 4)?.checked_add(8)?;
        let ids = tokens.checked_mul(4)?.checked_next_multiple_of(8)?;
        HEADER_BYTES.checked_add(ids)?.checked_add(rows)?.checked_add(facts.ok()?)
    }
}

fn words(key: u128) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

/// A complete file, mapped.
pub(super) struct TokenFile {
    map: Mmap,
    examples: usize,
    tokens: usize,
    facts: Facts,
}

/// What is known of a set besides its sequences.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The labels' names; `None` if they were ignored.
    pub names: Option<Vec<String>>,
    pub remarks: Remarks,
}

impl TokenFile {
    /// Maps the file at `path` if it is there; the error says what is wrong with it.
    ///
    /// One that is being read when `stop` is asked is called damaged: the caller looks whether it was.
    pub(crate) fn open(path: &Path, key: u128, stop: Stop<'_>) -> Result<Option<Self>, String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(fault) if matches!(fault.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(fault) => return Err(fault.to_string()),
        };
        let map = map(&file).map_err(|fault| fault.to_string())?;
        Self::check(map, key, stop).map(Some).map_err(str::to_owned)
    }

    fn check(map: Mmap, key: u128, stop: Stop<'_>) -> Result<Self, &'static str> {
        let header: Header =
            bytemuck::pod_read_unaligned(map.get(..HEADER_BYTES).ok_or("it is shorter than its header")?);
        if header.magic != MAGIC || header.version != VERSION {
            return Err("it was written by another version");
        }
        if header.key != words(key) {
            return Err("it belongs to other data or settings");
        }
        if header.file_bytes() != Some(map.len()) {
            return Err("its length is wrong");
        }
        let mut body = Xxh3::new();
        for part in map[HEADER_BYTES..].chunks(STOP_BYTES) {
            if stop.is_asked() {
                return Err("it was not read to its end");
            }
            body.update(part);
        }
        if header.sealed(body.digest()) != header.checksum {
            return Err("its checksum is wrong");
        }
        // All three fit: their sum is the length of a mapping.
        let (examples, tokens, facts) = (header.examples as usize, header.tokens as usize, header.facts_bytes as usize);
        let facts = serde_json::from_slice(&map[map.len() - facts..]).map_err(|_| "its label names are unreadable")?;
        let file = Self { map, examples, tokens, facts };
        let offsets = file.offsets();
        if offsets[0] != 0 || offsets[examples] != tokens as u64 || !offsets.is_sorted() {
            return Err("its offsets are out of order");
        }
        if file.seconds().iter().zip(offsets.windows(2)).any(|(second, ends)| u64::from(*second) > ends[1] - ends[0]) {
            return Err("a second text starts after its sequence");
        }
        let classes = file.facts.names.as_ref().map_or(1, Vec::len);
        if file.labels().iter().any(|label| *label as usize >= classes) {
            return Err("a label has no name");
        }
        Ok(file)
    }

    pub(crate) fn examples(&self) -> usize {
        self.examples
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn ids(&self) -> &[u32] {
        self.section(HEADER_BYTES, self.tokens)
    }

    pub(crate) fn offsets(&self) -> &[u64] {
        self.section(self.rows_start(), self.examples + 1)
    }

    pub(crate) fn lines(&self) -> &[u64] {
        self.section(self.rows_start() + 8 * (self.examples + 1), self.examples)
    }

    pub(crate) fn seconds(&self) -> &[u32] {
        self.section(self.rows_start() + 8 * (2 * self.examples + 1), self.examples)
    }

    pub(crate) fn labels(&self) -> &[u32] {
        self.section(self.rows_start() + 8 * (2 * self.examples + 1) + 4 * self.examples, self.examples)
    }

    fn rows_start(&self) -> usize {
        (HEADER_BYTES + 4 * self.tokens).next_multiple_of(8)
    }

    /// A mapping starts on a page and every section at a multiple of its element, so the cast cannot fail.
    fn section<T: Pod>(&self, start: usize, count: usize) -> &[T] {
        bytemuck::cast_slice(&self.map[start..start + count * size_of::<T>()])
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapping must not change or shrink under its reader. These files are never written again: they are
    // complete before they get their name, replaced by renaming another over them, and removed at most, which keeps the
    // mapped pages. Only a foreign program that overwrites a file in a cache in place could break this.
    unsafe { Mmap::map(file) }
}

/// Where a new file goes.
pub(super) enum Destination {
    /// Under this name.
    Named(PathBuf),
    /// A temporary file without a name.
    Unnamed,
    Memory,
}

enum Sink {
    Named(BufWriter<AtomicFile>),
    Unnamed(BufWriter<File>),
    Memory(Vec<u8>),
}

/// Writes a file: sequences as they come, the rest at the end.
pub(super) struct TokenWriter {
    sink: Sink,
    body: Xxh3,
    offsets: Vec<u64>,
    seconds: Vec<u32>,
}

impl TokenWriter {
    pub(crate) fn new(destination: &Destination) -> io::Result<Self> {
        const BUFFER_BYTES: usize = 1 << 20;
        let sink = match destination {
            Destination::Named(path) => {
                let directory = path.parent().unwrap_or(Path::new("."));
                std::fs::create_dir_all(directory)?;
                // Two runs may tokenize the same data at the same time.
                let file = AtomicFile::create_shared(path).map_err(io::Error::other)?;
                Sink::Named(BufWriter::with_capacity(BUFFER_BYTES, file))
            }
            Destination::Unnamed => Sink::Unnamed(BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile()?)),
            Destination::Memory => Sink::Memory(vec![]),
        };
        let mut writer = Self { sink, body: Xxh3::new(), offsets: vec![0], seconds: vec![] };
        writer.write(&[0; HEADER_BYTES])?;
        writer.body.reset();
        Ok(writer)
    }

    /// Appends sequences: their ids, and for each its length and where its second text starts.
    pub(crate) fn push(&mut self, ids: &[u32], rows: &[(u32, u32)]) -> io::Result<()> {
        let mut end = self.tokens();
        for (length, second) in rows {
            end += u64::from(*length);
            self.offsets.push(end);
            self.seconds.push(*second);
        }
        self.write(bytemuck::cast_slice(ids))
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.offsets[self.offsets.len() - 1]
    }

    pub(crate) fn examples(&self) -> u64 {
        self.seconds.len() as u64
    }

    /// Completes the file and maps it. `labels` and `lines` have one entry for each example.
    pub(crate) fn finish(mut self, key: u128, labels: &[u32], lines: &[u64], facts: &Facts) -> io::Result<TokenFile> {
        let facts = serde_json::to_vec(facts)?;
        let (offsets, seconds) = (std::mem::take(&mut self.offsets), std::mem::take(&mut self.seconds));
        let (examples, tokens) = (seconds.len(), offsets[seconds.len()]);
        self.write(&[0; 4][..if tokens % 2 == 1 { 4 } else { 0 }])?;
        self.write(bytemuck::cast_slice(&offsets))?;
        self.write(bytemuck::cast_slice(lines))?;
        self.write(bytemuck::cast_slice(&seconds))?;
        self.write(bytemuck::cast_slice(labels))?;
        self.write(&facts)?;
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            reserved: 0,
            key: words(key),
            examples: examples as u64,
            tokens,
            facts_bytes: facts.len() as u64,
            checksum: 0,
        };
        header.checksum = header.sealed(self.body.digest());
        let header = bytemuck::bytes_of(&header);
        let map = match self.sink {
            Sink::Named(writer) => {
                let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                file.write_all(header)?;
                map(&file.commit_unsynchronised().map_err(io::Error::other)?)?
            }
            Sink::Unnamed(writer) => {
                let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                file.write_all(header)?;
                map(&file)?
            }
            Sink::Memory(mut bytes) => {
                bytes[..HEADER_BYTES].copy_from_slice(header);
                let mut map = MmapMut::map_anon(bytes.len())?;
                map.copy_from_slice(&bytes);
                map.make_read_only()?
            }
        };
        TokenFile::check(map, key, Stop::NEVER).map_err(io::Error::other)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.body.update(bytes);
        match &mut self.sink {
            Sink::Named(file) => file.write_all(bytes),
            Sink::Unnamed(file) => file.write_all(bytes),
            Sink::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}
