//! The launches of a step, summed by kernel, and what cards would make of them.

use std::collections::{BTreeMap, HashMap};

use anyhow::ensure;
use bertsd_cuda::device::cuda::IMAGES;
use cudasim::{
    counters::report::{Floors, LAUNCH_US, Line},
    driver::kernel_registers,
    profile::Profile,
};
use serde::Serialize;

use super::{
    count::Counted,
    measure::{Measured, Times},
    steps::{MethodName, STEPS},
    workload::Case,
};

/// A card, and what this build's kernels take of its registers.
pub struct Card {
    pub profile: Profile,
    registers: HashMap<String, u32>,
    /// Whether that is of machine code that the card would run.
    exact: bool,
}

impl Card {
    pub fn new(profile: Profile) -> Self {
        let (mut registers, mut exact) = (HashMap::new(), true);
        for image in IMAGES {
            let found = kernel_registers(image.bytes, profile.architecture());
            exact &= found.exact;
            registers.extend(found.counts);
        }
        Self { profile, registers, exact }
    }

    /// Its name, and what registers are of.
    pub fn describe(&self) -> String {
        let of = if self.exact { "for it" } else { "for another architecture" };
        format!("{}, registers of machine code {of}", self.profile.name.replace(" (simulated)", ""))
    }
}

/// A kernel on a card: all launches of a step.
#[derive(Clone, Debug, Serialize)]
pub struct OnCard {
    pub registers: u32,
    pub blocks_per_multiprocessor: u32,
    /// What keeps more blocks out.
    pub held_by: &'static str,
    /// Waves of blocks of a launch, and places of its last wave that stay empty: means over launches.
    pub waves: f64,
    pub tail: f64,
    /// The rate that most of the floor is of.
    pub binding: &'static str,
    pub floor_us: f64,
    pub estimate_us: f64,
    #[serde(skip)]
    limits: BTreeMap<&'static str, f64>,
}

/// A kernel: all its launches in a step, which is the mean of some.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub kernel: String,
    pub launches: f64,
    pub blocks: f64,
    /// Part of the blocks that ran, in this launch or in one like it; the counts below are scaled to all.
    pub sampled: f64,
    pub threads: u32,
    pub shared_bytes: u64,
    pub bytes_asked: f64,
    pub sectors: f64,
    pub distinct_sectors: f64,
    pub floor_bytes: f64,
    /// Bytes of all sectors that were asked for, over floor bytes.
    pub ratio: f64,
    /// Bytes asked over bytes of the sectors that hold them.
    pub sector_efficiency: f64,
    pub tensor_flops: f64,
    pub fp32_flops: f64,
    /// Wavefronts of shared memory over the fewest there could be.
    pub wavefronts: f64,
    #[serde(flatten)]
    pub on: OnCard,
    pub measured: Option<Measured>,
}

/// A step on a card.
#[derive(Clone, Debug, Serialize)]
pub struct Total {
    pub floor_ms: f64,
    /// All launches one after the other, each as estimated.
    pub estimate_ms: f64,
    /// The longest chain of launches that follow each other.
    pub critical_ms: f64,
    pub launch_ms: f64,
    pub tokens_per_s: f64,
    pub share_of_peak: f64,
}

/// A step of a method on a batch of a shape.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    pub case: String,
    pub card: &'static str,
    pub method: MethodName,
    pub tokens: usize,
    pub launches: f64,
    pub tensor_flops: f64,
    pub floor_bytes: f64,
    pub total: Total,
    pub rows: Vec<Row>,
    /// Device and milliseconds of all launches, where they were timed.
    pub measured: Option<(String, f64)>,
}

/// Launches of one kernel.
#[derive(Default)]
struct Group<'a> {
    lines: Vec<&'a Line>,
    times: Vec<f64>,
}

/// a / b, or 1 where there is nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 1.0 }
}

impl Card {
    fn registers(&self, line: &Line) -> u32 {
        self.registers.get(&line.kernel).copied().unwrap_or(line.registers)
    }

    fn estimate_us(&self, line: &Line) -> f64 {
        let waves = line.waves(&self.profile, self.registers(line));
        Floors::new(&line.totals, &self.profile).estimate(&self.profile, waves.busy)
    }

    fn row(&self, lines: &[&Line]) -> OnCard {
        let first = lines[0];
        let residency = first.waves(&self.profile, self.registers(first)).residency;
        let mut row = OnCard {
            registers: self.registers(first),
            blocks_per_multiprocessor: residency.blocks(),
            held_by: residency.limit(),
            waves: 0.0,
            tail: 0.0,
            binding: "none",
            floor_us: 0.0,
            estimate_us: 0.0,
            limits: BTreeMap::new(),
        };
        for line in lines {
            let waves = line.waves(&self.profile, row.registers);
            let (limit, floor) = Floors::new(&line.totals, &self.profile).binding();
            row.waves += waves.waves / lines.len() as f64;
            row.tail += waves.tail / lines.len() as f64;
            row.floor_us += floor / STEPS as f64;
            row.estimate_us += self.estimate_us(line) / STEPS as f64;
            *row.limits.entry(limit).or_default() += floor;
        }
        row.binding = row.limits.iter().max_by(|a, b| a.1.total_cmp(b.1)).map_or("none", |(limit, _)| limit);
        row
    }

