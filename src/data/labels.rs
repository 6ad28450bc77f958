//! Labels as names and as numbers from 0.
//!
//! The map is learned once, from the training rows, and fixed from then on: integers in numerical order if all labels
//! are integers, otherwise names in byte order. Which rows come first does not matter.

use std::{collections::HashMap, sync::OnceLock};

use super::{LabelNames, Row};
use crate::{Error, Result, model::class_key};

/// More labels than any classifier has; a column of texts taken for labels shows itself here, not in the memory.
const MOST_LABELS: usize = 1 << 16;

/// Names of the labels 0..N and the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Numbers by name, case and white space aside; none where only the exact name counts.
    alike: HashMap<String, u32>,
    /// A label that was found so, and the class that it was taken for.
    taken: OnceLock<(String, u32)>,
}

/// Where the labels of a set come from.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// From its rows: this is the training set.
    Learn,
    /// From training.
    Known(&'a LabelMap),
    /// Its labels are not read; every example has label 0.
    Ignore,
}

impl LabelMap {
    /// Labels numbered as listed, as `id2label` of a model gives them.
    ///
    /// Names that are all `LABEL_0`, `LABEL_1`, … are what `transformers` invents for a model that was never given any;
    /// such a model also knows its labels as `0`, `1`, ….
    ///
    /// # Errors
    /// [`Error::Setting`] when one is listed twice.
    pub fn from_names(names: Vec<String>) -> Result<Self> {
        let mut numbers = HashMap::with_capacity(names.len());
        for (number, name) in names.iter().enumerate() {
            if numbers.insert(name.clone(), number as u32).is_some() {
                return Err(Error::setting("labels", format!("the label '{name}' is listed twice")));
            }
        }
        if names.iter().enumerate().all(|(number, name)| *name == format!("LABEL_{number}")) {
            numbers.extend((0..names.len() as u32).map(|number| (number.to_string(), number)));
        }
        Ok(Self { names, numbers, alike: HashMap::new(), taken: OnceLock::new() })
    }

    /// [`LabelMap::from_names`] for the classes of a finished model, whose names may be written otherwise in the data:
    /// case and white space aside, where that is enough to tell the classes apart.
    ///
    /// # Errors
    /// [`Error::Setting`] when a name is listed twice.
    pub fn of_classifier(names: Vec<String>) -> Result<Self> {
        let mut map = Self::from_names(names)?;
        map.alike = map.names.iter().zip(0..).map(|(name, number)| (class_key(name), number)).collect();
        if map.alike.len() < map.names.len() {
            map.alike.clear();
        }
        Ok(map)
    }

    /// For the user: that labels were taken for classes whose names are written otherwise.
    pub fn notice(&self) -> Option<String> {
        let (label, number) = self.taken.get()?;
        let class = self.name(*number).unwrap_or_default();
        Some(format!("the labels are matched with the model's classes case and spaces aside: '{label}' is '{class}'"))
    }

    /// N.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of the label with this number.
    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }

    /// The number of the label with this name.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied().or_else(|| {
            let number = if self.alike.is_empty() { None } else { self.alike.get(&class_key(name)).copied() }?;
            self.taken.get_or_init(|| (name.to_owned(), number));
            Some(number)
        })
    }

    /// The number of a row's label; a label that training has not seen is an error.
    pub(super) fn number_for(&self, row: &Row) -> Result<u32> {
        const SHOWN: usize = 20;
        let label = row.label.unwrap_or_default();
        self.number(label).ok_or_else(|| {
            let more = self.len().saturating_sub(SHOWN);
            let known: Vec<String> = self.names.iter().take(SHOWN).map(|name| format!("'{name}'")).collect();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!(
                "the label '{}' does not occur in training; known are {}{more}",
                brief(label),
                known.join(", ")
            );
            Error::table_line(row.path, row.line, message)
        })
    }
}

/// A label as far as it is worth printing.
pub(super) fn brief(label: &str) -> String {
    const LONGEST: usize = 60;
    match label.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}

/// Numbers labels as they come, and in their final order at the end.
#[derive(Default)]
pub(super) struct LabelLearner {
    numbers: HashMap<String, u32>,
}

