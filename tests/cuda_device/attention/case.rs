//! A batch with its inputs, and what the devices make of it.

use std::ops::Range;

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Attended, AttendedFirst, Capacity, Device, Dropout, Inspect, Mask, Matrix, Shape, Site, StepScalars,
        cpu::CpuDevice, cuda::Element,
    },
    model::BertConfig,
    random::Philox,
};

use super::super::{
    buffers::{matrix, vector},
    support, tiny,
};

pub const LAYER: usize = 2;
pub const STEP: u32 = 3;
/// Rows that buffers have beyond the batch.
pub const SPARE: usize = 5;

/// A batch, its masks and its inputs.
pub struct Case {
    pub config: BertConfig,
    pub packed: PackedBatch,
    pub drop_prob: f32,
    pub qkv: Vec<f32>,   // [T, 3A]
    pub d_ctx: Vec<f32>, // [T, A]
}

impl Case {
    /// Inputs that E holds exactly; q, k, v and d_ctx are of these sizes.
    pub fn new<E: Element>(heads: usize, head_size: usize, lengths: &[usize], drop_prob: f32, sizes: [f32; 4]) -> Self {
        let config = BertConfig { max_positions: 1024, ..tiny::config(heads, head_size, 1) };
        let packed = tiny::batch(&config, lengths, 6);
        let (tokens, a) = (packed.tokens(), config.attention_size());
        let mut stream = tiny::stream(7000 + head_size as u32);
        let mut random = |column: usize, size: f32| {
            let fills_up = column % config.padded_head_size() >= head_size;
            E::from_f32(stream.normal() as f32 * if fills_up { 0.0 } else { size }).value()
        };
        let qkv = (0..tokens * 3 * a).map(|i| random(i % a, sizes[i / a % 3])).collect();
        let d_ctx = (0..tokens * a).map(|i| random(i % a, sizes[3])).collect();
        Self { config, packed, drop_prob, qkv, d_ctx }
    }

    pub fn dropout(&self) -> Dropout {
        let mask = Mask { philox: Philox::new(tiny::SEED), step: STEP, pass: 1, active: self.drop_prob > 0.0 };
        mask.at(Site::Probabilities(LAYER), self.drop_prob)
    }

    pub fn capacity(&self) -> Capacity {
        tiny::capacity(std::slice::from_ref(&self.packed))
    }

    pub fn ranges(&self) -> Vec<Range<usize>> {
        self.packed.offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize).collect()
    }

    /// Columns of A of a [T, 3A] matrix, and of the first rows only.
    pub fn columns(&self, part: Range<usize>, first_only: bool) -> Vec<f32> {
        let a = self.config.attention_size();
        let rows: Vec<usize> = if first_only {
            self.ranges().iter().map(|r| r.start).collect()
        } else {
            (0..self.packed.tokens()).collect()
        };
        rows.iter()
            .flat_map(|row| self.qkv[row * 3 * a + part.start * a..row * 3 * a + part.end * a].to_vec())
            .collect()
    }

    pub fn first_d_ctx(&self) -> Vec<f32> {
        let a = self.config.attention_size();
        self.ranges().iter().flat_map(|r| self.d_ctx[r.start * a..(r.start + 1) * a].to_vec()).collect()
    }
}

/// What the four operations give, in the seam's layouts.
pub struct Results<T> {
    pub ctx: Vec<T>,
    pub lse: Vec<T>,
    pub d_qkv: Vec<T>,
    pub ctx_first: Vec<T>,
    pub lse_first: Vec<T>,
    pub d_q: Vec<T>,
    pub d_kv: Vec<T>,
}

fn poisoned<D: Device + Inspect>(device: &D, rows: usize, cols: usize) -> Matrix<D> {
    matrix(device, &vec![f32::NAN; (rows + SPARE) * cols], cols)
}

fn poisoned_vector<D: Device>(device: &D, len: usize) -> D::Vector {
    vector(device, &vec![f32::NAN; len + SPARE])
}

/// The first `len` numbers of a buffer, all of them written; what is beyond is not.
fn written(mut values: Vec<f32>, len: usize) -> Vec<f32> {
    assert!(values[len..].iter().all(|v| v.is_nan()), "rows beyond the batch are left alone");
    values.truncate(len);
    values
}

pub fn on_cuda<E: Element>(case: &Case) -> Results<f32> {
    on_device(support::device::<E>(Shape::new(&case.config), case.capacity()), case)
}

pub fn on_cpu(case: &Case) -> Results<f32> {
    on_device(CpuDevice::new(Shape::new(&case.config), case.capacity()), case)
}

fn on_device<D: Device + Inspect>(mut device: D, case: &Case) -> Results<f32> {
    let (tokens, sequences, a) = (case.packed.tokens(), case.packed.sequences(), case.config.attention_size());
    let (heads, dropout, capacity) = (case.config.heads, case.dropout(), case.capacity());
    let scalars = StepScalars { step: STEP, ..StepScalars::default() };
    let batch = support::upload(&mut device, &case.packed, capacity, &scalars);

    let (qkv, d_ctx) = (matrix(&device, &case.qkv, 3 * a), matrix(&device, &case.d_ctx, a));
    let (mut ctx, mut d_qkv) = (poisoned(&device, tokens, a), poisoned(&device, tokens, 3 * a));
    let mut lse = poisoned_vector(&device, heads * tokens);
    device.attention(&mut ctx, &mut lse, &qkv, dropout, &batch).unwrap();
    let kept = Attended { qkv: &qkv, ctx: &ctx, lse: &lse };
    device.attention_backward(&mut d_qkv, &d_ctx, kept, dropout, &batch).unwrap();

    let (q, kv) = (case.columns(0..1, true), case.columns(1..3, false));
    let (q, kv, d_first) =
        (matrix(&device, &q, a), matrix(&device, &kv, 2 * a), matrix(&device, &case.first_d_ctx(), a));
    let [mut ctx_first, mut d_q] = [0; 2].map(|_| poisoned(&device, sequences, a));
    let mut d_kv = poisoned(&device, tokens, 2 * a);
    let mut lse_first = poisoned_vector(&device, sequences * heads);
    device.attention_first(&mut ctx_first, &mut lse_first, &q, &kv, dropout, &batch).unwrap();
    let kept = AttendedFirst { q: &q, kv: &kv, ctx: &ctx_first, lse: &lse_first };
    device.attention_first_backward(&mut d_q, &mut d_kv, &d_first, kept, dropout, &batch).unwrap();
    let read = |matrix: &Matrix<D>, len: usize| written(device.read_matrix(matrix).unwrap().into_owned(), len);
    let read_vector = |vector: &D::Vector, len: usize| written(device.read_vector(vector).unwrap().into_owned(), len);
    Results {
        ctx: read(&ctx, tokens * a),
        lse: read_vector(&lse, heads * tokens),
        d_qkv: read(&d_qkv, tokens * 3 * a),
        ctx_first: read(&ctx_first, sequences * a),
        lse_first: read_vector(&lse_first, sequences * heads),
        d_q: read(&d_q, sequences * a),
        d_kv: read(&d_kv, tokens * 2 * a),
    }
}
