//! The configuration of a BERT classifier, as `config.json` gives it.
//!
//! The file is kept whole beside what is read here ([`super::Model::raw`]), and written back whole. A field that
//! changes the arithmetic either has the one meaning that this crate computes, or is refused by name: a relative
//! position embedding or an unknown activation must never be mistaken for BERT. Sizes have upper limits, so that a
//! damaged file fails here and not in an allocation. Defaults are those of `transformers.BertConfig`; the sizes of the
//! encoder have none.

use std::path::Path;

use serde_json::{Map, Value};

use super::labels;
use crate::{Error, Result};

/// The nonlinearity between the two feed-forward products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), with the error function ("gelu").
    GeluErf,
    /// 0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) ("gelu_new", "gelu_pytorch_tanh").
    GeluTanh,
}

/// Sizes and constants of the encoder and its classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Words, V.
    pub vocab_size: usize,
    /// Hidden size, C.
    pub hidden_size: usize,
    /// Encoder layers, L.
    pub layers: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Feed-forward size, F.
    pub intermediate_size: usize,
    /// The longest sequence that the position table knows.
    pub max_positions: usize,
    /// Token types: 2 for pairs of texts.
    pub type_vocab_size: usize,
    /// Labels, N.
    pub labels: usize,
    /// Of the feed-forward layers.
    pub activation: Activation,
    /// ε of LayerNorms.
    pub layer_norm_eps: f32,
    /// Probability of dropping after the embeddings and after both output projections.
    pub hidden_drop_prob: f32,
    /// Probability of dropping an attention probability.
    pub attention_drop_prob: f32,
    /// Probability of dropping before the classifier.
    pub classifier_drop_prob: f32,
    /// Standard deviation of newly initialised weights.
    pub initializer_range: f32,
}

/// Attention is written for heads of 8, 16, … 128 elements; sizes in between are padded to the next.
const HEAD_SIZE_STEP: usize = 8;
const HEAD_SIZE_MAX: usize = 128;

/// Upper limits, each well beyond any published BERT.
const VOCAB_MAX: usize = 1 << 24;
const HIDDEN_MAX: usize = 1 << 15;
const LAYERS_MAX: usize = 1 << 10;
const INTERMEDIATE_MAX: usize = 1 << 17;
const POSITIONS_MAX: usize = 1 << 20;
const TYPES_MAX: usize = 1 << 12;
const PARAMETERS_MAX: u128 = 1 << 33;

impl BertConfig {
    /// D = C / H.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// The head size that is computed with: the next multiple of 8, which is what the kernels' loads of 16 bytes take.
    pub fn padded_head_size(&self) -> usize {
        self.head_size().next_multiple_of(HEAD_SIZE_STEP)
    }

    /// Columns of queries, keys and values: H padded heads.
    pub fn attention_size(&self) -> usize {
        self.heads * self.padded_head_size()
    }

    /// Reads and checks `raw`, the content of the `config.json` at `path` (the path serves the messages only).
    ///
    /// # Errors
    /// [`Error::Model`] when a needed field is missing, has the wrong type or is out of range, when two fields
    /// contradict each other, or when one asks for something that is not BERT as computed here.
    pub fn from_json(raw: &Map<String, Value>, path: &Path) -> Result<Self> {
        let fields = Fields { raw, path };
        fields.refuse_other_architectures()?;
        let hidden_drop_prob = fields.drop_prob("hidden_dropout_prob", 0.1)?;
        let config = Self {
            vocab_size: fields.size("vocab_size", None, VOCAB_MAX)?,
            hidden_size: fields.size("hidden_size", None, HIDDEN_MAX)?,
            layers: fields.size("num_hidden_layers", None, LAYERS_MAX)?,
            heads: fields.size("num_attention_heads", None, HIDDEN_MAX)?,
            intermediate_size: fields.size("intermediate_size", None, INTERMEDIATE_MAX)?,
            max_positions: fields.size("max_position_embeddings", None, POSITIONS_MAX)?,
            type_vocab_size: fields.size("type_vocab_size", Some(2), TYPES_MAX)?,
            labels: labels::from_json(raw, path)?.len(),
            activation: fields.activation()?,
            layer_norm_eps: fields.real("layer_norm_eps", 1e-12, "in (0, 1)", |x| x > 0.0 && x < 1.0)?,
            hidden_drop_prob,
            attention_drop_prob: fields.drop_prob("attention_probs_dropout_prob", 0.1)?,
            classifier_drop_prob: fields.drop_prob("classifier_dropout", hidden_drop_prob)?,
            initializer_range: fields.real("initializer_range", 0.02, "in [0, 10]", |x| (0.0..=10.0).contains(&x))?,
        };
        config.check_sizes().map_err(|message| fields.error(message))?;
        Ok(config)
    }

