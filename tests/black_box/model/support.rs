//! Checkpoints taken apart, changed and written again, with a reader and a writer that are not the crate's own.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::{
    Error,
    model::{Activation, BertConfig, Model, Purpose},
};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).join("model")
}

/// A tensor as it will lie in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Stored {
    pub fn f32(name: &str, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Self {
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { name: name.to_owned(), dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// Every value through `element`, kept under another type.
    pub fn convert<const W: usize>(&mut self, dtype: Dtype, element: impl Fn(f32) -> [u8; W]) {
        self.bytes = self.values().into_iter().flat_map(element).collect();
        self.dtype = dtype;
    }
}

/// A model directory in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub config: Map<String, Value>,
    pub tensors: Vec<Stored>,
    pub vocab: Vec<u8>,
}

impl Checkpoint {
    pub fn read(directory: &Path) -> Self {
        let bytes = fs::read(directory.join("model.safetensors")).unwrap();
        let mut tensors: Vec<_> = (SafeTensors::deserialize(&bytes).unwrap().iter())
            .map(|(name, view)| Stored {
                name: name.to_owned(),
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            })
            .collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let config = serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap();
        Self { config, tensors, vocab: fs::read(directory.join("vocab.txt")).unwrap_or_default() }
    }

    pub fn head64() -> Self {
        Self::read(&golden("head64"))
    }

    pub fn tensor(&mut self, name: &str) -> &mut Stored {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    pub fn unset(mut self, key: &str) -> Self {
        self.config.shift_remove(key);
        self
    }

    pub fn without(mut self, start: &str) -> Self {
        self.tensors.retain(|tensor| !tensor.name.starts_with(start));
        self
    }

    pub fn with(mut self, tensor: Stored) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        fs::write(directory.path().join("vocab.txt"), &self.vocab).unwrap();
        fs::write(directory.path().join("model.safetensors"), file_of(&self.tensors)).unwrap();
        directory
    }

    /// Two shards and their index.
    pub fn write_sharded(&self) -> TempDir {
        let directory = self.write();
        fs::remove_file(directory.path().join("model.safetensors")).unwrap();
        let (one, two) = self.tensors.split_at(self.tensors.len() / 3);
        let mut map = Map::new();
        for (shard, tensors) in [("model-00001-of-00002.safetensors", one), ("model-00002-of-00002.safetensors", two)] {
            fs::write(directory.path().join(shard), file_of(tensors)).unwrap();
            map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), Value::from(shard))));
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
        fs::write(directory.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        directory
    }

    pub fn load(&self, purpose: Purpose) -> Result<(Model, Vec<String>), Error> {
        Model::load(self.write().path(), purpose)
    }
}

/// Header and data, whatever they say.
pub fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn file_of(tensors: &[Stored]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        let info = json!({
            "dtype": tensor.dtype.to_string(), "shape": tensor.shape, "data_offsets": [start, data.len()]
        });
        header.insert(tensor.name.clone(), info);
    }
    raw_file(&Value::Object(header).to_string(), &data)
}

pub fn labels(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub fn train(names: &[&str], seed: u64) -> Purpose {
    Purpose::Train { labels: labels(names), seed }
}

pub fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 11,
        hidden_size: 16,
        layers: 2,
        heads: 2,
        intermediate_size: 24,
        max_positions: 9,
        type_vocab_size: 2,
        labels: 3,
        activation: Activation::GeluTanh,
        layer_norm_eps: 1e-7,
        hidden_drop_prob: 0.1,
        attention_drop_prob: 0.2,
        classifier_drop_prob: 0.3,
        initializer_range: 0.02,
    }
}

/// The text of an error of the expected kind.
#[track_caller]
pub fn model_error<T>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ Error::Model { .. }) => error.to_string(),
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[track_caller]
pub fn assert_mentions(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}
