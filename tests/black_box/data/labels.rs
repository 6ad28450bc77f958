//! Labels as they come: numbers in every spelling, rows without one, other names; and rows that cannot be read.

use std::{path::Path, sync::Arc};

use bertsd_cuda::{
    Error, Fault, Result,
    data::{BadRows, Conventions, LabelNames, Source, Table},
};
use parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use tempfile::TempDir;

use super::fixtures::{columns, write};

/// Labels and remarks of a table of texts.
fn read(path: &Path, conventions: Conventions) -> Result<(Vec<String>, Vec<String>)> {
    let table = Table::new(path, columns("text", None, Some("label")))?;
    let source = Source::from(Table { conventions, ..table });
    let (mut rows, mut labels) = (source.rows()?, Vec::new());
    while let Some(row) = rows.next_row()? {
        labels.push(row.label.unwrap().to_owned());
    }
    Ok((labels, rows.remarks().describe("x", &["x".as_ref()])))
}

fn labels(name: &str, content: &str) -> Result<Vec<String>> {
    let home = TempDir::new().unwrap();
    read(&write(home.path(), name, content), Conventions::default()).map(|(labels, _)| labels)
}

fn csv_of(labels: &[&str]) -> String {
    "text,label\n".to_owned() + &labels.iter().map(|label| format!("a,{label}\n")).collect::<String>()
}

