// Attention of packed sequences of any length, forward, on tensor cores.
//
//   ctx [T, A] = (softmax(q kᵀ / √D) ∘ f) v, head by head      lse [H, T] = log Σ exp(q kᵀ / √D)      qkv [T, 3A]
//
// A block owns ATTENTION_ROWS queries of one head of one sequence, a warp 16 of them, and walks over the keys in tiles,
// the next tile on its way while one is worked on (online softmax: Milakov and Gimelshein 2018; Dao et al. 2022). No S
// × S matrix leaves the registers. Overwrites ctx and lse; rows beyond the batch are left alone. Floor: 8 A bytes per
// token (bf16: q, k, v read and ctx written once), 4 S² D FLOPs for each head of S tokens.
//
// `columns` is what a head has in memory, at most D: columns beyond it are zeros in shared memory.
#include "attention_mask.cuh"
#include "attention_tile.cuh"
#include "mark.cuh"

// Keys of a tile: what keeps both stages and a block's queries in 32 KB of shared memory, and a warp's scores in
// registers.
template <int D>
constexpr int FORWARD_KEYS = D <= 64 ? 64 : 32;
constexpr int GROUP_KEYS = 32;
// Blocks that share a multiprocessor: as many as have their registers without spilling.
template <int D>
constexpr int FORWARD_BLOCKS = D <= 32   ? 4
                               : D <= 64 ? 3
                                         : 2;

// The softmax of a warp's 16 rows as far as it has got; a thread has two of them, and its own keys' part of the sums.
struct RunningSoftmax {
    float largest[2] = {-INFINITY, -INFINITY}; // of the scores before scaling
    float sum[2] = {0, 0};

    // Turns the scores of N fragments into probabilities relative to the new maximum; what was summed so far changes by
    // `factor`.
    template <int N>
    __device__ __forceinline__ void update(float (&factor)[2], float (&s)[N][4], float scale) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = largest[half];
#pragma unroll
            for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
            factor[half] = power_of_two((largest[half] - top) * scale);
            largest[half] = top;
            const float shift = top * scale;
            float total = 0;
#pragma unroll
            for (int n = 0; n < N; n++) {
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    s[n][e] = power_of_two(fmaf(s[n][e], scale, -shift));
                    total += s[n][e];
                }
            }
            sum[half] = fmaf(sum[half], factor[half], total);
        }
    }

    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
            sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        }
    }
};

template <int D, bool DROPS>
__device__ __forceinline__ void attention_forward(bf16* ctx, float* lse, const bf16* qkv, const Sequences& sequences,
                                                  const Heads& heads, const Dropout& dropout) {
    constexpr int KEYS = FORWARD_KEYS<D>;
    constexpr unsigned TILE = KEYS * TileRow<D>::bytes;
    static_assert(ATTENTION_ROWS <= 2 * KEYS, "the queries are read by way of the second stage");
    static_assert(ATTENTION_ROWS == ATTENTION_THREADS / WARP * FRAGMENT_ROWS, "a warp has a fragment of rows");
    __shared__ __align__(128) bf16 shared[4 * KEYS * D]; // [stage, (K, V), KEYS, D]
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * ATTENTION_ROWS;
    if (first >= task.length) return;
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, t = lane % 4;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width, stages = shared_address(shared);
    const bf16* q = qkv + (size_t)task.start * stride + task.head * columns;
    const auto load_keys = [&](unsigned tile) {
        const unsigned stage = stages + tile % 2 * (2 * TILE);
        copy_tile<D, KEYS, KeysByQuad>(stage, q + width, stride, columns, tile * KEYS, task.length);
        copy_tile<D, KEYS, KeysByQuad>(stage + TILE, q + 2 * width, stride, columns, tile * KEYS, task.length);
    };
    copy_tile<D, ATTENTION_ROWS, InOrder>(stages + 2 * TILE, q, stride, columns, first, task.length);
    load_keys(0);
    wait_all_copies();
    __syncthreads();
    const LaneRow by_row = lane_row<D>(lane), by_column = lane_column<D>(lane);
    unsigned queries[D / 16][4];
    load_left<D>(queries, stages + 2 * TILE + warp * FRAGMENT_ROWS * TileRow<D>::bytes, by_row);
    __syncthreads();

    const unsigned query = first + warp * FRAGMENT_ROWS + lane / 4;
    const bool busy = first + warp * FRAGMENT_ROWS < task.length;
    const float root = heads.root, scale = root * LOG2_E;
    const unsigned tiles = (task.length + KEYS - 1) / KEYS;
    RunningSoftmax softmax;
    float o[D / 8][4] = {};
    for (unsigned tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) load_keys(tile + 1);
        if (busy) {
            const unsigned stage = stages + tile % 2 * (2 * TILE), left = task.length - tile * KEYS;
            float s[KEYS / 8][4];
#pragma unroll
            for (int group = 0; group < KEYS / GROUP_KEYS; group++) {
                if (group * GROUP_KEYS < left) {
                    multiply_transposed<D, 4>(s + 4 * group, queries, stage + group * GROUP_KEYS * TileRow<D>::bytes,
                                              by_column);
                }
            }
            if (left < KEYS) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        if (n / 4 * GROUP_KEYS + t * 8 + n % 4 * 2 + e % 2 >= left) s[n][e] = -INFINITY;
                    }
                }
            }
            float factor[2];
            softmax.update(factor, s, scale);
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) o[n][e] *= factor[e / 2];
            }
