//! What a GPU would have issued and moved for a launch, counted exactly.
//!
//! All numbers are sums or sets over warps, so they do not depend on the order in which blocks run. Units: requests are warp
//! instructions, sectors are 32 bytes, wavefronts are passes through the 32 banks of shared memory.

pub mod report;

use std::collections::{BTreeMap, HashSet};

use crate::checks::Touch;
use crate::exec::memory_ops::Places;
use crate::program::{Class, Inst};

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
    /// Sectors that any access touched: what must at least come from DRAM or go there.
    pub distinct_sectors: u64,
    /// Bytes between L1 and L2 if L1 kept nothing from one request to the next.
    pub l2_bytes: u64,
    pub shared_requests: u64,
    pub shared_wavefronts: u64,
    pub shared_ideal_wavefronts: u64,
    pub atomics: u64,
    pub barriers: u64,
}

impl Totals {
    /// Active lanes as a part of all lanes of issued instructions.
    pub fn divergence_efficiency(&self) -> f64 {
        if self.warp_instructions == 0 {
            1.0
        } else {
            self.thread_instructions as f64 / (32.0 * self.warp_instructions as f64)
        }
    }
}

#[derive(Default)]
pub struct Counters {
    warps: [u64; CLASSES],
    threads: [u64; CLASSES],
    flops: [u64; CLASSES],
    pub atomics: u64,
    pub barriers: u64,
    memory: Totals,
    sectors: Option<HashSet<u64>>,
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
    pub fn new(counting: bool) -> Self {
        Self { sectors: counting.then(HashSet::new), ..Self::default() }
    }

    #[inline(always)]
    pub fn count(&mut self, inst: &Inst, mask: u32) {
        let class = inst.class as usize;
        let lanes = if mask == u32::MAX { 32 } else { u64::from(mask.count_ones()) };
        self.warps[class] += 1;
        self.threads[class] += lanes;
        self.flops[class] += u64::from(inst.flops) * if class == Class::Tensor as usize { 1 } else { lanes };
    }

    /// Instructions issued so far: the time that the clock registers show.
    pub fn clock(&self) -> u64 {
        self.warps.iter().sum()
    }

    pub fn global(&mut self, part: &Places, touch: Touch) {
        let Some(sectors) = &mut self.sectors else { return };
        let bytes = part.bytes as u64;
        let mut touched: Vec<u64> = part
            .active()
            .flat_map(|i| part.addresses[i] / SECTOR_BYTES..=(part.addresses[i] + bytes - 1) / SECTOR_BYTES)
            .collect();
        touched.sort_unstable();
        touched.dedup();
        sectors.extend(&touched);
        let (count, asked) = (touched.len() as u64, bytes * u64::from(part.mask.count_ones()));
        let m = &mut self.memory;
        m.l2_bytes += count * SECTOR_BYTES;
        if touch.reads() {
            m.global_load_requests += 1;
            m.global_load_sectors += count;
            m.global_load_bytes += asked;
        }
        if touch.writes() {
            m.global_store_requests += 1;
            m.global_store_sectors += count;
            m.global_store_bytes += asked;
        }
    }

    /// Lanes go through the banks in groups whose bytes fit one pass: 32 lanes of 4 bytes, 16 of 8, 8 of 16.
    pub fn shared(&mut self, part: &Places, _touch: Touch) {
        let group = (128 / part.bytes.max(4)).min(32);
        self.memory.shared_requests += 1;
        for first in (0..32).step_by(group) {
            let mut words: Vec<u64> = (first..first + group)
                .filter(|i| part.mask >> i & 1 == 1)
                .flat_map(|i| part.addresses[i] / 4..=(part.addresses[i] + part.bytes as u64 - 1) / 4)
                .collect();
            if words.is_empty() {
                continue;
            }
            words.sort_unstable();
            words.dedup();
            let mut banks = [0u64; 32];
            words.iter().for_each(|word| banks[(word % 32) as usize] += 1);
            self.memory.shared_wavefronts += banks.iter().max().copied().unwrap_or(1);
            self.memory.shared_ideal_wavefronts += (words.len() as u64).div_ceil(32);
        }
    }

    pub fn merge(&mut self, other: Self) {
        let add = |a: &mut [u64], b: &[u64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.warps, &other.warps);
        add(&mut self.threads, &other.threads);
        add(&mut self.flops, &other.flops);
        self.atomics += other.atomics;
        self.barriers += other.barriers;
        let (m, o) = (&mut self.memory, &other.memory);
        m.global_load_requests += o.global_load_requests;
        m.global_store_requests += o.global_store_requests;
        m.global_load_sectors += o.global_load_sectors;
        m.global_store_sectors += o.global_store_sectors;
        m.global_load_bytes += o.global_load_bytes;
        m.global_store_bytes += o.global_store_bytes;
        m.l2_bytes += o.l2_bytes;
        m.shared_requests += o.shared_requests;
        m.shared_wavefronts += o.shared_wavefronts;
        m.shared_ideal_wavefronts += o.shared_ideal_wavefronts;
        if let (Some(mine), Some(theirs)) = (&mut self.sectors, other.sectors) {
            mine.extend(theirs);
        }
    }

    pub fn totals(&self) -> Totals {
        let real = CLASSES - 1;
        let of = |class: Class| class as usize;
        let name = |class: &Class| serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned));
        let classes = ALL_CLASSES[..real]
            .iter()
            .filter(|c| self.warps[**c as usize] > 0)
            .filter_map(|c| Some((name(c)?, self.warps[*c as usize])))
            .collect();
        Totals {
            warp_instructions: self.warps[..real].iter().sum(),
            thread_instructions: self.threads[..real].iter().sum(),
            classes,
            fp32_flops: self.flops[of(Class::Fp32)],
            fp16_flops: self.flops[of(Class::Fp16)],
            fp64_flops: self.flops[of(Class::Fp64)],
            sfu_operations: self.threads[of(Class::Sfu)],
            tensor_operations: self.warps[of(Class::Tensor)],
            tensor_flops: self.flops[of(Class::Tensor)],
            distinct_sectors: self.sectors.as_ref().map_or(0, |s| s.len() as u64),
            atomics: self.atomics,
            barriers: self.barriers,
            ..self.memory.clone()
        }
    }
}
