//! Options in TOML files: every value goes as text through the parser that reads it on the command line.

use std::{ffi::OsString, fs, path::Path};

use clap::{Args, Command, FromArgMatches};
use toml::de::{DeTable, DeValue};

use super::RunOptions;
use crate::{
    Error, Result,
    data::{Preset, write_pair},
};

/// One option with its values, as they would stand on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Such as `batch-size`.
    pub name: String,
    /// What the file gives it.
    pub values: Vec<OsString>,
}

impl RunOptions {
    /// Options from assignments in any order; the defaults for the others.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that is no option, and for a text that is no value of it.
    pub fn from_assignments(assignments: impl IntoIterator<Item = Assignment>) -> Result<Self> {
        parse(assignments).map_err(|reason| Error::setting("options", reason))
    }

    /// The options in a file such as `run.toml`; the defaults for the others.
    ///
    /// # Errors
    /// As [`read_assignments`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_assignments(read_assignments(path)?)
    }

    /// The options in a file, and over them those that are given: also over options of the file that say the same in
    /// another way.
    ///
    /// # Errors
    /// As [`read_assignments`] and [`RunOptions::from_assignments`].
    pub fn read_under(path: &Path, given: Vec<Assignment>) -> Result<Self> {
        let mut assignments = read_assignments(path)?;
        overlay(&mut assignments, given);
        Self::from_assignments(assignments)
    }

    /// What [`RunOptions::read`] reads back.
    ///
    /// # Errors
    /// [`Error::Setting`] when a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::setting("options", error.to_string()))
    }
}

/// The options that stand in a TOML file. A list gives several values, and a table `NAME=VALUE,…`.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Setting`] with the line of what is no option or no value of
/// one.
pub fn read_assignments(path: &Path) -> Result<Vec<Assignment>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let table = DeTable::parse(&text).map_err(|error| {
        let message = format!("is no valid configuration: {}", error.to_string().trim_end());
        Error::setting(path.display().to_string(), message)
    })?;
    let mut assignments = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().to_string();
        let assignment = texts(value.get_ref())
            .map(|values| Assignment { name, values })
            .ok_or_else(|| format!("{} is neither a value nor a list of values", key.get_ref()))
            // Alone, so that an error is one of this line.
            .and_then(|assignment| parse([assignment.clone()]).map(|_| assignment));
        assignments.push(assignment.map_err(|reason| {
            let line = 1 + text[..key.span().start].matches('\n').count();
            Error::setting(format!("{}, line {line}", path.display()), reason)
        })?);
    }
    Ok(assignments)
}

/// Adds assignments that win over those that are there, also over those that say the same in another way.
pub fn overlay(assignments: &mut Vec<Assignment>, given: Vec<Assignment>) {
    for Assignment { name, values } in &given {
        let rivals = rivals(name, values);
        assignments.retain(|under| under.name != *name && !rivals.contains(&under.name.as_str()));
    }
    assignments.extend(given);
}

/// Options by the command line's parser, or its complaint in one paragraph: usage and hints are for the command line.
pub(crate) fn parse(assignments: impl IntoIterator<Item = Assignment>) -> Result<RunOptions, String> {
    let command = Command::new("options").no_binary_name(true).disable_help_flag(true);
    let words = assignments.into_iter().flat_map(|Assignment { name, values }| {
        values.into_iter().map(move |value| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            word
        })
    });
    let matches = RunOptions::augment_args(command).try_get_matches_from(words);
    matches.and_then(|matches| RunOptions::from_arg_matches(&matches)).map_err(|error| {
        let text = error.to_string();
        text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim_end().to_owned()
    })
}

