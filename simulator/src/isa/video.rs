//! The video instructions that compilers still emit: absolute differences of two halves or four bytes (PTX ISA 9.7.18.1
//! and 9.7.18.2).

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::loops::{each2, each3};
use crate::program::{AluFn, Class};
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("vabsdiff2", "9.7.18.1", vabsdiff2), row("vabsdiff4", "9.7.18.2", vabsdiff4)];

/// The difference of each of `PARTS`; parts are extended by their sign where they have one.
#[inline(always)]
fn differences<const PARTS: usize>(a: u32, b: u32, signed: bool) -> [u32; PARTS] {
    let bits = 32 / PARTS as u32;
    let part = |word: u32, k: u32| {
        let top = word << (32 - bits * (k + 1));
        if signed { i64::from(top as i32 >> (32 - bits)) } else { i64::from(top >> (32 - bits)) }
    };
    std::array::from_fn(|k| part(a, k as u32).abs_diff(part(b, k as u32)) as u32)
}

/// All parts are written, so nothing of the third source shows.
#[inline(always)]
fn packed<const PARTS: usize>(a: u32, b: u32, signed: bool) -> u32 {
    let bits = 32 / PARTS as u32;
    let low = u32::MAX >> (32 - bits);
    differences::<PARTS>(a, b, signed).iter().rev().fold(0, |word, difference| word << bits | difference & low)
}

#[inline(always)]
fn sum<const PARTS: usize>(a: u32, b: u32, c: u32, signed: bool) -> u32 {
    differences::<PARTS>(a, b, signed).iter().fold(c, |sum, difference| sum.wrapping_add(*difference))
}

/// The loops of unsigned and signed parts, and of their sums.
macro_rules! loops {
    ($parts:literal) => {
        [
            each2!(u32, u32 => u32, |a, b| packed::<$parts>(a, b, false)),
            each2!(u32, u32 => u32, |a, b| packed::<$parts>(a, b, true)),
            each3!(u32, u32, u32 => u32, |a, b, c| sum::<$parts>(a, b, c, false)),
            each3!(u32, u32, u32 => u32, |a, b, c| sum::<$parts>(a, b, c, true)),
        ]
    };
}

fn vabsdiff2(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    absolute_difference(decode, loops!(2))
}

fn vabsdiff4(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    absolute_difference(decode, loops!(4))
}

fn absolute_difference(
    decode: &mut Decode<'_, '_, '_>,
    [unsigned, signed, sum, signed_sum]: [AluFn; 4],
) -> LoadResult<()> {
    let accumulate = decode.flag("add");
    let (d, a, b) = (decode.ty()?, decode.ty()?, decode.ty()?);
    if d != Type::U32 || a != b {
        return decode.unsupported(d);
    }
    let run = match (a, accumulate) {
        (Type::U32, false) => unsigned,
        (Type::S32, false) => signed,
        (Type::U32, true) => sum,
        (Type::S32, true) => signed_sum,
        _ => return decode.unsupported(a),
    };
    decode.operands(4..=4)?;
    let d = decode.dst(0, Type::B32)?;
    let sources = [decode.src(1, Type::B32)?, decode.src(2, Type::B32)?, decode.src(3, Type::B32)?];
    decode.emit_alu(run, Class::Integer, d, &sources[..if accumulate { 3 } else { 2 }]);
    Ok(())
}
