//! What a checkpoint says of its classes and its tokenizer, through a run and into what it exports.

use std::{fs, path::Path};

use bertsd_cuda::model::Model;
use serde_json::{Value, json};

use crate::commands::support::{fail, json_lines, load, str, succeed};
use crate::runs::{Toy, golden_model, succeed as finish};

/// The golden model as a classifier of these classes, its rows in this order, in `toy`'s directory `name`.
fn classifier(toy: &Toy, name: &str, labels: [&str; 2], order: [usize; 2]) {
    let mut model: Model = load(&golden_model());
    model.labels = labels.map(str::to_owned).to_vec();
    model.reorder_classes(&order);
    model.save(&toy.path(name), &model.weights).unwrap();
}

fn settings(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("tokenizer_config.json")).unwrap()).unwrap()
}

#[test]
fn a_classifier_with_its_classes_in_another_order_trains_the_same() {
    let toy = Toy::new();
    classifier(&toy, "straight", ["neg", "pos"], [0, 1]);
    classifier(&toy, "turned", ["Pos", "Neg"], [1, 0]);
    let straight = toy.run("a", "--model straight --max-steps 3");
    let turned = toy.run("b", "--model turned --max-steps 3");
    turned.assert_same(&straight, "classes in another order");
    let output = toy.start("--model turned --max-steps 1 --out c").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("its rows in the order of the names here: neg, pos (there Pos, Neg)"), "{said}");
}

#[test]
fn labels_of_the_data_find_the_classes_of_a_model_case_and_spaces_aside() {
    let toy = Toy::new();
    classifier(&toy, "m", ["neg", "pos"], [0, 1]);
    let rows = fs::read_to_string(toy.path("dev.csv")).unwrap();
    toy.write("other.csv", &rows.replace(",neg", ",NEG").replace(",pos", ",P os"));
    let eval = |data: &str| {
        let (model, data) = (toy.path("m"), toy.path(data));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
        let output = command.args(["eval", "--json", "--model", str(&model), "--data", str(&data)]).output().unwrap();
        let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
        (scores["accuracy"].clone(), String::from_utf8(output.stderr).unwrap())
    };
    let ((same, nothing), (other, said)) = (eval("dev.csv"), eval("other.csv"));
    assert_eq!(other, same);
    assert!(!nothing.contains("case and spaces aside"), "{nothing}");
    assert_eq!(
        said.matches("the labels are matched with the model's classes case and spaces aside").count(),
        1,
        "{said}"
    );
    toy.write("third.csv", &rows.replace(",neg", ",bad"));
    let (model, third) = (toy.path("m"), toy.path("third.csv"));
    fail(3, &["'bad' does not occur in training"], &["eval", "--model", str(&model), "--data", str(&third)], "");
}

#[test]
fn what_is_exported_says_how_long_and_from_which_side_it_was_cut() {
    let toy = Toy::new();
    let run = |out: &str, arguments: &str| {
        finish(toy.start(&format!("--max-steps 1 {arguments} --out {out}")).args(["--method", "ft"]));
        toy.path(out).join("model")
    };
    let model = run("tail", "--max-length 8 --truncate tail");
    let said = settings(&model);
    assert_eq!((&said["model_max_length"], &said["truncation_side"]), (&json!(8), &json!("left")));
    assert_eq!((&said["do_lower_case"], &said["cls_token"]), (&json!(true), &json!("[CLS]")));
    let json: Value = serde_json::from_slice(&fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
    assert_eq!((&json["truncation"]["max_length"], &json["truncation"]["direction"]), (&json!(8), &json!("Left")));

    // What other programs leave in config.json is not needed for that.
    let ids = |model: &Path| {
        let text = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12\n";
        let args = ["predict", "--model", str(model), "--input-ids", "--output-format", "jsonl", "--format", "lines"];
        json_lines(&succeed(&args, text))[0]["input_ids"].clone()
    };
    let kept = ids(&model);
    assert_eq!(kept.as_array().unwrap().len(), 8);
    let path = model.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("bertsd_cuda").unwrap();
    fs::write(&path, config.to_string()).unwrap();
    assert_eq!(ids(&model), kept);

    // And a length that the model's files say is the one to train with, where the user says none; of the side it is said
    // that it is not.
    let again = toy.start(&format!("--max-steps 1 --method ft --model {} --out again", str(&model))).output().unwrap();
    let text = String::from_utf8(again.stderr).unwrap();
    let note = "the model's files say that the end of a long text stays; --truncate head keeps the start";
    assert!(again.status.success() && text.contains(note), "{text}");
    assert_eq!(settings(&toy.path("again/model"))["model_max_length"], json!(8));
}
