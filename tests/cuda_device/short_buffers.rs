//! A buffer that is too short for the batch, or has other columns than an operation takes, is refused by its name
//! before anything is written, on every device.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bertsd_cuda::{
    Error,
    data::PackedBatch,
    device::{
        Attended, AttendedFirst, BranchGradient, Capacity, Device, Distance, Head, Inspect, LinearOps, LossInputs,
        LossKind, Mask, Matrix, Normed, On, PassKey, Passes, Pooled, RowStats, Rows, Shape, Sink, Site, StepScalars,
        Write, cpu::CpuDevice, cuda::Bf16,
    },
    model::{BertConfig, Layout},
};

use super::{support, tiny};

const LENGTHS: [usize; 3] = [4, 1, 6];
const TOKENS: usize = 11;
const SEQUENCES: usize = 3;
const CAPACITY: Capacity = Capacity { tokens: TOKENS + 2, sequences: SEQUENCES + 1, length: 8 };

fn config() -> BertConfig {
    tiny::config(2, 8, 1)
}

/// The operation panics, and says what is wrong with what.
fn refused<T>(operation: &str, buffer: &str, run: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().unwrap_or_else(|| panic!("{operation} took {buffer}"));
    let message = panic.downcast_ref::<String>().unwrap_or_else(|| panic!("{operation}: a message with names"));
    assert!(message.starts_with(operation) && message.contains(buffer), "{operation}, {buffer}: {message}");
}

/// A device with a batch, weights of a model, and buffers.
struct Bench<D: Device> {
    device: D,
    layout: Layout,
    weights: D::Parameters,
    gradients: D::Gradients,
    batch: D::Batch,
}

impl<D: Device> Bench<D> {
    fn new(mut device: D) -> Self {
        let config = config();
        let layout = Layout::new(&config);
        let batch = support::upload(&mut device, &tiny::batch(&config, &LENGTHS, 1), CAPACITY, &StepScalars::default());
        Self {
            weights: device.parameters(&tiny::weights(&config, 1)).unwrap(),
            gradients: device.gradients(layout.len, &layout.embeddings).unwrap(),
            batch,
            device,
            layout,
        }
    }

    fn matrix(&self, rows: usize, cols: usize) -> Matrix<D> {
        self.device.matrix(rows, cols).unwrap()
    }

    fn vector(&self, len: usize) -> D::Vector {
        self.device.vector(len).unwrap()
    }

    fn stats(&self, rows: usize) -> RowStats<D> {
        RowStats::new(&self.device, rows).unwrap()
    }
}

