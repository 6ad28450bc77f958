//! The kernels of every family at the shapes of all-MiniLM-L6, bf16, dropout on; linear layers in tf32 beside it.
//!
//! On a GPU criterion times each operation (launches of one operation back to back, then a wait). Without one the
//! operations run once on the simulator, and what it counted is printed: instructions, bytes, bank conflicts, and the
//! floor in time that a GPU's peak rates allow. Times of the simulator itself say nothing about a GPU and are not
//! taken.

#[path = "../tests/common/gpu.rs"]
mod gpu;
mod shapes;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bertsd_cuda::{
    data::PackedBatch,
    device::{
        Attended, AttendedFirst, BranchGradient, Distance, Dropout, Head, LossInputs, LossKind, Matrix, Normed, On,
        Pooled, RowStats, Rows, Shape, Sink, Site, StepScalars, Update, Write,
        cuda::{Bf16, CudaBatch, CudaDevice, Element, Tf32},
        families::*,
    },
    distillation::{LogitSizes, Method, MethodSettings, TeacherKind},
    encoder::{Encoder, LastLayer},
    training::{LearningRates, TrainingState},
};
use criterion::Criterion;
use cudasim::{
    counters::report::{Line, table},
    profile::PROFILES,
};
use shapes::{batches, capacity, mask, minilm, noise};

type Gpu = CudaDevice<Bf16>;
type Batch = CudaBatch;
type Operation<'a, E = Bf16> = (&'static str, Box<dyn FnMut(&mut CudaDevice<E>, &Batch) + 'a>);

const RATES: LearningRates = LearningRates {
    encoder: 2e-5,
    head: 1e-3,
    layer_decay: 1.0,
    weight_decay: 0.01,
    warmup_steps: 0,
    total_steps: 1000,
};

/// A matrix of noise.
fn matrix<D: Device + Inspect>(device: &D, rows: usize, cols: usize, name: u64) -> Matrix<D> {
    let mut matrix = device.matrix(rows, cols).expect("memory for the bench");
    device.write_matrix(&mut matrix, &noise(rows * cols, name)).expect("memory for the bench");
    matrix
}

fn vector(device: &Gpu, len: usize, name: u64) -> <Gpu as Buffers>::Vector {
    let mut vector = device.vector(len).expect("memory for the bench");
    device.write_vector(&mut vector, &noise(len, name)).expect("memory for the bench");
    vector
}

/// Linear layers and their epilogues, forward and backward.
fn linear<'a, E: Element>(
    name: &'static str,
    device: &CudaDevice<E>,
    encoder: &'a Encoder,
    t: usize,
    dropout: Dropout,
) -> Vec<Operation<'a, E>> {
    let (c, f) = (encoder.shape.hidden, encoder.shape.intermediate);
    let layer = &encoder.layout.layers[0];
    let weights = device.parameters(&noise(encoder.layout.len, 1)).expect("memory for the bench");
    let mut gradients = device.gradients(encoder.layout.len, &encoder.layout.embeddings).expect("memory for the bench");
    let (x, h) = (matrix(device, t, c, 2), matrix(device, t, f, 3));
    let [mut y, mut out] = [3 * c, c].map(|cols| device.matrix(t, cols).expect("memory for the bench"));
    let [mut wide, mut u] = [f, f].map(|cols| device.matrix(t, cols).expect("memory for the bench"));
    vec![(
        name,
        Box::new(move |device, batch| {
            let on = On { weights: &weights, batch, rows: Rows::Tokens };
            device.linear(&mut y, &x, layer.qkv, on).expect("linear");
            device.linear_gelu(&mut wide, Some(&mut u), &x, layer.intermediate, on).expect("linear");
            device.linear_dropout_residual(&mut out, &h, &x, layer.output, dropout, on).expect("linear");
            device.linear_backward_input(&mut out, &y, Some(&x), layer.qkv, on).expect("linear");
            let again = Some(&mut u);
            device.linear_backward_input_gelu(&mut wide, again, &x, &h, layer.output, on).expect("linear");
            let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
            device.linear_backward_weight(&mut sink, &y, &x, layer.qkv, on).expect("linear");
            device.linear_backward_weight(&mut sink, &x, &h, layer.output, on).expect("linear");
        }),
    )]
}

