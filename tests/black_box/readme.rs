//! The README against the program: every option, command and make target it names exists, and no option is left out.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use crate::{
    place,
    runs::{Toy, golden_model, stderr, succeed},
};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of the project")
}

/// README, the pages of docs, and what stands beside what it describes.
fn documents() -> Vec<String> {
    let named =
        ["README.md", "CONTRIBUTING.md", "benches/peer/README.md", "simulator/README.md", "tests/golden/README.md"];
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("docs is there");
    let pages = pages.map(|page| format!("docs/{}", page.expect("a page").file_name().display()));
    let pages = pages.filter(|page| page.ends_with(".md"));
    named.iter().map(|&name| name.to_owned()).chain(pages).collect()
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda")).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The part of the README below a heading of the second level.
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let start = readme.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section '{heading}'"));
    let body = &readme[start + 1..];
    &body[..body[2..].find("\n## ").map_or(body.len(), |end| end + 2)]
}

/// Every `--option` of a text, in order.
fn options(text: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, _) in text.match_indices("--") {
        let starts = text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '-');
        let name: String =
            text[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
        if starts && name.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.push(format!("--{name}"));
        }
    }
    found
}

/// The options that `help` defines: those that begin a line.
fn defined(help: &str) -> BTreeSet<String> {
    let begins = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").or_else(|| line.strip_prefix("-V, ")).unwrap_or(line);
        line.starts_with("--").then(|| options(line).into_iter().next()).flatten()
    };
    // A line with several options is prose that happens to wrap there; its first is then defined elsewhere too.
    help.lines().filter_map(begins).collect()
}

#[test]
fn the_options_of_train_are_all_there_and_all_told() {
    let readme = read("README.md");
    let told: BTreeSet<String> = options(section(&readme, "Options of `train`")).into_iter().collect();
    let mut defined = defined(&help(&["train", "--help"]));
    defined.remove("--help");
    let unknown: Vec<_> = told.difference(&defined).collect();
    assert!(unknown.is_empty(), "README names options that train does not have: {unknown:?}");
    let untold: Vec<_> = defined.difference(&told).collect();
    assert!(untold.is_empty(), "README leaves out options of train: {untold:?}");
}

#[test]
fn every_example_line_uses_options_that_its_command_has() {
    let readme = read("README.md");
    let mut lines = 0;
    for line in readme.lines() {
        let Some((_, call)) = line.split_once("bertsd-cuda ") else { continue };
        let Some(command) = call.split_whitespace().next().filter(|_| !line.starts_with('|')) else { continue };
        let asked = options(call);
        if asked.is_empty() {
            continue;
        }
        let mut known = defined(&help(&[command, "--help"]));
        known.insert("--help".into());
        let unknown: Vec<_> = asked.iter().filter(|option| !known.contains(*option)).collect();
        assert!(unknown.is_empty(), "{line}\n{command} does not have {unknown:?}");
        lines += 1;
    }
    assert!(lines >= 5, "only {lines} example lines were found");
}

/// The example lines of the section on commands, as they are printed, one after the other; DIR is a checkpoint, and the
/// runs that are combined were trained.
#[test]
fn the_examples_run_as_printed() {
    let toy = Toy::new();
    toy.write("new.csv", "id,text\n7,w1 w30\n8,w0 w31\n");
    for run in ["run-1", "run-2", "run-3"] {
        toy.run(run, "--dev dev.csv --test test.csv --max-steps 2");
    }
    let readme = read("README.md");
    let block = section(&readme, "Commands").split("```").nth(1).expect("a block of examples");
    let program = place::program().get_program().to_owned();
    let folder = Path::new(&program).parent().expect("the program is in a folder").to_owned();
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([folder].into_iter().chain(env::split_paths(&others))).expect("no folder has a colon");
    let mut count = 0;
    for line in block.lines().filter(|line| line.contains("bertsd-cuda ")) {
        let call = line.replace("DIR", &golden_model().display().to_string());
        let mut command = Command::new("sh");
        command.current_dir(toy.home.path()).env("PATH", &path).env("HF_HUB_OFFLINE", "1").args(["-e", "-c", &call]);
        let output = succeed(&mut command);
        assert!(!stderr(&output).contains("error:"), "{line}\n{}", stderr(&output));
        count += 1;
    }
    assert!(count >= 6, "only {count} example lines were found");
    for file in ["run/model/config.json", "labels.csv", "curves.png"] {
        assert!(toy.path(file).is_file(), "{file}");
    }
}

#[test]
fn every_command_is_told() {
    let readme = read("README.md");
    let told = section(&readme, "Commands");
    let help = help(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut count = 0;
    for command in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = command.split_whitespace().next().expect("a command has a name");
        assert!(name == "help" || told.contains(&format!("| `{name}` |")), "README leaves out the command {name}");
        count += 1;
    }
    assert!(count >= 7, "only {count} commands were found in --help");
}

#[test]
fn every_make_target_and_file_that_is_named_exists() {
    let makefile = read("Makefile");
    for document in documents() {
        let text = read(&document);
        for (at, found) in text.match_indices("make ") {
            let starts = text[..at].ends_with(['`', '\n']);
            let name: String =
                text[at + found.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if starts && !name.is_empty() {
                assert!(
                    makefile.contains(&format!("\n{name}:")),
                    "{document} names make {name}, the Makefile does not"
                );
            }
        }
        for name in text.split('`').skip(1).step_by(2) {
            let roots =
                ["benches/", "data/", "docs/", "examples/", "kernels/", "scripts/", "simulator/", "src/", "tests/"];
            // `x` stands for any operation.
            let is_placeholder = Path::new(name).file_stem().is_some_and(|stem| stem == "x");
            let is_path = !is_placeholder
                && roots.iter().any(|root| name.starts_with(root))
                && !name.contains(['*', '{', '…', ' ', '<']);
            if is_path {
                // From the project's root, or from where the document is.
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                let beside = root.join(&document).with_file_name(name);
                assert!(root.join(name).exists() || beside.exists(), "{document} names {name}");
            }
        }
    }
}
