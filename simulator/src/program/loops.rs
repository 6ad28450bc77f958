//! Loops over the lanes of a register.
//!
//! Lane loops compute all 32 lanes and then keep those of the mask: a branch for each lane would cost more than the
//! work. Every loop is compiled three times, for AVX-512, for AVX2 + FMA + F16C and for the baseline; which one runs is
//! chosen once, when code is lowered, so that an instruction is one indirect call. (The crate `multiversion`, which
//! serves whole functions elsewhere, would choose at every call.)

use super::inst::Inst;
use super::lanes::{LANES, Lanes, Word};
use super::reg::Reg;

/// A value of an instruction's type, held in a register word.
pub trait Value: Copy {
    type Word: Word;
    fn from_word(word: Self::Word) -> Self;
    fn word(self) -> Self::Word;
}

macro_rules! value {
    ($($ty:ty, $word:ty, |$w:ident| $of:expr, |$v:ident| $to:expr;)*) => {$(
        impl Value for $ty {
            type Word = $word;
            #[inline(always)]
            fn from_word($w: $word) -> Self { $of }
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
        out[i] = f(A::from_word(a[i])).word();
    }
    R::Word::write(lanes, inst.d[0], &out, mask);
}

#[inline(always)]
pub fn map2<A: Value, B: Value, R: Value>(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32, f: impl Fn(A, B) -> R) {
    let (a, b) = (read::<A>(lanes, inst.s[0]), read::<B>(lanes, inst.s[1]));
    let mut out = [R::Word::default(); LANES];
    for i in 0..LANES {
        out[i] = f(A::from_word(a[i]), B::from_word(b[i])).word();
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
        out[i] = f(A::from_word(a[i]), B::from_word(b[i]), C::from_word(c[i])).word();
    }
    R::Word::write(lanes, inst.d[0], &out, mask);
}

/// One bit a lane from a comparison of two registers.
#[inline(always)]
pub fn test2<A: Value>(lanes: &Lanes<'_>, inst: &Inst, f: impl Fn(A, A) -> bool) -> u32 {
    let (a, b) = (read::<A>(lanes, inst.s[0]), read::<A>(lanes, inst.s[1]));
    let mut bits = 0;
    for i in 0..LANES {
        bits |= if f(A::from_word(a[i]), A::from_word(b[i])) { 1 << i } else { 0 };
    }
    bits
}

/// Vector instructions that lane loops are compiled for, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Avx512,
    Avx2,
    Baseline,
}

/// The best level this machine has.
pub fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::LazyLock;
        macro_rules! all_detected {
            ($($feature:tt)*) => { true $(&& is_x86_feature_detected!($feature))* };
        }
        static LEVEL: LazyLock<Level> = LazyLock::new(|| {
            let avx2 = all_detected!("avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "popcnt");
            let avx512 = all_detected!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
            match (avx2, avx512) {
                (true, true) => Level::Avx512,
                (true, false) => Level::Avx2,
                _ => Level::Baseline,
            }
        });
        *LEVEL
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Level::Baseline
    }
}

/// Compiles a lane loop for each [`Level`], and gives the one this machine can run.
macro_rules! lane_loop {
    (|$lanes:ident, $inst:ident, $mask:ident| -> $ret:ty $body:block) => {{
        use $crate::program::Inst;
        use $crate::program::lanes::Lanes;
        use $crate::program::loops::Level;
        type Loop = fn(&mut Lanes<'_>, &Inst, u32) -> $ret;
        #[inline(always)]
        fn body($lanes: &mut Lanes<'_>, $inst: &Inst, $mask: u32) -> $ret $body
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
        fn avx512() -> Loop {
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
            fn run(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> $ret { body(lanes, inst, mask) }
            run
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
        fn avx2() -> Loop {
            #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
            fn run(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) -> $ret { body(lanes, inst, mask) }
            run
        }
        match $crate::program::loops::level() {
            // SAFETY: the level says that this machine has the features.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512() },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2() },
            _ => body as Loop,
        }
    }};
    (|$lanes:ident, $inst:ident, $mask:ident| $body:block) => {
        $crate::program::loops::lane_loop!(|$lanes, $inst, $mask| -> () $body)
    };
}

/// Compiles functions for the same levels; which one runs is looked up at each call, at the cost of a load.
macro_rules! vectorized {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block)*) => {$(
        $(#[$doc])*
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
            "x86_64+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
        ))]
        $vis fn $name($($arg: $ty),*) -> $ret {
            // Closures of a function with features cannot be inlined into iterators, which have none; these have none.
            #[inline(always)]
            fn body($($arg: $ty),*) -> $ret $body
            body($($arg),*)
        }
    )*};
}

/// Elementwise loops over concrete types: `each1!(f32 => f32, |a| -a)`.
macro_rules! each1 {
    ($a:ty => $r:ty, $f:expr) => {
        $crate::program::loops::lane_loop!(|lanes, inst, mask| {
            $crate::program::loops::map1::<$a, $r>(lanes, inst, mask, $f)
        })
    };
}
macro_rules! each2 {
    ($a:ty, $b:ty => $r:ty, $f:expr) => {
        $crate::program::loops::lane_loop!(|lanes, inst, mask| {
            $crate::program::loops::map2::<$a, $b, $r>(lanes, inst, mask, $f)
        })
    };
}
macro_rules! each3 {
    ($a:ty, $b:ty, $c:ty => $r:ty, $f:expr) => {
        $crate::program::loops::lane_loop!(|lanes, inst, mask| {
            $crate::program::loops::map3::<$a, $b, $c, $r>(lanes, inst, mask, $f)
        })
    };
}
pub(crate) use {each1, each2, each3, lane_loop, vectorized};
