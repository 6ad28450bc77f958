//! Integer arithmetic (ISA 9.7.1 and 9.7.2): answers in 128-bit integers, bit fields by the ISA's own pseudocode.

use super::case::{Case, Want, case, run, sweep, sweep_over};

/// An integer type: name, register kind, bits, whether signed.
#[derive(Clone, Copy)]
pub struct Int {
    pub name: &'static str,
    pub kind: char,
    pub bits: u32,
    pub signed: bool,
}

const fn int(name: &'static str, kind: char, bits: u32, signed: bool) -> Int {
    Int { name, kind, bits, signed }
}

pub const INTS: [Int; 6] = [
    int("u16", 'h', 16, false),
    int("s16", 'h', 16, true),
    int("u32", 'w', 32, false),
    int("s32", 'w', 32, true),
    int("u64", 'd', 64, false),
    int("s64", 'd', 64, true),
];

impl Int {
    pub fn value(self, bits: u64) -> i128 {
        let shift = 128 - self.bits;
        let raw = (i128::from(bits)) << shift;
        if self.signed { raw >> shift } else { ((raw as u128) >> shift) as i128 }
    }

    pub fn bits_of(self, value: i128) -> u64 {
        (value as u128 & (u128::MAX >> (128 - self.bits))) as u64
    }

    pub fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }
}

/// Register kinds of a result and `count` operands, all of one type.
fn same_kinds(ty: Int, count: usize) -> &'static str {
    match (ty.kind, count) {
        ('h', 1) => "hh",
        ('h', 2) => "hhh",
        ('h', _) => "hhhh",
        ('d', 1) => "dd",
        ('d', 2) => "ddd",
        ('d', _) => "dddd",
        (_, 1) => "ww",
        (_, 2) => "www",
        _ => "wwww",
    }
}

/// `op.type` over every type the filter lets through, with an answer that is taken modulo the type's size.
fn each(cases: &mut Vec<Case>, op: &str, count: usize, keep: fn(Int) -> bool, answer: fn(Int, &[i128]) -> i128) {
    for ty in INTS.into_iter().filter(|&ty| keep(ty)) {
        let operands = ["%a", "%b", "%c"][..count].join(", ");
        cases.push(sweep(format!("{op}.{} %d, {operands};", ty.name), same_kinds(ty, count), |inputs| {
            let values: Vec<i128> = inputs.iter().map(|&bits| ty.value(bits)).collect();
            ty.bits_of(answer(ty, &values))
        }));
    }
}

const ANY: fn(Int) -> bool = |_| true;
const SIGNED: fn(Int) -> bool = |ty| ty.signed;

