//! Rounding, done exactly: the four modes of the ISA for every format, from an f64 that is exact or rounded to odd.
//!
//! Rounding to odd keeps a result that does not fit f64 distinguishable from its neighbours, so that a second rounding
//! to f32, f16 or bf16 gives what one rounding of the exact result would (Boldo and Melquiond, 2008). For f64 itself
//! the sign of what rounding to nearest dropped decides, found exactly by [`super::accumulator`].

use super::accumulator::sign_of_sum;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    Even,
    Zero,
    Down,
    Up,
}

pub const ROUNDINGS: [(&str, Rounding); 4] =
    [("rn", Rounding::Even), ("rz", Rounding::Zero), ("rm", Rounding::Down), ("rp", Rounding::Up)];
pub const INTEGER_ROUNDINGS: [(&str, Rounding); 4] =
    [("rni", Rounding::Even), ("rzi", Rounding::Zero), ("rmi", Rounding::Down), ("rpi", Rounding::Up)];

/// A binary format: significand bits with the hidden one, smallest normal exponent, largest finite value.
#[derive(Clone, Copy)]
pub struct Format {
    precision: i32,
    min_exponent: i32,
    max: f64,
}

pub const F16: Format = Format { precision: 11, min_exponent: -14, max: 65504.0 };
pub const BF16: Format = Format { precision: 8, min_exponent: -126, max: 3.3895313892515355e38 };
pub const TF32: Format = Format { precision: 11, min_exponent: -126, max: 3.4011621342146535e38 };
pub const F32: Format = Format { precision: 24, min_exponent: -126, max: f32::MAX as f64 };
pub const E4M3: Format = Format { precision: 4, min_exponent: -6, max: 448.0 };
pub const E5M2: Format = Format { precision: 3, min_exponent: -14, max: 57344.0 };

pub fn round_integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Even => x.round_ties_even(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Rounds to a format; the result is a value of that format held in an f64.
pub fn round_to(x: f64, format: Format, rounding: Rounding) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(format.min_exponent);
    let quantum = exponent - format.precision + 1;
    let rounded = round_integral(x * power_of_two(-quantum), rounding) * power_of_two(quantum);
    let result = if rounded.abs() <= format.max {
        rounded
    } else {
        let to_infinity = match rounding {
            Rounding::Even => true,
            Rounding::Zero => false,
            Rounding::Down => x < 0.0,
            Rounding::Up => x > 0.0,
        };
        if to_infinity { f64::INFINITY } else { format.max }
    };
    result.copysign(x)
}

/// The value next to `rounded` towards `error`'s sign, if `rounded` is not exact and its last bit is even. Without
/// branches, as this is part of lane loops; a zero is never inexact.
#[inline(always)]
fn to_odd(rounded: f64, error: f64) -> f64 {
    let bits = rounded.to_bits();
    let inexact = error != 0.0 && rounded.is_finite() && bits & 1 == 0;
    let away_from_zero = (error > 0.0) == (rounded > 0.0);
    let step = if away_from_zero { 1 } else { u64::MAX };
    f64::from_bits(bits.wrapping_add(if inexact { step } else { 0 }))
}

#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// An f64 that is exact or rounded to odd to f32: the nearest, or its neighbour where the mode wants that. As
/// [`round_to`], but fit for lane loops.
#[inline(always)]
pub fn round_f32(x: f64, rounding: Rounding) -> f32 {
    let nearest = x as f32;
    let (back, bits) = (f64::from(nearest), nearest.to_bits());
    let down = back > x && (rounding == Rounding::Down || rounding == Rounding::Zero && x > 0.0);
    let up = back < x && (rounding == Rounding::Up || rounding == Rounding::Zero && x < 0.0);
    let negative = bits >> 31 == 1;
    let step = if down == negative { 1 } else { u32::MAX };
    let moved = match (bits & 0x7fff_ffff, down) {
        (0, true) => 0x8000_0001,
        (0, false) => 1,
        _ => bits.wrapping_add(step),
    };
    f32::from_bits(if down || up { moved } else { bits })
}

/// `a + b` rounded to odd; exact signs of zero and infinities as addition has them.
#[inline(always)]
pub fn add_odd(a: f64, b: f64) -> f64 {
    let (sum, error) = two_sum(a, b);
    to_odd(sum, error)
}

