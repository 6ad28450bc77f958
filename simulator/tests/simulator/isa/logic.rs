//! Logic, shifts, permutation (ISA 9.7.8, 9.7.9.7), moves and selection: answers bit by bit and byte by byte.

use super::case::{Case, Want, case, run, sweep, sweep_over};

fn bitwise() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, kinds, one) in [("b16", "hhh", "hh"), ("b32", "www", "ww"), ("b64", "ddd", "dd"), ("pred", "ppp", "pp")] {
        let mask: u64 = match ty {
            "b16" => 0xffff,
            "b32" => 0xffff_ffff,
            "pred" => 1,
            _ => u64::MAX,
        };
        cases.push(sweep(format!("and.{ty} %d, %a, %b;"), kinds, |v| v[0] & v[1]));
        cases.push(sweep(format!("or.{ty} %d, %a, %b;"), kinds, |v| v[0] | v[1]));
        cases.push(sweep(format!("xor.{ty} %d, %a, %b;"), kinds, |v| v[0] ^ v[1]));
        cases.push(sweep(format!("not.{ty} %d, %a;"), one, move |v| !v[0] & mask));
        if ty != "pred" {
            cases.push(sweep(format!("cnot.{ty} %d, %a;"), one, |v| u64::from(v[0] == 0)));
        }
    }
    // A negated predicate source, and a guard that keeps what the destination held.
    cases.push(sweep("and.pred %d, %a, !%b;", "ppp", |v| v[0] & (v[1] ^ 1)));
    cases.push(sweep("mov.u32 %d, %a; @!%c add.u32 %d, %d, %b;", "wwwp", |v| {
        if v[2] == 0 { (v[0] + v[1]) & 0xffff_ffff } else { v[0] }
    }));
    // Every truth table, in turns: bit i of the result is entry (a, b, c) of the table.
    for table in (0..256u64).step_by(5).chain([0xe8, 0x1a, 0xc0, 0x96, 0xf8, 0xfe, 0x80]) {
        cases.push(sweep(format!("lop3.b32 %d, %a, %b, %c, {table};"), "wwww", move |v| {
            let entry = |i: u32| (v[0] >> i & 1) << 2 | (v[1] >> i & 1) << 1 | v[2] >> i & 1;
            (0..32).fold(0, |d, i| d | (table >> entry(i) & 1) << i)
        }));
    }
    // With a reduction, a predicate too: whether the word has a bit, and or or that other predicate.
    for table in [0x80u64, 0x01, 0x96] {
        let word = move |v: &[u64]| {
            let entry = |i: u32| (v[0] >> i & 1) << 2 | (v[1] >> i & 1) << 1 | v[0] >> i & 1;
            (0..32).fold(0, |d, i| d | (table >> entry(i) & 1) << i)
        };
        let text = format!("%d|%p1, %a, %b, %a, {table}");
        let flag = ".reg .pred %p1; ";
        let and = format!("{flag}lop3.and.b32 {text}, !%c; @%p1 xor.b32 %d, %d, 1;");
        cases.push(sweep(and, "wwwp", move |v| word(v) ^ u64::from(word(v) != 0 && v[2] == 0)));
        let or = format!("{flag}lop3.or.b32 {text}, %c; @%p1 xor.b32 %d, %d, 1;");
        cases.push(sweep(or, "wwwp", move |v| word(v) ^ u64::from(word(v) != 0 || v[2] == 1)));
    }
    cases
}

fn shifts() -> Vec<Case> {
    let mut cases = Vec::new();
    let amounts: Vec<u64> = (0..34).chain([62, 63, 64, 65, 100, 255, 256, 1 << 31, 0xffff_ffff, 0xffff_8000]).collect();
    for (bits, kinds) in [(16u64, "hhw"), (32, "www"), (64, "ddw")] {
        let mask = u64::MAX >> (64 - bits);
        cases.push(sweep_over(format!("shl.b{bits} %d, %a, %b;"), kinds, &amounts, move |v| {
            Want::Bits(if v[1] >= bits { 0 } else { v[0] << v[1] & mask })
        }));
        for ty in ["u", "b"] {
            cases.push(sweep_over(format!("shr.{ty}{bits} %d, %a, %b;"), kinds, &amounts, move |v| {
                Want::Bits(if v[1] >= bits { 0 } else { v[0] >> v[1] })
            }));
        }
        cases.push(sweep_over(format!("shr.s{bits} %d, %a, %b;"), kinds, &amounts, move |v| {
            let sign = v[0] >> (bits - 1) & 1;
            let bit = |i: u64| if i >= bits { sign } else { v[0] >> i & 1 };
            Want::Bits((0..bits).fold(0, |d, i| d | bit(i.saturating_add(v[1])) << i))
        }));
    }
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        let amount = move |c: u64| if clamp { c.min(32) } else { c & 31 };
        cases.push(sweep_over(format!("shf.l.{mode}.b32 %d, %a, %b, %c;"), "wwww", &amounts, move |v| {
            let both = u128::from(v[1]) << 32 | u128::from(v[0]);
            Want::Bits((both << amount(v[2]) >> 32) as u64 & 0xffff_ffff)
        }));
        cases.push(sweep_over(format!("shf.r.{mode}.b32 %d, %a, %b, %c;"), "wwww", &amounts, move |v| {
            let both = u128::from(v[1]) << 32 | u128::from(v[0]);
            Want::Bits((both >> amount(v[2])) as u64 & 0xffff_ffff)
        }));
    }
    cases
}

