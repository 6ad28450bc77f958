//! `eval`: scores against a computation by hand, its JSON, and what it says of data it cannot use.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::*;

/// Texts with labels 0, 1, 2, 0, …, as CSV.
fn labelled(count: usize) -> (Vec<String>, Vec<usize>, String) {
    let texts = texts(count);
    let labels: Vec<usize> = (0..count).map(|i| i % 3).collect();
    let rows: String = texts.iter().zip(&labels).map(|(text, label)| format!("{text},LABEL_{label}\n")).collect();
    (texts, labels, format!("text,label\n{rows}"))
}

#[test]
fn scores_are_those_computed_by_hand() {
    let home = TempDir::new().unwrap();
    let (texts, labels, csv) = labelled(31);
    let data = write(home.path(), "test.csv", csv);
    let predictions = home.path().join("predictions.jsonl");
    let model = head64();
    let base = ["eval", "--model", str(&model), "--data", &data, "--json"];
    let found: Value = serde_json::from_str(&succeed(
        &[&base[..], &["--batch-size", "4", "--predictions", str(&predictions)]].concat(),
        "",
    ))
    .unwrap();

    let loaded = load(&model);
    let rows: Vec<Vec<f64>> = texts
        .iter()
        .map(|text| {
            let (ids, types) = ids(text, None);
            softmax(&logits(&loaded, &ids, &types))
        })
        .collect();
    let mut confusion = vec![vec![0u64; 3]; 3];
    rows.iter().zip(&labels).for_each(|(row, &label)| confusion[label][argmax(row)] += 1);
    let correct: u64 = (0..3).map(|i| confusion[i][i]).sum();
    let loss = rows.iter().zip(&labels).map(|(row, &label)| -row[label].ln()).sum::<f64>() / 31.0;
    assert_eq!(found["examples"], 31);
    assert_eq!(found["confusion"], json!(confusion));
    close(&[found["accuracy"].as_f64().unwrap()], &[correct as f64 / 31.0], 1e-12);
    close(&[found["loss"].as_f64().unwrap()], &[loss], 1e-6);
    for (i, class) in found["per_class"].as_array().unwrap().iter().enumerate() {
        assert_eq!(class["label"], format!("LABEL_{i}"));
        assert_eq!(class["support"], confusion[i].iter().sum::<u64>());
        let predicted: u64 = (0..3).map(|j| confusion[j][i]).sum();
        close(&[class["precision"].as_f64().unwrap()], &[confusion[i][i] as f64 / predicted.max(1) as f64], 1e-12);
    }

    let written = json_lines(&fs::read_to_string(&predictions).unwrap());
    assert_eq!(written.len(), 31);
    for ((line, row), label) in written.iter().zip(&rows).zip(&labels) {
        assert_eq!(line["truth"], format!("LABEL_{label}"));
        assert_eq!(line["label"], format!("LABEL_{}", argmax(row)));
        close(&[line["probability"].as_f64().unwrap()], &[row[argmax(row)]], 2e-6);
    }
}

#[test]
fn json_has_the_promised_fields_and_nothing_else() {
    let home = TempDir::new().unwrap();
    let data = write(home.path(), "test.csv", labelled(6).2);
    let found = succeed(&["eval", "--model", str(&head64()), "--data", &data, "--json"], "");
    assert_eq!(found.lines().count(), 1);
    let object: serde_json::Map<String, Value> = serde_json::from_str(&found).unwrap();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    let scores = ["accuracy", "macro_f1", "weighted_f1", "mcc", "loss", "ece", "examples", "per_class", "confusion"];
    assert_eq!(names, [&["model", "data", "device"][..], &scores].concat());
    assert!(scores[..6].iter().all(|name| object[*name].is_f64()));
}

#[test]
fn tables_are_for_people() {
    let home = TempDir::new().unwrap();
    let data = write(home.path(), "test.tsv", labelled(9).2.replace(',', "\t"));
    let found = succeed(&["eval", "--model", str(&head64()), "--data", &data], "");
    for part in ["9 examples", "macro-f1", "LABEL_2", "support", "true \\ predicted", "cpu ("] {
        assert!(found.contains(part), "no '{part}' in: {found}");
    }
}

