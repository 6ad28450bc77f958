//! Labels of a file and what they are called instead.

use std::{fmt, str::FromStr};

use super::{
    label_text::{LabelText, same_label},
    pairs::{parse_pairs, write_pair},
};
use crate::text_value::{InvalidValue, TextValue, text_serde};

/// Names for labels, as a text `0=negative,1=positive`; names with commas stand in double quotes.
///
/// Classes so named are numbered in the order of this list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelNames(Vec<(String, String)>);

text_serde!(LabelNames);

impl TextValue for LabelNames {}

impl LabelNames {
    /// What a label of the file is called, if the list has it.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.find(label).map(|(_, name)| name)
    }

    /// The same, and its place in the list.
    pub(super) fn find(&self, label: &str) -> Option<(usize, &str)> {
        let place = self.0.iter().position(|(listed, _)| same_label(listed, label))?;
        Some((place, &self.0[place].1))
    }

    /// Labels and what they are called, in the order of the list.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// All names, in the order of the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }

    /// The same, and every class of a model whose name is a number with a fraction, which could not be read otherwise.
    #[must_use]
    pub fn with_fractions(mut self, classes: &[String]) -> Self {
        for class in classes.iter().filter(|class| LabelText::from(class.as_str()) == LabelText::Fraction) {
            if self.get(class).is_none() {
                self.0.push((class.clone(), class.clone()));
            }
        }
        self
    }
}

impl FromStr for LabelNames {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fault = |message: String| Err(InvalidValue(message));
        let Some(pairs) = parse_pairs(text) else {
            return fault(format!("'{text}' is no list of LABEL=NAME,…; names with commas stand in double quotes"));
        };
        for (i, (label, name)) in pairs.iter().enumerate() {
            if pairs[..i].iter().any(|(before, _)| same_label(before, label)) {
                return fault(format!("the label '{label}' has two names"));
            }
            if name.is_empty() {
                return fault(format!("the name for '{label}' is empty; --ignore-label leaves such rows out"));
            }
        }
        Ok(Self(pairs))
    }
}

impl fmt::Display for LabelNames {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(label, name)| write_pair(label, name)).collect();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_however_numbers_are_written() {
        let names: LabelNames = "0=negative,1=positive,0.5=half,\"\"=none".parse().unwrap();
        for (label, name) in
            [("0", "negative"), ("0.0", "negative"), ("1.0", "positive"), ("0.5", "half"), ("", "none")]
        {
            assert_eq!(names.get(label), Some(name), "{label}");
        }
        assert_eq!(names.get("2"), None);
        assert_eq!(names.to_string().parse::<LabelNames>().unwrap(), names);
    }

    #[test]
    fn classes_that_a_model_calls_by_fractions_keep_their_names() {
        let classes = ["0.5", "1", "low"].map(str::to_owned);
        let names = LabelNames::default().with_fractions(&classes);
        assert_eq!((names.get("0.5"), names.get("1"), names.get("0.25")), (Some("0.5"), None, None));
        let names = "0.5=half".parse::<LabelNames>().unwrap().with_fractions(&classes);
        assert_eq!(names.get("0.5"), Some("half"));
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for (text, part) in [
            ("negative", "no list of LABEL=NAME"),
            ("0=a,0=b", "'0' has two names"),
            ("0=a,0.0=b", "'0.0' has two names"),
            ("0=", "the name for '0' is empty"),
        ] {
            let message = text.parse::<LabelNames>().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
