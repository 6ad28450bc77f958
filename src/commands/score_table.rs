//! Scores as tables for people and as one JSON object for programs.

use std::fmt::Write;

use bertsd_cuda::metrics::{Accumulator, Metric, Scores};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// A confusion matrix of more classes is neither read nor printed.
const MOST_CLASSES_PRINTED: usize = 20;
const MOST_CLASSES_IN_JSON: usize = 100;

/// Rows of cells with aligned columns: the first to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One row of scores for each name.
pub fn comparison<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Scores)>) -> String {
    let mut table = vec![vec![String::new()]];
    table[0].extend(Metric::value_variants().iter().map(Metric::to_string));
    for (name, scores) in rows {
        let mut row = vec![name.to_owned()];
        row.extend(Metric::value_variants().iter().map(|metric| format!("{:.4}", metric.get(scores))));
        table.push(row);
    }
    aligned(&table)
}

/// A label as one cell of one line.
fn cell(label: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    label.chars().map(escaped).collect()
}

/// Precision, recall, F1 and support by class; and for few classes who was taken for whom.
pub fn by_class(scored: &Accumulator, labels: &[String]) -> String {
    let confusion = scored.confusion();
    let mut table = vec![["label", "precision", "recall", "f1", "support"].map(str::to_owned).to_vec()];
    for (label, class) in labels.iter().zip(confusion.per_class()) {
        let mut row = vec![cell(label)];
        row.extend([class.precision, class.recall, class.f1].map(|score| format!("{score:.4}")));
        row.push(class.support.to_string());
        table.push(row);
    }
    let mut text = aligned(&table);
    if labels.len() <= MOST_CLASSES_PRINTED {
        let mut table = vec![vec!["true \\ predicted".to_owned()]];
        table[0].extend(labels.iter().map(|label| cell(label)));
        for (truth, label) in labels.iter().enumerate() {
            let mut row = vec![cell(label)];
            row.extend((0..labels.len()).map(|predicted| confusion.count(truth, predicted).to_string()));
            table.push(row);
        }
        text.push('\n');
        text.push_str(&aligned(&table));
    }
    text
}

/// Adds the scores to `object`: every one under its own name, then `per_class` and, for few classes, `confusion` (rows
/// are true labels). What is not finite is `null`.
pub fn add_json(object: &mut Map<String, Value>, scored: &Accumulator, labels: &[String]) {
    object.extend(scores_json(&scored.scores()));
    let confusion = scored.confusion();
    let per_class = labels.iter().zip(confusion.per_class()).map(|(label, class)| {
        json!({"label": label, "precision": class.precision, "recall": class.recall, "f1": class.f1,
               "support": class.support})
    });
    object.insert("per_class".to_owned(), per_class.collect());
    if labels.len() <= MOST_CLASSES_IN_JSON {
        let classes = 0..labels.len();
        let row = |truth| classes.clone().map(|predicted| confusion.count(truth, predicted)).collect::<Vec<_>>();
        object.insert("confusion".to_owned(), classes.clone().map(row).collect());
    }
}

/// The scores alone, flat.
pub fn scores_json(scores: &Scores) -> Map<String, Value> {
    match serde_json::to_value(scores) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_takes_one_line() {
        assert_eq!(cell("a\nb\t\u{7}é"), "a\\nb\\t\\u{7}é");
    }
}
