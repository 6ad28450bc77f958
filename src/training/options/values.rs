//! Values of options that belong to no other room.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    data::{parse_pairs, write_pair},
    text_value::{InvalidValue, TextValue, text_enum, text_serde},
};

/// How examples follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// At random, differently in every epoch.
    Shuffled,
    /// At random, texts of like length together.
    Bucketed,
    /// As in the file.
    File,
}

/// Which weights become the finished model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Export {
    /// Those that scored best on dev.
    Best,
    /// Those of the last step.
    Last,
}

/// What is distilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DistillationTerm {
    /// The squared difference of the logits.
    Mse,
    /// The divergence of the softmaxes.
    Kl,
}

/// Something that is done or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Tokens are kept.
    On,
    /// Texts are tokenized in each run.
    Off,
}

text_enum!(Order, Export, DistillationTerm, Switch);
text_serde!(Order, Export, DistillationTerm, Switch, TokenCache, ClassWeights);

/// Where tokenized data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenCache {
    /// Nowhere.
    None,
    /// Tokens are kept here.
    Directory(PathBuf),
}

impl FromStr for TokenCache {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "none" { Self::None } else { Self::Directory(text.into()) })
    }
}

impl fmt::Display for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

impl TextValue for TokenCache {}

/// Weights of the classes, before the labels are known.
///
/// As a text: `none`, `balanced`, or `LABEL=X,…`; a label with a comma, `=` or `"` in it stands in double quotes, in
/// which `""` is one of them.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// All the same.
    None,
    /// The inverse shares of the labels.
    Balanced,
    /// Those of some labels; the others weigh 1.
    Given(Vec<(String, f32)>),
}

impl FromStr for ClassWeights {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "none" => return Ok(Self::None),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let invalid =
            || InvalidValue(format!("'{text}' is neither none, balanced, nor LABEL=X,… with weights X of at least 0"));
        let mut pairs: Vec<(String, f32)> = Vec::new();
        for (label, weight) in parse_pairs(text).ok_or_else(invalid)? {
            let weight: f32 = weight.parse().map_err(|_| invalid())?;
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(invalid());
            }
            if pairs.iter().any(|(known, _)| *known == label) {
                return Err(InvalidValue(format!("the label '{label}' has two weights")));
            }
            pairs.push((label, weight));
        }
        Ok(Self::Given(pairs))
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = match self {
            Self::None => return f.write_str("none"),
            Self::Balanced => return f.write_str("balanced"),
            Self::Given(pairs) => pairs,
        };
        let pairs: Vec<String> = pairs.iter().map(|(label, weight)| write_pair(label, &weight.to_string())).collect();
        f.write_str(&pairs.join(","))
    }
}

impl TextValue for ClassWeights {
    fn offered() -> Vec<PossibleValue> {
        ["none", "balanced"].map(PossibleValue::new).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_weights_are_written_as_they_are_read() {
        for text in ["none", "balanced", "neg=1,pos=2.5", "a=b=0", "\"a, b\"=2,c=1", "\"say \"\"x\"\"\"=3"] {
            assert_eq!(text.parse::<ClassWeights>().unwrap().to_string(), text);
        }
        let given = |pairs: &[(&str, f32)]| {
            ClassWeights::Given(pairs.iter().map(|&(label, weight)| (label.to_owned(), weight)).collect())
        };
        assert_eq!("\"a, b\"=2,c=1".parse(), Ok(given(&[("a, b", 2.0), ("c", 1.0)])));
        assert_eq!("\"c\"=1".parse(), Ok(given(&[("c", 1.0)])));
        for text in ["", "a", "a=", "a=x", "a=-1", "a=inf", "a=1,", ",a=1", "\"a=1", "\"a\"1", "\"a\"=1,b"] {
            assert!(text.parse::<ClassWeights>().is_err(), "{text}");
        }
        let twice = "a=1,\"a\"=2".parse::<ClassWeights>().unwrap_err().to_string();
        assert!(twice.contains("the label 'a' has two weights"), "{twice}");
    }
}
