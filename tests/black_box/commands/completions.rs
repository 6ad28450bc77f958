//! What a shell offers: the values of an option that has fixed ones, and files only where a file is meant.

use std::{fs, process::Command};

use crate::runs::succeed;

/// What bash would offer after the words of a line, the last of which is being written.
fn offered(script: &str, line: &str) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("script"), script).unwrap();
    fs::write(home.path().join("some-file.csv"), "").unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let test = format!(
        "compopt() {{ :; }}; source ./script; COMP_WORDS=({}); COMP_CWORD={}; \
         complete=$(complete -p bertsd-cuda); complete=${{complete#*-F }}; \
         ${{complete%% *}} bertsd-cuda '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let output = succeed(Command::new("bash").current_dir(home.path()).args(["--norc", "-c", &test]));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_offers_values_where_there_are_some_and_files_only_where_one_is_meant() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
    let script = String::from_utf8(succeed(command.args(["completions", "bash"])).stdout).unwrap();
    for (line, values) in [
        ("bertsd-cuda train --method ", &["ft", "se", "sda", "sdv", "rdrop"][..]),
        ("bertsd-cuda train --method s", &["se", "sda", "sdv"]),
        ("bertsd-cuda train --preset sn", &["snli"]),
        ("bertsd-cuda train --device ", &["auto", "cpu", "cuda"]),
        ("bertsd-cuda train --teacher a", &["all"]),
        ("bertsd-cuda train --order ", &["shuffled", "bucketed", "file"]),
        ("bertsd-cuda train --teacher-dropout ", &["on", "off"]),
        ("bertsd-cuda eval --truncate ", &["head", "tail", "head+tail"]),
        ("bertsd-cuda report --metric m", &["macro-f1", "mcc"]),
        ("bertsd-cuda predict --probabilities ", &["top", "all"]),
        ("bertsd-cuda ensemble --method ", &["vote", "avg"]),
        ("bertsd-cuda ensemble --train-method f", &["ft"]),
        ("bertsd-cuda train --lr ", &[]),
        ("bertsd-cuda train --text ", &[]),
        ("bertsd-cuda eval --label ", &[]),
        ("bertsd-cuda train --train some", &["some-file.csv"]),
        ("bertsd-cuda predict --input some", &["some-file.csv"]),
    ] {
        assert_eq!(offered(&script, line), values, "{line}");
    }
}
