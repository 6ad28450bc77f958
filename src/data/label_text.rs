//! What a label's text stands for, in whatever format it was written.

use std::borrow::Cow;

/// A label as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelText<'a> {
    /// The name of a class. Whole numbers have one spelling: that of the integer.
    Name(&'a str),
    /// A number with a fraction, which is no class, whether a point or a comma begins it.
    Fraction,
}

impl<'a> From<&'a str> for LabelText<'a> {
    /// `1.0` is the class `1`, as a table writes integers that lacks some of them.
    fn from(text: &'a str) -> Self {
        let number = text.trim();
        if !number.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.' | ',')) {
            return Self::Name(text);
        }
        if let Some((whole, zeros)) = text.split_once(['.', ',']) {
            let digits = whole.strip_prefix('-').unwrap_or(whole);
            let all = |text: &str, wanted: fn(&u8) -> bool| text.as_bytes().iter().all(wanted);
            // A comma before three zeros stands for a thousand as often as for nothing.
            let is_whole = text.contains('.') || !matches!(zeros.len(), 0 | 3);
            if is_whole && !digits.is_empty() && all(digits, u8::is_ascii_digit) && all(zeros, |digit| *digit == b'0') {
                return Self::Name(if whole == "-0" { "0" } else { whole });
            }
        }
        let with_point = number.matches(',').count() == 1 && !number.contains('.') && !number.ends_with(',');
        let number = if with_point { Cow::Owned(number.replace(',', ".")) } else { Cow::Borrowed(number) };
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() && value.fract() != 0.0 => Self::Fraction,
            _ => Self::Name(text),
        }
    }
}

/// Whether two texts are one label.
pub(super) fn same_label(a: &str, b: &str) -> bool {
    a == b || matches!((LabelText::from(a), LabelText::from(b)), (LabelText::Name(a), LabelText::Name(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_one_spelling() {
        for (text, name) in [
            ("1", "1"),
            ("1.0", "1"),
            ("-1.000", "-1"),
            ("3.", "3"),
            ("-0.0", "0"),
            ("01.0", "01"),
            ("positive", "positive"),
            ("nan", "nan"),
            ("inf", "inf"),
            ("-", "-"),
            (",", ","),
            (",a", ",a"),
            ("+", "+"),
            ("...", "..."),
            ("1.2.3", "1.2.3"),
            ("1e5", "1e5"),
            ("v1.5", "v1.5"),
            ("4.5 stars", "4.5 stars"),
            ("1-2", "1-2"),
            ("1,0", "1"),
            ("-2,00", "-2"),
            ("1,000", "1,000"),
            ("1,", "1,"),
            ("1,2,3", "1,2,3"),
            ("1,234.5.6", "1,234.5.6"),
            ("1, 2", "1, 2"),
        ] {
            assert_eq!(LabelText::from(text), LabelText::Name(name), "{text}");
        }
    }

    #[test]
    fn fractions_are_no_classes() {
        for text in
            ["0.5", "-0.25", ".5", "+1.5", "3.999", " 2.75", "1e-3", "4.5e0", "0,5", "-0,25", ",5", "3,999", " 2,75"]
        {
            assert_eq!(LabelText::from(text), LabelText::Fraction, "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_as_labels() {
        assert!(same_label("-1", "-1.0") && same_label("x", "x") && same_label("0.5", "0.5"));
        assert!(same_label("1", "1,0") && !same_label("0.5", "0,5"));
        assert!(!same_label("0.5", "0.25") && !same_label("1", "01"));
    }
}
