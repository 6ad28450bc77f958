//! GELU, by the error function or by the hyperbolic tangent, and its slope.
//!
//! Functions to be inlined into multiversioned ones.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::math::{exp, normal_cdf};
use crate::model::Activation;

/// `x = GELU(x)`.
#[inline(always)]
pub(crate) fn gelu(x: &mut [f32], activation: Activation) {
    match activation {
        Activation::GeluErf => {
            for v in x {
                *v *= normal_cdf(*v).0;
            }
        }
        Activation::GeluTanh => {
            for v in x {
                *v *= tanh_shares(unsaturated(*v)).0;
            }
        }
    }
}

/// √(2/π).
const SQRT_2_OVER_PI: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBIC: f32 = 0.044_715;

/// ½ (1 + tanh z) and 1 minus it, z = √(2/π) · (u + 0.044715 u³). A product keeps the digits of a small share, on which
/// the slope at a large −u hangs; 1 − rest would not.
#[inline(always)]
fn tanh_shares(u: f32) -> (f32, f32) {
    let e = exp(2.0 * SQRT_2_OVER_PI * u * (CUBIC * u * u + 1.0));
    let rest = 1.0 / (1.0 + e);
    (e * rest, rest)
}

/// Beyond these the share is 1 or 0 to float32, and so is the slope: u³ would soon outgrow what is left of e^(−2z), and
/// then float32.
#[inline(always)]
fn unsaturated(u: f32) -> f32 {
    const LEAST: f32 = -10.5;
    const MOST: f32 = 9.0;
    let u = if u > MOST { MOST } else { u };
    if u < LEAST { LEAST } else { u }
}

/// `d = d · GELU'(u)`, and where it is wanted `h = GELU(u)`.
#[inline(always)]
pub(crate) fn gelu_backward(d: &mut [f32], h: Option<&mut [f32]>, u: &[f32], activation: Activation) {
    match activation {
        Activation::GeluErf => gelu_backward_by(d, h, u, erf_form),
        Activation::GeluTanh => gelu_backward_by(d, h, u, tanh_form),
    }
}

#[inline(always)]
fn gelu_backward_by(d: &mut [f32], h: Option<&mut [f32]>, u: &[f32], form: impl Fn(f32) -> (f32, f32)) {
    match h {
        None => {
            for (d, &u) in d.iter_mut().zip(u) {
                *d *= form(u).1;
            }
        }
        Some(h) => {
            for ((d, h), &u) in d.iter_mut().zip(h).zip(u) {
                let (value, slope) = form(u);
                *h = value;
                *d *= slope;
            }
        }
    }
}

/// GELU(u) by the error function, and its slope.
#[inline(always)]
fn erf_form(u: f32) -> (f32, f32) {
    /// 1 / √(2π).
    const DENSITY: f32 = 0.5 * SQRT_2_OVER_PI;
    let (cdf, gauss) = normal_cdf(u);
    (u * cdf, (u * DENSITY).mul_add(gauss, cdf))
}

/// GELU(u) by the hyperbolic tangent, and its slope.
#[inline(always)]
fn tanh_form(u: f32) -> (f32, f32) {
    let v = unsaturated(u);
    let (share, rest) = tanh_shares(v);
    (u * share, share + 2.0 * v * rest * share * SQRT_2_OVER_PI * (3.0 * CUBIC * v * v + 1.0))
}
