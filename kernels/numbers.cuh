// Numbers in memory and in registers: arithmetic is float32, storage is float32 or bfloat16.
//
// A `Pack` is eight neighbouring elements, read and written as one 16-byte access (bf16) or two (f32). Every row of a
// matrix and every view of an arena starts at a multiple of eight elements, which is what makes that legal.
#pragma once

#include <cuda_bf16.h>

#include "geometry.cuh"

using bf16 = __nv_bfloat16;

struct Pack {
    float v[PACK];
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
    return __float2bfloat16_rn(x);
}

// What a value becomes when it is stored as T and read again.
template <class T>
__device__ __forceinline__ float rounded(float x) {
    return to_float(from_float<T>(x));
}

__device__ __forceinline__ Pack load_pack(const float* p) {
    const float4 low = reinterpret_cast<const float4*>(p)[0], high = reinterpret_cast<const float4*>(p)[1];
    return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ __forceinline__ Pack load_pack(const bf16* p) {
    const uint4 raw = *reinterpret_cast<const uint4*>(p);
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
    Pack pack;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        pack.v[2 * i] = __uint_as_float(words[i] << 16);
        pack.v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
    return pack;
}

__device__ __forceinline__ void store_pack(float* p, const Pack& pack) {
    reinterpret_cast<float4*>(p)[0] = make_float4(pack.v[0], pack.v[1], pack.v[2], pack.v[3]);
    reinterpret_cast<float4*>(p)[1] = make_float4(pack.v[4], pack.v[5], pack.v[6], pack.v[7]);
}

// Two floats as two bfloat16, the first in the low half.
__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ __forceinline__ void store_pack(bf16* p, const Pack& pack) {
    *reinterpret_cast<uint4*>(p) = make_uint4(bf16_pair(pack.v[0], pack.v[1]), bf16_pair(pack.v[2], pack.v[3]),
                                              bf16_pair(pack.v[4], pack.v[5]), bf16_pair(pack.v[6], pack.v[7]));
}

// sum + a · b, from the first element on.
__device__ __forceinline__ float dot(const Pack& a, const Pack& b, float sum = 0.0f) {
#pragma unroll
    for (int i = 0; i < PACK; i++) sum = fmaf(a.v[i], b.v[i], sum);
    return sum;
}
