//! The mean of several models' weights.
//!
//! Sums are f64, so the order of the members does not show in the result beyond its last bit. One member is in memory
//! at a time.

use std::path::{Path, PathBuf};

use super::ClassOrder;
use crate::{
    Error, Result,
    model::{BertConfig, Model, Purpose},
};

/// Loads the models in `directories` and returns the first of them with the mean of all weights. `notices` hears what
/// the user should know about them.
///
/// # Errors
/// [`Error::Model`] when two of them differ in architecture, tokenizer or classes, and as [`Model::load`];
/// [`Error::Setting`] for fewer than two.
pub fn average(directories: &[PathBuf], notices: &mut dyn FnMut(&Path, &str)) -> Result<Model> {
    if directories.len() < 2 {
        return Err(Error::setting("models", format!("a mean needs two or more, not {}", directories.len())));
    }
    let mut first: Option<(Model, Vec<f64>)> = None;
    for directory in directories {
        let (mut member, said) = Model::load(directory, Purpose::Inference)?;
        said.iter().for_each(|notice| notices(directory, notice));
        match &mut first {
            None => {
                let sums = std::mem::take(&mut member.weights).into_iter().map(f64::from).collect();
                first = Some((member, sums));
            }
            Some((model, sums)) => {
                require_alike(model, &member)?;
                let order = ClassOrder::new(&model.labels, &member.labels, directory)?;
                order.notice().iter().for_each(|notice| notices(directory, notice));
                member.reorder_classes(order.numbers());
                sums.iter_mut().zip(&member.weights).for_each(|(sum, &weight)| *sum += f64::from(weight));
            }
        }
    }
    let (mut model, sums) = first.expect("there are two or more directories");
    let count = directories.len() as f64;
    model.weights = sums.into_iter().map(|sum| (sum / count) as f32).collect();
    Ok(model)
}

/// Everything that decides a model's output, its weights and the order of its classes excepted.
fn require_alike(first: &Model, member: &Model) -> Result<()> {
    let fault = |message| Err(Error::model(&member.source, message));
    if let Some((name, ours, theirs)) = first_difference(&first.config, &member.config) {
        return fault(format!(
            "has {name} {theirs}, but {} has {ours}; only weights of one architecture have a mean",
            first.source.display()
        ));
    }
    if !first.tokenizer.same_tokens(&member.tokenizer) {
        return fault(format!(
            "has another tokenizer than {}; a mean of their weights would not understand either's tokens",
            first.source.display()
        ));
    }
    Ok(())
}

/// The name and both values of the first setting that differs. Dropout and initialisation belong to training.
fn first_difference(first: &BertConfig, member: &BertConfig) -> Option<(&'static str, String, String)> {
    let values = |c: &BertConfig| {
        [
            ("vocab_size", c.vocab_size.to_string()),
            ("hidden_size", c.hidden_size.to_string()),
            ("num_hidden_layers", c.layers.to_string()),
            ("num_attention_heads", c.heads.to_string()),
            ("intermediate_size", c.intermediate_size.to_string()),
            ("max_position_embeddings", c.max_positions.to_string()),
            ("type_vocab_size", c.type_vocab_size.to_string()),
            ("number of labels", c.labels.to_string()),
            ("hidden_act", format!("{:?}", c.activation)),
            ("layer_norm_eps", c.layer_norm_eps.to_string()),
        ]
    };
    let pairs = values(first).into_iter().zip(values(member));
    pairs.into_iter().find(|(ours, theirs)| ours.1 != theirs.1).map(|((name, ours), (_, theirs))| (name, ours, theirs))
}
