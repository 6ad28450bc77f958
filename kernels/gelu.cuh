// GELU and its slope, in float32.
//
//   erf:   Φ(u) · u                                  Φ the standard normal distribution function
//   tanh:  ½ (1 + tanh z) · u = u / (1 + e^(−2z))    z = √(2/π) · (u + 0.044715 u³)
#pragma once

#include "numbers.cuh"

struct Gelu {
    float value, slope;
};

// Φ(u) and e^(−u²/2). erfc(a) = e^(−a²) · t · P(t − 0.65), t = 1 / (1 + 0.29 a), a = |u| / √2; P of degree 8 was fitted
// to a relative error of 7e-9 on 0 ≤ a ≤ 6.5 (the CPU device has the same). The slope needs the same exponential.
__device__ __forceinline__ float2 normal_cdf(float u) {
    const float a = fabsf(u) * 0.70710678f, t = __fdividef(1.0f, fmaf(a, 0.29f, 1.0f)), s = t - 0.65f;
    float p = -0.1853224f;
    p = fmaf(p, s, -0.13543089f);
    p = fmaf(p, s, 0.3929348f);
    p = fmaf(p, s, 1.1663432f);
    p = fmaf(p, s, 1.728566f);
    p = fmaf(p, s, 1.7847321f);
    p = fmaf(p, s, 1.4001788f);
    p = fmaf(p, s, 0.8613018f);
    p = fmaf(p, s, 0.4178435f);
    const float gauss = expf(-0.5f * u * u), half_erfc = 0.5f * gauss * t * p;
    return make_float2(u < 0.0f ? half_erfc : 1.0f - half_erfc, gauss);
}

enum class GeluForm { ERF, TANH };

template <GeluForm FORM>
__device__ __forceinline__ Gelu gelu(float u) {
    constexpr float SQRT_2_OVER_PI = 0.79788456f, CUBIC = 0.044715f, DENSITY = 0.39894228f; // the last: 1 / √(2π)
    if constexpr (FORM == GeluForm::ERF) {
        const float2 cdf = normal_cdf(u);
        return {u * cdf.x, fmaf(u * DENSITY, cdf.y, cdf.x)};
    }
    // Beyond 10 the value is u or 0 and the slope 1 or 0, to float32; clamped, no product of an infinity and a 0 comes
    // up.
    constexpr float SATURATED = 10.0f;
    const float v = fminf(fmaxf(u, -SATURATED), SATURATED), square = CUBIC * v * v;
    const float e = expf(2.0f * SQRT_2_OVER_PI * v * (square + 1.0f));
    const float rest = __fdividef(1.0f, 1.0f + e), share = e * rest;
    const float slope = share + 2.0f * v * rest * share * SQRT_2_OVER_PI * (3.0f * square + 1.0f);
    return {fabsf(u) > SATURATED ? fmaxf(u, 0.0f) : u * share, slope};
}