/// Every family with one buffer after another that does not fit, others fitting.
fn every_family<D: Device>(device: D) {
    let mut bench = Bench::new(device);
    let (c, f) = (config().hidden_size, config().intermediate_size);
    let none = |site| Mask::none().at(site, 0.0);
    let layer = bench.layout.layers[0];
    let (t, b) = (TOKENS, SEQUENCES);
    let [short, mut short_too] = [0; 2].map(|_| bench.matrix(t - 1, c));
    let [fits, mut fits_too, mut third] = [0; 3].map(|_| bench.matrix(t, c));
    let [wide, mut wide_too] = [0; 2].map(|_| bench.matrix(t, f));
    let (qkv, kv, mut kv_too) = (bench.matrix(t, 3 * c), bench.matrix(t, 2 * c), bench.matrix(t, 2 * c));
    let [first, mut first_too, mut first_three] = [0; 3].map(|_| bench.matrix(b, c));
    let mut short_first = bench.matrix(b - 1, c);
    let (mut stats, mut short_stats) = (bench.stats(t), bench.stats(t - 1));
    let (mut lse, mut short_lse) = (bench.vector(2 * t), bench.vector(2 * t - 1));
    let mut short_first_lse = bench.vector(2 * b - 1);
    let classes = config().labels;
    let (mut logits, mut short_logits) = (bench.vector(b * classes), bench.vector(b * classes - 1));
    let mut losses = bench.vector(2 * b - 1);
    let Bench { device, layout, weights, gradients, batch } = &mut bench;
    let (weights, batch) = (&*weights, &*batch);
    let on = On { weights, batch, rows: Rows::Tokens };

    // Linear.
    refused("linear: ", "y is [10, 16]", || device.linear(&mut short_too, &fits, layer.attention_output, on));
    refused("linear: ", "x is [10, 16]", || device.linear(&mut fits_too, &short, layer.attention_output, on));
    refused("linear: ", "x is [11, 40]", || device.linear(&mut fits_too, &wide, layer.attention_output, on));
    refused("linear with GELU: ", "u is", || {
        device.linear_gelu(&mut wide_too, Some(&mut short_too), &fits, layer.intermediate, on)
    });
    let output = none(Site::Output(0));
    refused("linear with residual: ", "the residual is", || {
        device.linear_dropout_residual(&mut fits_too, &wide, &short, layer.output, output, on)
    });
    refused("linear backward, input: ", "d_x is", || {
        device.linear_backward_input(&mut short_too, &fits, None, layer.attention_output, on)
    });
    refused("linear backward, input with GELU: ", "h is", || {
        device.linear_backward_input_gelu(&mut wide_too, Some(&mut third), &fits, &wide, layer.output, on)
    });
    refused("linear backward, weight: ", "x is", || {
        let mut sink = Sink { gradients: &mut *gradients, write: Write::Overwrite };
        device.linear_backward_weight(&mut sink, &fits, &short, layer.attention_output, on)
    });
    refused("project first tokens: ", "q is", || {
        device.project_first(&mut kv_too, &mut short_first, &mut first_too, &fits, layer.qkv, on)
    });
    refused("project first tokens backward: ", "x is", || {
        device.project_first_backward_input(&mut short_too, &kv, &first, &first, layer.qkv, on)
    });

    // Attention.
    let probabilities = none(Site::Probabilities(0));
    refused("attention: ", "the log-sum-exp has", || {
        device.attention(&mut fits_too, &mut short_lse, &qkv, probabilities, batch)
    });
    refused("attention: ", "ctx is", || device.attention(&mut short_too, &mut lse, &qkv, probabilities, batch));
    refused("attention: ", "d_qkv is", || {
        let kept = Attended { qkv: &qkv, ctx: &fits, lse: &lse };
        device.attention_backward(&mut third, &fits, kept, probabilities, batch)
    });
    refused("attention of first tokens: ", "the log-sum-exp has", || {
        device.attention_first(&mut first_too, &mut short_first_lse, &first, &kv, probabilities, batch)
    });
    refused("attention of first tokens: ", "d_q is", || {
        let kept = AttendedFirst { q: &first, kv: &kv, ctx: &first, lse: &lse };
        device.attention_first_backward(&mut short_first, &mut kv_too, &first, kept, probabilities, batch)
    });

    // LayerNorm.
    let norm = layer.output_norm;
    refused("layer norm: ", "the mean of the rows has", || {
        device.layer_norm(&mut fits_too, &mut short_stats, &fits, norm, on)
    });
    refused("layer norm: ", "the gradient of the branch is", || {
        let branch = BranchGradient { d: &mut short_too, dropout: output };
        let mut sink = Sink { gradients: &mut *gradients, write: Write::Overwrite };
        device.layer_norm_backward(&mut third, branch, &mut sink, &fits, Normed { r: &fits, stats: &stats, norm }, on)
    });

    // Embedding.
    let (table, embeddings) = (&layout.embeddings, none(Site::Embeddings));
    refused("embed: ", "x is", || device.embed(&mut short_too, &mut stats, table, embeddings, on));
    refused("embed backward: ", "the mean of x has", || {
        device.embed_backward(gradients, &fits, &short_stats, table, embeddings, on)
    });

    // Head and loss.
    let head = Head { pooler: layout.pooler, classifier: layout.classifier, dropout: none(Site::Classifier) };
    refused("the head: ", "the logits has", || {
        device.classify(&mut first_too, &mut first_three, &mut short_logits, &first, head, on)
    });
    refused("the head: ", "d_first is", || {
        let mut sink = Sink { gradients: &mut *gradients, write: Write::Overwrite };
        let kept = Pooled { first: &first, pooled: &first, dropped: &first };
        device.classify_backward(&mut short_first, &mut sink, &logits, kept, head, on)
    });
    let kind = LossKind { distance: Distance::Mse, label_smoothing: 0.0 };
    let other = device.vector(b * classes).unwrap();
    refused("the loss: ", "losses has", || {
        let inputs = LossInputs { logits: &other, target: None, class_weights: None };
        device.distillation_loss(&mut losses, &mut logits, inputs, kind, batch)
    });
    refused("votes: ", "votes has", || device.add_votes(&mut losses, &other, batch, Write::Overwrite));
    refused("votes: ", "the logits has", || device.mean_of_votes(&mut short_logits, &other, batch, 1));
}

