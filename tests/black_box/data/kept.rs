//! Columns that are handed on unread: any type, as it is; null is empty.

use std::sync::Arc;

use bertsd_cuda::data::{Columns, Source, Table};
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
    file::writer::{SerializedFileWriter, SerializedRowGroupWriter},
    schema::parser::parse_message_type,
};
use tempfile::TempDir;

use super::fixtures::write;

/// The kept cells of every row.
fn kept(path: &std::path::Path, names: &[&str]) -> bertsd_cuda::Result<Vec<Vec<String>>> {
    let kept = names.iter().map(|name| (*name).into()).collect();
    let table = Table::new(path, Columns { kept, ..Columns::new("text", None, None) })?;
    let source = Source::from(table);
    let (mut rows, mut found) = (source.rows()?, Vec::new());
    while let Some(row) = rows.next_row()? {
        found.push(row.kept.iter().map(str::to_owned).collect());
    }
    Ok(found)
}

#[test]
fn json_of_any_type_is_passed_on() {
    let home = TempDir::new().unwrap();
    let line = |value: &str| format!("{{\"text\":\"a\",\"x\":{value},\"y\":0}}\n");
    let values =
        ["1.50", "-0", "1e400", "null", "true", "[1, \"b\"]", "{\"c\": null}", "\"say \\\"hi\\\"\\u00e9\"", "\"\""];
    let expected = ["1.50", "-0", "1e400", "", "true", "[1, \"b\"]", "{\"c\": null}", "say \"hi\"é", ""];
    let path = write(home.path(), "x.jsonl", values.map(line).concat());
    let found = kept(&path, &["x", "y", "x"]).unwrap();
    assert_eq!(found.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|row| row[1] == "0" && row[2] == row[0]));
    let error = kept(&path, &["z"]).unwrap_err().to_string();
    assert!(error.contains("line 1, column 'z': no such column"), "{error}");
}

#[test]
fn empty_cells_of_csv_stay_empty() {
    let home = TempDir::new().unwrap();
    let path = write(home.path(), "x.csv", "id,text,score\n7,a,0.5\n,b,\n");
    assert_eq!(kept(&path, &["score", "id"]).unwrap(), [["0.5", "7"], ["", ""]]);
}

#[test]
fn parquet_of_any_type_is_passed_on() {
    const SCHEMA: &str = "message rows {
        REQUIRED BYTE_ARRAY text (UTF8);
        OPTIONAL DOUBLE score;
        OPTIONAL INT32 day (DATE);
        OPTIONAL INT64 millis (TIMESTAMP(MILLIS,true));
        OPTIONAL INT64 nanos (TIMESTAMP(NANOS,true));
        OPTIONAL BOOLEAN flag;
        OPTIONAL BYTE_ARRAY raw;
        OPTIONAL INT32 price (DECIMAL(9,2));
        OPTIONAL GROUP tags (LIST) { REPEATED GROUP list { REQUIRED BYTE_ARRAY element (UTF8); } }
    }";
    let home = TempDir::new().unwrap();
    let path = home.path().join("x.parquet");
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(&path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    /// Two rows: a value, and null.
    fn column<T: parquet::data_type::DataType>(group: &mut SerializedRowGroupWriter<std::fs::File>, value: T::T) {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<T>().write_batch(&[value], Some(&[1, 0]), None).unwrap();
        column.close().unwrap();
    }
    let mut texts = group.next_column().unwrap().unwrap();
    texts.typed::<ByteArrayType>().write_batch(&["a".into(), "b".into()], None, None).unwrap();
    texts.close().unwrap();
    column::<DoubleType>(&mut group, -1.5);
    column::<Int32Type>(&mut group, 19_000);
    column::<Int64Type>(&mut group, 1_700_000_000_123);
    column::<Int64Type>(&mut group, 1_700_000_000_123_456_789);
    column::<BoolType>(&mut group, true);
    column::<ByteArrayType>(&mut group, ByteArray::from(vec![0xFF, 0x00]));
    column::<Int32Type>(&mut group, 12_345);
    let mut tags = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = vec!["x".into(), "say \"y\"".into()];
    tags.typed::<ByteArrayType>().write_batch(&values, Some(&[2, 2, 0]), Some(&[0, 1, 0])).unwrap();
    tags.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let found = kept(&path, &["score", "day", "millis", "nanos", "flag", "raw", "price", "tags"]).unwrap();
    let expected = [
        "-1.5",
        "2022-01-08",
        "2023-11-14 22:13:20.123 +00:00",
        "2023-11-14 22:13:20.123456 +00:00",
        "true",
        "ff00",
        "123.45",
        "[\"x\",\"say \\\"y\\\"\"]",
    ];
    assert_eq!(found, [expected.map(str::to_owned).to_vec(), vec![String::new(); 8]]);
}
