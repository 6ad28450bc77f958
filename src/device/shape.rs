//! Sizes: of the model, of the largest batch, of a number in memory.

use crate::model::{Activation, BertConfig};

/// Sizes and constants that every operation of one model shares.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub hidden: usize,       // C
    pub heads: usize,        // H
    pub head_size: usize,    // D
    pub intermediate: usize, // F
    pub labels: usize,       // N
    pub vocabulary: usize,   // V
    pub types: usize,
    pub layer_norm_eps: f32,
    pub activation: Activation,
}

impl Shape {
    pub fn new(config: &BertConfig) -> Self {
        Self {
            hidden: config.hidden_size,
            heads: config.heads,
            head_size: config.head_size(),
            intermediate: config.intermediate_size,
            labels: config.labels,
            vocabulary: config.vocab_size,
            types: config.type_vocab_size,
            layer_norm_eps: config.layer_norm_eps,
            activation: config.activation,
        }
    }
}

/// How a device stores matrices of activations, and whether weights have a copy in that precision beside their float32
/// original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    pub matrix_bytes: usize,
    pub copies_weights: bool,
}

impl Storage {
    pub const FLOAT32: Self = Self { matrix_bytes: 4, copies_weights: false };
    pub const BF16: Self = Self { matrix_bytes: 2, copies_weights: true };
}

/// Most rows a run will ever put through an operation; memory is planned once from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    pub tokens: usize,
    pub sequences: usize,
    /// Longest sequence.
    pub length: usize,
}
