//! `cvt` (ISA 9.7.9.21, 9.7.9.22): every pair of types and rounding mode against exact arithmetic; 8-bit floats by
//! search.

use num_bigint::BigInt;

use super::case::{Case, Want, case, run, sweep_over};
use super::eight_bit;
use super::exact::{BF16, F16, F32, F64, Format, MODES, Mode, Number, edges};
use super::float::{Options, finish};
use super::integer::{INTS, Int};

const PLAIN: Options = Options { ftz: false, sat: false };
const BYTES: [Int; 2] =
    [Int { name: "u8", kind: 'w', bits: 8, signed: false }, Int { name: "s8", kind: 'w', bits: 8, signed: true }];
const FLOATS: [(&str, Format, char); 4] =
    [("f16", F16, 'h'), ("bf16", BF16, 'h'), ("f32", F32, 'w'), ("f64", F64, 'd')];

fn integers() -> impl Iterator<Item = Int> {
    BYTES.into_iter().chain(INTS)
}

fn kinds(to: char, from: char) -> &'static str {
    match (to, from) {
        ('h', 'h') => "hh",
        ('h', 'd') => "hd",
        ('h', _) => "hw",
        ('d', 'h') => "dh",
        ('d', 'd') => "dd",
        ('d', _) => "dw",
        (_, 'h') => "wh",
        (_, 'd') => "wd",
        _ => "ww",
    }
}

/// A byte's result in its 32-bit register is extended by its sign (9.4.1).
fn in_register(ty: Int, value: i128) -> u64 {
    let bits = ty.bits_of(value);
    if ty.bits == 8 && ty.signed { u64::from(bits as u8 as i8 as i32 as u32) } else { bits }
}

const INTEGER_EDGES: [u64; 20] = [
    0,
    1,
    127,
    128,
    255,
    256,
    2049,
    0x7fff,
    0x8000,
    0xffff,
    0x00ff_ffff,
    0x0100_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0401,
    0x0020_0000_0000_0001,
    u64::MAX,
];

fn between_integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for to in integers() {
        for from in integers() {
            let kinds = kinds(to.kind, from.kind);
            cases.push(sweep_over(format!("cvt.{}.{} %d, %a;", to.name, from.name), kinds, &INTEGER_EDGES, |v| {
                in_register(to, from.value(v[0]))
            }));
            cases.push(sweep_over(format!("cvt.sat.{}.{} %d, %a;", to.name, from.name), kinds, &INTEGER_EDGES, |v| {
                let (low, high) = to.range();
                in_register(to, from.value(v[0]).clamp(low, high))
            }));
        }
    }
    cases
}

fn integers_to_floats() -> Vec<Case> {
    let mut cases = Vec::new();
    for from in integers() {
        for (name, format, kind) in FLOATS {
            for (rounding, mode) in MODES {
                let text = format!("cvt.{rounding}.{name}.{} %d, %a;", from.name);
                cases.push(sweep_over(text, kinds(kind, from.kind), &INTEGER_EDGES, |v| {
                    finish(format, &Number::of_integer(from.value(v[0])), mode, PLAIN)
                }));
            }
        }
    }
    cases
}

/// Saturates; NaN is zero, but the sign bit where a side has 64 bits.
fn to_integer(format: Format, x: &Number, to: Int, mode: Mode) -> u64 {
    let (low, high) = to.range();
    match x {
        Number::Nan if format == F64 || to.bits == 64 => in_register(to, 1 << (to.bits - 1)),
        Number::Nan => 0,
        Number::Infinite { negative } => in_register(to, if *negative { low } else { high }),
        number => {
            let exact = number.to_integer(mode).clamp(BigInt::from(low), BigInt::from(high));
            in_register(to, i128::try_from(exact).expect("it was clamped"))
        }
    }
}

const INTEGRAL: [(&str, Mode); 4] =
    [("rni", Mode::Nearest), ("rzi", Mode::Zero), ("rmi", Mode::Down), ("rpi", Mode::Up)];

/// Values about which rounding to an integer and its limits turn, as bits of a format.
pub fn around_integers(format: Format) -> Vec<u64> {
    let halves = [-5i128, -3, -1, 1, 3, 5, 253, 255, 257, 509, 511, 513, 65533, 65535, 131_069, 131_071];
    let limits = [7u32, 8, 15, 16, 31, 32, 63, 64].map(|n| 1i128 << (n + 1));
    let all = halves.iter().chain(&limits).flat_map(|&h| [h, -h, h - 1, h + 1]);
    // Twice the value is an integer; its bits, halved by the exponent field.
    let bits = all.filter_map(|twice| match Number::of_integer(twice) {
        Number::Finite(x) => {
            let bits = format.round(&x, Mode::Zero);
            let field = 1u64
                << (if format == F64 {
                    52
                } else if format == F32 {
                    23
                } else if format == BF16 {
                    7
                } else {
                    10
                });
            Some(bits - field)
        }
        _ => None,
    });
    edges(format).into_iter().chain(bits).collect()
}

