// Products of float32 tiles without tensor cores: each thread owns 4 rows by 8 columns of C, kept in registers.
//
// Tiles lie in shared memory with the depth as their row, so that a thread's rows and columns are neighbours: 3 reads
// of 16 bytes for 32 multiply-adds. Two tiles take turns; the next one waits in registers while the last is multiplied.
#pragma once

#include "gemm.cuh"

// One operand's tile: OUTER rows (or columns) of it by DEPTH of the reduction, four floats at each read.
template <Run RUN, int OUTER, int DEPTH>
struct SimtOperand {
    static constexpr int QUAD = 4;
    static constexpr int READS = OUTER * DEPTH / QUAD / GEMM_THREADS;
    static_assert(READS * QUAD * GEMM_THREADS == OUTER * DEPTH && GEMM_THREADS % OUTER == 0, "whole reads");

    const Operand<float>& operand;
    unsigned outer;
    float4 next[READS];

    __device__ __forceinline__ SimtOperand(const Operand<float>& operand, unsigned outer)
        : operand(operand), outer(outer) {}

    // ALONG, neighbouring threads take neighbouring rows, as they then write neighbouring banks. ACROSS, they read
    // along a row.
    static __device__ __forceinline__ unsigned first_outer() {
        return RUN == Run::ALONG ? threadIdx.x % OUTER : threadIdx.x % (OUTER / QUAD) * QUAD;
    }
    static __device__ __forceinline__ unsigned depth_of(int i) {
        return RUN == Run::ALONG ? (threadIdx.x / OUTER + i * (GEMM_THREADS / OUTER)) * QUAD
                                 : threadIdx.x / (OUTER / QUAD) + i * (GEMM_THREADS / (OUTER / QUAD));
    }

    __device__ __forceinline__ void read(unsigned k, unsigned end) {
#pragma unroll
        for (int i = 0; i < READS; i++) {
            const unsigned o = outer + first_outer(), depth = k + depth_of(i);
            next[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (o >= operand.extent || depth >= end) continue;
            const unsigned row = RUN == Run::ACROSS ? depth : operand.gather ? operand.gather[o] : o;
            const unsigned column = RUN == Run::ACROSS ? o : depth;
            next[i] =
                *reinterpret_cast<const float4*>(operand.data + static_cast<size_t>(row) * operand.stride + column);
        }
    }

    __device__ __forceinline__ void write(float (*tile)[OUTER]) const {
#pragma unroll
        for (int i = 0; i < READS; i++) {
            const unsigned o = first_outer(), depth = depth_of(i);
            if (RUN == Run::ALONG) {
                tile[depth][o] = next[i].x;
                tile[depth + 1][o] = next[i].y;
                tile[depth + 2][o] = next[i].z;
                tile[depth + 3][o] = next[i].w;
            } else {
                *reinterpret_cast<float4*>(&tile[depth][o]) = next[i];
            }
        }
    }
};

struct Simt {
    using Number = float;
    static constexpr int M = GEMM_SIMT_M, N = GEMM_SIMT_N, K = GEMM_SIMT_K;
    static constexpr int THREAD_M = 4, THREAD_N = PACK, THREADS_N = N / THREAD_N;
    static constexpr int SUMS = THREAD_M * THREAD_N;
    static_assert(M * N == GEMM_THREADS * SUMS, "every thread has its part of the tile");
    template <Run RUN_A, Run RUN_B>
    struct Product;
};

template <Run RUN_A, Run RUN_B>
struct Simt::Product {
    float sums[SUMS];
    float row_sums[THREAD_M];

    static __device__ __forceinline__ unsigned thread_row() { return threadIdx.x / THREADS_N * THREAD_M; }
    static __device__ __forceinline__ unsigned thread_column() { return threadIdx.x % THREADS_N * THREAD_N; }
    // A thread's eight columns are read in two halves; every second four threads begin with the second, or they would
    // meet in the same banks as the first four.
    static __device__ __forceinline__ unsigned begins_with_second() { return threadIdx.x % THREADS_N / 4 % 2; }

    template <bool WITH_ROW_SUMS = false>
    __device__ __forceinline__ void run(unsigned char*, const Operand<float>& a, const Operand<float>& b,
                                        const Place& place, unsigned begin, unsigned end, bool wants_row_sums = false) {
        __shared__ __align__(16) float tiles_a[2][K][M], tiles_b[2][K][N];
        SimtOperand<RUN_A, M, K> operand_a(a, place.row);
        SimtOperand<RUN_B, N, K> operand_b(b, place.column);
#pragma unroll
        for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
#pragma unroll
        for (int i = 0; i < THREAD_M; i++) row_sums[i] = 0.0f;
        // A warp has 16 rows of the tile; without any in C it only copies.
        const bool works = place.row + threadIdx.x / WARP * (WARP / THREADS_N * THREAD_M) < place.rows;
        operand_a.read(begin, end);
        operand_b.read(begin, end);
        for (unsigned k = begin, turn = 0; k < end; k += K, turn ^= 1) {
            operand_a.write(tiles_a[turn]);
            operand_b.write(tiles_b[turn]);
            // Also says that all have done with the other tiles, which the next step writes.
            __syncthreads();
            operand_a.read(k + K, end);
            operand_b.read(k + K, end);
            if (works) multiply<WITH_ROW_SUMS>(tiles_a[turn], tiles_b[turn], wants_row_sums);
        }
    }

    template <bool WITH_ROW_SUMS>
    __device__ __forceinline__ void multiply(const float (*tile_a)[M], const float (*tile_b)[N], bool wants_row_sums) {
        const unsigned first = thread_column() + begins_with_second() * 4, second = first ^ 4;
#pragma unroll
        for (int k = 0; k < K; k++) {
            const float4 a4 = *reinterpret_cast<const float4*>(&tile_a[k][thread_row()]);
            const float4 b0 = *reinterpret_cast<const float4*>(&tile_b[k][first]);
            const float4 b1 = *reinterpret_cast<const float4*>(&tile_b[k][second]);
            const float a[THREAD_M] = {a4.x, a4.y, a4.z, a4.w};
            const float b[THREAD_N] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
            for (int i = 0; i < THREAD_M; i++)
#pragma unroll
                for (int j = 0; j < THREAD_N; j++) sums[i * THREAD_N + j] = fmaf(a[i], b[j], sums[i * THREAD_N + j]);
            if (WITH_ROW_SUMS && wants_row_sums)
#pragma unroll
                for (int i = 0; i < THREAD_M; i++) row_sums[i] += a[i];
        }
    }

    template <class Each>
    __device__ __forceinline__ void for_each_row_sum(const Place& place, Each each) const {
        if (thread_column() != 0) return;
#pragma unroll
        for (int i = 0; i < THREAD_M; i++)
            if (place.row + thread_row() + i < place.rows) each(place.row + thread_row() + i, row_sums[i]);
    }

    template <class Each>
    __device__ __forceinline__ void for_each_pack(const Place& place, Each each) {
        const unsigned column = place.column + thread_column();
        const bool swapped = begins_with_second();
#pragma unroll
        for (int i = 0; i < THREAD_M; i++) {
            const unsigned row = place.row + thread_row() + i;
            Pack pack;
#pragma unroll
            for (int j = 0; j < THREAD_N; j++)
                pack.v[j] = swapped ? sums[i * THREAD_N + (j ^ 4)] : sums[i * THREAD_N + j];
            if (row < place.rows && column < place.columns) each(row, column, pack);
        }
    }
};
