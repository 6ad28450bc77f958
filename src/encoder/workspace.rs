//! The buffers of a pass through the encoder, allocated once for the largest batch.

use super::{Encoder, Pass, Recompute};
use crate::{
    Result,
    device::{Buffers, Capacity, Device, Matrix, Memory, RowStats, Rows},
    model::layout::Linear,
};

/// What a forward pass leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything the backward pass needs, layer by layer.
    ForBackward,
    /// Logits only: all layers share one set of buffers (teachers, evaluation).
    Logits,
}

/// Activations of one layer.
pub struct LayerBuffers<D: Buffers> {
    pub qkv: Matrix<D>, // [T, 3A]; with first rows only: keys and values, [T, 2A]
    pub first: Option<FirstRows<D>>,
    pub ctx: Matrix<D>,       // [rows, A]
    pub lse: D::Vector,       // [H, T] or [B, H]
    pub r1: Matrix<D>,        // [rows, C], before the first LayerNorm
    pub stats1: RowStats<D>,  // [rows]
    pub y: Matrix<D>,         // [rows, C], after it
    pub u: Option<Matrix<D>>, // [rows, F], before GELU; kept for the backward pass
    pub h: Option<Matrix<D>>, // [rows, F], after it; kept only where it is not recomputed
    pub r2: Matrix<D>,        // [rows, C], before the second LayerNorm
    pub stats2: RowStats<D>,  // [rows]
}

/// Of first tokens, where a layer has no other rows.
pub struct FirstRows<D: Buffers> {
    pub q: Matrix<D>, // [B, A]
    pub x: Matrix<D>, // [B, C], the layer's input
}

/// Gradients in flight, shared by all layers.
pub struct GradientBuffers<D: Buffers> {
    pub d_out: Matrix<D>,    // [T, C]
    pub d_r: Matrix<D>,      // [T, C]
    pub d_branch: Matrix<D>, // [T, C], and [T, A] of queries
    pub d_y: Matrix<D>,      // [T, C], and [T, A] of ctx
    pub d_u: Matrix<D>,      // [T, F]
    pub d_qkv: Matrix<D>,    // [T, 3A], and for first tokens [T, 2A]
    pub d_logits: D::Vector, // [B, N]
}

/// All buffers of a pass.
pub struct Workspace<D: Buffers> {
    /// Input of each layer and output of the last; two that take turns if nothing is kept.
    pub x: Vec<Matrix<D>>, // [T, C]
    /// Statistics of the embeddings' LayerNorm.
    pub embedded: RowStats<D>, // [T]
    /// What each layer keeps.
    pub layers: Vec<LayerBuffers<D>>,
    /// After GELU.
    pub h: Option<Matrix<D>>, // [T, F], where the layers have none of their own
    /// After the pooler's tanh.
    pub pooled: Matrix<D>, // [B, C]
    /// After the classifier's dropout.
    pub dropped: Matrix<D>, // [B, C]
    /// The answer.
    pub logits: D::Vector, // [B, N]
    /// Those of activations, where the backward pass runs.
    pub gradients: Option<GradientBuffers<D>>,
    pub(super) all_rows: Option<AllRows<D>>,
    keep: Keep,
    /// All layers but the last have one set of buffers.
    shares_layers: bool,
}

impl<D: Memory> Workspace<D> {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device has no memory for it.
    pub fn new(device: &D, encoder: &Encoder, capacity: Capacity, keep: Keep) -> Result<Self> {
        let Capacity { tokens: t, sequences: b, .. } = capacity;
        let (c, f, n) = (encoder.shape.hidden, encoder.shape.intermediate, encoder.shape.labels);
        let a = encoder.shape.attention;
        // Of two widths, one after the other.
        let shared = |rows: usize, cols: usize, other: usize| {
            let mut matrix = device.matrix(rows, cols.max(other))?;
            matrix.reshaped(cols);
            Ok::<_, crate::Error>(matrix)
        };
        let layers = encoder.layers();
        let gradients = match keep {
            Keep::Logits => None,
            Keep::ForBackward => Some(GradientBuffers {
                d_out: device.matrix(t, c)?,
                d_r: device.matrix(t, c)?,
                d_branch: shared(t, c, a)?,
                d_y: shared(t, c, a)?,
                d_u: device.matrix(t, f)?,
                d_qkv: device.matrix(t, 3 * a)?,
                d_logits: device.vector(b * n)?,
            }),
        };
        let inputs = if keep == Keep::ForBackward { layers + 1 } else { 2 };
        let plain = encoder.rows(layers - 1) == Rows::Tokens;
        Ok(Self {
            x: (0..inputs).map(|_| device.matrix(t, c)).collect::<Result<_>>()?,
            embedded: RowStats::new(device, t)?,
            layers: encoder
                .buffered_layers(keep)
                .into_iter()
                .map(|l| LayerBuffers::new(device, encoder, capacity, encoder.rows(l), keep))
                .collect::<Result<_>>()?,
            h: if encoder.keeps_gelu(keep) { None } else { Some(device.matrix(t, f)?) },
            pooled: device.matrix(b, c)?,
            dropped: device.matrix(b, c)?,
            logits: device.vector(b * n)?,
            gradients,
            all_rows: if plain { Some(AllRows::new(device, encoder, capacity)?) } else { None },
            keep,
            shares_layers: keep == Keep::Logits || encoder.recompute == Recompute::Layer,
        })
    }
}

impl<D: Buffers> Workspace<D> {
    /// Which of `x` is the input of layer `l` (`l = L`: the output of the last).
    pub fn input(&self, l: usize) -> usize {
        match self.keep {
            Keep::ForBackward => l,
            Keep::Logits => l % 2,
        }
    }

