//! Programs that are not ours, on the shared library: a ctypes script, and cudarc's safe layer.

mod common;

use std::path::PathBuf;
use std::process::Command;

/// The library as cargo built it beside this test.
fn library() -> PathBuf {
    let beside = std::env::current_exe().expect("the test has a path");
    let folder = beside.parent().expect("the test lies in a folder");
    let found = [folder.join("libcuda.so"), folder.join("../libcuda.so")].into_iter().find(|p| p.exists());
    found.expect("cargo builds libcuda.so with the crate")
}

#[test]
fn a_ctypes_script_runs_a_ptx_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ptx, trace) = (folder.path().join("basics.ptx"), folder.path().join("trace.jsonl"));
    std::fs::write(&ptx, common::compile("basics", "sm_80", &[])).expect("the PTX is written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py");
    let output = Command::new("python3")
        .arg(script)
        .args([library(), ptx])
        .env("CUDASIM_CHECK", "all")
        .env("CUDASIM_PROFILE", "l40s")
        .env("CUDASIM_TRACE", &trace)
        .output()
        .expect("python3 starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "NVIDIA L40S (simulated)");
    assert!(!errors.contains("leak"), "{errors}");
    let report =
        Command::new(env!("CARGO_BIN_EXE_cudasim-report")).arg(&trace).arg("h100").output().expect("it starts");
    let table = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(table.contains("vector_add") && table.contains("estimate"), "{table}");
}

/// cudarc loads `libcuda.so` by name, so this test runs itself again where the loader finds ours.
#[test]
fn cudarc_runs_streams_events_and_graphs() {
    const INNER: &str = "CUDASIM_TEST_INNER";
    if std::env::var_os(INNER).is_none() {
        let output = Command::new(std::env::current_exe().expect("the test has a path"))
            .args(["cudarc_runs_streams_events_and_graphs", "--exact", "--nocapture"])
            .env("LD_LIBRARY_PATH", library().parent().expect("the library lies in a folder"))
            .env("CUDASIM_CHECK", "all")
            .env(INNER, "1")
            .output()
            .expect("the test starts again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    inner().expect("cudarc's calls succeed");
}

fn inner() -> Result<(), cudarc::driver::DriverError> {
    use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
    use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
    let context = CudaContext::new(0)?;
    assert_eq!(context.compute_capability()?, (9, 0));
    let module = context.load_module(cudarc::nvrtc::Ptx::from_src(common::compile("basics", "sm_90", &[])))?;
    let add = module.load_function("vector_add")?;
    let stream = context.new_stream()?;
    let n = 1000usize;
    let (a, b) = (stream.clone_htod(&vec![1.0f32; n])?, stream.clone_htod(&vec![2.0f32; n])?);
    let mut out = stream.alloc_zeros::<f32>(n)?;
    let (config, count) = (LaunchConfig::for_num_elems(n as u32), n as i32);
    let started = stream.record_event(None)?;
    unsafe { stream.launch_builder(&add).arg(&mut out).arg(&a).arg(&b).arg(&count).launch(config) }?;
    started.synchronize()?;
    assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
    // Captured: out += b, twice; nothing runs until the graph is launched.
    unsafe { context.disable_event_tracking() };
    let target = pointer(&out, &stream);
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    for _ in 0..2 {
        unsafe { stream.launch_builder(&add).arg(&target).arg(&target).arg(&b).arg(&count).launch(config) }?;
    }
    let graph = stream
        .end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH)?
        .expect("work was captured");
    assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
    for _ in 0..3 {
        graph.launch()?;
    }
    assert_eq!(stream.clone_dtoh(&out)?, vec![3.0 + 2.0 * 6.0f32; n]);
    Ok(())
}

fn pointer(slice: &cudarc::driver::CudaSlice<f32>, stream: &cudarc::driver::CudaStream) -> u64 {
    use cudarc::driver::DevicePtr;
    slice.device_ptr(stream).0
}
