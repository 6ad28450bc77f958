//! `predict`: every text's answer, in order, whatever the chunks, the formats and the ends of the pipes.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::*;

#[test]
fn lines_from_standard_input_are_answered_in_order() {
    let model = str(&head64()).to_owned();
    let found = succeed(&["predict", "--model", &model], "w1 w2 w3\nw200\n\nw9 w8");
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[0], "label,probability,probability_LABEL_0,probability_LABEL_1,probability_LABEL_2");
    assert_eq!(lines.len(), 5, "{found}");
    let loaded = load(&head64());
    for (line, text) in lines[1..].iter().zip(["w1 w2 w3", "w200", "", "w9 w8"]) {
        let (ids, types) = ids(text, None);
        let expected = softmax(&logits(&loaded, &ids, &types));
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], format!("LABEL_{}", argmax(&expected)));
        let numbers: Vec<f64> = cells[1..].iter().map(|cell| cell.parse().unwrap()).collect();
        close(&numbers[1..], &expected, 2e-6);
        assert_eq!(numbers[0], numbers[1 + argmax(&expected)]);
    }
}

#[test]
fn order_and_values_do_not_depend_on_chunks_and_batches() {
    let home = TempDir::new().unwrap();
    let texts = texts(53);
    let rows: Vec<String> = texts.iter().map(|text| json!({"id": 1, "sentence": text}).to_string()).collect();
    let input = write(home.path(), "in.jsonl", rows.join("\n"));
    let loaded = load(&head32());
    for extra in [
        &["--chunk", "7", "--batch-size", "3"][..],
        &["--chunk", "1"],
        &["--batch-size", "100", "--max-tokens", "5"],
        &["--threads", "1"],
        &[],
    ] {
        let output = home.path().join("out.jsonl");
        let mut args =
            vec!["predict", "--model", "", "--input", &input, "--text", "sentence", "--output", str(&output)];
        let model = head32();
        args[2] = str(&model);
        args.extend(["--logits", "--input-ids", "--echo", "--probabilities", "all"]);
        args.extend(extra);
        assert_eq!(succeed(&args, ""), "");
        let found = json_lines(&fs::read_to_string(&output).unwrap());
        assert_eq!(found.len(), texts.len());
        for (line, text) in found.iter().zip(&texts) {
            let (ids, types) = ids(text, None);
            let expected = logits(&loaded, &ids, &types);
            assert_eq!(line["text"], Value::from(text.as_str()));
            assert_eq!(line["input_ids"], Value::from(ids));
            close(&floats(&line["logits"]), &expected, 2e-6);
            let probabilities = [&line["probabilities"]["LABEL_0"], &line["probabilities"]["LABEL_1"]];
            close(&probabilities.map(|p| p.as_f64().unwrap()), &softmax(&expected), 2e-6);
            assert_eq!(line["label"], format!("LABEL_{}", argmax(&expected)));
        }
    }
}

#[test]
fn pairs_are_read_from_columns_and_from_lines_with_a_tab() {
    let home = TempDir::new().unwrap();
    let csv = write(home.path(), "in.csv", "a,b\n\"w1 w2\",w3\nw4,\"w5 w6\"\n");
    let model = str(&head64()).to_owned();
    let base = ["predict", "--model", &model, "--output-format", "jsonl", "--logits", "--text-pair", "b"];
    let from_csv = succeed(&[&base[..], &["--text", "a", "--input", &csv]].concat(), "");
    let from_lines = succeed(&base, "w1 w2\tw3\nw4\tw5 w6\n");
    assert_eq!(from_csv, from_lines);
    let loaded = load(&head64());
    for (line, (text, pair)) in json_lines(&from_csv).iter().zip([("w1 w2", "w3"), ("w4", "w5 w6")]) {
        let (ids, types) = ids(text, Some(pair));
        close(&floats(&line["logits"]), &logits(&loaded, &ids, &types), 2e-6);
    }
    fail(3, &["standard input, line 2", "tab"], &base, "w1\tw2\nw3\n");
}

