//! `cudasim-report TRACE [PROFILE...]`: a trace of `CUDASIM_TRACE` as a table, with the floor in time on each profile.

use std::process::ExitCode;

use cudasim::counters::report::{Line, table};
use cudasim::profile::{PROFILES, Profile};

fn report(mut arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let path = arguments.next().ok_or("usage: cudasim-report TRACE [h100|h200|a100|l40s|b200|v100 ...]")?;
    let mut profiles = Vec::new();
    for name in arguments {
        profiles.push(Profile::named(&name).ok_or(format!("profile {name} is not known"))?);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        lines.push(serde_json::from_str::<Line>(line).map_err(|e| format!("{path}:{}: {e}", number + 1))?);
    }
    Ok(table(&lines, if profiles.is_empty() { &PROFILES } else { &profiles }))
}

fn main() -> ExitCode {
    match report(std::env::args().skip(1)) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("cudasim-report: {message}");
            ExitCode::FAILURE
        }
    }
}