fn arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    each(&mut cases, "add", 2, ANY, |_, v| v[0] + v[1]);
    each(&mut cases, "sub", 2, ANY, |_, v| v[0] - v[1]);
    each(&mut cases, "mul.lo", 2, ANY, |_, v| v[0].wrapping_mul(v[1]));
    each(&mut cases, "mul.hi", 2, ANY, |ty, v| {
        // Products of 64-bit numbers fit 128 bits only as unsigned ones.
        if ty.signed { (v[0] * v[1]) >> ty.bits } else { ((v[0] as u128 * v[1] as u128) >> ty.bits) as i128 }
    });
    each(&mut cases, "mad.lo", 3, ANY, |_, v| v[0].wrapping_mul(v[1]).wrapping_add(v[2]));
    each(&mut cases, "mad.hi", 3, ANY, |ty, v| {
        let high =
            if ty.signed { (v[0] * v[1]) >> ty.bits } else { ((v[0] as u128 * v[1] as u128) >> ty.bits) as i128 };
        high + v[2]
    });
    each(&mut cases, "sad", 3, ANY, |_, v| v[2] + (v[0] - v[1]).abs());
    each(&mut cases, "min", 2, ANY, |_, v| v[0].min(v[1]));
    each(&mut cases, "max", 2, ANY, |_, v| v[0].max(v[1]));
    each(&mut cases, "abs", 1, SIGNED, |_, v| v[0].abs());
    each(&mut cases, "neg", 1, SIGNED, |_, v| -v[0]);
    let clamp = |ty: Int, x: i128| x.clamp(ty.range().0, ty.range().1);
    let s32 = INTS[3];
    let signed = move |bits: u64| s32.value(bits);
    cases.push(sweep("add.sat.s32 %d, %a, %b;", "www", move |v| s32.bits_of(clamp(s32, signed(v[0]) + signed(v[1])))));
    cases.push(sweep("sub.sat.s32 %d, %a, %b;", "www", move |v| s32.bits_of(clamp(s32, signed(v[0]) - signed(v[1])))));
    cases.push(sweep("mad.hi.sat.s32 %d, %a, %b, %c;", "wwww", move |v| {
        s32.bits_of(clamp(s32, ((signed(v[0]) * signed(v[1])) >> 32) + signed(v[2])))
    }));
    for ty in INTS {
        for (op, remainder) in [("div", false), ("rem", true)] {
            let text = format!("{op}.{} %d, %a, %b;", ty.name);
            let edges: Vec<u64> =
                vec![0, 1, 2, 3, 7, 10, 0x7fff, 0x8000, 0xffff, 1 << 31, 0xffff_ffff, 1 << 63, u64::MAX];
            cases.push(sweep_over(text, same_kinds(ty, 2), &edges, |v| match (ty.value(v[0]), ty.value(v[1])) {
                (_, 0) => Want::Unspecified,
                (a, b) => Want::Bits(ty.bits_of(if remainder { a % b } else { a / b })),
            }));
        }
    }
    for (narrow, wide) in [(INTS[0], INTS[2]), (INTS[1], INTS[3]), (INTS[2], INTS[4]), (INTS[3], INTS[5])] {
        let kinds = if narrow.bits == 16 { ["whh", "whhw"] } else { ["dww", "dwwd"] };
        cases.push(sweep(format!("mul.wide.{} %d, %a, %b;", narrow.name), kinds[0], |v| {
            wide.bits_of(narrow.value(v[0]) * narrow.value(v[1]))
        }));
        cases.push(sweep(format!("mad.wide.{} %d, %a, %b, %c;", narrow.name), kinds[1], |v| {
            wide.bits_of(narrow.value(v[0]) * narrow.value(v[1]) + wide.value(v[2]))
        }));
    }
    cases
}

fn short_products() -> Vec<Case> {
    let mut cases = Vec::new();
    // Each factor is the low 24 bits; the product has 48.
    let low24 = |bits: u64, signed: bool| {
        let raw = (bits & 0xff_ffff) as i64;
        i128::from(if signed { raw << 40 >> 40 } else { raw })
    };
    for (name, signed) in [("u32", false), ("s32", true)] {
        for (part, shift) in [("lo", 0), ("hi", 16)] {
            let product = move |v: &[u64]| (low24(v[0], signed) * low24(v[1], signed)) >> shift;
            cases.push(sweep(format!("mul24.{part}.{name} %d, %a, %b;"), "www", move |v| INTS[2].bits_of(product(v))));
            cases.push(sweep(format!("mad24.{part}.{name} %d, %a, %b, %c;"), "wwww", move |v| {
                INTS[2].bits_of(product(v) + i128::from(v[2]))
            }));
        }
    }
    let byte = |word: u64, k: u32, signed: bool| {
        let raw = (word >> (8 * k)) as u8;
        if signed { i128::from(raw as i8) } else { i128::from(raw) }
    };
    let half = |word: u64, k: u32, signed: bool| {
        let raw = (word >> (16 * k)) as u16;
        if signed { i128::from(raw as i16) } else { i128::from(raw) }
    };
    for (a, a_signed) in [("u32", false), ("s32", true)] {
        for (b, b_signed) in [("u32", false), ("s32", true)] {
            cases.push(sweep(format!("dp4a.{a}.{b} %d, %a, %b, %c;"), "wwww", move |v| {
                let dot: i128 = (0..4).map(|k| byte(v[0], k, a_signed) * byte(v[1], k, b_signed)).sum();
                INTS[2].bits_of(dot + i128::from(v[2]))
            }));
            for (mode, first) in [("lo", 0), ("hi", 2)] {
                cases.push(sweep(format!("dp2a.{mode}.{a}.{b} %d, %a, %b, %c;"), "wwww", move |v| {
                    let dot: i128 = (0..2).map(|k| half(v[0], k, a_signed) * byte(v[1], first + k, b_signed)).sum();
                    INTS[2].bits_of(dot + i128::from(v[2]))
                }));
            }
        }
    }
    cases
}

