//! Data as it really comes, through the whole program: what a run says of its labels, what it leaves out, what it
//! refuses; and that
//! `eval` and `ensemble` read the same files in the same way.

use std::{
    fs,
    io::Write,
    process::{Command, Output},
};

use serde_json::Value;

use crate::runs::{Toy, refuse, rows_of, stderr, succeed};

/// Another command than `train`, with these words.
fn other(toy: &Toy, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    command.current_dir(toy.home.path()).env("HF_HUB_OFFLINE", "1").args(words);
    command
}

/// A run with options in pairs. What the toy would add of its own is left out where it is among them.
fn start(toy: &Toy, arguments: &str, pairs: &[&str]) -> Command {
    let own = |pair: &&[&str]| ["--train", "--token-cache"].contains(&pair[0]);
    let (own, others): (Vec<&[&str]>, Vec<&[&str]>) = pairs.chunks(2).partition(own);
    let mut command = toy.start(&format!("{arguments} {}", own.concat().join(" ")));
    command.args(others.concat());
    command
}

/// A run of a single step, and what it says.
#[track_caller]
fn step(toy: &Toy, pairs: &[&str]) -> String {
    stderr(&succeed(&mut start(toy, "--max-steps 1 --overwrite --out run", pairs)))
}

fn classes(toy: &Toy) -> Value {
    let config = fs::read(toy.path("run/model/config.json")).unwrap();
    serde_json::from_slice::<Value>(&config).unwrap()["id2label"].clone()
}

fn examples(output: &Output) -> u64 {
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["examples"].as_u64().unwrap()
}

/// The toy's rows with other labels.
fn relabelled(names: [&str; 2]) -> String {
    rows_of(96, 96).replace(",neg", &format!(",{}", names[0])).replace(",pos", &format!(",{}", names[1]))
}

