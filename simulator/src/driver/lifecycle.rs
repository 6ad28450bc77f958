//! Starting the driver, and the handle that tests and tools in Rust have on it.

use std::sync::Mutex;

use super::queue::Queue;
use super::result::{Code, Outcome};
use super::sampling::Counted;
use super::session::lock;
use super::settings::Settings;
use super::state::{Driver, Report};

static CONFIGURED: Mutex<Option<Settings>> = Mutex::new(None);

fn chosen_settings() -> Result<Settings, String> {
    let configured = CONFIGURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    configured.map_or_else(Settings::from_environment, Ok)
}

/// The driver's version, which a program may ask for before it starts the driver.
pub fn api_version() -> u32 {
    let running = lock().as_ref().map(|driver| driver.settings.api_version());
    running.unwrap_or_else(|| chosen_settings().unwrap_or_default().api_version())
}

/// `cuInit`: the driver with the environment's settings, or those a test has configured.
pub fn initialize() -> Outcome {
    let mut state = lock();
    if state.is_some() {
        return Ok(());
    }
    let settings = match chosen_settings() {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("cudasim: {message}");
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
    };
    *state = Some(Driver::new(settings).ok_or(Code::CUDA_ERROR_OUT_OF_MEMORY)?);
    Ok(())
}

/// Starts the driver over with these settings, counting traffic and keeping every launch's line.
pub fn configure(settings: Settings) {
    *CONFIGURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(settings.clone());
    let mut state = lock();
    match state.as_mut() {
        // Address space is reserved once; a test only changes what is watched.
        Some(driver) if driver.settings.profile == settings.profile => {
            driver.clear();
            driver.report = Report::default();
            driver.queue = Queue::new(settings.seed);
            driver.counting = true;
            driver.demanded_runs = 0;
            driver.contexts.clear();
            (driver.primary, driver.primary_uses) = (None, 0);
            driver.memory.keep_apart(settings.checks.mem);
            driver.memory.follow_writes(settings.checks.init);
            driver.counted = Counted::default();
            driver.settings = settings;
        }
        _ => {
            *state = Driver::new(settings);
            if let Some(driver) = state.as_mut() {
                driver.counting = true;
            }
        }
    }
}

/// The faults, launches and leaks since the last reset.
pub fn last_report() -> Report {
    lock().as_ref().map(|driver| driver.report.clone()).unwrap_or_default()
}

/// Turns the counting of memory traffic on or off; [`configure`] turns it on.
pub fn count_traffic(on: bool) {
    if let Some(driver) = lock().as_mut() {
        driver.counting = on;
    }
}

/// Forgets faults and counts.
pub fn reset() {
    if let Some(driver) = lock().as_mut() {
        driver.report = Report::default();
        driver.fault = None;
    }
}
