//! The GPUs that the simulator can present itself as: `CUDASIM_PROFILE`, an H100 by default.
//!
//! Limits and rates are those of NVIDIA's data sheets and the programming guide's table of compute capabilities; tensor
//! rates are dense bf16, and f16 where there is no bf16.

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
    pub tensor_tflops: f64,
}

const KB: u32 = 1024;

pub static PROFILES: [Profile; 5] = [
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
        tensor_tflops: 989.4,
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
        tensor_tflops: 312.0,
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
        tensor_tflops: 362.0,
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
        tensor_tflops: 2250.0,
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
        tensor_tflops: 125.0,
    },
];

impl Profile {
    pub fn named(key: &str) -> Option<Self> {
        PROFILES.iter().find(|p| p.key.eq_ignore_ascii_case(key)).copied()
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
