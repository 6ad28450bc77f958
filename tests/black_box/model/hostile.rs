//! Damaged and hostile weight files: an error or a correct model, never a panic.

use std::{fs, sync::LazyLock};

use bertsd_cuda::model::{Model, Purpose};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{Checkpoint, assert_mentions, file_of, labels, model_error, raw_file, tiny_config};

/// A saved model of a few kilobytes.
static TINY: LazyLock<(TempDir, Vec<u8>)> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let model = Model::random(tiny_config(), labels(&["a", "b", "c"]), 5);
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let bytes = fs::read(home.path().join("m/model.safetensors")).unwrap();
    (home, bytes)
});

fn load_with(weights: &[u8]) -> Result<(Model, Vec<String>), bertsd_cuda::Error> {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(TINY.0.path().join("m/config.json"), directory.path().join("config.json")).unwrap();
    fs::write(directory.path().join("model.safetensors"), weights).unwrap();
    Model::load(directory.path(), Purpose::Inference)
}

#[track_caller]
fn refused(weights: &[u8], parts: &[&str]) {
    let text = model_error(load_with(weights));
    assert_mentions(&text, &["model.safetensors"]);
    assert_mentions(&text, parts);
}

#[test]
fn header_lengths_beyond_the_file_are_refused() {
    refused(b"", &["it has 0 bytes"]);
    refused(b"1234567", &["it has 7 bytes"]);
    for length in [1, 100_000_000, 100_000_001, 1 << 40, u64::MAX - 7, u64::MAX] {
        refused(&u64::to_le_bytes(length), &[&format!("a header of {length} bytes")]);
    }
    let mut long = TINY.1.clone();
    long[..8].copy_from_slice(&(TINY.1.len() as u64 - 7).to_le_bytes());
    refused(&long, &["announces a header"]);
}

#[test]
fn every_truncation_is_refused() {
    let header_end = 8 + u64::from_le_bytes(*TINY.1.first_chunk().unwrap()) as usize;
    let ends = (0..64).chain(header_end - 40..header_end + 40).chain(TINY.1.len() - 40..TINY.1.len());
    for end in ends {
        refused(&TINY.1[..end], &["damaged safetensors file"]);
    }
    assert!(load_with(&TINY.1).is_ok());
}

#[test]
fn trailing_bytes_are_refused() {
    let mut longer = TINY.1.clone();
    longer.push(0);
    refused(&longer, &["its tensors take"]);
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let zeros = [0u8; 64];
    let one = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#""x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let two = |a: (u64, u64), b: (u64, u64)| {
        let y = one("U8", &format!("[{}]", b.1.wrapping_sub(b.0)), b.0, b.1).replace("\"x\"", "\"y\"");
        format!("{{{},{y}}}", one("U8", &format!("[{}]", a.1.wrapping_sub(a.0)), a.0, a.1))
    };
    for (header, part) in [
        (format!("{{{}}}", one("F32", "[16]", 0, 65)), "'x' lies at 0..65"),
        (format!("{{{}}}", one("F32", "[16]", 64, 0)), "'x' lies at 64..0"),
        (format!("{{{}}}", one("F32", "[16]", 0, u64::MAX)), "'x' lies at"),
        (format!("{{{}}}", one("F32", "[15]", 0, 64)), "F32 [15], does not fit"),
        (format!("{{{}}}", one("F16", "[16]", 0, 64)), "F16 [16], does not fit"),
        (format!("{{{}}}", one("F32", "[]", 0, 64)), "does not fit"),
        // 2^62 · 4 · 4 bytes is 0 in 64 bits; 2^63 + 16 elements of 32 bits are 512 bits.
        (format!("{{{}}}", one("F32", "[4611686018427387904,4]", 0, 0)), "does not fit"),
        (format!("{{{}}}", one("F32", "[9223372036854775824]", 0, 64)), "does not fit"),
        (format!("{{{}}}", one("F32", "[-16]", 0, 64)), "cannot be read"),
        (format!("{{{}}}", one("F33", "[16]", 0, 64)), "cannot be read"),
        (format!("{{{},{}}}", one("U8", "[64]", 0, 64), one("U8", "[64]", 0, 64)), "'x' comes twice"),
        (format!("{{{},{}}}", one("U8", "[0]", 0, 0), one("U8", "[64]", 0, 64)), "'x' comes twice"),
        (two((0, 40), (32, 64)), "'y' at 32..64 overlaps"),
        (two((0, 30), (32, 64)), "'y' at 32..64 leaves a gap"),
        (two((0, 64), (0, 64)), "overlaps"),
        (two((1, 32), (32, 64)), "'x' at 1..32 leaves a gap"),
        (two((0, 32), (32, 60)), "its tensors take 60 bytes"),
        ("{}".to_owned(), "its tensors take 0 bytes"),
        ("[]".to_owned(), "cannot be read"),
        ("{\"x\":1}".to_owned(), "cannot be read"),
        ("[".repeat(100_000), "cannot be read"),
        (format!("{{\"__metadata__\":{}", "{\"a\":".repeat(100_000)), "cannot be read"),
    ] {
        refused(&raw_file(&header, &zeros), &[part]);
    }
    let mut invalid_utf8 = raw_file("{\"x\":1}", &zeros);
    invalid_utf8[10] = 0xFF;
    refused(&invalid_utf8, &["cannot be read"]);
    let empty = model_error(load_with(&raw_file("{}", &[])));
    assert_mentions(&empty, &["lack bert.embeddings.word_embeddings.weight"]);
}