#[test]
fn a_run_lists_its_labels_and_what_is_odd_about_them() {
    let toy = Toy::new();
    let said = step(&toy, &["--dev", "dev.csv"]);
    assert!(said.contains("\nlabels 2: neg 48, pos 48\n"), "{said}");
    // What is kept for development is not trained on.
    assert!(step(&toy, &["--dev-fraction", "0.25"]).contains("\nlabels 2: neg 36, pos 36\n"));
    toy.write("odd.csv", "text,label\nw1,pos\nw2,neg\nw3,neg \nw4,NEG\nw5,nan\nw6,pos\n");
    let said = step(&toy, &["--train", "odd.csv"]);
    for part in [
        "labels 5: NEG 1, nan 1, neg 1, 'neg ' 1, pos 2\n",
        "note: labels that differ only by case or white space are classes of their own: 'NEG', 'neg', 'neg '; to make them \
         one, give --label-map '",
        "note: 'nan' (1) may stand for a missing label; rows that have none are left out with --ignore-label nan\n",
        "note: 4 classes have one example only: 'NEG', 'nan', 'neg', 'neg '\n",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let advice = said.split("--label-map '").nth(1).unwrap().split('\'').next().unwrap();
    let said = step(&toy, &["--train", "odd.csv", "--label-map", advice, "--ignore-label", "nan"]);
    assert!(said.contains("labels 2: ") && said.contains("odd.csv: 1 row with the label 'nan' left out\n"), "{said}");
    toy.write("ids.csv", "text,label\nw1,a\nw2,b\nw3,c\n");
    let said = step(&toy, &["--train", "ids.csv"]);
    assert!(said.contains("note: there are as many classes as examples (3); is the label column right?"), "{said}");
    // The cache tells it all again.
    let cached = ["--train", "odd.csv", "--ignore-label", "nan", "--token-cache", "cache"];
    let (first, second) = (step(&toy, &cached), step(&toy, &cached));
    assert!(second.contains("from the cache"));
    for said in [first, second] {
        assert!(said.contains("1 row with the label 'nan' left out") && said.contains("labels 4: "), "{said}");
    }
}

#[test]
fn scores_are_refused_before_anything_is_trained() {
    let toy = Toy::new();
    let rows: String = (0..24).map(|i| format!("sentence {i},{:.3}\n", f64::from(i) * 0.2083)).collect();
    toy.write("scores.csv", &format!("text,label\n{rows}"));
    let parts =
        ["scores.csv, line 3, column 'label': the label '0.208'", "scores are no classes", "--label-map 0.208=NAME"];
    refuse(&mut start(&toy, "--out new", &["--train", "scores.csv"]), 3, &parts);
    refuse(&mut start(&toy, "--out new", &["--train", "scores.csv", "--bad-rows", "skip"]), 3, &parts);
    assert!(!toy.path("new").exists());
}

#[test]
fn numbers_get_names_and_rows_without_a_label_are_left_out_everywhere() {
    let toy = Toy::new();
    toy.write("train.csv", &(relabelled(["1.0", "0.0"]) + "w1 w2,-1\nw3,-1\n"));
    toy.write("dev.csv", "text,label\nw0 w5,1\nw1 w6,0\nw9,-1\n");
    let options = ["--dev", "dev.csv", "--ignore-label", "-1", "--label-map", "1=negative,0=positive"];
    let said = step(&toy, &options);
    assert!(said.contains("labels 2: negative 48, positive 48\n"), "{said}");
    assert!(said.contains("train.csv: 2 rows with the label '-1' left out"), "{said}");
    assert_eq!(classes(&toy), serde_json::json!({"0": "negative", "1": "positive"}));
    // The model knows it; so does whoever repeats the run or goes on with it.
    let eval = ["eval", "--model", "run", "--data", "dev.csv", "--json"];
    let scored = succeed(&mut other(&toy, &eval));
    assert_eq!(examples(&scored), 2);
    assert!(stderr(&scored).contains("dev.csv: 1 row with the label '-1' left out"));
    let vote = ["ensemble", "--method", "vote", "run", "run", "--data", "dev.csv", "--json"];
    assert_eq!(examples(&succeed(&mut other(&toy, &vote))), 2);
    succeed(&mut toy.command("--config run/run.toml --out again"));
    toy.result("again").assert_same(&toy.result("run"), "repeated by its run.toml");
    // What is given wins over what was trained with.
    toy.write("words.csv", "text,label\nw0 w5,n\nw1 w6,p\nw9,?\n");
    let words = ["--data", "words.csv", "--label-map", "n=negative,p=positive", "--ignore-label", "?", "--json"];
    assert_eq!(examples(&succeed(&mut other(&toy, &[&["eval", "--model", "run"], &words[..]].concat()))), 2);
    let plain = ["eval", "--model", "run", "--data", "words.csv"];
    refuse(&mut other(&toy, &plain), 3, &["words.csv, line 2: the label 'n' does not occur", "'negative', 'positive'"]);
}

/// A name for a label that is written otherwise, or in another file.
#[test]
fn names_for_labels_that_no_row_has_are_noticed() {
    let toy = Toy::new();
    let map = ["--label-map", "neg=bad,pos=good,Neutral=so so", "--token-cache", "cache"];
    let expected = "note: train.csv: no row has the label 'Neutral', which --label-map calls 'so so'\n";
    for said in [step(&toy, &map), step(&toy, &map)] {
        assert!(said.contains(expected) && said.contains("labels 2: bad 48, good 48\n"), "{said}");
    }
    // Of several files one may have it, and dev need not.
    toy.write("more.csv", "text,label\nw5,Neutral\nw6,Neutral\n");
    let said = step(&toy, &[&map[..], &["--train", "train.csv", "--train", "more.csv", "--dev", "dev.csv"]].concat());
    assert!(!said.contains("no row has") && said.contains("labels 3: "), "{said}");
}

#[test]
fn files_of_every_kind_train_the_same_model() {
    let toy = Toy::new();
    let csv = rows_of(96, 96);
    let (head, tail) = csv.split_at(csv[..csv.len() / 2].rfind('\n').unwrap() + 1);
    let tail = format!("text,label\n{tail}");
    let zipped = |text: &str| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap()
    };
    fs::create_dir(toy.path("shards")).unwrap();
    toy.write("shards/train-0.csv", head);
    toy.write("shards/train-1.csv.zst", &zstd::encode_all(tail.as_bytes(), 3).unwrap());
    toy.write("train.csv.gz", &zipped(&csv));
    toy.write("semicolons.csv", &csv.replace(',', ";"));
    toy.write("tabs.csv", &csv.replace(',', "\t"));
    toy.write("colons.csv", &csv.replace(',', ":"));
    let expected = toy.run("expected", "--max-steps 3");
    for words in [
        vec!["--train", "train.csv.gz"],
        vec!["--train", "semicolons.csv"],
        vec!["--train", "tabs.csv"],
        vec!["--train", "colons.csv", "--delimiter", ":"],
        vec!["--train", "shards"],
        vec!["--train", "shards/train-*"],
        vec!["--train", "shards/train-0.csv", "--train", "shards/train-1.csv.zst"],
    ] {
        succeed(&mut start(&toy, "--max-steps 3 --overwrite --out run", &words));
        toy.result("run").assert_same(&expected, &words.join(" "));
    }
    let said = step(&toy, &["--train", "semicolons.csv"]);
    assert!(said.contains("note: semicolons.csv: its first line shows that ';' separates the columns"), "{said}");
    toy.write("cut.csv.gz", &zipped(&csv)[..200]);
    let parts = ["cut.csv.gz: the gzip data is damaged or cut short"];
    refuse(&mut start(&toy, "--out new", &["--train", "cut.csv.gz"]), 3, &parts);
    refuse(&mut start(&toy, "--out new", &["--train", "none-*.csv"]), 3, &["none-*.csv: no file matches this pattern"]);
    refuse(&mut start(&toy, "--out new", &["--delimiter", ";;"]), 2, &["--delimiter: ';;' is neither one character"]);
}

