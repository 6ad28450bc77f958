//! Sums as tensor cores of A100 and H100 take them, as far as it is published (Fasi, Higham, Mikaitis and Pranesh,
//! *Numerical behavior of NVIDIA tensor cores*, PeerJ CS 2021): `CUDASIM_TENSOR_SUMS=truncate`.
//!
//! All products of an instruction and the accumulator are aligned to the largest exponent among them, and what lies
//! below two bits beyond f32's last is cut off; their sum is exact, and what does not fit f32 is cut off again.

use super::numeric::{Rounding, round_f32};

/// Bits behind the binary point of the largest term: those of f32's fraction and two more.
const FRACTION: i32 = 23 + 2;

/// The exponent of a finite number, as hardware sees it: subnormals have that of the least normal one.
fn exponent(x: f32) -> i32 {
    ((x.to_bits() >> 23 & 0xff) as i32).max(1) - 127
}

/// `c` plus the products of all pairs.
pub fn sum(pairs: impl Iterator<Item = (f32, f32)> + Clone, c: f32) -> f32 {
    let finite = c.is_finite() && pairs.clone().all(|(a, b)| a.is_finite() && b.is_finite());
    if !finite {
        // Infinities and NaNs come out as in any order of sums.
        return pairs.fold(c, |sum, (a, b)| a.mul_add(b, sum));
    }
    let products = pairs.clone().filter(|&(a, b)| a != 0.0 && b != 0.0).map(|(a, b)| exponent(a) + exponent(b));
    let own = (c != 0.0).then(|| exponent(c));
    let Some(largest) = products.chain(own).max() else {
        // Nothing but zeros: the signs decide.
        return pairs.fold(c, |sum, (a, b)| a.mul_add(b, sum));
    };
    let cut = |x: f64| (x * 2f64.powi(FRACTION - largest)).trunc();
    let total = pairs.fold(cut(c.into()), |sum, (a, b)| sum + cut(f64::from(a) * f64::from(b)));
    round_f32(total * 2f64.powi(largest - FRACTION), Rounding::Zero)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn what_lies_far_below_the_largest_is_cut_off() {
        let sum = |pairs: &[(f32, f32)], c: f32| sum(pairs.iter().copied(), c);
        assert_eq!(sum(&[(1.5, 2.0), (-0.5, 4.0)], 0.25), 1.25);
        // Two bits beyond the last are kept: four quarters of it make one.
        let quarter = 2f32.powi(-25);
        assert_eq!(sum(&[(quarter, 1.0); 4], 1.0), 1.0 + f32::EPSILON);
        // Below them nothing is, though there is enough of it for two units of the last place.
        assert_eq!(sum(&[(quarter / 2.0, 1.0); 16], 1.0), 1.0);
        // The result is cut, not rounded, on both sides of zero.
        assert_eq!(sum(&[(3.0 * quarter, 1.0)], 1.0), 1.0);
        assert_eq!(sum(&[(-3.0 * quarter, 1.0)], -1.0), -1.0);
        // What is largest may cancel: the small terms were cut to its quantum all the same.
        assert_eq!(sum(&[(1.0, 1.0), (-1.0, 1.0), (quarter / 2.0, 1.0)], 0.0), 0.0);
        assert_eq!(sum(&[(f32::INFINITY, 1.0)], 1.0), f32::INFINITY);
        assert!(sum(&[(f32::INFINITY, 0.0)], 1.0).is_nan());
        assert_eq!(sum(&[(-0.0, 1.0)], -0.0).to_bits(), (-0.0f32).to_bits());
    }
}
