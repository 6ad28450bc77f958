//! The largest a process has been in memory, as Linux tells it.

use std::fs;

/// Starts counting anew, where the system lets it.
pub(super) fn reset_peak() {
    // Without the right to do so the peak is that of the process's whole life: an upper bound.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Bytes; none where the system does not tell.
pub(super) fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
