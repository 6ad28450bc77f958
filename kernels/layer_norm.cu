// LayerNorm over rows [rows, C], forward and backward (see norm_row.cuh), and the fold of what the backward passes
// leave.
//
// Forward: one team per row; overwrites y, mean and 1/σ. Reads r once, writes y once: 4C bytes per row in bf16, about
// 8C FLOPs. Backward: NORM_PARTIAL_BLOCKS blocks (fewer where there are fewer rows) take rows in turn and keep their
// sums of d_γ, d_β in registers; overwrites d_r and d_branch = d_r through the dropout of the branch that was added to
// the residual. Reads d_y and r, writes d_r and d_branch: 8C bytes per row in bf16, about 20C FLOPs. Each block leaves
// its sums in `partial`, [blocks, 2, C] of a slot.
// Fold: one launch for all slots of a pass adds the blocks' sums in a fixed order: d_γ, d_β overwritten or added to,
// slot by slot. All three are bound by memory.
#include "batch.cuh"
#include "dropout.cuh"
#include "norm_row.cuh"
#include "mark.cuh"

template <class T, class Team>
__device__ __forceinline__ void layer_norm(T* __restrict__ y,               // [rows, C]
                                           float* __restrict__ mean,        // [rows]
                                           float* __restrict__ rstd,        // [rows]
                                           const T* __restrict__ r,         // [rows, C]
                                           const float* __restrict__ gamma, // [C]
                                           const float* __restrict__ beta,  // [C]
                                           const Rows& rows, unsigned width, float eps) {
    const Team team;
    const unsigned row = team.first_row;
    if (row >= *rows.count) return;
    const size_t start = (size_t)row * width;
    Pack x[Team::PACKS];
    team.each_pack(width, [&](int i, unsigned column) { x[i] = load_pack(r + start + column); });
    const RowStatistics statistics = row_statistics(team, x, width, eps);
    if (team.rank == 0) {
        mean[row] = statistics.mean;
        rstd[row] = statistics.rstd;
    }
    team.each_pack(width, [&](int i, unsigned column) {
        store_pack(y + start + column, normalised(x[i], statistics, gamma + column, beta + column));
    });
}

#define LAYER_NORM_FORWARD(NAME, T, TEAM)                                                                  \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                              \
        NAME(T* y, float* mean, float* rstd, const T* r, const float* gamma, const float* beta, Rows rows, \
             unsigned width, float eps, Mark mark) {                                                       \
        leave_mark(mark);                                                                                  \
        layer_norm<T, TEAM>(y, mean, rstd, r, gamma, beta, rows, width, eps);                              \
    }
LAYER_NORM_FORWARD(layer_norm_forward_f32, float, WarpTeam)
LAYER_NORM_FORWARD(layer_norm_forward_bf16, bf16, WarpTeam)
LAYER_NORM_FORWARD(layer_norm_forward_wide_f32, float, BlockTeam)
LAYER_NORM_FORWARD(layer_norm_forward_wide_bf16, bf16, BlockTeam)

template <class T, class Team>
__device__ __forceinline__ void layer_norm_backward(T* __restrict__ d_r,             // [rows, C]
                                                    T* __restrict__ d_branch,        // [rows, C]
                                                    float* __restrict__ partial,     // [blocks, 2, C]
                                                    const T* __restrict__ d_y,       // [rows, C]
                                                    const T* __restrict__ r,         // [rows, C]
                                                    const float* __restrict__ mean,  // [rows]
                                                    const float* __restrict__ rstd,  // [rows]
                                                    const float* __restrict__ gamma, // [C]
                                                    const BatchHeader* __restrict__ header, const Rows& rows,
                                                    unsigned width, const Dropout& dropout) {
    const Team team;
    const unsigned count = *rows.count, step = header->step;
    // Blocks without a row leave nothing; the fold knows how many there are.
    if (blockIdx.x * Team::TEAMS >= count) return;
    Pack d_gamma[Team::PACKS] = {}, d_beta[Team::PACKS] = {};
    for (unsigned row = team.first_row; row < count; row += Team::stride()) {
        const size_t start = (size_t)row * width;
        Pack d[Team::PACKS], x[Team::PACKS];
        team.each_pack(width, [&](int i, unsigned column) {
            d[i] = load_pack(d_y + start + column);
            x[i] = load_pack(r + start + column);
        });
        row_backward(team, d, d_gamma, d_beta, x, {mean[row], rstd[row]}, gamma, width);
        const unsigned slot = rows.slots[row], position = rows.positions ? rows.positions[row] : 0;
        team.each_pack(width, [&](int i, unsigned column) {
            store_pack(d_r + start + column, d[i]);
            const Pack factors = dropout_factors_if_any(dropout, (position * width + column) / PACK, slot, step);
#pragma unroll
            for (int k = 0; k < PACK; k++) d[i].v[k] *= factors.v[k];
            store_pack(d_branch + start + column, d[i]);
        });
    }
    store_partials(team, partial + (size_t)blockIdx.x * 2 * width, d_gamma, d_beta, width);
}