fn attention<'a>(device: &Gpu, shape: Shape, t: usize, b: usize, dropout: Dropout) -> Vec<Operation<'a>> {
    let (c, heads) = (shape.hidden, shape.heads);
    let (qkv, d_ctx) = (matrix(device, t, 3 * c, 4), matrix(device, t, c, 5));
    let (mut ctx, mut d_qkv) = (matrix(device, t, c, 6), matrix(device, t, 3 * c, 6));
    let mut lse = vector(device, heads * t, 7);
    let (q, kv, d_first) = (matrix(device, b, c, 4), matrix(device, t, 2 * c, 5), matrix(device, b, c, 6));
    let (mut first, mut d_q, mut d_kv) =
        (matrix(device, b, c, 6), matrix(device, b, c, 6), matrix(device, t, 2 * c, 6));
    let mut first_lse = vector(device, heads * b, 7);
    vec![
        (
            "attention",
            Box::new(move |device: &mut Gpu, batch: &Batch| {
                device.attention(&mut ctx, &mut lse, &qkv, dropout, batch).expect("attention");
                let kept = Attended { qkv: &qkv, ctx: &ctx, lse: &lse };
                device.attention_backward(&mut d_qkv, &d_ctx, kept, dropout, batch).expect("attention");
            }),
        ),
        (
            "attention_first",
            Box::new(move |device: &mut Gpu, batch: &Batch| {
                device.attention_first(&mut first, &mut first_lse, &q, &kv, dropout, batch).expect("attention");
                let kept = AttendedFirst { q: &q, kv: &kv, ctx: &first, lse: &first_lse };
                device
                    .attention_first_backward(&mut d_q, &mut d_kv, &d_first, kept, dropout, batch)
                    .expect("attention");
            }),
        ),
    ]
}

/// LayerNorm, embedding and the head: what moves rows of C.
fn rows<'a>(device: &Gpu, encoder: &'a Encoder, source: &PackedBatch, dropout: Dropout) -> Vec<Operation<'a>> {
    let (t, b, c, n) = (source.tokens(), source.sequences(), encoder.shape.hidden, encoder.shape.labels);
    let layout = &encoder.layout;
    let memory = "memory for the bench";
    let weights = || device.parameters(&noise(layout.len, 8)).expect(memory);
    let gradients = || device.gradients(layout.len, &layout.embeddings).expect(memory);
    let norm = {
        let (weights, mut gradients) = (weights(), gradients());
        let (r, d_y) = (matrix(device, t, c, 9), matrix(device, t, c, 10));
        let [mut y, mut d_r, mut d_branch] = [(); 3].map(|()| device.matrix(t, c).expect(memory));
        let mut stats = RowStats { mean: vector(device, t, 1), rstd: vector(device, t, 1) };
        let norm = layout.layers[0].output_norm;
        move |device: &mut Gpu, batch: &Batch| {
            let on = On { weights: &weights, batch, rows: Rows::Tokens };
            device.layer_norm(&mut y, &mut stats, &r, norm, on).expect("norm");
            let branch = BranchGradient { d: &mut d_branch, dropout };
            let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
            let kept = Normed { r: &r, stats: &stats, norm };
            device.layer_norm_backward(&mut d_r, branch, &mut sink, &d_y, kept, on).expect("norm");
            device.end_backward(&mut gradients).expect("norm");
        }
    };
    let embed = {
        let (weights, mut gradients) = (weights(), gradients());
        let (mut x, d_x) = (device.matrix(t, c).expect(memory), matrix(device, t, c, 11));
        let mut stats = RowStats { mean: vector(device, t, 1), rstd: vector(device, t, 1) };
        let table = &layout.embeddings;
        move |device: &mut Gpu, batch: &Batch| {
            let on = On { weights: &weights, batch, rows: Rows::Tokens };
            device.embed(&mut x, &mut stats, table, dropout, on).expect("embedding");
            device.begin_step(&mut gradients, table).expect("embedding");
            device.embed_backward(&mut gradients, &d_x, &stats, table, dropout, on).expect("embedding");
            device.end_backward(&mut gradients).expect("embedding");
        }
    };
    let head = {
        let (weights, mut gradients) = (weights(), gradients());
        let first = matrix(device, b, c, 12);
        let [mut pooled, mut dropped, mut d_first] = [(); 3].map(|()| device.matrix(b, c).expect(memory));
        let [mut logits, mut d_logits] = [13, 14].map(|name| vector(device, b * n, name));
        let (target, mut losses) = (vector(device, b * n, 15), vector(device, 2 * b, 16));
        let head = Head { pooler: layout.pooler, classifier: layout.classifier, dropout };
        let kind = LossKind { distance: Distance::Mse, label_smoothing: 0.0 };
        move |device: &mut Gpu, batch: &Batch| {
            let on = On { weights: &weights, batch, rows: Rows::Sequences };
            device.classify(&mut pooled, &mut dropped, &mut logits, &first, head, on).expect("head");
            let inputs = LossInputs { logits: &logits, target: Some(&target), class_weights: None };
            device.distillation_loss(&mut losses, &mut d_logits, inputs, kind, batch).expect("loss");
            let kept = Pooled { first: &first, pooled: &pooled, dropped: &dropped };
            let mut sink = Sink { gradients: &mut gradients, write: Write::Overwrite };
            device.classify_backward(&mut d_first, &mut sink, &d_logits, kept, head, on).expect("head");
        }
    };
    vec![("layer_norm", Box::new(norm)), ("embedding", Box::new(embed)), ("head_and_loss", Box::new(head))]
}

