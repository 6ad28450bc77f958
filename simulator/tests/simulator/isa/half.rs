//! f16 and bf16 (ISA 9.7.4), single and packed: each half against exact arithmetic rounded once.

use super::case::{Case, Want, case, run, sweep_over};
use super::exact::{BF16, F16, Format, Mode, Number, edges, product, sum};
use super::float::{Options, extreme, finish};

const PLAIN: Options = Options { ftz: false, sat: false };

fn bits_of(want: Want) -> u64 {
    match want {
        Want::Bits(bits) => bits,
        _ => 0x7fff,
    }
}

/// `op.type` on single values and, with both halves answered alike, on pairs. `count` operands.
fn both(
    cases: &mut Vec<Case>,
    (op, ty): (&str, &str),
    format: Format,
    count: usize,
    answer: impl Fn(&[u64]) -> u64 + Copy,
) {
    let operands = ["%a", "%b", "%c"][..count].join(", ");
    let values = edges(format);
    let kinds = ["hh", "hhh", "hhhh"][count - 1];
    cases.push(sweep_over(format!("{op}.{ty} %d, {operands};"), kinds, &values, |v| answer(v)));
    let pairs: Vec<u64> = values.windows(2).map(|w| w[0] | w[1] << 16).collect();
    let kinds = ["ww", "www", "wwww"][count - 1];
    cases.push(sweep_over(format!("{op}.{ty}x2 %d, {operands};"), kinds, &pairs, |v| {
        let half = |k: u32| {
            let halves: Vec<u64> = v.iter().map(|word| word >> (16 * k) & 0xffff).collect();
            answer(&halves)
        };
        half(0) | half(1) << 16
    }));
}

fn arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, format) in [("f16", F16), ("bf16", BF16)] {
        let mut options = vec![("", PLAIN)];
        if ty == "f16" {
            options.push((".ftz", Options { ftz: true, sat: false }));
            options.push((".sat", Options { ftz: false, sat: true }));
            options.push((".ftz.sat", Options { ftz: true, sat: true }));
        }
        for (suffix, o) in options {
            let read = move |bits: u64| if o.ftz { format.read_flushed(bits) } else { format.read(bits) };
            let done = move |exact: Number| bits_of(finish(format, &exact, Mode::Nearest, o));
            for rounding in ["", ".rn"] {
                let name = |op: &str| format!("{op}{rounding}{suffix}");
                both(&mut cases, (&name("add"), ty), format, 2, |v| done(sum(&read(v[0]), &read(v[1]), Mode::Nearest)));
                both(&mut cases, (&name("sub"), ty), format, 2, |v| {
                    done(sum(&read(v[0]), &read(v[1]).negate(), Mode::Nearest))
                });
                both(&mut cases, (&name("mul"), ty), format, 2, |v| done(product(&read(v[0]), &read(v[1]))));
            }
            both(&mut cases, (&format!("fma.rn{suffix}"), ty), format, 3, |v| {
                done(sum(&product(&read(v[0]), &read(v[1])), &read(v[2]), Mode::Nearest))
            });
        }
        // `.relu` turns what is negative, and NaN, into +0 (fma) or keeps NaN canonical.
        both(&mut cases, ("fma.rn.relu", ty), format, 3, |v| {
            let exact = sum(&product(&format.read(v[0]), &format.read(v[1])), &format.read(v[2]), Mode::Nearest);
            let bits = bits_of(finish(format, &exact, Mode::Nearest, PLAIN));
            if exact.negative() { 0 } else { bits }
        });
    }
    cases
}

fn signs_and_extremes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, format) in [("f16", F16), ("bf16", BF16)] {
        both(&mut cases, ("neg", ty), format, 1, |v| v[0] ^ 0x8000);
        both(&mut cases, ("abs", ty), format, 1, |v| v[0] & 0x7fff);
        for (op, max) in [("min", false), ("max", true)] {
            both(&mut cases, (op, ty), format, 2, |v| extreme(format, v[0], v[1], max, false).unwrap_or(0x7fff));
            both(&mut cases, (&format!("{op}.NaN"), ty), format, 2, |v| {
                extreme(format, v[0], v[1], max, true).unwrap_or(0x7fff)
            });
            both(&mut cases, (&format!("{op}.xorsign.abs"), ty), format, 2, |v| {
                let magnitude = extreme(format, v[0] & 0x7fff, v[1] & 0x7fff, max, false);
                magnitude.map_or(0x7fff, |m| m & 0x7fff | (v[0] ^ v[1]) & 0x8000)
            });
        }
        if ty == "f16" {
            both(&mut cases, ("neg.ftz", ty), format, 1, |v| format.flush(v[0]) ^ 0x8000);
            both(&mut cases, ("abs.ftz", ty), format, 1, |v| format.flush(v[0]) & 0x7fff);
            both(&mut cases, ("max.ftz", ty), format, 2, |v| {
                extreme(format, format.flush(v[0]), format.flush(v[1]), true, false).unwrap_or(0x7fff)
            });
        }
    }
    cases
}

/// 0x3c00 is 1 in f16, 0x3f80 is 1 in bf16.
fn by_hand() -> Vec<Case> {
    vec![
        case("add.f16 %d, %a, %b;", "hhh", &[([0x3c00, 0x3c00], 0x4000), ([0x7bff, 0x7bff], 0x7c00)]),
        case("add.bf16x2 %d, %a, %b;", "www", &[([0x3f80_4000, 0x3f80_3f80], 0x4000_4040)]),
        // (1 + 3·2⁻¹⁰)² − 1 = 2⁻⁸·(1.5 + 9·2⁻¹²): in one rounding the last bits survive.
        case("fma.rn.f16 %d, %a, %b, %c;", "hhhh", &[([0x3c03, 0x3c03, 0xbc00], 0x1e02)]),
        case("fma.rn.relu.bf16x2 %d, %a, %b, %c;", "wwww", &[([0x3f80_bf80, 0x3f80_3f80, 0], 0x3f80_0000)]),
        case("max.bf16x2 %d, %a, %b;", "www", &[([0x3f80_7fc0, 0x4000_3f80], 0x4000_3f80)]),
    ]
}

pub fn cases() -> Vec<Case> {
    [arithmetic(), signs_and_extremes(), by_hand()].into_iter().flatten().collect()
}

#[test]
fn halves_are_rounded_once() {
    run(&cases());
}
