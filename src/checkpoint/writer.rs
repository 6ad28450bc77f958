//! Writes one checkpoint.
//!
//! The [`CheckpointPlan`] names the sections and their sizes, which fixes the header's length; then their elements
//! stream from the caller's slices to the file in the plan's order, in as many pieces as the caller likes (an arena
//! that lies on a device comes down piece by piece). Each chunk is hashed and written while it is in cache; nothing is
//! copied. The header goes in last.

use std::{
    fmt,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::{
    AtomicFile, SectionElement, SectionInfo,
    header::{FORMAT_VERSION, Header, MAGIC, MAX_HEADER_BYTES, PREAMBLE_BYTES, header_checksum},
};
use crate::{Error, Result, Stop};

/// Bytes hashed and then written at a time: small enough to be in cache for both.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes after which the disk is waited for. A wait cannot be called back, so it is not left to the end, where it would
/// be for everything.
const SYNCHRONISE_BYTES: usize = 32 << 20;

/// What a checkpoint will hold: metadata, and sections in the order in which they will be written.
#[derive(Clone, Debug)]
pub struct CheckpointPlan {
    metadata: Value,
    sections: Vec<SectionInfo>,
}

impl CheckpointPlan {
    /// `metadata` is anything that is JSON. Finite floats in it come back to the bit; NaN and infinities do not (they
    /// become `null`), so put floats of which that cannot be known into a section.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the metadata cannot be written as JSON.
    pub fn new(metadata: &impl Serialize) -> Result<Self> {
        let metadata = serde_json::to_value(metadata).map_err(|e| {
            Error::misuse("CheckpointPlan::new", format!("the metadata cannot be written as JSON: {e}"))
        })?;
        Ok(Self { metadata, sections: Vec::new() })
    }

    /// Adds a section of `elements` elements of type `T`.
    #[must_use]
    pub fn section<T: SectionElement>(mut self, name: &str, elements: usize) -> Self {
        let (name, elements) = (name.to_owned(), elements as u64);
        self.sections.push(SectionInfo { name, dtype: T::DTYPE, elements, offset: 0, checksum: 0 });
        self
    }
}

/// A checkpoint being written. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct CheckpointWriter<'a> {
    file: AtomicFile,
    stop: Stop<'a>,
    /// Bytes written since the disk was waited for.
    waiting_bytes: usize,
    header: Header,
    header_bytes: usize,
    /// The section being written, how many of its bytes are there, and their hash.
    current: usize,
    written_bytes: u64,
    hash: Xxh3,
}

impl CheckpointWriter<'static> {
    /// Starts a file that will be at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made; [`Error::Run`] when the metadata or a section is too long.
    pub fn create(path: impl Into<PathBuf>, plan: CheckpointPlan) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        let mut header = Header { metadata: plan.metadata, sections: plan.sections };
        // Offsets are part of the header and follow from its length: fields of fixed width would do, but so does a
        // second round, because more digits only ever make it longer.
        let mut header_bytes = 0;
        loop {
            let bytes = encode(&header, file.path())?.len();
            if bytes == header_bytes {
                break;
            }
            header_bytes = bytes;
            place(&mut header, PREAMBLE_BYTES + bytes as u64, file.path())?;
        }
        let start = PREAMBLE_BYTES + header_bytes as u64;
        file.seek(SeekFrom::Start(start)).map_err(Error::io("write", file.path()))?;
        Ok(Self {
            file,
            stop: Stop::NEVER,
            waiting_bytes: 0,
            header,
            header_bytes,
            current: 0,
            written_bytes: 0,
            hash: Xxh3::new(),
        })
    }
}

