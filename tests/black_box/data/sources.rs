//! Every format and preset read back, and what each says about input it cannot read.

use std::{path::Path, sync::Arc};

use bertsd_cuda::data::{ColumnRef, Columns, Format, Preset, Source, Table};
use bertsd_cuda::{Error, Fault, Result};
use clap::ValueEnum;
use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use tempfile::TempDir;

use super::fixtures;
use super::fixtures::{OwnRow, columns, own, rows, source, write};

fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<OwnRow>> {
    let directory = TempDir::new().unwrap();
    rows(&source(&write(directory.path(), name, content), "text", None, Some("label")))
}

/// The error's line, column and message.
fn fault(name: &str, content: impl AsRef<[u8]>) -> (Option<u64>, Option<String>, String) {
    describe(read(name, content).unwrap_err())
}

fn describe(error: Error) -> (Option<u64>, Option<String>, String) {
    assert_eq!(error.fault(), Fault::Data);
    match error {
        Error::Table { line, column, message, .. } => (line, column, message),
        other => panic!("{other}"),
    }
}

fn at(line: u64, column: &str) -> (Option<u64>, Option<String>) {
    (Some(line), (!column.is_empty()).then(|| column.to_owned()))
}

#[track_caller]
fn assert_fault(found: (Option<u64>, Option<String>, String), place: (Option<u64>, Option<String>), part: &str) {
    assert_eq!((found.0, found.1), place, "{}", found.2);
    assert!(found.2.contains(part), "'{}' lacks '{part}'", found.2);
}

type Pair<'a> = (i64, Option<&'a [u8]>);

/// Writes a table of an INT64 label and a nullable string, in this order.
fn write_parquet(path: &Path, groups: &[&[Pair]]) {
    let schema = "message rows { REQUIRED INT64 label; OPTIONAL BYTE_ARRAY text (UTF8); OPTIONAL DOUBLE score; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    for group in groups {
        let mut row_group = writer.next_row_group().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        let labels: Vec<i64> = group.iter().map(|(label, _)| *label).collect();
        column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> =
            group.iter().filter_map(|(_, text)| text.map(|text| text.to_vec().into())).collect();
        let present: Vec<i16> = group.iter().map(|(_, text)| i16::from(text.is_some())).collect();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None).unwrap();
        column.close().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        let absent = vec![0; group.len()];
        column.typed::<parquet::data_type::DoubleType>().write_batch(&[], Some(&absent), None).unwrap();
        column.close().unwrap();
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn every_format_gives_the_same_rows() {
    let texts = ["plain", "ein „Umlaut“ ü, 中", ""];
    let expected = |first_line: u64| -> Vec<OwnRow> {
        (first_line..)
            .zip(texts)
            .map(|(line, text)| own(text, None, Some(&(line - first_line).to_string()), line))
            .collect()
    };
    assert_eq!(read("x.csv", "text,label\nplain,0\n\"ein „Umlaut“ ü, 中\",1\n,2\n").unwrap(), expected(2));
    assert_eq!(read("x.tsv", "label\ttext\n0\tplain\n1\tein „Umlaut“ ü, 中\n2\t").unwrap(), expected(2));
    let json = "{\"text\":\"plain\",\"label\":0}\n{\"more\":{\"text\":[1]},\"label\":1,\"text\":\"ein „Umlaut“ \\u00fc, 中\"}\n\
                {\"label\":\"2\",\"text\":\"\"}";
    assert_eq!(read("x.jsonl", json).unwrap(), expected(1));
    assert_eq!(read("x.NDJSON", json).unwrap(), expected(1));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    let row = |i: usize| (i as i64, Some(texts[i].as_bytes()));
    write_parquet(&path, &[&[row(0), row(1)], &[row(2)]]);
    assert_eq!(rows(&source(&path, "text", None, Some("label"))).unwrap(), expected(1));
}

#[test]
fn csv_quotes_line_breaks_and_crlf_keep_the_line_numbers() {
    let content = "\u{FEFF}\"text\",label\r\n\"two\r\nlines\",a\r\n\r\n\"say \"\"hi\"\"\",b\r\n\"\",c\r\n\"comma,\",d";
    let expected = [
        own("two\r\nlines", None, Some("a"), 2),
        own("say \"hi\"", None, Some("b"), 5),
        own("", None, Some("c"), 6),
        own("comma,", None, Some("d"), 7),
    ];
    assert_eq!(read("x.csv", content).unwrap(), expected);
}

