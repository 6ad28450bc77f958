//! What a GPU would have issued and moved for a launch, counted exactly.
//!
//! All numbers are sums or sets over warps, so they do not depend on the order in which blocks run. (Where blocks of a
//! launch that is not cooperative spin for each other, the spinning does.) Units: requests are warp instructions,
//! sectors are 32 bytes, wavefronts are passes through the 32 banks of shared memory.

pub mod report;
mod traffic;

use std::collections::BTreeMap;

use crate::launch::Touch;
use crate::launch::accesses::Accesses;
use crate::program::{Class, Inst, Program, Segment};
use traffic::Traffic;

pub const SECTOR_BYTES: u64 = 32;
const CLASSES: usize = 17;

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Totals {
    pub warp_instructions: u64,
    pub thread_instructions: u64,
    /// Warp instructions by class.
    pub classes: BTreeMap<String, u64>,
    pub fp32_flops: u64,
    pub fp16_flops: u64,
    pub fp64_flops: u64,
    pub sfu_operations: u64,
    pub tensor_operations: u64,
    pub tensor_flops: u64,
    pub global_load_requests: u64,
    pub global_store_requests: u64,
    pub global_load_sectors: u64,
    pub global_store_sectors: u64,
    pub global_load_bytes: u64,
    pub global_store_bytes: u64,
    /// Sectors that any access touched; that one read; that one wrote.
    pub distinct_sectors: u64,
    pub distinct_read_sectors: u64,
    pub distinct_written_sectors: u64,
    /// Bytes between L1 and L2 if L1 kept nothing from one request to the next.
    pub l2_bytes: u64,
    pub shared_requests: u64,
    pub shared_wavefronts: u64,
    pub shared_ideal_wavefronts: u64,
    pub atomics: u64,
    pub barriers: u64,
}

impl Totals {
    /// Bytes that must at least come from DRAM or go there: each sector that is read comes once, each that is written
    /// goes once.
    pub fn floor_bytes(&self) -> u64 {
        (self.distinct_read_sectors + self.distinct_written_sectors) * SECTOR_BYTES
    }

    /// Adds what blocks counted that stand for `weight` blocks each. Distinct sectors are no sum, and stay.
    fn add(&mut self, part: &Self, weight: f64) {
        let scaled = |count: u64| (weight * count as f64).round() as u64;
        for (class, &count) in &part.classes {
            *self.classes.entry(class.clone()).or_default() += scaled(count);
        }
        macro_rules! add {
            ($($field:ident),+) => { $(self.$field += scaled(part.$field);)+ };
        }
        add!(warp_instructions, thread_instructions, fp32_flops, fp16_flops, fp64_flops, sfu_operations);
        add!(tensor_operations, tensor_flops, global_load_requests, global_store_requests, global_load_sectors);
        add!(global_store_sectors, global_load_bytes, global_store_bytes, l2_bytes, shared_requests);
        add!(shared_wavefronts, shared_ideal_wavefronts, atomics, barriers);
    }

    /// Active lanes as a part of all lanes of issued instructions.
    pub fn divergence_efficiency(&self) -> f64 {
        if self.warp_instructions == 0 {
            1.0
        } else {
            self.thread_instructions as f64 / (32.0 * self.warp_instructions as f64)
        }
    }
}

/// How often a segment ran: for so many warps, for so many threads.
#[derive(Clone, Copy, Default)]
struct Hits {
    warps: u64,
    threads: u64,
}

#[derive(Default)]
pub struct Counters {
    hits: Vec<Hits>,
    /// What ran outside segments: guarded instructions.
    warps: [u64; CLASSES],
    threads: [u64; CLASSES],
    flops: [u64; CLASSES],
    pub atomics: u64,
    pub barriers: u64,
    traffic: Traffic,
    /// Warp instructions before the current block.
    clock_start: u64,
}

const ALL_CLASSES: [Class; CLASSES] = [
    Class::Integer,
    Class::Fp16,
    Class::Fp32,
    Class::Fp64,
    Class::Sfu,
    Class::Convert,
    Class::Move,
    Class::Control,
    Class::Global,
    Class::Shared,
    Class::Local,
    Class::Constant,
    Class::Atomic,
    Class::Barrier,
    Class::Warp,
    Class::Tensor,
    Class::None,
];

impl Counters {
    pub fn new(program: &Program) -> Self {
        Self { hits: vec![Hits::default(); program.segments.len()], ..Self::default() }
    }

    /// A segment begins for the lanes of a mask.
    #[inline(always)]
    pub fn enter(&mut self, segment: u32, mask: u32) {
        let hits = &mut self.hits[segment as usize];
        hits.warps += 1;
        hits.threads += count_lanes(mask);
    }

