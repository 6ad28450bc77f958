//! The trace: one JSON line a launch, and the floors in time that its counts put under a real GPU.
//!
//! A floor is an estimate from peak rates: bytes over bandwidth, operations over throughput. A kernel cannot be faster
//! than the largest of them, which is said to bind; it may well be slower.

use super::{SECTOR_BYTES, Totals};
use crate::profile::Profile;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Line {
    pub kernel: String,
    pub device: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u64,
    pub registers: u32,
    #[serde(flatten)]
    pub totals: Totals,
    pub divergence_efficiency: f64,
}

/// Lower bounds of a launch's time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floors {
    pub memory: f64,
    pub tensor: f64,
    pub issue: f64,
    pub shared: f64,
}

impl Floors {
    pub fn new(totals: &Totals, profile: &Profile) -> Self {
        let per_us = |amount: f64, per_second: f64| amount / per_second * 1e6;
        let sm_hz = profile.clock_ghz * 1e9 * f64::from(profile.multiprocessors);
        Self {
            memory: per_us((totals.distinct_sectors * SECTOR_BYTES) as f64, profile.bandwidth_gb * 1e9),
            tensor: per_us(totals.tensor_flops as f64, profile.tensor_tflops * 1e12),
            // Four schedulers a multiprocessor, one warp instruction each a cycle.
            issue: per_us(totals.warp_instructions as f64, 4.0 * sm_hz),
            shared: per_us(totals.shared_wavefronts as f64, sm_hz),
        }
    }

    pub fn binding(&self) -> (&'static str, f64) {
        let all = [("memory", self.memory), ("tensor", self.tensor), ("issue", self.issue), ("shared", self.shared)];
        all.into_iter().fold(("none", 0.0), |best, next| if next.1 > best.1 { next } else { best })
    }
}

/// A table of a trace: a row a kernel, launches of the same kernel added up, and the floor for each profile.
pub fn table(lines: &[Line], profiles: &[Profile]) -> String {
    use std::collections::BTreeMap;
    use std::fmt::Write;
    let mut kernels: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    lines.iter().for_each(|line| kernels.entry(&line.kernel).or_default().push(line));
    let mut out = String::new();
    let _ = write!(
        out,
        "{:<40} {:>7} {:>12} {:>6} {:>10} {:>10} {:>8} {:>10}",
        "kernel", "runs", "warp inst", "lanes", "load MB", "store MB", "banks", "GFLOP"
    );
    profiles.iter().for_each(|p| {
        let _ = write!(out, " {:>16}", p.key);
    });
    out.push('\n');
    for (kernel, lines) in &kernels {
        let sum = |f: fn(&Totals) -> u64| lines.iter().map(|l| f(&l.totals)).sum::<u64>();
        let mb = |sectors: u64| (sectors * SECTOR_BYTES) as f64 / 1e6;
        let (threads, warps) = (sum(|t| t.thread_instructions), sum(|t| t.warp_instructions));
        let (passes, ideal) = (sum(|t| t.shared_wavefronts), sum(|t| t.shared_ideal_wavefronts));
        let flops = sum(|t| t.tensor_flops + t.fp32_flops);
        let _ = write!(
            out,
            "{kernel:<40} {:>7} {warps:>12} {:>5.0}% {:>10.3} {:>10.3} {:>7.2}x {:>10.3}",
            lines.len(),
            100.0 * threads as f64 / (32 * warps.max(1)) as f64,
            mb(sum(|t| t.global_load_sectors)),
            mb(sum(|t| t.global_store_sectors)),
            passes as f64 / ideal.max(1) as f64,
            flops as f64 / 1e9,
        );
        for profile in profiles {
            let floors: Vec<Floors> = lines.iter().map(|l| Floors::new(&l.totals, profile)).collect();
            let total: f64 = floors.iter().map(|f| f.binding().1).sum();
            let binding =
                floors.iter().map(Floors::binding).fold(("none", 0.0), |a, b| if b.1 > a.1 { b } else { a }).0;
            let _ = write!(out, " {total:>8.2}µs {binding:<6}");
        }
        out.push('\n');
    }
    out.push_str("\nTimes are estimates: the floor that peak rates allow, and the limit that sets it.\n");
    out
}