#[test]
fn bad_rows_are_refused_or_skipped_and_counted() {
    let toy = Toy::new();
    toy.write("train.csv", &(rows_of(96, 96) + "lost\nw1,\n"));
    refuse(&mut toy.start("--out new"), 3, &["train.csv, line 98: the row has 1 column"]);
    let said = step(&toy, &["--bad-rows", "skip"]);
    for part in [
        "note: train.csv, line 98: the row has 1 column",
        "note: train.csv, line 99, column 'label': the label is empty",
        "note: train.csv: 2 rows that cannot be read are skipped\n",
        "labels 2: neg 48, pos 48\n",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let eval = ["eval", "--model", "run", "--data", "train.csv", "--json"];
    refuse(&mut other(&toy, &eval), 3, &["train.csv, line 98"]);
    assert_eq!(examples(&succeed(other(&toy, &eval).args(["--bad-rows", "skip"]))), 96);
    refuse(&mut toy.start("--out new --bad-rows mend"), 2, &["--bad-rows: 'mend' is none of refuse, skip"]);
}

#[test]
fn weights_of_classes_with_commas_come_from_quotes_and_from_tables() {
    let toy = Toy::new();
    toy.write("train.csv", &relabelled(["\"neg, bad\"", "pos"]));
    toy.write("own.toml", "[class-weights]\n\"neg, bad\" = 3\npos = 1\n");
    let quoted = ["--max-steps", "2", "--out", "quoted", "--class-weights", "\"neg, bad\"=3,pos=1"];
    succeed(toy.start("").args(quoted));
    succeed(&mut toy.start("--max-steps 2 --out table --config own.toml"));
    toy.result("table").assert_same(&toy.result("quoted"), "from a table");
}
