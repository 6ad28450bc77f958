//! The page docs/kernels.md.

use std::fmt::Write as _;

use super::{rows::StepReport, steps::MethodName};

/// The step whose kernels the page and the picture show one by one.
pub fn shown(reports: &[StepReport]) -> Option<&StepReport> {
    let full = |report: &&StepReport| report.case == "bert-base/32x128" && report.method == MethodName::Sda;
    reports.iter().find(full).or(reports.first())
}

const HEAD: &str = "# The kernels of a step

`make report` writes this page and the picture, and prints every step kernel by kernel; as JSON it is in
`target/report.json`.

**Nothing here was measured on a GPU.** Launches are counted: every one of a step is made on the simulator.
Instructions, bytes and FLOPs are counted on a sample of each launch's blocks and scaled to its grid (which blocks, and
why the others are like them, stands in `examples/kernel_report/sample.rs`). Floors and estimates are derived from these
counts and the rates of a card (`simulator/src/profile.rs`). A floor is bytes over bandwidth or operations over rate,
whichever is longer, at the peak. An estimate takes the rates that programs attain, waves of blocks that are not full,
and 2.5 µs for each launch; it knows nothing of how well a kernel hides its latencies. On a GPU, `--measure` sets times
beside them.

bf16, dropout on, a window of 5; a step is the mean of five. Floor GB: each sector once that is read, and once that is
written.
";

/// The whole page.
pub fn page(reports: &[StepReport]) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Steps\n\n| model and batch | method | card | tokens | launches | TFLOP | floor GB ");
    text.push_str("| floor ms | estimate ms | of it launching | tokens/s | of peak |\n|");
    text.push_str(&"---|".repeat(12));
    text.push('\n');
    for report in reports {
        let StepReport { case, method, card, tokens, launches, total, .. } = report;
        let (tera, giga) = (report.tensor_flops / 1e12, report.floor_bytes / 1e9);
        let _ = writeln!(
            text,
            "| {case} | {} | {} | {tokens} | {launches:.0} | {tera:.3} | {giga:.2} \
             | {:.2} | {:.2} | {:.2} | {:.0} k | {:.0} % |",
            method.name(),
            card.to_uppercase(),
            total.floor_ms,
            total.critical_ms,
            total.launch_ms,
            total.tokens_per_s / 1e3,
            100.0 * total.share_of_peak
        );
    }
    if reports.iter().all(|report| report.total.critical_ms >= 0.999 * report.total.estimate_ms) {
        text.push_str(
            "\nNo launch of a step runs beside another: the critical path over the recorded graphs is the sum of all \
             launches.\n",
        );
    }
    if let Some(report) = shown(reports) {
        text.push_str(&kernels(report));
    }
    text
}

fn kernels(report: &StepReport) -> String {
    let card = report.card.to_uppercase();
    let mut text = format!(
        "\n## {}, {}, {card}\n\n![Time of each kernel, as estimated, and its floor](kernels.svg)\n\n",
        report.case,
        report.method.name()
    );
    text.push_str("| kernel | launches | MB asked | floor MB | sectors / floor | bytes of a sector used | GFLOP ");
    text.push_str("| bank passes / ideal | registers | shared bytes | blocks each | waves | bound by | floor µs ");
    text.push_str("| estimate µs |\n|");
    text.push_str(&"---|".repeat(15));
    text.push('\n');
    for row in &report.rows {
        let _ = write!(
            text,
            "| `{}` | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} % | {:.1} | {:.2} |",
            row.kernel,
            row.launches,
            row.bytes_asked / 1e6,
            row.floor_bytes / 1e6,
            row.ratio,
            100.0 * row.sector_efficiency,
            row.tensor_flops / 1e9,
            row.wavefronts
        );
        let _ = writeln!(
            text,
            " {} | {} | {} ({}) | {:.2} | {} | {:.1} | {:.1} |",
            row.on.registers,
            row.shared_bytes,
            row.on.blocks_per_multiprocessor,
            row.on.held_by,
            row.on.waves,
            row.on.binding,
            row.on.floor_us,
            row.on.estimate_us
        );
    }
    text
}