/// A Parquet file with a column of doubles, of which some may be null.
fn write_doubles(path: &Path, labels: &[Option<f64>]) {
    let schema = "message rows { REQUIRED BYTE_ARRAY text (UTF8); OPTIONAL DOUBLE label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts = vec![ByteArray::from("a"); labels.len()];
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let present: Vec<i16> = labels.iter().map(|label| i16::from(label.is_some())).collect();
    let values: Vec<f64> = labels.iter().flatten().copied().collect();
    column.typed::<DoubleType>().write_batch(&values, Some(&present), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn whole_numbers_are_integers_in_every_format() {
    let expected = ["1", "0", "1", "-1"];
    assert_eq!(labels("x.csv", &csv_of(&["1.0", "0.0", "1", "-1.0"])).unwrap(), expected);
    assert_eq!(labels("x.tsv", &csv_of(&["1.0", "0.0", "1", "-1.0"]).replace(',', "\t")).unwrap(), expected);
    let json = ["1.0", "0.0", "\"1.0\"", "-1.0"].map(|label| format!("{{\"text\":\"a\",\"label\":{label}}}\n"));
    assert_eq!(labels("x.jsonl", &json.concat()).unwrap(), expected);
    let home = TempDir::new().unwrap();
    let path = home.path().join("x.parquet");
    write_doubles(&path, &[Some(1.0), Some(0.0), Some(1.0), Some(-1.0)]);
    assert_eq!(read(&path, Conventions::default()).unwrap().0, expected);
    assert_eq!(
        labels("x.jsonl", "{\"text\":\"a\",\"label\":2e3}\n{\"text\":3.0,\"label\":true}").unwrap(),
        ["2000", "true"]
    );
}

#[test]
fn scores_are_refused_alike_in_every_format() {
    let home = TempDir::new().unwrap();
    let parquet = home.path().join("x.parquet");
    write_doubles(&parquet, &[Some(1.0), Some(0.208)]);
    let files = [
        write(home.path(), "x.csv", csv_of(&["1.0", "0.208"])),
        write(home.path(), "x.tsv", csv_of(&["1.0", "0.208"]).replace(',', "\t")),
        write(home.path(), "x.jsonl", "{\"text\":\"a\",\"label\":1.0}\n\n{\"text\":\"a\",\"label\":0.208}"),
        write(home.path(), "y.jsonl", "{\"text\":\"a\",\"label\":1.0}\n\n{\"text\":\"a\",\"label\":\"0.208\"}"),
        parquet,
    ];
    for path in files {
        // Nor are they rows to skip: a column of scores would be skipped as a whole.
        for bad_rows in [BadRows::Refuse, BadRows::Skip] {
            let error = read(&path, Conventions { bad_rows, ..Conventions::default() }).unwrap_err();
            assert_eq!(error.fault(), Fault::Data);
            let line = if path.extension().unwrap() == "parquet" { 2 } else { 3 };
            let expected = format!(
                "{}, line {line}, column 'label': the label '0.208' is a number with a fraction: scores are no classes, \
                 and regression is not supported; sort them into classes first, or name those that are some with \
                 --label-map 0.208=NAME",
                path.display()
            );
            assert_eq!(error.to_string(), expected);
        }
        let label_names = "0.208=little,1=much".parse().unwrap();
        let (labels, _) = read(&path, Conventions { label_names, ..Conventions::default() }).unwrap();
        assert_eq!(labels, ["much", "little"]);
    }
}

/// As spreadsheets write numbers where a comma is the decimal point.
#[test]
fn decimal_commas_are_numbers_too() {
    let semicolons = |labels: &[&str]| {
        "text;label\n".to_owned() + &labels.iter().map(|label| format!("a;{label}\n")).collect::<String>()
    };
    assert_eq!(labels("x.csv", &semicolons(&["1,0", "0,0", "1"])).unwrap(), ["1", "0", "1"]);
    let home = TempDir::new().unwrap();
    for (name, content) in [
        ("x.csv", semicolons(&["1,0", "0,5"])),
        ("y.csv", csv_of(&["1", "\"0,5\""])),
        ("z.jsonl", "{\"text\":\"a\",\"label\":1}\n\n{\"text\":\"a\",\"label\":\"0,5\"}".to_owned()),
    ] {
        let path = write(home.path(), name, content);
        let error = read(&path, Conventions::default()).unwrap_err();
        assert_eq!(error.fault(), Fault::Data);
        let expected = format!(
            "{}, line 3, column 'label': the label '0,5' is a number with a decimal comma (or two numbers): scores are no \
             classes, and regression is not supported; sort them into classes first, or name those that are some with \
             --label-map '\"0,5\"=NAME'",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        let label_names = "\"0,5\"=half".parse().unwrap();
        assert_eq!(read(&path, Conventions { label_names, ..Conventions::default() }).unwrap().0, ["1", "half"]);
    }
}

#[test]
fn rows_with_an_ignored_label_are_left_out_and_counted() {
    let home = TempDir::new().unwrap();
    let ignoring = |labels: &[&str]| Conventions {
        ignored_labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..Conventions::default()
    };
    let path = write(home.path(), "x.csv", csv_of(&["1", "-1", "0", "-1.0", "-", ""]));
    let (labels, remarks) = read(&path, ignoring(&["-1", "-", ""])).unwrap();
    assert_eq!(labels, ["1", "0"]);
    let expected = [
        "x: 2 rows with the label '-1' left out",
        "x: 1 row with the label '-' left out",
        "x: 1 row with the label '' left out",
    ];
    assert_eq!(remarks, expected);
    let error = read(&path, ignoring(&["-1", "-"])).unwrap_err().to_string();
    assert!(
        error.contains("line 7, column 'label': the label is empty") && error.contains("--ignore-label ''"),
        "{error}"
    );
    let error = read(&path, ignoring(&["-1", "-", "", "0", "1"])).unwrap_err().to_string();
    assert!(
        error.contains("no row is left to read") && error.contains("2 rows with the label '-1' left out"),
        "{error}"
    );
    // Null is empty: in JSON, in Parquet, and as the NaN that tables of floats have for it.
    let json = write(home.path(), "x.jsonl", "{\"text\":\"a\",\"label\":null}\n{\"text\":\"a\",\"label\":1}\n");
    assert_eq!(read(&json, ignoring(&[""])).unwrap().0, ["1"]);
    let parquet = home.path().join("x.parquet");
    write_doubles(&parquet, &[Some(1.0), None, Some(f64::NAN), Some(-1.0)]);
    assert_eq!(read(&parquet, ignoring(&["", "-1"])).unwrap().0, ["1"]);
    for path in [json, parquet] {
        assert!(read(&path, ignoring(&[])).unwrap_err().to_string().contains("the label is empty"));
    }
}

#[test]
fn labels_are_called_as_the_list_says() {
    let home = TempDir::new().unwrap();
    let names = |text: &str| Conventions { label_names: text.parse::<LabelNames>().unwrap(), ..Conventions::default() };
    let path = write(home.path(), "x.csv", csv_of(&["1.0", "0", "2", "\"a,b\""]));
    let (labels, _) = read(&path, names("0=negative,1=positive,\"a,b\"=both")).unwrap();
    assert_eq!(labels, ["positive", "negative", "2", "both"]);
    let path = write(home.path(), "y.csv", csv_of(&["neg", "neg ", "NEG", ""]));
    assert_eq!(read(&path, names("neg =neg,NEG=neg,\"\"=none")).unwrap().0, ["neg", "neg", "neg", "none"]);
}

#[test]
fn rows_that_cannot_be_read_are_skipped_counted_and_shown() {
    let home = TempDir::new().unwrap();
    let skip = || Conventions { bad_rows: BadRows::Skip, ..Conventions::default() };
    let mut csv = b"text,label\ngood,1\nlost\na,b,c\ncaf\xE9,1\nx,\n\"c\" d,1\n".to_vec();
    csv.extend_from_slice(b"more\nand more\nlast,0\n");
    let path = write(home.path(), "x.csv", csv);
    let (labels, remarks) = read(&path, skip()).unwrap();
    assert_eq!(labels, ["1", "0"]);
    let lines: Vec<&str> = remarks.iter().map(|remark| remark.split(": ").next().unwrap()).collect();
    let places = ["x, line 3", "x, line 4", "x, line 5, column 'text'", "x, line 6, column 'label'", "x, line 7", "x"];
    assert_eq!(lines, places, "{remarks:?}");
    assert_eq!(remarks[5], "x: 7 rows that cannot be read are skipped, of which the first 5 are above");
    let json = "{\"text\":\"a\",\"label\":1}\n{\"text\":null,\"label\":1}\n{\"text\":\"b\"\n[1]\n{\"text\":\"b\",\"label\":[1]}\n{\"label\":0}\n";
    let (labels, remarks) = read(&write(home.path(), "x.jsonl", json), skip()).unwrap();
    assert_eq!((labels, remarks.len()), (vec!["1".to_owned()], 6), "{remarks:?}");
    assert_eq!(remarks[5], "x: 5 rows that cannot be read are skipped");
    // What makes the rest unreadable is no row to skip.
    for (name, content, part) in [
        ("y.csv", "text,label\na,1\n\"b,0\nc,1\n", "never closed"),
        ("y.csv", "text,tag\na,1\n", "no such column"),
        ("y.csv", "text,label\na\nb\n", "no row is left to read: x"),
        ("y.csv", "text,label\n", "no rows"),
    ] {
        let error: Error = read(&write(home.path(), name, content), skip()).unwrap_err();
        assert!(error.to_string().contains(part.trim_end_matches(": x")), "{error}");
    }
}
