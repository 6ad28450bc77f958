//! Elementwise arithmetic that the compiler turns into vector code.
//!
//! Plain branch-free Rust in `#[inline(always)]` functions, called from functions that the `multiversion` crate
//! compiles once for each instruction set (AVX2 with FMA, AVX-512, the baseline) and picks at run time. What such a
//! function calls must be inlined into it, or it is compiled for the baseline; that is why loops there are written out
//! rather than handed to closures. Sums keep `LANES` partial sums and fold them in a fixed order.

use multiversion::{multiversion, target::target_cfg_f};

/// Partial sums of a vectorised reduction.
pub(crate) const LANES: usize = 16;

/// The vector instructions that the multiversioned functions use on this machine.
#[multiversion(targets = "simd")]
pub fn instruction_set() -> &'static str {
    match (target_cfg_f!(target_feature = "avx512f"), target_cfg_f!(target_feature = "avx2")) {
        (true, _) => "AVX-512",
        (false, true) => "AVX2",
        (false, false) => "baseline instructions",
    }
}

/// `x += y`.
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Σ f(x), `LANES` sums side by side, folded as a tree.
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f(v);
    }
    fold(lanes)
}

/// Σ f(x, y).
#[inline(always)]
pub(crate) fn sum_by2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (mut xs, mut ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (a, b) in (&mut xs).zip(&mut ys) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for (i, (&a, &b)) in xs.remainder().iter().zip(ys.remainder()).enumerate() {
        lanes[i] += f(a, b);
    }
    fold(lanes)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Largest element, −∞ for none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = if v > *lane { v } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// eˣ, error below 1 unit in the last place of the result or so; 0 below −87.3, a finite large number above 88.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2 (ln 2 in two parts), eʳ by its Taylor polynomial of degree 6, times 2ⁿ put into
/// the exponent bits. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.33 { -87.33 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < -87.33 { 0.0 } else { p * power }
}

/// Standard normal distribution function Φ(x), and e^(−x²/2) that comes with it.
///
/// erfc(a) = e^(−a²) · t · P(t − 0.65), t = 1 / (1 + 0.29 a), a = |x| / √2; P of degree 8, fitted to a relative error
/// of 7·10⁻⁹ on 0 ≤ a ≤ 6.5, far below float32. In powers of t itself its terms would cancel, and rounding would cost
/// three bits.
#[inline(always)]
pub(crate) fn normal_cdf(x: f32) -> (f32, f32) {
    const P: [f32; 9] = [
        -0.185_322_4,
        -0.135_430_89,
        0.392_934_8,
        1.166_343_2,
        1.728_566,
        1.784_732_1,
        1.400_178_8,
        0.861_301_8,
        0.417_843_5,
    ];
    const CENTRE: f32 = 0.65;
    let a = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / a.mul_add(0.29, 1.0);
    let mut p = P[0];
    for &c in &P[1..] {
        p = p.mul_add(t - CENTRE, c);
    }
    let gauss = exp(-0.5 * x * x);
    let half_erfc = 0.5 * gauss * t * p;
    (if x < 0.0 { half_erfc } else { 1.0 - half_erfc }, gauss)
}

/// tanh x, absolute error below 2·10⁻⁷.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-20_000..=20_000).map(|i| i as f32 * 0.001)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in grid().chain((-87_000..88_000).map(|i| i as f32 * 0.001)) {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "{x}: {error:e}");
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan() && exp(1e9).is_finite());
    }

    /// Φ by numerical integration of its density in f64 (Simpson), independent of any erf formula.
    #[test]
    fn normal_cdf_agrees_with_the_integral_of_the_density() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (h, mut integral, mut x) = (1e-3, 0.0f64, -12.0f64);
        while x < 9.0 {
            integral += h / 6.0 * (density(x) + 4.0 * density(x + h / 2.0) + density(x + h));
            x += h;
            let (cdf, gauss) = normal_cdf(x as f32);
            // In units of 2⁻²⁴, relative to a value of ½ at most: 4 of exp (the test above), 2 each of t, of P and of
            // the products.
            assert!((f64::from(cdf) - integral).abs() < 10.0 * 0.5 * 0.5f64.powi(24), "{x}: {cdf} {integral}");
            assert!((f64::from(gauss) - (-0.5 * x * x).exp()).abs() < 2e-7, "{x}");
            if x < 0.0 && x > -5.0 {
                assert!((f64::from(cdf) / integral - 1.0).abs() < 3e-6, "{x}: {cdf:e} {integral:e}");
            }
        }
    }

    #[test]
    fn tanh_agrees_with_the_library() {
        for x in grid() {
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "{x}");
        }
        assert_eq!((tanh(1e9), tanh(-1e9)), (1.0, -1.0));
    }

    #[test]
    fn sums_take_every_element_at_any_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let exact = (n as usize * (n as usize).saturating_sub(1) / 2) as f32;
            assert_eq!(sum_by(&x, |v| v), exact);
            assert_eq!(sum_by2(&x, &x, |a, b| a - b + a), exact);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { (n - 1) as f32 });
        }
    }
}