#[test]
fn a_preset_is_read_as_it_is_distributed() {
    let home = TempDir::new().unwrap();
    let line = |label: &str| {
        json!({"gold_label": label, "sentence1": "w1 w2", "sentence2": "w3", "annotator_labels": ["x"]}).to_string()
    };
    let labels = ["entailment", "-", "neutral", "contradiction"];
    let rows: Vec<String> = labels.map(line).to_vec();
    for part in ["train", "dev"] {
        write(home.path(), &format!("snli_1.0_{part}.jsonl"), rows.join("\n"));
    }
    write(home.path(), "snli_1.0_test.jsonl", rows[..3].join("\n"));
    let model = variant(&head64(), &["contradiction", "entailment", "neutral"], 0.0, &home.path().join("m"));
    let data = str(home.path());
    let base = ["eval", "--model", str(&model), "--preset", "snli", "--data", data, "--json"];
    let examples = |extra: &[&str]| -> Value {
        let text = succeed(&[&base[..], extra].concat(), "");
        serde_json::from_str::<Value>(&text).unwrap()["examples"].clone()
    };
    assert_eq!(examples(&[]), 2);
    assert_eq!(examples(&["--split", "test"]), 2);
    assert_eq!(examples(&["--split", "dev"]), 3);
    fail(2, &["split", "'validation'", "train, dev, test"], &[&base[..], &["--split", "validation"]].concat(), "");
    fail(2, &["--preset"], &["eval", "--model", "m", "--data", data, "--split", "dev"], "");
}

#[test]
fn data_that_cannot_be_used_is_named_with_its_place() {
    let home = TempDir::new().unwrap();
    let model = str(&head64()).to_owned();
    let check = |name: &str, content: &[u8], parts: &[&str]| {
        let data = write(home.path(), name, content);
        fail(3, &[&[name][..], parts].concat(), &["eval", "--model", &model, "--data", &data], "");
    };
    check("unseen.csv", b"text,label\nw1,LABEL_0\nw2,LABEL_7\n", &["line 3", "'LABEL_7'"]);
    check("column.csv", b"sentence,label\nw1,LABEL_0\n", &["column 'text'"]);
    check("label.csv", b"text,labels\nw1,LABEL_0\n", &["column 'label'", "did you mean 'labels'?"]);
    check("empty.csv", b"", &["empty"]);
    check("header.csv", b"text,label\n", &["no rows"]);
    check("bytes.csv", b"text,label\nw1,LABEL_0\nw\xE9,LABEL_0\n", &["line 3", "UTF-8"]);
    check("short.csv", b"text,label\nw1,LABEL_0\nw2\n", &["line 3"]);
    let data = write(home.path(), "data.csv", "text,label\nw1,LABEL_0\n");
    let args = ["eval", "--model", &model, "--data", &data, "--predictions", &data];
    fail(2, &["data.csv", "what is read"], &args, "");
    // A directory is the files in it, in the order of their names.
    fail(3, &["bytes.csv", "UTF-8"], &["eval", "--model", &model, "--data", str(home.path()), "--format", "csv"], "");
    let gone = home.path().join("gone.csv");
    fail(3, &["gone.csv"], &["eval", "--model", &model, "--data", str(&gone)], "");
    let good = write(home.path(), "good.csv", "text,label\nw1,LABEL_0\n");
    fail(3, &["gone"], &["eval", "--model", str(&home.path().join("gone")), "--data", &good], "");
    fail(2, &["--model"], &["eval", "--data", &good], "");
    let nowhere = home.path().join("no/out.csv");
    let args = ["eval", "--model", &model, "--data", &good, "--predictions", str(&nowhere)];
    fail(3, &["no/out.csv"], &args, "");
}

#[test]
fn a_run_without_a_model_says_how_to_finish_it() {
    let home = TempDir::new().unwrap();
    write(home.path(), "run.toml", "");
    let data = write(home.path(), "good.csv", "text,label\nw1,LABEL_0\n");
    let args = ["eval", "--model", str(home.path()), "--data", &data];
    fail(3, &["no model yet", "train --resume"], &args, "");
}

#[test]
fn an_old_setting_that_is_no_setting_is_refused() {
    let home = TempDir::new().unwrap();
    let mut model = load(&head64());
    model.raw.insert("bertsd_cuda".into(), json!({"max_length": "many"}));
    model.save(&home.path().join("m"), &model.weights).unwrap();
    let data = write(home.path(), "good.csv", "text,label\nw1,LABEL_0\n");
    let directory = home.path().join("m");
    fail(3, &["config.json", "bertsd_cuda"], &["eval", "--model", str(&directory), "--data", &data], "");
}
