// Dropout: the same bits as every other device (see src/device/dropout.rs).
//
//   counter = (element / 8, slot, step, site)      element e takes bits 16·(e % 2).. of word (e % 8) / 2
//   hidden rows:      element = position · C + column
//   attention rows:   element = (head · S + query) · (S rounded up to 8) + key
//   keep if the 16 bits ≥ threshold; kept values are multiplied by `scale`
//
// Attention and the residual's product have a form of their own for passes that drop nothing, with fewer registers;
// kernels that wait for memory ask at run time, once for a row.
#pragma once

#include "batch.cuh"
#include "numbers.cuh"

// Passed by value; the step comes from the batch's header. Mirrored in src/device/cuda/launch.rs.
struct Dropout {
    unsigned key0, key1;
    unsigned site;      // pass << 16 | site
    unsigned threshold; // 0 keeps everything
    float scale;
};
static_assert(sizeof(Dropout) == 20 && __builtin_offsetof(Dropout, site) == 8 &&
                  __builtin_offsetof(Dropout, scale) == 16,
              "DropoutArgs of the host");

// Philox4x32-10 (Salmon et al. 2011).
__device__ __forceinline__ uint4 philox(unsigned key0, unsigned key1, uint4 c) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned low0 = 0xd2511f53u * c.x, high0 = __umulhi(0xd2511f53u, c.x);
        const unsigned low1 = 0xcd9e8d57u * c.z, high1 = __umulhi(0xcd9e8d57u, c.z);
        c = make_uint4(high1 ^ c.y ^ key0, low1, high0 ^ c.w ^ key1, low0);
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    return c;
}

__device__ __forceinline__ uint4 dropout_bits(const Dropout& dropout, unsigned block, unsigned slot, unsigned step) {
    return philox(dropout.key0, dropout.key1, make_uint4(block, slot, step, dropout.site));
}

__device__ __forceinline__ float dropout_factor(const Dropout& dropout, unsigned bits16) {
    return bits16 < dropout.threshold ? 0.0f : dropout.scale;
}

// Factors of elements 8 · block .. 8 · block + 7.
__device__ __forceinline__ Pack dropout_factors(const Dropout& dropout, unsigned block, unsigned slot, unsigned step) {
    const uint4 bits = dropout_bits(dropout, block, slot, step);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
    Pack factors;
#pragma unroll
    for (int i = 0; i < PACK; i++) factors.v[i] = dropout_factor(dropout, words[i / 2] >> 16 * (i % 2) & 0xffff);
    return factors;
}

// The same, or ones where nothing is dropped.
__device__ __forceinline__ Pack dropout_factors_if_any(const Dropout& dropout, unsigned block, unsigned slot,
                                                       unsigned step) {
    if (dropout.threshold != 0) return dropout_factors(dropout, block, slot, step);
    Pack ones;
#pragma unroll
    for (int i = 0; i < PACK; i++) ones.v[i] = 1.0f;
    return ones;
}