    /// An instruction outside segments.
    #[inline(always)]
    pub fn count(&mut self, inst: &Inst, mask: u32) {
        let class = inst.class as usize;
        let lanes = count_lanes(mask);
        self.warps[class] += 1;
        self.threads[class] += lanes;
        self.flops[class] += u64::from(inst.flops) * if class == Class::Tensor as usize { 1 } else { lanes };
    }

    fn issued(&self, program: &Program) -> u64 {
        let length = |segment: &Segment| segment.tallies.iter().map(|t| u64::from(t.instructions)).sum::<u64>();
        let within: u64 = self.hits.iter().zip(&program.segments).map(|(hits, s)| hits.warps * length(s)).sum();
        within + self.warps.iter().sum::<u64>()
    }

    /// A block begins, with the marks that it has in a sample.
    pub fn start_block(&mut self, program: &Program, marks: u8) {
        self.traffic.start_block(marks);
        if program.reads_clock {
            self.clock_start = self.issued(program);
        }
    }

    /// Instructions the block has issued so far: the time that the clock registers show.
    pub fn clock(&self, program: &Program) -> u64 {
        self.issued(program) - self.clock_start
    }

    pub fn global(&mut self, part: &Accesses, touch: Touch) {
        self.traffic.global(part, touch);
    }

    pub fn shared(&mut self, part: &Accesses) {
        self.traffic.shared(part);
    }

    pub fn merge(&mut self, other: Self) {
        let add = |a: &mut [u64], b: &[u64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        for (mine, theirs) in self.hits.iter_mut().zip(&other.hits) {
            mine.warps += theirs.warps;
            mine.threads += theirs.threads;
        }
        add(&mut self.warps, &other.warps);
        add(&mut self.threads, &other.threads);
        add(&mut self.flops, &other.flops);
        self.atomics += other.atomics;
        self.barriers += other.barriers;
        self.traffic.merge(other.traffic);
    }

    /// Adds what ran in segments to what ran outside of them.
    fn by_class(&self, program: &Program) -> [[u64; CLASSES]; 3] {
        let [mut warps, mut threads, mut flops] = [self.warps, self.threads, self.flops];
        for (hits, segment) in self.hits.iter().zip(&program.segments) {
            for tally in &segment.tallies {
                let class = tally.class as usize;
                let performing = if tally.class == Class::Tensor { hits.warps } else { hits.threads };
                warps[class] += hits.warps * u64::from(tally.instructions);
                threads[class] += hits.threads * u64::from(tally.instructions);
                flops[class] += performing * u64::from(tally.flops);
            }
        }
        [warps, threads, flops]
    }

    /// What all blocks of a launch counted.
    pub fn totals(&self, program: &Program) -> Totals {
        self.with_distinct(self.sums(program), &[1.0; 3])
    }

    /// What a sample's groups of blocks counted, scaled to all blocks of the launch: each group with its weight, and
    /// the weights along the axes.
    pub fn scaled(groups: Vec<(f64, Self)>, weights: &[f64; 3], program: &Program) -> Totals {
        let (mut totals, mut all) = (Totals::default(), Self::new(program));
        for (weight, group) in groups {
            totals.add(&group.sums(program), weight);
            all.traffic.merge(group.traffic);
        }
        all.with_distinct(totals, weights)
    }

    fn with_distinct(&self, totals: Totals, weights: &[f64; 3]) -> Totals {
        let found = self.traffic.distinct(weights);
        let [touched, read, written] = [found.touched, found.read, found.written].map(|count| count.round() as u64);
        let distinct_sectors = touched;
        Totals { distinct_sectors, distinct_read_sectors: read, distinct_written_sectors: written, ..totals }
    }

    /// All counts that are sums over blocks.
    fn sums(&self, program: &Program) -> Totals {
        let [warps, threads, flops] = self.by_class(program);
        let real = CLASSES - 1;
        let of = |class: Class| class as usize;
        let name = |class: &Class| serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned));
        let classes = ALL_CLASSES[..real]
            .iter()
            .filter(|c| warps[**c as usize] > 0)
            .filter_map(|c| Some((name(c)?, warps[*c as usize])))
            .collect();
        Totals {
            warp_instructions: warps[..real].iter().sum(),
            thread_instructions: threads[..real].iter().sum(),
            classes,
            fp32_flops: flops[of(Class::Fp32)],
            fp16_flops: flops[of(Class::Fp16)],
            fp64_flops: flops[of(Class::Fp64)],
            sfu_operations: threads[of(Class::Sfu)],
            tensor_operations: warps[of(Class::Tensor)],
            tensor_flops: flops[of(Class::Tensor)],
            atomics: self.atomics,
            barriers: self.barriers,
            ..self.traffic.totals().clone()
        }
    }
}

#[inline(always)]
fn count_lanes(mask: u32) -> u64 {
    if mask == u32::MAX { 32 } else { u64::from(mask.count_ones()) }
}