fn optimizer<'a>(device: &Gpu, encoder: &'a Encoder) -> Vec<Operation<'a>> {
    let layout = &encoder.layout;
    let settings = MethodSettings::new(Method::Sda, TeacherKind::Window(5));
    let state = TrainingState::new(device, &settings, &noise(layout.len, 17), LogitSizes { step: 1, batch: 1 });
    let mut state = state.expect("memory for the bench");
    let gradients = device.gradients(layout.len, &layout.embeddings).expect("memory for the bench");
    let mut ranges = Vec::new();
    let mut t = 5;
    vec![(
        "optimizer",
        Box::new(move |device, _| {
            RATES.fill_ranges(&mut ranges, layout, t);
            let update = Update {
                step_number: t + 1,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                clip: 1.0,
                teacher: state.teacher.follower(t),
                average: None,
            };
            device.gradient_norm(&gradients).expect("a norm");
            device.update(&mut state.student, &gradients, &ranges, update).expect("an update");
            t += 1;
        }),
    )]
}

/// Where to measure, and with what.
struct Bench {
    criterion: Criterion,
    trace: Option<PathBuf>, // of the simulator
    encoder: Encoder,
}

impl Bench {
    /// Measures the operations that `families` makes on a device that has uploaded `source`.
    fn run<'a, E: Element>(
        &'a mut self,
        name: &str,
        source: &PackedBatch,
        families: impl FnOnce(&CudaDevice<E>, &'a Encoder) -> Vec<Operation<'a, E>>,
    ) {
        let Self { criterion, trace, encoder } = self;
        let capacity = capacity(source);
        let mut device = CudaDevice::<E>::new(0, encoder.shape, capacity).expect("a device");
        println!("\n{name}: {}", device.name());
        let mut batch = device.batch(capacity).expect("memory for the bench");
        let scalars = StepScalars { step: mask().step, ..StepScalars::default() };
        device.upload(&mut batch, source, &scalars).expect("a batch that fits");
        // Reading it waits for all that is under way.
        let probe = device.vector(1).expect("memory for the bench");
        for (family, mut operation) in families(&device, encoder) {
            if let Some(trace) = trace {
                // What making the buffers launched is over before the trace begins anew.
                device.read_vector(&probe).expect("the buffers are made");
                let _ = fs::remove_file(&*trace);
                operation(&mut device, &batch);
                device.read_vector(&probe).expect("the operations have run");
                report(family, trace);
            } else {
                criterion.bench_function(&format!("kernels/{name}/{family}"), |bench| {
                    bench.iter(|| {
                        operation(&mut device, &batch);
                        device.read_vector(&probe).expect("the operations have run");
                    });
                });
            }
        }
    }
}

fn main() {
    let simulated = !gpu::is_there();
    let trace = env::temp_dir().join(format!("bertsd-cuda-bench-{}.jsonl", std::process::id()));
    if simulated {
        // SAFETY: there is no other thread yet.
        unsafe {
            env::set_var("CUDASIM", "1");
            env::set_var("CUDASIM_TRACE", &trace);
        }
    }
    let config = minilm();
    let criterion = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).configure_from_args();
    let encoder = Encoder::new(&config, LastLayer::FirstRows);
    let mut bench = Bench { criterion, trace: simulated.then(|| trace.clone()), encoder };
    let hidden = mask().at(Site::Output(0), config.hidden_drop_prob);
    let probabilities = mask().at(Site::Probabilities(0), config.attention_drop_prob);
    for (name, source) in batches() {
        let (t, b) = (source.tokens(), source.sequences());
        bench.run::<Bf16>(name, &source, |device, encoder| {
            let mut operations = linear("linear", device, encoder, t, hidden);
            operations.extend(attention(device, encoder.shape, t, b, probabilities));
            operations.extend(rows(device, encoder, &source, hidden));
            operations.extend(optimizer(device, encoder));
            operations
        });
        bench.run::<Tf32>(name, &source, |device, encoder| linear("linear_tf32", device, encoder, t, hidden));
    }
    let _ = fs::remove_file(&trace);
    bench.criterion.final_summary();
}

/// What the simulator counted for a family.
fn report(family: &str, trace: &Path) {
    let text = fs::read_to_string(trace).unwrap_or_default();
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).expect("a line of the trace")).collect();
    println!("\n{family}\n{}", table(&lines, &PROFILES[..2]));
}
