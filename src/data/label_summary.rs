//! What the labels of a training set look like: the list that a run shows before its first step, and what is odd about
//! it.

use std::collections::BTreeMap;

use super::{labels::brief, pairs::write_pair};

/// Labels listed at most.
const LISTED: usize = 20;
/// Labels named at most in a warning.
const NAMED: usize = 5;

/// A line that lists the labels, and warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSummary {
    /// `labels 3: entailment 4000, neutral 4000, contradiction 4000`; a long list is cut.
    pub line: String,
    /// What the user may not have meant.
    pub warnings: Vec<String>,
}

impl LabelSummary {
    /// A summary of labels with these names, of each of which there are so many examples.
    pub fn new(names: &[String], counts: &[u64]) -> Self {
        let labels: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(counts.iter().copied()).collect();
        let listed = cut(&labels, LISTED, |(name, count)| format!("{} {count}", bare(name)));
        let warnings = [alike(&labels), missing(&labels), as_many_as_rows(&labels).or_else(|| single(&labels))];
        let unused = unused(&labels);
        Self {
            line: format!("labels {}: {listed}", labels.len()),
            warnings: warnings.into_iter().flatten().chain(unused).collect(),
        }
    }
}

/// Labels that a person would take for one.
fn alike(labels: &[(&str, u64)]) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<(&str, u64)>> = BTreeMap::new();
    for &(name, count) in labels {
        let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        groups.entry(words.join(" ")).or_default().push((name, count));
    }
    let groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    let first = groups.first()?;
    // Of equals the first, if it has no white space around it.
    let (main, _) = first.iter().rev().max_by_key(|(name, count)| (*count, name.trim() == *name))?;
    let renamed: Vec<String> =
        first.iter().filter(|(name, _)| name != main).map(|(name, _)| write_pair(name, main)).collect();
    let list = cut(&groups, NAMED, |group| cut(group, NAMED, |(name, _)| quoted(name)));
    Some(format!(
        "labels that differ only by case or white space are classes of their own: {list}; to make them one, give \
         --label-map '{}'",
        renamed.join(",")
    ))
}

/// Labels that other programs write where there is none.
fn missing(labels: &[(&str, u64)]) -> Option<String> {
    const NAMES: [&str; 9] = ["", "nan", "none", "null", "nil", "na", "n/a", "<na>", "#n/a"];
    let found: Vec<_> =
        labels.iter().filter(|(name, _)| NAMES.contains(&name.trim().to_lowercase().as_str())).collect();
    let (first, _) = found.first()?;
    Some(format!(
        "{} may stand for a missing label; rows that have none are left out with --ignore-label {}",
        cut(&found, NAMED, |(name, count)| format!("{} ({count})", quoted(name))),
        if first.trim() == *first && !first.is_empty() { (*first).to_owned() } else { quoted(first) }
    ))
}

fn as_many_as_rows(labels: &[(&str, u64)]) -> Option<String> {
    let rows: u64 = labels.iter().map(|(_, count)| count).sum();
    let message = || format!("there are as many classes as examples ({rows}); is the label column right?");
    (rows == labels.len() as u64).then(message)
}

fn single(labels: &[(&str, u64)]) -> Option<String> {
    let found: Vec<_> = labels.iter().filter(|(_, count)| *count == 1).collect();
    let list = || cut(&found, NAMED, |(name, _)| quoted(name));
    match found.len() {
        0 => None,
        1 => Some(format!("the class {} has one example only", list())),
        many => Some(format!("{many} classes have one example only: {}", list())),
    }
}

fn unused(labels: &[(&str, u64)]) -> Option<String> {
    let found: Vec<_> = labels.iter().filter(|(_, count)| *count == 0).collect();
    let list = cut(&found, NAMED, |(name, _)| quoted(name));
    (!found.is_empty()).then(|| format!("no example to train on has the label {list}"))
}

/// The first items of a list, and how many more there are.
fn cut<T>(items: &[T], most: usize, show: impl Fn(&T) -> String) -> String {
    let mut shown: Vec<String> = items.iter().take(most).map(show).collect();
    if items.len() > most {
        shown.push(format!("and {} more", items.len() - most));
    }
    shown.join(", ")
}

/// A label in a list: in quotes where its ends could not be seen otherwise.
fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.trim() == name && !name.contains([',', '\'', '\n', '\r', '\t']);
    if plain { brief(name) } else { quoted(name) }
}

fn quoted(name: &str) -> String {
    let escaped = brief(name).replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(labels: &[(&str, u64)]) -> LabelSummary {
        let names: Vec<String> = labels.iter().map(|(name, _)| (*name).to_owned()).collect();
        LabelSummary::new(&names, &labels.iter().map(|(_, count)| *count).collect::<Vec<_>>())
    }

    #[test]
    fn labels_are_listed_with_their_counts() {
        let found = summary(&[("contradiction", 4000), ("entailment", 4000), ("neutral", 3999)]);
        assert_eq!(found.line, "labels 3: contradiction 4000, entailment 4000, neutral 3999");
        assert!(found.warnings.is_empty());
        assert_eq!(summary(&[("a,b", 2), (" c", 2)]).line, "labels 2: 'a,b' 2, ' c' 2");
        let many: Vec<(String, u64)> = (0..100).map(|i| (i.to_string(), 2)).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let line = summary(&many).line;
        assert!(line.starts_with("labels 100: 0 2, 1 2,") && line.ends_with(", 19 2, and 80 more"), "{line}");
    }

    #[test]
    fn labels_that_look_alike_are_named_with_the_remedy() {
        let found = summary(&[("NEG", 1), ("neg", 7), ("neg ", 2), ("pos", 9)]);
        let expected = "labels that differ only by case or white space are classes of their own: 'NEG', 'neg', 'neg '; \
                        to make them one, give --label-map 'NEG=neg,neg =neg'";
        assert_eq!(found.warnings[0], expected);
        assert_eq!(found.warnings[1..], ["the class 'NEG' has one example only"]);
    }

    #[test]
    fn names_of_missing_values_are_named() {
        let found = summary(&[("None", 3), ("nan", 2), ("pos", 9)]);
        let expected = "'None' (3), 'nan' (2) may stand for a missing label; rows that have none are left out with \
                        --ignore-label None";
        assert_eq!(found.warnings, [expected]);
        assert!(summary(&[("  ", 2), ("a", 2)]).warnings[0].ends_with("--ignore-label '  '"));
    }

    #[test]
    fn classes_without_examples_to_learn_from_are_named() {
        let found = summary(&[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(found.warnings, ["there are as many classes as examples (3); is the label column right?"]);
        let found = summary(&[("a", 1), ("b", 1), ("c", 4), ("d", 0)]);
        let expected = ["2 classes have one example only: 'a', 'b'", "no example to train on has the label 'd'"];
        assert_eq!(found.warnings, expected);
    }
}
