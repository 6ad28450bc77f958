//! Registers of one activation as rows of 32 lanes.

use bytemuck::{Pod, Zeroable};

use super::reg::{NONE, Reg};

pub const LANES: usize = 32;
pub const FULL: u32 = u32::MAX;

/// One 32-bit register of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Row(pub [u32; LANES]);

impl Row {
    pub const ZERO: Self = Self([0; LANES]);
}

/// The registers an instruction sees.
pub struct Lanes<'a> {
    pub rows: &'a mut [Row],
    pub predicates: &'a mut [u32],
    pub constants: &'a [Row],
}

/// What a register row stores: 32 or 64 bits a lane.
pub trait Word: Copy + Default {
    fn read<'l>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [Self; LANES];
    fn write(lanes: &mut Lanes<'_>, reg: Reg, values: &[Self; LANES], mask: u32);
}

/// `new` in the lanes of the mask, `old` in the others. Bits are chosen, not branches taken: then it is a vector blend.
macro_rules! blend {
    ($new:expr, $old:expr, $mask:expr, $word:ty) => {{
        let mut out = *$old;
        for i in 0..LANES {
            let on = <$word>::from($mask >> i & 1).wrapping_neg();
            out[i] = ($new[i] & on) | (out[i] & !on);
        }
        out
    }};
}

impl Word for u32 {
    #[inline(always)]
    fn read<'l>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [u32; LANES] {
        &lanes.file(reg)[reg.index()].0
    }

    #[inline(always)]
    fn write(lanes: &mut Lanes<'_>, reg: Reg, values: &[u32; LANES], mask: u32) {
        let row = &mut lanes.rows[reg.0 as usize].0;
        if mask == FULL {
            *row = *values;
        } else {
            *row = blend!(values, row, mask, u32);
        }
    }
}

impl Word for u64 {
    #[inline(always)]
    fn read<'l>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [u64; LANES] {
        let pair = lanes.file(reg)[reg.index()..].first_chunk::<2>().expect("a 64-bit register has two rows");
        bytemuck::cast_ref(pair)
    }

    #[inline(always)]
    fn write(lanes: &mut Lanes<'_>, reg: Reg, values: &[u64; LANES], mask: u32) {
        let pair = lanes.rows[reg.index()..].first_chunk_mut::<2>().expect("a 64-bit register has two rows");
        let row: &mut [u64; LANES] = bytemuck::cast_mut(pair);
        if mask == FULL {
            *row = *values;
        } else {
            *row = blend!(values, row, mask, u64);
        }
    }
}

impl Lanes<'_> {
    /// Where a source lies. Both are loaded and one is chosen: a branch an operand would be mispredicted.
    #[inline(always)]
    fn file(&self, reg: Reg) -> &[Row] {
        if reg.is_constant() { self.constants } else { self.rows }
    }

    #[inline(always)]
    pub fn predicate(&self, reg: Reg) -> u32 {
        if reg.is_constant() { self.constants[reg.index()].0[0] } else { self.predicates[reg.index()] }
    }

    #[inline(always)]
    pub fn set_predicate(&mut self, reg: Reg, value: u32, mask: u32) {
        if reg != NONE {
            let slot = &mut self.predicates[reg.index()];
            *slot = (*slot & !mask) | (value & mask);
        }
    }
}