#[test]
fn tsv_has_no_quoting_unless_asked() {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), "x.tsv", "text\tlabel\n\"a\tb\n\"\"\"c\"\"\"\td\n");
    let mut table = Table::new(&path, columns("text", None, Some("label"))).unwrap();
    let plain = [own("\"a", None, Some("b"), 2), own("\"\"\"c\"\"\"", None, Some("d"), 3)];
    assert_eq!(rows(&Source::from(table.clone())).unwrap(), plain);
    table.format = "tsv-quoted".parse().unwrap();
    std::fs::write(&path, "text\tlabel\n\"a\tb\"\tc\n").unwrap();
    assert_eq!(rows(&Source::from(table)).unwrap(), [own("a\tb", None, Some("c"), 2)]);
}

#[test]
fn headerless_files_go_by_number_and_texts_are_joined() {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), "x.csv", "1,title,body\n2,t,b\n");
    let columns = |text: &[&str]| Columns {
        text: text.iter().map(|column| ColumnRef::from(*column)).collect(),
        pair: None,
        label: Some("0".into()),
        kept: vec![],
    };
    let table = |text| Source::from(Table { header: false, ..Table::new(&path, columns(text)).unwrap() });
    let expected = [own("title body", None, Some("1"), 1), own("t b", None, Some("2"), 2)];
    assert_eq!(rows(&table(&["1", "2"])).unwrap(), expected);
    let found = describe(rows(&table(&["3"])).unwrap_err());
    assert_fault(found, (None, Some("3".into())), "3 columns, numbered 0 to 2");
    let found = describe(rows(&table(&["body"])).unwrap_err());
    assert_fault(found, (None, Some("body".into())), "read without a header");
}

#[test]
fn a_missing_column_is_answered_with_the_columns_there_are() {
    let expected = "no such column; there are 'Text', 'tag'; did you mean 'Text'?";
    assert_fault(fault("x.csv", "Text,tag\na,b\n"), (None, Some("text".into())), expected);
    let found = fault("x.jsonl", "{\"text\":\"a\",\"label\":1}\n{\"text\":\"a\",\"lable\":1}\n");
    assert_fault(found, at(2, "label"), "there are 'text', 'lable'; did you mean 'lable'?");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    write_parquet(&path, &[&[(1, None)]]);
    let found = describe(rows(&source(&path, "texts", None, None)).unwrap_err());
    assert_fault(found, (None, Some("texts".into())), "there are 'label', 'text', 'score'; did you mean 'text'?");
    let found = describe(rows(&source(&path, "score", None, None)).unwrap_err());
    assert_fault(found, (None, Some("score".into())), "holds DOUBLE");
}

#[test]
fn rows_of_another_width_are_named() {
    assert_fault(fault("x.csv", "text,label\na,b\n\nc\n"), at(4, ""), "1 column where the header has 2 columns");
    let found = fault("x.csv", "text,label\r\na,b\r\nc,d,e\r\n");
    assert_fault(found, at(3, ""), "must stand in double quotes");
    assert_fault(fault("x.tsv", "text\tlabel\na\tb\tc"), at(2, ""), "tsv-quoted");
}

#[test]
fn quotes_that_do_not_close_are_named_by_their_line() {
    assert_fault(fault("x.csv", "text,label\na,b\nc,\"d\ne,f\ng,h\n"), at(3, ""), "never closed");
    assert_fault(fault("x.csv", "text,label\na,b\n\"x\n\"c\" d\",e\n"), at(4, ""), "goes on after its closing quote");
}

#[test]
fn bytes_that_are_not_utf8_are_named() {
    assert_fault(fault("x.csv", b"text,label\nfine,1\ncaf\xE9,2\n"), at(3, "text"), "byte 0xE9 is not UTF-8");
    assert_fault(fault("x.csv", b"text,label\n\"fine\ncaf\xE9\",2\n"), at(3, "text"), "byte 0xE9");
    assert_fault(fault("x.tsv", b"text\tlabel\nfine\t\xFF\n"), at(2, "label"), "byte 0xFF");
    assert_fault(fault("x.jsonl", b"{\"text\":\"a\",\"label\":1}\n{\"text\":\"\xE9\"}\n"), at(2, ""), "byte 0xE9");
    assert_fault(fault("x.csv", b"\xFF\xFEt\0e\0"), at(1, ""), "UTF-16");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    write_parquet(&path, &[&[(1, Some(b"fine")), (2, Some(b"caf\xE9"))]]);
    assert_eq!(rows(&source(&path, "text", None, None)).unwrap_err().to_string().matches("line").count(), 1);
}