impl LabelLearner {
    /// The provisional number of the row's label.
    pub(crate) fn observe(&mut self, row: &Row) -> Result<u32> {
        let label = row.label.unwrap_or_default();
        if let Some(number) = self.numbers.get(label) {
            return Ok(*number);
        }
        if self.numbers.len() == MOST_LABELS {
            let message = format!("more than {MOST_LABELS} different labels so far; is the label column right?");
            return Err(Error::table_line(row.path, row.line, message));
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(label.to_owned(), number);
        Ok(number)
    }

    /// The map, and the final number of each provisional one. Labels that `names` lists come first, in its order.
    pub(crate) fn finish(self, path: &std::path::Path, names: &LabelNames) -> Result<(LabelMap, Vec<u32>)> {
        let mut labels: Vec<(String, u32)> = self.numbers.into_iter().collect();
        if let [(only, _)] = &labels[..] {
            let message = format!("every row has the label '{}'; training needs at least two", brief(only));
            return Err(Error::table(path, message));
        }
        let listed = |name: &str| names.names().position(|listed| listed == name).unwrap_or(usize::MAX);
        let integer = |name: &str| name.parse::<i64>().ok().filter(|value| value.to_string() == name);
        if labels.iter().all(|(name, _)| integer(name).is_some()) {
            labels.sort_unstable_by_key(|(name, _)| (listed(name), integer(name)));
        } else {
            labels.sort_unstable_by(|(a, _), (b, _)| (listed(a), a).cmp(&(listed(b), b)));
        }
        let mut finals = vec![0; labels.len()];
        for (number, (_, provisional)) in labels.iter().enumerate() {
            finals[*provisional as usize] = number as u32;
        }
        Ok((LabelMap::from_names(labels.into_iter().map(|(name, _)| name).collect())?, finals))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn learn(labels: &[&str]) -> Result<(LabelMap, Vec<u32>)> {
        let mut learner = LabelLearner::default();
        let mut provisional = Vec::new();
        for (i, label) in labels.iter().enumerate() {
            let row = Row {
                text: "",
                pair: None,
                label: Some(label),
                kept: Default::default(),
                path: Path::new("x"),
                line: i as u64,
                position: 0,
            };
            provisional.push(learner.observe(&row)?);
        }
        let (map, finals) = learner.finish(Path::new("x"), &LabelNames::default())?;
        Ok((map, provisional.into_iter().map(|number| finals[number as usize]).collect()))
    }

    #[test]
    fn integers_are_ordered_as_numbers_and_names_as_names() {
        assert_eq!(learn(&["10", "9", "-1", "9"]).unwrap().0.names(), ["-1", "9", "10"]);
        assert_eq!(learn(&["10", "9", "-1", "9"]).unwrap().1, [2, 1, 0, 1]);
        assert_eq!(learn(&["10", "9", "x"]).unwrap().0.names(), ["10", "9", "x"]);
        // 01 and 1 are two labels, so these are names.
        assert_eq!(learn(&["10", "9", "01"]).unwrap().0.names(), ["01", "10", "9"]);
    }

    #[test]
    fn one_label_is_not_enough() {
        assert!(learn(&["a", "a"]).unwrap_err().to_string().contains("every row has the label 'a'"));
    }

    #[test]
    fn invented_names_are_also_known_by_their_number() {
        let map = LabelMap::from_names(vec!["LABEL_0".into(), "LABEL_1".into()]).unwrap();
        assert_eq!((map.number("1"), map.number("LABEL_1"), map.number("2")), (Some(1), Some(1), None));
        let map = LabelMap::from_names(vec!["no".into(), "LABEL_1".into()]).unwrap();
        assert_eq!(map.number("1"), None);
        assert!(LabelMap::from_names(vec!["a".into(), "a".into()]).is_err());
    }

    #[test]
    fn classes_of_a_model_are_known_case_and_spaces_aside_and_that_is_said() {
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let map = LabelMap::of_classifier(names(["Positive", "not positive"])).unwrap();
        assert_eq!((map.number("Positive"), map.notice()), (Some(0), None));
        assert_eq!((map.number("NotPositive "), map.number("neutral")), (Some(1), None));
        assert!(map.notice().unwrap().ends_with("case and spaces aside: 'NotPositive ' is 'not positive'"));
        // Classes that only case tells apart are known as they are written.
        let map = LabelMap::of_classifier(names(["us", "US"])).unwrap();
        assert_eq!((map.number("US"), map.number("Us")), (Some(1), None));
        assert_eq!(LabelMap::from_names(names(["a", "b"])).unwrap().number("A"), None);
    }

    #[test]
    fn a_column_of_texts_is_not_a_column_of_labels() {
        let labels: Vec<String> = (0..=MOST_LABELS).map(|i| i.to_string()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert!(learn(&labels).unwrap_err().to_string().contains("more than 65536 different labels"));
        assert_eq!(learn(&labels[1..]).unwrap().0.len(), MOST_LABELS);
    }
}
