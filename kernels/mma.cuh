// Tensor-core products of two precisions, behind one set of names.
//
//   Mma<bf16>   m16n8k16, factors as they are stored
//   Mma<float>  m16n8k8 tf32: factors rounded to 10 bits of mantissa (to nearest, ties away), float32 in memory
//
// Both take 32 bytes of a row of A and of B, sum in float32, and leave C in the same registers. So what moves tiles
// counts bytes.
#pragma once

#include "numbers.cuh"
#include "ptx.cuh"

constexpr int CHUNK_BYTES = 16; // of a copy, and of a row of the 8×8 matrices that ldmatrix moves
constexpr int MMA_M = 16, MMA_N = 8, MMA_BYTES = 2 * CHUNK_BYTES;

template <class T>
struct Mma;

template <>
struct Mma<bf16> {
    // c += a · b.
    static __device__ __forceinline__ void multiply(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
        mma_bf16(c, a, b0, b1);
    }

    // Makes a factor of what was read.
    static __device__ __forceinline__ void round(unsigned (&)[4]) {}

    // c += row sums of a, as read, in each column.
    static __device__ __forceinline__ void sum_rows(float* c, const unsigned (&a)[4]) {
        constexpr unsigned ONES = 0x3f803f80; // two bf16
        multiply(c, a, ONES, ONES);
    }
};

template <>
struct Mma<float> {
    static __device__ __forceinline__ void multiply(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
        mma_tf32(c, a, b0, b1);
    }

    // The tensor core would cut the low bits off: twice the error, and all of it towards zero.
    static __device__ __forceinline__ void round(unsigned (&r)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) r[i] = round_to_tf32(__uint_as_float(r[i]));
    }

    // A sum is no product: what rounding takes off is rounded and summed as well, which leaves 21 bits of mantissa.
    static __device__ __forceinline__ void sum_rows(float* c, const unsigned (&a)[4]) {
        constexpr unsigned ONE = 0x3f800000;
        unsigned high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) high[i] = a[i];
        round(high);
#pragma unroll
        for (int i = 0; i < 4; i++) low[i] = __float_as_uint(__uint_as_float(a[i]) - __uint_as_float(high[i]));
        round(low);
        multiply(c, high, ONE, ONE);
        multiply(c, low, ONE, ONE);
    }
};
