//! The container: what was written comes back to the bit, and no damage to a file goes unnoticed or panics.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use bertsd_cuda::{
    Error,
    checkpoint::{AtomicFile, CheckpointPlan, CheckpointReader, CheckpointWriter, Dtype, write_atomically},
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meta {
    step: u64,
    best: f64,
    name: String,
}

fn meta() -> Meta {
    Meta { step: u64::MAX, best: 0.1 + 0.2, name: "λ = 1\n".into() }
}

fn floats(count: usize) -> Vec<f32> {
    (0..count).map(|i| f32::from_bits((i as u32).wrapping_mul(0x9E37_79B9))).collect()
}

fn plan() -> CheckpointPlan {
    let plan = CheckpointPlan::new(&meta()).unwrap();
    plan.section::<f32>("weights", 1000).section::<u8>("empty", 0).section::<u64>("rng", 3).section::<f64>("mean", 2)
}

/// A small checkpoint with a section of each kind.
fn write_sample(path: &Path) {
    let mut writer = CheckpointWriter::create(path, plan()).unwrap();
    let weights = floats(1000);
    writer.write("weights", &weights[..300]).unwrap();
    writer.write::<f32>("weights", &[]).unwrap();
    writer.write("weights", &weights[300..]).unwrap();
    writer.write("rng", &[1u64, u64::MAX, 3]).unwrap();
    writer.write("mean", &[f64::MIN_POSITIVE, -0.0]).unwrap();
    writer.finish().unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Opens, reads and verifies everything; what a program would do with an untrusted file.
fn read_all(path: &Path) -> Result<(), Error> {
    let mut reader = CheckpointReader::open(path)?;
    reader.metadata::<Meta>()?;
    reader.verify()?;
    reader.read::<f32>("weights")?;
    reader.read::<u64>("rng")?;
    Ok(())
}

#[test]
fn round_trip_is_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    write_sample(&path);
    assert_eq!(names(directory.path()), ["a.ckpt"]);

    let mut reader = CheckpointReader::open(&path).unwrap();
    assert_eq!(reader.metadata::<Meta>().unwrap(), meta());
    let sections: Vec<_> = reader.sections().iter().map(|s| (s.name.as_str(), s.dtype, s.elements)).collect();
    assert_eq!(
        sections,
        [("weights", Dtype::F32, 1000), ("empty", Dtype::U8, 0), ("rng", Dtype::U64, 3), ("mean", Dtype::F64, 2)]
    );
    reader.verify().unwrap();
    let mut weights = vec![0f32; 1000];
    // In any order, and NaN payloads too.
    assert_eq!(reader.read::<u64>("rng").unwrap(), [1, u64::MAX, 3]);
    reader.read_into("weights", &mut weights).unwrap();
    assert_eq!(bytemuck::cast_slice::<f32, u8>(&weights), bytemuck::cast_slice::<f32, u8>(&floats(1000)));
    assert_eq!(reader.read::<f64>("mean").unwrap().map_bits(), [f64::MIN_POSITIVE.to_bits(), (-0.0f64).to_bits()]);
    assert!(reader.read::<u8>("empty").unwrap().is_empty());
    assert!(reader.contains("rng") && !reader.contains("lr"));
}

trait MapBits {
    fn map_bits(&self) -> Vec<u64>;
}

impl MapBits for Vec<f64> {
    fn map_bits(&self) -> Vec<u64> {
        self.iter().map(|x| x.to_bits()).collect()
    }
}

#[test]
fn sections_longer_than_a_chunk_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.ckpt");
    let weights = floats(3 * (1 << 18) + 17);
    let mut writer =
        CheckpointWriter::create(&path, CheckpointPlan::new(&()).unwrap().section::<f32>("w", weights.len())).unwrap();
    writer.write("w", &weights).unwrap();
    writer.finish().unwrap();
    let back = CheckpointReader::open(&path).unwrap().read::<f32>("w").unwrap();
    assert!(bytemuck::cast_slice::<f32, u8>(&weights) == bytemuck::cast_slice::<f32, u8>(&back));
}

