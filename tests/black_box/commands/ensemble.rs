//! `ensemble`: a vote is the hand-computed sum, a mean is the mean of the files, and members that do not fit are
//! refused.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::*;

const LABELS: [&str; 3] = ["bad", "fair", "good"];

struct Members {
    home: TempDir,
    /// The second lists its labels in another order.
    models: [PathBuf; 2],
    data: String,
    texts: Vec<String>,
    truths: Vec<usize>,
}

fn members() -> Members {
    let home = TempDir::new().unwrap();
    let models = [
        variant(&head64(), &LABELS, 0.0, &home.path().join("one")),
        variant(&head64(), &["good", "bad", "fair"], 0.02, &home.path().join("two")),
    ];
    let texts = texts(20);
    let truths: Vec<usize> = (0..20).map(|i| i % 3).collect();
    let rows: String = texts.iter().zip(&truths).map(|(text, &truth)| format!("{text},{}\n", LABELS[truth])).collect();
    let data = write(home.path(), "test.csv", format!("text,label\n{rows}"));
    Members { models, data, texts, truths, home }
}

#[test]
fn a_vote_is_the_sum_of_probabilities_by_label() {
    let Members { home, models, data, texts, truths } = members();
    let output = home.path().join("vote.jsonl");
    let args = ["ensemble", "--method", "vote", str(&models[0]), str(&models[1]), "--data", &data, "--json"];
    let voted = run(&[&args[..], &["--output", str(&output)]].concat(), "");
    let said = String::from_utf8(voted.stderr).unwrap();
    let notice = "two: its classes are in another order than those of the first model; they are matched by name";
    assert!(voted.status.success() && said.matches(notice).count() == 1, "{said}");
    let found: Value = serde_json::from_slice(&voted.stdout).unwrap();

    let loaded = models.each_ref().map(|model| load(model));
    let of = |model: usize, text: &str| {
        let (ids, types) = ids(text, None);
        softmax(&logits(&loaded[model], &ids, &types))
    };
    let written = json_lines(&fs::read_to_string(&output).unwrap());
    assert_eq!(written.len(), texts.len());
    let (mut correct, mut correct_two) = (0, 0);
    for ((text, &truth), line) in texts.iter().zip(&truths).zip(&written) {
        let (one, two) = (of(0, text), of(1, text));
        let two = [two[1], two[2], two[0]];
        let mean: Vec<f64> = one.iter().zip(two).map(|(a, b)| (a + b) / 2.0).collect();
        let best = argmax(&mean);
        correct += usize::from(best == truth);
        correct_two += usize::from(argmax(&two) == truth);
        assert_eq!((&line["truth"], &line["label"]), (&json!(LABELS[truth]), &json!(LABELS[best])));
        close(&LABELS.map(|label| line["probabilities"][label].as_f64().unwrap()), &mean, 2e-6);
    }
    assert_eq!(found["method"], "vote");
    close(&[found["accuracy"].as_f64().unwrap()], &[correct as f64 / 20.0], 1e-12);
    close(&[found["members"][1]["accuracy"].as_f64().unwrap()], &[correct_two as f64 / 20.0], 1e-12);
    assert_eq!(found["confusion"].as_array().unwrap().len(), 3);
}

#[test]
fn a_mean_is_the_mean_of_the_weights_in_the_files() {
    let Members { home, models, data, .. } = members();
    let out = home.path().join("mean");
    let args = ["ensemble", "--method", "avg", "--models", str(&models[0]), str(&models[1]), "--out", str(&out)];
    let text = succeed(&[&args[..], &["--data", &data]].concat(), "");
    assert!(text.contains("mean of 2 models") && text.contains("avg"), "{text}");

    let [one, two] = models.each_ref().map(|model| load(model));
    let mean = load(&out.join("model"));
    assert_eq!(mean.labels, LABELS);
    let width = mean.config.hidden_size;
    for segment in &mean.layout.segments {
        let range = segment.view.range();
        let theirs = &two.weights[range.clone()];
        // Rows good, bad, fair become bad, fair, good.
        let reordered = match segment.name.as_str() {
            "classifier.weight" => [&theirs[width..], &theirs[..width]].concat(),
            "classifier.bias" => [&theirs[1..], &theirs[..1]].concat(),
            _ => theirs.to_vec(),
        };
        for ((mean, a), b) in mean.weights[range.clone()].iter().zip(&one.weights[range]).zip(reordered) {
            let expected = ((f64::from(*a) + f64::from(b)) / 2.0) as f32;
            assert_eq!(mean.to_bits(), expected.to_bits(), "{}", segment.name);
        }
    }

    fail(3, &["already", "--overwrite"], &args, "");
    succeed(&[&args[..], &["--overwrite"]].concat(), "");
    // A directory with model/ inside is a model for the other commands.
    let json: Value =
        serde_json::from_str(&succeed(&["eval", "--model", str(&out), "--data", &data, "--json"], "")).unwrap();
    assert_eq!(json["examples"], 20);
}

#[test]
fn unlabelled_examples_get_predictions_only() {
    let Members { home, models, .. } = members();
    let data = write(home.path(), "texts.csv", "text\nw1 w2\nw3\n");
    let output = home.path().join("vote.csv");
    let args = ["ensemble", "--method", "vote", str(&models[0]), str(&models[1]), "--data", &data, "--unlabelled"];
    assert_eq!(succeed(&[&args[..], &["--predictions", str(&output)]].concat(), ""), "");
    let written = fs::read_to_string(&output).unwrap();
    let header = "label,probability,probability_bad,probability_fair,probability_good";
    assert_eq!((written.lines().next(), written.lines().count()), (Some(header), 3));
    fail(2, &["--predictions"], &args, "");
}