#[test]
fn files_without_rows_are_refused() {
    assert_fault(fault("x.csv", ""), (None, None), "is empty");
    assert_fault(fault("x.csv", "\n\n"), (None, None), "is empty");
    assert_fault(fault("x.csv", "text,label\n"), (None, None), "no rows");
    assert_fault(fault("x.jsonl", "\n \n"), (None, None), "no rows");
    assert_fault(fault("x.parquet", ""), (None, None), "is empty");
    assert_fault(fault("x.parquet", "PAR1 this is not Parquet PAR1"), (None, None), "not a readable Parquet file");
    let unknown = Table::new("x.txt", columns("text", None, None)).unwrap_err();
    assert_fault(describe(unknown), (None, None), "--format");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    write_parquet(&path, &[]);
    let found = describe(rows(&source(&path, "text", None, None)).unwrap_err());
    assert_fault(found, (None, None), "no rows");
    let missing = rows(&source(&directory.path().join("none.csv"), "text", None, None)).unwrap_err();
    assert!(missing.fault() == Fault::Data && missing.to_string().contains("none.csv"));
}

#[test]
fn nulls_and_other_types_are_named() {
    assert_fault(fault("x.jsonl", "{\"text\":null,\"label\":1}"), at(1, "text"), "null");
    assert_fault(fault("x.jsonl", "{\"text\":\"a\",\"label\":1.5}"), at(1, "label"), "fraction");
    assert_fault(fault("x.jsonl", "{\"text\":[\"a\"],\"label\":1}"), at(1, "text"), "list");
    assert_fault(fault("x.csv", "text,label\na,\n"), at(2, "label"), "empty");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    write_parquet(&path, &[&[(1, Some(b"a"))], &[(1, Some(b"a")), (2, None)]]);
    let found = describe(rows(&source(&path, "text", None, Some("label"))).unwrap_err());
    assert_fault(found, at(3, "text"), "null");
}

#[test]
fn bad_json_is_named_by_line_and_character() {
    let good = "{\"text\":\"a\",\"label\":true}\n";
    assert_eq!(read("x.jsonl", good).unwrap(), [own("a", None, Some("true"), 1)]);
    let found = fault("x.jsonl", format!("{good}{{\"text\":\"b\",}}\n"));
    assert_fault(found, at(2, ""), "trailing comma (character 13)");
    assert_fault(fault("x.jsonl", "[{\"text\":\"a\"}]"), at(1, ""), "one JSON object a line");
    assert_fault(fault("x.jsonl", format!("{good}{good}{{\"text\":\"a\"")), at(3, ""), "EOF");
    assert_fault(fault("x.jsonl", "{\"text\":\"a\",\"label\":1} x"), at(1, ""), "trailing characters");
    let deep = format!("{{\"text\":\"a\",\"x\":{}", "[".repeat(100_000));
    assert_fault(fault("x.jsonl", deep), at(1, ""), "EOF");
}

#[test]
fn damaged_parquet_is_an_error_and_never_a_panic() {
    // What the `parquet` crate panics on is caught; its messages would only clutter the test's output.
    std::panic::set_hook(Box::new(|_| ()));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.parquet");
    write_parquet(&path, &[&[(1, Some(b"some text")), (2, Some(b"more text"))], &[(3, Some(b"end"))]]);
    let whole = std::fs::read(&path).unwrap();
    let good = rows(&source(&path, "text", None, Some("label"))).unwrap();
    for position in 0..whole.len() {
        for bits in [0x01, 0x80, 0xFF] {
            let mut damaged = whole.clone();
            damaged[position] ^= bits;
            std::fs::write(&path, &damaged).unwrap();
            // Parquet has no checksum here, so some damage reads as other rows; it must only end.
            if let Ok(rows) = rows(&source(&path, "text", None, Some("label"))) {
                assert!(rows.len() <= 3 * good.len(), "{position} {bits}");
            }
        }
        std::fs::write(&path, &whole[..position]).unwrap();
        assert!(rows(&source(&path, "text", None, Some("label"))).is_err(), "cut at {position}");
    }
}