/// A TOML value as the texts of the values that it gives an option.
pub(crate) fn texts(value: &DeValue<'_>) -> Option<Vec<OsString>> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref()).map(OsString::from)).collect(),
        DeValue::Table(table) => {
            let pair = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let name: &std::borrow::Cow<'_, str> = key.get_ref();
                scalar(value.get_ref()).map(|value| write_pair(name, &value))
            };
            let pairs: Option<Vec<String>> = table.iter().map(pair).collect();
            pairs.map(|pairs| vec![pairs.join(",").into()])
        }
        value => scalar(value).map(|text| vec![text.into()]),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            u128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(holds) => Some(holds.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Options of a file that say in another way what the option `name` says.
fn rivals(name: &str, values: &[OsString]) -> &'static [&'static str] {
    const OF_FILES: [&str; 12] = [
        "train",
        "dev",
        "test",
        "text",
        "text-pair",
        "label",
        "format",
        "no-header",
        "delimiter",
        "ignore-label",
        "label-map",
        "dev-fraction",
    ];
    match name {
        "epochs" => &["max-steps"],
        "max-steps" => &["epochs"],
        "dev" => &["dev-fraction"],
        "dev-fraction" => &["dev"],
        "train" => &["preset", "data-dir"],
        "seed" => &["init-seed", "order-seed", "dropout-seed"],
        "preset" => {
            let preset = values.first().and_then(|value| value.to_str()).and_then(|text| text.parse::<Preset>().ok());
            // A preset without a development set leaves room for a share.
            if preset.is_some_and(Preset::has_dev) { &OF_FILES } else { &OF_FILES[..OF_FILES.len() - 1] }
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::BadRows,
        training::options::{ClassWeights, TokenCache},
    };

    fn read(text: &str) -> Result<RunOptions> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        RunOptions::read(file.path())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut options = RunOptions {
            save_every: u64::MAX,
            dropout: Some(0.1),
            lr: 1e-5 / 3.0,
            text: vec!["a".into(), "b, c".into()],
            token_cache: Some(TokenCache::None),
            class_weights: "\"a, b\"=2,c=0.1".parse().unwrap(),
            test: vec!["one.csv".into(), "more-*.csv".into()],
            delimiter: Some(";".parse().unwrap()),
            ignore_label: vec!["-1".into(), String::new()],
            label_map: Some("0=\"no, not\",1=yes".parse().unwrap()),
            bad_rows: BadRows::Skip,
            ..RunOptions::for_files("model", "train.csv", "run")
        };
        assert_eq!(read(&options.to_toml().unwrap()).unwrap(), options);
        options = options.resolved();
        assert_eq!(read(&options.to_toml().unwrap()).unwrap(), options);
        assert_eq!(read("").unwrap(), RunOptions::default());
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        let options = read(
            "epochs = 0x10\nlr = 1e-3\nhead-lr = \"2e-3\"\ntext = \"one\"\nevaluate = [\"student\", \
             \"teacher\"]\naverage = true\ntrain = [\"a.csv\", \"b.csv\"]\ndev = \"c.csv\"\nignore-label = \"-\"\n\
             [class-weights]\n\"a, b\" = 2\nc = 0.5\n[label-map]\n1 = \"yes\"\n0 = \"no, not\"\n",
        )
        .unwrap();
        assert_eq!((options.epochs, options.lr, options.head_lr), (Some(16), 1e-3, 2e-3));
        assert_eq!((options.text.len(), options.evaluate.len(), options.average), (1, 2, Some(true)));
        assert_eq!(options.class_weights, ClassWeights::Given(vec![("a, b".into(), 2.0), ("c".into(), 0.5)]));
        assert_eq!((options.train.len(), options.dev.len(), options.ignore_label), (2, 1, vec!["-".to_owned()]));
        assert_eq!(options.label_map.unwrap().names().collect::<Vec<_>>(), ["yes", "no, not"]);
    }

    #[test]
    fn an_error_has_its_line() {
        for (text, parts) in [
            ("epochs = 1\nnonsense = 3\n", ["line 2", "nonsense"]),
            ("\nmethod = \"x\"\n", ["line 2: --method: 'x' is none of ft, se, sda, sdv", ""]),
            ("epochs = \"many\"", ["line 1", "'many'"]),
            ("epochs = [1, 2]", ["line 1", "multiple times"]),
            ("seed = 1979-05-27", ["line 1", "seed is neither a value nor a list"]),
            ("epochs = 1 2", ["no valid configuration", "line 1"]),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn what_is_given_wins_over_the_file_and_over_its_rivals() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "epochs = 4\ntrain = \"a.csv\"\ndev-fraction = 0.5\ninit-seed = 7\nbatch-size = 4\n")
            .unwrap();
        let under = |words: &[(&str, &str)]| {
            let given =
                words.iter().map(|(name, value)| Assignment { name: (*name).into(), values: vec![value.into()] });
            RunOptions::read_under(file.path(), given.collect()).unwrap()
        };
        let options = under(&[("max-steps", "9"), ("batch-size", "8"), ("seed", "3")]);
        assert_eq!((options.epochs, options.max_steps, options.batch_size), (None, Some(9), 8));
        assert_eq!((options.seed, options.init_seed), (3, None));
        let imdb = under(&[("preset", "imdb"), ("data-dir", ".")]);
        assert_eq!((imdb.train, imdb.dev_fraction), (vec![], Some(0.5)));
        assert_eq!(under(&[("preset", "snli"), ("data-dir", ".")]).dev_fraction, None);
    }
}
