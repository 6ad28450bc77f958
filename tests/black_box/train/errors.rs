//! Bad input of every kind: one clear message, the right exit code, and nothing lost.

use std::{fs, process::Command};

use crate::runs::{Toy, golden_model, refuse, stderr, succeed};

/// Refuses `arguments`, once into a new directory and once over a finished run, which stays as it is.
#[track_caller]
fn bad(toy: &Toy, arguments: &str, code: i32, parts: &[&str]) {
    if !toy.path("kept").exists() {
        toy.run("kept", "--max-steps 2");
    }
    let before = toy.result("kept");
    refuse(toy.start(arguments).args(["--out", "new"]), code, parts);
    refuse(toy.start(arguments).args(["--out", "kept", "--overwrite"]), code, parts);
    toy.result("kept").assert_same(&before, arguments);
    assert!(!toy.path("new").exists(), "something is left of the run that never began");
}

#[test]
fn settings() {
    let toy = Toy::new();
    for (arguments, part) in [
        ("--method x", "--method: 'x' is none of ft, se, sda, sdv"),
        ("--teacher x", "--teacher: 'x' is none of window:K, window:K/S"),
        ("--teacher window:0", "--teacher: a window holds"),
        ("--teacher ema:2", "--teacher: an EMA's decay"),
        ("--method sdv --teacher ema:0.9", "takes window:K only"),
        ("--best-metric x", "--best-metric: 'x' is none of accuracy"),
        ("--order x", "none of shuffled, bucketed, file"),
        ("--lambda=-1", "--lambda: must not be negative"),
        ("--weight-decay=NaN", "--weight-decay"),
        ("--device x", "none of auto, cpu, cuda"),
        ("--max-length 2", "max-length: 2 is too short"),
        ("--max-length 65", "the 64 positions the model knows"),
        ("--dev-fraction 1.5", "dev-fraction: 1.5"),
        ("--class-weights x=1", "none of the labels neg, pos"),
        ("--epochs 0", "--epochs: must be at least 1"),
        ("--preset imdb", "--data-dir"),
        ("--nonsense", "--nonsense"),
    ] {
        bad(&toy, arguments, 2, &[part]);
    }
    bad(&toy, "--device cuda", 1, &["cuda", "--device cpu"]);
    for lr in ["-1", "NaN", "0", "inf"] {
        let mut command = toy.command(&format!("--train train.csv --out new --lr={lr} --model"));
        refuse(command.arg(golden_model()), 2, &["--lr: must be a positive number"]);
    }
    refuse(&mut toy.start("--out kept"), 3, &["kept: already holds a run", "--resume", "--overwrite"]);
    toy.write("own.toml", "epochs = 1\nnonsense = 3\n");
    refuse(&mut toy.command("--config own.toml --out new"), 2, &["own.toml", "line 2", "nonsense"]);
    refuse(&mut toy.command("--config none.toml --out new"), 3, &["cannot read none.toml: No such file"]);
}

#[test]
fn tables() {
    let toy = Toy::new();
    toy.write("bad.csv", "text,label\nw1 w2,pos\nw3\nw4,neg\n");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv, line 3", "complete the row"]);
    toy.write("bad.csv", b"text,label\nw1,pos\nw\xff3,neg\n");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv, line 3, column 'text'", "0xFF"]);
    toy.write("bad.csv", "");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv: the file is empty"]);
    toy.write("bad.csv", "text,label\n");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv: the file has no rows"]);
    toy.write("bad.csv", "text,label\nw1,pos\nw2,odd\n");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv, line 3", "'odd' does not occur in training", "'neg', 'pos'"]);
    bad(&toy, "--dev none.csv", 3, &["cannot open none.csv"]);
    bad(&toy, "--text body", 3, &["train.csv, column 'body'", "'text', 'label'"]);
    toy.write("bad.csv", "text,text,label\nw1,w2,pos\n");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv, column 'text': columns 0 and 1 both have this name", "number"]);
    toy.write("bad.csv", "text,label\rw1,pos\rw2,neg\r");
    bad(&toy, "--dev bad.csv", 3, &["bad.csv, line 1: lines end with a carriage return alone"]);
    bad(&toy, "--dev kept", 3, &["kept: is a directory"]);
    bad(&toy, "--dev /dev/null", 3, &["/dev/null: is no regular file", "copy it to a file"]);
    toy.write("train.csv", "text,label\nw1,a\nw2,a\n");
    refuse(&mut toy.start("--out new"), 3, &["train.csv: every row has the label 'a'"]);
}

#[test]
fn odd_texts_are_fine() {
    let toy = Toy::new();
    let long = "w7 ".repeat(334_000);
    toy.write("train.csv", &format!("text,label\n,a\n{long},b\n\" \",a\nw1,b\n"));
    assert_eq!(toy.run("run", "--epochs 2").events("step").len(), 2);
}

