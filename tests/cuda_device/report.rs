//! The report of a step's kernels against counts by hand, at the shape of BERT-base with 32 sequences of 128 tokens.

#[path = "../../examples/kernel_report/count.rs"]
mod count;
#[path = "../../examples/kernel_report/sample.rs"]
mod sample;
#[path = "../../examples/kernel_report/steps.rs"]
mod steps;
#[path = "../../examples/kernel_report/workload.rs"]
mod workload;

use std::{env, process::Command};

use cudasim::counters::report::Line;

use self::{
    count::count,
    steps::{MethodName, Part, STEPS},
    workload::{Case, cases},
};
use super::gpu;

const NAME: &str = "bert-base/32x128";

fn case() -> Case {
    cases(false).into_iter().find(|case| case.name() == NAME).expect("the report has this case")
}

/// A part of the test below, in a process whose simulator runs samples.
#[test]
fn steps_of_the_report() {
    if env::var_os("CUDASIM_SAMPLE").is_none() {
        eprintln!("left out: the next test starts this one");
        return;
    }
    println!();
    steps::run(Part::Count, &case(), &[MethodName::Ft]).unwrap();
}

/// Sums over the launches of a kernel in a step.
struct Sums<'a>(Vec<&'a Line>);

impl Sums<'_> {
    fn a_step(&self, count: fn(&Line) -> u64) -> u64 {
        self.0.iter().map(|line| count(line)).sum::<u64>() / STEPS
    }

    fn launches(&self) -> u64 {
        self.a_step(|_| 1)
    }

    fn tensor_flops(&self) -> u64 {
        self.a_step(|line| line.totals.tensor_flops)
    }

    fn read(&self) -> u64 {
        self.a_step(|line| line.totals.distinct_read_sectors)
    }

    fn written(&self) -> u64 {
        self.a_step(|line| line.totals.distinct_written_sectors)
    }
}

/// Sectors of so many numbers of these bytes.
fn sectors(numbers: u64, bytes: u64) -> u64 {
    numbers * bytes / 32
}

#[test]
fn figures_are_those_counted_by_hand() {
    if gpu::is_there() {
        eprintln!("left out: the simulator counts, and this process has a GPU's driver");
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "report::steps_of_the_report", "--nocapture"]);
    let counted = count(&case(), &[MethodName::Ft], "h100", command).unwrap().remove(0);
    assert!(counted.method == MethodName::Ft && !counted.lines.is_empty());
    let of = |kernel: &str| Sums(counted.lines.iter().filter(|line| line.kernel == kernel).collect());
    // T = 32 · 128 tokens, C = 768, H = 12 heads of D = 64, F = 3072. Of 12 layers the last one works on first rows.
    let (b, t, c, h, d, layers) = (32, 4096, 768, 12, 64, 11);
    const BF16: u64 = 2;
    const FLOAT: u64 = 4;

    // Projections to queries, keys and values: x [T, C] times W [3C, C], a multiply and an add for each.
    let qkv = of("linear_forward_bf16_large");
    assert_eq!(qkv.launches(), layers);
    assert_eq!(qkv.tensor_flops(), layers * 2 * t * c * (3 * c), "11 · 2 · 4096 · 768 · 2304 = 159,450,660,864");
    // Read: x, W, the bias, and the sector with the number of rows. Written: 3C columns of T rows.
    let read = sectors(t * c, BF16) + sectors(3 * c * c, BF16) + sectors(3 * c, FLOAT) + 1;
    assert_eq!((qkv.read(), qkv.written()), (layers * read, layers * sectors(t * 3 * c, BF16)));
    // A block has 128 × 128 of the output: 18 · 32 of them.
    assert!(qkv.0.iter().all(|line| line.grid == [18, 32, 1]));

    // Attention of a sequence's 128 rows: scores q · kᵀ and the product with v, of each head.
    let attention = of("attention_forward_dropout_bf16_d64");
    assert_eq!(attention.launches(), layers);
    assert_eq!(
        attention.tensor_flops(),
        layers * b * h * 2 * (2 * 128 * 128 * d),
        "11 · 32 · 12 · 2 · 2 · 128 · 128 · 64"
    );
    // Written: the context [T, C] and a float for each row of each head.
    assert_eq!(attention.written(), layers * (sectors(t * c, BF16) + sectors(h * t, FLOAT)));
    // Read: all of q, k and v; the header, which is a sector; behind it 33 offsets, bytes 32 to 164, in 5 sectors;
    // behind them and the labels 32 slots, bytes 304 to 432, in 5.
    assert_eq!(attention.read(), layers * (sectors(t * 3 * c, BF16) + 1 + 5 + 5));

    // LayerNorm: two of each layer, of which the last layer's have B rows.
    let norm = of("layer_norm_forward_bf16");
    assert_eq!(norm.launches(), 2 * (layers + 1));
    let of_rows = |rows: u64| sectors(rows * c, BF16);
    // Read: the rows, scale and shift [C], the number of rows. Written: the rows, mean and 1/σ of each.
    assert_eq!(norm.read(), 2 * (layers * of_rows(t) + of_rows(b)) + 2 * (layers + 1) * (2 * sectors(c, FLOAT) + 1));
    let statistics = |rows: u64| 2 * sectors(rows, FLOAT);
    assert_eq!(norm.written(), 2 * (layers * (of_rows(t) + statistics(t)) + of_rows(b) + statistics(b)));

    // AdamW: θ, m, v and the gradient are read; θ, m, v and θ in bf16 are written: 30 bytes a parameter. Blocks with
    // the end of a matrix do less than those that stand for them.
    let update = of("update_bf16");
    assert_eq!(update.launches(), 1);
    let bytes = 32 * (update.read() + update.written());
    let parameters = bertsd_cuda::encoder::Encoder::new(&case().config, bertsd_cuda::encoder::LastLayer::FirstRows);
    let by_hand = 30 * parameters.layout.len as u64;
    assert!(bytes.abs_diff(by_hand) * 100 < by_hand, "{bytes} bytes, {by_hand} by hand");
}
