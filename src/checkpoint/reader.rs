//! Reads one checkpoint, trusting none of it.
//!
//! Opening checks magic, version, the header's checksum and that the sections tile the file exactly. Each section's
//! checksum is checked as it is read, straight into the caller's memory; [`CheckpointReader::verify`] does it without
//! keeping anything.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use super::{
    SectionElement, SectionInfo,
    header::{FORMAT_VERSION, Header, MAGIC, MAX_HEADER_BYTES, PREAMBLE_BYTES, header_checksum},
};
use crate::{Error, Result};

/// Bytes read and then hashed at a time: small enough to be in cache for both.
const CHUNK_BYTES: usize = 1 << 20;

/// An open checkpoint whose header is known to be intact.
#[derive(Debug)]
pub struct CheckpointReader {
    file: File,
    path: PathBuf,
    header: Header,
}

impl CheckpointReader {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Run`] when it is no checkpoint, of another version, cut
    /// short or damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        let metadata = file.metadata().map_err(Error::io("read", &path))?;
        if !metadata.is_file() {
            return Err(Error::run(path, "is not a file"));
        }
        let file_bytes = metadata.len();
        let damaged = |message: &str| Error::run(&path, message);

        let mut preamble = [0; PREAMBLE_BYTES as usize];
        read_exact(&mut file, &mut preamble, &path)?;
        let (magic, rest) = preamble.split_at(MAGIC.len());
        let (version, rest) = split_u32(rest);
        let (header_bytes, rest) = split_u32(rest);
        let checksum = rest.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        if magic != MAGIC {
            return Err(damaged("is not a checkpoint of this program, or its first bytes are damaged"));
        }
        if version != FORMAT_VERSION {
            let message = format!("has format version {version}; this program reads version {FORMAT_VERSION}");
            return Err(damaged(&message));
        }
        let data_start = PREAMBLE_BYTES + u64::from(header_bytes);
        if header_bytes > MAX_HEADER_BYTES || data_start > file_bytes {
            return Err(damaged("the header runs past the end of the file; it is cut short or damaged"));
        }
        let mut json = vec![0; header_bytes as usize];
        read_exact(&mut file, &mut json, &path)?;
        if header_checksum(version, &json) != checksum {
            return Err(damaged("the header is damaged (checksum)"));
        }
        let header: Header =
            serde_json::from_slice(&json).map_err(|e| damaged(&format!("the header cannot be understood: {e}")))?;
        header.check_layout(data_start, file_bytes).map_err(|message| damaged(&message))?;
        Ok(Self { file, path, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata as the caller's type.
    ///
    /// # Errors
    /// [`Error::Run`] when they are not of this type.
    pub fn metadata<M: DeserializeOwned>(&self) -> Result<M> {
        M::deserialize(&self.header.metadata)
            .map_err(|e| Error::run(&self.path, format!("the metadata cannot be understood: {e}")))
    }

    /// The sections, in file order.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.header.sections
    }

    /// Whether there is a section of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.sections.iter().any(|section| section.name == name)
    }

    /// Overwrites `elements` with section `name`, which must have exactly that type and length. On an error the content
    /// of
    /// `elements` is unspecified.
    ///
    /// # Errors
    /// [`Error::Run`] when there is no such section, it has another type or length, or its checksum does not hold;
    /// [`Error::Io`] when it cannot be read.
    pub fn read_into<T: SectionElement>(&mut self, name: &str, elements: &mut [T]) -> Result<()> {
        let section = self.find::<T>(name)?;
        if section.elements != elements.len() as u64 {
            let (stored, wanted) = (section.elements, elements.len());
            return Err(Error::run(&self.path, format!("section '{name}' has {stored} elements, not {wanted}")));
        }
        self.seek(&section)?;
        let mut hash = Xxh3::new();
        for chunk in bytemuck::cast_slice_mut::<T, u8>(elements).chunks_mut(CHUNK_BYTES) {
            read_exact(&mut self.file, chunk, &self.path)?;
            hash.update(chunk);
        }
        self.compare(&section, &hash)
    }

    /// Section `name` in memory of its own.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub fn read<T: SectionElement>(&mut self, name: &str) -> Result<Vec<T>> {
        // The length was checked against the size of the file, so a hostile header cannot ask for more memory than
        // that.
        let elements = self.find::<T>(name)?.elements;
        let elements = usize::try_from(elements)
            .map_err(|_| Error::run(&self.path, format!("section '{name}' does not fit into memory")))?;
        let mut section = vec![T::zeroed(); elements];
        self.read_into(name, &mut section)?;
        Ok(section)
    }

    /// Reads every section once and checks its checksum.
    ///
    /// # Errors
    /// [`Error::Run`] for the first section that is damaged; [`Error::Io`] when the file cannot be read.
    pub fn verify(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        for section in self.header.sections.clone() {
            self.seek(&section)?;
            let mut left_bytes = section.size_bytes().unwrap_or(u64::MAX);
            let mut hash = Xxh3::new();
            while left_bytes > 0 {
                let bytes = left_bytes.min(CHUNK_BYTES as u64) as usize;
                let chunk = &mut buffer[..bytes];
                read_exact(&mut self.file, chunk, &self.path)?;
                hash.update(chunk);
                left_bytes -= bytes as u64;
            }
            self.compare(&section, &hash)?;
        }
        Ok(())
    }

    fn find<T: SectionElement>(&self, name: &str) -> Result<SectionInfo> {
        let section = self.header.sections.iter().find(|section| section.name == name);
        let section = section.ok_or_else(|| Error::run(&self.path, format!("has no section '{name}'")))?;
        if section.dtype != T::DTYPE {
            let (stored, wanted) = (section.dtype.name(), T::DTYPE.name());
            return Err(Error::run(&self.path, format!("section '{name}' holds {stored}, not {wanted}")));
        }
        Ok(section.clone())
    }

    fn seek(&mut self, section: &SectionInfo) -> Result<()> {
        self.file.seek(SeekFrom::Start(section.offset)).map_err(Error::io("read", &self.path))?;
        Ok(())
    }

    fn compare(&self, section: &SectionInfo, hash: &Xxh3) -> Result<()> {
        if hash.digest() != section.checksum {
            return Err(Error::run(&self.path, format!("section '{}' is damaged (checksum)", section.name)));
        }
        Ok(())
    }
}

fn read_exact(file: &mut File, bytes: &mut [u8], path: &Path) -> Result<()> {
    file.read_exact(bytes).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => Error::run(path, "is cut short"),
        _ => Error::io("read", path)(e),
    })
}

fn split_u32(bytes: &[u8]) -> (u32, &[u8]) {
    let (word, rest) = bytes.split_at(size_of::<u32>());
    (word.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)), rest)
}