    /// Sets the fields of `raw` that differ from this configuration; everything else in it stays as it is. The labels
    /// are not written here, as their names are not known here.
    pub fn write_to(&self, raw: &mut Map<String, Value>) {
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_positions),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            raw.insert(key.to_owned(), size.into());
        }
        if activation_named(raw.get("hidden_act").and_then(Value::as_str).unwrap_or("gelu")) != Some(self.activation) {
            let name = match self.activation {
                Activation::GeluErf => "gelu",
                Activation::GeluTanh => "gelu_new",
            };
            raw.insert("hidden_act".to_owned(), name.into());
        }
        write_real(raw, "layer_norm_eps", self.layer_norm_eps, 1e-12);
        write_real(raw, "hidden_dropout_prob", self.hidden_drop_prob, 0.1);
        write_real(raw, "attention_probs_dropout_prob", self.attention_drop_prob, 0.1);
        write_real(raw, "classifier_dropout", self.classifier_drop_prob, self.hidden_drop_prob);
        write_real(raw, "initializer_range", self.initializer_range, 0.02);
    }

    /// What one field alone cannot show. The text says what is wrong.
    fn check_sizes(&self) -> std::result::Result<(), String> {
        let (c, f, heads) = (self.hidden_size, self.intermediate_size, self.heads);
        if !c.is_multiple_of(heads) {
            return Err(format!("hidden_size {c} is not a multiple of num_attention_heads {heads}"));
        }
        let d = c / heads;
        if d > HEAD_SIZE_MAX {
            return Err(format!(
                "the head size is {d} (hidden_size {c} / num_attention_heads {heads}); \
                 heads of up to {HEAD_SIZE_MAX} are supported"
            ));
        }
        if !c.is_multiple_of(HEAD_SIZE_STEP) {
            return Err(format!("hidden_size {c} is not a multiple of {HEAD_SIZE_STEP}"));
        }
        if !f.is_multiple_of(HEAD_SIZE_STEP) {
            return Err(format!("intermediate_size {f} is not a multiple of {HEAD_SIZE_STEP}"));
        }
        let parameters = self.estimated_parameters();
        if parameters > PARAMETERS_MAX {
            return Err(format!("these sizes make {parameters} parameters; the limit is {PARAMETERS_MAX}"));
        }
        Ok(())
    }

    /// Matrices only; exact arithmetic, as the sizes are not yet trusted.
    fn estimated_parameters(&self) -> u128 {
        let [v, c, f, l] = [self.vocab_size, self.hidden_size, self.intermediate_size, self.layers].map(|n| n as u128);
        let [positions, types, n] = [self.max_positions, self.type_vocab_size, self.labels].map(|n| n as u128);
        let a = self.attention_size() as u128;
        c * (v + positions + types + l * (4 * a + 2 * f) + c + n)
    }
}

/// The activations of `transformers.activations.ACT2FN` that are one of the two formulas.
fn activation_named(name: &str) -> Option<Activation> {
    match name {
        "gelu" | "gelu_python" => Some(Activation::GeluErf),
        "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh" => {
            Some(Activation::GeluTanh)
        }
        _ => None,
    }
}

