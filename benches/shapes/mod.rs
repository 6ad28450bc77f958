//! The model and the batches that every bench shares: the all-MiniLM-L6 shape, and packed batches of random ids.

#[path = "../../examples/common/bert.rs"]
mod bert;

use std::ops::RangeInclusive;

use bertsd_cuda::{
    data::PackedBatch,
    device::{Capacity, Mask},
    model::BertConfig,
    random::Philox,
};

use self::bert::bert;

/// all-MiniLM-L6-v2 with two labels.
pub fn minilm() -> BertConfig {
    bert(6, 384, 12, 30_522)
}

/// The two batches that speed is measured on, by name: 32 sequences of 16 to 64 tokens, and 8 of 512.
#[allow(dead_code, reason = "not every bench wants both")]
pub fn batches() -> [(&'static str, PackedBatch); 2] {
    [("b32_l16-64", batch(32, 16..=64)), ("b8_l512", batch(8, 512..=512))]
}

pub fn batch(sequences: usize, lengths: RangeInclusive<u64>) -> PackedBatch {
    let mut stream = Philox::new(1).stream(99, 0);
    let mut batch = PackedBatch::default();
    batch.clear();
    for b in 0..sequences {
        let length = (lengths.start() + stream.below(lengths.end() - lengths.start() + 1)) as usize;
        let ids: Vec<u32> = (0..length).map(|_| 1000 + stream.below(20_000) as u32).collect();
        batch.push(&ids, &vec![0; length], b as u32 % 2, b as u32);
    }
    batch
}

pub fn capacity(batch: &PackedBatch) -> Capacity {
    Capacity { tokens: batch.tokens(), sequences: batch.sequences(), length: 512 }
}

/// Numbers between −1 and 1, the same for the same seed.
#[allow(dead_code, reason = "not every bench fills matrices")]
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut stream = Philox::new(seed).stream(98, 0);
    (0..len).map(|_| stream.next_u32() as f32 / (1u64 << 31) as f32 - 1.0).collect()
}

/// A student's masks at step 1.
#[allow(dead_code, reason = "not every bench drops")]
pub fn mask() -> Mask {
    Mask { philox: Philox::new(1), step: 1, pass: 0, active: true }
}
