//! Tables for the terminal.

use std::fmt::Write as _;

use super::rows::{OnCard, Row, StepReport};

/// All kernels of a step, those that may take longest first.
pub fn table(report: &StepReport) -> String {
    let StepReport { case, card, method, tokens, launches, .. } = report;
    let mut text = format!("\n== {case} {} on {card}: {tokens} tokens, {launches:.0} launches a step\n", method.name());
    let _ = write!(
        text,
        "{:<46} {:>8} {:>7} {:>9} {:>9} {:>9} {:>6} {:>8} {:>7} {:>6} {:>6}",
        "kernel", "launches", "ran", "asked MB", "dist. MB", "floor MB", "ratio", "GFLOP", "sectors", "banks", "shared"
    );
    let _ = write!(
        text,
        " {:>4} {:>4} {:>9} {:>7} {:>5} {:>9} {:>8} {:>8}",
        "regs", "each", "held by", "waves", "tail", "bound by", "floor µs", "est. µs"
    );
    if report.measured.is_some() {
        let _ = write!(text, " {:>9} {:>7} {:>7} {:>7}", "measured", "GB/s", "TFLOP/s", "floor");
    }
    text.push('\n');
    report.rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

fn line(row: &Row) -> String {
    let mb = |bytes: f64| bytes / 1e6;
    let OnCard { registers, blocks_per_multiprocessor, held_by, waves, tail, binding, floor_us, estimate_us, .. } =
        row.on;
    let mut text = format!(
        "{:<46} {:>8.1} {:>6.1}% {:>9.2} {:>9.2} {:>9.2} {:>6.2} {:>8.2} {:>6.0}% {:>5.2}x {:>6}",
        row.kernel,
        row.launches,
        100.0 * row.sampled,
        mb(row.bytes_asked),
        mb(32.0 * row.distinct_sectors),
        mb(row.floor_bytes),
        row.ratio,
        row.tensor_flops / 1e9,
        100.0 * row.sector_efficiency,
        row.wavefronts,
        row.shared_bytes,
    );
    let _ =
        write!(text, " {registers:>4} {blocks_per_multiprocessor:>4} {held_by:>9} {waves:>7.2} {:>4.0}%", 100.0 * tail);
    let _ = write!(text, " {binding:>9} {floor_us:>8.1} {estimate_us:>8.1}");
    if let Some(found) = &row.measured {
        let share = 100.0 * floor_us / found.us;
        let _ = write!(text, " {:>9.1} {:>7.0} {:>7.1} {share:>6.0}%", found.us, found.gb_per_s, found.tflops);
    }
    text.push('\n');
    text
}

/// A row for each step: all of its launches.
pub fn totals(reports: &[StepReport]) -> String {
    let mut text = String::from("\n== steps\n");
    let heads = ["floor ms", "est. ms", "critical", "launching", "tokens/s", "of peak"];
    let _ =
        write!(text, "{:<24} {:>6} {:>5} {:>8} {:>8} {:>8}", "case", "method", "card", "launches", "TFLOP", "floor GB");
    for head in heads {
        let _ = write!(text, " {head:>9}");
    }
    text.push('\n');
    for report in reports {
        let StepReport { case, card, method, launches, tensor_flops, floor_bytes, total, .. } = report;
        let (tera, giga) = (tensor_flops / 1e12, floor_bytes / 1e9);
        let _ = write!(text, "{case:<24} {:>6} {card:>5} {launches:>8.0} {tera:>8.3} {giga:>8.2}", method.name());
        for ms in [total.floor_ms, total.estimate_ms, total.critical_ms, total.launch_ms] {
            let _ = write!(text, " {ms:>9.2}");
        }
        let _ = write!(text, " {:>9.0} {:>8.1}%", total.tokens_per_s, 100.0 * total.share_of_peak);
        if let Some((device, ms)) = &report.measured {
            let _ = write!(text, " {ms:.2} ms measured on {device}");
        }
        text.push('\n');
    }
    text
}
