//! One file of `torch.save`: memory-mapped, its pickle read without carrying out any code, every tensor's place
//! checked.
//!
//! ```text
//! since 1.6   zip: NAME/data.pkl, NAME/byteorder, NAME/data/KEY (one a storage), stored and not compressed
//! before      pickles: magic, protocol, system; the object; a list of keys; then, for each key, u64 elements | data
//! ```
//!
//! The bytes are not trusted. A tensor is a view (offset, shape, strides) of a storage, which several may share; its
//! every element lies inside, and it has no more elements than it spans, so that no shape asks for memory that the file
//! does not justify.

mod calls;
mod opcode;
mod pickle;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use rawzip::{CompressionMethod, ZipArchive};
use safetensors::Dtype;

use self::pickle::{Object, Pickle, Storage, Value};
use super::tensor_file::Tensor;
use crate::{Error, Result};

/// What a pickle of `torch.save` before 1.6 begins with.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PICKLE: &str = "data.pkl";

/// An open file and the tensors in it.
#[derive(Debug)]
pub(super) struct TorchFile {
    path: PathBuf,
    map: Mmap,
    tensors: BTreeMap<String, TensorPlace>,
}

/// Where a tensor lies.
#[derive(Debug, PartialEq, Eq)]
struct TensorPlace {
    dtype: Dtype,
    shape: Vec<usize>,
    /// `None`: row-major, without gaps.
    strides: Option<Vec<usize>>,
    /// From its first element to its last.
    bytes: Range<usize>,
}

impl TorchFile {
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened or mapped; [`Error::Model`] when it is not a file of tensors,
    /// naming the opcode or the name that it calls for.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("inspect", path))?;
        if !metadata.is_file() {
            return Err(Error::model(path, "this is not a regular file"));
        }
        // SAFETY: the map is read-only and private to this struct. Bytes that another process changes meanwhile can
        // only make wrong numbers: every place is checked against the map itself, and no reference outlives it.
        // Shortening the file while it is read would end the process, as it does in every program that maps weights.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let tensors = read(&map).map_err(|message| {
            Error::model(path, format!("cannot be read as PyTorch weights: {message}; convert it to model.safetensors"))
        })?;
        Ok(Self { path: path.to_owned(), map, tensors })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.map.len()
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|(name, place)| Tensor {
            file: &self.path,
            name,
            dtype: place.dtype,
            shape: &place.shape,
            strides: place.strides.as_deref(),
            // `read` has checked the range; an empty slice would fail the reader's length check.
            bytes: self.map.get(place.bytes.clone()).unwrap_or_default(),
        })
    }
}

/// Every tensor's place. The error text says what is wrong.
fn read(bytes: &[u8]) -> Result<BTreeMap<String, TensorPlace>, String> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => read_zip(bytes),
        [0x80, ..] => read_legacy(bytes),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            Err("it is a pointer of Git LFS and not the file itself; fetch the file".to_owned())
        }
        _ => Err("it is neither a zip archive nor a pickle".to_owned()),
    }
}

fn read_zip(bytes: &[u8]) -> Result<BTreeMap<String, TensorPlace>, String> {
    let fault = |error: rawzip::Error| format!("its zip archive is damaged ({error})");
    let archive = ZipArchive::from_slice(bytes).map_err(fault)?;
    let mut members: HashMap<&[u8], Range<usize>> = HashMap::new();
    let mut compressed = None;
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(fault)? {
        let name = entry.file_path().as_bytes();
        if entry.compression_method() != CompressionMethod::STORE {
            compressed = Some(name);
            continue;
        }
        let data = archive.get_entry(entry.wayfinder()).map_err(fault)?.data();
        let start = (data.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize);
        let start = start.filter(|start| start.saturating_add(data.len()) <= bytes.len());
        let start = start.ok_or("its zip archive is damaged (a member lies outside of it)")?;
        if members.insert(name, start..start + data.len()).is_some() {
            return Err(format!("its zip archive has '{}' twice", String::from_utf8_lossy(name)));
        }
    }
    let is_pickle = |name: &&&[u8]| name.strip_suffix(PICKLE.as_bytes()).is_some_and(|stem| stem.ends_with(b"/"));
    let Some(pickle) = members.keys().filter(is_pickle).min().copied() else {
        return Err(match compressed {
            Some(name) => {
                format!("'{}' in it is compressed, which torch.save never does", String::from_utf8_lossy(name))
            }
            None => format!("its zip archive has no {PICKLE}"),
        });
    };
    let prefix = &pickle[..pickle.len() - PICKLE.len()];
    let member = |name: &str| members.get(&[prefix, name.as_bytes()].concat()[..]).cloned();
    if let Some(order) = member("byteorder")
        && &bytes[order.clone()] != b"little"
    {
        return Err(format!("its byte order is '{}'; only little can be read", String::from_utf8_lossy(&bytes[order])));
    }
    let pickle = Pickle::read(&bytes[members[pickle].clone()])?;
    places(&pickle, &|storage| {
        let data = member(&format!("data/{}", storage.key));
        data.ok_or_else(|| format!("its zip archive lacks the storage '{}', or has it compressed", storage.key))
    })
}