/// Ranges of 2^61 − 1 bytes, as long as a size in bits can say, until their sum with the header's length passes 2^64.
#[test]
fn sums_beyond_64_bits_are_refused() {
    let part = (1u64 << 61) - 1;
    let entry = |name: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
    };
    let long: Vec<_> = (0..8).map(|i| entry(&format!("t{i}"), i * part, (i + 1) * part)).collect();
    for rest in 0..8 {
        let last = entry("z", 8 * part, 8 * part + rest);
        refused(&raw_file(&format!("{{{},{last}}}", long.join(",")), &[]), &["'t0' lies at"]);
    }
}

#[test]
fn a_directory_in_place_of_the_weights_is_refused() {
    let directory = Checkpoint::head64().write();
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    fs::create_dir(directory.path().join("model.safetensors")).unwrap();
    let text = model_error(Model::load(directory.path(), Purpose::Inference));
    assert_mentions(&text, &["not a regular file"]);
}

/// Either an error with the path, or a whole model.
fn check(weights: &[u8]) -> Result<(), TestCaseError> {
    match load_with(weights) {
        Ok((model, _)) => {
            prop_assert_eq!(model.weights.len(), model.layout.len);
            prop_assert!(model.weights.iter().all(|x| x.is_finite()));
        }
        Err(error) => prop_assert!(matches!(error, bertsd_cuda::Error::Model { .. }), "{}", error),
    }
    Ok(())
}

/// Where a change hurts: mostly in the header.
fn place() -> impl Strategy<Value = usize> {
    let header_end = 8 + u64::from_le_bytes(*TINY.1.first_chunk().unwrap()) as usize;
    prop_oneof![1 => 0usize..8, 8 => 8..header_end, 1 => 0..TINY.1.len()]
}

/// Numbers at the edges of integer types.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..200, (0u32..64).prop_map(|n| 1 << n), (0u32..64).prop_map(|n| (1u64 << n) - 1), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((place(), any::<u8>()), 1..6)) {
        let mut bytes = TINY.1.clone();
        for (place, value) in changes {
            bytes[place] = value;
        }
        check(&bytes)?;
    }

    #[test]
    fn cut_and_spliced_files_never_panic(from in place(), to in place(), cut in 0usize..50) {
        let mut bytes = TINY.1[..to].to_vec();
        bytes.extend(&TINY.1[from.saturating_add(cut).min(TINY.1.len())..]);
        check(&bytes)?;
    }

    /// Some number of the JSON becomes another; the header's length is kept right, so that it is read.
    #[test]
    fn changed_numbers_in_the_header_never_panic(which in any::<prop::sample::Index>(), value in number()) {
        let length = u64::from_le_bytes(*TINY.1.first_chunk().unwrap()) as usize;
        let header = std::str::from_utf8(&TINY.1[8..8 + length]).unwrap();
        let digits = |c: char| c.is_ascii_digit();
        let starts: Vec<_> = header
            .match_indices(digits)
            .map(|(at, _)| at)
            .filter(|&at| !header[..at].ends_with(digits) && header[..at].ends_with(['[', ',']))
            .collect();
        let at = starts[which.index(starts.len())];
        let end = at + header[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
        let changed = format!("{}{value}{}", &header[..at], &header[end..]);
        check(&raw_file(&changed, &TINY.1[8 + length..]))?;
    }

    /// Files of arbitrary tensors with plausible names.
    #[test]
    fn arbitrary_headers_never_panic(
        tensors in prop::collection::vec(
            (0usize..40, prop::sample::select(vec!["F32", "F16", "BF16", "F64", "I64", "U8", "F4", "F6_E2M3"]),
             prop::collection::vec(number(), 0..4), number(), number()),
            0..5,
        ),
        data in 0usize..300,
    ) {
        let layout = bertsd_cuda::model::Layout::new(&tiny_config());
        let entries: Vec<_> = tensors
            .iter()
            .map(|(place, dtype, shape, start, end)| {
                let name = layout.segments.get(*place).map_or("other", |segment| &segment.name);
                format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
            })
            .collect();
        check(&raw_file(&format!("{{{}}}", entries.join(",")), &vec![0; data]))?;
    }

    /// Well-formed files whose tensors have other shapes than the configuration wants.
    #[test]
    fn other_shapes_never_panic(place in 0usize..37, shape in prop::collection::vec(0usize..20, 0..4)) {
        let mut checkpoint = Checkpoint::read(&TINY.0.path().join("m"));
        let place = place % checkpoint.tensors.len();
        let tensor = &mut checkpoint.tensors[place];
        tensor.bytes = vec![0; 4 * shape.iter().product::<usize>()];
        let fits = tensor.shape == shape;
        tensor.shape = shape;
        prop_assert_eq!(load_with(&file_of(&checkpoint.tensors)).is_ok(), fits);
    }
}
