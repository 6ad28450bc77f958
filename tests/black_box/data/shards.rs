//! Several files as one source: named one by one, by a pattern, or by their directory.

use std::path::{Path, PathBuf};

use bertsd_cuda::{
    Fault,
    data::{Source, TableOptions, expand},
};
use tempfile::TempDir;

use super::fixtures::{columns, rows, write};

fn options() -> TableOptions {
    TableOptions { columns: columns("text", None, Some("label")), ..TableOptions::default() }
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    let source = Source::Tables(options().tables(paths).unwrap());
    rows(&source).unwrap().into_iter().map(|row| row.text).collect()
}

fn names(home: &Path, path: &str) -> Vec<String> {
    let files = expand(&home.join(path)).unwrap();
    files.iter().map(|file| file.strip_prefix(home).unwrap().display().to_string()).collect()
}

fn refusal(home: &Path, path: &str) -> String {
    let error = expand(&home.join(path)).unwrap_err();
    assert_eq!(error.fault(), Fault::Data);
    error.to_string()
}

#[test]
fn files_are_read_in_the_order_in_which_they_are_named() {
    let home = TempDir::new().unwrap();
    let csv = write(home.path(), "b.csv", "text,label\nfirst,1\nsecond,0\n");
    let json = write(home.path(), "a.jsonl", "{\"label\":1,\"text\":\"third\"}\n");
    let none = write(home.path(), "none.csv", "text,label\n");
    let tsv = write(home.path(), "c.tsv", "label\ttext\n0\tfourth\n");
    assert_eq!(texts(&[csv.clone(), json.clone(), none.clone(), tsv]), ["first", "second", "third", "fourth"]);
    let source = Source::Tables(options().tables(&[csv, none, json.clone()]).unwrap());
    assert!(source.name().ends_with("b.csv and 2 more files"), "{}", source.name());
    // Positions go on from file to file.
    let (mut reader, mut positions) = (source.rows().unwrap(), Vec::new());
    while let Some(row) = reader.next_row().unwrap() {
        positions.push(row.position);
    }
    assert!(positions.is_sorted() && positions.last() == Some(&source.size()), "{positions:?} {}", source.size());
    let bad = write(home.path(), "bad.csv", "text,label\na\n");
    let error = rows(&Source::Tables(options().tables(&[json, bad]).unwrap())).unwrap_err().to_string();
    assert!(error.contains("bad.csv, line 2"), "{error}");
}

#[test]
fn a_pattern_names_what_it_matches() {
    let home = TempDir::new().unwrap();
    for name in ["train-10.csv", "train-02.csv", "test-1.csv", "more/train-3.csv", ".train-0.csv", "odd[1].csv"] {
        write(home.path(), name, format!("text,label\n{name},1\n"));
    }
    assert_eq!(names(home.path(), "train-*.csv"), ["train-02.csv", "train-10.csv"]);
    assert_eq!(names(home.path(), "*/train-?.csv"), ["more/train-3.csv"]);
    assert_eq!(names(home.path(), "t*-[0-1]*.csv"), ["test-1.csv", "train-02.csv", "train-10.csv"]);
    // What exists is no pattern, and what does not exist is left to whoever opens it.
    assert_eq!(names(home.path(), "odd[1].csv"), ["odd[1].csv"]);
    assert_eq!(names(home.path(), "gone.csv"), ["gone.csv"]);
    assert!(refusal(home.path(), "dev-*.csv").contains("dev-*.csv: no file matches this pattern"));
    assert!(refusal(home.path(), "***.csv").contains("is no pattern"));
}

#[test]
fn a_directory_is_its_tables_in_the_order_of_their_names() {
    let home = TempDir::new().unwrap();
    for name in ["shards/part-2.jsonl", "shards/part-1.jsonl.gz", "shards/part-10.ndjson", "shards/.part-0.jsonl"] {
        write(home.path(), name, "{\"text\":\"a\",\"label\":1}\n");
    }
    write(home.path(), "shards/README.md", "no table");
    write(home.path(), "shards/_SUCCESS", "");
    let expected = ["shards/part-1.jsonl.gz", "shards/part-10.ndjson", "shards/part-2.jsonl"];
    assert_eq!(names(home.path(), "shards"), expected);
    assert_eq!(texts(&[home.path().join("shards")]).len(), 3);
}

#[test]
fn directories_that_are_no_set_of_shards_are_refused() {
    let home = TempDir::new().unwrap();
    for name in [
        "both/a.csv",
        "both/b.jsonl",
        "parts/train-0.parquet",
        "parts/test-0.parquet",
        "deep/train/0.csv",
        "run/run.toml",
        "run/metrics.jsonl",
    ] {
        write(home.path(), name, "");
    }
    assert!(refusal(home.path(), "both").contains("both: is a directory of files in several formats, csv and jsonl"));
    let parts = refusal(home.path(), "parts");
    assert!(
        parts.contains("is a directory of files of several parts, test and train") && parts.contains("DIR/train-*"),
        "{parts}"
    );
    assert!(refusal(home.path(), "deep").contains("deep: is a directory without tables"));
    assert!(refusal(home.path(), "run").contains("run: is a directory that a run has left"));
}
