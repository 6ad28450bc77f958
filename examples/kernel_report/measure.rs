//! Times of the launches of a case's steps on this machine's device, in a process of its own.

use std::{env, process::Command};

use anyhow::Context;
use cudasim::profile::{PROFILES, Profile};
use serde::Serialize;

use super::{count::answers, steps::MethodName, workload::Case};

/// What the launches of the steps of a method took.
pub struct Times {
    pub method: MethodName,
    pub device: String,
    /// Kernel and microseconds, in the order of the launches.
    pub launches: Vec<(String, f64)>,
}

/// What launches took together, by what they do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    pub us: f64,
    /// Floor bytes over time.
    pub gb_per_s: f64,
    pub tflops: f64,
}

/// This program once more, for the steps of one case.
pub fn this_program(case: &Case, methods: &[MethodName], small: bool, part: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe().context("where this program is")?);
    command.args(["--run", part, "--only", &case.name()]);
    for method in methods {
        command.args(["--method", method.name()]);
    }
    if small {
        command.arg("--small");
    }
    Ok(command)
}

/// The card that was timed, as far as it is known here: a table of rates has it.
pub fn card(times: &[Times]) -> anyhow::Result<Profile> {
    let device = times.first().map_or("", |times| times.device.as_str());
    let name = device.to_lowercase();
    let known = PROFILES.iter().find(|profile| name.contains(profile.key)).copied();
    known.with_context(|| format!("the rates of {device} are not known: they would stand in simulator/src/profile.rs"))
}

pub fn measure(case: &Case, methods: &[MethodName], small: bool) -> anyhow::Result<Vec<Times>> {
    let command = this_program(case, methods, small, "time")?;
    let of_method = |(&method, answer): (&MethodName, &serde_json::Value)| {
        let launches = serde_json::from_value(answer["times"].clone()).context("times of launches")?;
        Ok(Times { method, device: answer["device"].as_str().unwrap_or_default().to_owned(), launches })
    };
    methods.iter().zip(&answers(command, case, methods)?).map(of_method).collect()
}
