//! How large a workspace is, without making one.
//!
//! The sums follow [`Workspace`](super::Workspace) buffer by buffer; a test holds them to what it allocates.

use super::{Encoder, Keep};
use crate::device::{Capacity, Rows};

/// Elements of all buffers. Vectors are float32; matrices have the device's working precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub matrix_elements: usize,
    pub vector_elements: usize,
}

impl Footprint {
    /// Bytes on a device whose matrix elements have `matrix_element_bytes`.
    pub fn bytes(self, matrix_element_bytes: usize) -> usize {
        self.matrix_elements * matrix_element_bytes + self.vector_elements * size_of::<f32>()
    }
}

impl Encoder {
    /// The size of the workspace for this capacity.
    pub fn footprint(&self, capacity: Capacity, keep: Keep) -> Footprint {
        let Capacity { tokens: t, sequences: b, .. } = capacity;
        let (c, f, n) = (self.shape.hidden, self.shape.intermediate, self.shape.labels);
        let layers = self.layers();
        let training = keep == Keep::ForBackward;
        let shared_h = if self.keeps_gelu(keep) { 0 } else { t * f };
        let mut sum = Footprint {
            // inputs and outputs of layers; h; first, pooled, dropped
            matrix_elements: (if training { layers + 1 } else { 2 }) * t * c + shared_h + 3 * b * c,
            // the embeddings' mean and 1/σ; logits
            vector_elements: 2 * t + b * n,
        };
        if training {
            // d_out, d_r, d_branch, d_y; d_u; d_qkv
            sum.matrix_elements += 4 * t * c + t * f + t * 3 * c;
            sum.vector_elements += b * n;
        }
        for layer in self.buffered_layers(keep) {
            let buffers = self.layer_footprint(capacity, self.rows(layer), keep);
            sum.matrix_elements += buffers.matrix_elements;
            sum.vector_elements += buffers.vector_elements;
        }
        sum
    }

    fn layer_footprint(&self, capacity: Capacity, rows: Rows, keep: Keep) -> Footprint {
        let (c, f, heads) = (self.shape.hidden, self.shape.intermediate, self.shape.heads);
        let (n, projected) = match rows {
            Rows::Tokens => (capacity.tokens, 3 * c),
            // keys and values; and for first rows their queries and inputs
            Rows::Sequences => (capacity.sequences, 2 * c),
        };
        let first_only = if rows == Rows::Sequences { 2 * n * c } else { 0 };
        let around_gelu = n * f * (usize::from(keep == Keep::ForBackward) + usize::from(self.keeps_gelu(keep)));
        Footprint {
            // qkv; q, first; ctx, r1, y, r2; u, h
            matrix_elements: capacity.tokens * projected + first_only + 4 * n * c + around_gelu,
            // lse; mean and 1/σ of two LayerNorms
            vector_elements: heads * n + 4 * n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::cpu::CpuDevice,
        encoder::{LastLayer, Recompute, Workspace},
        model::{Activation, BertConfig},
    };

    fn allocated(workspace: &Workspace<CpuDevice>) -> Footprint {
        let Workspace { x, embed_mean, embed_rstd, layers, h, first, pooled, dropped, logits, gradients, .. } =
            workspace;
        let mut matrices: Vec<&Vec<f32>> = x.iter().chain(h).chain([first, pooled, dropped]).collect();
        let mut vectors: Vec<&Vec<f32>> = vec![embed_mean, embed_rstd, logits];
        for layer in layers {
            matrices.extend([&layer.qkv, &layer.ctx, &layer.r1, &layer.y, &layer.r2]);
            matrices.extend(layer.q.iter().chain(&layer.first).chain(&layer.u).chain(&layer.h));
            vectors.extend([&layer.lse, &layer.mean1, &layer.rstd1, &layer.mean2, &layer.rstd2]);
        }
        if let Some(g) = gradients {
            matrices.extend([&g.d_out, &g.d_r, &g.d_branch, &g.d_y, &g.d_u, &g.d_qkv]);
            vectors.push(&g.d_logits);
        }
        let sum = |buffers: Vec<&Vec<f32>>| buffers.iter().map(|buffer| buffer.len()).sum();
        Footprint { matrix_elements: sum(matrices), vector_elements: sum(vectors) }
    }

    #[test]
    fn it_is_what_a_workspace_allocates() {
        let mut config = BertConfig {
            vocab_size: 11,
            hidden_size: 16,
            layers: 3,
            heads: 2,
            intermediate_size: 24,
            max_positions: 40,
            type_vocab_size: 2,
            labels: 5,
            activation: Activation::GeluErf,
            layer_norm_eps: 1e-12,
            hidden_drop_prob: 0.1,
            attention_drop_prob: 0.1,
            classifier_drop_prob: 0.1,
            initializer_range: 0.02,
        };
        let capacity = Capacity { tokens: 37, sequences: 4, length: 19 };
        let (first, all) = (LastLayer::FirstRows, LastLayer::AllRows);
        let (none, gelu, layer) = (Recompute::None, Recompute::Gelu, Recompute::Layer);
        for (layers, last, again) in [
            (1, first, none),
            (3, all, none),
            (1, first, gelu),
            (3, first, gelu),
            (3, all, gelu),
            (3, first, layer),
            (1, all, layer),
        ] {
            config.layers = layers;
            let encoder = Encoder::new(&config, last).with_recompute(again);
            let device = CpuDevice::new(encoder.shape, capacity);
            for keep in [Keep::ForBackward, Keep::Logits] {
                let workspace = Workspace::new(&device, &encoder, capacity, keep).unwrap();
                assert_eq!(encoder.footprint(capacity, keep), allocated(&workspace), "{layers} {last:?} {keep:?}");
            }
        }
    }
}
