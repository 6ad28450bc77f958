//! Every option of `train` reaches what it is for: each shows in the first few steps of a toy run, or in what the run
//! leaves.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use crate::runs::{Run, Toy, rows_of, succeed};

/// Four steps with everything on that an option could change.
fn few(toy: &Toy, out: &str, arguments: &str) -> Run {
    let steps = if arguments.contains("--max-steps") { "" } else { "--max-steps 4" };
    toy.run(out, &format!("{steps} --overwrite {arguments}"))
}

/// A field of every step.
fn field(run: &Run, name: &str) -> Vec<f64> {
    run.events("step").iter().map(|event| event[name].as_f64().unwrap()).collect()
}

/// The first step, from 1, at which a field differs.
fn differs(one: &Run, two: &Run, name: &str) -> Option<usize> {
    let (one, two) = (field(one, name), field(two, name));
    assert_eq!(one.len(), two.len());
    one.iter().zip(two).position(|(a, b)| *a != b).map(|step| step + 1)
}

#[test]
fn what_changes_the_loss_and_from_which_step_on() {
    let toy = Toy::new();
    // At step 1 the rate is 0 with warm-up; so the weights of step 2 are those of step 1, and only step 3 sees an
    // update.
    let base = few(&toy, "base", "");
    for (arguments, name, step) in [
        ("--label-smoothing 0.5", "ce", 1),
        ("--class-weights neg=5", "ce", 1),
        ("--dropout 0.3", "ce", 1),
        ("--attention-dropout 0.3", "ce", 1),
        ("--max-length 4", "ce", 1),
        ("--truncate tail --max-length 4", "ce", 1),
        ("--order file", "ce", 1),
        ("--seed 7", "ce", 1),
        ("--teacher-dropout off", "distill", 2),
        ("--distill kl", "distill", 2),
        ("--lambda 3", "loss", 2),
        ("--lambda-ramp 100", "loss", 2),
        ("--lr 1e-3", "ce", 3),
        ("--head-lr 1e-3", "ce", 3),
        ("--layer-decay 0.5", "ce", 3),
        ("--weight-decay 10", "ce", 3),
        // Adam divides the length of a gradient out again, all but what ε is beside so small a one.
        ("--clip 0.001", "ce", 3),
        ("--teacher window:1", "distill", 4),
        ("--method ft", "distill", 2),
    ] {
        let run = few(&toy, "run", arguments);
        assert_eq!(
            differs(&base, &run, name),
            Some(step),
            "{arguments}: {:?} {:?}",
            field(&base, name),
            field(&run, name)
        );
    }
    // These show against others than the defaults.
    let (tail, head) = (few(&toy, "a", "--max-length 4 --truncate tail"), few(&toy, "b", "--max-length 4"));
    assert_eq!(differs(&tail, &head, "ce"), Some(1));
    let (hot, cold) = (few(&toy, "a", "--distill kl --temperature 4"), few(&toy, "b", "--distill kl"));
    assert_eq!(differs(&hot, &cold, "distill"), Some(2));
}