/// Leaves the field alone where it already means `value`, so that an untouched configuration is written as it was read.
fn write_real(raw: &mut Map<String, Value>, key: &str, value: f32, default: f32) {
    let current = raw.get(key).and_then(Value::as_f64).map_or(default, |current| current as f32);
    if current != value {
        // Through the shortest decimal: 0.1, not 0.10000000149011612.
        let shortest = value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(value));
        raw.insert(key.to_owned(), shortest.into());
    }
}

/// Typed access to the fields of one file.
struct Fields<'a> {
    raw: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::model(self.path, message)
    }

    /// A JSON `null` is the same as no field, as in `transformers`.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.raw.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &str, default: Option<usize>, limit: usize) -> Result<usize> {
        let Some(value) = self.get(key) else {
            return default
                .ok_or_else(|| self.error(format!("'{key}' is missing; is this the configuration of a BERT?")));
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=limit).contains(size))
            .ok_or_else(|| self.error(format!("'{key}' is {value}; it must be a whole number in 1..={limit}")))
    }

    fn real(&self, key: &str, default: f32, range: &str, valid: impl Fn(f32) -> bool) -> Result<f32> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value
            .as_f64()
            .map(|real| real as f32)
            .filter(|&real| valid(real))
            .ok_or_else(|| self.error(format!("'{key}' is {value}; it must be a number {range}")))
    }

    fn drop_prob(&self, key: &str, default: f32) -> Result<f32> {
        self.real(key, default, "in [0, 1): a probability of dropping", |p| (0.0..1.0).contains(&p))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.error(format!("'{key}' is {value}; it must be a string")))
    }

    fn activation(&self) -> Result<Activation> {
        let name = self.text("hidden_act")?.unwrap_or("gelu");
        activation_named(name).ok_or_else(|| {
            self.error(format!("hidden_act '{name}' is not supported; 'gelu', 'gelu_new' and their other names are"))
        })
    }

    /// Everything that makes the model something else than an absolute-position BERT encoder.
    fn refuse_other_architectures(&self) -> Result<()> {
        let architectures = architectures(self.raw);
        match self.text("model_type")? {
            Some("bert") => {}
            None if architectures.iter().any(|name| name.starts_with("Bert")) => {}
            Some(other) => {
                return Err(self.error(format!("model_type '{other}' is not supported; only 'bert' is")));
            }
            None => {
                return Err(self.error(
                    "neither 'model_type' nor 'architectures' says that this is a BERT; add \"model_type\": \"bert\" \
                    if it is",
                ));
            }
        }
        match self.text("position_embedding_type")? {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(
                    self.error(format!("position_embedding_type '{other}' is not supported; only 'absolute' is"))
                );
            }
        }
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            if self.get(key).is_some_and(|value| value != &Value::Bool(false)) {
                return Err(self.error(format!("'{key}' is set; only encoders without cross-attention are supported")));
            }
        }
        if self.get("pruned_heads").is_some_and(|value| value.as_object().is_none_or(|heads| !heads.is_empty())) {
            return Err(self.error("'pruned_heads' is not empty; models with pruned heads are not supported"));
        }
        if self.get("quantization_config").is_some() {
            return Err(self.error("'quantization_config' is set; take the model's unquantised weights"));
        }
        // Feed-forward chunks cut the time axis only: the same numbers, so any value is accepted.
        let custom = self.get("auto_map").and_then(Value::as_object);
        if let Some(class) = custom.and_then(|map| map.keys().find(|key| key.starts_with("AutoModel"))) {
            return Err(self.error(format!(
                "'auto_map' names code of its own for {class}; only the BERT of transformers is supported"
            )));
        }
        Ok(())
    }
}

/// The names under "architectures"; empty where there are none.
pub(super) fn architectures(raw: &Map<String, Value>) -> Vec<&str> {
    let list = raw.get("architectures").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}
