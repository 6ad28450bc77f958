// LayerNorm of a row that a team of threads holds in registers.
//
//   forward:   mean = Σ r / C    σ² = Σ (r − mean)² / C + ε, in two passes     y = (r − mean) / σ · γ + β
//   backward:  x̂ = (r − mean) / σ    g = d_y ∘ γ    d_r = (g − mean(g) − x̂ · mean(g ∘ x̂)) / σ
//              d_γ = Σ d_y ∘ x̂    d_β = Σ d_y, over the rows
//
// A team is a warp (C ≤ WARP · ROW_PACKS · PACK) or a block where a row is wider; thread i owns packs i, i + THREADS, …
// of the row. Teams take rows in turn: team n of N has rows n, n + N, …, so sums over rows depend on the true number of
// rows only.
#pragma once

#include "geometry.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

template <int THREADS>
struct RowTeam {
    static constexpr int PACKS = ROW_PACKS;
    static constexpr int TEAMS = ROW_THREADS / THREADS; // in a block
    static_assert(THREADS == WARP || THREADS == ROW_THREADS, "a team is a warp or a block");

    unsigned rank = threadIdx.x % THREADS;
    unsigned first_row = blockIdx.x * TEAMS + threadIdx.x / THREADS;

    static __device__ __forceinline__ unsigned stride() { return gridDim.x * TEAMS; }

    // f(i, column) for each pack of the row that is this thread's.
    template <class F>
    __device__ __forceinline__ void each_pack(unsigned width, F f) const {
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const unsigned column = (rank + i * THREADS) * PACK;
            if (column < width) f(i, column);
        }
    }

    // Sum over the team, the same bits in every thread. All threads of a block take part if it is one team.
    __device__ __forceinline__ float sum(float x) const {
        x = warp_sum(x);
        if constexpr (TEAMS > 1) {
            return x;
        } else {
            __shared__ float warps[ROW_THREADS / WARP];
            __syncthreads(); // the last sum has been read
            if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = x;
            __syncthreads();
            float total = 0;
#pragma unroll
            for (int warp = 0; warp < ROW_THREADS / WARP; warp++) total += warps[warp];
            return total;
        }
    }
};

using WarpTeam = RowTeam<WARP>;
using BlockTeam = RowTeam<ROW_THREADS>;

struct RowStatistics {
    float mean, rstd;
};

template <class Team>
__device__ __forceinline__ RowStatistics row_statistics(const Team& team, const Pack (&r)[Team::PACKS], unsigned width,
                                                        float eps) {
    float sum = 0, squares = 0;
    team.each_pack(width, [&](int i, unsigned) {
#pragma unroll
        for (int k = 0; k < PACK; k++) sum += r[i].v[k];
    });
    const float mean = team.sum(sum) / width;
    team.each_pack(width, [&](int i, unsigned) {
#pragma unroll
        for (int k = 0; k < PACK; k++) squares = fmaf(r[i].v[k] - mean, r[i].v[k] - mean, squares);
    });
    return {mean, 1.0f / sqrtf(team.sum(squares) / width + eps)};
}

__device__ __forceinline__ Pack normalised(const Pack& r, const RowStatistics& row, const float* gamma,
                                           const float* beta) {
    const Pack scale = load_pack(gamma), shift = load_pack(beta);
    Pack y;
#pragma unroll
    for (int k = 0; k < PACK; k++) y.v[k] = fmaf((r.v[k] - row.mean) * row.rstd, scale.v[k], shift.v[k]);
    return y;
}

// d: d_y on entry, d_r on return; r becomes x̂. Adds to d_gamma and d_beta.
template <class Team>
__device__ __forceinline__ void row_backward(const Team& team, Pack (&d)[Team::PACKS], Pack (&d_gamma)[Team::PACKS],
                                             Pack (&d_beta)[Team::PACKS], Pack (&r)[Team::PACKS],
                                             const RowStatistics& row, const float* gamma, unsigned width) {
    float sum = 0, along = 0;
    team.each_pack(width, [&](int i, unsigned column) {
        const Pack scale = load_pack(gamma + column);
#pragma unroll
        for (int k = 0; k < PACK; k++) {
            const float x = (r[i].v[k] - row.mean) * row.rstd, g = d[i].v[k] * scale.v[k];
            d_gamma[i].v[k] = fmaf(d[i].v[k], x, d_gamma[i].v[k]);
            d_beta[i].v[k] += d[i].v[k];
            sum += g;
            along = fmaf(g, x, along);
            r[i].v[k] = x;
            d[i].v[k] = g;
        }
    });
    const float mean = team.sum(sum) / width, mean_along = team.sum(along) / width;
    team.each_pack(width, [&](int i, unsigned) {
#pragma unroll
        for (int k = 0; k < PACK; k++) d[i].v[k] = (d[i].v[k] - mean - r[i].v[k] * mean_along) * row.rstd;
    });
}

// partial [2, C] = the block's sums of two vectors, its teams' added in order.
template <class Team>
__device__ __forceinline__ void store_partials(const Team& team, float* partial, const Pack (&first)[Team::PACKS],
                                               const Pack (&second)[Team::PACKS], unsigned width) {
    if constexpr (Team::TEAMS == 1) {
        team.each_pack(width, [&](int i, unsigned column) {
            store_pack(partial + column, first[i]);
            store_pack(partial + width + column, second[i]);
        });
    } else {
        constexpr int STRIPE = WARP * PACK; // columns of one pack a lane
        static_assert(STRIPE == ROW_THREADS, "a thread adds one column");
        __shared__ __align__(16) float sums[2][Team::TEAMS][STRIPE];
        const unsigned number = threadIdx.x / WARP;
#pragma unroll
        for (int i = 0; i < Team::PACKS; i++) {
            if (i * STRIPE >= width) continue;
            if (i > 0) __syncthreads(); // the last stripe has been read
            store_pack(&sums[0][number][team.rank * PACK], first[i]);
            store_pack(&sums[1][number][team.rank * PACK], second[i]);
            __syncthreads();
            const unsigned column = i * STRIPE + threadIdx.x;
            if (column >= width) continue;
            float total[2] = {};
#pragma unroll
            for (int n = 0; n < Team::TEAMS; n++) {
                total[0] += sums[0][n][threadIdx.x];
                total[1] += sums[1][n][threadIdx.x];
            }
            partial[column] = total[0];
            partial[width + column] = total[1];
        }
    }
}
