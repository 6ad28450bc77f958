//! Bit fields (ISA 9.7.1.13 to 9.7.1.22): answers by the ISA's own pseudocode, bit by bit.

use super::case::{Case, Want, sweep, sweep_over};
use super::integer::INTS;

/// `b` bits of a value from `pos`, as the pseudocode of `bfe` has it.
fn extract(a: u64, pos: u64, len: u64, bits: u64, signed: bool) -> u64 {
    let (msb, pos, len) = (bits - 1, pos & 0xff, len & 0xff);
    let bit = |i: u64| a >> i & 1;
    let sign = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
    (0..bits).fold(0, |d, i| d | (if i < len && pos + i <= msb { bit(pos + i) } else { sign }) << i)
}

fn insert(a: u64, b: u64, pos: u64, len: u64, bits: u64) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    (0..len).take_while(|i| pos + i < bits).fold(b, |f, i| f & !(1 << (pos + i)) | (a >> i & 1) << (pos + i))
}

/// The highest bit that differs from the sign, looked for one by one.
fn find(a: u64, bits: u32, signed: bool, shift: bool) -> u64 {
    let a = if signed && a >> (bits - 1) & 1 == 1 { !a } else { a };
    match (0..bits).rev().find(|i| a >> i & 1 == 1) {
        Some(i) => u64::from(if shift { bits - 1 - i } else { i }),
        None => 0xffff_ffff,
    }
}

fn nth_set(mask: u64, base: u64, offset: u64) -> u64 {
    let (offset, base) = (offset as u32 as i32, base as i64);
    if offset == 0 {
        return if mask >> base & 1 == 1 { base as u64 } else { 0xffff_ffff };
    }
    let (mut pos, mut count) = (base, i64::from(offset).abs() - 1);
    while (0..32).contains(&pos) {
        if mask >> pos & 1 == 1 {
            if count == 0 {
                return pos as u64;
            }
            count -= 1;
        }
        pos += if offset > 0 { 1 } else { -1 };
    }
    0xffff_ffff
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ty, bits, one) in [("b32", 32u32, "ww"), ("b64", 64, "wd")] {
        let count = move |a: u64| (0..bits).filter(|i| a >> i & 1 == 1).count() as u64;
        cases.push(sweep(format!("popc.{ty} %d, %a;"), one, move |v| count(v[0])));
        cases.push(sweep(format!("clz.{ty} %d, %a;"), one, move |v| {
            (0..bits).rev().take_while(|i| v[0] >> i & 1 == 0).count() as u64
        }));
        let same = if bits == 32 { "ww" } else { "dd" };
        cases.push(sweep(format!("brev.{ty} %d, %a;"), same, move |v| {
            (0..bits).fold(0, |d, i| d | (v[0] >> i & 1) << (bits - 1 - i))
        }));
    }
    for ty in &INTS[2..] {
        let one = if ty.bits == 32 { "ww" } else { "wd" };
        let (bits, signed) = (ty.bits, ty.signed);
        cases.push(sweep(format!("bfind.{} %d, %a;", ty.name), one, move |v| find(v[0], bits, signed, false)));
        cases.push(sweep(format!("bfind.shiftamt.{} %d, %a;", ty.name), one, move |v| find(v[0], bits, signed, true)));
        let fields = if ty.bits == 32 { "wwww" } else { "ddww" };
        cases.push(sweep(format!("bfe.{} %d, %a, %b, %c;", ty.name), fields, move |v| {
            extract(v[0], v[1], v[2], bits.into(), signed)
        }));
    }
    cases.push(sweep("bfi.b32 %d, %a, %b, %c, %e;", "wwwww", |v| insert(v[0], v[1], v[2], v[3], 32)));
    cases.push(sweep("bfi.b64 %d, %a, %b, %c, %e;", "dddww", |v| insert(v[0], v[1], v[2], v[3], 64)));
    let small: Vec<u64> = (0..40).chain([0xffff_ffff, 0xffff_fffe, 0xffff_ffe0, 0x8000_0001, 0xf0f0_00ff]).collect();
    cases.push(sweep_over("and.b32 %b, %b, 31; fns.b32 %d, %a, %b, %c;", "wwww", &small, |v| {
        Want::Bits(nth_set(v[0], v[1] & 31, v[2]))
    }));
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        for (ty, signed) in [("u32", false), ("s32", true)] {
            cases.push(sweep_over(format!("szext.{mode}.{ty} %d, %a, %b;"), "www", &small, |v| {
                let (b1, too_large) = (v[1] & 31, clamp && v[1] >= 32);
                let ones = if too_large { 0 } else { 0xffff_ffff << b1 & 0xffff_ffff };
                let sign = signed && b1 != 0 && !too_large && v[0] >> (b1.wrapping_sub(1) & 31) & 1 == 1;
                Want::Bits(v[0] & !ones & 0xffff_ffff | if sign { ones } else { 0 })
            }));
        }
        cases.push(sweep_over(format!("bmsk.{mode}.b32 %d, %a, %b;"), "www", &small, |v| {
            let (a1, b1) = (v[0] & 31, v[1] & 31);
            let mut mask0 = 0xffff_ffffu64 << a1;
            if clamp && v[0] >= 32 {
                mask0 = 0;
            }
            let overflow = a1 + b1 >= 32 || clamp && (v[0] >= 32 || v[1] >= 32);
            let mask1 = if overflow {
                0
            } else if b1 == 0 {
                u64::MAX
            } else {
                0xffff_ffff << (a1 + b1)
            };
            Want::Bits(mask0 & !mask1 & 0xffff_ffff)
        }));
    }
    cases
}
