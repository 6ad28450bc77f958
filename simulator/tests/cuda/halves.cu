// bf16 and f16 arithmetic, single and in pairs; `out[i * 24 + k]` holds the bits of the k-th result.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned short Bits;

__device__ Bits bits(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }
__device__ Bits bits(__half x) { return __half_as_ushort(x); }

template <typename H, typename H2>
__device__ void store_pair(Bits*& o, H2 v) {
    *o++ = bits(v.x);
    *o++ = bits(v.y);
}

template <typename H, typename H2>
__device__ void arithmetic(Bits* o, H x, H y, H2 u, H2 v) {
    *o++ = bits(x + y);
    *o++ = bits(x - y);
    *o++ = bits(x * y);
    *o++ = bits(__hfma(x, y, x));
    *o++ = bits(__hfma_relu(x, y, x));
    *o++ = bits(__hmax(x, y));
    *o++ = bits(__hmin(x, y));
    *o++ = bits(-x);
    *o++ = bits(__habs(x));
    *o++ = x > y;
    *o++ = x == y;
    *o++ = __hltu(x, y);
    store_pair<H>(o, u + v);
    store_pair<H>(o, u * v);
    store_pair<H>(o, __hfma2(u, v, u));
    store_pair<H>(o, __hmax2(u, v));
    store_pair<H>(o, __hgt2(u, v));
    *o++ = bits(hfloor(x));
    *o++ = bits(hrint(x));
}

extern "C" __global__ void bf16_arithmetic(Bits* out, const __nv_bfloat16* a, const __nv_bfloat16* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    arithmetic(out + i * 24, a[i], b[i], __halves2bfloat162(a[i], b[i]), __halves2bfloat162(b[i], b[i]));
}

extern "C" __global__ void f16_arithmetic(Bits* out, const __half* a, const __half* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    arithmetic(out + i * 24, a[i], b[i], __halves2half2(a[i], b[i]), __halves2half2(b[i], b[i]));
}

// Functions: the result as f32, to be compared within the error of a half.
template <typename H>
__device__ void functions(float* o, H x, H p) {
    *o++ = (float)hexp(x);
    *o++ = (float)hlog(p);
    *o++ = (float)hsqrt(p);
    *o++ = (float)hrsqrt(p);
    *o++ = (float)hsin(x);
    *o++ = (float)hcos(x);
    *o++ = (float)hrcp(x);
    *o++ = (float)hexp2(x);
}

extern "C" __global__ void bf16_functions(float* out, const __nv_bfloat16* a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) functions(out + i * 8, a[i], __habs(a[i]));
}

extern "C" __global__ void f16_functions(float* out, const __half* a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) functions(out + i * 8, a[i], __habs(a[i]));
}
