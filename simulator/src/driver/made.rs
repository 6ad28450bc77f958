//! The programs of images that were loaded before. Who opens a device again and again loads the same images each time,
//! and making their programs is most of what that takes.
//!
//! Only for images without variables in device memory, whose addresses would be part of the programs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::fatbin::Registers;
use crate::lower::Numerics;
use crate::program::Program;

/// Bytes of PTX of which programs are kept.
const MOST_BYTES: usize = 64 << 20;

/// What programs are made from.
#[derive(PartialEq)]
pub struct Origin {
    pub ptx: String,
    pub registers: Registers,
    pub numerics: Numerics,
}

/// What is made from it.
#[derive(Clone)]
pub struct Made {
    pub programs: HashMap<String, Arc<Program>>,
    /// What the PTX was compiled for, as `80`.
    pub architecture: u32,
}

static KEPT: Mutex<VecDeque<(Origin, Made)>> = Mutex::new(VecDeque::new());

/// The programs made from `origin`, if they are kept.
pub fn find(origin: &Origin) -> Option<Made> {
    let kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    kept.iter().find(|(other, _)| other == origin).map(|(_, made)| made.clone())
}

/// Keeps them, and lets the oldest go where that is too much.
pub fn keep(origin: Origin, made: &Made) {
    let mut kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    kept.push_back((origin, made.clone()));
    while kept.iter().map(|(origin, _)| origin.ptx.len()).sum::<usize>() > MOST_BYTES {
        kept.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn origin(ptx: &str, truncated_sums: bool) -> Origin {
        let numerics = Numerics { truncated_sums, ..Numerics::default() };
        Origin { ptx: ptx.to_owned(), registers: Registers::default(), numerics }
    }

    #[test]
    fn only_the_same_origin_has_the_same_programs() {
        let made = |architecture| Made { programs: HashMap::new(), architecture };
        keep(origin("one", false), &made(80));
        keep(origin("one", true), &made(86));
        assert_eq!(find(&origin("one", false)).unwrap().architecture, 80);
        assert_eq!(find(&origin("one", true)).unwrap().architecture, 86);
        assert!(find(&origin("two", false)).is_none());
        let exact = Registers { exact: true, ..Registers::default() };
        assert!(find(&Origin { registers: exact, ..origin("one", false) }).is_none());
        // Larger than all that may be kept.
        keep(origin(&"x".repeat(MOST_BYTES + 1), false), &made(90));
        assert!(find(&origin("one", false)).is_none());
    }
}
