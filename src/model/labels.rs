//! The names of the classes: `id2label` and `label2id` of `config.json`.
//!
//! `transformers` writes them only when they are not its default, two classes named LABEL_0 and LABEL_1. The keys of
//! `id2label` must be exactly 0..N; with a gap, no row of the classifier could be trusted to have its name.

use std::path::Path;

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
