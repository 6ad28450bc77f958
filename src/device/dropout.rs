//! Where dropout happens and which random bits each element gets: one definition for every device.
//!
//! Mask bits are addressed by what an element *is*, not by where it lies in memory: (place of the sequence in its
//! optimizer step, position in the sequence, column, site, step, pass). So they do not change with packing,
//! micro-batching, or the number of rows an operation skips. One Philox block serves 8 neighbouring elements, 16 bits
//! each:
//!
//! ```text
//! counter = (element / 8, slot, step, pass << 16 | site)      element e takes bits 16·(e % 2).. of word (e % 8) / 2
//! hidden rows:      element = position · C + column
//! attention rows:   element = (head · S + query) · (S rounded up to 8) + key, S the length of this sequence
//! keep if the 16 bits ≥ threshold = round(drop_prob · 65536); kept values are scaled by 65536 / (65536 − threshold)
//! ```

use crate::random::Philox;

/// A place in the network that drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The summed and normalized embeddings.
    Embeddings,
    /// Of attention, in this layer.
    Probabilities(usize),
    /// The attention's output projection.
    AttentionOutput(usize),
    /// The feed-forward's output projection.
    Output(usize),
    /// What the classifier reads.
    Classifier,
}

impl Site {
    fn number(self) -> u32 {
        match self {
            Self::Embeddings => 0,
            Self::Classifier => 1,
            Self::Probabilities(layer) => 4 * (layer as u32 + 1),
            Self::AttentionOutput(layer) => 4 * (layer as u32 + 1) + 1,
            Self::Output(layer) => 4 * (layer as u32 + 1) + 2,
        }
    }
}

/// The masks of one forward pass, before a site is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Its generator, keyed by the run's seed.
    pub philox: Philox,
    /// Optimizer step t.
    pub step: u32,
    /// 0 for the student; k for a teacher that is k steps old (1 for a teacher that is a mean).
    pub pass: u32,
    /// False: nothing is dropped (evaluation, a teacher without dropout).
    pub active: bool,
}

impl Mask {
    /// Random bits of an element.
    pub const BITS: u32 = 16;

    /// Nothing is dropped.
    pub fn none() -> Self {
        Self { philox: Philox::new(0), step: 0, pass: 0, active: false }
    }

    /// The dropout of one site.
    pub fn at(self, site: Site, drop_prob: f32) -> Dropout {
        let range = (1u32 << Self::BITS) as f32;
        let threshold = if self.active { (drop_prob * range).round() as u32 } else { 0 };
        Dropout {
            philox: self.philox,
            step: self.step,
            site: self.pass << 16 | site.number(),
            threshold,
            scale: range / (range - threshold as f32),
        }
    }
}

/// The masks of one site in one forward pass; the backward pass gets an equal one and makes the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Its generator.
    pub philox: Philox,
    /// The step whose masks these are.
    pub step: u32,
    /// The site, with the pass in the upper half.
    pub site: u32,
    /// 16 random bits below it drop the element; 0 keeps everything.
    pub threshold: u32,
    /// What a kept value is multiplied by.
    pub scale: f32,
}

impl Dropout {
    /// Elements that share one Philox block.
    pub const GROUP: usize = 8;

    /// Whether anything is dropped.
    pub fn is_active(&self) -> bool {
        self.threshold > 0
    }

    /// The generator's counter for a block of a slot.
    #[inline(always)]
    pub fn counter(&self, block: u32, slot: u32) -> [u32; 4] {
        [block, slot, self.step, self.site]
    }
}