/// Carries joined to wider numbers: two words are a double word, and two double words a number of 128 bits.
fn extended() -> Vec<Case> {
    const HALVES: &str = "{ .reg .b32 al, ah, bl, bh, l, h; mov.b64 {al, ah}, %a; mov.b64 {bl, bh}, %b;";
    let joined = |middle: &str| format!("{HALVES} {middle} mov.b64 %d, {{l, h}}; }}");
    let mut cases = vec![
        sweep(joined("add.cc.u32 l, al, bl; addc.u32 h, ah, bh;"), "ddd", |v| v[0].wrapping_add(v[1])),
        sweep(joined("sub.cc.u32 l, al, bl; subc.u32 h, ah, bh;"), "ddd", |v| v[0].wrapping_sub(v[1])),
        sweep(joined("add.cc.s32 l, al, bl; addc.s32 h, ah, bh;"), "ddd", |v| v[0].wrapping_add(v[1])),
        // 64 by 64 bits, low half: the schoolbook sum of partial products with carries.
        sweep(
            joined("mul.lo.u32 l, al, bl; mul.hi.u32 h, al, bl; mad.lo.u32 h, al, bh, h; mad.lo.u32 h, ah, bl, h;"),
            "ddd",
            |v| v[0].wrapping_mul(v[1]),
        ),
        // The product of %a's and %b's low words, plus the number (%c, %e), in words with a carry between.
        sweep(
            "{ .reg .b32 l, h; mad.lo.cc.u32 l, %a, %b, %c; madc.hi.u32 h, %a, %b, %e; mov.b64 %d, {l, h}; }",
            "dwwww",
            |v| (v[0] * v[1]).wrapping_add(v[2] | v[3] << 32),
        ),
        sweep(
            "{ .reg .b32 l, h; mad.lo.cc.s32 l, %a, %b, %c; madc.hi.s32 h, %a, %b, %e; mov.b64 %d, {l, h}; }",
            "dwwww",
            |v| {
                let product = i64::from(v[0] as u32 as i32) * i64::from(v[1] as u32 as i32);
                (product as u64).wrapping_add(v[2] | v[3] << 32)
            },
        ),
        // A carry goes through a third limb and out: 96-bit sums of (x, x, x) and (y, y, y), top word.
        sweep("{ .reg .b32 t; add.cc.u32 t, %a, %b; addc.cc.u32 t, %a, %b; addc.u32 %d, %a, %b; }", "www", |v| {
            let wide = |x: u64| u128::from(x) * 0x1_0000_0001_0000_0001;
            ((wide(v[0]) + wide(v[1])) >> 64) as u64 & 0xffff_ffff
        }),
        sweep("{ .reg .b32 t; sub.cc.u32 t, %a, %b; subc.cc.u32 t, %a, %b; subc.u32 %d, %a, %b; }", "www", |v| {
            let wide = |x: u64| u128::from(x) * 0x1_0000_0001_0000_0001;
            (wide(v[0]).wrapping_sub(wide(v[1])) >> 64) as u64 & 0xffff_ffff
        }),
        // A carry in (of 0xffffffff + %c, none where %c is 0) and out of the low half of a product.
        sweep(
            "{ .reg .b32 t; add.cc.u32 t, 0xffffffff, %c; madc.lo.cc.u32 t, %a, %b, %e; addc.u32 %d, 0, 0; }",
            "wwwww",
            |v| (((v[0] * v[1]) & 0xffff_ffff) + v[3] + u64::from(v[2] != 0)) >> 32,
        ),
    ];
    for (text, subtract) in [
        ("{ .reg .b64 t; add.cc.u64 t, %a, %b; addc.u64 %d, %a, %b; }", false),
        ("{ .reg .b64 t; sub.cc.u64 t, %a, %b; subc.u64 %d, %a, %b; }", true),
    ] {
        cases.push(sweep(text, "ddd", move |v| {
            let wide = |x: u64| u128::from(x) << 64 | u128::from(x);
            let (a, b) = (wide(v[0]), wide(v[1]));
            ((if subtract { a.wrapping_sub(b) } else { a.wrapping_add(b) }) >> 64) as u64
        }));
    }
    // A subtraction leaves the carry of a + ~b + 1, which an addition may read, and an addition's may be read by
    // `subc`.
    cases.push(sweep("{ .reg .b32 t; sub.cc.u32 t, %a, %b; addc.u32 %d, 0, 0; }", "www", |v| u64::from(v[0] >= v[1])));
    cases.push(sweep("{ .reg .b64 t; sub.cc.u64 t, %a, %b; addc.u64 %d, 0, 0; }", "ddd", |v| u64::from(v[0] >= v[1])));
    cases.push(sweep("{ .reg .b32 t; add.cc.u32 t, %a, %b; subc.u32 %d, 7, 3; }", "www", |v| {
        if v[0] + v[1] > 0xffff_ffff { 4 } else { 3 }
    }));
    cases.push(sweep("{ .reg .b64 t; mad.lo.cc.u64 t, %a, %b, %c; madc.hi.u64 %d, %a, %b, 0; }", "dddd", |v| {
        ((u128::from(v[0]) * u128::from(v[1]) + u128::from(v[2])) >> 64) as u64
    }));
    cases
}

