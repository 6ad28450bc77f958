//! A tokenized set, or some of its examples.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{LabelSummary, PackedBatch, TokenizedSet};
use crate::Result;

/// Examples numbered from 0; cheap to clone.
#[derive(Clone)]
pub struct Examples {
    set: Arc<TokenizedSet>,
    /// Numbers in the set, `None`: all.
    chosen: Option<Arc<[u32]>>,
}

impl Examples {
    /// All examples of a set.
    pub fn all(set: Arc<TokenizedSet>) -> Self {
        Self { set, chosen: None }
    }

    /// The examples with these numbers, in this order. Numbers that do not exist are left out.
    pub fn subset(&self, numbers: &[u32]) -> Self {
        let existing = numbers.iter().filter(|number| (**number as usize) < self.len());
        let chosen = existing.map(|number| self.in_set(*number as usize) as u32).collect();
        Self { set: Arc::clone(&self.set), chosen: Some(chosen) }
    }

    /// Splits off a development set; see [`stratified_split`](super::stratified_split).
    ///
    /// # Errors
    /// As [`stratified_split`](super::stratified_split).
    pub fn split(&self, dev_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let (train, dev) = super::stratified_split(&self.labels(), dev_fraction, seed)?;
        Ok((self.subset(&train), self.subset(&dev)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.set.len(), |chosen| chosen.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole set that these are from.
    pub fn set(&self) -> &TokenizedSet {
        &self.set
    }

    /// Tokens of each example.
    pub fn lengths(&self) -> Vec<u32> {
        (0..self.len()).map(|i| self.set.length(self.in_set(i))).collect()
    }

    /// Label number of each example.
    pub fn labels(&self) -> Vec<u32> {
        (0..self.len()).map(|i| self.label(i)).collect()
    }

    /// The number of example `i`'s label.
    pub fn label(&self, i: usize) -> u32 {
        self.set.label(self.in_set(i))
    }

    /// The line of the source that example `i` came from.
    pub fn line(&self, i: usize) -> u64 {
        self.set.line(self.in_set(i))
    }

    /// Examples of each label.
    pub fn label_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.set.labels().map_or(1, super::LabelMap::len)];
        (0..self.len()).for_each(|i| counts[self.label(i) as usize] += 1);
        counts
    }

    /// Its labels as a run shows them, with what is odd about them.
    pub fn label_summary(&self) -> LabelSummary {
        let names = self.set.labels().map(super::LabelMap::names).unwrap_or_default();
        LabelSummary::new(names, &self.label_counts())
    }

    /// Tokens of all examples together.
    pub fn tokens(&self) -> u64 {
        (0..self.len()).map(|i| u64::from(self.set.length(self.in_set(i)))).sum()
    }

    /// A hash of all sequences and labels in their order: equal for equal data, wherever it lies.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for i in (0..self.len()).map(|i| self.in_set(i)) {
            let ids = self.set.ids(i);
            hash.update(bytemuck::cast_slice(&[ids.len() as u32, self.set.second_start(i), self.set.label(i)]));
            hash.update(bytemuck::cast_slice(ids));
        }
        hash.digest()
    }

    /// Overwrites `batch` with these examples, the first of which is sequence number `first_slot` of its optimizer
    /// step.
    pub fn fill(&self, examples: &[u32], first_slot: u32, batch: &mut PackedBatch) {
        batch.clear();
        for (slot, example) in (first_slot..).zip(examples) {
            self.set.push_into(self.in_set(*example as usize), batch, slot);
        }
    }

    fn in_set(&self, i: usize) -> usize {
        self.chosen.as_ref().map_or(i, |chosen| chosen[i] as usize)
    }
}
