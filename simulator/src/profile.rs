//! The GPUs that the simulator can present itself as: `CUDASIM_PROFILE`, an H100 by default. It is also the model of a
//! card that floors and estimates of time are reckoned with.
//!
//! | what | from |
//! |---|---|
//! | multiprocessors, clocks, memory, bandwidth, tensor rates (dense bf16; f16 where there is no bf16) | NVIDIA's data sheets and architecture white papers of H100, H200, A100, L40S, B200 and V100 |
//! | registers, shared memory, threads and blocks of a multiprocessor | CUDA C++ Programming Guide, table of technical specifications by compute capability |
//! | bytes of L2 a clock | A100 white paper: 5,120, V100: 2,048; none is published for the others, which have the A100's here |
//! | tensor attained | `mma.sync` against the peak: on Hopper and Blackwell, whose peak is of `wgmma` and `tcgen05`, about 63 %, as published microbenchmarks of the H100 have it; 90 % elsewhere |
//! | memory attained, L2 attained (`counters/report.rs`) | 92 % of the bandwidth, what copies reach on HBM and GDDR; 65 % of L2's, what published microbenchmarks read from it on A100 and H100 |

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    pub key: &'static str,
    pub name: &'static str,
    pub capability: (u32, u32),
    pub multiprocessors: u32,
    pub memory_bytes: u64,
    /// Shared memory of a multiprocessor, and the most a block may ask for.
    pub shared_per_sm: u32,
    pub shared_per_block: u32,
    /// What the system keeps of each block's shared memory.
    pub reserved_shared: u32,
    pub threads_per_sm: u32,
    pub blocks_per_sm: u32,
    pub l2_bytes: u32,
    /// FP32 operations for each FP64 operation at full rate.
    pub single_to_double: u32,
    pub clock_ghz: f64,
    pub memory_clock_khz: u32,
    pub bus_bits: u32,
    pub bandwidth_gb: f64,
    pub l2_bytes_per_clock: f64,
    pub tensor_tflops: f64,
    /// Part of the tensor rate that `mma.sync` reaches.
    pub tensor_attained: f64,
}

/// How many blocks of a kernel a multiprocessor holds, by what limits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residency {
    pub by_registers: u32,
    pub by_shared: u32,
    pub by_threads: u32,
    pub by_blocks: u32,
}

impl Residency {
    pub fn blocks(&self) -> u32 {
        self.by_registers.min(self.by_shared).min(self.by_threads).min(self.by_blocks)
    }

    /// What keeps more blocks out.
    pub fn limit(&self) -> &'static str {
        match self.blocks() {
            blocks if blocks == self.by_registers => "registers",
            blocks if blocks == self.by_shared => "shared",
            blocks if blocks == self.by_threads => "threads",
            _ => "blocks",
        }
    }
}

const KB: u32 = 1024;

pub static PROFILES: [Profile; 6] = [
    Profile {
        key: "h100",
        name: "NVIDIA H100 SXM (simulated)",
        capability: (9, 0),
        multiprocessors: 132,
        memory_bytes: 80 << 30,
        shared_per_sm: 228 * KB,
        shared_per_block: 227 * KB,
        reserved_shared: KB,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        l2_bytes: 50 << 20,
        single_to_double: 2,
        clock_ghz: 1.83,
        memory_clock_khz: 2_619_000,
        bus_bits: 5120,
        bandwidth_gb: 3352.0,
        l2_bytes_per_clock: 5120.0,
        tensor_tflops: 989.4,
        tensor_attained: 0.63,
    },
    Profile {
        key: "h200",
        name: "NVIDIA H200 (simulated)",
        capability: (9, 0),
        multiprocessors: 132,
        memory_bytes: 141 << 30,
        shared_per_sm: 228 * KB,
        shared_per_block: 227 * KB,
        reserved_shared: KB,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        l2_bytes: 50 << 20,
        single_to_double: 2,
        clock_ghz: 1.83,
        memory_clock_khz: 3_125_000,
        bus_bits: 6144,
        bandwidth_gb: 4800.0,
        l2_bytes_per_clock: 5120.0,
        tensor_tflops: 989.4,
        tensor_attained: 0.63,
    },
    Profile {
        key: "a100",
        name: "NVIDIA A100 SXM4 80GB (simulated)",
        capability: (8, 0),
        multiprocessors: 108,
        memory_bytes: 80 << 30,
        shared_per_sm: 164 * KB,
        shared_per_block: 163 * KB,
        reserved_shared: KB,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        l2_bytes: 40 << 20,
        single_to_double: 2,
        clock_ghz: 1.41,
        memory_clock_khz: 1_593_000,
        bus_bits: 5120,
        bandwidth_gb: 2039.0,
        l2_bytes_per_clock: 5120.0,
        tensor_tflops: 312.0,
        tensor_attained: 0.9,
    },
    Profile {
        key: "l40s",
        name: "NVIDIA L40S (simulated)",
        capability: (8, 9),
        multiprocessors: 142,
        memory_bytes: 48 << 30,
        shared_per_sm: 100 * KB,
        shared_per_block: 99 * KB,
        reserved_shared: KB,
        threads_per_sm: 1536,
        blocks_per_sm: 24,
        l2_bytes: 96 << 20,
        single_to_double: 64,
        clock_ghz: 2.52,
        memory_clock_khz: 9_001_000,
        bus_bits: 384,
        bandwidth_gb: 864.0,
        l2_bytes_per_clock: 5120.0,
        tensor_tflops: 362.0,
        tensor_attained: 0.9,
    },
    Profile {
        key: "b200",
        name: "NVIDIA B200 (simulated)",
        capability: (10, 0),
        multiprocessors: 148,
        memory_bytes: 180 << 30,
        shared_per_sm: 228 * KB,
        shared_per_block: 227 * KB,
        reserved_shared: KB,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        l2_bytes: 126 << 20,
        single_to_double: 2,
        clock_ghz: 1.97,
        memory_clock_khz: 3_996_000,
        bus_bits: 8192,
        bandwidth_gb: 8000.0,
        l2_bytes_per_clock: 5120.0,
        tensor_tflops: 2250.0,
        tensor_attained: 0.63,
    },
    Profile {
        key: "v100",
        name: "Tesla V100-SXM2-32GB (simulated)",
        capability: (7, 0),
        multiprocessors: 80,
        memory_bytes: 32 << 30,
        shared_per_sm: 96 * KB,
        shared_per_block: 96 * KB,
        reserved_shared: 0,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        l2_bytes: 6 << 20,
        single_to_double: 2,
        clock_ghz: 1.53,
        memory_clock_khz: 877_000,
        bus_bits: 4096,
        bandwidth_gb: 900.0,
        l2_bytes_per_clock: 2048.0,
        tensor_tflops: 125.0,
        tensor_attained: 0.9,
    },
];