/// Two 16-bit or four 8-bit integers in a word, each by itself.
fn packed() -> Vec<Case> {
    let halves = |v: &[u64], f: &dyn Fn(u16, u16) -> u16| {
        let at = |word: u64, k: u32| (word >> (16 * k)) as u16;
        (0..2).fold(0, |d, k| d | u64::from(f(at(v[0], k), at(v[1], k))) << (16 * k))
    };
    let signed = |f: fn(i16, i16) -> i16| move |a: u16, b: u16| f(a as i16, b as i16) as u16;
    vec![
        sweep("add.u16x2 %d, %a, %b;", "www", move |v| halves(v, &|a, b| a.wrapping_add(b))),
        sweep("add.s16x2 %d, %a, %b;", "www", move |v| halves(v, &|a, b| a.wrapping_add(b))),
        sweep("min.u16x2 %d, %a, %b;", "www", move |v| halves(v, &|a, b| a.min(b))),
        sweep("max.u16x2 %d, %a, %b;", "www", move |v| halves(v, &|a, b| a.max(b))),
        sweep("min.s16x2 %d, %a, %b;", "www", move |v| halves(v, &signed(|a, b| a.min(b)))),
        sweep("max.s16x2 %d, %a, %b;", "www", move |v| halves(v, &signed(|a, b| a.max(b)))),
        sweep("min.s16x2.relu %d, %a, %b;", "www", move |v| halves(v, &signed(|a, b| a.min(b).max(0)))),
        sweep("max.s16x2.relu %d, %a, %b;", "www", move |v| halves(v, &signed(|a, b| a.max(b).max(0)))),
        sweep("min.s32.relu %d, %a, %b;", "www", |v| (v[0] as i32).min(v[1] as i32).max(0) as u64),
        sweep("max.s32.relu %d, %a, %b;", "www", |v| (v[0] as i32).max(v[1] as i32).max(0) as u64),
    ]
}