/// The selectors of each mode as the ISA tabulates them, for selector values 0 to 3.
const MODES: [(&str, [[u32; 4]; 4]); 6] = [
    ("f4e", [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
    ("b4e", [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
    ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
    ("ecl", [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
    ("ecr", [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
    ("rc16", [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]),
];

fn permutations() -> Vec<Case> {
    let byte = |v: &[u64], k: u64| if k < 4 { v[0] >> (8 * k) & 0xff } else { v[1] >> (8 * (k - 4)) & 0xff };
    let mut cases = vec![sweep("prmt.b32 %d, %a, %b, %c;", "wwww", move |v| {
        (0..4).fold(0, |d, i| {
            let selector = v[2] >> (4 * i) & 15;
            let picked = byte(v, selector & 7);
            let value = if selector & 8 == 0 { picked } else { (picked >> 7) * 0xff };
            d | value << (8 * i)
        })
    })];
    for (mode, table) in MODES {
        cases.push(sweep(format!("prmt.b32.{mode} %d, %a, %b, %c;"), "wwww", move |v| {
            let selectors = table[(v[2] & 3) as usize];
            (0..4).fold(0, |d, i| d | byte(v, selectors[i].into()) << (8 * i))
        }));
    }
    cases
}

fn moves() -> Vec<Case> {
    let mut cases = vec![
        sweep("mov.b16 %d, %a;", "hh", |v| v[0]),
        sweep("mov.u32 %d, %a;", "ww", |v| v[0]),
        sweep("mov.f64 %d, %a;", "dd", |v| v[0]),
        sweep("mov.pred %d, %a;", "pp", |v| v[0]),
        sweep("mov.b64 %d, {%a, %b};", "dww", |v| v[0] | v[1] << 32),
        sweep("mov.b32 %d, {%a, %b};", "whh", |v| v[0] | v[1] << 16),
        sweep("mov.b64 %d, {%a, %b, %c, %e};", "dhhhh", |v| v[0] | v[1] << 16 | v[2] << 32 | v[3] << 48),
        sweep("{ .reg .b32 t; mov.b64 {t, %d}, %a; }", "wd", |v| v[0] >> 32),
        sweep("{ .reg .b32 t; mov.b64 {%d, t}, %a; }", "wd", |v| v[0] & 0xffff_ffff),
        sweep("mov.b64 {%d, _}, %a;", "wd", |v| v[0] & 0xffff_ffff),
        sweep("{ .reg .b16 t; mov.b32 {t, %d}, %a; }", "hw", |v| v[0] >> 16),
        sweep("{ .reg .b16 t, u, x; mov.b64 {t, u, %d, x}, %a; }", "hd", |v| v[0] >> 32 & 0xffff),
        // A register exchanged with itself: the parts are read before they are written.
        sweep("{ .reg .b16 l, h; mov.b32 {l, h}, %a; mov.b32 %d, {h, l}; }", "ww", |v| {
            (v[0] >> 16) | (v[0] & 0xffff) << 16
        }),
    ];
    for (ty, kinds) in [("b16", "hhhp"), ("u32", "wwwp"), ("f64", "dddp")] {
        cases.push(sweep(format!("selp.{ty} %d, %a, %b, %c;"), kinds, |v| if v[2] == 1 { v[0] } else { v[1] }));
    }
    for (ty, kinds) in [("b16", "hhhw"), ("u32", "wwww"), ("s64", "dddw")] {
        cases.push(sweep(
            format!("slct.{ty}.s32 %d, %a, %b, %c;"),
            kinds,
            |v| {
                if v[2] >> 31 == 0 { v[0] } else { v[1] }
            },
        ));
        // −0 is not below zero; a NaN is below everything here.
        cases.push(sweep(format!("slct.{ty}.f32 %d, %a, %b, %c;"), kinds, |v| {
            let (nan, negative) = (v[2] & 0x7fff_ffff > 0x7f80_0000, v[2] > 0x8000_0000);
            if nan || negative { v[1] } else { v[0] }
        }));
    }
    cases.push(case(
        "slct.ftz.b32.f32 %d, %a, %b, %c;",
        "wwww",
        &[([1, 2, 0x8000_0001], 1), ([1, 2, 0x8080_0000], 2), ([1, 2, 0x7fc0_0000], 2)],
    ));
    cases
}

pub fn cases() -> Vec<Case> {
    [bitwise(), shifts(), permutations(), moves()].into_iter().flatten().collect()
}

#[test]
fn logic_bit_by_bit() {
    run(&cases());
}