#[test]
fn settings_of_training_are_defaults_and_options_win() {
    let home = TempDir::new().unwrap();
    let mut trained = load(&head32());
    let settings = json!({"text": ["sentence"], "text_pair": null, "label": "y", "max_length": 4, "truncate": "tail"});
    trained.raw.insert("bertsd_cuda".into(), settings);
    // As a run leaves it.
    trained.save(&home.path().join("model"), &trained.weights).unwrap();
    let input = write(home.path(), "in.csv", "sentence,other\nw1 w2 w3 w4,w9\n");
    let ids_with = |extra: &[&str]| {
        let args = ["predict", "--model", str(home.path()), "--input", &input, "--output-format", "jsonl"];
        let found = succeed(&[&args[..], &["--input-ids"], extra].concat(), "");
        json_lines(&found)[0]["input_ids"].clone()
    };
    assert_eq!(ids_with(&[]), json!([2, 8, 9, 3]));
    assert_eq!(ids_with(&["--max-length", "5", "--truncate", "head"]), json!([2, 6, 7, 8, 3]));
    assert_eq!(ids_with(&["--text", "other"]), json!([2, 14, 3]));
    assert_eq!(ids_with(&["--text", "other", "--text", "sentence"]), json!([2, 8, 9, 3]));
}

#[test]
fn formats_quote_what_they_must() {
    let model = str(&head32()).to_owned();
    let base = ["predict", "--model", &model, "--echo", "--probabilities", "top"];
    let csv = succeed(&base, "w1, \"w2\"\n");
    assert!(csv.starts_with("text,label,probability\n\"w1, \"\"w2\"\"\",LABEL_"), "{csv}");
    let tsv = succeed(&[&base[..], &["--output-format", "tsv"]].concat(), "w1\tw2\n");
    assert!(tsv.starts_with("text\tlabel\tprobability\nw1 w2\tLABEL_"), "{tsv}");
    fail(2, &["input-ids", "jsonl"], &["predict", "--model", &model, "--input-ids"], "w1\n");
}

#[test]
fn columns_of_the_input_are_kept() {
    let model = str(&head32()).to_owned();
    let base = ["predict", "--model", &model, "--probabilities", "top", "--keep", "id", "--keep", "note"];
    let csv = [&base[..], &["--format", "csv"]].concat();
    let found = succeed(&csv, "note,id,text\n\"a,b\",7,w1\n,x8,w2 w3\n");
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[0], "id,note,label,probability");
    assert!(lines[1].starts_with("7,\"a,b\",LABEL_") && lines[2].starts_with("x8,,LABEL_"), "{found}");
    let jsonl = [&base[..], &["--format", "jsonl", "--output-format", "jsonl", "--echo"]].concat();
    let found =
        succeed(&jsonl, "{\"text\":\"w1\",\"id\":7,\"note\":\"n\"}\n{\"note\":\"\",\"id\":8,\"text\":\"w2\"}\n");
    let ids: Vec<_> =
        json_lines(&found).iter().map(|line| [&line["id"], &line["note"], &line["text"]].map(Clone::clone)).collect();
    assert_eq!(json!(ids), json!([["7", "n", "w1"], ["8", "", "w2"]]));
    fail(3, &["column 'id'"], &csv, "note,text\na,w1\n");
    fail(2, &["keep", "--format"], &base, "w1\n");
    // A name that the answers use themselves is told from theirs.
    let base = ["predict", "--model", &model, "--keep", "label", "--keep", "text", "--keep", "label"];
    let csv = [&base[..], &["--format", "csv", "--probabilities", "top"]].concat();
    let found = succeed(&csv, "text,label\nw1,a\n");
    assert!(found.starts_with("label_input,text,label_input_input,label,probability\na,w1,a,LABEL_"), "{found}");
    let jsonl = [&csv[..], &["--echo", "--output-format", "jsonl"]].concat();
    let found = &json_lines(&succeed(&jsonl, "text,label\nw1,a\n"))[0];
    assert_eq!(
        (&found["label_input"], &found["text_input"], &found["text"]),
        (&json!("a"), &json!("w1"), &json!("w1"))
    );
}

#[test]
fn columns_of_any_type_are_kept_as_they_are() {
    let model = str(&head32()).to_owned();
    let base = ["predict", "--model", &model, "--probabilities", "top", "--format", "jsonl", "--keep", "x"];
    let input = "{\"text\":\"w1\",\"x\":1.50}\n{\"text\":\"w1\",\"x\":null}\n{\"text\":\"w1\",\"x\":[1, \"a\"]}\n";
    let found = succeed(&base, input);
    let cells: Vec<&str> = found.lines().map(|line| line.split(",LABEL_").next().unwrap()).collect();
    assert_eq!(cells[1..], ["1.50", "", "\"[1, \"\"a\"\"]\""]);
}

