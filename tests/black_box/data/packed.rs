//! Compressed files: read as what is in them, or refused by name.

use std::{io::Write, path::Path};

use bertsd_cuda::{
    Error, Fault, Result,
    data::{Format, Source, Table},
};
use tempfile::TempDir;

use super::fixtures::{OwnRow, columns, rows, source, write};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn read(path: &Path) -> Result<Vec<OwnRow>> {
    rows(&source(path, "text", None, Some("label")))
}

/// A table as all formats of text have it.
const TABLES: [(&str, &str); 4] = [
    ("csv", "text,label\n\"a, b\",pos\nc,neg\n"),
    ("tsv", "text\tlabel\na, b\tpos\nc\tneg\n"),
    ("jsonl", "{\"text\":\"a, b\",\"label\":\"pos\"}\n{\"text\":\"c\",\"label\":\"neg\"}\n"),
    ("ndjson", "{\"text\":\"a, b\",\"label\":\"pos\"}\n{\"text\":\"c\",\"label\":\"neg\"}\n"),
];

#[test]
fn every_format_of_text_is_read_from_gzip_and_zstd() {
    let home = TempDir::new().unwrap();
    for (extension, content) in TABLES {
        let expected = read(&write(home.path(), &format!("x.{extension}"), content)).unwrap();
        for (packing, bytes) in [("gz", gzip(content.as_bytes())), ("zst", zstd(content.as_bytes()))] {
            let path = write(home.path(), &format!("x.{extension}.{packing}"), &bytes);
            assert_eq!(read(&path).unwrap(), expected, "{extension}.{packing}");
            let path =
                write(home.path(), &format!("X.{}.{}", extension.to_uppercase(), packing.to_uppercase()), &bytes);
            assert_eq!(read(&path).unwrap(), expected, "extensions in capitals");
            // The first bytes decide, not the name: packed under a plain name, and plain under a packed one.
            let path = write(home.path(), &format!("y.{extension}"), &bytes);
            assert_eq!(read(&path).unwrap(), expected, "{extension} holding {packing}");
            let path = write(home.path(), &format!("y.{extension}.{packing}"), content);
            assert_eq!(read(&path).unwrap(), expected, "plain {extension}.{packing}");
            let path = write(home.path(), &format!("table.{packing}"), &bytes);
            assert!(Table::new(&path, columns("text", None, None)).unwrap_err().to_string().contains("--format"));
            let format: Format = extension.replace("ndjson", "jsonl").parse().unwrap();
            let table = Table {
                path,
                format,
                header: true,
                columns: columns("text", None, Some("label")),
                conventions: Default::default(),
            };
            assert_eq!(rows(&Source::from(table)).unwrap(), expected, "{packing} by --format");
        }
    }
}

#[test]
fn parts_that_were_joined_are_one_file() {
    let home = TempDir::new().unwrap();
    let (head, tail) = (b"text,label\na,pos\n", b"b,neg\n");
    for (name, parts) in [("x.csv.gz", [gzip(head), gzip(tail)]), ("x.csv.zst", [zstd(head), zstd(tail)])] {
        let found = read(&write(home.path(), name, parts.concat())).unwrap();
        assert_eq!(found.len(), 2, "{name}");
    }
}

#[test]
fn what_is_cut_short_or_damaged_is_refused_by_name() {
    let home = TempDir::new().unwrap();
    let mut content = "text,label\n".to_owned();
    (0..2000).for_each(|i| content += &format!("text number {},{}\n", i * 7919 % 1999, i % 2));
    for (name, whole, packing) in
        [("x.csv.gz", gzip(content.as_bytes()), "gzip"), ("x.csv.zst", zstd(content.as_bytes()), "zstd")]
    {
        assert_eq!(read(&write(home.path(), name, &whole)).unwrap().len(), 2000);
        for length in (10..whole.len()).step_by(97).chain([whole.len() - 1, whole.len() - 5]) {
            let error = read(&write(home.path(), name, &whole[..length])).unwrap_err();
            assert_eq!(error.fault(), Fault::Data);
            let message = error.to_string();
            let expected = format!("the {packing} data is damaged or cut short");
            assert!(message.contains(name) && message.contains(&expected), "{length}: {message}");
        }
        for position in (20..whole.len() - 8).step_by(41) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x55;
            // Without zstd's checksum some damage reads as other text; gzip notices all of it.
            match read(&write(home.path(), name, &damaged)) {
                Ok(_) => assert_eq!(packing, "zstd", "{position}"),
                Err(error) => assert_eq!(error.fault(), Fault::Data, "{error}"),
            }
        }
    }
}

#[test]
fn other_archives_are_refused_by_name() {
    let home = TempDir::new().unwrap();
    for (start, part) in [
        (&b"PK\x03\x04\x14\0\x06\0"[..], "is a ZIP archive, as spreadsheets' .xlsx are"),
        (b"\xFD7zXZ\0\0\x04", "compressed with xz"),
        (b"BZh91AY&SY\x12", "compressed with bzip2"),
        (b"7z\xBC\xAF\x27\x1C\0", "is a 7z archive"),
        (b"\x04\x22\x4D\x18\x64", "compressed with lz4"),
        (b"PAR1\x15\x04", "read it with --format parquet"),
    ] {
        for name in ["x.csv", "x.tsv", "x.jsonl", "x.csv.xz", "x.tsv.BZ2", "x.jsonl.lz4", "x.csv.zip", "x.csv.7z"] {
            let error = read(&write(home.path(), name, start)).unwrap_err();
            assert!(matches!(error, Error::Table { .. }) && error.to_string().contains(part), "{error}");
        }
    }
    for (name, part) in [("x.zip", "an archive is not read; unpack it"), ("x.xlsx", "save the table as CSV")] {
        let path = write(home.path(), name, b"PK\x03\x04");
        let error = Table::new(path, columns("text", None, Some("label"))).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    // A text may begin like one.
    assert_eq!(read(&write(home.path(), "x.csv", "text,label\nBZh9,PK\n")).unwrap().len(), 1);
    let error = read(&write(home.path(), "x.parquet", gzip(b"PAR1"))).unwrap_err().to_string();
    assert!(error.contains("is packed with gzip; Parquet is compressed inside, so unpack it"), "{error}");
    let error = read(&write(home.path(), "x.csv.gz", gzip(b""))).unwrap_err().to_string();
    assert!(error.contains("the file is empty"), "{error}");
}

#[test]
fn progress_counts_the_bytes_of_the_packed_file() {
    let home = TempDir::new().unwrap();
    let mut content = "text,label\n".to_owned();
    (0..150_000u64).for_each(|i| content += &format!("text number {},{}\n", i * 7_654_321 % 9_999_991, i % 2));
    for (name, bytes) in [("x.csv.gz", gzip(content.as_bytes())), ("x.csv.zst", zstd(content.as_bytes()))] {
        let source = source(&write(home.path(), name, &bytes), "text", None, Some("label"));
        let mut reader = source.rows().unwrap();
        let (mut last, mut steps) = (0, 0);
        while let Some(row) = reader.next_row().unwrap() {
            assert!(row.position >= last);
            steps += u32::from(row.position > last);
            last = row.position;
        }
        assert_eq!((source.size(), last), (bytes.len() as u64, bytes.len() as u64), "{name}");
        assert!(steps > 1, "{name}: one step");
    }
}
