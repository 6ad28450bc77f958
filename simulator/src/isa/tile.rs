//! The tiles of matrix instructions: registers to matrices, and the product.
//!
//! With g = lane / 4 and t = lane mod 4, register c of A's pair holds row g (the pair's second register row g + 8) and
//! the columns `W·c + (W/4)·t ..`, where W is 8 columns of 16 bits, 16 of 8 or 4 of tf32. So a register row is eight
//! matrix rows of W columns, in order; B's registers hold Bᵀ the same way. Products are exact in f32, sums are f32 in
//! order of k.

use bytemuck::Pod;

use super::numeric::canonical;
use crate::program::lanes::LANES;
use crate::program::loops::{Level, level};

pub const M: usize = 16;
pub const N: usize = 8;

type Words = [u32; LANES];

/// How registers hold matrix elements.
pub trait Element {
    /// Columns in a register row of eight matrix rows.
    const W: usize;
    /// An element as it is stored, several to a register.
    type Raw: Pod;
    type Value: Copy + Default;
    fn value(raw: Self::Raw) -> Self::Value;
}

macro_rules! element {
    ($name:ident, $w:literal, $raw:ty => $value:ty, |$x:ident| $e:expr) => {
        pub struct $name;
        impl Element for $name {
            const W: usize = $w;
            type Raw = $raw;
            type Value = $value;
            #[inline(always)]
            fn value($x: $raw) -> $value {
                $e
            }
        }
    };
}

element!(Bf16, 8, u16 => f32, |x| f32::from_bits(u32::from(x) << 16));
element!(F16, 8, u16 => f32, |x| widen_f16(x));
element!(Tf32, 4, u32 => f32, |x| f32::from_bits(x & 0xffff_e000));
element!(S8, 16, i8 => i32, |x| x.into());
element!(U8, 16, u8 => i32, |x| x.into());
element!(E4m3, 16, u8 => f32, |x| widen_e4m3(x));
element!(E5m2, 16, u8 => f32, |x| widen_f16(u16::from(x) << 8));

/// f16 to f32 in steps that vectorise: the exponent is moved by a multiplication, which subnormals survive, and
/// infinities and NaNs get theirs afterwards.
#[inline(always)]
pub fn widen_f16(x: u16) -> f32 {
    let (magnitude, sign) = (u32::from(x & 0x7fff) << 13, u32::from(x & 0x8000) << 16);
    let moved = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = if magnitude >= 0x7c00 << 13 { 0xff << 23 } else { 0 };
    f32::from_bits(moved | special | sign)
}

/// e4m3 to f32: as the upper part of an f16 its exponent has a bias that is too large by eight. It has no infinities.
#[inline(always)]
fn widen_e4m3(x: u8) -> f32 {
    const BIAS: f32 = 256.0;
    let (magnitude, sign) = (u16::from(x & 0x7f) << 7, u32::from(x & 0x80) << 24);
    let wide = if x & 0x7f == 0x7f { f32::NAN } else { widen_f16(magnitude) * BIAS };
    f32::from_bits(wide.to_bits() | sign)
}

/// Eight rows of a register into `out[row][column..]`.
#[inline(always)]
pub fn unpack_rows<E: Element, const K: usize>(words: &Words, out: &mut [[E::Value; K]], column: usize) {
    let raw: &[E::Raw] = bytemuck::cast_slice(words);
    for g in 0..8 {
        for j in 0..E::W {
            out[g][column + j] = E::value(raw[g * E::W + j]);
        }
    }
}

/// Columns of B, C and D as this file keeps them: even ones, then odd ones. An accumulator register holds every other
/// column of a row, so that eight sums of a row are two stretches of four, and nothing is shuffled.
const ORDER: [usize; N] = [0, 2, 4, 6, 1, 3, 5, 7];

/// B from the Bᵀ that a register holds, rows and columns exchanged, columns in [`ORDER`].
#[inline(always)]
pub fn unpack_columns<E: Element, const K: usize>(words: &Words, out: &mut [[E::Value; N]; K], row: usize) {
    let parts = E::W / 4;
    let columns = columns(words);
    for t in 0..4 {
        let raw: &[E::Raw] = bytemuck::cast_slice(&columns[t]);
        for part in 0..parts {
            for n in 0..N {
                out[row + t * parts + part][n] = E::value(raw[n * parts + part]);
            }
        }
    }
}