#[test]
fn standard_input_is_read_like_a_file() {
    let table = Table {
        path: "standard input".into(),
        format: Format::JsonLines,
        header: true,
        columns: columns("text", None, None),
        conventions: Default::default(),
    };
    let mut texts = Vec::new();
    let content = "{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
    let mut rows = table.rows_from(content.as_bytes()).unwrap();
    while let Some(row) = rows.next_row().unwrap() {
        texts.push((row.text.to_owned(), row.position));
    }
    drop(rows);
    assert_eq!(texts, [("a".into(), 13), ("b".into(), 26)]);
    let parquet = Table { format: Format::Parquet, ..table };
    assert!(parquet.rows_from(&[][..]).err().unwrap().to_string().contains("stream"));
}

#[test]
fn the_real_files_have_as_many_rows_as_their_notice_says() {
    for (split, count) in [("train", 8066), ("dev", 1000), ("test", 1500)] {
        let rows = rows(&source(&fixtures::reviews(split), "text", None, Some("label"))).unwrap();
        assert_eq!(rows.len(), count);
        assert!(rows.iter().all(|row| matches!(row.label.as_deref(), Some("positive" | "negative"))));
    }
    let rows = rows(&source(&fixtures::snli("test"), "premise", Some("hypothesis"), Some("label"))).unwrap();
    assert_eq!(rows.len(), 9824);
}

#[test]
fn imdb_is_folders_of_texts() {
    let directory = TempDir::new().unwrap();
    for split in ["train", "test"] {
        for (folder, text) in [("neg", "awful"), ("pos", "fine")] {
            for i in [10, 2] {
                write(directory.path(), &format!("aclImdb/{split}/{folder}/{i}_7.txt"), format!("{text} {split} {i}"));
            }
        }
    }
    write(directory.path(), "aclImdb/train/unsup/0_0.txt", "unlabelled");
    write(directory.path(), "aclImdb/train/pos/urls.list", "not a text");
    let splits = Preset::Imdb.open(directory.path()).unwrap();
    let expected = [("awful", "neg", 10), ("awful", "neg", 2), ("fine", "pos", 10), ("fine", "pos", 2)];
    let expect =
        |split: &str| expected.map(|(text, label, i)| own(&format!("{text} {split} {i}"), None, Some(label), 1));
    assert_eq!(rows(&splits.train).unwrap(), expect("train"));
    assert_eq!(rows(&splits.tests[0].1).unwrap(), expect("test"));
    assert!(splits.dev.is_none() && splits.tests[0].0 == "test");
    assert_eq!(splits.labels.unwrap().names(), ["neg", "pos"]);
    // The folder itself is found as well as its parent.
    assert!(Preset::Imdb.open(&directory.path().join("aclImdb")).is_ok());
    write(directory.path(), "aclImdb/train/neg/3_1.txt", b"bad \xE9");
    let error = rows(&splits.train).unwrap_err().to_string();
    assert!(error.contains("3_1.txt, line 1") && error.contains("0xE9"), "{error}");
    std::fs::remove_dir_all(directory.path().join("aclImdb/test/pos")).unwrap();
    assert!(Preset::Imdb.open(directory.path()).unwrap_err().to_string().contains("pos"));
}