#[test]
fn models() {
    let toy = Toy::new();
    let model = |name: &str, config: &dyn Fn(String) -> String, weights: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        fs::create_dir_all(toy.path(name)).unwrap();
        fs::copy(golden_model().join("vocab.txt"), toy.path(name).join("vocab.txt")).unwrap();
        let text = fs::read_to_string(golden_model().join("config.json")).unwrap();
        toy.write(&format!("{name}/config.json"), &config(text));
        toy.write(
            &format!("{name}/model.safetensors"),
            &weights(fs::read(golden_model().join("model.safetensors")).unwrap()),
        );
    };
    let refused = |name: &str, parts: &[&str]| {
        let mut command = toy.command(&format!("--train train.csv --token-cache none --out new --model {name}"));
        refuse(&mut command, 3, parts);
        assert!(!toy.path("new").exists());
    };
    let same = |text: String| text;
    model("cut", &same, &|bytes| bytes[..bytes.len() / 2].to_vec());
    refused("cut", &["cut/model.safetensors", "damaged safetensors file"]);
    model("hostile", &same, &|mut bytes| {
        bytes[..8].fill(0xff);
        bytes
    });
    refused("hostile", &["hostile/model.safetensors", "header of 18446744073709551615 bytes"]);
    model("nan", &same, &|mut bytes| {
        let end = bytes.len();
        bytes[end - 400..end - 396].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    });
    refused("nan", &["nan/model.safetensors", "NaN"]);
    let keep = |bytes: Vec<u8>| bytes;
    for (name, from, to, part) in [
        ("shape", "\"intermediate_size\": 96", "\"intermediate_size\": 128", "128"),
        ("layers", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", "layer.3"),
        ("heads", "\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "heads"),
        ("gelu", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"snake\"", "snake"),
        ("relative", "\"model_type\"", "\"position_embedding_type\": \"relative_key\", \"model_type\"", "relative_key"),
        ("decoder", "\"is_decoder\": false", "\"is_decoder\": true", "decoder"),
        ("json", "{", "[", "config.json"),
    ] {
        model(name, &|text| text.replacen(from, to, 1), &keep);
        refused(name, &[name, part]);
    }
    refused("/nonexistent", &["/nonexistent: there is no such directory"]);
    refused("some/model", &["'some/model'", "cache", "lacks config.json", "HF_HUB_OFFLINE is set"]);
}

#[test]
fn places_that_cannot_be_written() {
    let toy = Toy::new();
    refuse(&mut toy.start("--out train.csv/run"), 1, &["cannot create train.csv/run: Not a directory"]);
    assert!(toy.path("train.csv").is_file());
    // Only what was made for the run goes with it.
    fs::create_dir(toy.path("mine")).unwrap();
    refuse(toy.start("--text body").args(["--out", "mine/deep/run"]), 3, &["column 'body'"]);
    assert!(toy.path("mine").is_dir() && !toy.path("mine/deep").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_checkpoint() {
    let toy = Toy::new();
    let options = "--max-steps 8 --save-every 1";
    let whole = toy.run("whole", options);
    refuse(&mut toy.start(&format!("{options} --out cut --stop-after 3")), 130, &[]);
    // Files end at 512 KiB: a checkpoint is larger. Ignoring the signal turns it into a failed write.
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" train --resume cut";
    let mut command = Command::new("bash");
    command.current_dir(toy.home.path()).args(["-c", script, env!("CARGO_BIN_EXE_bertsd-cuda")]);
    let goes_on = "the run goes on with: bertsd-cuda train --resume cut\n";
    refuse(&mut command, 1, &["cannot write cut/checkpoints/step-00000004.ckpt", "File too large", goes_on]);
    assert!(!toy.path("cut/checkpoints/.step-00000004.ckpt.partial").exists());
    let text = stderr(&succeed(&mut toy.command("--resume cut")));
    assert!(text.contains("going on after step 3"), "{text}");
    toy.result("cut").assert_same(&whole, "after a full disk");
    // Not a byte to write: nothing is left of the run that never began.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" train --train train.csv --out none --model \"$1\"";
    let mut command = Command::new("bash");
    command.current_dir(toy.home.path()).args(["-c", script, env!("CARGO_BIN_EXE_bertsd-cuda")]).arg(golden_model());
    refuse(&mut command, 1, &["cannot write none/.lock"]);
    assert!(!toy.path("none").exists());
}

#[test]
fn divergence_stops_and_keeps_the_last_good_checkpoint() {
    let toy = Toy::new();
    let mut command = toy.command("--train train.csv --token-cache none --lr 1e30 --save-every 1 --out run --model");
    let text = refuse(command.arg(golden_model()), 1, &["is not finite", "--lr", "the last good checkpoint is run/"]);
    let path = text.rsplit("checkpoint is ").next().unwrap().trim();
    assert!(toy.path(path).is_file(), "{path}");
    assert!(text.contains("step 3: skipped") && text.contains("error: step 7: "), "{text}");
    let last = path.rsplit_once("step-").map(|(_, number)| number.trim_start_matches('0').starts_with('2'));
    assert_eq!(last, Some(true), "no checkpoint is written behind a step that was skipped: {path}");
}