/// Word t of each of eight rows of four.
#[inline(always)]
fn columns(words: &Words) -> [[u32; N]; 4] {
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: the level says that this machine has AVX2.
        return unsafe { avx2::columns(words) };
    }
    std::array::from_fn(|t| ORDER.map(|n| words[n * 4 + t]))
}

/// `C + A·B` with f32 accumulators in four registers: columns 2t of the upper rows, 2t + 1, and the same of the lower
/// rows.
#[inline(always)]
pub fn multiply_add<const K: usize>(a: &[[f32; K]; M], b: &[[f32; N]; K], c: [&Words; 4], out: &mut [Words; 4]) {
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: the level says that this machine has AVX2 and FMA.
        return unsafe { avx2::multiply_add(a, b, c, out) };
    }
    for row in 0..M {
        let (pair, at) = (row / 8 * 2, row % 8 * 4);
        let mut sums: [f32; N] = std::array::from_fn(|n| f32::from_bits(c[pair + n / 4][at + n % 4]));
        accumulate(&a[row], b, &mut sums);
        for n in 0..N {
            out[pair + n / 4][at + n % 4] = canonical(sums[n]).to_bits();
        }
    }
}

/// One row of a product added to its sums.
#[inline(always)]
pub fn accumulate<const K: usize>(a: &[f32; K], b: &[[f32; N]; K], sums: &mut [f32; N]) {
    for k in 0..K {
        for n in 0..N {
            sums[n] = a[k].mul_add(b[k][n], sums[n]);
        }
    }
}

/// The same with vector instructions where compilers shuffle instead: eight sums of a row are one vector, and eight
/// rows at a time hide the latency of a fused multiply-add.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, M, N, Words};

    /// Rows 2i and 2i + 1 are the halves of a vector, so a transposition within halves gives columns in order.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn columns(words: &Words) -> [[u32; N]; 4] {
        let rows: [__m256; 4] = bytemuck::cast(*words);
        let (a, b) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpacklo_ps(rows[2], rows[3]));
        let (c, d) = (_mm256_unpackhi_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[2], rows[3]));
        bytemuck::cast([
            _mm256_shuffle_ps::<0x44>(a, b),
            _mm256_shuffle_ps::<0xee>(a, b),
            _mm256_shuffle_ps::<0x44>(c, d),
            _mm256_shuffle_ps::<0xee>(c, d),
        ])
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub fn multiply_add<const K: usize>(a: &[[f32; K]; M], b: &[[f32; N]; K], c: [&Words; 4], out: &mut [Words; 4]) {
        let out: &mut [[[u32; 4]; LANES / 4]; 4] = bytemuck::cast_mut(out);
        let c: [&[__m128; LANES / 4]; 4] = c.map(bytemuck::cast_ref);
        for half in 0..2 {
            let mut sums: [__m256; 8] = [_mm256_setzero_ps(); 8];
            for g in 0..8 {
                sums[g] = _mm256_set_m128(c[2 * half + 1][g], c[2 * half][g]);
            }
            for k in 0..K {
                let b: __m256 = bytemuck::cast(b[k]);
                for g in 0..8 {
                    sums[g] = _mm256_fmadd_ps(_mm256_set1_ps(a[8 * half + g][k]), b, sums[g]);
                }
            }
            for g in 0..8 {
                let [even, odd]: [[u32; 4]; 2] = bytemuck::cast(canonical(sums[g]));
                (out[2 * half][g], out[2 * half + 1][g]) = (even, odd);
            }
        }
    }

    /// NaNs to the ISA's one.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn canonical(x: __m256) -> __m256i {
        let (bits, magnitude) = (_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff_ffff));
        let nan = _mm256_cmpgt_epi32(_mm256_and_si256(bits, magnitude), _mm256_set1_epi32(0x7f80_0000));
        _mm256_blendv_epi8(bits, magnitude, nan)
    }
}

#[cfg(test)]
mod tests {
    use super::{E4m3, E5m2, Element, widen_f16};
    use crate::isa::scalar_convert::from_fp8;

    #[test]
    fn every_eight_bit_float_is_widened_exactly() {
        for bits in 0..=u8::MAX {
            for (got, e4m3) in [(E4m3::value(bits), true), (E5m2::value(bits), false)] {
                let want = from_fp8(bits, e4m3) as f32;
                assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:x}: {got} {want}");
            }
        }
    }

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (got, want) = (widen_f16(bits), half::f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:x}: {got} {want}");
        }
    }
}
