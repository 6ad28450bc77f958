// Sums and maxima over a warp or a block, in a fixed order: every thread of a warp gets the same bits, every run the
// same.
#pragma once

#include "geometry.cuh"

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

// Sum over a block of THREADS threads, in double, the same in every thread. `partial` is shared, one number for each
// warp.
template <int THREADS>
__device__ __forceinline__ double block_sum(double x, double (&partial)[THREADS / WARP]) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = x;
    __syncthreads();
    double sum = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) sum += partial[warp];
    return sum;
}
