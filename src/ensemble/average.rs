//! The mean of several models' weights.
//!
//! Sums are f64, so the order of the members does not show in the result beyond its last bit. One member is in memory
//! at a time.

use std::path::{Path, PathBuf};

use super::ClassOrder;
use crate::{
    Error, Result,
    model::{BertConfig, Model, Purpose, View},
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
                reorder_classifier(&mut member, &order);
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
    if first.tokenizer != member.tokenizer {
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

/// Puts the classifier's rows and biases in the ensemble's order of classes.
fn reorder_classifier(member: &mut Model, order: &ClassOrder) {
    if order.is_identity() {
        return;
    }
    let classifier = member.layout.classifier;
    let mut reorder = |view: View| {
        let old = member.weights[view.range()].to_vec();
        let width = view.len / order.numbers().len();
        for (row, &from) in member.weights[view.range()].chunks_exact_mut(width).zip(order.numbers()) {
            row.copy_from_slice(&old[from * width..][..width]);
        }
    };
    reorder(classifier.weight);
    reorder(classifier.bias);
}
