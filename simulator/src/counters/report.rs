//! The trace: one JSON line a launch, and the floors in time that its counts put under a real GPU.
//!
//! A floor is an estimate from peak rates: bytes over bandwidth, operations over throughput. A kernel cannot be faster
//! than the largest of them, which is said to bind; it may well be slower.

use super::{SECTOR_BYTES, Totals};
use crate::profile::{Profile, Residency};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Line {
    pub kernel: String,
    /// Grows with each operation that is queued.
    #[serde(default)]
    pub number: u64,
    /// The launches that it follows directly, by number. Those that had run when it was queued are not among them: it
    /// follows them all.
    #[serde(default)]
    pub after: Vec<u64>,
    pub device: String,
    pub grid: [u32; 3],
    /// Blocks that ran: fewer than the grid's where a sample of them did (`CUDASIM_SAMPLE`). All counts are scaled to the
    /// grid.
    #[serde(default)]
    pub blocks_run: u64,
    /// Nothing ran: the counts, and the blocks that ran, are those of a launch before that is like this one.
    #[serde(default)]
    pub is_repeated: bool,
    pub block: [u32; 3],
    pub shared_bytes: u64,
    pub registers: u32,
    /// Parameters that are numbers; nothing in the place of pointers and structures.
    #[serde(default)]
    pub arguments: Vec<Option<u64>>,
    #[serde(flatten)]
    pub totals: Totals,
    pub divergence_efficiency: f64,
}

impl Line {
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&n| u64::from(n)).product()
    }

    /// How a GPU would hold the launch's blocks, if a thread takes so many registers.
    pub fn waves(&self, profile: &Profile, registers: u32) -> Waves {
        let residency = profile.residency(self.threads(), registers, 0, self.shared_bytes as u32);
        let each = residency.blocks().max(1);
        let resident = u64::from(each) * u64::from(profile.multiprocessors);
        let waves = self.blocks() as f64 / resident as f64;
        // The last wave's places that stay empty, of those of all waves.
        let tail = 1.0 - waves / waves.ceil().max(1.0);
        // With less than a wave the blocks spread over the multiprocessors, and what one of them has at most counts.
        let spread = self.blocks() as f64 / f64::from(profile.multiprocessors);
        let busy = if waves >= 1.0 { 1.0 - tail } else { (spread / spread.ceil().max(1.0)).min(1.0) };
        Waves { residency, waves, tail, busy }
    }
}

/// A launch's blocks on a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waves {
    pub residency: Residency,
    /// Blocks over what is resident at once.
    pub waves: f64,
    /// Places of the last wave that stay empty, as a part of all waves' places.
    pub tail: f64,
    /// The part of the multiprocessors' time that has work, if all blocks take equally long.
    pub busy: f64,
}

/// Lower bounds of a launch's time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floors {
    pub memory: f64,
    pub l2: f64,
    pub tensor: f64,
    pub issue: f64,
    pub shared: f64,
    pub functions: f64,
}

/// What a launch takes at least, however little it does, with the gap to the next in a graph: a few microseconds on
/// every GPU of the last years.
pub const LAUNCH_US: f64 = 2.5;
/// Part of the bandwidth of memory, and of that of L2, that programs reach.
const MEMORY_ATTAINED: f64 = 0.92;
const L2_ATTAINED: f64 = 0.65;

impl Floors {
    pub fn new(totals: &Totals, profile: &Profile) -> Self {
        let per_us = |amount: f64, per_second: f64| amount / per_second * 1e6;
        let hz = profile.clock_ghz * 1e9;
        let sm_hz = hz * f64::from(profile.multiprocessors);
        Self {
            memory: per_us(totals.floor_bytes() as f64, profile.bandwidth_gb * 1e9),
            l2: per_us(totals.l2_bytes as f64, profile.l2_bytes_per_clock * hz),
            tensor: per_us(totals.tensor_flops as f64, profile.tensor_tflops * 1e12),
            // Four schedulers a multiprocessor, one warp instruction each a cycle.
            issue: per_us(totals.warp_instructions as f64, 4.0 * sm_hz),
            shared: per_us(totals.shared_wavefronts as f64, sm_hz),
            // Sixteen special functions a multiprocessor a cycle.
            functions: per_us(totals.sfu_operations as f64, 16.0 * sm_hz),
        }
    }

    fn all(&self) -> [(&'static str, f64); 6] {
        let Self { memory, l2, tensor, issue, shared, functions } = *self;
        [
            ("memory", memory),
            ("l2", l2),
            ("tensor", tensor),
            ("issue", issue),
            ("shared", shared),
            ("functions", functions),
        ]
    }

    pub fn binding(&self) -> (&'static str, f64) {
        self.all().into_iter().fold(("none", 0.0), |best, next| if next.1 > best.1 { next } else { best })
    }

    /// What the launch may take: the largest floor at the rates that programs attain, and for what the multiprocessors
    /// do longer by their idle part; and the launch itself. An estimate, to be corrected where there are measurements.
    pub fn estimate(&self, profile: &Profile, busy: f64) -> f64 {
        let memory = self.memory / MEMORY_ATTAINED;
        let inside =
            [self.tensor / profile.tensor_attained, self.l2 / L2_ATTAINED, self.issue, self.shared, self.functions];
        inside.into_iter().map(|floor| floor / busy).fold(memory, f64::max) + LAUNCH_US
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
