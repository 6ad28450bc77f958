//! Registers of one activation as rows of 32 lanes, and the loops over them.
//!
//! Lane loops compute all 32 lanes and then keep those of the mask: a branch a lane would cost more than the work. Every
//! loop is compiled twice, for AVX2 + FMA + F16C and for the baseline; the pair is chosen once, when code is lowered.

use bytemuck::{Pod, Zeroable};

use crate::program::{Inst, NONE, Reg};

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

/// Row `mask[i]` of all ones where lane `i` is on.
#[inline(always)]
fn lane_on(mask: u32, lane: usize) -> bool {
    mask >> lane & 1 != 0
}

impl Word for u32 {
    #[inline(always)]
    fn read<'l>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [u32; LANES] {
        if reg.is_constant() { &lanes.constants[reg.index()].0 } else { &lanes.rows[reg.0 as usize].0 }
    }

    #[inline(always)]
    fn write(lanes: &mut Lanes<'_>, reg: Reg, values: &[u32; LANES], mask: u32) {
        let row = &mut lanes.rows[reg.0 as usize].0;
        if mask == FULL {
            *row = *values;
        } else {
            for i in 0..LANES {
                row[i] = if lane_on(mask, i) { values[i] } else { row[i] };
            }
        }
    }
}

impl Word for u64 {
    #[inline(always)]
    fn read<'l>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [u64; LANES] {
        let rows = if reg.is_constant() { lanes.constants } else { &*lanes.rows };
        let pair = rows[reg.index()..].first_chunk::<2>().expect("a 64-bit register has two rows");
        bytemuck::cast_ref(pair)
    }

    #[inline(always)]
    fn write(lanes: &mut Lanes<'_>, reg: Reg, values: &[u64; LANES], mask: u32) {
        let pair = lanes.rows[reg.index()..].first_chunk_mut::<2>().expect("a 64-bit register has two rows");
        let row: &mut [u64; LANES] = bytemuck::cast_mut(pair);
        if mask == FULL {
            *row = *values;
        } else {
            for i in 0..LANES {
                row[i] = if lane_on(mask, i) { values[i] } else { row[i] };
            }
        }
    }
}

impl Lanes<'_> {
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

/// A value of an instruction's type, held in a register word.
pub trait Value: Copy {
    type Word: Word;
    fn of(word: Self::Word) -> Self;
    fn word(self) -> Self::Word;
}

macro_rules! value {
    ($($ty:ty, $word:ty, |$w:ident| $of:expr, |$v:ident| $to:expr;)*) => {$(
        impl Value for $ty {
            type Word = $word;
            #[inline(always)]
            fn of($w: $word) -> Self { $of }
            #[inline(always)]
            fn word(self) -> $word { let $v = self; $to }
        }
    )*};
}

// Registers narrower than a row are kept zero-extended.
value! {
    u8, u32, |w| w as u8, |v| v as u32;
    i8, u32, |w| w as i8, |v| v as u8 as u32;
    u16, u32, |w| w as u16, |v| v as u32;
    i16, u32, |w| w as i16, |v| v as u16 as u32;
    u32, u32, |w| w, |v| v;
    i32, u32, |w| w as i32, |v| v as u32;
    u64, u64, |w| w, |v| v;
    i64, u64, |w| w as i64, |v| v as u64;
    f32, u32, |w| f32::from_bits(w), |v| v.to_bits();
    f64, u64, |w| f64::from_bits(w), |v| v.to_bits();
}

#[inline(always)]
fn read<'l, T: Value>(lanes: &'l Lanes<'_>, reg: Reg) -> &'l [T::Word; LANES]
where
    T::Word: Word,
{
    <T::Word as Word>::read(lanes, reg)
}

#[inline(always)]
pub fn map1<A: Value, R: Value>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(A) -> R) {
    let a = read::<A>(lanes, inst.s[0]);
    let mut out = [R::Word::default(); LANES];
    for i in 0..LANES {
        out[i] = f(A::of(a[i])).word();
    }
    R::Word::write(lanes, inst.d[0], &out, mask);
}