#[test]
fn truncation_anywhere_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    write_sample(&path);
    let bytes = fs::read(&path).unwrap();
    let boundaries: Vec<u64> = CheckpointReader::open(&path).unwrap().sections().iter().map(|s| s.offset).collect();
    let header = 24..boundaries[0] as usize;
    let every = (0..200).chain(boundaries.into_iter().flat_map(|b| [b as usize - 1, b as usize, b as usize + 1]));
    let mut cut_count = 0;
    for length in every.chain([bytes.len() - 1]).filter(|&length| length < bytes.len()) {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = CheckpointReader::open(&path).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Run { path: named, .. } if *named == path), "{length}: {error}");
        let in_header = header.contains(&length);
        assert_eq!(error.to_string().contains("header runs past the end"), in_header, "{length}: {error}");
        cut_count += 1;
    }
    assert!(cut_count > 200);
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(CheckpointReader::open(&path).unwrap_err().to_string().contains("1 bytes follow"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_flipped_bit_anywhere_is_found(position in 0.0..1.0f64, bit in 0u8..8) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ckpt");
        write_sample(&path);
        let mut bytes = fs::read(&path).unwrap();
        let position = (position * bytes.len() as f64) as usize;
        bytes[position] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let verified = CheckpointReader::open(&path).and_then(|mut reader| reader.verify());
            prop_assert!(verified.is_err(), "byte {}", position);
    }

    #[test]
    fn noise_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), keep in 0usize..80) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ckpt");
        write_sample(&path);
        let sample = fs::read(&path).unwrap();
        fs::write(&path, [&sample[..keep], &bytes[..]].concat()).unwrap();
        prop_assert!(read_all(&path).is_err());
    }
}

/// A file whose header checksum is right, whatever its header says.
fn forge(path: &Path, header: &str, data: &[u8]) {
    let version = 1u32.to_le_bytes();
    let length = (header.len() as u32).to_le_bytes();
    let checksum = xxhash_rust::xxh3::xxh3_64(&[&version[..], &length, header.as_bytes()].concat()).to_le_bytes();
    fs::write(path, [b"BERTSDCK", &version[..], &length, &checksum, header.as_bytes(), data].concat()).unwrap();
}

#[test]
fn headers_that_lie_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    // Offsets have four digits throughout, so that every header has the same length and data starts at the same byte.
    let section = |name: &str, elements: u64, offset: u64| {
        format!(
            r#"{{"name":"{name}","dtype":"f32","elements":{elements},"offset":{offset},"xxh3":"{:016x}"}}"#,
            xxhash_rust::xxh3::xxh3_64(&[0; 8])
        )
    };
    let refused = |sections: &dyn Fn(u64) -> String, data: &[u8]| {
        let header = |start| format!(r#"{{"metadata":{{}},"sections":[{}]}}"#, sections(start));
        let start = 24 + header(100).len() as u64;
        forge(&path, &header(start), data);
        let opened = CheckpointReader::open(&path).and_then(|mut reader| reader.read::<f32>("a"));
        opened.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&|start| section("a", 2, start), &[0; 8]), None, "the honest one");
    let lies = [
        refused(&|start| section("a", 3, start), &[0; 8]),
        refused(&|start| section("a", u64::MAX / 2, start), &[0; 8]),
        refused(&|start| section("a", u64::MAX, start), &[0; 8]),
        refused(&|start| section("a", 2, start + 1), &[0; 8]),
        refused(&|start| section("a", 2, start - 8), &[0; 8]),
        refused(&|start| [section("a", 2, start), section("a", 2, start + 8)].join(","), &[0; 16]),
        refused(&|start| [section("a", 2, start), section("b", 2, start)].join(","), &[0; 8]),
        refused(&|start| [section("a", 2, start), section("b", 2, start + 8)].join(","), &[0; 8]),
        refused(&|start| section("a", 2, start).replace("f32", "f16"), &[0; 8]),
        refused(&|start| section("a", 2, start).replace("\"xxh3\":\"", "\"xxh3\":\"z"), &[0; 8]),
        refused(&|start| section("a", 2, start), &[1; 8]),
        refused(&|start| section("b", 2, start), &[0; 8]),
    ];
    let expected = [
        "cut short",
        "cut short",
        "cut short",
        "starts at byte",
        "starts at byte",
        "two sections",
        "starts at byte",
        "cut short",
        "cannot be understood",
        "hex",
        "section 'a' is damaged",
        "no section 'a'",
    ];
    for (lie, expected) in lies.iter().zip(expected) {
        assert!(lie.as_ref().is_some_and(|message| message.contains(expected)), "{lie:?} does not say '{expected}'");
    }
    // A header of 4 GiB is not allocated to find out.
    let mut bytes = [b"BERTSDCK".to_vec(), 1u32.to_le_bytes().to_vec(), u32::MAX.to_le_bytes().to_vec()].concat();
    bytes.extend([0; 64]);
    fs::write(&path, bytes).unwrap();
    assert!(CheckpointReader::open(&path).unwrap_err().to_string().contains("runs past the end"));
}

