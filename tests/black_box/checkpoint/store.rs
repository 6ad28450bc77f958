//! Rotation, the choice of what to resume from, kills at any moment, and the lock on a run.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bertsd_cuda::{
    Error,
    checkpoint::{CheckpointPlan, CheckpointReader, CheckpointStore, RunLock, holds_run},
};

fn save(store: &CheckpointStore, step: u64, elements: usize) {
    let plan = CheckpointPlan::new(&step).unwrap().section::<f32>("w", elements);
    let mut writer = store.begin(step, plan).unwrap();
    writer.write("w", &vec![step as f32; elements]).unwrap();
    writer.finish().unwrap();
    store.prune().unwrap();
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_last_n_are_kept_and_the_best_beside_them() {
    let run = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(run.path(), 2).unwrap();
    assert!(store.best().unwrap().is_none() && store.latest_valid().unwrap().checkpoint.is_none());
    for step in [5, 10, 999_999_999, 20] {
        save(&store, step, 3);
        if step == 10 {
            store.mark_best(10).unwrap();
            store.mark_best(10).unwrap();
        }
    }
    assert_eq!(store.steps().unwrap(), [20, 999_999_999]);
    assert_eq!(
        names(&run.path().join("checkpoints")),
        ["best.ckpt", "step-00000020.ckpt", "step-999999999.ckpt"],
        "and nothing else"
    );
    assert_eq!(store.best().unwrap().unwrap().metadata::<u64>().unwrap(), 10);

    // Content of its own instead, and damage done to a checkpoint does not reach it.
    store.mark_best(20).unwrap();
    save(&store, 20, 3);
    damage(&store.path(20));
    store.best().unwrap().unwrap().verify().unwrap();
    let mut writer = store.begin_best(CheckpointPlan::new(&77u64).unwrap().section::<u8>("model", 1)).unwrap();
    writer.write("model", &[1u8]).unwrap();
    writer.finish().unwrap();
    assert_eq!(store.best().unwrap().unwrap().metadata::<u64>().unwrap(), 77);
    assert!(CheckpointStore::open(run.path(), 0).is_err());
    assert!(store.mark_best(12345).is_err());
    assert_eq!(store.best().unwrap().unwrap().metadata::<u64>().unwrap(), 77);
}

#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used() {
    let run = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(run.path(), 5).unwrap();
    for step in 1..=4 {
        save(&store, step, 1000);
    }
    damage(&store.path(4));
    fs::write(store.path(3), b"short").unwrap();
    // Not checkpoints: another spelling, another name, a directory's temporary.
    for name in ["step-9.ckpt", "step-+0000009.ckpt", "step-00000009.ckpt.bak", "notes.txt"] {
        fs::write(run.path().join("checkpoints").join(name), b"").unwrap();
    }
    let latest = store.latest_valid().unwrap();
    let (step, mut reader) = latest.checkpoint.unwrap();
    assert_eq!((step, reader.read::<f32>("w").unwrap()), (2, vec![2.0; 1000]));
    let named: Vec<_> = latest.damaged.iter().map(|d| (d.step, d.path.clone())).collect();
    assert_eq!(named, [(4, store.path(4)), (3, store.path(3))]);
    assert!(latest.damaged[0].reason.to_string().contains("section 'w' is damaged"), "{}", latest.damaged[0].reason);
    assert!(latest.damaged[1].reason.to_string().contains("cut short"), "{}", latest.damaged[1].reason);

    let aside = store.put_aside(&latest.damaged[0]).unwrap();
    assert!(aside.ends_with("step-00000004.ckpt.damaged") && aside.exists());
    assert_eq!(store.steps().unwrap(), [1, 2, 3]);
}

#[test]
fn what_a_killed_process_left_is_cleared() {
    let run = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(run.path(), 2).unwrap();
    save(&store, 1, 10);
    let mut writer = store.begin(2, CheckpointPlan::new(&()).unwrap().section::<f32>("w", 10)).unwrap();
    writer.write("w", &[0f32; 4]).unwrap();
    std::mem::forget(writer);
    assert_eq!(names(&run.path().join("checkpoints")), [".step-00000002.ckpt.partial", "step-00000001.ckpt"]);
    let store = CheckpointStore::open(run.path(), 2).unwrap();
    assert_eq!(names(&run.path().join("checkpoints")), ["step-00000001.ckpt"]);
    assert_eq!(store.latest_valid().unwrap().checkpoint.unwrap().0, 1);
}