/// Tensor rates of cards that the simulator is not, from their data sheets; they come before [`PROFILES`], whose names
/// may be part of theirs.
const OTHER_TENSOR_TFLOPS: [(&str, f64); 4] =
    [("H100 PCIe", 756.0), ("H100 NVL", 835.0), ("RTX 4090", 165.2), ("A10G", 70.0)];

impl Profile {
    pub fn named(key: &str) -> Option<Self> {
        PROFILES.iter().find(|p| p.key.eq_ignore_ascii_case(key)).copied()
    }

    /// The tensor rate of a card by its name, in TFLOP/s of dense bf16 products.
    pub fn tensor_tflops_of(card: &str) -> Option<f64> {
        let others = OTHER_TENSOR_TFLOPS.iter().find(|(name, _)| card.contains(name)).map(|&(_, tflops)| tflops);
        let profile = || PROFILES.iter().find(|p| card.to_lowercase().contains(p.key)).map(|p| p.tensor_tflops);
        others.or_else(profile)
    }

    /// How many blocks of a kernel a multiprocessor holds. Registers are given to warps in units of 256, shared memory to
    /// blocks in units of 128 bytes.
    pub fn residency(&self, threads: u32, registers: u32, fixed_shared: u32, dynamic_shared: u32) -> Residency {
        let warps = threads.div_ceil(32).max(1);
        let shared = fixed_shared.saturating_add(dynamic_shared).saturating_add(self.reserved_shared).max(1);
        let shared = shared.checked_next_multiple_of(128).unwrap_or(u32::MAX);
        Residency {
            by_registers: Self::REGISTERS_PER_SM / (registers.max(1).next_multiple_of(8) * 32 * warps),
            by_shared: self.shared_per_sm / shared,
            by_threads: self.threads_per_sm / (warps * 32),
            by_blocks: self.blocks_per_sm,
        }
    }

    /// The capability as one number, such as `90`.
    pub fn architecture(&self) -> u32 {
        10 * self.capability.0 + self.capability.1
    }

    pub const REGISTERS_PER_SM: u32 = 65536;
    pub const MAX_THREADS: u32 = 1024;
    pub const BLOCK_LIMITS: [u32; 3] = [1024, 1024, 64];
    pub const GRID_LIMITS: [u32; 3] = [0x7fff_ffff, 65535, 65535];
    /// Shared memory a block gets without asking.
    pub const DEFAULT_SHARED: u32 = 48 * KB;
}

#[cfg(test)]
mod tests {
    use super::Profile;

    #[test]
    fn a_card_is_found_by_its_name() {
        let rate = Profile::tensor_tflops_of;
        assert_eq!(rate("NVIDIA H100 80GB HBM3"), Some(989.4));
        assert_eq!(rate("NVIDIA H100 PCIe"), Some(756.0));
        assert_eq!(rate("NVIDIA A100-SXM4-80GB"), Some(312.0));
        assert_eq!(rate("NVIDIA T4"), None);
    }

    /// 64 warps of 32 registers fill an H100's multiprocessor by registers and by threads; shared memory of 60 KB, with
    /// the kilobyte of the system, leaves three blocks.
    #[test]
    fn blocks_of_a_multiprocessor() {
        let h100 = Profile::named("h100").expect("it is there");
        let few = h100.residency(256, 32, 0, 60 << 10);
        assert_eq!((few.by_registers, few.by_threads, few.by_shared), (8, 8, 3));
        assert_eq!((few.blocks(), few.limit()), (3, "shared"));
        let many = h100.residency(128, 255, 0, 0);
        assert_eq!((many.blocks(), many.limit()), (2, "registers"), "256 registers of each of 128 threads");
    }
}