impl CheckpointWriter<'_> {
    /// Once `stop` is asked, it no longer waits for the disk, which may take many seconds: a power cut soon afterwards
    /// may damage the checkpoint, and then its checksums show it and the one before counts.
    #[must_use]
    pub fn in_haste_when(self, stop: Stop<'_>) -> CheckpointWriter<'_> {
        CheckpointWriter { stop, ..self }
    }

    /// The path that the checkpoint will have.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Appends elements to section `name`. Sections come in the plan's order, each with exactly the planned number of
    /// elements.
    ///
    /// # Errors
    /// [`Error::Run`] when this is not the next section of the plan, or has another type or length; [`Error::Io`]
    /// when it cannot be written.
    pub fn write<T: SectionElement>(&mut self, name: &str, elements: &[T]) -> Result<()> {
        self.skip_complete(Some(name));
        let Some(section) = self.header.sections.get(self.current).filter(|section| section.name == name) else {
            return Err(self.misuse(format!("section '{name}' is not the next of the plan")));
        };
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        let room_bytes = section.size_bytes().unwrap_or(0) - self.written_bytes;
        if section.dtype != T::DTYPE || bytes.len() as u64 > room_bytes {
            let (planned, of) = (section.elements, section.dtype.name());
            return Err(self.misuse(format!("section '{name}' was planned as {planned} elements of {of}")));
        }
        for chunk in bytes.chunks(CHUNK_BYTES) {
            self.hash.update(chunk);
            self.file.write_all(chunk).map_err(Error::io("write", self.file.path()))?;
            self.waiting_bytes += chunk.len();
            if self.waiting_bytes >= SYNCHRONISE_BYTES && !self.stop.is_asked() {
                self.file.synchronise()?;
                self.waiting_bytes = 0;
            }
        }
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the header, makes everything durable unless there is haste, and gives the file its
    /// name. Errors if a section is not complete.
    ///
    /// # Errors
    /// [`Error::Run`] when a section is not complete; [`Error::Io`] when it cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.skip_complete(None);
        if let Some(section) = self.header.sections.get(self.current) {
            let (name, written) = (&section.name, self.written_bytes);
            return Err(self.misuse(format!("section '{name}' is not complete: {written} bytes were written")));
        }
        let header = encode(&self.header, self.file.path())?;
        let mut start = Vec::with_capacity(PREAMBLE_BYTES as usize + self.header_bytes);
        start.extend_from_slice(MAGIC);
        start.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        start.extend_from_slice(&(header.len() as u32).to_le_bytes());
        start.extend_from_slice(&header_checksum(FORMAT_VERSION, &header).to_le_bytes());
        start.extend_from_slice(&header);
        debug_assert_eq!(header.len(), self.header_bytes, "checksums have a fixed width");
        self.file.rewind().and_then(|()| self.file.write_all(&start)).map_err(Error::io("write", self.file.path()))?;
        if self.stop.is_asked() { self.file.commit_unsynchronised().map(drop) } else { self.file.commit() }
    }

    /// Steps over complete sections, so that `name` is the current one if it is its turn. `name` itself stays current
    /// even when complete: more of it is then an error, and an empty piece is fine.
    fn skip_complete(&mut self, name: Option<&str>) {
        while let Some(section) = self.header.sections.get_mut(self.current) {
            if Some(section.name.as_str()) == name || section.size_bytes() != Some(self.written_bytes) {
                break;
            }
            section.checksum = self.hash.digest();
            self.hash.reset();
            self.written_bytes = 0;
            self.current += 1;
        }
    }

    fn misuse(&self, message: String) -> Error {
        Error::run(self.file.path(), message)
    }
}

impl fmt::Debug for CheckpointWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, sections) = (self.path(), &self.header.sections);
        f.debug_struct("CheckpointWriter").field("path", &path).field("sections", sections).finish_non_exhaustive()
    }
}

fn encode(header: &Header, path: &Path) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(header).map_err(|e| Error::run(path, format!("the header is not JSON: {e}")))?;
    if bytes.len() > MAX_HEADER_BYTES as usize {
        let limit = MAX_HEADER_BYTES >> 20;
        return Err(Error::run(path, format!("the metadata is over {limit} MiB; large data belongs into a section")));
    }
    Ok(bytes)
}

/// Lays the sections out one after another from `start`.
fn place(header: &mut Header, start: u64, path: &Path) -> Result<()> {
    let mut next = start;
    for section in &mut header.sections {
        section.offset = next;
        next = section
            .size_bytes()
            .and_then(|bytes| next.checked_add(bytes))
            .ok_or_else(|| Error::run(path, format!("section '{}' is too long for a file", section.name)))?;
    }
    header.check_layout(start, next).map_err(|message| Error::run(path, message))
}