#define LAYER_NORM_BACKWARD(NAME, T, TEAM)                                                                             \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                          \
        NAME(T* d_r, T* d_branch, float* partial, const T* d_y, const T* r, const float* mean, const float* rstd,      \
             const float* gamma, const BatchHeader* header, Rows rows, unsigned width, Dropout dropout, Mark mark) {   \
        leave_mark(mark);                                                                                              \
        layer_norm_backward<T, TEAM>(d_r, d_branch, partial, d_y, r, mean, rstd, gamma, header, rows, width, dropout); \
    }
LAYER_NORM_BACKWARD(layer_norm_backward_f32, float, WarpTeam)
LAYER_NORM_BACKWARD(layer_norm_backward_bf16, bf16, WarpTeam)
LAYER_NORM_BACKWARD(layer_norm_backward_wide_f32, float, BlockTeam)
LAYER_NORM_BACKWARD(layer_norm_backward_wide_bf16, bf16, BlockTeam)

// Where the sums of a slot go. Mirrored in src/device/cuda/row_sums.rs.
struct Fold {
    const unsigned* count; // rows that were summed
    unsigned first;        // first element of the first vector in the arena
    unsigned second;       // of the second; NOWHERE: there is none
    unsigned add;          // 1: add to what is there
    unsigned unused;
};
static_assert(sizeof(Fold) == 24 && __builtin_offsetof(Fold, second) == 12 && __builtin_offsetof(Fold, add) == 16,
              "Fold of the host");

struct Folds {
    Fold slots[NORM_SLOTS];
};

constexpr unsigned NOWHERE = 0xffffffff;

// Block (x, slot) folds 4 · WARP neighbouring columns of [2, C]; its warps take blocks in turn, then their sums are
// added in order.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    norm_fold(float* __restrict__ arena,
              const float* __restrict__ partials, // [slots, blocks, 2, C]
              const __grid_constant__ Folds folds, unsigned blocks, unsigned width, unsigned teams, Mark mark) {
    leave_mark(mark);
    constexpr int WARPS = ROW_THREADS / WARP, QUAD = 4;
    __shared__ float4 sums[WARPS][WARP];
    const Fold& fold = folds.slots[blockIdx.y];
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned column = (blockIdx.x * WARP + lane) * QUAD;
    const unsigned used = min(blocks, (*fold.count + teams - 1) / teams);
    const float* slot = partials + (size_t)blockIdx.y * blocks * 2 * width;
    float4 sum = make_float4(0, 0, 0, 0);
    if (column < 2 * width) {
#pragma unroll 4
        for (unsigned block = warp; block < used; block += WARPS) {
            const float4 part = *reinterpret_cast<const float4*>(slot + (size_t)block * 2 * width + column);
            sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= 2 * width) return;
    const bool second = column >= width;
    if (second && fold.second == NOWHERE) return;
    float4* const out =
        reinterpret_cast<float4*>(arena + (second ? fold.second + (column - width) : fold.first + column));
    sum = fold.add ? *out : make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        const float4 part = sums[w][lane];
        sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
    }
    *out = sum;
}
