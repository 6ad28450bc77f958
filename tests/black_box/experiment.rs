//! `experiment`: a grid is run once, whatever happens meanwhile, and shows test only where dev has chosen.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use bertsd_cuda::experiment::{Choice, ExperimentFile, Predictions};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use serde_json::{Value, json};

use crate::{
    place,
    runs::{Rng, Toy, golden_model, refuse, stderr, succeed},
};

/// What every cell of the tests has in common.
fn head() -> String {
    format!(
        "[options]\nmodel = '{}'\ntoken-cache = 'none'\nbatch-size = 8\nlr = 2e-3\nhead-lr = 2e-3\ndropout = 0.1\n\
         attention-dropout = 0.1\ntrain = 'train.csv'\ndev = 'dev.csv'\ntest = 'test.csv'\nmax-steps = 12\n\
         eval-every = 5\ndevice = 'cpu'\nthreads = 2\n",
        golden_model().display()
    )
}

fn experiment(toy: &Toy, arguments: &str) -> Command {
    let mut command = place::program();
    command.current_dir(toy.home.path()).env("HF_HUB_OFFLINE", "1").arg("experiment");
    for name in ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"] {
        command.env_remove(name);
    }
    command.args(arguments.split_whitespace());
    command
}

fn rows(directory: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(cells) = fs::read_dir(directory.join("cells")) else { return Vec::new() };
    let paths = cells.map(|cell| cell.unwrap().path().join("row.json")).filter(|path| path.is_file());
    let mut rows: Vec<_> =
        paths.map(|path| (path.clone(), serde_json::from_slice(&fs::read(path).unwrap()).unwrap())).collect();
    rows.sort_by(|one: &(PathBuf, Value), two| one.0.cmp(&two.0));
    rows
}

/// The table without what time and place decide.
fn table(toy: &Toy, out: &str) -> String {
    succeed(&mut experiment(toy, &format!("table {out} --out {out}.csv")));
    let passing = ["started", "resumed", "seconds", "step_seconds", "tokens_per_s", "peak_memory_bytes"];
    let (head, rows) = read_csv(&toy.path(&format!("{out}.csv")));
    let kept = |cells: &[String]| {
        let kept = head.iter().zip(cells).filter(|(name, _)| !passing.contains(&name.as_str()));
        kept.map(|(_, cell)| cell.as_str()).collect::<Vec<_>>().join("|")
    };
    std::iter::once(&head).chain(&rows).map(|cells| kept(cells)).collect::<Vec<_>>().join("\n")
}

/// Names of the columns, and the rows.
fn read_csv(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let cells = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let head = cells(reader.headers().unwrap());
    (head, reader.records().map(|record| cells(&record.unwrap())).collect())
}

