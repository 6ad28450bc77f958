//! One safetensors file: memory-mapped, its header checked in full before any tensor is touched.
//!
//! ```text
//! u64 little-endian n | n bytes of JSON: name → {dtype, shape, data_offsets [start, end)} | data
//! ```
//!
//! The bytes are not trusted. Names are unique, every shape times its element size is exactly its range, and the ranges
//! cover the data without gap or overlap. The crate's own reader is not used for this: it takes a name that comes
//! twice, its sum of sizes overflows on a crafted header (a panic in debug builds), and few of its errors name the
//! tensor.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use safetensors::{Dtype, tensor::TensorInfo};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Result};

/// The bytes in front of the header.
const PREFIX_BYTES: usize = size_of::<u64>();
/// The format's own limit.
const HEADER_MAX_BYTES: u64 = 100_000_000;

/// An open file and the tensors in it.
#[derive(Debug)]
pub(super) struct TensorFile {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
    infos: BTreeMap<String, TensorInfo>,
}

/// One tensor as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor<'a> {
    pub file: &'a Path,
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: &'a [usize],
    /// Elements from one to the next in each dimension; `None`: row-major, without gaps.
    pub strides: Option<&'a [usize]>,
    /// From the first element to the last, little-endian.
    pub bytes: &'a [u8],
}

impl TensorFile {
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened or mapped; [`Error::Model`] when it is not a well-formed
    /// safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("inspect", path))?;
        if !metadata.is_file() {
            return Err(Error::model(path, "this is not a regular file"));
        }
        // SAFETY: the map is read-only and private to this struct. Bytes that another process changes meanwhile can
        // only make wrong numbers: every length is checked against the map itself, and no reference outlives it.
        // Shortening the file while it is read would end the process, as it does in every program that maps weights.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let (data_start, infos) = read_header(&map).map_err(|message| {
            Error::model(path, format!("damaged safetensors file: {message}; fetch or save the model again"))
        })?;
        Ok(Self { path: path.to_owned(), map, data_start, infos })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.infos.contains_key(name)
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.map.len()
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.infos.iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let data = self.map.get(self.data_start..).unwrap_or_default();
            // `read_header` has checked the range; an empty slice would fail the reader's length check.
            let bytes = data.get(start..end).unwrap_or_default();
            Tensor { file: &self.path, name, dtype: info.dtype, shape: &info.shape, strides: None, bytes }
        })
    }
}

/// Where the data starts, and every tensor's place in it. The error text says what is wrong.
fn read_header(bytes: &[u8]) -> std::result::Result<(usize, BTreeMap<String, TensorInfo>), String> {
    let length = bytes.len();
    let prefix = bytes.first_chunk::<PREFIX_BYTES>();
    let prefix =
        prefix.ok_or_else(|| format!("it has {length} bytes, fewer than the {PREFIX_BYTES} of a header length"))?;
    let header_length = u64::from_le_bytes(*prefix);
    let header = usize::try_from(header_length)
        .ok()
        .filter(|_| header_length <= HEADER_MAX_BYTES)
        .and_then(|n| bytes.get(PREFIX_BYTES..)?.get(..n))
        .ok_or_else(|| format!("it announces a header of {header_length} bytes, but has {length} in all"))?;
    let Header(infos) =
        serde_json::from_slice(header).map_err(|error| format!("its header cannot be read: {error}"))?;
    let data_start = PREFIX_BYTES + header.len();
    check_places(&infos, length - data_start)?;
    Ok((data_start, infos))
}

/// Ranges agree with dtype and shape, and cover the data exactly.
fn check_places(infos: &BTreeMap<String, TensorInfo>, data_length: usize) -> std::result::Result<(), String> {
    let mut places = Vec::with_capacity(infos.len());
    for (name, TensorInfo { dtype, shape, data_offsets: (start, end) }) in infos {
        if start > end || *end > data_length {
            return Err(format!("tensor '{name}' lies at {start}..{end}, but there are {data_length} bytes of data"));
        }
        let bits = shape.iter().try_fold(dtype.bitsize(), |bits, &n| bits.checked_mul(n));
        if bits.is_none_or(|bits| bits != (end - start).saturating_mul(8)) {
            return Err(format!("tensor '{name}', {dtype} {shape:?}, does not fit its {} bytes", end - start));
        }
        places.push((*start, *end, name));
    }
    places.sort_unstable();
    let mut covered = 0;
    for (start, end, name) in places {
        if start != covered {
            let fault = if start < covered { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(format!("tensor '{name}' at {start}..{end} {fault}"));
        }
        covered = end;
    }
    if covered != data_length {
        return Err(format!("its tensors take {covered} bytes, but there are {data_length} bytes of data"));
    }
    Ok(())
}

/// The JSON of a header, refusing a name that comes twice.
struct Header(BTreeMap<String, TensorInfo>);

impl<'de> de::Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of tensor names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut infos = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match infos.entry(name) {
                Entry::Vacant(place) => place.insert(map.next_value()?),
                Entry::Occupied(place) => {
                    return Err(de::Error::custom(format_args!("the name '{}' comes twice", place.key())));
                }
            };
        }
        Ok(Header(infos))
    }
}
