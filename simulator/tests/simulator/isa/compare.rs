//! `setp` and `set` (ISA 9.7.6, 9.7.7): every relation of every type, against the order of 128-bit integers or exact
//! numbers.

use std::cmp::Ordering;

use super::case::{Case, Want, case, run, sweep_over};
use super::exact::{BF16, F16, F32, F64, Format, Mode, Number, edges, sum};
use super::integer::INTS;

/// Which of less, equal, greater and unordered a relation holds for.
const RELATIONS: [(&str, [bool; 4]); 14] = [
    ("eq", [false, true, false, false]),
    ("ne", [true, false, true, false]),
    ("lt", [true, false, false, false]),
    ("le", [true, true, false, false]),
    ("gt", [false, false, true, false]),
    ("ge", [false, true, true, false]),
    ("equ", [false, true, false, true]),
    ("neu", [true, false, true, true]),
    ("ltu", [true, false, false, true]),
    ("leu", [true, true, false, true]),
    ("gtu", [false, false, true, true]),
    ("geu", [false, true, true, true]),
    ("num", [true, true, true, false]),
    ("nan", [false, false, false, true]),
];

fn holds(relation: [bool; 4], order: Option<Ordering>) -> bool {
    relation[match order {
        Some(Ordering::Less) => 0,
        Some(Ordering::Equal) => 1,
        Some(Ordering::Greater) => 2,
        None => 3,
    }]
}

/// The order of two numbers of a format by the sign of their exact difference.
fn order(format: Format, a: u64, b: u64, flush: bool) -> Option<Ordering> {
    let read = |bits| if flush { format.read_flushed(bits) } else { format.read(bits) };
    let (a, b) = (read(a), read(b));
    if let (Number::Infinite { negative: x }, Number::Infinite { negative: y }) = (&a, &b)
        && x == y
    {
        return Some(Ordering::Equal);
    }
    match sum(&a, &b.negate(), Mode::Nearest) {
        Number::Nan => None,
        Number::Zero { .. } => Some(Ordering::Equal),
        difference if difference.negative() => Some(Ordering::Less),
        _ => Some(Ordering::Greater),
    }
}

fn integers() -> Vec<Case> {
    let mut cases = Vec::new();
    let values = [0, 1, 2, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 1 << 31, 0xffff_ffff, 1 << 63, u64::MAX, u64::MAX >> 1];
    let kinds = |kind: char| match kind {
        'h' => "phh",
        'd' => "pdd",
        _ => "pww",
    };
    for ty in INTS {
        for (name, relation) in &RELATIONS[..6] {
            cases.push(sweep_over(format!("setp.{name}.{} %d, %a, %b;", ty.name), kinds(ty.kind), &values, |v| {
                Want::Bits(holds(*relation, Some(ty.value(v[0]).cmp(&ty.value(v[1])))).into())
            }));
        }
        // `lo`, `ls`, `hi`, `hs` compare unsigned.
        for (name, like) in [("lo", 2), ("ls", 3), ("hi", 4), ("hs", 5)] {
            if !ty.signed {
                cases.push(sweep_over(format!("setp.{name}.{} %d, %a, %b;", ty.name), kinds(ty.kind), &values, |v| {
                    Want::Bits(holds(RELATIONS[like].1, Some(v[0].cmp(&v[1]))).into())
                }));
            }
        }
    }
    for (ty, kinds) in [("b16", "phh"), ("b32", "pww"), ("b64", "pdd")] {
        for (name, equal) in [("eq", true), ("ne", false)] {
            cases.push(sweep_over(format!("setp.{name}.{ty} %d, %a, %b;"), kinds, &values, move |v| {
                Want::Bits(u64::from((v[0] == v[1]) == equal))
            }));
        }
    }
    cases
}

/// The third predicate, plain and negated, with both results: `p = rel(a, b) op c`, `q = !rel(a, b) op c`.
fn combined() -> Vec<Case> {
    let mut cases = Vec::new();
    for (op, f) in [("and", (|x, y| x & y) as fn(bool, bool) -> bool), ("or", |x, y| x | y), ("xor", |x, y| x ^ y)] {
        for negated in [false, true] {
            let c = if negated { "!%c" } else { "%c" };
            let text = |p: &str| format!("{{ .reg .pred t; setp.lt.{op}.s32 {p}, %a, %b, {c}; }}");
            for (pair, complement) in [("%d|t", false), ("t|%d", true), ("%d|_", false), ("_|%d", true)] {
                cases.push(sweep_over(text(pair), "pwwp", &[0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff], move |v| {
                    let less = (v[0] as u32 as i32) < (v[1] as u32 as i32);
                    Want::Bits(f(less != complement, (v[2] == 1) != negated).into())
                }));
            }
        }
    }
    cases
}