    /// The end of the chain of launches that takes longest, where each begins when those that it follows have ended.
    /// One that follows none of the launches still queued follows all before it, which the host has waited for.
    fn critical_us(&self, lines: &[Line]) -> f64 {
        let (mut ends, mut last) = (HashMap::new(), 0.0f64);
        for line in lines {
            let followed = line.after.iter().filter_map(|number| ends.get(number).copied());
            let begin = if line.after.is_empty() { last } else { followed.fold(0.0, f64::max) };
            let end: f64 = begin + self.estimate_us(line);
            ends.insert(line.number, end);
            last = last.max(end);
        }
        last
    }

    fn total(&self, lines: &[Line], rows: &[Row], tokens: usize) -> Total {
        let critical_ms = self.critical_us(lines) / 1e3 / STEPS as f64;
        let flops: f64 = rows.iter().map(|row| row.tensor_flops).sum();
        Total {
            floor_ms: rows.iter().map(|row| row.on.floor_us).sum::<f64>() / 1e3,
            estimate_ms: rows.iter().map(|row| row.on.estimate_us).sum::<f64>() / 1e3,
            critical_ms,
            launch_ms: LAUNCH_US * lines.len() as f64 / 1e3 / STEPS as f64,
            tokens_per_s: tokens as f64 / critical_ms * 1e3,
            share_of_peak: flops / (critical_ms / 1e3) / (self.profile.tensor_tflops * 1e12),
        }
    }
}

impl Row {
    fn new(kernel: &str, group: &Group<'_>, card: &Card) -> Self {
        let lines = &group.lines;
        let steps = STEPS as f64;
        let sum = |count: fn(&Line) -> u64| lines.iter().map(|line| count(line) as f64).sum::<f64>() / steps;
        let asked = sum(|line| line.totals.global_load_bytes + line.totals.global_store_bytes);
        let sectors = sum(|line| line.totals.global_load_sectors + line.totals.global_store_sectors);
        let floor_bytes = sum(|line| line.totals.floor_bytes());
        let tensor_flops = sum(|line| line.totals.tensor_flops);
        let measured = (!group.times.is_empty()).then(|| {
            let us = group.times.iter().sum::<f64>() / steps;
            Measured { us, gb_per_s: floor_bytes / us / 1e3, tflops: tensor_flops / us / 1e6 }
        });
        Self {
            kernel: kernel.to_owned(),
            launches: lines.len() as f64 / steps,
            blocks: sum(Line::blocks),
            sampled: ratio(sum(|line| line.blocks_run), sum(Line::blocks)),
            threads: lines[0].threads(),
            shared_bytes: lines[0].shared_bytes,
            bytes_asked: asked,
            sectors,
            distinct_sectors: sum(|line| line.totals.distinct_sectors),
            floor_bytes,
            ratio: ratio(32.0 * sectors, floor_bytes),
            sector_efficiency: ratio(asked, 32.0 * sectors),
            tensor_flops,
            fp32_flops: sum(|line| line.totals.fp32_flops),
            wavefronts: ratio(
                sum(|line| line.totals.shared_wavefronts),
                sum(|line| line.totals.shared_ideal_wavefronts),
            ),
            on: card.row(lines),
            measured,
        }
    }
}

impl StepReport {
    pub fn new(case: &Case, counted: Counted, times: Option<&Times>, card: &Card) -> anyhow::Result<Self> {
        let Counted { method, lines } = counted;
        if let Some(times) = times {
            let same = times.launches.iter().map(|(kernel, _)| kernel).eq(lines.iter().map(|line| &line.kernel));
            ensure!(same, "{} {}: other launches were timed than counted", case.name(), method.name());
        }
        let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
        for (n, line) in lines.iter().enumerate() {
            let group = groups.entry(&line.kernel).or_default();
            group.lines.push(line);
            group.times.extend(times.map(|times| times.launches[n].1));
        }
        let mut rows: Vec<Row> = groups.iter().map(|(kernel, group)| Row::new(kernel, group, card)).collect();
        rows.sort_by(|a, b| b.on.estimate_us.total_cmp(&a.on.estimate_us));
        let tokens = case.batch().tokens();
        let device = times.map(|times| times.device.clone());
        Ok(Self {
            case: case.name(),
            card: card.profile.key,
            method,
            tokens,
            launches: lines.len() as f64 / STEPS as f64,
            tensor_flops: rows.iter().map(|row| row.tensor_flops).sum(),
            floor_bytes: rows.iter().map(|row| row.floor_bytes).sum(),
            total: card.total(&lines, &rows, tokens),
            measured: device.map(|device| {
                (device, rows.iter().filter_map(|row| row.measured).map(|found| found.us).sum::<f64>() / 1e3)
            }),
            rows,
        })
    }
}
