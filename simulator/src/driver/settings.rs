//! The environment's choices, read once when the driver starts; a test may set them instead.
//!
//! | variable | meaning |
//! |---|---|
//! | `CUDASIM_PROFILE` | `h100` (default), `h200`, `a100`, `l40s`, `b200`, `v100` |
//! | `CUDASIM_MEMORY_MIB` | device memory, that of the profile by default |
//! | `CUDASIM_CHECK` | `mem,race,init,sync,leak`, `all` of these, or nothing; and `aligned`, `pageable` |
//! | `CUDASIM_TRACE` | file that gets a JSON line a launch |
//! | `CUDASIM_SAMPLE` | `KERNEL:X.Y.Z,…`: of these kernels' grids so many coordinates along each axis run, and counts are scaled; a launch like one before is not run again. Results are wrong, counts are what remains |
//! | `CUDASIM_GRAPH_NODE_BYTES` | device memory that an instance of a graph takes for each node, none by default |
//! | `CUDASIM_SEED` | picks among the legal orders of queued work; `0` is first come, first run |
//! | `CUDASIM_TIMEOUT_MS` | watchdog of one launch, 120,000 by default |
//! | `CUDASIM_IDLE_MS` | queued work that nothing waits for runs by itself after so long without a call: 500 by default, `0` never |
//! | `CUDASIM_THREADS` | worker threads, all cores by default |
//! | `CUDASIM_FAULT` | `KERNEL[:N]`: the N-th launch of this kernel (the first by default) ends in an illegal address |
//! | `CUDASIM_TENSOR_SUMS` | `exact` (default): each addition of a matrix product is rounded; `truncate`: sums cut off bits as tensor cores do |
//! | `CUDASIM_APPROX` | `exact` (default): `ex2`, `lg2` and `rcp` are correctly rounded; `2ulp`: they are off by up to two units in the last place |
//! | `CUDASIM_LAZY` | `1`: a kernel is loaded when it is first launched or asked about; in a capture that is refused, as before CUDA 12.3 |
//! | `CUDASIM_MACHINE_CODE` | `unreadable`: a fat binary with machine code for the device is refused, as by a driver older than its compiler |
//! | `CUDASIM_DRIVER_VERSION` | the driver to be, such as `12040`: PTX newer than CUDA 12.4's is refused. By default the newest, and any PTX |

use std::path::PathBuf;

use super::demand::Demand;
use super::version;
use crate::launch::Checks;
use crate::launch::sample::Sampling;
use crate::lower::Numerics;
use crate::profile::{PROFILES, Profile};

#[derive(Clone, Debug)]
pub struct Settings {
    pub profile: Profile,
    pub checks: Checks,
    pub trace: Option<PathBuf>,
    /// Which blocks of launches run; all, without rules.
    pub sampling: Sampling,
    /// Device memory that an instance of a graph takes for each node.
    pub graph_node_bytes: u64,
    pub seed: u64,
    pub timeout_ms: u64,
    pub threads: usize,
    /// Time without a call after which queued work runs by itself; zero is never.
    pub idle_ms: u64,
    pub fault: Option<Demand>,
    pub numerics: Numerics,
    /// Kernels are loaded at their first use.
    pub lazy: bool,
    /// Machine code for the device, where a fat binary has it, cannot be read.
    pub unreadable: bool,
    /// The driver's version, where one was chosen.
    pub driver_version: Option<u32>,
}

const DEFAULT_TIMEOUT_MS: u64 = 120_000;
/// Of a driver that takes its settings from the environment; by itself a test's work stays queued for as long as it
/// likes.
const DEFAULT_IDLE_MS: u64 = 500;

impl Default for Settings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            profile: PROFILES[0],
            checks: Checks::default(),
            trace: None,
            sampling: Sampling::default(),
            graph_node_bytes: 0,
            seed: 1,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            threads,
            idle_ms: 0,
            fault: None,
            numerics: Numerics::default(),
            lazy: false,
            unreadable: false,
            driver_version: None,
        }
    }
}

impl Settings {
    /// What `cuDriverGetVersion` answers.
    pub fn api_version(&self) -> u32 {
        self.driver_version.unwrap_or(version::NEWEST)
    }

    /// The newest PTX that is taken; any, unless a driver was chosen.
    pub fn newest_ptx(&self) -> Option<version::Version> {
        self.driver_version.and_then(version::newest_ptx)
    }

