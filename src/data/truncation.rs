//! Which tokens of a text that is too long are kept.
//!
//! A length counts the special tokens. One text gets what is left by [CLS] and [SEP]; a pair shares what is left by one
//! [CLS] and two [SEP] longest-first: the longer text gives tokens until both are equally long, then both give. That is
//! `longest_first` of `tokenizers` to the token: of an odd number the text that was longer keeps one more, and of
//! equals the second. Each text is then cut to its share on its own. (Where both texts alone exceed the length,
//! `encode` of `tokenizers` 0.23.2 cuts them before it compares them, and so gives an odd token to the second.)

use std::ops::Range;

use clap::ValueEnum;

use crate::{
    Error, Result,
    text_value::{text_enum, text_serde},
};

/// [CLS] and [SEP].
pub(super) const SINGLE_SPECIALS: usize = 2;
/// [CLS], [SEP] and [SEP].
pub(super) const PAIR_SPECIALS: usize = 3;

/// The end of a text that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Truncation {
    /// The start stays.
    #[default]
    Head,
    /// The end stays.
    Tail,
    /// Both: 128 of 510 tokens from the start and the rest from the end (Sun et al. 2019, *How to Fine-Tune BERT for
    /// Text Classification?*, section 5.3.1), scaled to other lengths.
    #[value(name = "head+tail")]
    HeadTail,
}

text_enum!(Truncation);
text_serde!(Truncation);

impl Truncation {
    /// The two ranges of `0..length` that are kept, at most `budget` tokens together; the second may be empty.
    pub(super) fn keep(self, length: usize, budget: usize) -> (Range<usize>, Range<usize>) {
        if length <= budget {
            return (0..length, length..length);
        }
        let head = match self {
            Self::Head => budget,
            Self::Tail => 0,
            Self::HeadTail => (budget * 128 + 255) / 510,
        };
        (0..head, length - (budget - head)..length)
    }
}

/// Lengths that two texts of `first` and `second` tokens are cut to, so that their sum is at most `budget`.
pub(super) fn longest_first(first: usize, second: usize, budget: usize) -> (usize, usize) {
    if first + second <= budget {
        return (first, second);
    }
    let half = budget / 2;
    let shorter = first.min(second).min(half);
    if first > second { (budget - shorter, shorter) } else { (shorter, budget - shorter) }
}

/// How texts become sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeSettings {
    /// Tokens of the longest sequence, special tokens included.
    pub max_length: usize,
    /// What stays of a text that is too long.
    pub truncation: Truncation,
}

impl EncodeSettings {
    /// Checks them against a model's positions and token types.
    ///
    /// # Errors
    /// [`Error::Setting`] when they ask for more than the model has.
    pub fn check(&self, max_positions: usize, type_vocab_size: usize, paired: bool) -> Result<()> {
        let least = if paired { PAIR_SPECIALS + 2 } else { SINGLE_SPECIALS + 1 };
        let fault = |message| Err(Error::setting("max-length", message));
        if self.max_length < least {
            let what = if paired { "a pair of texts" } else { "a text" };
            return fault(format!(
                "{} is too short for {what} and its special tokens; the least is {least}",
                self.max_length
            ));
        }
        if self.max_length > max_positions {
            return fault(format!("{} is more than the {max_positions} positions the model knows", self.max_length));
        }
        if paired && type_vocab_size < 2 {
            return Err(Error::setting("text-pair", "the model knows only one token type; it was not made for pairs"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn head_and_tail_of_512_are_128_and_382() {
        assert_eq!(Truncation::HeadTail.keep(1000, 510), (0..128, 618..1000));
        assert_eq!(Truncation::HeadTail.keep(1000, 1), (0..0, 999..1000));
        assert_eq!(Truncation::Head.keep(9, 4), (0..4, 9..9));
        assert_eq!(Truncation::Tail.keep(9, 4), (0..0, 5..9));
    }

    #[test]
    fn limits_are_those_of_the_model() {
        let check = |max_length, paired| {
            EncodeSettings { max_length, truncation: Truncation::Head }.check(512, 2, paired).is_ok()
        };
        assert!(!check(2, false) && check(3, false) && check(512, false) && !check(513, false));
        assert!(!check(4, true) && check(5, true));
        let settings = EncodeSettings { max_length: 8, truncation: Truncation::Head };
        assert!(settings.check(512, 1, true).is_err() && settings.check(512, 1, false).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_kept_fills_the_budget(length in 0usize..3000, budget in 1usize..600) {
            for &truncation in Truncation::value_variants() {
                let (head, tail) = truncation.keep(length, budget);
                prop_assert_eq!(head.len() + tail.len(), length.min(budget));
                prop_assert!(head.start == 0 && head.end <= tail.start && tail.end == length);
            }
        }

        #[test]
        fn longest_first_removes_one_token_after_another(
            first in 0usize..80,
            second in 0usize..80,
            budget in 2usize..90,
        ) {
            let (mut a, mut b) = (first, second);
            while a + b > budget {
                // Of equals the one that was shorter gives, and of texts that always were equal the first.
                let from_first = a > b || (a == b && first <= second);
                if from_first { a -= 1 } else { b -= 1 }
            }
            prop_assert_eq!(longest_first(first, second, budget), (a, b));
        }
    }
}
