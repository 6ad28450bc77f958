//! Long tests, left out of `make test`: hundreds of kills, thousands of steps, random settings. `make soak` runs them.

#[path = "soak/memory.rs"]
mod memory;
#[path = "common/place.rs"]
mod place;
#[path = "common/runs.rs"]
mod runs;
#[path = "soak/stop.rs"]
mod stop;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "soak/torch.rs"]
mod torch;

use std::{
    collections::VecDeque,
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use bertsd_cuda::{
    data::PackedBatch,
    device::Copies,
    distillation::{Method, TeacherKind},
};
use runs::{Rng, Toy, succeed};

/// Options of `train`, drawn at random.
fn draw(rng: &mut Rng) -> String {
    let mut pick = |words: &[&str]| words[rng.below(words.len() as u64) as usize].to_owned();
    let options = [
        pick(&[
            "--method ft",
            "--method se",
            "--method sda",
            "--method sda --distill kl --temperature 2",
            "--method sdv",
        ]),
        pick(&["--teacher window:1", "--teacher window:2", "--teacher window:5", "--teacher window:30"]),
        pick(&["--sdv-mode look-ahead", "--sdv-mode stored"]),
        pick(&["--teacher-dropout on", "--teacher-dropout off"]),
        pick(&["--batch-size 8", "--batch-size 7", "--batch-size 3 --grad-accum 4", "--batch-size 16 --max-tokens 40"]),
        pick(&["--order shuffled", "--order bucketed", "--order file"]),
        pick(&["--threads 1", "--threads 2", "--threads 3"]),
        pick(&["--dev dev.csv", "--dev-fraction 0.2", "--dev dev.csv --test test.csv --eval-every 5", ""]),
        pick(&["--lambda 1", "--lambda 0.3 --lambda-ramp 9", "--lambda 0"]),
        pick(&["--label-smoothing 0.1", "--class-weights balanced", "--class-weights pos=2", "--clip 0"]),
        pick(&["--average", "--layer-decay 0.9", "--warmup 0.5", "--truncate tail --max-length 6"]),
        pick(&["--save-every 1", "--save-every 3", "--save-every 0"]),
    ];
    let mut options = options.join(" ");
    if options.contains("--method sda") {
        options = match rng.below(3) {
            0 => options
                .replace("--teacher window:1 ", "--teacher all ")
                .replace("--teacher window:2 ", "--teacher all "),
            1 => options.replace("--teacher window:5 ", "--teacher ema:0.97 "),
            _ => options,
        };
    }
    format!("{options} --epochs 2 --seed {}", rng.below(1000))
}

#[test]
#[ignore = "takes minutes: make soak"]
fn random_settings_repeat_and_survive_kills() {
    const SETTINGS: usize = 60;
    let toy = Toy::new();
    let mut rng = Rng(2024);
    let mut kills = 0;
    for number in 0..SETTINGS {
        let options = draw(&mut rng);
        let started = Instant::now();
        let whole = toy.run("whole", &format!("{options} --overwrite"));
        // Kills fall anywhere in a run, however fast the machine is.
        let took = started.elapsed().as_millis() as u64 + 1;
        succeed(&mut toy.command("--config whole/run.toml --out again --overwrite"));
        toy.result("again").assert_same(&whole, &format!("{options}, from run.toml"));
        if toy.path("cut").exists() {
            fs::remove_dir_all(toy.path("cut")).unwrap();
        }
        let mut command = toy.start(&format!("{options} --out cut --overwrite"));
        loop {
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if rng.below(5) > 0 {
                sleep(Duration::from_millis(rng.below(took)));
                let _ = child.kill();
            }
            if child.wait().unwrap().success() {
                break;
            }
            kills += 1;
            command = match toy.path("cut/run.toml").exists() {
                true => toy.command("--resume cut"),
                false => toy.start(&format!("{options} --out cut --overwrite")),
            };
        }
        toy.result("cut").assert_same(&whole, &format!("{options}, killed"));
        eprintln!("{}/{SETTINGS}, {kills} kills: {options}", number + 1);
    }
    assert!(kills >= SETTINGS, "only {kills} kills");
}

#[test]
#[ignore = "takes minutes: make soak"]
fn means_do_not_drift_in_thousands_of_steps() {
    const STEPS: usize = 20_000;
    let config = tiny::config(1, 8, 1);
    let batches: Vec<PackedBatch> = (0..16).map(|t| tiny::batch(&config, &[5, 3, 7], t)).collect();
    for (kind, window) in [
        (TeacherKind::Window(5), 5),
        (TeacherKind::Window(64), 64),
        (TeacherKind::All, 0),
        (TeacherKind::Ema(0.9999), 0),
    ] {
        let weights = tiny::weights(&config, 9);
        let mut learner = tiny::learner(&config, tiny::settings(tiny::method(Method::Sda, kind)), &batches, &weights);
        let student = |weights: &[f32]| weights.iter().map(|&w| f64::from(w)).collect::<Vec<f64>>();
        let mut iterates = VecDeque::from([student(&weights)]);
        let mut mean = student(&weights);
        let mut worst: f64 = 0.0;
        for t in 0..STEPS {
            learner.step(t as u64, &batches[t % 16..][..1], &[]).unwrap();
            let moved = student(&learner.device.read_parameters(&learner.state.student.weights).unwrap());
            match kind {
                TeacherKind::Window(_) => {
                    let sum = |i: usize| iterates.iter().map(|w| w[i]).sum::<f64>() / iterates.len() as f64;
                    mean = (0..mean.len()).map(sum).collect();
                }
                // The mean of θ_0..θ_t, which θ_{t+1} is not part of.
                TeacherKind::All => {
                    let newest = &iterates[iterates.len() - 1];
                    mean.iter_mut().zip(newest).for_each(|(m, w)| *m += (w - *m) / (t + 1) as f64);
                }
                TeacherKind::Ema(decay) => {
                    mean.iter_mut().zip(&moved).for_each(|(m, w)| *m += (1.0 - decay) * (w - *m))
                }
                other => unreachable!("{other} is not in the list above"),
            }
            iterates.push_back(moved);
            while iterates.len() > window.max(1) {
                iterates.pop_front();
            }
            let teacher = learner.state.teacher.weights().expect("sda keeps weights");
            worst = worst.max(tiny::distance(&learner.device.read_parameters(teacher).unwrap(), &mean));
        }
        eprintln!("{kind}: at most {worst:.1e} off in {STEPS} steps");
        // Weights stay below 8, of which half a unit in the last place is 2.4·10⁻⁷; a window adds K of them and divides
        // by K.
        assert!(worst < 1e-6, "{kind}: {worst:e}");
    }
}
