//! `CUDASIM_APPROX=2ulp`: results of `ex2`, `lg2` and `rcp.approx` moved by up to two units in the last place, as
//! hardware's may be. How far is a function of the result's bits, so that a run can be repeated.
//!
//! Powers of two, zeros, infinities, NaNs and subnormals stay: hardware gives them exactly.

use crate::lower::decode::Decode;
use crate::program::loops::each1;
use crate::program::{Class, Reg};

#[inline(always)]
fn nudged(bits: u32) -> u32 {
    let (exponent, fraction) = (bits >> 23 & 0xff, bits & 0x7f_ffff);
    // Fractions at the ends of a binade could leave it.
    let inner = fraction > 2 && fraction < 0x7f_fffd && exponent != 0 && exponent != 0xff;
    let step = (bits.wrapping_mul(0x9e37_79b9) >> 16) % 5;
    if inner { bits.wrapping_add(step).wrapping_sub(2) } else { bits }
}

/// Moves an f32 result, if the mode is on.
pub fn nudge(decode: &mut Decode<'_, '_, '_>, d: Reg) {
    if decode.function.builder.numerics.inexact_functions {
        decode.emit_alu(each1!(u32 => u32, nudged), Class::None, d, &[d]);
    }
}

#[cfg(test)]
mod tests {
    use super::nudged;

    #[test]
    fn results_move_by_two_units_at_most() {
        let mut seen = std::collections::BTreeSet::new();
        for k in 0..100_000u32 {
            let bits = 1.1f32.to_bits() + 37 * k;
            seen.insert(nudged(bits).wrapping_sub(bits) as i32);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        for exact in [0.0, -0.0, 1.0, 0.5, 2f32.powi(-100), f32::INFINITY, 1e-42] {
            assert_eq!(nudged(exact.to_bits()), exact.to_bits());
        }
    }
}