#[test]
fn topic_and_review_sets_are_headerless_csv() {
    let content = "\"3\",\"A \"\"title\"\"\",\"first\\nsecond\"\n\"1\",\"b\",\"c\"\n";
    let directory = TempDir::new().unwrap();
    for name in ["train.csv", "test.csv"] {
        write(directory.path(), name, content);
    }
    for preset in [Preset::AgNews, Preset::Dbpedia] {
        let splits = preset.open(directory.path()).unwrap();
        let expected = [own("A \"title\" first\nsecond", None, Some("3"), 1), own("b c", None, Some("1"), 2)];
        assert_eq!(rows(&splits.train).unwrap(), expected);
        assert!(splits.labels.is_none() && splits.dev.is_none());
    }
    write(directory.path(), "classes.txt", "World\nSports\nBusiness\nSci/Tech\n");
    let splits = Preset::AgNews.open(directory.path()).unwrap();
    let labels: Vec<_> = rows(&splits.tests[0].1).unwrap().into_iter().filter_map(|row| row.label).collect();
    assert_eq!(labels, ["Business", "World"]);
    assert_eq!(splits.labels.unwrap().names(), ["World", "Sports", "Business", "Sci/Tech"]);
    write(directory.path(), "classes.txt", "World\nSports\n");
    let error = rows(&Preset::AgNews.open(directory.path()).unwrap().train).unwrap_err();
    assert_fault(describe(error), at(1, "0"), "not a number from 1 to 2");
    for (preset, folder) in
        [(Preset::YelpPolarity, "yelp_review_polarity_csv"), (Preset::YelpFull, "yelp_review_full_csv")]
    {
        let directory = TempDir::new().unwrap();
        for name in ["train.csv", "test.csv"] {
            write(directory.path(), &format!("{folder}/{name}"), "\"2\",\"good\\n\\nfood\"\n\"1\",\"bad\\nfood\"\n");
        }
        let splits = preset.open(directory.path()).unwrap();
        let expected = [own("good\n\nfood", None, Some("2"), 1), own("bad\nfood", None, Some("1"), 2)];
        assert_eq!(rows(&splits.train).unwrap(), expected);
    }
}

#[test]
fn inference_sets_drop_pairs_without_a_gold_label() {
    let directory = TempDir::new().unwrap();
    let json = "{\"annotator_labels\":[\"neutral\"],\"gold_label\":\"neutral\",\"sentence1\":\"A.\",\"sentence1_parse\":\"(ROOT)\",\"sentence2\":\"B.\"}\n\
                {\"gold_label\":\"-\",\"sentence1\":\"C.\",\"sentence2\":\"D.\"}\n\
                {\"gold_label\":\"entailment\",\"sentence1\":\"E.\",\"sentence2\":\"F.\"}\n";
    let text = "gold_label\tsentence1_parse\tsentence1\tsentence2\tpairID\tlabel1\tlabel2\n\
                neutral\t(\")\tA.\tB.\t1\tneutral\n-\t()\tC.\tD.\t2\tx\ty\nentailment\t()\tE.\tF.\t3\tentailment\t\n";
    let glue = "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n\
                0\tx\tA.\tB.\tneutral\tneutral\n1\tx\tC.\tD.\tx\t-\n2\tx\tE.\tF.\ty\tentailment\n";
    let expected =
        |first| [own("A.", Some("B."), Some("neutral"), first), own("E.", Some("F."), Some("entailment"), first + 2)];
    for (extension, content, first) in [("txt", text, 2), ("jsonl", json, 1)] {
        for split in ["train", "dev", "test"] {
            write(directory.path(), &format!("snli_1.0/snli_1.0_{split}.{extension}"), content);
        }
        let splits = Preset::Snli.open(directory.path()).unwrap();
        assert_eq!(rows(&splits.train).unwrap(), expected(first));
        assert_eq!(rows(&splits.dev.unwrap().1).unwrap(), expected(first));
        assert_eq!(rows(&splits.tests[0].1).unwrap(), expected(first));
    }
    for (names, content, first) in
        [("MNLI/{}.tsv", glue, 2), ("multinli_1.0/multinli_1.0_{}.txt", text, 2), ("multinli_1.0_{}.jsonl", json, 1)]
    {
        let directory = TempDir::new().unwrap();
        for split in ["train", "dev_matched", "dev_mismatched"] {
            write(directory.path(), &names.replace("{}", split), content);
        }
        let splits = Preset::Mnli.open(directory.path()).unwrap();
        let (dev, test) = (splits.dev.unwrap(), &splits.tests[0]);
        assert_eq!((dev.0.as_str(), test.0.as_str()), ("dev_matched", "dev_mismatched"));
        assert!(dev.1.path().to_string_lossy().contains("dev_matched"));
        for source in [&splits.train, &dev.1, &test.1] {
            assert_eq!(rows(source).unwrap(), expected(first));
        }
    }
}

#[test]
fn a_preset_that_finds_nothing_says_what_it_looked_for() {
    let directory = TempDir::new().unwrap();
    for &preset in Preset::value_variants() {
        let name = preset.to_string();
        let error = preset.open(directory.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("preset {name} looks here")), "{error}");
        assert_eq!(name.parse::<Preset>().unwrap(), preset);
    }
    assert!("imbd".parse::<Preset>().unwrap_err().to_string().contains("imdb"));
}
