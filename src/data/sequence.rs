//! Texts to sequences: `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`.
//!
//! Token types are 0 up to and including the first [SEP] and 1 after it, so a sequence is its ids and the position
//! where the second text starts; a model that was made without token types has 0 throughout, as if there were no second
//! text. An encoder belongs to one thread and remembers the words it has met.

use super::{
    BertTokenizer, EncodeSettings, Truncation,
    truncation::{PAIR_SPECIALS, SINGLE_SPECIALS, longest_first},
    words::WordCache,
};
use crate::Result;

/// Turns texts into sequences of ids.
pub struct SequenceEncoder<'t> {
    tokenizer: &'t BertTokenizer,
    settings: EncodeSettings,
    words: WordCache,
    first: Vec<u32>,
    second: Vec<u32>,
}

impl<'t> SequenceEncoder<'t> {
    /// `settings` must have passed [`EncodeSettings::check`]; a `max_length` below it is raised to the least.
    pub fn new(tokenizer: &'t BertTokenizer, settings: EncodeSettings) -> Self {
        Self { tokenizer, settings, words: WordCache::default(), first: vec![], second: vec![] }
    }

    /// Appends the sequence to `ids` and returns where its second text starts, counted from its own first token;
    /// without a second text, or for a model without token types, that is its length.
    ///
    /// # Errors
    /// [`Error::Setting`] when the tokenizer cannot cut the text.
    pub fn encode(&mut self, text: &str, pair: Option<&str>, ids: &mut Vec<u32>) -> Result<u32> {
        let start = ids.len();
        let Self { tokenizer, settings, words, first, second } = self;
        let truncation = settings.truncation;
        first.clear();
        second.clear();
        match pair {
            None => {
                let budget = settings.max_length.saturating_sub(SINGLE_SPECIALS).max(1);
                let enough = if truncation == Truncation::Head { budget } else { usize::MAX };
                tokenizer.append(text, enough, words, first)?;
                ids.push(tokenizer.cls());
                append_kept(first, truncation, budget, ids);
                ids.push(tokenizer.sep());
                Ok((ids.len() - start) as u32)
            }
            Some(pair) => {
                let budget = settings.max_length.saturating_sub(PAIR_SPECIALS).max(2);
                // Which text is the longer decides who keeps an odd token, so both are tokenized to their end.
                tokenizer.append(text, usize::MAX, words, first)?;
                tokenizer.append(pair, usize::MAX, words, second)?;
                let (first_budget, second_budget) = longest_first(first.len(), second.len(), budget);
                ids.push(tokenizer.cls());
                append_kept(first, truncation, first_budget, ids);
                ids.push(tokenizer.sep());
                let second_start = (ids.len() - start) as u32;
                append_kept(second, truncation, second_budget, ids);
                ids.push(tokenizer.sep());
                Ok(if tokenizer.has_types() { second_start } else { (ids.len() - start) as u32 })
            }
        }
    }

    /// Token types of a sequence of `length` tokens whose second text starts at `second_start`.
    pub fn types(length: usize, second_start: u32) -> impl Iterator<Item = u32> {
        (0..length).map(move |position| u32::from(position >= second_start as usize))
    }
}

fn append_kept(tokens: &[u32], truncation: Truncation, budget: usize, ids: &mut Vec<u32>) {
    let (head, tail) = truncation.keep(tokens.len(), budget);
    ids.extend_from_slice(&tokens[head]);
    ids.extend_from_slice(&tokens[tail]);
}

impl BertTokenizer {
    /// Appends the tokens of `text`, without special ones. May stop once there are `enough`.
    fn append(&self, text: &str, enough: usize, words: &mut WordCache, ids: &mut Vec<u32>) -> Result<()> {
        if !self.works_by_word() {
            return self.append_whole(text, ids);
        }
        for word in text.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()) {
            if ids.len() >= enough {
                break;
            }
            if let Some(known) = words.get(word) {
                ids.extend_from_slice(known);
                continue;
            }
            let start = ids.len();
            self.append_whole(word, ids)?;
            words.insert(word, &ids[start..]);
        }
        Ok(())
    }
}
