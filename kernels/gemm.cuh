// Products of linear layers: what the tensor-core form (bf16, tf32) and the SIMT form (float32) have in common.
//
//   C [M, N] = Σ over k of A(m, k) · B(n, k)        k from `begin` to `end`, in order; float32 sums
//
// A block owns a tile of C. A product class has `run`, which leaves the tile in registers, and `for_each_pack`, which
// hands it out eight neighbouring columns at a time, so that an epilogue is a function of (row, column, Pack) and
// stores 16 bytes or more.
#pragma once

#include "geometry.cuh"
#include "numbers.cuh"

// Blocks of a multiprocessor that registers are shared between. Without it ptxas makes room for more than shared memory
// has (sm_120), and spills for it.
constexpr int GEMM_LEAST_BLOCKS = 1;

// How the rows of an operand lie in memory: along the reduction, K-major as CUTLASS calls it (both in x · Wᵀ), or
// across it, M-major or N-major (W in d_y · W, both in d_yᵀ · x).
enum class Run { ALONG, ACROSS };

template <class T>
struct Operand {
    const T* data;
    unsigned stride;        // elements from one row in memory to the next
    unsigned extent;        // how many m (or n) there are: rows in memory if ALONG, columns if ACROSS
    const unsigned* gather; // with ALONG: m is row gather[m] in memory; null: row m
};

// Where a block's tile of C lies, and how much of C there is.
struct Place {
    unsigned row, column;   // the tile's first
    unsigned rows, columns; // of C
};

// Leaves the sums of a block in `partial`, 16 bytes of each thread at a time.
template <int COUNT>
__device__ __forceinline__ void store_partial(float* partial, const float (&sums)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++)
        __stcg(reinterpret_cast<float4*>(partial) + i * GEMM_THREADS + threadIdx.x,
               make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
}

// Adds what `store_partial` left; past the first-level cache, as another multiprocessor wrote it.
template <int COUNT>
__device__ __forceinline__ void add_partial(float (&sums)[COUNT], const float* partial) {
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++) {
        const float4 more = __ldcg(reinterpret_cast<const float4*>(partial) + i * GEMM_THREADS + threadIdx.x);
        sums[4 * i] += more.x;
        sums[4 * i + 1] += more.y;
        sums[4 * i + 2] += more.z;
        sums[4 * i + 3] += more.w;
    }
}