fn read_legacy(bytes: &[u8]) -> Result<BTreeMap<String, TensorPlace>, String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle<'_>, String> {
        let pickle = Pickle::read(bytes.get(at..).unwrap_or_default())?;
        at += pickle.length;
        Ok(pickle)
    };
    if next()?.root != Value::Long(&LEGACY_MAGIC) {
        return Err("it is a pickle, but not one of torch.save".to_owned());
    }
    let protocol = next()?.root;
    if protocol != Value::Int(1001) {
        return Err(format!("its protocol is {protocol:?}; 1001 can be read"));
    }
    let system = next()?;
    let entry =
        |key: &str| dictionary(&system)?.iter().find(|(name, _)| *name == Value::Text(key)).map(|(_, value)| *value);
    if entry("little_endian") == Some(Value::Bool(false)) {
        return Err("its byte order is big; only little can be read".to_owned());
    }
    let object = next()?;
    let keys = next()?;
    let elements: HashMap<&str, Storage> = object
        .objects
        .iter()
        .filter_map(|object| match object {
            Object::Storage(storage) => Some((storage.key, *storage)),
            _ => None,
        })
        .collect();
    let Some(Object::List(keys)) = referred(&keys, keys.root) else {
        return Err("its list of storages is missing".to_owned());
    };
    let mut storages: HashMap<&str, Range<usize>> = HashMap::new();
    for key in keys {
        let Value::Text(key) = *key else { return Err("its list of storages has something else than keys".to_owned()) };
        let storage = elements.get(key).ok_or_else(|| format!("its storage '{key}' is of no tensor"))?;
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or("it ends too early")?;
        at += size_of::<u64>();
        if u64::from_le_bytes(*count) != storage.elements as u64 {
            return Err(format!("its storage '{key}' has another size than its tensors say"));
        }
        let length = storage.elements.checked_mul(width(storage.dtype)?);
        let end = length.and_then(|length| at.checked_add(length)).filter(|end| *end <= bytes.len());
        let end = end.ok_or("it ends too early")?;
        if storages.insert(key, at..end).is_some() {
            return Err(format!("its storage '{key}' comes twice"));
        }
        at = end;
    }
    places(&object, &|storage| {
        storages.get(storage.key).cloned().ok_or_else(|| format!("its storage '{}' is missing", storage.key))
    })
}

fn referred<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>) -> Option<&'p Object<'a>> {
    match value {
        Value::Object(place) => pickle.objects.get(place),
        _ => None,
    }
}

fn dictionary<'p, 'a>(pickle: &'p Pickle<'a>) -> Option<&'p [(Value<'a>, Value<'a>)]> {
    match referred(pickle, pickle.root) {
        Some(Object::Dict(items)) => Some(items),
        _ => None,
    }
}

/// The places of all tensors in the dictionary that a pickle is. `bytes_of`: where a storage lies.
fn places(
    pickle: &Pickle<'_>,
    bytes_of: &dyn Fn(&Storage<'_>) -> Result<Range<usize>, String>,
) -> Result<BTreeMap<String, TensorPlace>, String> {
    let items = dictionary(pickle).ok_or("it holds something else than a dictionary of tensors")?;
    let mut places = BTreeMap::new();
    for (key, value) in items {
        let (Value::Text(name), Some(Object::Tensor(tensor))) = (*key, referred(pickle, *value)) else { continue };
        let Some(Object::Storage(storage)) = pickle.objects.get(tensor.storage) else { continue };
        let place = place(tensor, storage, &bytes_of(storage)?).map_err(|what| format!("tensor '{name}' {what}"))?;
        match places.entry(name.to_owned()) {
            Entry::Vacant(entry) => entry.insert(place),
            Entry::Occupied(_) => return Err(format!("the name '{name}' comes twice")),
        };
    }
    if places.is_empty() {
        let names: Vec<&str> = items
            .iter()
            .filter_map(|(key, _)| if let Value::Text(name) = key { Some(*name) } else { None })
            .take(5)
            .collect();
        return Err(format!(
            "the dictionary in it has no tensors, but [{}]; save the model's state_dict alone",
            names.join(", ")
        ));
    }
    Ok(places)
}

fn place(tensor: &pickle::Tensor, storage: &Storage<'_>, bytes: &Range<usize>) -> Result<TensorPlace, String> {
    let pickle::Tensor { offset, shape, strides, .. } = tensor;
    let beyond = || {
        format!(
            "of shape {shape:?}, strides {strides:?} and offset {offset} lies beyond its storage of {}",
            storage.elements
        )
    };
    let width = width(storage.dtype)?;
    let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).ok_or_else(beyond)?;
    let span = match elements {
        0 => Some(0),
        _ => shape
            .iter()
            .zip(strides)
            .try_fold(1usize, |span, (&n, &stride)| span.checked_add((n - 1).checked_mul(stride)?)),
    };
    let span = span.ok_or_else(beyond)?;
    if elements > span {
        return Err(format!("of shape {shape:?} and strides {strides:?} repeats its elements; save a contiguous one"));
    }
    let end = offset.checked_add(span).filter(|end| *end <= storage.elements).ok_or_else(beyond)?;
    let (start, end) = (offset.checked_mul(width).ok_or_else(beyond)?, end.checked_mul(width).ok_or_else(beyond)?);
    if end > bytes.len() {
        return Err(format!("needs {end} bytes of the storage '{}', which has {}", storage.key, bytes.len()));
    }
    let mut expected = elements;
    let contiguous = elements == 0
        || shape.iter().zip(strides).all(|(&n, &stride)| {
            expected /= n;
            n == 1 || stride == expected
        });
    Ok(TensorPlace {
        dtype: storage.dtype,
        shape: shape.clone(),
        strides: (!contiguous).then(|| strides.clone()),
        bytes: bytes.start + start..bytes.start + end,
    })
}

/// Bytes of an element.
fn width(dtype: Dtype) -> Result<usize, String> {
    match dtype.bitsize() {
        bits if bits.is_multiple_of(8) => Ok(bits / 8),
        _ => Err(format!("it has elements of type {dtype}, which are no whole bytes")),
    }
}
