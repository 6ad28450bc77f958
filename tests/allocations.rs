//! A step allocates nothing that grows with the model or the batch: memory is planned once.
//!
//! Every allocation of a step from `LARGE` bytes on is traced to its caller: only the packing buffers of `gemm-f32` may be
//! one. What is smaller (job queues of rayon, lists of micro-batches) is bounded in sum.

#[path = "common/tiny.rs"]
mod tiny;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    collections::BTreeSet,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use bertsd_cuda::{
    Stop,
    data::{
        BertTokenizer, Columns, EncodeSettings, Examples, Labels, OrderSettings, PackedBatch, Source, StepBatches,
        StepPlan, Table, TokenizeRequest, TokenizedSet, Truncation,
    },
    distillation::{Method, MethodSettings, SdvMode, TeacherKind},
    model::BertConfig,
    training::step::StepSettings,
};

struct Counting;

/// Bytes from which on an allocation is traced.
const LARGE: usize = 2048;

static TRACING: AtomicBool = AtomicBool::new(false);
static SMALL: AtomicUsize = AtomicUsize::new(0);
static PACKING: AtomicUsize = AtomicUsize::new(0);
static OTHERS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Set while this thread is making a trace, which allocates too.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: usize) {
    if !TRACING.load(Relaxed) || INSIDE.get() {
        return;
    }
    if bytes < LARGE {
        SMALL.fetch_add(bytes, Relaxed);
        return;
    }
    INSIDE.set(true);
    let trace = Backtrace::force_capture().to_string();
    if trace.contains("gemm_f32::") {
        PACKING.fetch_add(bytes, Relaxed);
    } else {
        OTHERS.lock().unwrap().push(format!("{bytes} bytes\n{trace}"));
    }
    INSIDE.set(false);
}

// SAFETY: every call is handed on to the system's allocator; only counters are touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(data, layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(data, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// (small bytes, packing bytes, traces of what else is large) that `f` allocates.
fn measure(f: impl FnOnce()) -> (usize, usize, Vec<String>) {
    SMALL.store(0, Relaxed);
    PACKING.store(0, Relaxed);
    TRACING.store(true, Relaxed);
    f();
    TRACING.store(false, Relaxed);
    (SMALL.load(Relaxed), PACKING.load(Relaxed), mem::take(&mut OTHERS.lock().unwrap()))
}

/// The counters count whatever the process does: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn packing_a_step_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let home = tempfile::tempdir().unwrap();
    let rows: String = (0..61).map(|i| format!("{}\n", "w1 ".repeat(1 + i * 7 % 13))).collect();
    std::fs::write(home.path().join("texts.csv"), format!("text\n{rows}")).unwrap();
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/head32/model");
    let tokenizer = BertTokenizer::from_dir(&model, 256).unwrap();
    let table = Table::new(home.path().join("texts.csv"), Columns::new("text", None, None)).unwrap();
    let request = TokenizeRequest {
        tokenizer: &tokenizer,
        settings: EncodeSettings { max_length: 16, truncation: Truncation::Head },
        labels: Labels::Ignore,
        cache: None,
        progress: &mut |_| Ok(()),
        stop: Stop::NEVER,
    };
    let examples = Examples::all(Arc::new(TokenizedSet::open(&Source::from(table), request).unwrap()));
    let settings = OrderSettings {
        seed: 3,
        batch_size: 4,
        grad_accum: 2,
        max_tokens: Some(24),
        shuffle: true,
        bucket_steps: 0,
        drop_last: false,
    };
    let mut steps = StepPlan::new(examples.lengths(), settings).unwrap();
    let (mut batches, mut sizes) = (StepBatches::default(), BTreeSet::new());
    let mut sweep = |sizes: &mut dyn FnMut(usize)| {
        for step in 0..steps.steps_per_epoch() {
            steps.pack(step, &examples, &mut batches);
            sizes(batches.len());
        }
    };
    // Steps are cut into different numbers of micro-batches, and none gives back what another one needs.
    sweep(&mut |size| {
        sizes.insert(size);
    });
    assert!(sizes.len() > 1, "{sizes:?}");
    let (small, packing, others) = measure(|| sweep(&mut |_| ()));
    assert_eq!((small, packing, others.len()), (0, 0, 0), "{}", others.join("\n"));
}

/// Steps, of which the last two are measured; there are three batches more, so that a new one comes into sight in each.
const STEPS: usize = 8;

#[test]
fn a_step_allocates_no_large_buffers() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let config = BertConfig { vocab_size: 500, max_positions: 128, labels: 200, ..tiny::config(4, 32, 2) };
    let weights = tiny::weights(&config, 1);
    let batches: Vec<PackedBatch> =
        (0..STEPS + 3).map(|t| tiny::batch(&config, &[128, 3, 77, 64, 100, 31], t as u32)).collect();
    let window = TeacherKind::Window;
    for (name, method, teacher, mode) in [
        ("ft", Method::Ft, TeacherKind::All, SdvMode::LookAhead),
        ("sda window:3", Method::Sda, window(3), SdvMode::LookAhead),
        ("sda all", Method::Sda, TeacherKind::All, SdvMode::LookAhead),
        ("sda ema", Method::Sda, TeacherKind::Ema(0.99), SdvMode::LookAhead),
        ("sdv window:3", Method::Sdv, window(3), SdvMode::LookAhead),
        ("sdv window:3, stored", Method::Sdv, window(3), SdvMode::Stored),
    ] {
        let settings = MethodSettings { average_from: Some(1), sdv_mode: mode, ..tiny::method(method, teacher) };
        let settings = StepSettings { clip: 1.0, ..tiny::settings(settings) };
        let mut learner = tiny::learner(&config, settings, &batches, &weights);
        let steps_ahead = learner.state.teacher.steps_ahead();
        for t in 0..STEPS {
            let ahead: Vec<&[PackedBatch]> = batches[t + 1..].chunks(1).take(steps_ahead).collect();
            let mut step = || {
                learner.step(t as u64, &batches[t..=t], &ahead).unwrap();
            };
            // Buffers that grow once have grown: each thread's scratch, the votes, the list of touched words.
            if t < STEPS - 2 {
                step();
                continue;
            }
            let (small, packing, others) = measure(step);
            eprintln!("{name:21} step {t}: packing {packing} bytes, small {small}, others {}", others.len());
            assert!(others.is_empty(), "{name}, step {t}: {}", others.join("\n"));
            // The student's passes forward and backward, which is as much as two, and those of its teachers.
            let passes = 3 + match mode {
                SdvMode::LookAhead => steps_ahead.max(usize::from(method == Method::Sda)),
                SdvMode::Stored => 3,
            };
            assert!(small <= passes * SMALL_ALLOWED, "{name}, step {t}: {small} bytes in small allocations");
        }
    }
}

/// Bytes of a pass: job queues of rayon and lists of gemm, whose number depends on the cores.
const SMALL_ALLOWED: usize = 16 << 10;
