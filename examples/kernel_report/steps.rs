//! Running the steps: on the simulator, whose trace holds the launches, or on a device that times them.

use std::{env, fs, path::PathBuf, slice};

use anyhow::{Context, ensure};
use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Distance, Passes,
        cuda::{Bf16, CudaDevice},
    },
    distillation::{LambdaSchedule, Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer},
    training::{Learner, LearningRates, Schedule, step::StepSettings},
};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::workload::Case;

/// The window of the methods that have one: the paper's.
const WINDOW: usize = 5;
/// Steps until a window is full and every pass is recorded.
const WARM: u64 = WINDOW as u64 + 1;
/// Steps that are reported, as their mean: a window's slots are added up anew in one of so many.
pub const STEPS: u64 = WINDOW as u64;
/// Launches of a kernel between two events.
const REPEATS: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    Ft,
    Sda,
    Sdv,
}

impl MethodName {
    /// As on the command line of `train`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ft => "ft",
            Self::Sda => "sda",
            Self::Sdv => "sdv",
        }
    }

    fn settings(self) -> MethodSettings {
        let window = TeacherKind::Window(WINDOW);
        match self {
            Self::Ft => MethodSettings::new(Method::Ft, TeacherKind::All),
            Self::Sda => MethodSettings { keeps_teacher: true, ..MethodSettings::new(Method::Sda, window) },
            Self::Sdv => MethodSettings::new(Method::Sdv, window),
        }
    }
}

/// What to run the steps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The simulator's counts
    Count,
    /// Times of launches
    Time,
}

/// Runs each method's steps and prints one line of JSON for it: which lines of the trace, or which times, are of the
/// steps that are reported.
pub fn run(part: Part, case: &Case, methods: &[MethodName]) -> anyhow::Result<()> {
    for &method in methods {
        let batch = case.batch();
        let mut learner = learner(case, method)?;
        if part == Part::Time {
            learner.device.time_launches(REPEATS);
        }
        steps(&mut learner, 0..WARM, &batch)?;
        let first = trace_lines(part)?;
        learner.device.take_spans()?;
        steps(&mut learner, WARM..WARM + STEPS, &batch)?;
        let last = trace_lines(part)?;
        let spans = learner.device.take_spans()?;
        let times: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.duration.as_secs_f64() * 1e6)).collect();
        let device = learner.device.name();
        println!("{}", json!({"method": method, "device": device, "first": first, "last": last, "times": times}));
    }
    Ok(())
}

fn learner(case: &Case, method: MethodName) -> anyhow::Result<Learner<CudaDevice<Bf16>>> {
    let encoder = Encoder::new(&case.config, LastLayer::FirstRows);
    let settings = StepSettings {
        seed: 1,
        max_examples: case.shape.sequences,
        method: method.settings(),
        rates: LearningRates {
            encoder: 2e-5,
            head: 1e-3,
            layer_decay: 1.0,
            weight_decay: 0.01,
            warmup_steps: 0,
            total_steps: 1000,
            schedule: Schedule::Linear,
            floor: 0.0,
        },
        lambda: LambdaSchedule { lambda: 1.0, ramp_steps: 0 },
        distance: Distance::Mse,
        teacher_dropout: true,
        label_smoothing: 0.0,
        class_weights: None,
        clip: 1.0,
        beta1: 0.9,
        beta2: 0.999,
        adam_eps: 1e-8,
    };
    let capacity = case.capacity();
    let device = CudaDevice::<Bf16>::new(0, encoder.shape, capacity).context("open the CUDA device")?;
    // No count and no time depends on the numbers; zeros that nothing touches take no memory on the simulator.
    let weights = vec![0.0; encoder.layout.len];
    Ok(Learner::new(device, encoder, settings, capacity, capacity, &weights)?)
}

fn steps(
    learner: &mut Learner<CudaDevice<Bf16>>,
    numbers: std::ops::Range<u64>,
    batch: &PackedBatch,
) -> anyhow::Result<()> {
    let micro = slice::from_ref(batch);
    let ahead = vec![micro; learner.state.teacher.steps_ahead()];
    for step in numbers {
        let report = learner.step(step, micro, &ahead)?;
        // A step that is skipped launches the same kernels, which then do less.
        ensure!(report.grad_norm.is_finite(), "step {step} has no finite gradient norm");
    }
    Ok(())
}

/// Launches in the simulator's trace so far.
fn trace_lines(part: Part) -> anyhow::Result<usize> {
    if part == Part::Time {
        return Ok(0);
    }
    let path = PathBuf::from(env::var_os("CUDASIM_TRACE").context("CUDASIM_TRACE is set for this process")?);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().count())
}
