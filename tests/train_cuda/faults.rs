//! What the program says of a GPU or a driver that is too old, and of a kernel that fails in the middle of a run: the
//! simulator plays all three, also where there is a GPU.

use std::process::Command;

use crate::{
    place,
    runs::{Toy, refuse, stderr, succeed},
};

/// `train` on the simulator, whatever is there: only it can be told to fail.
fn simulated(toy: &Toy, arguments: &str) -> Command {
    let mut command = toy.start(&format!("{arguments} --device cuda"));
    command.env("CUDASIM", "1");
    command
}

#[test]
fn an_older_gpu_is_named_with_what_the_kernels_need() {
    let toy = Toy::new();
    let mut command = simulated(&toy, "--out run");
    let parts = ["Tesla V100-SXM2-32GB (simulated) has compute capability 7.0", "8.0 (Ampere)", "--device cpu"];
    refuse(command.env("CUDASIM_PROFILE", "v100"), 1, &parts);
    assert!(!toy.path("run").exists(), "nothing is written");
    let mut info = place::program();
    let listed = succeed(info.arg("info").env("CUDASIM", "1").env("CUDASIM_PROFILE", "v100"));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("Tesla V100-SXM2-32GB (simulated), 32.0 GiB") && listed.contains("not usable"), "{listed}");
}

#[test]
fn an_older_driver_runs_the_machine_code_or_is_named() {
    let toy = Toy::new();
    let mut command = simulated(&toy, "--out run --max-steps 1");
    command.env("CUDASIM_PROFILE", "a100").env("CUDASIM_DRIVER_VERSION", "11040");
    let output = command.output().unwrap();
    let text = stderr(&output);
    if output.status.success() {
        // The build has machine code for compute capability 8.0, which no driver has to compile.
        assert!(text.contains("NVIDIA A100"), "{text}");
        return;
    }
    // A build for other architectures only (BERTSD_CUDA_ARCH).
    let parts = ["cannot load the kernels", "the driver is older than CUDA 12.0", "update the driver"];
    refuse(&mut command, 1, &parts);
}

#[test]
fn a_driver_that_cannot_read_the_machine_code_compiles_the_kernels() {
    let toy = Toy::new();
    let mut command = simulated(&toy, "--out run --max-steps 1");
    let output = succeed(command.env("CUDASIM_PROFILE", "a100").env("CUDASIM_MACHINE_CODE", "unreadable"));
    assert!(stderr(&output).contains("NVIDIA A100"), "{}", stderr(&output));
}

#[test]
fn no_kernel_is_loaded_while_a_pass_is_recorded() {
    let toy = Toy::new();
    for method in ["sda --teacher window:2", "sdv --teacher window:2", "se"] {
        let mut command =
            simulated(&toy, &format!("--out run --overwrite --max-steps 2 --dev dev.csv --method {method}"));
        let output = succeed(command.env("CUDASIM_LAZY", "1"));
        assert!(!stderr(&output).contains("CUDASIM_LAZY"), "{}", stderr(&output));
    }
}

#[test]
fn a_kernel_that_fails_is_named_with_its_layer_and_step_and_the_last_checkpoint_stands() {
    let toy = Toy::new();
    let options = "--method ft --precision f32 --max-steps 6 --save-every 2 --batch-size 16";
    succeed(&mut simulated(&toy, &format!("{options} --out whole")));
    // Attention runs in two of the three layers of a pass (the last has a kernel of its own): the ninth launch is of
    // step 5.
    let cases = [
        ("attention_forward_dropout_f32_d32:9", "attention_forward_dropout_f32_d32 (layer 0 forward)", 5),
        (
            "attention_backward_query_dropout_f32_d32:9",
            "attention_backward_query_dropout_f32_d32 (layer 1 backward)",
            5,
        ),
        ("distillation_loss:6", "distillation_loss (loss)", 6),
        ("update_f32:3", "update_f32 (optimizer)", 3),
        ("embed_backward_words_f32:4", "embed_backward_words_f32 (embeddings backward)", 4),
    ];
    for (fault, kernel, step) in cases {
        let mut command = simulated(&toy, &format!("{options} --out run --overwrite"));
        command.env("BERTSD_MARK_KERNELS", "1");
        let saved = (step - 1) / 2 * 2;
        let checkpoint = format!("the last good checkpoint is run/checkpoints/step-{saved:08}.ckpt");
        let failed = format!("error: device cuda:0: step {step}: {kernel} has failed: ");
        let text = refuse(command.env("CUDASIM_FAULT", fault), 1, &[&failed, "ILLEGAL_ADDRESS", &checkpoint]);
        assert!(text.contains("asked for by CUDASIM_FAULT"), "{text}");
        let mut resume = toy.command("--resume run");
        let resumed = succeed(resume.env("CUDASIM", "1"));
        assert!(stderr(&resumed).contains(&format!("going on after step {saved}")), "{}", stderr(&resumed));
        toy.result("run").assert_same(&toy.result("whole"), fault);
    }
}

#[test]
fn without_marks_the_step_and_the_checkpoint_are_named_and_how_to_learn_the_kernel() {
    let toy = Toy::new();
    let options = "--method ft --precision f32 --max-steps 3 --save-every 2 --batch-size 16 --out run --overwrite";
    let parts = [
        "error: device cuda:0: step 3: a kernel has failed: ",
        "ILLEGAL_ADDRESS",
        "with BERTSD_MARK_KERNELS=1 in the environment it is named",
        "the last good checkpoint is run/checkpoints/step-00000002.ckpt",
    ];
    let text = refuse(simulated(&toy, options).env("CUDASIM_FAULT", "update_f32:3"), 1, &parts);
    assert!(!text.contains("update_f32 "), "no kernel has left a mark: {text}");
    // A trace launches kernels one by one and marks them.
    let traced = format!("{options} --trace trace.json");
    refuse(simulated(&toy, &traced).env("CUDASIM_FAULT", "update_f32:3"), 1, &["update_f32 (optimizer) has failed: "]);
}
