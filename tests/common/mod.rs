//! Golden directories: values that Hugging Face transformers computed (see tests/golden/README.md).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::{
    data::PackedBatch,
    device::Capacity,
    model::{Model, Purpose},
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::place;

/// Every directory with a trace under tests/golden and under $BERTSD_GOLDEN.
pub fn directories() -> Vec<PathBuf> {
    let mut roots = vec![place::root().join("tests/golden")];
    roots.extend(std::env::var_os("BERTSD_GOLDEN").map(PathBuf::from));
    let mut found = Vec::new();
    for root in roots {
        let before = found.len();
        let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("trace.json").is_file()));
        assert!(found.len() > before, "no golden directory under {}", root.display());
    }
    found.sort();
    found
}

pub struct Golden {
    pub directory: PathBuf,
    pub model: Model,
    pub args: Value,
    pub traces: serde_json::Map<String, Value>,
    pub batches: Vec<PackedBatch>,
    /// Padded length of a batch row.
    pub padded: usize,
    pub forward: HashMap<String, Vec<f32>>,
}

impl Golden {
    pub fn open(directory: &Path) -> Self {
        let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(directory.join(name)).unwrap()).unwrap();
        let mut trace = read("trace.json");
        let further = directory.join("teachers.json");
        if further.is_file() {
            let further = read("teachers.json")["traces"].as_object().unwrap().clone();
            trace["traces"].as_object_mut().unwrap().extend(further);
        }
        let (model, notices) = Model::load(&directory.join("model"), Purpose::Inference).unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        let (batches, padded) = batches(&directory.join("batches.safetensors"));
        Self {
            forward: tensors(&directory.join("forward.safetensors")),
            args: trace["args"].clone(),
            traces: trace["traces"].as_object().unwrap().clone(),
            directory: directory.to_owned(),
            model,
            batches,
            padded,
        }
    }

    pub fn arg(&self, name: &str) -> f64 {
        self.args[name].as_f64().unwrap_or_else(|| panic!("{name} in {}", self.args))
    }

    pub fn capacity(&self) -> Capacity {
        Capacity {
            tokens: self.batches.iter().map(PackedBatch::tokens).max().unwrap(),
            sequences: self.batches.iter().map(PackedBatch::sequences).max().unwrap(),
            length: self.padded,
        }
    }
}

/// All float32 tensors of a file.
pub fn tensors(path: &Path) -> HashMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let of = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F32, "{name}");
            (name, of(view.data()))
        })
        .collect()
}

/// The padded batches of a golden directory, packed.
fn batches(path: &Path) -> (Vec<PackedBatch>, usize) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| -> Vec<u32> {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::I64);
        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    };
    let shape = file.tensor("input_ids").unwrap().shape().to_vec();
    let [steps, sequences, padded] = shape[..] else { panic!("{shape:?}") };
    let (ids, types, mask) = (read("input_ids"), read("token_type_ids"), read("attention_mask"));
    let labels = read("labels");
    let packed = (0..steps)
        .map(|t| {
            let mut batch = PackedBatch::default();
            batch.clear();
            for b in 0..sequences {
                let row = (t * sequences + b) * padded;
                let len = mask[row..row + padded].iter().sum::<u32>() as usize;
                let span = row..row + len;
                batch.push(&ids[span.clone()], &types[span], labels[t * sequences + b], b as u32);
            }
            batch
        })
        .collect();
    (packed, padded)
}
