//! Tables whose columns are separated by something else than their format says.

use bertsd_cuda::{
    Error, Fault,
    data::{Columns, Conventions, Source, Table},
};
use tempfile::TempDir;

use super::fixtures::{OwnRow, columns, own, write};

/// Rows and remarks of a file.
fn read(name: &str, content: &str, change: impl Fn(&mut Table)) -> Result<(Vec<OwnRow>, Vec<String>), Error> {
    let home = TempDir::new().unwrap();
    let mut table = Table::new(write(home.path(), name, content), columns("text", None, Some("label"))).unwrap();
    change(&mut table);
    let source = Source::from(table);
    let (mut rows, mut found) = (source.rows()?, Vec::new());
    while let Some(row) = rows.next_row()? {
        found.push(own(row.text, row.pair, row.label, row.line));
    }
    Ok((found, rows.remarks().describe("x", &[name.as_ref()])))
}

fn as_it_is(_: &mut Table) {}

fn expected(first_line: u64) -> [OwnRow; 2] {
    [own("a, b", None, Some("pos"), first_line), own("c", None, Some("neg"), first_line + 1)]
}

#[test]
fn a_header_that_shows_one_column_is_cut_by_what_is_in_it() {
    for (name, content, delimiter) in [
        ("x.csv", "text;label\n\"a, b\";pos\nc;neg\n", ";"),
        ("x.csv", "\u{FEFF}text;label\r\na, b;pos\r\n\"c\";neg\r\n", ";"),
        ("x.csv", "\"text\";\"label\"\n\"a, b\";\"pos\"\n\"c\";\"neg\"\n", ";"),
        ("x.csv", "text\tlabel\na, b\tpos\nc\tneg\n", "tab"),
        ("x.csv", "label|text\npos|a, b\nneg|c\n", "|"),
        ("x.tsv", "text;label\n\"a, b\";pos\nc;neg\n", ";"),
        ("x.tsv", "text,label\n\"a, b\",pos\nc,neg\n", ","),
    ] {
        let (rows, remarks) = read(name, content, as_it_is).unwrap();
        assert_eq!(rows, expected(2), "{content}");
        let remark = format!("{name}: its first line shows that '{delimiter}' separates the columns (--delimiter)");
        assert_eq!(remarks, [remark]);
    }
}

#[test]
fn a_spreadsheets_own_declaration_is_taken() {
    for delimiter in [";", "|", "~"] {
        let content = "sep=;\r\ntext;label\r\na, b;pos\r\nc;neg\r\n".replace(';', delimiter);
        let (rows, remarks) = read("x.csv", &content, as_it_is).unwrap();
        assert_eq!((rows, remarks.len()), (expected(3).to_vec(), 1), "{content}");
    }
    let (rows, remarks) = read("x.csv", "sep=,\ntext,label\n\"a, b\",pos\nc,neg\n", as_it_is).unwrap();
    assert_eq!((rows, remarks.len()), (expected(3).to_vec(), 0));
}

#[test]
fn a_delimiter_that_is_given_holds() {
    let with = |delimiter: &str| {
        let delimiter = Some(delimiter.parse().unwrap());
        move |table: &mut Table| table.conventions = Conventions { delimiter, ..Conventions::default() }
    };
    for (name, content, delimiter) in [
        ("x.csv", "text;label\n\"a, b\";pos\nc;neg\n", ";"),
        ("x.csv", "text label\n\"a, b\" pos\nc neg\n", " "),
        ("x.csv", "text\tlabel\n\"a, b\"\tpos\nc\tneg\n", "tab"),
        ("x.tsv", "text:label\na, b:pos\nc:neg\n", ":"),
    ] {
        let (rows, remarks) = read(name, content, with(delimiter)).unwrap();
        assert_eq!((rows, remarks.len()), (expected(2).to_vec(), 0), "{content}");
    }
    let error = read("x.csv", "text;label\na;pos\n", with("|")).unwrap_err().to_string();
    assert!(error.contains("no such column; there are 'text;label'"), "{error}");
}

#[test]
fn a_single_column_stays_one() {
    let only_text = |table: &mut Table| table.columns = Columns::new("text", None, None);
    let (rows, remarks) = read("x.csv", "text\none; two\n\"three, four\"\n", only_text).unwrap();
    assert_eq!(rows, [own("one; two", None, None, 2), own("three, four", None, None, 3)]);
    assert!(remarks.is_empty());
    // The name of the column holds what could be a delimiter.
    let odd = |table: &mut Table| table.columns = Columns::new("text;more", None, None);
    let (rows, _) = read("x.csv", "\"text;more\"\none\n", odd).unwrap();
    assert_eq!(rows, [own("one", None, None, 2)]);
    let headerless = |table: &mut Table| {
        table.header = false;
        table.columns = Columns::new("0", None, None);
    };
    let (rows, remarks) = read("x.csv", "one; two\nthree\n", headerless).unwrap();
    assert_eq!((rows.len(), remarks.len()), (2, 0));
}

#[test]
fn files_without_a_header_are_recognised_by_their_first_row() {
    let by_number = |table: &mut Table| {
        table.header = false;
        table.columns = Columns::new("0", None, Some("1".into()));
    };
    let (rows, remarks) = read("x.csv", "a b;pos\nc;neg\n", by_number).unwrap();
    assert_eq!((rows, remarks.len()), (vec![own("a b", None, Some("pos"), 1), own("c", None, Some("neg"), 2)], 1));
}

#[test]
fn a_column_that_is_not_there_is_looked_for_among_those_that_are() {
    let error = read("x.csv", "Text;label\na;pos\n", as_it_is).unwrap_err();
    assert_eq!(error.fault(), Fault::Data);
    let expected = "column 'text': no such column; there are 'Text', 'label'; did you mean 'Text'?";
    assert!(error.to_string().contains(expected), "{error}");
}