#[test]
fn members_that_do_not_fit_are_refused() {
    let Members { home, models, data, .. } = members();
    let other = variant(&head64(), &["bad", "fair", "great"], 0.0, &home.path().join("other"));
    let out = home.path().join("out");
    let vote = |member: &PathBuf| {
        ["ensemble", "--method", "vote", str(&models[0]), str(member), "--data", &data].map(String::from)
    };
    let avg = |member: &PathBuf| {
        ["ensemble", "--method", "avg", str(&models[0]), str(member), "--out", str(&out)].map(String::from)
    };
    let refuse = |code, parts: &[&str], args: [String; 7]| {
        fail(code, parts, &args.each_ref().map(String::as_str), "");
        assert!(!out.join("model").exists());
    };
    refuse(3, &["other", "'great'"], vote(&other));
    refuse(3, &["other", "'great'"], avg(&other));
    let small = head32();
    refuse(3, &["LABEL_0"], vote(&small));
    refuse(3, &["head32", "hidden_size 64", "128"], avg(&small));
    let retokenized = variant(&head64(), &LABELS, 0.0, &home.path().join("retokenized"));
    fs::write(retokenized.join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
    refuse(3, &["retokenized", "tokenizer"], avg(&retokenized));
}

#[test]
fn what_is_missing_is_asked_for_before_anything_is_loaded() {
    let base = ["ensemble", "--method", "vote"];
    let with = |extra: &[&'static str]| [&base[..], extra].concat();
    fail(2, &["two or more"], &with(&["gone", "--data", "x.csv"]), "");
    fail(2, &["--data"], &with(&["gone", "also-gone"]), "");
    fail(2, &["--out"], &["ensemble", "--method", "avg", "gone", "also-gone"], "");
    fail(2, &["7 comes twice"], &with(&["--seeds", "7,7", "--out", "x", "--test", "x.csv"]), "");
    fail(2, &["--method"], &["ensemble", "a", "b"], "");
    fail(2, &["cannot be used with"], &with(&["a", "--models", "b", "c", "--data", "x.csv"]), "");
}

/// Two tiny runs, from training to the vote.
#[test]
fn seeds_are_trained_and_combined() {
    let Members { home, data, .. } = members();
    let out = home.path().join("runs");
    let args = ["ensemble", "--method", "vote", "--seeds", "3,4", "--model", "", "--train", &data, "--test", &data];
    let base = head64();
    let mut args = args.to_vec();
    args[6] = str(&base);
    args.extend(["--train-method", "ft", "--epochs", "1", "--out", str(&out), "--token-cache", "none"]);
    let text = succeed(&args, "");
    for part in ["seed-3", "seed-4", "vote", "20 examples"] {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
    let [three, four] = ["seed-3", "seed-4"].map(|run| load(&out.join(run).join("model")));
    assert_eq!(three.labels, LABELS);
    assert_ne!(three.weights, four.weights);

    // Once more: finished runs are not trained again, and those of other settings are not taken for them.
    let changed = |run: &str| fs::metadata(out.join(run).join("run.toml")).unwrap().modified().unwrap();
    let before = ["seed-3", "seed-4"].map(changed);
    assert_eq!(succeed(&args, ""), text);
    assert_eq!(["seed-3", "seed-4"].map(changed), before);
    fs::remove_dir_all(out.join("seed-4")).unwrap();
    assert_eq!(succeed(&args, ""), text);
    assert_eq!((changed("seed-3") == before[0], changed("seed-4") > before[1]), (true, true));
    fail(3, &["seed-3", "other settings", "lr is", "--overwrite"], &[&args[..], &["--lr", "1e-4"]].concat(), "");

    // Finished runs are tried on their own test set, a mean of their weights where that is still there.
    let [three, four] = ["seed-3", "seed-4"].map(|run| out.join(run));
    let output = run(&["ensemble", "--method", "vote", str(&three), str(&four.join("model"))], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    assert!(String::from_utf8(output.stderr).unwrap().contains("test.csv, the test set of"));
    let mean = ["ensemble", "--method", "avg", str(&three), str(&four), "--out"];
    assert!(succeed(&[&mean[..], &[str(&home.path().join("mean"))]].concat(), "").contains("20 examples"));
    let before = load(&three.join("model")).weights;
    fail(3, &["seed-3/model", "one of the members"], &[&mean[..], &[str(&three), "--overwrite"]].concat(), "");
    assert_eq!(load(&three.join("model")).weights, before);
    let hidden = home.path().join("hidden.csv");
    fs::rename(&data, &hidden).unwrap();
    let alone = succeed(&[&mean[..], &[str(&home.path().join("alone"))]].concat(), "");
    assert!(alone.contains("mean of 2") && !alone.contains("examples"), "{alone}");
    fail(3, &["test.csv"], &["ensemble", "--method", "vote", str(&three), str(&four)], "");
    fs::rename(&hidden, &data).unwrap();

    // The options of train may come from a file: a member's own, here.
    let config = out.join("seed-3/run.toml");
    let short = ["ensemble", "--method", "vote", "--seeds", "3,4", "--config", str(&config), "--out", str(&out)];
    assert_eq!(succeed(&short, ""), text);
}