fn floats_to_integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, format, kind) in FLOATS {
        let values = around_integers(format);
        for to in integers() {
            for (rounding, mode) in INTEGRAL {
                let text = format!("cvt.{rounding}.{}.{name} %d, %a;", to.name);
                cases.push(sweep_over(text, kinds(to.kind, kind), &values, |v| {
                    to_integer(format, &format.read(v[0]), to, mode)
                }));
            }
        }
    }
    cases.push(sweep_over("cvt.rpi.ftz.s32.f32 %d, %a;", "ww", &edges(F32), |v| {
        to_integer(F32, &F32.read_flushed(v[0]), INTS[3], Mode::Up)
    }));
    cases
}

fn between_floats() -> Vec<Case> {
    let mut cases = Vec::new();
    let precision = |format: Format| [F16, BF16, F32, F64].iter().position(|&f| f == format);
    for (to, to_format, to_kind) in FLOATS {
        for (from, from_format, from_kind) in FLOATS {
            let kinds = kinds(to_kind, from_kind);
            let values = around_integers(from_format);
            if to == from {
                for (rounding, mode) in INTEGRAL {
                    let text = format!("cvt.{rounding}.{to}.{from} %d, %a;");
                    cases.push(sweep_over(text, kinds, &values, |v| integral(to_format, v[0], mode)));
                }
                continue;
            }
            // Widening is exact and takes no mode; f16 and bf16 are neither's subset.
            let widens = precision(to_format) > precision(from_format) && to != "bf16";
            let modes = if widens { &MODES[..1] } else { &MODES[..] };
            for &(rounding, mode) in modes {
                let dot = if widens { String::new() } else { format!(".{rounding}") };
                cases.push(sweep_over(format!("cvt{dot}.{to}.{from} %d, %a;"), kinds, &values, |v| {
                    finish(to_format, &from_format.read(v[0]), mode, PLAIN)
                }));
            }
        }
    }
    for (suffix, options) in [(".ftz", Options { ftz: true, sat: false }), (".sat", Options { ftz: false, sat: true })]
    {
        let read = move |bits| if options.ftz { F32.read_flushed(bits) } else { F32.read(bits) };
        cases.push(sweep_over(format!("cvt{suffix}.f32.f32 %d, %a;"), "ww", &edges(F32), |v| {
            finish(F32, &read(v[0]), Mode::Nearest, options)
        }));
        cases.push(sweep_over(format!("cvt.rn{suffix}.f32.f64 %d, %a;"), "wd", &edges(F64), |v| {
            finish(F32, &F64.read(v[0]), Mode::Nearest, options)
        }));
    }
    cases.push(sweep_over("cvt.sat.f64.f64 %d, %a;", "dd", &edges(F64), |v| {
        finish(F64, &F64.read(v[0]), Mode::Nearest, Options { ftz: false, sat: true })
    }));
    // All of f16, both ways.
    let every: Vec<u64> = (0..0x1_0000).collect();
    cases.push(sweep_over("cvt.f32.f16 %d, %a;", "wh", &every, |v| finish(F32, &F16.read(v[0]), Mode::Nearest, PLAIN)));
    cases.push(sweep_over("cvt.f32.bf16 %d, %a;", "wh", &every, |v| {
        finish(F32, &BF16.read(v[0]), Mode::Nearest, PLAIN)
    }));
    cases
}

/// A float rounded to an integer that stays a float, its sign kept even at zero.
fn integral(format: Format, bits: u64, mode: Mode) -> Want {
    match format.read(bits) {
        Number::Finite(x) => {
            let sign = bits >> (format.bits - 1) == 1;
            let whole = i128::try_from(Number::Finite(x).to_integer(mode));
            match whole {
                Ok(0) => Want::Bits(format.zero(sign)),
                Ok(n) => finish(format, &Number::of_integer(n), mode, PLAIN),
                // Beyond 2^127 every float is whole.
                Err(_) => Want::Bits(bits),
            }
        }
        special => finish(format, &special, mode, PLAIN),
    }
}