#[test]
fn a_grid_is_run_once_and_its_cells_are_ordinary_runs() {
    let toy = Toy::new();
    let text = "[grid]\nmethod = ['ft', 'sda']\nseed = [1, 2]\n\
                [[when]]\nif = { method = 'sda' }\ngrid = { teacher = ['window:2', 'all'] }\n\
                [compare]\nbaseline = { method = 'ft' }\n";
    toy.write("grid.toml", &(head() + text));
    let listed = succeed(&mut experiment(&toy, "run grid.toml --out grid --list"));
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 6);
    assert!(!toy.path("grid").exists(), "a list is no run");
    let output = succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    let told = stderr(&output);
    assert!(told.contains("[6/6] method=sda teacher=all seed=2: dev accuracy"), "{told}");
    assert!(told.contains("left"), "{told}");
    let summed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(summed.contains("6 of 6 cells are done") && summed.contains("compared with method=ft"), "{summed}");

    // The same options as a run of its own.
    let alone = toy.run(
        "alone",
        "--dev dev.csv --test test.csv --max-steps 12 --eval-every 5 --method sda --teacher all --seed 2 --threads 2 \
         --device cpu",
    );
    let rows = rows(&toy.path("grid"));
    assert_eq!(rows.len(), 6);
    let of = |teacher: &str, seed: u64| {
        let mut found =
            rows.iter().filter(|(_, row)| row["settings"]["teacher"] == teacher && row["settings"]["seed"] == seed);
        found.find(|(_, row)| row["settings"]["method"] == "sda").unwrap()
    };
    let (path, row) = of("all", 2);
    let scores = |row: &Value| {
        let all = row["dev"].as_array().unwrap().iter().chain(row["test"].as_array().unwrap());
        all.map(|event| (event["step"].clone(), event["loss"].clone(), event["accuracy"].clone())).collect::<Vec<_>>()
    };
    let theirs: Vec<_> = alone
        .events("eval")
        .into_iter()
        .map(|event| (event["step"].clone(), event["loss"].clone(), event["accuracy"].clone()))
        .collect();
    assert_eq!(scores(row), theirs);
    assert_eq!((&row["ending"], &row["steps"], &row["threads"]), (&json!("finished"), &json!(12), &json!(2)));
    assert!(row["seconds"].as_f64() > row["step_seconds"].as_f64() && row["tokens"].as_u64() > Some(0));
    assert!(!row["device"].as_str().unwrap().is_empty());
    if cfg!(target_os = "linux") {
        assert!(row["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    }

    // What each example was taken for is what was scored.
    let answers = Predictions::read(&path.with_file_name("predictions.safetensors")).unwrap();
    let correct = answers[0].correct();
    let accuracy = correct.iter().sum::<f64>() / correct.len() as f64;
    assert!((row["test"][0]["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-12);
    let losses = answers[0].losses();
    let loss = losses.iter().sum::<f64>() / losses.len() as f64;
    assert!((row["test"][0]["loss"].as_f64().unwrap() - loss).abs() < 1e-9);

    // Nothing is kept but settings and scores, and nothing is done twice.
    let run = path.with_file_name("run");
    assert!(run.join("metrics.jsonl").is_file() && !run.join("model").exists() && !run.join("checkpoints").exists());
    let again = succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    assert!(!stderr(&again).contains("dev accuracy"), "{}", stderr(&again));
    assert_eq!(String::from_utf8_lossy(&again.stdout), summed);

    // A grid that grows keeps what is done.
    toy.write("grid.toml", &(head() + &text.replace("[1, 2]", "[1, 2, 3]")));
    let more = succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    assert_eq!(stderr(&more).matches("dev accuracy").count(), 3, "{}", stderr(&more));
    let found = succeed(&mut experiment(&toy, "table grid --json"));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&found["done"], found["arms"].as_array().unwrap().len()), (&json!(9), 3));
    let difference = &found["comparisons"][1]["differences"][0];
    let mean = |arm: usize| found["arms"][arm]["test"]["accuracy"]["mean"].as_f64().unwrap();
    let expected = mean(2) - mean(0);
    assert!((difference["difference"]["mean"].as_f64().unwrap() - expected).abs() < 1e-12, "{found}");
    assert_eq!(difference["difference"]["runs"], 3);
    assert!(difference["over_examples"][0].as_f64() <= difference["over_examples"][1].as_f64());
}

#[test]
fn twenty_kills_leave_the_same_table() {
    let toy = Toy::new();
    let text = "[grid]\nmethod = ['ft', 'sdv', 'sda']\nseed = [1, 2]\n[choose]\naxes = ['method']\nseeds = 1\n";
    toy.write("grid.toml", &(head() + text));
    succeed(&mut experiment(&toy, "run grid.toml --out whole"));
    let whole = table(&toy, "whole");
    assert_eq!(whole.lines().count(), 1 + 4);
    let mut rng = Rng(11);
    let (mut kills, mut finished) = (0, 0);
    while kills < 20 || finished == 0 {
        // Every state is saved, so that a run goes on from the middle.
        let mut command = experiment(&toy, "run grid.toml --out cut --save-after 0");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if kills < 20 {
            sleep(Duration::from_millis(rng.below(400)));
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        if !status.success() {
            assert_eq!(status.code(), None, "ended by itself: {status}");
            kills += 1;
            continue;
        }
        assert_eq!(table(&toy, "cut"), whole, "after {kills} kills");
        fs::remove_dir_all(toy.path("cut")).unwrap();
        finished += 1;
    }
}

#[test]
fn a_run_in_the_middle_goes_on_from_its_state() {
    let toy = Toy::new();
    let text = "method = 'sda'\nteacher = 'window:3'\nmax-steps = 400\n";
    toy.write("long.toml", &head().replace("max-steps = 12\n", text));
    let whole = succeed(&mut experiment(&toy, "run long.toml --out whole --save-after 3600"));
    assert!(stderr(&whole).contains("[1/1]"), "{}", stderr(&whole));
    let mut command = experiment(&toy, "run long.toml --out cut --save-after 3600");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = |out: &str| {
        fs::read_dir(toy.path(out).join("cells")).ok()?.next()?.ok().map(|cell| cell.path().join("run/metrics.jsonl"))
    };
    while log("cut").and_then(|log| fs::read_to_string(log).ok()).map_or(0, |text| text.lines().count()) < 30 {
        sleep(Duration::from_millis(2));
    }
    succeed(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("continue with: the same command"), "{}", stderr(&output));
    succeed(&mut experiment(&toy, "run long.toml --out cut"));
    assert_eq!(table(&toy, "cut"), table(&toy, "whole"));
    assert_eq!(rows(&toy.path("cut"))[0].1["resumed"], true);
}

#[test]
fn jobs_and_shares_do_the_same_cells() {
    let toy = Toy::new();
    toy.write("grid.toml", &(head() + "[grid]\nmethod = ['ft', 'sda']\nseed = [1, 2, 3]\n"));
    succeed(&mut experiment(&toy, "run grid.toml --out one"));
    let one = table(&toy, "one");
    succeed(&mut experiment(&toy, "run grid.toml --out jobs --jobs 3 --threads 2"));
    assert_eq!(table(&toy, "jobs"), one);
    for task in [4, 5] {
        let mut command = experiment(&toy, "run grid.toml --out array");
        let variables = [("ID", task), ("COUNT", 2), ("MIN", 4), ("STEP", 1)];
        let variables = variables.map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value.to_string()));
        succeed(command.envs(variables));
        assert_eq!(rows(&toy.path("array")).len(), 3 * (task - 3));
    }
    assert_eq!(table(&toy, "array"), one);
    // What one of the processes says is told by the first.
    toy.write("broken.toml", &head().replace("test.csv", "missing.csv"));
    refuse(&mut experiment(&toy, "run broken.toml --out broken --jobs 2"), 3, &["missing.csv", "job-"]);
}

#[test]
fn test_stays_closed_until_dev_has_chosen() {
    let toy = Toy::new();
    let text = "[grid]\nmethod = ['ft', 'sda']\nlr = [1e-6, 2e-3]\nseed = [1, 2, 3]\n\
                [choose]\naxes = ['lr']\nby = 'accuracy'\nseeds = 2\n[compare]\nbaseline = { method = 'ft' }\n";
    toy.write("grid.toml", &(head() + text));
    // Half of what decides.
    succeed(&mut experiment(&toy, "run grid.toml --out cut --share 1/2"));
    let summed = succeed(&mut experiment(&toy, "table cut --out cut.csv"));
    let summed = String::from_utf8_lossy(&summed.stdout).into_owned();
    assert!(summed.contains("stay closed") && !summed.contains("compared with"), "{summed}");
    assert!(!table(&toy, "cut").contains("test_student"), "no score on test is shown");
    succeed(&mut experiment(&toy, "run grid.toml --out cut"));
    let open = table(&toy, "cut");
    assert!(open.contains("test_student_accuracy") && open.contains("predictions_test_student"), "{open}");
    let found = succeed(&mut experiment(&toy, "table cut --json"));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let arms = found["arms"].as_array().unwrap();
    let chosen: Vec<&str> =
        arms.iter().filter(|arm| arm["chosen"] == true).map(|arm| arm["arm"].as_str().unwrap()).collect();
    assert_eq!((arms.len(), chosen.len(), found["comparisons"].as_array().unwrap().len()), (4, 2, 1), "{found}");
    // Eight runs on the seeds that choose, and of the third seed those of what was chosen, which is the best of its
    // method over the first two.
    let rows: Vec<Value> = rows(&toy.path("cut")).into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows.len(), 10);
    let lr = |row: &Value| row["settings"]["lr"].as_f64().unwrap();
    for method in ["ft", "sda"] {
        let of_method = || rows.iter().filter(|row| row["settings"]["method"] == method);
        let third: Vec<f64> = of_method().filter(|row| row["settings"]["seed"] == 3).map(lr).collect();
        let mean = |rate: f64| {
            let tuning = of_method().filter(|row| lr(row) == rate && row["settings"]["seed"] != 3);
            let score = |row: &Value| {
                let at = row["dev"].as_array().unwrap().iter().find(|event| event["step"] == row["exported_step"]);
                at.unwrap()["accuracy"].as_f64().unwrap()
            };
            tuning.map(score).sum::<f64>() / 2.0
        };
        let best = if mean(1e-6) >= mean(2e-3) { 1e-6 } else { 2e-3 };
        assert_eq!(third, [best], "{method}: {} {}", mean(1e-6), mean(2e-3));
        let name = if best == 1e-6 { "lr=1e-6" } else { "lr=2e-3" };
        assert!(chosen.contains(&format!("method={method} {name}").as_str()), "{chosen:?}");
    }
}

#[test]
fn a_run_that_diverges_is_a_result() {
    let toy = Toy::new();
    toy.write("grid.toml", &(head() + "[grid]\nlr = [2e-3, 1e30]\nseed = [1]\n[choose]\naxes = ['lr']\n"));
    let output = succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    assert!(stderr(&output).contains("not finite"), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("0 (1 diverged)") && text.contains("lr=2e-3 *"), "{text}");
}

fn text_of(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Long(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        field => panic!("{field}"),
    }
}

#[test]
fn tables_are_parquet_too() {
    let toy = Toy::new();
    toy.write("grid.toml", &(head() + "[grid]\nmethod = ['ft', 'sda']\n"));
    succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    succeed(&mut experiment(&toy, "table grid --out table.parquet --out table.csv"));
    let reader = SerializedFileReader::new(File::open(toy.path("table.parquet")).unwrap()).unwrap();
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect();
    let (names, lines) = read_csv(&toy.path("table.csv"));
    assert_eq!((rows.len(), lines.len()), (2, 2));
    for (row, cells) in rows.iter().zip(lines) {
        let fields: Vec<(&String, &Field)> = row.get_column_iter().collect();
        assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        let same = |one: &str, two: &str| {
            one == two || one.parse::<f64>().ok().zip(two.parse::<f64>().ok()).is_some_and(|(one, two)| one == two)
        };
        for ((name, field), cell) in fields.iter().zip(&cells) {
            let (ours, theirs): (Vec<String>, Vec<&str>) = match field {
                Field::ListInternal(list) => (list.elements().iter().map(text_of).collect(), cell.split(' ').collect()),
                field => (vec![text_of(field)], vec![cell]),
            };
            let equal = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(one, two)| same(one, two));
            assert!(equal, "{name}: {ours:?} and {cell}");
        }
        let list = |wanted: &str| match fields.iter().find(|(name, _)| *name == wanted).unwrap().1 {
            Field::ListInternal(list) => list.elements().iter().map(text_of).collect::<Vec<_>>(),
            field => panic!("{field}"),
        };
        assert_eq!((list("predictions_test_student").len(), list("logits_test_student").len()), (16, 32));
        assert_eq!(list("dev_student_step"), ["5", "10", "12"]);
    }
    refuse(&mut experiment(&toy, "table grid --out table.xls"), 2, &[".csv or .parquet"]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_run() {
    let toy = Toy::new();
    toy.write("grid.toml", &(head() + "[grid]\nmethod = ['sdv']\nteacher = ['all']\n"));
    refuse(&mut experiment(&toy, "run grid.toml --out grid"), 2, &["window:K only", "method=sdv"]);
    toy.write("choose.toml", &(head() + "[choose]\naxes = ['lr']\n"));
    refuse(&mut experiment(&toy, "run choose.toml --out grid"), 2, &["lr does not vary"]);
    toy.write("two.toml", &(head() + "[grid]\nlr = [1e-3, 2e-3]\n[compare]\nbaseline = { method = 'sda' }\n"));
    refuse(&mut experiment(&toy, "run two.toml --out two"), 2, &["baseline", "name more"]);
    assert!(!toy.path("grid").exists());
    refuse(&mut experiment(&toy, "run missing.toml --out grid"), 3, &["missing.toml"]);
    refuse(&mut experiment(&toy, "table grid"), 3, &["no experiment"]);
    toy.run("run", "--max-steps 1");
    toy.write("grid.toml", &head());
    refuse(&mut experiment(&toy, "run grid.toml --out run"), 3, &["something else than an experiment"]);
    // Examples that changed under an experiment.
    toy.write("grid.toml", &(head() + "[grid]\nseed = [1]\n"));
    succeed(&mut experiment(&toy, "run grid.toml --out grid"));
    toy.write("test.csv", "text,label\nw1 w2,pos\nw0,neg\n");
    toy.write("grid.toml", &(head() + "[grid]\nseed = [1, 2]\n"));
    refuse(&mut experiment(&toy, "run grid.toml --out grid"), 3, &["not those that cell"]);
}

/// Every experiment that the project ships is one, with cells that could be run.
#[test]
fn the_experiments_of_the_project_make_sense() {
    let mut count = 0;
    for folder in ["experiments", "experiments/small", "experiments/paper", "experiments/gpu"] {
        let entries = fs::read_dir(place::root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
            let file = ExperimentFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
            let cells = file.cells().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            file.compare
                .check(&cells, file.choose.as_ref())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(cells.len() > 5 && !file.title.is_empty(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
    let methods = ExperimentFile::read(&place::root().join("experiments/small/methods.toml")).unwrap();
    let cells = methods.cells().unwrap();
    let choice = Choice::new(&cells, methods.choose.as_ref(), |_| Ok(None)).unwrap();
    // What the protocol says: an equal budget of eight settings for each of four methods, and ten seeds.
    assert_eq!((choice.open(), choice.total(&cells)), (4, 4 * 8 * 2 + 4 * 8));
}
