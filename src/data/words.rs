//! Ids of words met before.
//!
//! BERT's normalizer, its pre-tokenizer and WordPiece all work within stretches free of white space, so a text is the
//! concatenation of its stretches, and most stretches are among a few thousand. Looking them up is ten times faster
//! than normalizing them again. What is here never changes what comes out, only when it is computed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longer stretches are rarely met twice.
const LONGEST_WORD_BYTES: usize = 48;
/// Most words kept. Frequent words come early in any text, so the first this many are kept and none is ever thrown out.
const MOST_WORDS: usize = 1 << 17;

#[derive(Default)]
pub(super) struct WordCache {
    places: HashMap<Box<str>, (u32, u32), BuildHasherDefault<WordHasher>>,
    ids: Vec<u32>,
}

impl WordCache {
    pub(crate) fn get(&self, word: &str) -> Option<&[u32]> {
        let (start, end) = *self.places.get(word)?;
        Some(&self.ids[start as usize..end as usize])
    }

    pub(crate) fn insert(&mut self, word: &str, ids: &[u32]) {
        if word.len() <= LONGEST_WORD_BYTES && self.places.len() < MOST_WORDS {
            let start = self.ids.len() as u32;
            self.ids.extend_from_slice(ids);
            self.places.insert(word.into(), (start, self.ids.len() as u32));
        }
    }
}

/// xxh3 of the bytes written; several times faster on words than the default hasher.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// Strings end with a byte 0xFF, which tells nothing where a key is one string.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_inserted_and_stays_bounded() {
        let mut cache = WordCache::default();
        cache.insert("one", &[1, 2]);
        cache.insert("none", &[]);
        cache.insert(&"x".repeat(LONGEST_WORD_BYTES + 1), &[3]);
        assert_eq!(cache.get("one"), Some(&[1, 2][..]));
        assert_eq!(cache.get("none"), Some(&[][..]));
        assert_eq!(cache.get(&"x".repeat(LONGEST_WORD_BYTES + 1)), None);
        for i in 0..MOST_WORDS + 10 {
            cache.insert(&i.to_string(), &[i as u32]);
        }
        assert_eq!(cache.places.len(), MOST_WORDS);
        assert_eq!(cache.get("77"), Some(&[77][..]));
    }
}