fn byte_differences() -> Vec<Case> {
    let byte = |word: u64, k: u32, signed: bool| {
        let raw = (word >> (8 * k)) as u8;
        if signed { i32::from(raw as i8) } else { i32::from(raw) }
    };
    let mut cases = Vec::new();
    for (ty, signed) in [("u32", false), ("s32", true)] {
        cases.push(sweep(format!("vabsdiff4.u32.{ty}.{ty} %d, %a, %b, %c;"), "wwww", move |v| {
            let difference = |k| (byte(v[0], k, signed) - byte(v[1], k, signed)).unsigned_abs() as u8;
            (0..4).fold(0, |d, k| d | u64::from(difference(k)) << (8 * k))
        }));
        let half = move |word: u64, k: u32| {
            let raw = (word >> (16 * k)) as u16;
            if signed { i32::from(raw as i16) } else { i32::from(raw) }
        };
        cases.push(sweep(format!("vabsdiff2.u32.{ty}.{ty} %d, %a, %b, %c;"), "wwww", move |v| {
            let difference = |k| u64::from((half(v[0], k) - half(v[1], k)).unsigned_abs() as u16);
            difference(0) | difference(1) << 16
        }));
        cases.push(sweep(format!("vabsdiff2.u32.{ty}.{ty}.add %d, %a, %b, %c;"), "wwww", move |v| {
            let sum: u32 = (0..2).map(|k| half(v[0], k).abs_diff(half(v[1], k))).sum();
            u64::from((v[2] as u32).wrapping_add(sum))
        }));
        cases.push(sweep(format!("vabsdiff4.u32.{ty}.{ty}.add %d, %a, %b, %c;"), "wwww", move |v| {
            let sum: u32 = (0..4).map(|k| byte(v[0], k, signed).abs_diff(byte(v[1], k, signed))).sum();
            u64::from((v[2] as u32).wrapping_add(sum))
        }));
    }
    cases
}

/// The ISA's own examples, and results worked out by hand.
fn by_hand() -> Vec<Case> {
    const MINUS_ONE: u64 = 0xffff_ffff;
    vec![
        case("add.s32 %d, %a, %b;", "www", &[([1, 2], 3), ([0x7fff_ffff, 1], 0x8000_0000), ([MINUS_ONE, 1], 0)]),
        case("mul.hi.u32 %d, %a, %b;", "www", &[([MINUS_ONE, MINUS_ONE], 0xffff_fffe)]),
        case("dp4a.u32.s32 %d, %a, %b, %c;", "wwww", &[([0xff, 0xff, 0], (-255i32) as u32 as u64)]),
        case("bfind.u32 %d, %a;", "ww", &[([0], MINUS_ONE), ([0x8000], 15)]),
        case("bfe.s32 %d, %a, %b, %c;", "wwww", &[([0x80, 4, 4], 0xffff_fff8), ([0x8000_0000, 40, 4], MINUS_ONE)]),
        case("bfi.b32 %d, %a, %b, %c, %e;", "wwwww", &[([0xff, 0, 8, 4], 0xf00)]),
        case("szext.wrap.u32 %d, %a, %b;", "www", &[([MINUS_ONE, 0], 0)]),
        case("bmsk.wrap.b32 %d, %a, %b;", "www", &[([1, 2], 6)]),
        case("fns.b32 %d, %a, %b, %c;", "wwww", &[([0b1011, 0, 3], 3), ([0b1011, 2, 0], MINUS_ONE)]),
    ]
}

pub fn cases() -> Vec<Case> {
    [arithmetic(), short_products(), super::bit_field::cases(), extended(), packed(), byte_differences(), by_hand()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn integers_as_128_bit_arithmetic_has_them() {
    run(&cases());
}
