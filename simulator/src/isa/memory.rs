//! Loads, stores and prefetches (PTX ISA 9.7.9.8 to 9.7.9.18), `discard` and `applypriority` as the hints they are.
//!
//! Cache operators and eviction priorities change no value, so they are taken and dropped; `volatile`, `relaxed`,
//! `acquire` and `release` are kept for the race check.

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::{Access, Class, Inst, NONE, Op, Order, Reg};
use crate::ptx::tree::Operand;
use crate::ptx::types::{Space, Type};

pub static ROWS: &[Row] = &[
    row("ld", "9.7.9.8", ld),
    row("ldu", "9.7.9.10", ld),
    row("st", "9.7.9.11", st),
    row("prefetch", "9.7.9.15", prefetch),
    row("prefetchu", "9.7.9.15", prefetch),
    row("applypriority", "9.7.9.16", hint),
    row("discard", "9.7.9.17", hint),
    row("createpolicy", "9.7.9.18", createpolicy),
];

pub const HINTS: [&str; 33] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "nc",
    "weak",
    "cta",
    "cluster",
    "gpu",
    "sys",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_normal",
    "L2::evict_last",
    "L2::evict_first",
    "mmio",
    "global::evict",
    "L2::evict_unchanged",
    "unified",
    "noftz",
    "L1",
    "L2",
    "level::eviction_priority",
    "level::prefetch_size",
];

const ACCESS_SPACES: [(&str, Space); 9] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("shared::cluster", Space::Shared),
    ("local", Space::Local),
    ("const", Space::Const),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("param::func", Space::Param),
];

pub fn space(decode: &mut Decode<'_, '_, '_>) -> Space {
    decode.choose(&ACCESS_SPACES).unwrap_or(Space::Generic)
}

pub fn order(decode: &mut Decode<'_, '_, '_>) -> Order {
    let orders = [
        ("volatile", Order::Relaxed),
        ("relaxed", Order::Relaxed),
        ("acquire", Order::Acquire),
        ("release", Order::Release),
        ("acq_rel", Order::AcquireRelease),
    ];
    decode.choose(&orders).unwrap_or(Order::Weak)
}

pub fn class_for(space: Space) -> Class {
    match space {
        Space::Shared => Class::Shared,
        Space::Local => Class::Local,
        Space::Const | Space::Param => Class::Constant,
        _ => Class::Global,
    }
}

/// A cache policy operand follows the others where `.L2::cache_hint` is written; it changes no value.
fn cache_hint(decode: &mut Decode<'_, '_, '_>) -> usize {
    usize::from(decode.flag("L2::cache_hint"))
}

fn access(
    decode: &mut Decode<'_, '_, '_>,
    address: usize,
    space: Space,
    vector: u8,
    ty: Type,
) -> LoadResult<(Access, Reg)> {
    if matches!(ty, Type::Pred | Type::B128 | Type::Tf32) || ty.bytes() * vector as usize > 16 {
        return decode.unsupported(ty);
    }
    let order = Order::Weak;
    let address = decode.address(address, space)?;
    let extend = ty.bits() as u8;
    let access =
        Access { space: address.space, offset: address.offset, frame: address.frame, ty, vector, extend, order };
    Ok((access, address.reg))
}

const VECTORS: [(&str, u8); 2] = [("v2", 2), ("v4", 4)];

fn ld(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (space, order) = (space(decode), order(decode));
    decode.hints(&HINTS);
    let extra = cache_hint(decode);
    let vector = decode.choose(&VECTORS).unwrap_or(1);
    let ty = decode.ty()?;
    decode.operands(2 + extra..=2 + extra)?;
    let (mut access, address) = access(decode, 1, space, vector, ty)?;
    access.order = order;
    let elements = decode.elements(decode.operand(0)?);
    if elements.len() != vector as usize {
        return decode.fail("the vector has another length");
    }
    let mut inst = Inst::new(Op::Nothing, class_for(access.space));
    inst.s[0] = address;
    let mut extensions = Vec::new();
    for (k, element) in elements.iter().enumerate() {
        let (d, bits) = decode.dst_register(element)?;
        if d == NONE {
            continue;
        }
        if bits < ty.bits() {
            return decode.fail("the destination is narrower than the type");
        }
        inst.d[k] = d;
        if bits == 64 && ty.bits() < 64 {
            // Loaded to 32 bits first, then extended beside the load.
            inst.d[k] = decode.new_word(false);
            extensions.push((d, inst.d[k]));
            access.extend = 32;
        } else {
            access.extend = bits as u8;
        }
    }
    inst.op = Op::Load(access);
    decode.emit(inst);
    for (wide, narrow) in extensions {
        decode.emit_alu(super::moves::widen(ty.is_signed()), Class::None, wide, &[narrow]);
    }
    Ok(())
}

fn st(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let (space, order) = (space(decode), order(decode));
    decode.hints(&HINTS);
    let extra = cache_hint(decode);
    let vector = decode.choose(&VECTORS).unwrap_or(1);
    let ty = decode.ty()?;
    decode.operands(2 + extra..=2 + extra)?;
    if space == Space::Const {
        return decode.fail("constant memory is read-only");
    }
    let (mut access, address) = access(decode, 0, space, vector, ty)?;
    access.order = order;
    if access.space == Space::Param {
        return decode.fail("kernel parameters are read-only");
    }
    let elements = decode.elements(decode.operand(1)?);
    if elements.len() != vector as usize {
        return decode.fail("the vector has another length");
    }
    let mut inst = Inst::new(Op::Store(access), class_for(access.space));
    inst.s[0] = address;
    for (k, element) in elements.iter().enumerate() {
        inst.s[1 + k] = decode.src_wide(element, ty)?;
    }
    decode.emit(inst);
    Ok(())
}

/// The address is evaluated by no one: a prefetch may not fault.
fn prefetch(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let space = space(decode);
    decode.hints(&HINTS);
    decode.hints(&["tensormap"]);
    decode.operands(1..=1)?;
    decode.address(0, space)?;
    decode.emit(Inst::new(Op::Nothing, Class::Global));
    Ok(())
}

fn hint(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let space = space(decode);
    decode.hints(&HINTS);
    decode.operands(2..=2)?;
    decode.address(0, space)?;
    if !matches!(decode.operand(1)?, Operand::Integer(128)) {
        return decode.fail("the size must be 128");
    }
    decode.emit(Inst::new(Op::Nothing, Class::Global));
    Ok(())
}

/// A policy is opaque; every one is zero here.
fn createpolicy(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.hints(&["fractional", "range", "cvt", "L2", "global"]);
    decode.hints(&HINTS);
    let ty = decode.ty()?;
    decode.operands(1..=4)?;
    let (d, zero) = (decode.dst(0, ty)?, decode.constant(0, true));
    decode.emit_alu(crate::program::loops::each1!(u64 => u64, |a| a), Class::Move, d, &[zero]);
    Ok(())
}
