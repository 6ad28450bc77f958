//! The names of the classes: `id2label` and `label2id` of `config.json`.
//!
//! `transformers` writes them only when they are not its default, two classes named LABEL_0 and LABEL_1. The keys of
//! `id2label` must be exactly 0..N; with a gap, no row of the classifier could be trusted to have its name.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde_json::{Map, Value};

use crate::{Error, Result};

const LABELS_MAX: usize = 1 << 20;

/// The name of class i at index i.
///
/// # Errors
/// [`Error::Model`] when `id2label` is empty, its keys are not 0..N, or a name is neither a string nor a number.
pub(super) fn from_json(raw: &Map<String, Value>, path: &Path) -> Result<Vec<String>> {
    let error = |message: String| Error::model(path, message);
    let Some(value) = raw.get("id2label").filter(|value| !value.is_null()) else {
        return default_names(raw, path);
    };
    let map = value.as_object().ok_or_else(|| error(format!("'id2label' is {value}; it must be an object")))?;
    let mut names = vec![None; map.len()];
    for (key, name) in map {
        let place = key.parse().ok().and_then(|index: usize| names.get_mut(index));
        let place = place.filter(|place| place.is_none()).ok_or_else(|| {
            let last = map.len() - 1;
            error(format!("'id2label' has the key \"{key}\"; the keys must be \"0\" to \"{last}\", each once"))
        })?;
        *place = Some(match name {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            other => return Err(error(format!("'id2label' names class {key} {other}; a name must be a string"))),
        });
    }
    if names.is_empty() || names.len() > LABELS_MAX {
        return Err(error(format!("'id2label' has {} labels; 1 to {LABELS_MAX} are possible", names.len())));
    }
    Ok(names.into_iter().flatten().collect())
}

fn default_names(raw: &Map<String, Value>, path: &Path) -> Result<Vec<String>> {
    let count = match raw.get("num_labels").filter(|value| !value.is_null()) {
        None => 2,
        Some(value) => value
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (1..=LABELS_MAX).contains(count))
            .ok_or_else(|| {
                let message = format!("'num_labels' is {value}; it must be a whole number in 1..={LABELS_MAX}");
                Error::model(path, message)
            })?,
    };
    Ok((0..count).map(default_name).collect())
}

/// What `transformers` calls class `index` when nobody named it.
pub(super) fn default_name(index: usize) -> String {
    format!("LABEL_{index}")
}

/// Writes both maps; `num_labels` is written only where the file had it, as `transformers` derives it from the map.
pub(super) fn write_to(raw: &mut Map<String, Value>, labels: &[String]) {
    let id2label = labels.iter().enumerate().map(|(index, name)| (index.to_string(), Value::from(name.as_str())));
    let label2id = labels.iter().enumerate().map(|(index, name)| (name.clone(), Value::from(index)));
    raw.insert("id2label".to_owned(), Value::Object(id2label.collect()));
    raw.insert("label2id".to_owned(), Value::Object(label2id.collect()));
    raw.remove("_num_labels");
    if raw.contains_key("num_labels") {
        raw.insert("num_labels".to_owned(), labels.len().into());
    }
}

/// How a class is called, case and white space aside.
pub fn class_key(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// For each new class the place that the old one of the same name has, case and white space aside where that is enough
/// to tell the classes apart. Those without a namesake take the places that are left, in their order.
pub(super) fn rows_by_name(old: &[String], new: &[String]) -> Vec<usize> {
    let keys = |names: &[String]| -> Option<Vec<String>> {
        let keys: Vec<String> = names.iter().map(|name| class_key(name)).collect();
        let distinct: HashSet<&String> = keys.iter().collect();
        (distinct.len() == keys.len()).then_some(keys)
    };
    let (old, new) = match (keys(old), keys(new)) {
        (Some(old), Some(new)) => (old, new),
        _ => (old.to_vec(), new.to_vec()),
    };
    let places: HashMap<&String, usize> = old.iter().enumerate().map(|(place, name)| (name, place)).collect();
    let known: HashSet<&String> = new.iter().collect();
    let mut left = (0..old.len()).filter(|&place| !known.contains(&old[place]) || places[&old[place]] != place);
    new.iter().map(|name| places.get(name).copied().or_else(|| left.next()).unwrap_or_default()).collect()
}

/// What the user should know of a classifier that goes on with other names, or another order, than it had.
pub(super) fn order_notice(old: &[String], new: &[String], order: &[usize]) -> Option<String> {
    if old.iter().enumerate().all(|(index, name)| *name == default_name(index)) && order.is_sorted() {
        return None;
    }
    let renamed = order.iter().zip(new).find(|&(&place, name)| class_key(&old[place]) != class_key(name));
    let renamed = renamed.map(|(&place, name)| format!("'{}' is now '{name}'", old[place]));
    let moved = !order.is_sorted();
    match (moved, renamed) {
        (false, None) => None,
        (true, None) => Some(format!(
            "the checkpoint's classifier is kept, its rows in the order of the names here: {} (there {})",
            brief(new),
            brief(old)
        )),
        (false, Some(renamed)) => {
            Some(format!("the checkpoint's classifier is kept, but its labels have other names here: {renamed}"))
        }
        (true, Some(renamed)) => Some(format!(
            "the checkpoint's classifier is kept, its rows in the order of the names here ({}; there {}), but not all \
             names are the same: {renamed}",
            brief(new),
            brief(old)
        )),
    }
}

/// The first few names.
fn brief(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn rows(old: &[&str], new: &[&str]) -> Vec<usize> {
        rows_by_name(&names(old), &names(new))
    }

    #[test]
    fn rows_follow_names_case_and_spaces_aside() {
        assert_eq!(rows(&["positive", "negative"], &["negative", "positive"]), [1, 0]);
        assert_eq!(rows(&["Not Entailment", "ENTAILMENT "], &["entailment", "not entailment"]), [1, 0]);
        assert_eq!(rows(&["LABEL_0", "LABEL_1"], &["neg", "pos"]), [0, 1]);
        assert_eq!(rows(&["LABEL_0", "LABEL_1"], &["LABEL_1", "LABEL_0"]), [1, 0]);
        // Classes that only case tells apart are taken as they are written.
        assert_eq!(rows(&["us", "US"], &["US", "us"]), [1, 0]);
        assert_eq!(rows(&["us", "US"], &["Us", "us"]), [1, 0]);
    }

    #[test]
    fn classes_without_a_namesake_take_the_rows_that_are_left() {
        assert_eq!(rows(&["a", "b", "c"], &["c", "a", "d"]), [2, 0, 1]);
        assert_eq!(rows(&["a", "b", "c"], &["x", "b", "y"]), [0, 1, 2]);
        assert_eq!(rows(&["a", "a"], &["b", "a"]), [0, 1]);
    }

    #[test]
    fn what_changed_is_said_in_one_line() {
        let notice = |old: &[&str], new: &[&str]| {
            let (old, new) = (names(old), names(new));
            order_notice(&old, &new, &rows_by_name(&old, &new)).unwrap_or_default()
        };
        assert_eq!(notice(&["a", "b"], &["A", "b"]), "");
        assert_eq!(notice(&["LABEL_0", "LABEL_1"], &["neg", "pos"]), "");
        assert!(
            notice(&["pos", "neg"], &["neg", "pos"])
                .ends_with("the order of the names here: neg, pos (there pos, neg)")
        );
        assert!(notice(&["a", "b"], &["a", "c"]).ends_with("other names here: 'b' is now 'c'"));
        assert!(notice(&["a", "b", "c"], &["c", "a", "d"]).contains("not all names are the same: 'b' is now 'd'"));
    }
}