/// Runs this test again as a child that saves until it is killed, and kills it at ten moments of a save.
#[test]
#[cfg(unix)]
fn killed_at_any_moment_the_newest_checkpoint_is_whole() {
    const CHILD: &str = "BERTSD_TEST_KILLED";
    if let Ok(run) = std::env::var(CHILD) {
        let store = CheckpointStore::open(run, 2).unwrap();
        println!("ready");
        let first = store.steps().unwrap().last().map_or(1, |step| step + 1);
        (first..first + 100_000).for_each(|step| save(&store, step, 1 << 19));
    }
    let run = tempfile::tempdir().unwrap();
    let mut newest = 0;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::store::killed_at_any_moment_the_newest_checkpoint_is_whole", "--nocapture"])
            .env(CHILD, run.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
        // Not a multiple of anything that the child does; the first round lets it save at least once.
        std::thread::sleep(Duration::from_millis(if round == 0 { 500 } else { 13 + 29 * round }));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = CheckpointStore::open(run.path(), 2).unwrap();
        let latest = store.latest_valid().unwrap();
        assert!(latest.damaged.is_empty(), "{:?}", latest.damaged);
        let (step, reader) = latest.checkpoint.unwrap();
        assert_eq!(reader.metadata::<u64>().unwrap(), step);
        assert!(step >= newest, "nothing is lost: {step} after {newest}");
        assert!(names(&run.path().join("checkpoints")).len() <= 3);
        newest = step;
    }
    assert!(newest > 3, "the child got to save: {newest}");
}

#[test]
fn two_processes_do_not_train_in_one_directory() {
    let run = tempfile::tempdir().unwrap();
    let lock = RunLock::for_new_run(run.path(), false).unwrap();
    let error = RunLock::for_new_run(run.path(), false).unwrap_err();
    let owner = format!("in use by process {}", std::process::id());
    assert!(
        matches!(&error, Error::Run { path, message } if path == run.path() && message.contains(&owner)),
        "{error}"
    );
    assert!(RunLock::for_new_run(run.path(), true).is_err(), "not even to overwrite");
    drop(lock);
    RunLock::for_new_run(run.path(), false).unwrap();
}

/// The lock goes with its process, however that ends.
#[test]
#[cfg(unix)]
fn a_killed_process_leaves_no_lock() {
    const CHILD: &str = "BERTSD_TEST_LOCK";
    if let Ok(run) = std::env::var(CHILD) {
        let _lock = RunLock::for_new_run(run, false).unwrap();
        println!("ready");
        std::thread::sleep(Duration::from_secs(60));
    }
    let run = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::store::a_killed_process_leaves_no_lock", "--nocapture"])
        .env(CHILD, run.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
    let error = RunLock::for_new_run(run.path(), false).unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    RunLock::for_new_run(run.path(), false).unwrap();
}

#[test]
fn a_directory_holds_one_run() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("new/run");
    assert!(RunLock::for_resume(&run).unwrap_err().to_string().contains("no run to resume"));
    // Files that are not a run's are no obstacle, and survive.
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("notes.txt"), "mine").unwrap();
    assert!(!holds_run(&run).unwrap());
    let lock = RunLock::for_new_run(&run, false).unwrap();
    assert_eq!(lock.directory(), run);
    fs::write(run.join("metrics.jsonl"), "{}\n").unwrap();
    fs::create_dir_all(run.join("model")).unwrap();
    fs::write(run.join("model/config.json"), "{}").unwrap();
    save(&CheckpointStore::open(&run, 1).unwrap(), 1, 1);
    drop(lock);

    let error = RunLock::for_new_run(&run, false).unwrap_err().to_string();
    assert!(error.contains("--out") && error.contains("--overwrite"), "{error}");
    assert!(!error.contains("--resume"), "without its settings it is no run to go on with: {error}");
    fs::write(run.join("run.toml"), "").unwrap();
    let error = RunLock::for_new_run(&run, false).unwrap_err().to_string();
    for word in ["--resume", "--out", "--overwrite"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(CheckpointReader::open(run.join("checkpoints/step-00000001.ckpt")).is_ok(), "refusing deletes nothing");
    drop(RunLock::for_resume(&run).unwrap());
    let lock = RunLock::for_new_run(&run, true).unwrap();
    assert_eq!(names(lock.directory()), [".lock", "notes.txt"]);
}
