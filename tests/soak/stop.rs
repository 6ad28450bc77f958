//! Signals at any moment of a run over much text: each is acted on soon, and the run goes on to the same bits.

use std::{
    fs,
    io::{BufWriter, Write},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::runs::{Rng, Toy, stderr, succeed};

const SOON: Duration = Duration::from_secs(2);
const SIGNALS: u64 = 20;
const TEXT_BYTES: usize = 150 << 20;

/// `text,label` rows of words that the toy's model knows, from a few to some hundred.
fn write_rows(toy: &Toy, name: &str, bytes: usize, seed: u64) {
    let mut rng = Rng(seed);
    let mut file = BufWriter::new(fs::File::create(toy.path(name)).unwrap());
    let mut written = file.write(b"text,label\n").unwrap();
    let mut row = String::new();
    while written < bytes {
        row.clear();
        let label = rng.below(2);
        let most = 1 << rng.below(9);
        for _ in 0..1 + rng.below(most) {
            row.push_str(&format!("w{} ", 10 + rng.below(190)));
        }
        row.push_str(&format!("w{label},{}\n", ["neg", "pos"][label as usize]));
        file.write_all(row.as_bytes()).unwrap();
        written += row.len();
    }
    file.flush().unwrap();
}

#[test]
#[ignore = "takes minutes: make soak"]
fn signals_at_random_moments_of_a_run_on_much_text_are_acted_on() {
    let toy = Toy::new();
    write_rows(&toy, "train.csv", TEXT_BYTES, 1);
    write_rows(&toy, "dev.csv", TEXT_BYTES / 50, 2);
    let options = "--dev dev.csv --max-length 64 --batch-size 512 --max-steps 6 --save-every 2 --eval-every 3 \
                   --evaluate student,teacher --log-every 1 --token-cache cache";
    let started = Instant::now();
    let whole = toy.run("whole", options);
    let whole_ms = started.elapsed().as_millis() as u64;
    let started = Instant::now();
    succeed(toy.start(options).args(["--out", "cached"]));
    let cached_ms = started.elapsed().as_millis() as u64;
    eprintln!("a run takes {whole_ms} ms, and {cached_ms} ms with its tokens from the cache");
    let start_or_go_on = || match toy.path("cut/run.toml").exists() {
        true => toy.command("--resume cut"),
        false => {
            let mut command = toy.start(options);
            command.args(["--out", "cut"]);
            command
        }
    };
    let mut rng = Rng(7);
    let mut worst = Duration::ZERO;
    let mut number = 0;
    while number < SIGNALS {
        // Every second one over tokens that are not there yet, so that none falls behind the end of a run.
        let anew = number % 2 == 0;
        if anew && toy.path("cache").exists() {
            fs::remove_dir_all(toy.path("cache")).unwrap();
        }
        let child = start_or_go_on().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_millis(rng.below(if anew { whole_ms } else { cached_ms } * 9 / 10)));
        let signal = if rng.below(2) == 0 { "-TERM" } else { "-INT" };
        succeed(Command::new("kill").args([signal, &child.id().to_string()]));
        let asked = Instant::now();
        let output = child.wait_with_output().unwrap();
        let took = asked.elapsed();
        worst = worst.max(took);
        let text = stderr(&output);
        let last = text.lines().last().unwrap_or_default();
        eprintln!("{}/{SIGNALS} {signal}: {took:?}, {:?}: {last}", number + 1, output.status.code());
        assert!(took < SOON, "it took {took:?}\n{text}");
        // Before its handler stands, a signal ends the process by itself; a run that is through has nothing to stop.
        match output.status.code() {
            Some(0) => {
                fs::remove_dir_all(toy.path("cut")).unwrap();
                continue;
            }
            Some(130) => assert!(text.contains("interrupted"), "{text}"),
            code => assert_eq!(code, None, "{text}"),
        }
        number += 1;
    }
    succeed(&mut start_or_go_on());
    toy.result("cut").assert_same(&whole, "stopped again and again");
    eprintln!("the slowest took {worst:?}");
}
