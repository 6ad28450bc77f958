//! The environment's choices, read once when the driver starts; a test may set them instead.
//!
//! | variable | meaning |
//! |---|---|
//! | `CUDASIM_PROFILE` | `h100` (default), `a100`, `l40s`, `b200`, `t4` |
//! | `CUDASIM_MEMORY_MIB` | device memory, that of the profile by default |
//! | `CUDASIM_DRIVER_VERSION` | what `cuDriverGetVersion` answers, as 1000 · major + 10 · minor; PTX of a newer compiler is refused |
//! | `CUDASIM_FAULT` | `KERNEL` or `KERNEL:N`: the N-th launch of that kernel ends as if it had touched foreign memory |
//! | `CUDASIM_CHECK` | `mem,race,init,sync,leak`, `all`, or nothing |
//! | `CUDASIM_TRACE` | file that gets a JSON line a launch |
//! | `CUDASIM_SEED` | picks among the legal orders of queued work; `0` is first come, first run |
//! | `CUDASIM_TIMEOUT_MS` | watchdog of one launch, 120,000 by default |
//! | `CUDASIM_THREADS` | worker threads, all cores by default |

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::profile::{PROFILES, Profile};
use crate::checks::Checks;

#[derive(Clone, Debug)]
pub struct Settings {
    pub profile: Profile,
    pub driver_version: i32,
    pub fault: Option<Arc<FaultOnDemand>>,
    pub checks: Checks,
    pub trace: Option<PathBuf>,
    pub seed: u64,
    pub timeout_ms: u64,
    pub threads: usize,
}

/// A fault that was asked for, so that a program can show how it takes one.
#[derive(Debug)]
pub struct FaultOnDemand {
    kernel: String,
    /// From 1.
    launch: u64,
    seen: AtomicU64,
}

impl FaultOnDemand {
    /// `KERNEL` or `KERNEL:N`.
    fn parse(text: &str) -> Option<Self> {
        let (kernel, launch) = match text.split_once(':') {
            None => (text, 1),
            Some((kernel, number)) => (kernel, number.parse().ok().filter(|&n| n > 0)?),
        };
        (!kernel.is_empty()).then(|| Self { kernel: kernel.to_owned(), launch, seen: AtomicU64::new(0) })
    }

    /// Counts a launch; whether it is the one.
    pub fn strikes(&self, kernel: &str) -> bool {
        kernel == self.kernel && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.launch
    }
}

/// The newest CUDA whose functions are here.
const DRIVER_VERSION: i32 = 13050;

const DEFAULT_TIMEOUT_MS: u64 = 120_000;

impl Default for Settings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            profile: PROFILES[0],
            driver_version: DRIVER_VERSION,
            fault: None,
            checks: Checks::default(),
            trace: None,
            seed: 1,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            threads,
        }
    }
}

impl Settings {
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
        if let Some(version) = number("CUDASIM_DRIVER_VERSION")? {
            settings.driver_version = i32::try_from(version).map_err(|_| "CUDASIM_DRIVER_VERSION is too large")?;
        }
        if let Some(text) = variable("CUDASIM_FAULT") {
            let fault = FaultOnDemand::parse(&text);
            let fault = fault.ok_or(format!("CUDASIM_FAULT={text} is neither KERNEL nor KERNEL:N with N from 1"))?;
            settings.fault = Some(Arc::new(fault));
        }
        if let Some(list) = variable("CUDASIM_CHECK") {
            settings.checks = Checks::parse(&list).map_err(|name| format!("CUDASIM_CHECK={name} is not known"))?;
        }
        settings.trace = variable("CUDASIM_TRACE").map(PathBuf::from);
        settings.seed = number("CUDASIM_SEED")?.unwrap_or(settings.seed);
        settings.timeout_ms = number("CUDASIM_TIMEOUT_MS")?.unwrap_or(settings.timeout_ms);
        settings.threads = number("CUDASIM_THREADS")?.map_or(settings.threads, |n| n.clamp(1, 1024) as usize);
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
        assert!(read("CUDASIM_PROFILE", "v100").is_err_and(|e| e.contains("CUDASIM_PROFILE=v100")));
        assert_eq!(read("CUDASIM_MEMORY_MIB", "3").map(|s| s.profile.memory_bytes), Ok(3 << 20));
        assert!(read("CUDASIM_CHECK", "mem,rice").is_err_and(|e| e.contains("rice")));
        assert!(read("CUDASIM_SEED", "x").is_err());
        assert_eq!(read("CUDASIM_DRIVER_VERSION", "12040").map(|s| s.driver_version), Ok(12040));
        for text in [":1", "f:", "f:0", "f:-1", "f:x"] {
            assert!(read("CUDASIM_FAULT", text).is_err_and(|e| e.contains(text)), "{text}");
        }
        let fault = read("CUDASIM_FAULT", "f:2").map(|s| s.fault.unwrap()).unwrap();
        let strikes = ["f", "g", "f", "f"].map(|kernel| fault.strikes(kernel));
        assert_eq!(strikes, [false, false, true, false]);
        assert!(read("CUDASIM_CHECK", "mem, init").is_ok_and(|s| s.checks.mem && s.checks.init && !s.checks.race));
    }
}
