//! The classes of one model in the order of another.

use std::{collections::HashSet, path::Path};

use crate::{Error, Result, model::class_key};

/// For each class of the ensemble, in its order, its number in one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOrder(Vec<usize>);

impl ClassOrder {
    /// Matches the labels of the member at `path` with those of the ensemble: by name, case and white space aside where
    /// that is enough to tell them apart.
    ///
    /// # Errors
    /// [`Error::Model`] naming a label that only one of them has.
    pub fn new(ensemble: &[String], member: &[String], path: &Path) -> Result<Self> {
        let distinct = |labels: &[String]| {
            let keys: HashSet<String> = labels.iter().map(|label| class_key(label)).collect();
            keys.len() == labels.len()
        };
        let loosely = distinct(ensemble) && distinct(member);
        let alike = |a: &String, b: &String| a == b || (loosely && class_key(a) == class_key(b));
        let missing = |label: &String, of: &[String]| !of.iter().any(|other| alike(label, other));
        if let Some(label) = member.iter().find(|label| missing(label, ensemble)) {
            let message = format!("knows the label '{label}', which the first model does not; they cannot be combined");
            return Err(Error::model(path, message));
        }
        let order = ensemble.iter().map(|label| {
            member.iter().position(|own| alike(own, label)).ok_or_else(|| {
                let message = format!("does not know the label '{label}' of the first model; they cannot be combined");
                Error::model(path, message)
            })
        });
        Ok(Self(order.collect::<Result<_>>()?))
    }

    /// A member's number of each class of the ensemble.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// For the user: that the member's classes are taken in another order than its own.
    pub fn notice(&self) -> Option<&'static str> {
        let notice = "its classes are in another order than those of the first model; they are matched by name";
        (!self.is_identity()).then_some(notice)
    }

    /// Whether both have the same order.
    pub fn is_identity(&self) -> bool {
        self.0.iter().enumerate().all(|(ours, theirs)| ours == *theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(ensemble: &[&str], member: &[&str]) -> Result<ClassOrder> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        ClassOrder::new(&own(ensemble), &own(member), Path::new("m"))
    }

    #[test]
    fn classes_are_matched_by_name() {
        assert_eq!(order(&["a", "b", "c"], &["c", "a", "b"]).unwrap().numbers(), [1, 2, 0]);
        assert_eq!(order(&["Yes", "not yes"], &["notyes", "YES"]).unwrap().numbers(), [1, 0]);
        assert_eq!(order(&["us", "US"], &["US", "us"]).unwrap().numbers(), [1, 0]);
        assert!(order(&["us", "US"], &["Us", "us"]).is_err());
        assert!(order(&["a", "b"], &["a", "b"]).unwrap().is_identity());
        assert!(!order(&["a", "b"], &["b", "a"]).unwrap().is_identity());
    }

    #[test]
    fn other_classes_are_refused_by_name() {
        assert!(order(&["a", "b"], &["a", "x"]).unwrap_err().to_string().contains("'x'"));
        assert!(order(&["a", "b", "c"], &["a", "b"]).unwrap_err().to_string().contains("'c'"));
    }
}