#[inline(always)]
pub fn map2<A: Value, B: Value, R: Value>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(A, B) -> R) {
    let (a, b) = (read::<A>(lanes, inst.s[0]), read::<B>(lanes, inst.s[1]));
    let mut out = [R::Word::default(); LANES];
    for i in 0..LANES {
        out[i] = f(A::of(a[i]), B::of(b[i])).word();
    }
    R::Word::write(lanes, inst.d[0], &out, mask);
}

#[inline(always)]
pub fn map3<A: Value, B: Value, C: Value, R: Value>(
    lanes: &mut Lanes<'_>,
    inst: &Inst,
    mask: u32,
    f: impl Fn(A, B, C) -> R,
) {
    let (a, b, c) = (read::<A>(lanes, inst.s[0]), read::<B>(lanes, inst.s[1]), read::<C>(lanes, inst.s[2]));
    let mut out = [R::Word::default(); LANES];
    for i in 0..LANES {
        out[i] = f(A::of(a[i]), B::of(b[i]), C::of(c[i])).word();
    }
    R::Word::write(lanes, inst.d[0], &out, mask);
}

/// One bit a lane from a comparison of two registers.
#[inline(always)]
pub fn test2<A: Value>(lanes: &Lanes<'_>, inst: &Inst, f: impl Fn(A, A) -> bool) -> u32 {
    let (a, b) = (read::<A>(lanes, inst.s[0]), read::<A>(lanes, inst.s[1]));
    let mut bits = 0;
    for i in 0..LANES {
        bits |= if f(A::of(a[i]), A::of(b[i])) { 1 << i } else { 0 };
    }
    bits
}

/// Whether the wide versions may run on this machine.
pub fn wide_lanes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::LazyLock;
        static WIDE: LazyLock<bool> = LazyLock::new(|| {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
        });
        *WIDE
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Compiles a lane loop for wide vectors and for the baseline, and gives the one this machine can run.
macro_rules! lane_loop {
    (|$lanes:ident, $inst:ident, $mask:ident| -> $ret:ty $body:block) => {{
        #[inline(always)]
        fn loop_body($lanes: &mut $crate::exec::lanes::Lanes<'_>, $inst: &$crate::program::Inst, $mask: u32) -> $ret $body
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"))]
        fn loop_wide(lanes: &mut $crate::exec::lanes::Lanes<'_>, inst: &$crate::program::Inst, mask: u32) -> $ret {
            loop_body(lanes, inst, mask)
        }
        fn loop_baseline(lanes: &mut $crate::exec::lanes::Lanes<'_>, inst: &$crate::program::Inst, mask: u32) -> $ret {
            loop_body(lanes, inst, mask)
        }
        type Loop = unsafe fn(&mut $crate::exec::lanes::Lanes<'_>, &$crate::program::Inst, u32) -> $ret;
        if $crate::exec::lanes::wide_lanes() { loop_wide as Loop } else { loop_baseline as Loop }
    }};
    (|$lanes:ident, $inst:ident, $mask:ident| $body:block) => {
        $crate::exec::lanes::lane_loop!(|$lanes, $inst, $mask| -> () $body)
    };
}

/// Elementwise loops over concrete types: `each1!(f32 => f32, |a| -a)`.
macro_rules! each1 {
    ($a:ty => $r:ty, $f:expr) => {
        $crate::exec::lanes::lane_loop!(|lanes, inst, mask| {
            $crate::exec::lanes::map1::<$a, $r>(lanes, inst, mask, $f)
        })
    };
}
macro_rules! each2 {
    ($a:ty, $b:ty => $r:ty, $f:expr) => {
        $crate::exec::lanes::lane_loop!(|lanes, inst, mask| {
            $crate::exec::lanes::map2::<$a, $b, $r>(lanes, inst, mask, $f)
        })
    };
}
macro_rules! each3 {
    ($a:ty, $b:ty, $c:ty => $r:ty, $f:expr) => {
        $crate::exec::lanes::lane_loop!(|lanes, inst, mask| {
            $crate::exec::lanes::map3::<$a, $b, $c, $r>(lanes, inst, mask, $f)
        })
    };
}
pub(crate) use {each1, each2, each3, lane_loop};
