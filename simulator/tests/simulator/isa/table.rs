//! Tests of the instruction table itself: every row is tested and says where the ISA describes it.

use std::collections::HashSet;

use super::{approximate, compare, convert, float, half, integer, logic};

/// Instructions of a piece of PTX: the first word of each statement, up to its first dot.
fn opcodes(text: &str) -> impl Iterator<Item = &str> {
    text.split([';', '{', '}', '\n', ':']).filter_map(|statement| {
        let word = statement.split_whitespace().find(|word| !word.starts_with('@'))?;
        word.split('.').next().filter(|word| !word.is_empty())
    })
}

/// The PTX in the string literals of a test's source.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    source.split('"').skip(1).step_by(2)
}

#[test]
fn every_row_has_a_test() {
    let cases = [
        integer::cases(),
        logic::cases(),
        compare::cases(),
        float::cases(),
        half::cases(),
        convert::cases(),
        approximate::cases(),
    ];
    let mut tested: HashSet<String> = HashSet::new();
    for case in cases.iter().flatten() {
        tested.extend(opcodes(&case.text).map(str::to_owned));
    }
    for source in [
        include_str!("exchange.rs"),
        include_str!("fragment.rs"),
        include_str!("memory.rs"),
        include_str!("block.rs"),
        include_str!("matrix.rs"),
        include_str!("approximate.rs"),
    ] {
        tested.extend(literals(source).flat_map(opcodes).map(str::to_owned));
    }
    let rows = || cudasim::isa::TABLE.iter().flat_map(|rows| rows.iter());
    let missing: Vec<&str> = rows().map(|row| row.opcode).filter(|&opcode| !tested.contains(opcode)).collect();
    assert!(missing.is_empty(), "no test of {missing:?}");
}

#[test]
fn every_row_names_its_section_and_stands_once() {
    let rows: Vec<_> = cudasim::isa::TABLE.iter().flat_map(|rows| rows.iter()).collect();
    assert!(rows.iter().all(|row| row.section.starts_with("9.7.")));
    let names: HashSet<&str> = rows.iter().map(|row| row.opcode).collect();
    assert_eq!(names.len(), rows.len());
    assert!(names.iter().all(|name| cudasim::isa::find(name).is_some_and(|row| row.opcode == *name)));
}