/// `a·b + c` rounded to odd, for operands of at most 24 bits: their product is exact in f64.
#[inline(always)]
pub fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    add_odd(a * b, c)
}

#[inline(always)]
pub fn div_odd(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if !quotient.is_finite() || quotient == 0.0 {
        return quotient;
    }
    let error = (-quotient).mul_add(b, a);
    to_odd(quotient, if b < 0.0 { -error } else { error })
}

#[inline(always)]
pub fn sqrt_odd(a: f64) -> f64 {
    let root = a.sqrt();
    if !root.is_finite() || root == 0.0 {
        return root;
    }
    to_odd(root, (-root).mul_add(root, a))
}

/// A sum that is exactly zero has the sign of its mode: −0 only when rounding down.
#[inline(always)]
pub fn zero_sign(sum: f64, a: f64, b: f64, rounding: Rounding) -> f64 {
    let cancels = sum == 0.0 && !(a == 0.0 && b == 0.0 && a.is_sign_negative() == b.is_sign_negative());
    if cancels && rounding == Rounding::Down { -0.0 } else { sum }
}

/// Moves an f64 rounded to nearest to where another mode puts it, given the sign of what rounding dropped.
fn directed(nearest: f64, error: f64, rounding: Rounding) -> f64 {
    let up = error > 0.0;
    match rounding {
        _ if error == 0.0 || nearest.is_nan() => nearest,
        Rounding::Even => nearest,
        Rounding::Up if up => nearest.next_up(),
        Rounding::Down if !up => nearest.next_down(),
        Rounding::Zero if nearest > 0.0 && !up => nearest.next_down(),
        Rounding::Zero if nearest < 0.0 && up => nearest.next_up(),
        _ => nearest,
    }
}

/// An overflow to infinity that the mode keeps finite.
fn finite(result: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Zero => f64::MAX.copysign(result),
        Rounding::Down if result > 0.0 => f64::MAX,
        Rounding::Up if result < 0.0 => f64::MIN,
        _ => result,
    }
}

/// `a·b + c` in f64 with one rounding of any mode.
pub fn fma64(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    let nearest = a.mul_add(b, c);
    if rounding == Rounding::Even || nearest.is_nan() || !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return nearest;
    }
    if nearest.is_infinite() {
        return finite(nearest, rounding);
    }
    let error = sign_of_sum(&[(a, b), (c, 1.0), (-nearest, 1.0)]);
    if nearest == 0.0 && error == 0.0 {
        return zero_sign(nearest, a * b, c, rounding);
    }
    directed(nearest, error, rounding)
}

pub fn div64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let nearest = a / b;
    if rounding == Rounding::Even || nearest.is_nan() || !a.is_finite() || !b.is_finite() || b == 0.0 {
        return nearest;
    }
    if nearest.is_infinite() {
        return finite(nearest, rounding);
    }
    let error = sign_of_sum(&[(a, 1.0), (-nearest, b)]);
    directed(nearest, if b < 0.0 { -error } else { error }, rounding)
}

pub fn sqrt64(a: f64, rounding: Rounding) -> f64 {
    let nearest = a.sqrt();
    if rounding == Rounding::Even || nearest.is_nan() || nearest == 0.0 || nearest.is_infinite() {
        return nearest;
    }
    directed(nearest, sign_of_sum(&[(a, 1.0), (-nearest, nearest)]), rounding)
}

/// Subnormals to zero of the same sign.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// The ISA's one NaN for f32 results. Asked and chosen among integers: a compiler may give any NaN for a float that is
/// one.
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

/// `.sat`: to [0, 1], NaN to +0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{F32, Rounding, fma_odd, round_f32, round_to};

    #[test]
    fn lane_loops_round_as_the_plain_function() {
        let edges =
            [0.0, -0.0, 1.0, 1e-46, -1e-46, 1.4e-45, 1e-40, 3.5e38, -3.5e38, 1e300, f64::INFINITY, -f64::INFINITY];
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            f32::from_bits((state >> 32) as u32)
        };
        let sums = (0..200_000).map(|_| fma_odd(next().into(), next().into(), next().into()));
        for x in edges.into_iter().chain(sums) {
            for mode in [Rounding::Even, Rounding::Zero, Rounding::Down, Rounding::Up] {
                let (got, want) = (round_f32(x, mode), round_to(x, F32, mode) as f32);
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{x:e} {mode:?}: {got:e} {want:e}"
                );
            }
        }
    }
}
