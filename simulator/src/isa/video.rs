//! The one video instruction that compilers still emit: absolute differences of four bytes (PTX ISA 9.7.18.2).

use super::{Row, row};
use crate::error::LoadResult;
use crate::exec::lanes::{each2, each3};
use crate::lower::decode::Decode;
use crate::program::Class;
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[row("vabsdiff4", "9.7.18.2", vabsdiff4)];

/// Each byte's difference; bytes are extended by their sign where they have one.
#[inline(always)]
fn differences(a: u32, b: u32, signed: bool) -> [u32; 4] {
    let byte = |word: u32, k: u32| {
        let byte = (word >> (8 * k)) as u8;
        if signed { i32::from(byte as i8) } else { i32::from(byte) }
    };
    std::array::from_fn(|k| byte(a, k as u32).abs_diff(byte(b, k as u32)))
}

/// All four bytes are written, so nothing of the third source shows.
#[inline(always)]
fn bytes(a: u32, b: u32, signed: bool) -> u32 {
    differences(a, b, signed).iter().rev().fold(0, |word, difference| word << 8 | difference & 0xff)
}

#[inline(always)]
fn sum(a: u32, b: u32, c: u32, signed: bool) -> u32 {
    differences(a, b, signed).iter().fold(c, |sum, difference| sum.wrapping_add(*difference))
}

fn vabsdiff4(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let accumulate = decode.flag("add");
    let (d, a, b) = (decode.ty()?, decode.ty()?, decode.ty()?);
    if d != Type::U32 || a != b {
        return decode.unsupported(d);
    }
    let run = match (a, accumulate) {
        (Type::U32, false) => each2!(u32, u32 => u32, |a, b| bytes(a, b, false)),
        (Type::S32, false) => each2!(u32, u32 => u32, |a, b| bytes(a, b, true)),
        (Type::U32, true) => each3!(u32, u32, u32 => u32, |a, b, c| sum(a, b, c, false)),
        (Type::S32, true) => each3!(u32, u32, u32 => u32, |a, b, c| sum(a, b, c, true)),
        _ => return decode.unsupported(a),
    };
    decode.operands(4..=4)?;
    let d = decode.dst(0, Type::B32)?;
    let sources = [decode.src(1, Type::B32)?, decode.src(2, Type::B32)?, decode.src(3, Type::B32)?];
    decode.emit_alu(run, Class::Integer, d, &sources[..if accumulate { 3 } else { 2 }]);
    Ok(())
}