    /// Reads the environment; the error says which variable is wrong.
    pub fn from_environment() -> Result<Self, String> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = Self::default();
        let number = |name: &str| -> Result<Option<u64>, String> {
            let Some(text) = variable(name) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| format!("{name}={text} is not a number"))
        };
        if let Some(key) = variable("CUDASIM_PROFILE") {
            settings.profile = Profile::named(&key).ok_or(format!("CUDASIM_PROFILE={key} is not known"))?;
        }
        if let Some(mib) = number("CUDASIM_MEMORY_MIB")? {
            settings.profile.memory_bytes = mib.clamp(1, 1 << 20) << 20;
        }
        if let Some(list) = variable("CUDASIM_CHECK") {
            settings.checks = Checks::parse(&list).map_err(|name| format!("CUDASIM_CHECK={name} is not known"))?;
        }
        settings.trace = variable("CUDASIM_TRACE").map(PathBuf::from);
        settings.graph_node_bytes = number("CUDASIM_GRAPH_NODE_BYTES")?.unwrap_or(0);
        if let Some(text) = variable("CUDASIM_SAMPLE") {
            let rules = Sampling::parse(&text);
            settings.sampling = rules.ok_or(format!(
                "CUDASIM_SAMPLE={text} is no list of KERNEL:X.Y.Z with * or a number from 2 for each axis"
            ))?;
            if settings.trace.is_none() {
                return Err("CUDASIM_SAMPLE leaves nothing but counts, so it needs CUDASIM_TRACE".to_owned());
            }
            if settings.checks != Checks::default() {
                return Err("CUDASIM_SAMPLE runs only part of a program: no CUDASIM_CHECK goes with it".to_owned());
            }
        }
        settings.seed = number("CUDASIM_SEED")?.unwrap_or(settings.seed);
        settings.timeout_ms = number("CUDASIM_TIMEOUT_MS")?.unwrap_or(settings.timeout_ms);
        settings.threads = number("CUDASIM_THREADS")?.map_or(settings.threads, |n| n.clamp(1, 1024) as usize);
        settings.idle_ms = number("CUDASIM_IDLE_MS")?.unwrap_or(DEFAULT_IDLE_MS);
        if let Some(text) = variable("CUDASIM_FAULT") {
            let demand = Demand::parse(&text);
            settings.fault =
                Some(demand.ok_or(format!("CUDASIM_FAULT={text} is not KERNEL or KERNEL:N with N from 1"))?);
        }
        let choice = |name: &str, other: &str| match variable(name).as_deref() {
            None | Some("exact") => Ok(false),
            Some(value) if value == other => Ok(true),
            Some(value) => Err(format!("{name}={value} is neither exact nor {other}")),
        };
        settings.numerics.truncated_sums = choice("CUDASIM_TENSOR_SUMS", "truncate")?;
        settings.numerics.inexact_functions = choice("CUDASIM_APPROX", "2ulp")?;
        settings.lazy = variable("CUDASIM_LAZY").is_some_and(|text| text == "1");
        settings.unreadable = match variable("CUDASIM_MACHINE_CODE") {
            None => false,
            Some(text) if text == "unreadable" => true,
            Some(text) => return Err(format!("CUDASIM_MACHINE_CODE={text} is not unreadable")),
        };
        if let Some(text) = variable("CUDASIM_DRIVER_VERSION") {
            let driver = version::parse(&text);
            settings.driver_version =
                Some(driver.ok_or(format!("CUDASIM_DRIVER_VERSION={text} is no release such as 12040"))?);
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn a_wrong_variable_is_named() {
        let read = |name: &'static str, value: &'static str| {
            Settings::read(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(read("CUDASIM_PROFILE", "A100").map(|s| s.profile.capability), Ok((8, 0)));
        assert_eq!(read("CUDASIM_PROFILE", "v100").map(|s| s.profile.capability), Ok((7, 0)));
        assert!(read("CUDASIM_PROFILE", "p100").is_err_and(|e| e.contains("CUDASIM_PROFILE=p100")));
        assert!(read("CUDASIM_FAULT", "fill:2").is_ok_and(|s| s.fault.is_some_and(|f| f.launch == 2)));
        assert!(read("CUDASIM_FAULT", "fill:0").is_err_and(|e| e.contains("CUDASIM_FAULT=fill:0")));
        assert_eq!(read("CUDASIM_DRIVER_VERSION", "12040").map(|s| s.driver_version), Ok(Some(12040)));
        assert!(read("CUDASIM_DRIVER_VERSION", "12.4").is_err_and(|e| e.contains("CUDASIM_DRIVER_VERSION=12.4")));
        assert!(read("CUDASIM_MACHINE_CODE", "none").is_err_and(|e| e.contains("CUDASIM_MACHINE_CODE=none")));
        assert_eq!(read("CUDASIM_MEMORY_MIB", "3").map(|s| s.profile.memory_bytes), Ok(3 << 20));
        assert!(read("CUDASIM_CHECK", "mem,rice").is_err_and(|e| e.contains("rice")));
        assert!(read("CUDASIM_SEED", "x").is_err());
        assert!(read("CUDASIM_SAMPLE", "fill:1.1.1").is_err_and(|e| e.contains("CUDASIM_SAMPLE=fill:1.1.1")));
        assert!(read("CUDASIM_SAMPLE", "fill:2.2.2").is_err_and(|e| e.contains("CUDASIM_TRACE")));
        assert_eq!(read("CUDASIM_GRAPH_NODE_BYTES", "2048").map(|s| s.graph_node_bytes), Ok(2048));
        assert!(read("CUDASIM_TENSOR_SUMS", "truncate").is_ok_and(|s| s.numerics.truncated_sums));
        assert!(read("CUDASIM_APPROX", "2ulp").is_ok_and(|s| s.numerics.inexact_functions));
        assert!(read("CUDASIM_APPROX", "3ulp").is_err_and(|e| e.contains("CUDASIM_APPROX=3ulp")));
        assert!(read("CUDASIM_CHECK", "mem, init").is_ok_and(|s| s.checks.mem && s.checks.init && !s.checks.race));
    }
}
