//! The configuration of a BERT classifier, as `config.json` gives it.

/// The nonlinearity between the two feed-forward products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), with the error function ("gelu").
    GeluErf,
    /// 0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) ("gelu_new", "gelu_pytorch_tanh").
    GeluTanh,
}

/// Sizes and constants of the encoder and its classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    pub vocab_size: usize,        // V
    pub hidden_size: usize,       // C
    pub layers: usize,            // L
    pub heads: usize,             // H
    pub intermediate_size: usize, // F
    pub max_positions: usize,     // longest sequence the position table knows
    pub type_vocab_size: usize,   // token types, 2 for sentence pairs
    pub labels: usize,            // N
    pub activation: Activation,
    pub layer_norm_eps: f32,
    /// Probability of dropping after the embeddings and after both output projections.
    pub hidden_drop_prob: f32,
    /// Probability of dropping an attention probability.
    pub attention_drop_prob: f32,
    /// Probability of dropping before the classifier.
    pub classifier_drop_prob: f32,
    /// Standard deviation of newly initialised weights.
    pub initializer_range: f32,
}

impl BertConfig {
    /// D = C / H.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }
}