#[test]
fn several_files_compressed_ones_and_bad_rows_are_read_as_in_training() {
    let home = TempDir::new().unwrap();
    let model = str(&head32()).to_owned();
    fs::create_dir(home.path().join("in")).unwrap();
    let one = write(home.path(), "in/1.csv", "id;text\na;w1\nb\nc;w2\n");
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(b"text,id\nw3,d\n").unwrap();
    let two = write(home.path(), "in/2.csv.gz", writer.finish().unwrap());
    let base = ["predict", "--model", &model, "--keep", "id", "--probabilities", "top", "--bad-rows", "skip"];
    let directory = str(&home.path().join("in")).to_owned();
    let pattern = str(&home.path().join("in/*.csv*")).to_owned();
    for inputs in [vec!["--input", &one, "--input", &two], vec!["--input", &directory], vec!["--input", &pattern]] {
        let output = run(&[&base[..], &inputs].concat(), "");
        let (out, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let ids: Vec<&str> = out.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(ids, ["a", "c", "d"], "{errors}");
        assert!(errors.contains("1.csv: its first line shows that ';' separates the columns"), "{errors}");
        assert!(
            errors.contains("1.csv, line 3: the row has 1 column")
                && errors.contains("1 row that cannot be read is skipped")
        );
    }
    fail(3, &["1.csv, line 3"], &[&base[..7], &["--input", &one]].concat(), "");
    fail(2, &["1.csv", "what is read"], &[&base[..], &["--input", &directory, "--output", &one]].concat(), "");
}

#[test]
fn an_output_file_appears_only_when_it_is_complete() {
    let home = TempDir::new().unwrap();
    let output = write(home.path(), "out.csv", "what was there");
    let model = str(&head32()).to_owned();
    let args = ["predict", "--model", &model, "--chunk", "1", "--output", &output];
    fail(3, &["standard input, line 3", "UTF-8"], &args, b"w1\nw2\n\xFF\xC3\n".to_vec());
    assert_eq!(fs::read_to_string(&output).unwrap(), "what was there");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left over");
    fail(2, &["out.csv", "what is read"], &[&args[..], &["--input", &output]].concat(), "");
    assert_eq!(fs::read_to_string(&output).unwrap(), "what was there");
    succeed(&args, "w1\nw2\n");
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 3);
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let home = TempDir::new().unwrap();
    let model = str(&head32()).to_owned();
    let base = ["predict", "--model", &model];
    let with = |extra: &[&'static str]| [&base[..], extra].concat();
    let nowhere = home.path().join("no/such/out.csv");
    fail(3, &["no/such/out.csv"], &[&base[..], &["--output", str(&nowhere)]].concat(), "w1\n");
    fail(
        1,
        &["cannot write /dev/full: No space left on device (os error 28)\n"],
        &with(&["--output", "/dev/full"]),
        "w1\n",
    );
    fail(3, &["no such directory"], &["predict", "--model", str(&home.path().join("gone"))], "w1\n");
    fail(3, &["config.json"], &["predict", "--model", str(home.path())], "w1\n");
    fail(3, &["standard input", "no text"], &base, "");
    fail(3, &["gone.csv"], &with(&["--input", "gone.csv"]), "");
    fail(3, &["--format"], &with(&["--input", "in.dat"]), "");
    fail(3, &["column 'text'", "'sentence'"], &with(&["--format", "csv"]), "sentence\nw1\n");
    fail(2, &["--device", "auto, cpu, cuda, cuda:N"], &with(&["--device", "tpu"]), "w1\n");
    fail(1, &["cuda:0", "--device cpu"], &with(&["--device", "cuda"]), "w1\n");
    fail(2, &["max-length", "64"], &with(&["--max-length", "65"]), "w1\n");
    fail(2, &["--batch-size", "at least 1"], &with(&["--batch-size", "0"]), "w1\n");
}

/// With `--chunk 1` an answer comes before the next text is asked for; and when nobody reads on, the command ends
/// quietly.
#[test]
fn a_conversation_over_pipes_and_its_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"))
        .args(["predict", "--model", str(&head32()), "--chunk", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    ask.write_all(b"w1\n").unwrap();
    answers.read_line(&mut line).unwrap();
    assert_eq!(line, "label,probability,probability_LABEL_0,probability_LABEL_1\n");
    for text in ["w2 w3\n", "w4\n"] {
        line.clear();
        answers.read_line(&mut line).unwrap();
        assert!(line.starts_with("LABEL_"), "{line}");
        ask.write_all(text.as_bytes()).unwrap();
    }
    drop(answers);
    // Enough to fill every buffer on the way; the command may be gone before all of it is written.
    let _ = ask.write_all("w5 w6\n".repeat(500).as_bytes());
    drop(ask);
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}