#[test]
fn other_versions_and_other_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    write_sample(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    fs::write(&path, &bytes).unwrap();
    assert!(CheckpointReader::open(&path).unwrap_err().to_string().contains("version 9"));
    fs::write(&path, "PK\x03\x04 and so on, for more than the length of a preamble").unwrap();
    assert!(CheckpointReader::open(&path).unwrap_err().to_string().contains("not a checkpoint"));
    assert!(CheckpointReader::open(directory.path()).is_err());
    let missing = CheckpointReader::open(directory.path().join("b.ckpt"));
    assert!(matches!(missing, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
}

#[test]
fn reading_as_something_else_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    write_sample(&path);
    let mut reader = CheckpointReader::open(&path).unwrap();
    assert!(reader.read::<f64>("weights").unwrap_err().to_string().contains("holds f32, not f64"));
    assert!(reader.read_into("weights", &mut [0f32; 999]).unwrap_err().to_string().contains("1000 elements, not 999"));
    assert!(reader.metadata::<Vec<u32>>().is_err());
}

#[test]
fn the_plan_is_kept_to_or_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ckpt");
    let create = || CheckpointWriter::create(&path, plan()).unwrap();
    assert!(create().write("rng", &[0u64; 3]).is_err(), "out of order");
    assert!(create().write("weights", &[0f32; 1001]).is_err(), "too many");
    assert!(create().write("weights", &[0f64; 500]).is_err(), "wrong type");
    let mut writer = create();
    writer.write("weights", &[0f32; 999]).unwrap();
    assert!(writer.write("rng", &[0u64; 3]).is_err(), "before the section is complete");
    assert!(writer.finish().unwrap_err().to_string().contains("'weights' is not complete"));
    let twice = CheckpointPlan::new(&()).unwrap().section::<u8>("a", 1).section::<u8>("a", 1);
    assert!(CheckpointWriter::create(&path, twice).is_err());
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_file_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    write_atomically(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    io::Write::write_all(&mut file, b"half of the n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()).len(), 2);
    drop(file);
    assert_eq!(names(directory.path()), ["a.toml"]);
    write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let path = PathBuf::from("/proc/a.ckpt");
    let error = CheckpointWriter::create(&path, plan()).unwrap_err();
    assert!(matches!(&error, Error::Io { path: named, .. } if *named == path), "{error}");
}

/// Runs this test again as a child whose files may not grow beyond 256 KiB: what a full disk looks like, without
/// privileges.
#[test]
#[cfg(unix)]
fn a_full_disk_is_named_and_costs_nothing() {
    const CHILD: &str = "BERTSD_TEST_FULL_DISK";
    if let Ok(directory) = std::env::var(CHILD) {
        let path = Path::new(&directory).join("step-00000002.ckpt");
        let large = vec![1f32; 1 << 20];
        let mut writer =
            CheckpointWriter::create(&path, CheckpointPlan::new(&()).unwrap().section::<f32>("w", large.len()))
                .unwrap();
        let error = writer.write("w", &large).unwrap_err();
        assert!(matches!(&error, Error::Io { action: "write", path: named, .. } if *named == path), "{error}");
        drop(writer);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("step-00000001.ckpt");
    write_sample(&old);
    let name = "checkpoint::files::a_full_disk_is_named_and_costs_nothing";
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact \"$1\""])
        .args([std::env::current_exe().unwrap().as_os_str(), name.as_ref()])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(names(directory.path()), ["step-00000001.ckpt"]);
    read_all(&old).unwrap();
}
