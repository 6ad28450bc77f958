//! Values that are written as text: one reading and one writing for the command line, for files, for messages, and for
//! programs that use `parse` and `to_string`.
//!
//! A closed set of values derives [`ValueEnum`] for its names and gets the rest from `text_enum!`; a value with a part
//! that varies (`window:K`) implements `FromStr` and `Display` itself and says by [`TextValue::offered`] what a shell
//! is to offer.

use std::{ffi::OsStr, fmt, marker::PhantomData, str::FromStr};

use clap::{
    Arg, Command, ValueEnum,
    builder::{PossibleValue, TypedValueParser},
    error::ErrorKind,
};

/// A text that is no value: says which text, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// A value with a text.
pub trait TextValue: FromStr<Err: fmt::Display> + Clone + Send + Sync + 'static {
    /// What can be offered where such a text is asked for: every one, or examples where there is no end of them.
    fn offered() -> Vec<PossibleValue> {
        Vec::new()
    }
}

impl TextValue for String {}

/// The values of a closed set, in the order of its declaration.
pub fn possible_values<T: ValueEnum>() -> Vec<PossibleValue> {
    T::value_variants().iter().filter_map(T::to_possible_value).collect()
}

/// The texts of values, as a message lists them.
pub fn list(values: &[PossibleValue]) -> String {
    values.iter().map(PossibleValue::get_name).collect::<Vec<_>>().join(", ")
}

/// The text of one value of a closed set.
pub fn name<T: ValueEnum>(value: &T) -> String {
    // clap leaves those that are marked as skipped without a name; there are none here.
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The value of a closed set that has this text.
///
/// # Errors
/// [`InvalidValue`] with the texts that there are.
pub fn find<T: ValueEnum>(text: &str) -> Result<T, InvalidValue> {
    T::from_str(text, false).map_err(|_| InvalidValue(format!("'{text}' is none of {}", list(&possible_values::<T>()))))
}

/// Text, from and to, for types that derive [`ValueEnum`].
macro_rules! text_enum {
    ($($type:ty),+ $(,)?) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&$crate::text_value::name(self))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::text_value::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::text_value::find(text)
            }
        }

        impl $crate::text_value::TextValue for $type {
            fn offered() -> Vec<clap::builder::PossibleValue> {
                $crate::text_value::possible_values::<Self>()
            }
        }
    )+};
}
pub(crate) use text_enum;

/// In files as its text, for types that have one.
macro_rules! text_serde {
    ($($type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use text_serde;

/// The parser of an option whose value is a [`TextValue`].
pub fn parser<T: TextValue>() -> TextParser<T> {
    TextParser(PhantomData)
}

/// Reads an option by `FromStr`. Its errors begin with the option, as all errors about settings do.
#[derive(Debug)]
pub struct TextParser<T>(PhantomData<fn() -> T>);

impl<T> Clone for TextParser<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: TextValue> TypedValueParser for TextParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let option = arg.and_then(Arg::get_long).map_or_else(String::new, |long| format!("--{long}: "));
        let refuse = |reason: &dyn fmt::Display| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{option}{reason}\n")).with_cmd(command)
        };
        let text = value.to_str().ok_or_else(|| refuse(&format_args!("{value:?} is not UTF-8")))?;
        text.parse().map_err(|reason| refuse(&reason))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let offered = T::offered();
        // None where there is nothing to offer: then a shell may have something.
        (!offered.is_empty()).then(|| Box::new(offered.into_iter()) as Box<_>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
    enum Fruit {
        Apple,
        #[value(name = "kiwi+")]
        BigKiwi,
    }
    text_enum!(Fruit);
    text_serde!(Fruit);

    #[test]
    fn a_closed_set_is_written_as_it_is_read() {
        for (text, fruit) in [("apple", Fruit::Apple), ("kiwi+", Fruit::BigKiwi)] {
            assert_eq!((text.parse::<Fruit>().unwrap(), fruit.to_string()), (fruit, text.to_owned()));
            assert_eq!(serde_json::to_string(&fruit).unwrap(), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Fruit>(&format!("\"{text}\"")).unwrap(), fruit);
        }
        assert_eq!("Apple".parse::<Fruit>().unwrap_err().to_string(), "'Apple' is none of apple, kiwi+");
        assert!(serde_json::from_str::<Fruit>("\"pear\"").unwrap_err().to_string().contains("'pear' is none of"));
    }

    #[test]
    fn an_option_names_itself_once_in_its_error_and_offers_its_values() {
        let arg = Arg::new("fruit").long("fruit").value_parser(parser::<Fruit>());
        let offered: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        assert_eq!(offered, ["apple", "kiwi+"]);
        let command = Command::new("eat").arg(arg);
        let error = command.clone().try_get_matches_from(["eat", "--fruit", "pear"]).unwrap_err().to_string();
        assert!(error.starts_with("error: --fruit: 'pear' is none of apple, kiwi+\n"), "{error}");
        let matches = command.try_get_matches_from(["eat", "--fruit", "kiwi+"]).unwrap();
        assert_eq!(matches.get_one::<Fruit>("fruit"), Some(&Fruit::BigKiwi));
    }
}