#pragma unroll
            for (int group = 0; group < KEYS / GROUP_KEYS; group++) {
                if (group * GROUP_KEYS >= left) break;
                if constexpr (DROPS) {
                    const unsigned at = (tile * KEYS + group * GROUP_KEYS) / PACK + t;
                    const unsigned block[2] = {mask_block(task, query) + at, mask_block(task, query + 8) + at};
                    drop_by_quad(s + 4 * group, dropout, block, task);
                }
#pragma unroll
                for (int n = 4 * group; n < 4 * group + 4; n += 2) {
                    unsigned p[4];
                    to_left(p, s[n], s[n + 1]);
                    multiply_add<D>(o, p, stage + TILE + n * FRAGMENT_COLUMNS * TileRow<D>::bytes, by_row);
                }
            }
        }
        wait_all_copies();
        __syncthreads();
    }
    if (!busy) return;
    softmax.finish();
    const float factor[2] = {dropout.scale / softmax.sum[0], dropout.scale / softmax.sum[1]};
    if (t == 0) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (query + 8 * half >= task.length) break;
            lse[(size_t)task.head * task.tokens + task.start + query + 8 * half] =
                lse_of_scores(softmax.largest[half], root, softmax.sum[half]);
        }
    }
    store_result<D, InOrder>(ctx + (size_t)task.start * width + task.head * columns, shared + warp * FRAGMENT_ROWS * D,
                             o, factor, width, columns, first + warp * FRAGMENT_ROWS, task.length);
}

// Grid: (blocks of queries, sequences, heads). Both forms take the same arguments, so that the host has one launch for
// them.
#define ATTENTION_FORWARD(D, NAME, DROPS)                                                                        \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, FORWARD_BLOCKS<D>)                           \
        NAME(bf16* __restrict__ ctx, float* __restrict__ lse, const bf16* __restrict__ qkv, Sequences sequences, \
             Heads heads, Dropout dropout, Mark mark) {                                                          \
        leave_mark(mark);                                                                                        \
        attention_forward<D, DROPS>(ctx, lse, qkv, sequences, heads, dropout);                                   \
    }
ATTENTION_FORWARD(16, attention_forward_bf16_d16, false)
ATTENTION_FORWARD(32, attention_forward_bf16_d32, false)
ATTENTION_FORWARD(64, attention_forward_bf16_d64, false)
ATTENTION_FORWARD(96, attention_forward_bf16_d96, false)
ATTENTION_FORWARD(128, attention_forward_bf16_d128, false)
ATTENTION_FORWARD(16, attention_forward_dropout_bf16_d16, true)
ATTENTION_FORWARD(32, attention_forward_dropout_bf16_d32, true)
ATTENTION_FORWARD(64, attention_forward_dropout_bf16_d64, true)
ATTENTION_FORWARD(96, attention_forward_dropout_bf16_d96, true)
ATTENTION_FORWARD(128, attention_forward_dropout_bf16_d128, true)