#[test]
fn the_schedules_are_logged() {
    let toy = Toy::new();
    let run = few(&toy, "run", "--lr 4e-3 --head-lr 8e-3 --warmup 0.5 --lambda 3 --lambda-ramp 2 --max-steps 8");
    let climb_and_fall = [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25];
    for (name, peak) in [("lr", 4e-3), ("lr_head", 8e-3)] {
        for (found, share) in field(&run, name).into_iter().zip(climb_and_fall) {
            assert!((found - peak * share).abs() < 1e-12, "{name}: {found}");
        }
    }
    // No teacher at the first step.
    assert_eq!(field(&run, "lambda"), [0.0, 1.5, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
    assert_eq!(field(&few(&toy, "run", "--lr 4e-3 --warmup 0"), "lr"), [4e-3, 3e-3, 2e-3, 1e-3]);
}

#[test]
fn balanced_weights_are_the_inverse_shares() {
    let toy = Toy::new();
    // 64 rows of one label and 32 of the other: 96 / (2 · 64) and 96 / (2 · 32).
    let table = rows_of(128, 5);
    let mut rows: Vec<&str> = table.lines().collect();
    let mut kept = 0;
    rows.retain(|row| {
        kept += usize::from(row.ends_with(",pos"));
        !row.ends_with(",pos") || kept.is_multiple_of(2)
    });
    toy.write("train.csv", &rows.join("\n"));
    let balanced = few(&toy, "balanced", "--class-weights balanced");
    balanced.assert_same(&few(&toy, "given", "--class-weights neg=0.75,pos=1.5"), "balanced");
    assert_eq!(differs(&balanced, &few(&toy, "none", ""), "ce"), Some(1));
}

#[test]
fn what_is_logged_saved_and_kept() {
    let toy = Toy::new();
    let steps = |run: &Run| -> Vec<u64> { run.events("step").iter().map(|e| e["step"].as_u64().unwrap()).collect() };
    let saved = |out: &str| -> BTreeSet<String> {
        let files = fs::read_dir(toy.path(out).join("checkpoints")).unwrap();
        // Beside them `base` has what the model of the run was started from.
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).filter(|name| name != "base").collect()
    };
    let names = |steps: &[u64]| steps.iter().map(|step| format!("step-{step:08}.ckpt")).collect::<BTreeSet<_>>();
    // 12 steps an epoch: its end counts too.
    let run = few(&toy, "run", "--log-every 5 --save-every 5 --keep-checkpoints 9 --max-steps 14");
    assert_eq!((steps(&run), saved("run")), (vec![5, 10, 12, 14], names(&[5, 10, 12, 14])));
    few(&toy, "run", "--save-every 5 --keep-checkpoints 1 --max-steps 14");
    assert_eq!(saved("run"), names(&[14]));
    few(&toy, "run", "--keep-checkpoints 0");
    assert_eq!(saved("run"), names(&[]));
    let run = few(&toy, "run", "--eval-every 5 --dev dev.csv --best-metric loss --export last --max-steps 14");
    let evaluated: Vec<_> = run.events("eval").iter().map(|event| event["step"].clone()).collect();
    assert_eq!(evaluated, [5, 10, 12, 14].map(Value::from));
}

/// Each seed moves its own part and nothing else: where that part is not random it changes no bit.
#[test]
fn seeds_are_apart() {
    let toy = Toy::new();
    // A third class: the checkpoint's classifier has two, so that the new one is random.
    let table = rows_of(60, 4);
    let third: String =
        table.lines().skip(1).map(|row| row.rsplit_once(',').unwrap().0.to_owned() + ",odd\n").take(9).collect();
    toy.write("three.csv", &(table + &third));
    let (still, ordered) = ("--dropout 0 --attention-dropout 0", "--order file");
    for (seed, nothing_random, random) in [
        ("--init-seed 7", "--train train.csv", "--train three.csv"),
        ("--order-seed 7", ordered, ""),
        ("--dropout-seed 7", still, ""),
    ] {
        let one = few(&toy, "one", nothing_random);
        few(&toy, "two", &format!("{nothing_random} {seed}")).assert_same(&one, &format!("{seed} {nothing_random}"));
        let (one, two) = (few(&toy, "one", random), few(&toy, "two", &format!("{random} {seed}")));
        assert_eq!(differs(&one, &two, "ce"), Some(1), "{seed} {random}");
    }
    let all = few(&toy, "all", "--train three.csv --seed 7");
    let apart = few(&toy, "apart", "--train three.csv --init-seed 7 --order-seed 7 --dropout-seed 7");
    apart.assert_same(&all, "--seed sets all");
    succeed(&mut toy.command("--config apart/run.toml --out again"));
    toy.result("again").assert_same(&all, "from its run.toml");
    succeed(&mut toy.command("--config apart/run.toml --seed 42 --out again --overwrite"));
    toy.result("again").assert_same(&few(&toy, "base", "--train three.csv"), "--seed over the seeds of a file");
}

/// Without dropout and in the order of the file, only the split depends on the seed.
#[test]
fn the_seed_decides_what_is_held_out() {
    let toy = Toy::new();
    let options = "--dropout 0 --attention-dropout 0 --order file --dev-fraction 0.25";
    let [one, two, again] = [1, 2, 1].map(|seed| few(&toy, &format!("run{seed}"), &format!("{options} --seed {seed}")));
    assert_eq!(differs(&one, &two, "ce"), Some(1));
    again.assert_same(&one, "the same seed");
}

#[test]
fn drop_probabilities_are_those_of_the_model_that_is_left() {
    let toy = Toy::new();
    few(&toy, "run", "--dropout 0.25 --attention-dropout 0.125");
    let config: Value = serde_json::from_slice(&fs::read(toy.path("run/model/config.json")).unwrap()).unwrap();
    let probabilities = ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"];
    assert_eq!(probabilities.map(|name| config[name].as_f64().unwrap_or(0.25)), [0.25, 0.125, 0.25]);
}

/// `eval` of what a run leaves, without a word on how to read the data, gives the scores that the run logged.
#[test]
fn the_model_that_is_left_scores_as_logged() {
    let toy = Toy::new();
    // Against labels that are all wrong the first weights are the best, so those that are left are not the last.
    let wrong = fs::read_to_string(toy.path("dev.csv")).unwrap();
    toy.write("wrong.csv", &wrong.replace(",neg", ",x").replace(",pos", ",neg").replace(",x", ",pos"));
    for arguments in [
        "--dev wrong.csv --best-metric loss --truncate tail --max-length 5",
        "--dev wrong.csv --best-metric loss --method se --average-from 3",
        "--truncate head+tail --max-length 6 --method sda --teacher window:3 --evaluate teacher,student",
    ] {
        let run = few(&toy, "run", &format!("{arguments} --test test.csv --max-steps 48"));
        let logged = run.events("eval").last().unwrap()["loss"].as_f64().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bertsd-cuda"));
        command.current_dir(toy.home.path()).args(["eval", "--model", "run", "--data", "test.csv", "--json"]);
        let found: Value = serde_json::from_slice(&succeed(&mut command).stdout).unwrap();
        let loss = found["loss"].as_f64().unwrap();
        assert!((loss - logged).abs() < 1e-6, "{arguments}: {loss} and {logged}");
    }
}