    /// Which of `layers` belongs to layer `l`, the last of which is `last`.
    pub fn set(&self, l: usize, last: usize) -> usize {
        if self.shares_layers { usize::from(l == last) } else { l }
    }
}

impl<D: Memory> LayerBuffers<D> {
    fn new(device: &D, encoder: &Encoder, capacity: Capacity, rows: Rows, keep: Keep) -> Result<Self> {
        let (c, f, heads) = (encoder.shape.hidden, encoder.shape.intermediate, encoder.shape.heads);
        let a = encoder.shape.attention;
        let (n, projections) = match rows {
            Rows::Tokens => (capacity.tokens, 3),
            Rows::Sequences => (capacity.sequences, 2),
        };
        let first = match rows {
            Rows::Tokens => None,
            Rows::Sequences => Some(FirstRows { q: device.matrix(n, a)?, x: device.matrix(n, c)? }),
        };
        Ok(Self {
            qkv: device.matrix(capacity.tokens, projections * a)?,
            first,
            ctx: device.matrix(n, a)?,
            lse: device.vector(heads * n)?,
            r1: device.matrix(n, c)?,
            stats1: RowStats::new(device, n)?,
            y: device.matrix(n, c)?,
            u: if keep == Keep::ForBackward { Some(device.matrix(n, f)?) } else { None },
            h: if encoder.keeps_gelu(keep) { Some(device.matrix(n, f)?) } else { None },
            r2: device.matrix(n, c)?,
            stats2: RowStats::new(device, n)?,
        })
    }
}

/// What the plain way needs between a last layer of all tokens and the head, which is there to check the other way:
/// devices have no operation for it. First rows come out of a projection whose products nobody reads, and go back
/// through one of zeros.
pub(super) struct AllRows<D: Buffers> {
    pub first: Matrix<D>, // [B, C], what the pooler reads
    kv: Matrix<D>,        // [T, 2A]
    q: Matrix<D>,         // [B, A]
    zero_kv: Matrix<D>,   // [T, 2A]
    zero_q: Matrix<D>,    // [B, A]
    qkv: Linear,
}

impl<D: Memory> AllRows<D> {
    fn new(device: &D, encoder: &Encoder, capacity: Capacity) -> Result<Self> {
        let Capacity { tokens: t, sequences: b, .. } = capacity;
        let (c, a) = (encoder.shape.hidden, encoder.shape.attention);
        Ok(Self {
            first: device.matrix(b, c)?,
            kv: device.matrix(t, 2 * a)?,
            q: device.matrix(b, a)?,
            zero_kv: device.matrix(t, 2 * a)?,
            zero_q: device.matrix(b, a)?,
            qkv: encoder.layout.layers[0].qkv,
        })
    }
}

impl<D: Device> AllRows<D> {
    /// The first row of each sequence of x \[T, C\].
    pub(crate) fn gather(&mut self, pass: &mut Pass<'_, D>, x: &Matrix<D>) -> Result<&Matrix<D>> {
        pass.project_first(&mut self.kv, &mut self.q, &mut self.first, x, self.qkv)?;
        Ok(&self.first)
    }

    /// d_x \[T, C\] = first \[B, C\] in the first row of each sequence, 0 in the others.
    pub(crate) fn scatter(&self, pass: &mut Pass<'_, D>, d_x: &mut Matrix<D>, first: &Matrix<D>) -> Result<()> {
        pass.project_first_backward_input(d_x, &self.zero_kv, &self.zero_q, first, self.qkv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{Counter, Storage, cpu::CpuDevice},
        encoder::LastLayer,
        model::{Activation, BertConfig},
    };

    fn allocated(workspace: &Workspace<CpuDevice>) -> usize {
        let Workspace { x, embedded, layers, h, pooled, dropped, logits, gradients, .. } = workspace;
        let mut matrices: Vec<_> = x.iter().chain(h).chain([pooled, dropped]).collect();
        let mut vectors = vec![&embedded.mean, &embedded.rstd, logits];
        for layer in layers {
            matrices.extend([&layer.qkv, &layer.ctx, &layer.r1, &layer.y, &layer.r2]);
            matrices.extend(layer.first.iter().flat_map(|first| [&first.q, &first.x]).chain(&layer.u).chain(&layer.h));
            let (stats1, stats2) = (&layer.stats1, &layer.stats2);
            vectors.extend([&layer.lse, &stats1.mean, &stats1.rstd, &stats2.mean, &stats2.rstd]);
        }
        if let Some(g) = gradients {
            matrices.extend([&g.d_out, &g.d_r, &g.d_branch, &g.d_y, &g.d_u, &g.d_qkv]);
            vectors.push(&g.d_logits);
        }
        let elements = matrices.iter().map(|matrix| matrix.elements().len()).chain(vectors.iter().map(|v| v.len()));
        elements.sum::<usize>() * size_of::<f32>()
    }

    #[test]
    fn a_counter_counts_what_is_allocated() {
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
        for (layers, recompute) in [
            (1, Recompute::None),
            (1, Recompute::Gelu),
            (3, Recompute::Gelu),
            (3, Recompute::Layer),
            (3, Recompute::None),
        ] {
            config.layers = layers;
            let encoder = Encoder::new(&config, LastLayer::FirstRows).with_recompute(recompute);
            let device = CpuDevice::new(encoder.shape, capacity);
            for keep in [Keep::ForBackward, Keep::Logits] {
                let workspace = Workspace::new(&device, &encoder, capacity, keep).unwrap();
                let counted =
                    Counter::count(Storage::FLOAT32, |counter| Workspace::new(counter, &encoder, capacity, keep));
                assert_eq!(counted.unwrap(), allocated(&workspace), "{layers} {recompute:?} {keep:?}");
            }
        }
    }
}
