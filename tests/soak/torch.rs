//! Files that only look like weights of PyTorch: an error or a model, never a panic, and no more memory than the file
//! can account for.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bertsd_cuda::model::{Model, Purpose};
use tempfile::TempDir;

use crate::{memory, place, runs::Rng};

const TIME: Duration = Duration::from_secs(600);
/// What the docs promise: a pickle takes this much at most, and a model 8 parameters of 4 bytes for each byte of its
/// file.
const PICKLE_BYTES: usize = 110 << 20;
const BYTES_PER_BYTE: usize = 8 * 4;

/// Opcodes of pickle that mean something to the reader, and some that must not.
const OPCODES: &[u8] = b"\x80\x8a\x8b(.)]}tab0123eusRQcqhrjKMJIGNXU\x85\x86\x87\x88\x89\x8c\x8e\x90\x93\x94\x95\x96\x97\x81\x82ioPVSTLFdlp2";

fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let weights = place::root().join("tests/transformers/weights");
    let names = ["zip", "legacy", "bf16", "shared"].map(|name| weights.join(name).join("pytorch_model.bin"));
    names.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Where the numbers that say what lies where are: pickles, and the directories of an archive.
fn structure(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let pickles = bytes.windows(2).enumerate().filter(|(_, window)| *window == b"\x80\x02").map(|(at, _)| at);
    let entries = bytes.windows(2).enumerate().filter(|(_, window)| *window == b"PK").map(|(at, _)| at);
    let mut ranges: Vec<_> = pickles.take(8).map(|at| at..(at + 8000).min(bytes.len())).collect();
    ranges.extend(entries.map(|at| at..(at + 120).min(bytes.len())));
    ranges
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let ranges = structure(bytes);
    let mut below = |end: usize| rng.below(end.max(1) as u64) as usize;
    for _ in 0..1 + below(8) {
        if bytes.len() < 64 {
            return;
        }
        let at = match ranges.get(below(ranges.len() + ranges.len() / 4 + 1)) {
            Some(range) => (range.start + below(range.len())).min(bytes.len() - 1),
            None => below(bytes.len()),
        };
        let most = 1 << below(10);
        let length = (1 + below(most)).min(bytes.len() - at);
        match below(11) {
            0 => bytes[at] = below(256) as u8,
            1 => bytes[at] ^= 1 << below(8),
            2 => bytes[at] = OPCODES[below(OPCODES.len())],
            3 => bytes[at..at + length.min(8)].fill(if below(2) == 0 { 0xff } else { 0 }),
            4 => {
                // A size or an offset, near what it was or at an end of its range.
                let value = [u64::MAX, 1 << 63, 1 << 32, 0x7fff_ffff, 0xffff_fffe, 1 << 20, 0][below(7)];
                let width = [2, 4, 8][below(3)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            5 => {
                let from = below(bytes.len() - length);
                bytes.copy_within(from..from + length, at);
            }
            6 => drop(bytes.drain(at..at + length)),
            7 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            8 => {
                let from = below(other.len() - 1);
                let piece = &other[from..(from + length).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            9 => bytes[at] = bytes[at].wrapping_add(1),
            _ if below(8) == 0 => bytes.truncate(at),
            _ => bytes.splice(at..at, std::iter::repeat_n(OPCODES[below(OPCODES.len())], length)).for_each(drop),
        }
    }
}

fn load(home: &Path, bytes: &[u8]) -> bool {
    fs::write(home.join("pytorch_model.bin"), bytes).unwrap();
    match Model::load(home, Purpose::Inference) {
        Ok((model, _)) => {
            assert!(model.weights.iter().all(|weight| weight.is_finite()), "weights that are none");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without words");
            false
        }
    }
}

#[test]
#[ignore = "takes ten minutes: make soak"]
fn damaged_weights_neither_panic_nor_take_memory() {
    let files = files();
    let homes: Vec<TempDir> = files
        .iter()
        .map(|(path, _)| {
            let home = TempDir::new().unwrap();
            fs::copy(path.with_file_name("config.json"), home.path().join("config.json")).unwrap();
            home
        })
        .collect();
    let (started, mut cases, mut models, mut most) = (Instant::now(), 0u64, 0u64, 0);
    while started.elapsed() < TIME {
        let mut rng = Rng(cases);
        let seed = rng.below(files.len() as u64) as usize;
        let mut bytes = files[seed].1.clone();
        mutate(&mut bytes, &files[rng.below(files.len() as u64) as usize].1, &mut rng);
        let home = homes[seed].path();
        let (loaded, taken) = memory::most_bytes(|| catch_unwind(AssertUnwindSafe(|| load(home, &bytes))));
        let loaded = loaded.unwrap_or_else(|_| panic!("case {cases} panics"));
        let allowed = PICKLE_BYTES + BYTES_PER_BYTE * bytes.len();
        assert!(taken <= allowed, "case {cases} takes {taken} bytes for a file of {}", bytes.len());
        (cases, models, most) = (cases + 1, models + u64::from(loaded), most.max(taken));
    }
    eprintln!("{cases} files, {models} of them models; at most {} MiB at a time", most >> 20);
    assert!(cases > 10_000 && models > 0, "{cases} files, {models} models");
}
