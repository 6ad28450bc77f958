//! What is reported on: models by their published configurations, and batches of random ids.

#[path = "../common/bert.rs"]
mod bert;

use std::ops::RangeInclusive;

use bertsd_cuda::{data::PackedBatch, device::Capacity, model::BertConfig, random::Philox};

use self::bert::bert;

pub struct Shape {
    pub name: &'static str,
    pub sequences: usize,
    pub lengths: RangeInclusive<u64>,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "32x128", sequences: 32, lengths: 128..=128 },
    Shape { name: "32x16-128", sequences: 32, lengths: 16..=128 },
    Shape { name: "16x16-64", sequences: 16, lengths: 16..=64 },
    Shape { name: "8x512", sequences: 8, lengths: 512..=512 },
];

/// A model and a shape of batch.
pub struct Case {
    pub model: &'static str,
    pub config: BertConfig,
    pub shape: &'static Shape,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{}/{}", self.model, self.shape.name)
    }

    /// One batch, the same for every step.
    pub fn batch(&self) -> PackedBatch {
        let mut stream = Philox::new(1).stream(99, 0);
        let mut batch = PackedBatch::default();
        batch.clear();
        let (low, high) = (*self.shape.lengths.start(), *self.shape.lengths.end());
        for slot in 0..self.shape.sequences {
            let length = (low + stream.below(high - low + 1)) as usize;
            let words = self.config.vocab_size as u64;
            let ids: Vec<u32> = (0..length).map(|_| stream.below(words) as u32).collect();
            batch.push(&ids, &vec![0; length], slot as u32 % 2, slot as u32);
        }
        batch
    }

    /// Room for the largest batch of the shape, as a run plans it.
    pub fn capacity(&self) -> Capacity {
        let length = *self.shape.lengths.end() as usize;
        Capacity { tokens: self.shape.sequences * length, sequences: self.shape.sequences, length }
    }
}

/// Every model at every shape; or one small model, to try the report itself.
pub fn cases(small: bool) -> Vec<Case> {
    const WORDS: usize = 30_522;
    const SMALL: Shape = Shape { name: "4x8-24", sequences: 4, lengths: 8..=24 };
    if small {
        return vec![Case { model: "small", config: bert(2, 64, 2, 400), shape: &SMALL }];
    }
    let models = [
        ("bert-base", bert(12, 768, 12, WORDS)),
        ("bert-large", bert(24, 1024, 16, WORDS)),
        ("all-MiniLM-L6", bert(6, 384, 12, WORDS)),
    ];
    let of_model = |(model, config): (&'static str, BertConfig)| {
        SHAPES.iter().map(move |shape| Case { model, config: config.clone(), shape })
    };
    models.into_iter().flat_map(of_model).collect()
}
