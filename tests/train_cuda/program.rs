//! The program on a CUDA device: the same run beside the processor's, resumed to the bit, counted launch by launch, and
//! what it says where there is no device. Without a GPU the device is the simulator, with all its checks.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    cuda_runs::{losses, mean, on_cuda},
    gpu, place,
    runs::{self, Toy, refuse, stderr, succeed},
};

const BASE: &str = "--dev dev.csv";
/// Encoder layers of the model.
const LAYERS: usize = 3;

#[test]
fn the_loss_falls_as_on_the_processor() {
    let toy = Toy::new();
    let options = format!("{BASE} --max-steps 12 --method sda --teacher window:3");
    let cpu = losses(&toy.run("cpu", &options));
    assert!(mean(&cpu[8..]) < 0.8 * mean(&cpu[..4]), "the toy task is learnt: {cpu:?}");
    for (precision, name, tolerance) in [("f32", "float32", 1e-3), ("tf32", "tf32", 5e-4), ("bf16", "bf16", 0.05)] {
        let mut command = on_cuda(toy.start(&format!("{options} --precision {precision} --out {precision}")));
        let output = succeed(&mut command);
        eprintln!("{}", stderr(&output).lines().find(|line| line.starts_with("device")).unwrap());
        let gpu = losses(&toy.result(precision));
        let worst = cpu.iter().zip(&gpu).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
        eprintln!("{precision}: losses {worst:.1e} off those of the processor");
        for (t, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
            assert!((a - b).abs() <= tolerance * a, "{precision}, step {t}: {a} on the processor, {b}");
        }
        let text = stderr(&output);
        assert!(text.contains("device       cuda:0 ("), "the log names the device: {text}");
        assert!(text.contains(&format!(" GiB, {name})")), "the log names the precision: {text}");
        assert!(!text.contains("cudasim: "), "the simulator's checks have nothing to say: {text}");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_bit() {
    let toy = Toy::new();
    for method in ["--method sda --teacher window:2 --average", "--method sdv --teacher window:2", "--method se"] {
        let options = format!("{BASE} --max-steps 6 --batch-size 16 --save-every 1 {method}");
        succeed(&mut on_cuda(toy.start(&format!("{options} --out whole --overwrite"))));
        let whole = toy.result("whole");
        let cut = format!("{options} --out parts --overwrite --stop-after 3");
        refuse(&mut on_cuda(toy.start(&cut)), 130, &["interrupted after step 3"]);
        let mut resume = toy.command("--resume parts");
        if !gpu::is_there() {
            resume.env("CUDASIM", "1");
        }
        succeed(&mut resume);
        toy.result("parts").assert_same(&whole, method);
    }
}

#[test]
fn the_order_of_queued_work_changes_nothing() {
    let toy = Toy::new();
    let options = format!("{BASE} --max-steps 5 --batch-size 16 --grad-accum 4");
    let run = |seed: &str| {
        let options = format!("{options} --precision f32 --out run --overwrite");
        succeed(on_cuda(toy.start(&options)).env("CUDASIM_SEED", seed));
        toy.result("run")
    };
    let first = run("0");
    // Work that runs too late is as wrong in every order.
    for (t, (a, b)) in losses(&toy.run("cpu", &options)).iter().zip(&losses(&first)).enumerate() {
        assert!((a - b).abs() <= 1e-3 * a, "step {t}: {a} on the processor, {b}");
    }
    for seed in ["1", "2", "3"] {
        first.assert_same(&run(seed), &format!("order {seed}"));
    }
}

#[test]
fn tf32_is_of_linear_layers_only_and_only_where_asked_for() {
    let toy = Toy::new();
    let options = "--max-steps 3 --batch-size 16 --method sda --teacher window:2 --out";
    succeed(&mut on_cuda(toy.start(&format!("{options} one --precision tf32 --trace trace.json"))));
    let kernels: Vec<String> = launches(&toy.path("trace.json")).into_values().flatten().collect();
    let multiplies = |name: &str| ["linear", "project_first", "pooler"].iter().any(|start| name.starts_with(start));
    for name in &kernels {
        assert_eq!(multiplies(name), name.contains("_tf32"), "{name}");
        assert!(!name.contains("_bf16"), "{name}");
    }
    for start in ["linear_backward_weight", "linear_backward_input", "project_first", "pooler", "attention"] {
        assert!(kernels.iter().any(|name| name.starts_with(start)), "no {start} in {kernels:?}");
    }

    let setting = |run: &str| {
        let file = fs::read_to_string(toy.path(run).join("run.toml")).unwrap();
        file.lines().find(|line| line.starts_with("precision")).unwrap().to_owned()
    };
    assert_eq!(setting("one"), r#"precision = "tf32""#);
    succeed(&mut on_cuda(toy.command("--config one/run.toml --out two")));
    toy.result("two").assert_same(&toy.result("one"), "from run.toml");
    assert_eq!(setting("two"), setting("one"));
    succeed(&mut on_cuda(toy.start(&format!("{options} auto"))));
    assert_eq!(setting("auto"), r#"precision = "bf16""#);
}

#[test]
fn tf32_takes_the_memory_of_float32() {
    let toy = Toy::new();
    let plan = |precision: &str| -> Value {
        let mut command = place::program();
        command.args(["info", "--json", "--precision", precision, "--model"]).arg(runs::golden_model());
        let output = succeed(on_cuda(command).current_dir(toy.home.path()));
        let mut plan = serde_json::from_slice::<Value>(&output.stdout).unwrap()["memory"].take();
        // Where split sums wait depends on tiles, which are those of bf16.
        for name in ["scratch_bytes", "total_bytes"] {
            assert!(plan.as_object_mut().unwrap().remove(name).unwrap().as_u64() > Some(0), "{name}");
        }
        plan
    };
    assert_eq!(plan("tf32"), plan("f32"));
    assert_ne!(plan("tf32"), plan("bf16"));
}

/// Kernels by step and scope of a timeline.
fn launches(path: &Path) -> BTreeMap<String, Vec<String>> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["tid"] == 2 && event["ph"] == "X") {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        found.entry(text("cat")).or_default().push(text("name"));
    }
    found
}

#[test]
fn launches_are_few() {
    let toy = Toy::new();
    let options = "--train train.csv --method ft --max-steps 1 --batch-size 16 --out run --trace trace.json";
    succeed(&mut on_cuda(toy.start(options)));
    let found = launches(&toy.path("trace.json"));
    let count = |scope: &str| found.get(scope).map_or(0, Vec::len);
    for layer in 0..LAYERS {
        let (forward, backward) = (count(&format!("layer {layer} forward")), count(&format!("layer {layer} backward")));
        eprintln!("layer {layer}: {forward} launches forward, {backward} backward");
        assert!((1..=7).contains(&forward), "layer {layer} forward: {:?}", found[&format!("layer {layer} forward")]);
        assert!(
            (1..=13).contains(&backward),
            "layer {layer} backward: {:?}",
            found[&format!("layer {layer} backward")]
        );
    }
    assert_eq!(count("loss"), 1, "{:?}", found["loss"]);
    let optimizer: Vec<_> = found["optimizer"].iter().filter(|name| name.starts_with("update")).collect();
    assert_eq!(optimizer.len(), 1, "{:?}", found["optimizer"]);
}

#[test]
fn eval_and_predict_run_there_too() {
    let toy = Toy::new();
    toy.run("run", "--max-steps 8");
    let program = |arguments: &str| {
        let mut command = place::program();
        command.current_dir(toy.home.path()).args(arguments.split_whitespace());
        command
    };
    let scores = |output: std::process::Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let eval = "eval --model run/model --data test.csv --json";
    let cpu = scores(succeed(&mut program(&format!("{eval} --device cpu"))));
    let gpu = scores(succeed(&mut on_cuda(program(&format!("{eval} --precision f32")))));
    let loss = |value: &Value| value["loss"].as_f64().unwrap();
    assert!((loss(&cpu) - loss(&gpu)).abs() <= 1e-4 * loss(&cpu), "{cpu} {gpu}");
    let predict = "predict --model run/model --input test.csv --text text --output labels.csv";
    succeed(&mut on_cuda(program(predict)));
    assert_eq!(fs::read_to_string(toy.path("labels.csv")).unwrap().lines().count(), 17);
}

#[test]
fn a_device_that_cannot_be_used_is_refused_before_anything_is_written() {
    let toy = Toy::new();
    let start = |arguments: &str| toy.start(&format!("{arguments} --out run --max-steps 1"));
    let none = |command: &mut Command, parts: &[&str]| {
        refuse(command, 1, parts);
        assert!(!toy.path("run").exists(), "nothing of a run is left");
    };
    if !gpu::is_there() {
        none(&mut start("--device cuda"), &["cuda:0", "no CUDA driver is installed", "--device cpu"]);
    }
    let missing = toy.path("libcuda.so").display().to_string();
    let parts = ["CUDASIM=1", missing.as_str(), "cargo build"];
    none(start("--device cuda").env("CUDASIM", "1").env("CUDASIM_LIBRARY", &missing), &parts);
    none(start("--device cuda:7").env("CUDASIM", "1"), &["cuda:7", "no such device", "the driver has 0 to 0"]);
    for precision in ["bf16", "tf32"] {
        let parts = ["precision", "float32", precision, "--device cuda"];
        refuse(&mut start(&format!("--device cpu --precision {precision}")), 2, &parts);
    }
    refuse(&mut start("--device cuda --precision fp8"), 2, &["--precision", "auto, bf16, tf32, f32"]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_batch_that_would() {
    if gpu::is_there() {
        eprintln!("a GPU's memory is as large as it is; the check itself is tested in the library");
        return;
    }
    let toy = Toy::new();
    let start = |memory: &str, batch: &str| {
        let mut command = on_cuda(toy.start(&format!("--max-steps 1 --out run --overwrite --batch-size {batch}")));
        command.env("CUDASIM_MEMORY_MIB", memory);
        command
    };
    let text = refuse(&mut start("12", "96"), 1, &["cuda:0", "MiB are free", "--batch-size of", "--grad-accum"]);
    let fits = text.split("--batch-size of ").nth(1).unwrap().split(' ').next().unwrap();
    succeed(&mut start("12", fits));
    refuse(&mut start("1", "1"), 1, &["cuda:0"]);
}
