//! Hostile images through the loader: errors, no panic, no hang.

use std::time::{Duration, Instant};

use crate::common::{compile, numbers};
use cuda::lower::lower_module;
use std::collections::HashMap;

/// Parses and lowers; what comes out does not matter.
fn load(source: &str) {
    if let Ok(module) = cuda::ptx::parse(source) {
        let names = module.variables.iter().map(|v| (v.name.clone(), 4096)).collect::<HashMap<_, _>>();
        let _ = lower_module(&module, &names);
    }
}

const RANDOM_BYTES: usize = 6_000_000;
const MUTATED_BYTES: usize = 6_000_000;
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn random_text_is_refused() {
    let mut next = numbers(11);
    let words = [
        ".version 8.0\n",
        ".target sm_80\n",
        ".visible .entry k(",
        ")",
        "{",
        "}",
        "add.s32",
        "%r1",
        ",",
        ";",
        ".reg",
        "0f3F8",
        "[",
        "\"",
        "/*",
        "@",
        ".",
    ];
    let mut total = 0;
    while total < RANDOM_BYTES {
        let length = (next() % 4000) as usize;
        let text: String = if next().is_multiple_of(2) {
            let bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            (0..length / 4).map(|_| words[(next() % words.len() as u64) as usize]).collect()
        };
        total += text.len();
        let start = Instant::now();
        load(&text);
        assert!(start.elapsed() < LIMIT, "{text}");
    }
}

#[test]
fn mutated_ptx_is_refused_or_loads() {
    let mut next = numbers(12);
    let sources: Vec<Vec<u8>> =
        ["bugs", "access"].iter().map(|name| compile(name, "sm_80", &[]).into_bytes()).collect();
    let mut total = 0;
    while total < MUTATED_BYTES {
        let mut bytes = sources[(next() % sources.len() as u64) as usize].clone();
        for _ in 0..1 + next() % 8 {
            let (at, from) = (next() as usize % bytes.len(), next() as usize % bytes.len());
            let length = (next() % 40) as usize;
            match next() % 4 {
                0 => bytes[at] = next() as u8,
                1 => bytes.drain(at..(at + length).min(bytes.len())).for_each(drop),
                2 => {
                    let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part).for_each(drop);
                }
                _ => bytes.truncate(at.max(bytes.len() / 2)),
            }
        }
        total += bytes.len();
        let start = Instant::now();
        load(&String::from_utf8_lossy(&bytes));
        assert!(start.elapsed() < LIMIT);
    }
}

#[test]
fn the_unknown_is_refused_by_name_line_and_kernel() {
    let body = |line: &str| {
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {{\n.reg .b32 %r<4>;\n{line}\nret;\n}}\n"
        )
    };
    for (line, message) in [
        ("frobnicate.s32 %r1, %r2;", "`frobnicate.s32`: instruction is not supported"),
        ("add.fast.s32 %r1, %r2, %r3;", "`add.fast.s32`: modifier .fast is not supported"),
        ("add.s33 %r1, %r2, %r3;", "`add.s33`: modifier .s33 is not supported"),
        (".weird 5;", "directive .weird is not supported"),
        ("add.s32 %r1, %r2;", "`add.s32`: 2 operands"),
        ("add.s32 %r1, %r9, %r3;", "`add.s32`: %r9 is not declared"),
        ("bra nowhere;", "`bra`: nowhere is not a label"),
    ] {
        let load = |text: &str| cuda::ptx::parse(text).and_then(|module| lower_module(&module, &HashMap::new()));
        let error = load(&body(line)).expect_err(line);
        assert_eq!((error.line, error.function.as_deref(), error.message.as_str()), (6, Some("k"), message));
    }
}
