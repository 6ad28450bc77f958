//! Weights as `torch.save` writes them: the same logits as transformers, and nothing that a pickle could do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bertsd_cuda::model::{Model, Purpose};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use super::support::{assert_mentions, model_error};
use crate::commands::support::{close, floats, load, logits};

fn weights(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/weights").join(name)
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

/// Every file that tests/transformers/make_weights.py made.
#[test]
fn published_forms_of_weights_give_the_logits_of_transformers() {
    for name in ["zip", "legacy", "bf16", "shared", "sharded"] {
        let directory = weights(name);
        let (model, notices) = Model::load(&directory, Purpose::Inference).unwrap();
        assert_eq!(notices, Vec::<String>::new(), "{name}");
        assert_logits(&directory, &model);
    }
}

#[track_caller]
fn assert_logits(directory: &Path, model: &Model) {
    let rows: Value = serde_json::from_slice(&fs::read(directory.join("logits.json")).unwrap()).unwrap();
    for row in rows.as_array().unwrap() {
        let found = logits(model, &numbers(&row["ids"]), &numbers(&row["types"]));
        close(&found, &floats(&row["logits"]), 1e-5);
    }
}

/// TinyBERT's heads of 26 elements, which are filled up with zeros in memory and not in files.
#[test]
fn heads_of_any_size_give_the_logits_of_transformers_and_are_saved_as_they_came() {
    let directory = weights("head26");
    let (model, notices) = Model::load(&directory, Purpose::Inference).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!((model.config.head_size(), model.config.padded_head_size()), (26, 32));
    assert_logits(&directory, &model);
    let home = TempDir::new().unwrap();
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let (again, _) = Model::load(&home.path().join("m"), Purpose::Inference).unwrap();
    assert!(again.weights == model.weights);
    let bytes = [directory, home.path().join("m")].map(|d| fs::read(d.join("model.safetensors")).unwrap());
    let [was, saved] = bytes.each_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    assert_eq!(was.len(), saved.len());
    for (name, tensor) in was.tensors() {
        assert_eq!(saved.tensor(&name).unwrap().shape(), tensor.shape(), "{name}");
    }
    // Four heads of 26 × 104 in three matrices and their biases, and of 104 × 26 in one, in each of two layers.
    let filled_up = 2 * 4 * 6 * (4 * 104 + 3);
    assert_eq!(model.weights.len(), (model.layout.parameters() + filled_up).next_multiple_of(16));
}

#[test]
fn safetensors_come_first_as_in_transformers() {
    let home = copy("zip");
    let (model, _) = Model::load(home.path(), Purpose::Inference).unwrap();
    let saved = TempDir::new().unwrap();
    let other: Vec<f32> = model.weights.iter().map(|x| x * 0.5).collect();
    model.save(&saved.path().join("m"), &other).unwrap();
    fs::copy(saved.path().join("m/model.safetensors"), home.path().join("model.safetensors")).unwrap();
    assert_eq!(load(home.path()).weights, other);
}

fn copy(name: &str) -> TempDir {
    let home = TempDir::new().unwrap();
    for entry in fs::read_dir(weights(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
    }
    home
}

/// Loads the model of `zip` with these bytes for its weights.
fn with_bytes(bytes: &[u8]) -> bertsd_cuda::Result<(Model, Vec<String>)> {
    let home = copy("zip");
    fs::write(home.path().join("pytorch_model.bin"), bytes).unwrap();
    Model::load(home.path(), Purpose::Inference)
}

/// A pickle of protocol 2 with these opcodes.
fn pickle(opcodes: &[&[u8]]) -> Vec<u8> {
    [&[0x80, 2][..], &opcodes.concat()].concat()
}

/// A legacy file with this pickle for its object.
fn legacy(opcodes: &[&[u8]]) -> Vec<u8> {
    let magic: &[u8] = &[0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
    let parts = [pickle(&[magic]), pickle(&[b"M\xe9\x03."]), pickle(&[b"}."]), pickle(opcodes), pickle(&[b"]."])];
    parts.concat()
}

#[test]
fn a_pickle_that_calls_for_anything_else_is_refused_by_its_name() {
    let refused = |opcodes: &[&[u8]]| model_error(with_bytes(&legacy(opcodes)));
    for (opcodes, name) in [
        (&[&b"cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."[..]][..], "calls for posix.system"),
        (&[b"cbuiltins\neval\n."], "calls for builtins.eval"),
        (&[b"\x8c\x02os\x8c\x06system\x93."], "calls for os.system"),
        (&[b"ctorch.storage\n_load_from_bytes\n."], "calls for torch.storage._load_from_bytes"),
        (&[b"(cos\nsystem\n."], "calls for os.system"),
        (&[b"(ios\nsystem\n."], "opcode INST"),
        (&[b"ccollections\nOrderedDict\n)\x81."], "opcode NEWOBJ"),
        (&[b"\x82\x01."], "opcode EXT1"),
        (&[b"P1\n."], "opcode PERSID"),
        (&[b"\x97."], "opcode NEXT_BUFFER"),
        (&[b"\xfe."], "opcode 0xfe"),
        (&[b"ctorch\nFloatStorage\n)R."], "opcode REDUCE"),
        (&[b"]}b."], "opcode BUILD"),
        (&[b"X\xff\xff\xff\xffabc"], "ends too early"),
        (&[b"u."], "no mark"),
        (&[b"0."], "takes more than it has put"),
        (&[b"]."], "something else than a dictionary"),
        (&[b"}X\x05\x00\x00\x00epochK\x03s."], "no tensors, but [epoch]"),
    ] {
        assert_mentions(&refused(opcodes), &["pytorch_model.bin: cannot be read as PyTorch weights", name]);
    }
}

#[test]
fn a_pickle_of_many_values_or_deep_ones_is_refused_early() {
    let deep = [&b")"[..], &vec![0x85; 3 << 20], b"."];
    assert_mentions(&model_error(with_bytes(&legacy(&deep))), &["more than 1048576 values"]);
    let marks = vec![b'('; 3 << 20];
    assert_mentions(&model_error(with_bytes(&legacy(&[&marks]))), &["more than 1048576 values"]);
}

#[test]
fn tensors_stay_inside_their_storages() {
    /// {"w": view of a storage of 4 float32, offset, shape and strides}
    fn tensor(offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let tuple = |sizes: &[u8]| -> Vec<u8> {
            [&b"("[..], &sizes.iter().flat_map(|&n| [b'K', n]).collect::<Vec<_>>(), b"t"].concat()
        };
        let storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04Nt";
        let object = [
            &b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("[..],
            storage,
            b"Q",
            &[b'K', offset],
            &tuple(shape),
            &tuple(strides),
            b"\x89}tRs.",
        ];
        let mut file = legacy(&object);
        file.truncate(file.len() - 4);
        file.extend(pickle(&[b"](X\x01\x00\x00\x000e."]));
        file.extend(4u64.to_le_bytes());
        file.extend([0; 16]);
        file
    }
    let says = |bytes: &[u8]| model_error(with_bytes(bytes));
    // Whole, it is read, and is merely not a BERT.
    assert_mentions(&says(&tensor(0, &[2, 2], &[2, 1])), &["the weights lack", "they have w"]);
    assert_mentions(&says(&tensor(0, &[2, 2], &[1, 2])), &["they have w"]);
    assert_mentions(&says(&tensor(1, &[2, 2], &[2, 1])), &["'w'", "lies beyond its storage of 4"]);
    assert_mentions(&says(&tensor(0, &[5], &[1])), &["lies beyond its storage"]);
    assert_mentions(&says(&tensor(0, &[2, 3], &[3, 1])), &["lies beyond its storage"]);
    assert_mentions(&says(&tensor(0, &[200, 200, 200], &[0, 0, 0])), &["repeats its elements"]);
    assert_mentions(&says(&tensor(0, &[2, 2], &[1])), &["more sizes than strides"]);
    let whole = tensor(0, &[2, 2], &[2, 1]);
    assert_mentions(&says(&whole[..whole.len() - 1]), &["ends too early"]);
}

#[test]
fn other_files_under_the_name_are_told_apart() {
    let says = |bytes: &[u8]| model_error(with_bytes(bytes));
    assert_mentions(&says(b"version https://git-lfs.github.com/spec/v1\n"), &["pointer of Git LFS"]);
    assert_mentions(&says(b""), &["neither a zip archive nor a pickle"]);
    assert_mentions(&says(&pickle(&[b"}."])), &["not one of torch.save"]);
    assert_mentions(&says(b"PK\x03\x04"), &["zip archive is damaged"]);
    let whole = fs::read(weights("zip").join("pytorch_model.bin")).unwrap();
    assert_mentions(&says(&whole[..whole.len() / 2]), &["zip archive is damaged"]);
    let mut big = whole;
    let order = big.windows(6).position(|bytes| bytes == b"little").unwrap();
    big[order..order + 6].copy_from_slice(b"bigbig");
    assert_mentions(&says(&big), &["byte order is 'bigbig'"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let home = copy("zip");
    fs::remove_file(home.path().join("pytorch_model.bin")).unwrap();
    fs::write(home.path().join("tf_model.h5"), "").unwrap();
    let says = || model_error(Model::load(home.path(), Purpose::Inference));
    assert_mentions(&says(), &["has tf_model.h5, which cannot be read", "pytorch_model.bin"]);
    fs::remove_file(home.path().join("tf_model.h5")).unwrap();
    assert_mentions(&says(), &["has none of model.safetensors,", "fetch the weights"]);
    let shards = copy("sharded");
    fs::remove_file(shards.path().join("pytorch_model-00002-of-00002.bin")).unwrap();
    let text = model_error(Model::load(shards.path(), Purpose::Inference));
    assert_mentions(&text, &["missing shards: pytorch_model-00002-of-00002.bin"]);
}

/// Where the pickle of a file lies.
fn pickled(bytes: &[u8]) -> std::ops::Range<usize> {
    let name = bytes.windows(9).position(|bytes| bytes == b"/data.pkl").unwrap_or(0);
    let start = name + bytes[name..].iter().position(|&byte| byte == 0x80).unwrap();
    start..(start + 8000).min(bytes.len())
}

#[test]
fn damaged_files_are_an_error_or_a_model_and_never_a_panic() {
    for name in ["zip", "legacy", "shared"] {
        let whole = fs::read(weights(name).join("pytorch_model.bin")).unwrap();
        let range = pickled(&whole);
        let change = (range, any::<u8>(), 0usize..4, any::<u8>());
        proptest!(ProptestConfig::with_cases(400), |(changes in prop::collection::vec(change, 1..5), cut in 0usize..4000)| {
            let mut bytes = whole.clone();
            for (at, value, kind, distance) in changes {
                match kind {
                    0 => bytes[at] = value,
                    1 => bytes[at] ^= 1 << (value % 8),
                    2 => {
                        let from = at.saturating_sub(usize::from(distance));
                        bytes.copy_within(from..from + usize::from(value % 32), at.min(whole.len() - 32));
                    }
                    _ => bytes[at..(at + 4).min(whole.len())].fill(value),
                }
            }
            if cut > 3000 {
                bytes.truncate(whole.len() * (cut - 3000) / 1000);
            }
            if let Err(error) = with_bytes(&bytes) {
                prop_assert!(!error.to_string().is_empty());
            }
        });
    }
}
