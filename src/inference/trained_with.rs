//! How a model was fed in training, kept in its `config.json` so that it is fed alike afterwards.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error, Result,
    data::{Delimiter, LabelNames},
    model::Model,
};

/// The object under [`TrainedWith::KEY`]. Every field may be absent: other programs write no such object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TrainedWith {
    /// Columns of the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// Column of the second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// Column of the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The files had no header, and their columns went by number.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_header: bool,
    /// Tokens of the longest sequence, special tokens included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Which part of a longer text stayed: `head`, `tail` or `head+tail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<String>,
    /// What separated the columns, where that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// Rows with these labels were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_label: Vec<String>,
    /// What labels of the files are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_map: Option<LabelNames>,
}

impl TrainedWith {
    /// The field of `config.json`.
    pub const KEY: &str = "bertsd_cuda";

    /// What `model` says of itself; nothing if it says nothing.
    ///
    /// # Errors
    /// [`Error::Model`] when the field is there and is something else.
    pub fn from_model(model: &Model) -> Result<Self> {
        match model.raw.get(Self::KEY) {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(value) => Self::deserialize(value).map_err(|fault| {
                let message = format!("'{}' cannot be read ({fault}); remove or repair it", Self::KEY);
                Error::model(model.source.join("config.json"), message)
            }),
        }
    }

    /// Sets the field in `model`, to be saved with it.
    pub fn store(&self, model: &mut Model) {
        let value = serde_json::to_value(self).expect("strings and a number are always JSON");
        model.raw.insert(Self::KEY.to_owned(), value);
    }
}