#[test]
fn short_buffers_of_every_family_are_refused_by_name() {
    every_family(CpuDevice::new(Shape::new(&config()), CAPACITY));
    every_family(support::device::<f32>(Shape::new(&config()), CAPACITY));
    every_family(support::device::<Bf16>(Shape::new(&config()), CAPACITY));
}

/// What an upload refuses: more than was planned is an error, a number that the model has no row for a mistake of the
/// program.
fn uploads<D: Device>(mut device: D) {
    let config = config();
    let mut batch = device.batch(CAPACITY).unwrap();
    let mut upload = |packed: &PackedBatch| device.upload(&mut batch, packed, &StepScalars::default());
    for lengths in [vec![8, 6], vec![1; 5], vec![9]] {
        let error = upload(&tiny::batch(&config, &lengths, 1)).unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error}");
        assert!(error.to_string().contains("are more than was planned: 13 in 4 of up to 8"), "{error}");
    }
    let good = tiny::batch(&config, &LENGTHS, 1);
    upload(&good).unwrap();
    let spoilt = |change: fn(&mut PackedBatch)| {
        let mut packed = good.clone();
        change(&mut packed);
        packed
    };
    refused("upload: ", "61 words are too few for numbers up to 61", || upload(&spoilt(|p| p.ids[3] = 61)));
    refused("upload: ", "types", || upload(&spoilt(|p| p.types[3] = 2)));
    refused("upload: ", "labels", || upload(&spoilt(|p| p.labels[1] = 3)));
}

#[test]
fn uploads_that_do_not_fit_are_refused() {
    uploads(CpuDevice::new(Shape::new(&config()), CAPACITY));
    uploads(support::device::<f32>(Shape::new(&config()), CAPACITY));
}

/// A larger batch of the same bucket does not run through a recorded pass whose buffers have no room for it.
#[test]
fn a_recorded_pass_is_checked_again_for_a_larger_batch() {
    let mut bench = Bench::new(support::device::<f32>(Shape::new(&config()), CAPACITY));
    let c = config().hidden_size;
    let (x, mut y) = (bench.matrix(TOKENS, c), bench.matrix(TOKENS, c));
    let (large_x, mut large_y) = (bench.matrix(TOKENS + 2, c), bench.matrix(TOKENS + 2, c));
    let layer = bench.layout.layers[0].attention_output;
    let Bench { device, weights, batch, .. } = &mut bench;
    let tight = PassKey::Student { target: 0, write: Write::Add };
    let roomy = PassKey::Student { target: 0, write: Write::Overwrite };
    let on = On { weights: &*weights, batch: &*batch, rows: Rows::Tokens };
    device.replay(tight, on.batch, |device| device.linear(&mut y, &x, layer, on)).unwrap();
    device.replay(roomy, on.batch, |device| device.linear(&mut large_y, &large_x, layer, on)).unwrap();
    assert_eq!(device.recorded(), 2);
    let (larger, bucket) = (tiny::batch(&config(), &[4, 1, 8], 1), batch.bucket());
    device.upload(batch, &larger, &StepScalars::default()).unwrap();
    assert_eq!(batch.bucket(), bucket);
    let on = On { weights: &*weights, batch: &*batch, rows: Rows::Tokens };
    refused("linear: ", "has to be [13, 16]", || {
        device.replay(tight, on.batch, |device| device.linear(&mut y, &x, layer, on))
    });
    // The other has room: checked once, then launched again as it is.
    device.replay(roomy, on.batch, |device| device.linear(&mut large_y, &large_x, layer, on)).unwrap();
    device.replay(roomy, on.batch, |_| panic!("it was recorded")).unwrap();
}

/// A recording that a panic breaks off is over, and the device goes on.
#[test]
fn a_check_that_fails_in_a_recording_ends_it() {
    let mut bench = Bench::new(support::device::<f32>(Shape::new(&config()), CAPACITY));
    let c = config().hidden_size;
    let (x, mut y, mut short) = (bench.matrix(TOKENS, c), bench.matrix(TOKENS, c), bench.matrix(TOKENS - 1, c));
    let layer = bench.layout.layers[0].attention_output;
    let Bench { device, weights, batch, .. } = &mut bench;
    let on = On { weights: &*weights, batch: &*batch, rows: Rows::Tokens };
    let key = PassKey::Student { target: 0, write: Write::Add };
    refused("linear: ", "y is", || device.replay(key, on.batch, |device| device.linear(&mut short, &x, layer, on)));
    device.linear(&mut y, &x, layer, on).unwrap();
    device.read_matrix(&y).unwrap();
}
