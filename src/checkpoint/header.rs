//! The layout of a checkpoint file, shared by writer and reader.
//!
//! ```text
//! 0   8 bytes   magic "BERTSDCK"
//! 8   u32       format version
//! 12  u32       bytes of the header, h
//! 16  u64       XXH3-64 of bytes 8..16 followed by the header
//! 24  h bytes   header: JSON {"metadata": …, "sections": [{"name", "dtype", "elements", "offset", "xxh3"}, …]}
//! ..  sections  raw little-endian elements, one after another without gaps to the end of the file
//! ```
//!
//! Numbers are little-endian and offsets count from the start of the file. There is no padding, so there is no byte
//! that no checksum covers. Section checksums are 16 hex digits: JSON numbers of that size are not portable, and the
//! header's length is known before the sections are hashed, which lets each byte be read from memory once.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::Dtype;

pub(super) const MAGIC: &[u8; 8] = b"BERTSDCK";
/// Version of the layout; readers refuse every other.
pub const FORMAT_VERSION: u32 = 1;
pub(super) const PREAMBLE_BYTES: u64 = 24;
/// A header longer than this is taken for damage before any of it is allocated.
pub(super) const MAX_HEADER_BYTES: u32 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub metadata: Value,
    pub sections: Vec<SectionInfo>,
}

/// Where one named array lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionInfo {
    /// Its name, once in a file.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// How many elements it has.
    pub elements: u64,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// XXH3-64 of the section's bytes.
    #[serde(rename = "xxh3", with = "hex")]
    pub checksum: u64,
}

impl SectionInfo {
    /// `None` if the product does not fit: only a damaged header says so.
    pub fn size_bytes(&self) -> Option<u64> {
        self.elements.checked_mul(self.dtype.size_bytes())
    }
}

impl Header {
    /// Checks that sections follow each other without gaps from `start` to exactly `end`, under distinct names.
    pub(crate) fn check_layout(&self, start: u64, end: u64) -> Result<(), String> {
        let mut names = HashSet::new();
        let mut next = start;
        for section in &self.sections {
            let name = &section.name;
            if !names.insert(name.as_str()) {
                return Err(format!("two sections are named '{name}'"));
            }
            if section.offset != next {
                return Err(format!("section '{name}' starts at byte {}, not at {next}", section.offset));
            }
            next = section
                .size_bytes()
                .and_then(|bytes| next.checked_add(bytes))
                .filter(|&section_end| section_end <= end)
                .ok_or_else(|| {
                    format!("section '{name}' runs past the end of the file ({end} bytes); it is cut short")
                })?;
        }
        if next != end {
            return Err(format!("{} bytes follow the last section", end - next));
        }
        Ok(())
    }
}

/// The checksum of the preamble's fields and the header.
pub(super) fn header_checksum(version: u32, header: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&version.to_le_bytes());
    hash.update(&(header.len() as u32).to_le_bytes());
    hash.update(header);
    hash.digest()
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(checksum: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{checksum:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a checksum is not 16 hex digits"))
    }
}