/// Two f32 to a packed pair, the first in the high half; `.relu` makes what is negative zero.
fn pairs() -> Vec<Case> {
    let mut cases = Vec::new();
    let values = around_integers(F32);
    for (name, format) in [("f16", F16), ("bf16", BF16)] {
        for (rounding, mode) in [MODES[0], MODES[1]] {
            for relu in [false, true] {
                let one = move |bits: u64| {
                    let x = F32.read(bits);
                    if relu && x.negative() {
                        return 0;
                    }
                    x.write(format, mode).unwrap_or(0x7fff)
                };
                let suffix = if relu { ".relu" } else { "" };
                cases.push(sweep_over(
                    format!("cvt.{rounding}{suffix}.{name}x2.f32 %d, %a, %b;"),
                    "www",
                    &values,
                    |v| one(v[0]) << 16 | one(v[1]),
                ));
                cases.push(sweep_over(format!("cvt.{rounding}{suffix}.{name}.f32 %d, %a;"), "hw", &values, |v| {
                    one(v[0])
                }));
            }
        }
    }
    // tf32 keeps 11 significant bits of an f32: ties away from zero, or one of two modes.
    cases.push(sweep_over("cvt.rna.tf32.f32 %d, %a;", "ww", &values, |v| match v[0] & 0x7fff_ffff {
        0x7f80_0000 => v[0],
        magnitude if magnitude > 0x7f80_0000 => 0x7fff_ffff,
        magnitude => (magnitude + 0x1000) & 0xffff_e000 | v[0] & 0x8000_0000,
    }));
    cases.push(sweep_over("cvt.rz.tf32.f32 %d, %a;", "ww", &values, |v| {
        if v[0] & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { v[0] & 0xffff_e000 }
    }));
    cases.push(sweep_over("cvt.rn.relu.tf32.f32 %d, %a;", "ww", &values, |v| match v[0] {
        bits if bits & 0x7fff_ffff > 0x7f80_0000 => 0x7fff_ffff,
        bits if bits >> 31 == 1 => 0,
        0x7f80_0000 => 0x7f80_0000,
        bits => (bits + 0xfff + (bits >> 13 & 1)) & 0xffff_e000,
    }));
    cases
}

fn packs() -> Vec<Case> {
    let values = [
        0,
        1,
        127,
        128,
        255,
        256,
        300,
        0x7fff,
        0x8000,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ff80,
        0xffff_ffff,
    ];
    let signed = |bits: u64| i64::from(bits as u32 as i32);
    let mut cases = Vec::new();
    for (ty, low, high) in [("u16", 0, 0xffff), ("s16", -0x8000, 0x7fff)] {
        cases.push(sweep_over(format!("cvt.pack.sat.{ty}.s32 %d, %a, %b;"), "www", &values, move |v| {
            let half = |bits| (signed(bits).clamp(low, high) & 0xffff) as u64;
            half(v[0]) << 16 | half(v[1])
        }));
    }
    for (ty, low, high) in [("u8", 0, 255), ("s8", -128, 127)] {
        cases.push(sweep_over(format!("cvt.pack.sat.{ty}.s32.b32 %d, %a, %b, %c;"), "wwww", &values, move |v| {
            let byte = |bits| (signed(bits).clamp(low, high) & 0xff) as u64;
            (v[2] << 16 | byte(v[0]) << 8 | byte(v[1])) & 0xffff_ffff
        }));
    }
    cases
}

fn by_hand() -> Vec<Case> {
    let f = |x: f32| u64::from(x.to_bits());
    vec![
        case(
            "cvt.rn.bf16x2.f32 %d, %a, %b;",
            "www",
            &[([f(1.0), f(2.0)], 0x3f80_4000), ([0x7fc0_0000, 0x3f80_8000], 0x7fff_3f80)],
        ),
        case("cvt.rn.f16.f32 %d, %a;", "hw", &[([f(65520.0)], 0x7c00), ([f(65519.0)], 0x7bff)]),
        case("cvt.rzi.s32.f32 %d, %a;", "ww", &[([f(-1.9)], 0xffff_ffff), ([f(3e9)], 0x7fff_ffff), ([0x7fc0_0000], 0)]),
        case(
            "cvt.rn.satfinite.e4m3x2.f32 %d, %a, %b;",
            "hww",
            &[([f(1.0), f(1e9)], 0x387e), ([f(-448.0), f(0.0019)], 0xfe01)],
        ),
        case("cvt.rzi.s64.f32 %d, %a;", "dw", &[([0x7fc0_0000], 1 << 63)]),
        case("cvt.rzi.u32.f64 %d, %a;", "wd", &[([f64::NAN.to_bits()], 1 << 31)]),
    ]
}

pub fn cases() -> Vec<Case> {
    [
        between_integers(),
        integers_to_floats(),
        floats_to_integers(),
        between_floats(),
        pairs(),
        eight_bit::cases(),
        packs(),
        by_hand(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn conversions_with_integers() {
    run(&between_integers());
    run(&integers_to_floats());
    run(&floats_to_integers());
    run(&packs());
}

#[test]
fn conversions_between_floats() {
    run(&between_floats());
    run(&pairs());
    run(&eight_bit::cases());
    run(&by_hand());
}
