//! Which files of a model directory hold its weights.
//!
//! The first that is there, in the order of transformers: `model.safetensors`; the shards that
//! `model.safetensors.index.json` names, `{"weight_map": {tensor: shard}}`; `pytorch_model.bin`; the shards of
//! `pytorch_model.bin.index.json`. A shard's name is a plain file name; an index may not reach out of its directory.
//! Weights in other formats are refused by their name.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

use super::{
    tensor_file::{Tensor, TensorFile},
    torch_file::TorchFile,
};
use crate::{Error, Result};

pub(super) const SINGLE: &str = "model.safetensors";
/// What holds all weights, or names the shards that do: each pair in the order in which they are looked for.
pub(super) const PLACES: [(&str, &str); 2] =
    [(SINGLE, "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];
/// How a file of `torch.save` is called.
const TORCH_SUFFIX: &str = ".bin";
/// Beyond any real index; a bound for what is read into memory.
const INDEX_MAX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// One file of weights.
#[derive(Debug)]
pub(super) enum WeightFile {
    Safetensors(TensorFile),
    Torch(TorchFile),
}

impl WeightFile {
    fn open(path: &Path) -> Result<Self> {
        match path.to_string_lossy().ends_with(TORCH_SUFFIX) {
            true => TorchFile::open(path).map(Self::Torch),
            false => TensorFile::open(path).map(Self::Safetensors),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Torch(file) => file.path(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Safetensors(file) => file.contains(name),
            Self::Torch(file) => file.contains(name),
        }
    }

    pub(crate) fn length_bytes(&self) -> usize {
        match self {
            Self::Safetensors(file) => file.length_bytes(),
            Self::Torch(file) => file.length_bytes(),
        }
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> Box<dyn Iterator<Item = Tensor<'_>> + '_> {
        match self {
            Self::Safetensors(file) => Box::new(file.tensors()),
            Self::Torch(file) => Box::new(file.tensors()),
        }
    }
}

/// Opens every file that holds weights of the model in `directory`.
///
/// # Errors
/// [`Error::Model`] when there are none, when an index names a file outside, a missing file or a tensor that is not in
/// its file; and as [`TensorFile::open`] and [`TorchFile::open`].
pub(super) fn open(directory: &Path) -> Result<Vec<WeightFile>> {
    for (single, index) in PLACES {
        let (single, index) = (directory.join(single), directory.join(index));
        if single.exists() {
            return Ok(vec![WeightFile::open(&single)?]);
        }
        if index.exists() {
            return open_shards(directory, &index);
        }
    }
    Err(no_weights(directory))
}

fn open_shards(directory: &Path, index: &Path) -> Result<Vec<WeightFile>> {
    let weight_map = read_index(index)?;
    let mut names_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, shard) in &weight_map {
        names_of.entry(shard).or_default().push(name);
    }
    let missing: Vec<_> = names_of.keys().filter(|shard| !directory.join(shard).exists()).copied().collect();
    if !missing.is_empty() {
        return Err(Error::model(index, format!("missing shards: {}; fetch them too", missing.join(", "))));
    }
    let mut files = Vec::with_capacity(names_of.len());
    for (shard, names) in names_of {
        let file = WeightFile::open(&directory.join(shard))?;
        if let Some(name) = names.iter().find(|name| !file.contains(name)) {
            let message = format!("the index says that it holds '{name}', which it does not");
            return Err(Error::model(file.path(), message));
        }
        files.push(file);
    }
    Ok(files)
}

/// Tensor name → file name, the file names checked.
///
/// # Errors
/// [`Error::Model`] when the index is malformed, empty, or names anything but plain files.
fn read_index(index: &Path) -> Result<BTreeMap<String, String>> {
    let bytes = read_limited(index, INDEX_MAX_BYTES)?;
    let Index { weight_map } =
        serde_json::from_slice(&bytes).map_err(|error| Error::model(index, format!("cannot be read: {error}")))?;
    if weight_map.is_empty() {
        return Err(Error::model(index, "its weight_map is empty"));
    }
    if let Some(shard) = weight_map.values().find(|shard| !is_plain_name(shard)) {
        let message = format!("names the shard '{shard}'; shards must be plain file names beside the index");
        return Err(Error::model(index, message));
    }
    Ok(weight_map)
}

/// The distinct shards that the index at `index` names, in order.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Model`] when it is malformed or reaches out of its directory.
pub(super) fn shard_names(index: &Path) -> Result<Vec<String>> {
    let mut names: Vec<_> = read_index(index)?.into_values().collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Neither a path nor one of the names that mean a directory.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}

/// The content of a file that has no business being longer than `limit_bytes`.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Model`] when it is longer.
pub(super) fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(Error::io("inspect", path))?.len();
    if length > limit_bytes {
        return Err(Error::model(path, format!("has {length} bytes; at most {limit_bytes} make sense here")));
    }
    fs::read(path).map_err(Error::io("read", path))
}

fn no_weights(directory: &Path) -> Error {
    const FOREIGN: [&str; 3] = ["tf_model.h5", "flax_model.msgpack", "model.onnx"];
    let names: Vec<&str> = PLACES.iter().flat_map(|&(single, index)| [single, index]).collect();
    match FOREIGN.iter().find(|name| directory.join(name).exists()) {
        Some(foreign) => {
            Error::model(directory, format!("has {foreign}, which cannot be read, and none of {}", names.join(", ")))
        }
        None => Error::model(directory, format!("has none of {}; fetch the weights into it", names.join(", "))),
    }
}