fn floats() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, format, kinds) in [("f16", F16, "phh"), ("bf16", BF16, "phh"), ("f32", F32, "pww"), ("f64", F64, "pdd")] {
        let values = edges(format);
        for (name, relation) in RELATIONS {
            cases.push(sweep_over(format!("setp.{name}.{ty} %d, %a, %b;"), kinds, &values, move |v| {
                Want::Bits(holds(relation, order(format, v[0], v[1], false)).into())
            }));
        }
        if matches!(ty, "f16" | "f32") {
            cases.push(sweep_over(format!("setp.le.ftz.{ty} %d, %a, %b;"), kinds, &values, move |v| {
                Want::Bits(holds(RELATIONS[3].1, order(format, v[0], v[1], true)).into())
            }));
        }
    }
    cases
}

fn packed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, format, one) in [("f16", F16, 0x3c00u64), ("bf16", BF16, 0x3f80)] {
        let pairs: Vec<u64> = edges(format).windows(2).map(|w| w[0] | w[1] << 16).collect();
        for (name, relation) in [RELATIONS[0], RELATIONS[3], RELATIONS[10], RELATIONS[13]] {
            let half = move |v: &[u64], k: u32| {
                let at = |word: u64| word >> (16 * k) & 0xffff;
                holds(relation, order(format, at(v[0]), at(v[1]), false))
            };
            for (pair, k) in [("%d|t", 0), ("t|%d", 1)] {
                let text = format!("{{ .reg .pred t; setp.{name}.{ty}x2 {pair}, %a, %b; }}");
                cases.push(sweep_over(text, "pww", &pairs, move |v| Want::Bits(half(v, k).into())));
            }
            for (result, truth) in [(format!("{ty}x2"), one), ("u32".to_owned(), 0xffff), ("s32".to_owned(), 0xffff)] {
                let text = format!("set.{name}.{result}.{ty}x2 %d, %a, %b;");
                cases.push(sweep_over(text, "www", &pairs, move |v| {
                    Want::Bits((u64::from(half(v, 0)) * truth) | ((u64::from(half(v, 1)) * truth) << 16))
                }));
            }
        }
        // A third predicate joins each half's answer.
        let text = format!("{{ .reg .pred t; setp.lt.and.{ty}x2 t|%d, %a, %b, !%c; }}");
        cases.push(sweep_over(text, "pwwp", &pairs, move |v| {
            let less = holds(RELATIONS[2].1, order(format, v[0] >> 16, v[1] >> 16, false));
            Want::Bits((less && v[2] == 0).into())
        }));
    }
    cases
}

/// What each type of result holds for true.
fn sets() -> Vec<Case> {
    let mut cases = Vec::new();
    let results = [
        ("u32", 'w', 0xffff_ffff),
        ("s32", 'w', 0xffff_ffff),
        ("f32", 'w', 0x3f80_0000),
        ("u16", 'h', 0xffff),
        ("s16", 'h', 0xffff),
        ("f16", 'h', 0x3c00),
        ("bf16", 'h', 0x3f80),
    ];
    for (result, kind, truth) in results {
        let kinds = |source: char| match (kind, source) {
            ('w', 'w') => "www",
            ('w', 'd') => "wdd",
            ('w', _) => "whh",
            (_, 'w') => "hww",
            (_, 'd') => "hdd",
            _ => "hhh",
        };
        for (ty, format, source) in [("f32", F32, 'w'), ("f64", F64, 'd'), ("f16", F16, 'h'), ("bf16", BF16, 'h')] {
            let text = format!("set.gtu.{result}.{ty} %d, %a, %b;");
            cases.push(sweep_over(text, kinds(source), &edges(format), move |v| {
                Want::Bits(u64::from(holds(RELATIONS[10].1, order(format, v[0], v[1], false))) * truth)
            }));
        }
        cases.push(case(
            format!("set.lt.{result}.s32 %d, %a, %b;"),
            kinds('w'),
            &[([0xffff_ffff, 0], truth), ([0, 0xffff_ffff], 0), ([3, 3], 0)],
        ));
    }
    cases.push(sweep_over(
        "{ .reg .pred c; setp.ne.u32 c, %c, 0; set.eq.or.u32.s32 %d, %a, %b, c; }",
        "wwww",
        &[0, 1, 7],
        |v| Want::Bits(if v[0] == v[1] || v[2] != 0 { 0xffff_ffff } else { 0 }),
    ));
    cases
}

pub fn cases() -> Vec<Case> {
    [integers(), combined(), floats(), packed(), sets()].into_iter().flatten().collect()
}

#[test]
fn comparisons_as_exact_numbers_order_them() {
    run(&cases());
}
