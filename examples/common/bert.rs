//! Configurations of published models, for what times and counts them.

use bertsd_cuda::model::{Activation, BertConfig};

/// Two labels, dropout of a tenth; `heads` of `hidden_size`, the feed-forward layer four times as wide.
pub fn bert(layers: usize, hidden_size: usize, heads: usize, vocab_size: usize) -> BertConfig {
    BertConfig {
        vocab_size,
        hidden_size,
        layers,
        heads,
        intermediate_size: 4 * hidden_size,
        max_positions: 512,
        type_vocab_size: 2,
        labels: 2,
        activation: Activation::GeluErf,
        layer_norm_eps: 1e-12,
        hidden_drop_prob: 0.1,
        attention_drop_prob: 0.1,
        classifier_drop_prob: 0.1,
        initializer_range: 0.02,
    }
}
