//! The arms of an experiment and their differences, for people and for programs.

use bertsd_cuda::{
    Result,
    experiment::{Arm, Comparison, Difference, ExperimentFile, Store, statistics::Estimate},
    metrics::Metric,
};
use serde_json::{Value, json};

use super::known;
use crate::commands::score_table::aligned;

/// What is summed up: scores by arm, then each arm beside its baseline.
pub fn text(store: &Store, file: &ExperimentFile) -> Result<String> {
    let cells = file.cells()?;
    let (rows, choice) = known(store, file, &cells)?;
    let arms = Arm::all(&cells, &choice, |cell| rows.get(&cell.id));
    let comparisons = Comparison::all(&arms, &file.compare, |cell| store.predictions(cell))?;
    let mut text = if file.title.is_empty() { String::new() } else { format!("{}\n", file.title) };
    text.push_str(&format!("{} of {} cells are done\n", rows.len(), choice.total(&cells)));
    let mut data: Vec<&str> = arms.iter().map(|arm| arm.data).collect();
    data.dedup();
    for data in data {
        let of_data: Vec<&Arm> = arms.iter().filter(|arm| arm.data == data).collect();
        text.push_str(&format!("\n{}\n", aligned(&scores(data, &of_data, file)).trim_end()));
        let compared: Vec<&Comparison> = comparisons.iter().filter(|pair| pair.arm.data == data).collect();
        if let Some(first) = compared.first().filter(|pair| !pair.differences.is_empty()) {
            text.push_str(&format!("\non test, compared with {}\n", first.baseline.name));
            text.push_str(&aligned(&differences(&compared)));
        }
    }
    if choice.open() > 0 {
        text.push_str(
            "\nScores on test stay closed until dev has chosen between all settings that they might decide.\n",
        );
    }
    Ok(text)
}

fn scores(data: &str, arms: &[&Arm<'_>], file: &ExperimentFile) -> Vec<Vec<String>> {
    let metrics = &file.compare.metrics;
    let mut head = vec![if data.is_empty() { "arm".to_owned() } else { data.to_owned() }, "runs".to_owned()];
    head.extend(metrics.iter().map(|metric| format!("dev {metric}")));
    head.extend(metrics.iter().map(|metric| format!("test {metric}")));
    let mut table = vec![head];
    for arm in arms {
        let mark = if file.choose.is_some() && arm.chosen { " *" } else { "" };
        let failed = if arm.failed > 0 { format!(" ({} diverged)", arm.failed) } else { String::new() };
        let mut row = vec![format!("{}{mark}", arm.name), format!("{}{failed}", arm.runs.len())];
        row.extend(metrics.iter().map(|&metric| estimate(arm.dev(metric))));
        // Arms that dev did not choose are not what the result is about.
        row.extend(metrics.iter().map(|&metric| match arm.test(metric).filter(|_| arm.chosen) {
            Some(score) => estimate(score),
            None => "-".to_owned(),
        }));
        table.push(row);
    }
    table
}

fn differences(comparisons: &[&Comparison<'_>]) -> Vec<Vec<String>> {
    let head = ["arm", "score", "difference", "95 % over seeds", "95 % over examples", "seeds", "seeds needed"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for comparison in comparisons {
        for Difference { metric, over_seeds, over_examples } in &comparison.differences {
            let mean = over_seeds.mean;
            let seeds = over_seeds.half_width().map(|half| interval(mean - half, mean + half));
            let examples = over_examples.map(|(low, high)| interval(low, high));
            let needed = over_seeds.count_needed().map(|count| count.to_string());
            table.push(vec![
                comparison.arm.name.clone(),
                metric.to_string(),
                format!("{mean:+.4}"),
                seeds.unwrap_or_else(|| "-".to_owned()),
                examples.unwrap_or_else(|| "-".to_owned()),
                over_seeds.count.to_string(),
                needed.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    table
}

fn estimate(score: Estimate) -> String {
    match score.count {
        0 => "-".to_owned(),
        1 => format!("{:.4}", score.mean),
        _ => format!("{:.4} ± {:.4}", score.mean, score.standard_error()),
    }
}

fn interval(low: f64, high: f64) -> String {
    format!("{low:+.4} … {high:+.4}")
}

/// The same as one JSON object; what is not a number is `null`.
pub fn json(store: &Store, file: &ExperimentFile) -> Result<String> {
    let cells = file.cells()?;
    let (rows, choice) = known(store, file, &cells)?;
    let arms = Arm::all(&cells, &choice, |cell| rows.get(&cell.id));
    let comparisons = Comparison::all(&arms, &file.compare, |cell| store.predictions(cell))?;
    let estimate = |score: Estimate| {
        json!({"mean": score.mean, "standard_error": score.standard_error(), "runs": score.count,
               "half_width": score.half_width()})
    };
    let scores = |of: &dyn Fn(Metric) -> Option<Estimate>| -> Value {
        let pairs = file.compare.metrics.iter().map(|&metric| (metric.to_string(), of(metric).map(estimate).into()));
        Value::Object(pairs.collect())
    };
    let arm = |arm: &Arm<'_>| {
        json!({"data": arm.data, "arm": arm.name, "runs": arm.runs.len(), "diverged": arm.failed, "chosen": arm.chosen,
               "dev": scores(&|metric| Some(arm.dev(metric))), "test": scores(&|metric| arm.test(metric))})
    };
    let difference = |difference: &Difference| {
        let over_examples = difference.over_examples.map(|(low, high)| json!([low, high]));
        json!({"score": difference.metric, "difference": estimate(difference.over_seeds),
               "over_examples": over_examples, "seeds_needed": difference.over_seeds.count_needed()})
    };
    let comparison = |pair: &Comparison<'_>| {
        let differences: Vec<Value> = pair.differences.iter().map(difference).collect();
        json!({"data": pair.arm.data, "arm": pair.arm.name, "baseline": pair.baseline.name, "differences": differences})
    };
    let object = json!({
        "title": file.title,
        "done": rows.len(),
        "cells": choice.total(&cells),
        "arms": arms.iter().map(arm).collect::<Vec<_>>(),
        "comparisons": comparisons.iter().map(comparison).collect::<Vec<_>>(),
    });
    Ok(format!("{object}\n"))
}
