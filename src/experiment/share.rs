//! Which of the cells are this process's, where several take a fixed part each: the tasks of a job array.

use std::{env, fmt, str::FromStr};

use crate::{Error, Result, text_value::InvalidValue, text_value::TextValue};

/// Part `index` of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 1 to `count`.
    pub index: usize,
    /// How many parts there are.
    pub count: usize,
}

impl Share {
    /// That of Slurm's job array, whose tasks may be numbered from anywhere and in any steps; none outside of one.
    ///
    /// # Errors
    /// [`Error::Setting`] for variables that make no sense together.
    pub fn of_job_array() -> Result<Option<Self>> {
        let variable = |name: &str| env::var(name).ok();
        Self::of_variables(variable)
    }

    fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        const TASK: &str = "SLURM_ARRAY_TASK_ID";
        let number = |name: &str| -> Result<Option<usize>> {
            let invalid = |text: &str| Error::setting(name, format!("'{text}' is no number; give --share instead"));
            variable(name).map(|text| text.parse().map_err(|_| invalid(&text))).transpose()
        };
        let Some(task) = number(TASK)? else { return Ok(None) };
        let count = number("SLURM_ARRAY_TASK_COUNT")?;
        let (first, step) = (number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_STEP")?);
        let place = task.checked_sub(first.unwrap_or(0)).map(|past| past / step.unwrap_or(1).max(1));
        match (place, count) {
            (Some(place), Some(count)) if place < count => Ok(Some(Self { index: place + 1, count })),
            _ => {
                let message = "is not one of SLURM_ARRAY_TASK_COUNT tasks from SLURM_ARRAY_TASK_MIN on: an array with \
                               gaps; give each task its --share I/N";
                Err(Error::setting(TASK, message))
            }
        }
    }

    /// Whether the cell at this place of the grid is in it.
    pub fn has(self, place: usize) -> bool {
        place % self.count == self.index - 1
    }
}

impl FromStr for Share {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(InvalidValue(format!("'{text}' is no share: I/N with I from 1 to N, such as 1/4"))),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl TextValue for Share {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_in_one_share() {
        let shares: Vec<Share> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        assert!((0..20).all(|place| shares.iter().filter(|share| share.has(place)).count() == 1));
        assert_eq!(shares[1].to_string(), "2/3");
        for text in ["0/3", "4/3", "1", "1/0", "-1/2", "a/b", ""] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_tasks_of_an_array_are_counted_from_its_first() {
        let share = |id: &str, count: &str, min: Option<&str>, step: Option<&str>| {
            Share::of_variables(|name| match name {
                "SLURM_ARRAY_TASK_ID" => Some(id.to_owned()),
                "SLURM_ARRAY_TASK_COUNT" => Some(count.to_owned()),
                "SLURM_ARRAY_TASK_MIN" => min.map(str::to_owned),
                "SLURM_ARRAY_TASK_STEP" => step.map(str::to_owned),
                _ => None,
            })
        };
        assert_eq!(share("0", "4", None, None).unwrap(), Some(Share { index: 1, count: 4 }));
        assert_eq!(share("7", "4", Some("4"), Some("1")).unwrap(), Some(Share { index: 4, count: 4 }));
        assert_eq!(share("14", "3", Some("10"), Some("2")).unwrap(), Some(Share { index: 3, count: 3 }));
        for bad in [share("9", "4", Some("4"), None), share("x", "4", None, None), share("1", "y", None, None)] {
            assert!(matches!(bad, Err(Error::Setting { .. })));
        }
        assert_eq!(Share::of_variables(|_| None).unwrap(), None);
    }
}
