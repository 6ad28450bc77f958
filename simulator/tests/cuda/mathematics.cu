// The functions of the CUDA math library that a network uses, and more: out[i * 40 + k], in the order of the test's
// table.
extern "C" __global__ void singles(float* out, const float* a, const float* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], p = fabsf(x);
    float s, c;
    sincosf(x, &s, &c);
    int exponent;
    float* o = out + i * 40;
    *o++ = expf(x);
    *o++ = exp2f(x);
    *o++ = expm1f(x);
    *o++ = logf(p);
    *o++ = log2f(p);
    *o++ = log10f(p);
    *o++ = log1pf(p);
    *o++ = s;
    *o++ = c;
    *o++ = tanf(x);
    *o++ = sinhf(x);
    *o++ = coshf(x);
    *o++ = tanhf(x);
    *o++ = asinf(x / 16);
    *o++ = acosf(x / 16);
    *o++ = atan2f(x, y);
    *o++ = erff(x);
    *o++ = erfcf(x);
    *o++ = sqrtf(p);
    *o++ = rsqrtf(p);
    *o++ = cbrtf(x);
    *o++ = powf(p, y);
    *o++ = hypotf(x, y);
    *o++ = fmodf(x, y);
    *o++ = remainderf(x, y);
    *o++ = floorf(x);
    *o++ = ceilf(x);
    *o++ = truncf(x);
    *o++ = rintf(x);
    *o++ = roundf(x);
    *o++ = copysignf(x, y);
    *o++ = fmaf(x, y, x);
    *o++ = fdimf(x, y);
    *o++ = ldexpf(x, 5);
    *o++ = frexpf(x, &exponent);
    *o++ = exponent;
    *o++ = x / y;
    *o++ = 1 / x;
    *o++ = lgammaf(p);
    *o++ = tgammaf(p / 2);
}

extern "C" __global__ void doubles(double* out, const double* a, const double* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], y = b[i], p = fabs(x);
    double* o = out + i * 20;
    *o++ = exp(x);
    *o++ = log(p);
    *o++ = sin(x);
    *o++ = cos(x);
    *o++ = tanh(x);
    *o++ = erf(x);
    *o++ = pow(p, y);
    *o++ = sqrt(p);
    *o++ = rsqrt(p);
    *o++ = cbrt(x);
    *o++ = x / y;
    *o++ = fma(x, y, x);
    *o++ = floor(x);
    *o++ = rint(x);
    *o++ = (double)(long long)(x * 1e6);
    *o++ = (float)x;
    *o++ = fmod(x, y);
    *o++ = atan2(x, y);
    *o++ = fmin(x, y);
    *o++ = lgamma(p);
}

// Fast intrinsics with errors of their own: the test's bounds are those of the programming guide.
extern "C" __global__ void intrinsics(float* out, const float* a, const float* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], p = fabsf(x);
    float* o = out + i * 10;
    *o++ = __expf(x);
    *o++ = __logf(p);
    *o++ = __sinf(x / 4);
    *o++ = __cosf(x / 4);
    *o++ = __powf(p, y / 4);
    *o++ = __fdividef(x, y);
    *o++ = __frcp_rn(x);
    *o++ = __fsqrt_rn(p);
    *o++ = __fdiv_rn(x, y);
    *o++ = __saturatef(x);
}
