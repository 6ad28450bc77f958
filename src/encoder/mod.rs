//! The BERT classifier as a sequence of the seam's operations: forward and backward, written once for every device.
//!
//! Classification reads one row per sequence. So in the last layer keys and values are computed for all tokens, but
//! queries, attention and everything after it for first tokens only ([`LastLayer::FirstRows`]); the result is the same.

mod backward;
mod forward;
mod pass;
mod workspace;

pub use pass::Pass;
pub use workspace::{Keep, Workspace};

use clap::ValueEnum;

use crate::{
    device::{Dropout, Mask, Rows, Shape, Site},
    model::{BertConfig, Layout},
    text_value::{text_enum, text_serde},
};

/// Which rows of the last encoder layer are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLayer {
    /// The first token of each sequence.
    FirstRows,
    /// Every token: the plain way, to check the other against.
    AllRows,
}

/// What the backward pass recomputes instead of keeping it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Recompute {
    /// Nothing.
    None,
    /// GELU's output, from its input: in a pass that reads the input anyway.
    #[default]
    Gelu,
    /// Each layer, from its input: a third more work in the step, and of the layers only inputs are kept.
    Layer,
}

text_enum!(Recompute);
text_serde!(Recompute);

/// Sizes, parameter places and drop probabilities of one classifier.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Its sizes.
    pub shape: Shape,
    /// Where its parameters lie.
    pub layout: Layout,
    last_layer: LastLayer,
    recompute: Recompute,
    hidden_drop_prob: f32,
    attention_drop_prob: f32,
    classifier_drop_prob: f32,
}

impl Encoder {
    /// An encoder that keeps all activations.
    pub fn new(config: &BertConfig, last_layer: LastLayer) -> Self {
        Self {
            shape: Shape::new(config),
            layout: Layout::new(config),
            last_layer,
            recompute: Recompute::default(),
            hidden_drop_prob: config.hidden_drop_prob,
            attention_drop_prob: config.attention_drop_prob,
            classifier_drop_prob: config.classifier_drop_prob,
        }
    }

    /// The same, keeping fewer activations.
    pub fn with_recompute(self, recompute: Recompute) -> Self {
        Self { recompute, ..self }
    }

    /// Layers, by number, that have buffers of their own in a workspace; all others share the first of them. The last
    /// one has fewer rows than the others.
    fn buffered_layers(&self, keep: Keep) -> Vec<usize> {
        match (keep, self.recompute) {
            (Keep::ForBackward, Recompute::None | Recompute::Gelu) => (0..self.layers()).collect(),
            (Keep::ForBackward, Recompute::Layer) | (Keep::Logits, _) => vec![0, self.layers() - 1],
        }
    }

    /// Whether each layer has its own output of GELU.
    fn keeps_gelu(&self, keep: Keep) -> bool {
        keep == Keep::ForBackward && self.recompute == Recompute::None
    }

    fn layers(&self) -> usize {
        self.layout.layers.len()
    }

    /// What a row of layer `l` stands for, after its keys and values.
    fn rows(&self, l: usize) -> Rows {
        if l + 1 == self.layers() && self.last_layer == LastLayer::FirstRows { Rows::Sequences } else { Rows::Tokens }
    }

    fn dropout(&self, mask: Mask, site: Site) -> Dropout {
        let drop_prob = match site {
            Site::Probabilities(_) => self.attention_drop_prob,
            Site::Classifier => self.classifier_drop_prob,
            Site::Embeddings | Site::AttentionOutput(_) | Site::Output(_) => self.hidden_drop_prob,
        };
        mask.at(site, drop_prob)
    }
}
