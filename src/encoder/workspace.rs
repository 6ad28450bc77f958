//! The buffers of a pass through the encoder, allocated once for the largest batch.

use super::{Encoder, Recompute};
use crate::{
    Result,
    device::{Capacity, Device, Rows},
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
pub struct LayerBuffers<D: Device> {
    pub qkv: D::Matrix,           // [T, 3C]; with first rows only: keys and values, [T, 2C]
    pub q: Option<D::Matrix>,     // [B, C], with first rows only
    pub first: Option<D::Matrix>, // [B, C], the layer's input at first tokens, with first rows only
    pub ctx: D::Matrix,           // [rows, C]
    pub lse: D::Vector,           // [H, T] or [B, H]
    pub r1: D::Matrix,            // [rows, C], before the first LayerNorm
    pub mean1: D::Vector,         // [rows]
    pub rstd1: D::Vector,         // [rows]
    pub y: D::Matrix,             // [rows, C], after it
    pub u: Option<D::Matrix>,     // [rows, F], before GELU; kept for the backward pass
    pub h: Option<D::Matrix>,     // [rows, F], behind it; kept only where it is not made again
    pub r2: D::Matrix,            // [rows, C], before the second LayerNorm
    pub mean2: D::Vector,         // [rows]
    pub rstd2: D::Vector,         // [rows]
}

/// Gradients in flight, shared by all layers.
pub struct GradientBuffers<D: Device> {
    pub d_out: D::Matrix,    // [T, C]
    pub d_r: D::Matrix,      // [T, C]
    pub d_branch: D::Matrix, // [T, C]
    pub d_y: D::Matrix,      // [T, C]
    pub d_u: D::Matrix,      // [T, F]
    pub d_qkv: D::Matrix,    // [T, 3C]
    pub d_logits: D::Vector, // [B, N]
}

/// All buffers of a pass.
pub struct Workspace<D: Device> {
    /// Input of each layer and output of the last; two that take turns if nothing is kept.
    pub x: Vec<D::Matrix>, // [T, C]
    pub embed_mean: D::Vector, // [T]
    pub embed_rstd: D::Vector, // [T]
    pub layers: Vec<LayerBuffers<D>>,
    pub h: Option<D::Matrix>, // [T, F], where the layers have none of their own
    pub first: D::Matrix,     // [B, C], what the pooler reads
    pub pooled: D::Matrix,    // [B, C]
    pub dropped: D::Matrix,   // [B, C]
    pub logits: D::Vector,    // [B, N]
    pub gradients: Option<GradientBuffers<D>>,
    keep: Keep,
    /// All layers but the last have one set of buffers.
    shares_layers: bool,
}

impl<D: Device> Workspace<D> {
    pub fn new(device: &D, encoder: &Encoder, capacity: Capacity, keep: Keep) -> Result<Self> {
        let Capacity { tokens: t, sequences: b, .. } = capacity;
        let (c, f, n) = (encoder.shape.hidden, encoder.shape.intermediate, encoder.shape.labels);
        let layers = encoder.layers();
        let gradients = match keep {
            Keep::Logits => None,
            Keep::ForBackward => Some(GradientBuffers {
                d_out: device.matrix(t, c)?,
                d_r: device.matrix(t, c)?,
                d_branch: device.matrix(t, c)?,
                d_y: device.matrix(t, c)?,
                d_u: device.matrix(t, f)?,
                d_qkv: device.matrix(t, 3 * c)?,
                d_logits: device.vector(b * n)?,
            }),
        };
        let inputs = if keep == Keep::ForBackward { layers + 1 } else { 2 };
        Ok(Self {
            x: (0..inputs).map(|_| device.matrix(t, c)).collect::<Result<_>>()?,
            embed_mean: device.vector(t)?,
            embed_rstd: device.vector(t)?,
            layers: encoder
                .buffered_layers(keep)
                .into_iter()
                .map(|l| LayerBuffers::new(device, encoder, capacity, encoder.rows(l), keep))
                .collect::<Result<_>>()?,
            h: if encoder.keeps_gelu(keep) { None } else { Some(device.matrix(t, f)?) },
            first: device.matrix(b, c)?,
            pooled: device.matrix(b, c)?,
            dropped: device.matrix(b, c)?,
            logits: device.vector(b * n)?,
            gradients,
            keep,
            shares_layers: keep == Keep::Logits || encoder.recompute == Recompute::Layer,
        })
    }

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

impl<D: Device> LayerBuffers<D> {
    fn new(device: &D, encoder: &Encoder, capacity: Capacity, rows: Rows, keep: Keep) -> Result<Self> {
        let (c, f, heads) = (encoder.shape.hidden, encoder.shape.intermediate, encoder.shape.heads);
        let (n, projections) = match rows {
            Rows::Tokens => (capacity.tokens, 3),
            Rows::Sequences => (capacity.sequences, 2),
        };
        let first_only = || if rows == Rows::Sequences { device.matrix(n, c).map(Some) } else { Ok(None) };
        Ok(Self {
            qkv: device.matrix(capacity.tokens, projections * c)?,
            q: first_only()?,
            first: first_only()?,
            ctx: device.matrix(n, c)?,
            lse: device.vector(heads * n)?,
            r1: device.matrix(n, c)?,
            mean1: device.vector(n)?,
            rstd1: device.vector(n)?,
            y: device.matrix(n, c)?,
            u: if keep == Keep::ForBackward { Some(device.matrix(n, f)?) } else { None },
            h: if encoder.keeps_gelu(keep) { Some(device.matrix(n, f)?) } else { None },
            r2: device.matrix(n, c)?,
            mean2: device.vector(n)?,
            rstd2: device.vector(n)?,
        })
    }
}
