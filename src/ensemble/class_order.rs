//! The classes of one model in the order of another.

use std::path::Path;

use crate::{Error, Result};

/// For each class of the ensemble, in its order, its number in one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOrder(Vec<usize>);

impl ClassOrder {
    /// Matches the labels of the member at `path` with those of the ensemble.
    ///
    /// # Errors
    /// [`Error::Model`] naming a label that only one of them has.
    pub fn new(ensemble: &[String], member: &[String], path: &Path) -> Result<Self> {
        let missing = |label: &String, of: &[String]| !of.contains(label);
        if let Some(label) = member.iter().find(|label| missing(label, ensemble)) {
            let message = format!("knows the label '{label}', which the first model does not; they cannot be combined");
            return Err(Error::model(path, message));
        }
        let order = ensemble.iter().map(|label| {
            member.iter().position(|own| own == label).ok_or_else(|| {
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
        assert!(order(&["a", "b"], &["a", "b"]).unwrap().is_identity());
        assert!(!order(&["a", "b"], &["b", "a"]).unwrap().is_identity());
    }

    #[test]
    fn other_classes_are_refused_by_name() {
        assert!(order(&["a", "b"], &["a", "x"]).unwrap_err().to_string().contains("'x'"));
        assert!(order(&["a", "b", "c"], &["a", "b"]).unwrap_err().to_string().contains("'c'"));
    }
}
