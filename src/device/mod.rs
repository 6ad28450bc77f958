//! The seam: what a BERT training step asks of a device, fused as a GPU wants it.
//!
//! About twenty operations, no primitive tensor arithmetic, no autograd, no dispatch on shapes or types at run time.
//! Model code knows no device; devices know no model. A trait per family of operations; a family has one file here, one
//! in each device, and one in kernels/.
//!
//! Every operation lists its outputs, then inputs, then parameters, then what it works on; what it writes is `&mut`.
//! Matrices are row-major and know their rows and columns ([`Matrix`]); [`Rows`] says whether a matrix has one row per
//! token or one per sequence, the batch says how many of them are in use. Backward operations write gradients of
//! parameters to a [`Sink`]: the first micro-batch of a step overwrites, the others add.

mod attention;
mod backend;
mod batch_index;
mod check;
mod counter;
pub mod cpu;
pub mod cuda;
mod dropout;
mod embedding;
mod head;
mod inspect;
mod layer_norm;
mod linear;
mod loss;
mod matrix;
mod memory;
mod on_device;
mod optimizer;
mod pass;
mod shape;
pub mod timeline;

pub use attention::{Attended, AttendedFirst, AttentionOps};
pub use backend::{Backend, DeviceChoice, Precision};
pub use batch_index::{Limits, Uploaded};
pub use counter::Counter;
pub use dropout::{Dropout, Mask, Site};
pub use embedding::EmbeddingOps;
pub use head::{Head, HeadOps, Pooled};
pub use inspect::Inspect;
pub use layer_norm::{BranchGradient, NormOps, Normed};
pub use linear::{LinearOps, query_and_key_value};
pub use loss::{LossInputs, LossOps};
pub use matrix::{Extent, Matrix, On, RowStats, Sink};
pub use memory::{Copies, Memory};
pub use on_device::OnDevice;
pub use optimizer::{Blend, Follower, Mean, OptimizerOps, ParameterRange, Student, Turn, Update, Window};
pub use pass::{Direction, Distance, ForwardWeights, LossKind, PassKey, Passes, Rows, Scope, StepScalars, Write};
pub use shape::{Capacity, Shape, Storage};

/// Everything that a device does.
pub trait Device:
    Memory + Copies + Passes + EmbeddingOps + LinearOps + AttentionOps + NormOps + HeadOps + LossOps + OptimizerOps
{
}

impl<D> Device for D where
    D: Memory + Copies + Passes + EmbeddingOps + LinearOps + AttentionOps + NormOps + HeadOps + LossOps + OptimizerOps
{
}

/// What a device keeps in its memory.
pub trait Buffers: Sized {
    /// The memory of a [`Matrix`], in the device's working precision.
    type Elements;
    /// float32 numbers: statistics, logits, losses.
    type Vector: Extent;
    /// A float32 arena in the layout of the parameters.
    type Arena;
    /// Weights that a forward pass reads: a float32 arena and whatever copies of it the device's precision needs.
    type Parameters;
    /// A float32 arena, and which rows of the word embeddings are not zero in it.
    type Gradients;
    /// An uploaded batch.
    type Batch: Uploaded;
    /// Where the losses and the gradient norm of a step arrive on the host.
    type Outcome;
}

/// The traits of all families, for whoever calls operations of a device whose type is known.
pub mod families {
    pub use super::{
        AttentionOps, Buffers, Copies, Device, EmbeddingOps, HeadOps, Inspect, LinearOps, LossOps, Memory, NormOps,
        OptimizerOps, Passes,
    };
}
