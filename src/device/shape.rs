//! Sizes: of the model, of the largest batch, of a number in memory.

use crate::model::{Activation, BertConfig};

/// Sizes and constants that every operation of one model shares.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Hidden size, C.
    pub hidden: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Elements of a head in memory: D, filled up with zeros to a multiple of 8.
    pub head_size: usize,
    /// Elements of a head, D.
    pub head_used: usize,
    /// A, H heads in memory: C where they are not filled up.
    pub attention: usize,
    /// Feed-forward size, F.
    pub intermediate: usize,
    /// Labels, N.
    pub labels: usize,
    /// Words, V.
    pub vocabulary: usize,
    /// Token types.
    pub types: usize,
    /// ε of LayerNorms.
    pub layer_norm_eps: f32,
    /// Of the feed-forward layers.
    pub activation: Activation,
}

impl Shape {
    /// That of a model.
    pub fn new(config: &BertConfig) -> Self {
        Self {
            hidden: config.hidden_size,
            heads: config.heads,
            head_size: config.padded_head_size(),
            head_used: config.head_size(),
            attention: config.attention_size(),
            intermediate: config.intermediate_size,
            labels: config.labels,
            vocabulary: config.vocab_size,
            types: config.type_vocab_size,
            layer_norm_eps: config.layer_norm_eps,
            activation: config.activation,
        }
    }

    /// 1 / √D, which scores are multiplied by: the zeros that fill heads up do not count.
    pub fn score_scale(&self) -> f32 {
        1.0 / (self.head_used as f32).sqrt()
    }
}

/// How a device stores matrices of activations, and whether weights have a copy in that precision beside their float32
/// original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Bytes of an element of a matrix.
    pub matrix_bytes: usize,
    /// Whether weights have a copy in the working precision.
    pub copies_weights: bool,
}

impl Storage {
    /// Everything in float32.
    pub const FLOAT32: Self = Self { matrix_bytes: 4, copies_weights: false };
    /// Matrices in bf16.
    pub const BF16: Self = Self { matrix_bytes: 2, copies_weights: true };
}

/// Most rows a run will ever put through an operation; memory is planned once from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// T, of all sequences together.
    pub tokens: usize,
    /// B.
    pub sequences: usize,
    /// Longest sequence.
    pub length: usize,
}
