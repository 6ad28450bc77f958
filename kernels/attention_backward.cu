// Attention of packed sequences, backward, on tensor cores: probabilities are recomputed from qkv and the log-sum-exp.
//
//   P = exp(q kᵀ / √D − lse)      δ = d_ctx · ctx      d_s = P ∘ (f ∘ (d_ctx vᵀ) − δ)
//   query pass:       d_q = d_s k / √D, and (−lse · log₂e, δ) of each row for the other pass
//   key-value pass:   d_k = d_sᵀ q / √D      d_v = (P ∘ f)ᵀ d_ctx
//
// In the query pass a block owns ATTENTION_ROWS queries and walks over the keys; in the key-value pass it owns as many
// keys and walks over the queries. So each row of a gradient has one writer and one order of summation. Both overwrite
// their columns of d_qkv [T, 3A]. Floor of both: 16 A bytes per token (bf16: qkv, ctx, d_ctx read, d_qkv written), 10
// S² D FLOPs for each head of S tokens, of which 4 are computed twice: the scores and d_ctx vᵀ.
#include "attention_mask.cuh"
#include "attention_tile.cuh"
#include "mark.cuh"

// Shared memory of a pass: two stages of two streamed tiles, and the two tiles that the block owns, which are read into
// registers. They lie over the second stage, so that the first is under way at once; with long rows over both, to fit
// in 48 KB.
template <int D>
struct BackwardTiles {
    static constexpr int streamed_rows = 32;
    static constexpr bool early = D <= 64;
    static constexpr int owned_at = early ? 2 * streamed_rows : 0;
    static constexpr int rows = owned_at + 2 * ATTENTION_ROWS;
    static constexpr unsigned tile_bytes = streamed_rows * TileRow<D>::bytes;
    static_assert(rows >= 4 * streamed_rows, "two stages of two tiles");
    static_assert(streamed_rows <= ATTENTION_THREADS, "a thread fetches the statistics of one row");
};

// Reads a warp's rows of the owned tiles `a` and `b` into registers; on return the first streamed tiles are there.
template <int D, class Order, class LoadStreamed>
__device__ __forceinline__ void load_owned(unsigned (&a)[D / 16][4], unsigned (&b)[D / 16][4], unsigned shared,
                                           const bf16* a_source, unsigned a_stride, const bf16* b_source,
                                           unsigned b_stride, unsigned columns, unsigned first, unsigned length,
                                           const LaneRow& by_row, const LoadStreamed& load_streamed) {
    using Tiles = BackwardTiles<D>;
    const unsigned a_tile = shared + Tiles::owned_at * TileRow<D>::bytes;
    const unsigned b_tile = a_tile + ATTENTION_ROWS * TileRow<D>::bytes;
    copy_tile<D, ATTENTION_ROWS, Order>(a_tile, a_source, a_stride, columns, first, length);
    copy_tile<D, ATTENTION_ROWS, Order>(b_tile, b_source, b_stride, columns, first, length);
    if (Tiles::early) load_streamed(0);
    wait_all_copies();
    __syncthreads();
    const unsigned own = threadIdx.x / WARP * FRAGMENT_ROWS * TileRow<D>::bytes;
    load_left<D>(a, a_tile + own, by_row);
    load_left<D>(b, b_tile + own, by_row);
    __syncthreads();
    if (!Tiles::early) {
        load_streamed(0);
        wait_all_copies();
        __syncthreads();
    }
}

// Σ d_ctx · ctx of a warp's rows; `d` is a left operand of d_ctx, whose layout ctx is read in.
template <int D>
__device__ __forceinline__ void row_deltas(float (&delta)[2], const unsigned (&d)[D / 16][4], const bf16* ctx,
                                           unsigned stride, unsigned columns, unsigned query, unsigned length) {
    const unsigned t = threadIdx.x % 4;
    delta[0] = delta[1] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned row = query + i % 2 * 8, column = k * 16 + i / 2 * 8 + 2 * t;
            if (row >= length || column >= columns) continue;
            const unsigned pair = *reinterpret_cast<const unsigned*>(ctx + (size_t)row * stride + column);
            delta[i % 2] = fmaf(__uint_as_float(pair << 16), __uint_as_float(d[k][i] << 16), delta[i % 2]);
            delta[i % 2] =
                fmaf(__uint_as_float(pair & 0xffff0000u), __uint_as_float(d[k][i] & 0xffff0000u), delta[i % 2]);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        delta[half] += __shfl_xor_sync(0xffffffffu, delta[half], 1);
        delta[half] += __shfl_xor_sync(0xffffffffu, delta[half], 2);
    }
}

template <int D, bool DROPS>
__device__ __forceinline__ void attention_backward_query(bf16* d_qkv, float2* statistics, const bf16* d_ctx,
                                                         const bf16* qkv, const bf16* ctx, const float* lse,
                                                         const Sequences& sequences, const Heads& heads,
                                                         const Dropout& dropout) {
    using Tiles = BackwardTiles<D>;
    constexpr int KEYS = Tiles::streamed_rows;
    __shared__ __align__(128) bf16 shared[Tiles::rows * D];
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * ATTENTION_ROWS;
    if (first >= task.length) return;
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, t = lane % 4;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width, stages = shared_address(shared);
    const LaneRow by_row = lane_row<D>(lane), by_column = lane_column<D>(lane);
    const size_t qkv_at = (size_t)task.start * stride + task.head * columns;
    const size_t ctx_at = (size_t)task.start * width + task.head * columns;
    const bf16* q = qkv + qkv_at;
    const auto load_keys = [&](unsigned tile) {
        const unsigned stage = stages + tile % 2 * (2 * Tiles::tile_bytes);
        copy_tile<D, KEYS, KeysByQuad>(stage, q + width, stride, columns, tile * KEYS, task.length);
        copy_tile<D, KEYS, KeysByQuad>(stage + Tiles::tile_bytes, q + 2 * width, stride, columns, tile * KEYS,
                                       task.length);
    };
    unsigned queries[D / 16][4], d_out[D / 16][4];
    load_owned<D, InOrder>(queries, d_out, stages, q, stride, d_ctx + ctx_at, width, columns, first, task.length,
                           by_row, load_keys);

    const unsigned query = first + warp * FRAGMENT_ROWS + lane / 4;
    const bool busy = first + warp * FRAGMENT_ROWS < task.length;
    const float root = heads.root, scale = root * LOG2_E;
    float delta[2], shift[2] = {0, 0};
    row_deltas<D>(delta, d_out, ctx + ctx_at, width, columns, query, task.length);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (query + 8 * half >= task.length) break;
        const size_t row = (size_t)task.head * task.tokens + task.start + query + 8 * half;
        shift[half] = -LOG2_E * lse[row];
        if (t == 0) statistics[row] = make_float2(shift[half], delta[half]);
    }
    __syncwarp(); // lanes have parted at the last rows; the products below are for whole warps

    const unsigned tiles = (task.length + KEYS - 1) / KEYS;
    float d_q[D / 8][4] = {};
    for (unsigned tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) load_keys(tile + 1);
        if (busy) {
            const unsigned stage = stages + tile % 2 * (2 * Tiles::tile_bytes), left = task.length - tile * KEYS;
            float s[KEYS / 8][4], d[KEYS / 8][4];
            multiply_transposed<D, KEYS / 8>(s, queries, stage, by_column);
            multiply_transposed<D, KEYS / 8>(d, d_out, stage + Tiles::tile_bytes, by_column);
            if constexpr (DROPS) {
                const unsigned at = tile * KEYS / PACK + t;
                const unsigned block[2] = {mask_block(task, query) + at, mask_block(task, query + 8) + at};
                drop_by_quad(d, dropout, block, task);
            }
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float p = power_of_two(fmaf(s[n][e], scale, shift[e / 2]));
                    d[n][e] = p * fmaf(d[n][e], dropout.scale, -delta[e / 2]);
                }
            }
            if (left < KEYS) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        if (t * 8 + n * 2 + e % 2 >= left) d[n][e] = 0;
                    }
                }
            }
#pragma unroll
            for (int n = 0; n < KEYS / 8; n += 2) {
                unsigned d_s[4];
                to_left(d_s, d[n], d[n + 1]);
                multiply_add<D>(d_q, d_s, stage + n * FRAGMENT_COLUMNS * TileRow<D>::bytes, by_row);
            }
        }
        wait_all_copies();
        __syncthreads();
    }
    if (!busy) return;
    const float factor[2] = {root, root};
    store_result<D, InOrder>(d_qkv + qkv_at, shared + warp * FRAGMENT_ROWS * D, d_q, factor, stride, columns,
                             first + warp * FRAGMENT_ROWS, task.length);
}

template <int D, bool DROPS>
__device__ __forceinline__ void attention_backward_key_value(bf16* d_qkv, const float2* statistics, const bf16* d_ctx,
                                                             const bf16* qkv, const Sequences& sequences,
                                                             const Heads& heads, const Dropout& dropout) {
    using Tiles = BackwardTiles<D>;
    constexpr int QUERIES = Tiles::streamed_rows;
    __shared__ __align__(128) bf16 shared[Tiles::rows * D];
    __shared__ __align__(16) float2 rows[2][QUERIES]; // −lse · log₂e, δ
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * ATTENTION_ROWS;
    if (first >= task.length) return;
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, t = lane % 4;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width, stages = shared_address(shared);
    const LaneRow by_row = lane_row<D>(lane), by_column = lane_column<D>(lane);
    const size_t qkv_at = (size_t)task.start * stride + task.head * columns;
    const bf16* q = qkv + qkv_at;
    const bf16* d_out = d_ctx + (size_t)task.start * width + task.head * columns;
    const unsigned own_rows = task.head * task.tokens + task.start; // of the statistics
    const auto load_queries = [&](unsigned tile) {
        const unsigned stage = stages + tile % 2 * (2 * Tiles::tile_bytes);
        copy_tile<D, QUERIES, InOrder>(stage, q, stride, columns, tile * QUERIES, task.length);
        copy_tile<D, QUERIES, InOrder>(stage + Tiles::tile_bytes, d_out, width, columns, tile * QUERIES, task.length);
        if (threadIdx.x < QUERIES) {
            const unsigned query = tile * QUERIES + threadIdx.x;
            const bool there = query < task.length;
            copy_async<sizeof(float2)>(shared_address(&rows[tile % 2][threadIdx.x]),
                                       statistics + own_rows + (there ? query : 0), there);
        }
    };
    unsigned keys[D / 16][4], values[D / 16][4];
    load_owned<D, KeysByPair>(keys, values, stages, q + width, stride, q + 2 * width, stride, columns, first,
                              task.length, by_row, load_queries);

    const unsigned first_key = first + warp * FRAGMENT_ROWS;
    const bool busy = first_key < task.length;
    const float root = heads.root, scale = root * LOG2_E;
    const unsigned tiles = (task.length + QUERIES - 1) / QUERIES;
    float d_k[D / 8][4] = {}, d_v[D / 8][4] = {};
    for (unsigned tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) load_queries(tile + 1);
        if (busy) {
            const unsigned stage = stages + tile % 2 * (2 * Tiles::tile_bytes), left = task.length - tile * QUERIES;
#pragma unroll Tiles::early ? QUERIES / FRAGMENT_ROWS : 1
            for (int group = 0; group < QUERIES / FRAGMENT_ROWS; group++) {
                if (group * FRAGMENT_ROWS >= left) break;
                const unsigned q_rows = stage + group * FRAGMENT_ROWS * TileRow<D>::bytes;
                const unsigned d_rows = q_rows + Tiles::tile_bytes;
                float s[2][4], d[2][4];
                multiply_transposed<D, 2>(s, keys, q_rows, by_column);
                multiply_transposed<D, 2>(d, values, d_rows, by_column);
                unsigned bits[4] = {};
                if constexpr (DROPS) {
                    bits_by_pair(bits, dropout, task, tile * QUERIES + group * FRAGMENT_ROWS, first_key);
                }
                // Queries beyond the sequence are rows of zeros with the statistics 0, 0: they add nothing.
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    const float4 row = *reinterpret_cast<const float4*>(
                        &rows[tile % 2][group * FRAGMENT_ROWS + n * FRAGMENT_COLUMNS + 2 * t]);
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        const float shift = e % 2 ? row.z : row.x, delta = e % 2 ? row.w : row.y;
                        const unsigned word = bits[2 * n + e % 2];
                        const bool keep = !DROPS || (e / 2 ? word >> 16 : word & 0xffff) >= dropout.threshold;
                        const float p = power_of_two(fmaf(s[n][e], scale, shift));
                        d[n][e] = p * fmaf(keep ? d[n][e] : 0, dropout.scale, -delta);
                        s[n][e] = keep ? p : 0;
                    }
                }
                unsigned left_operand[4];
                to_left(left_operand, s[0], s[1]);
                multiply_add<D>(d_v, left_operand, d_rows, by_row);
                to_left(left_operand, d[0], d[1]);
                multiply_add<D>(d_k, left_operand, q_rows, by_row);
            }
        }
        wait_all_copies();
        __syncthreads();
    }
    if (!busy) return;
    bf16* own = shared + warp * FRAGMENT_ROWS * D;
    const float d_k_factor[2] = {root, root}, d_v_factor[2] = {dropout.scale, dropout.scale};
    store_result<D, KeysByPair>(d_qkv + qkv_at + width, own, d_k, d_k_factor, stride, columns, first_key, task.length);
    store_result<D, KeysByPair>(d_qkv + qkv_at + 2 * width, own, d_v, d_v_factor, stride, columns, first_key,
                                task.length);
}

// Grids: (blocks of queries or of keys, sequences, heads). statistics: [H, T]. Both forms of a pass take the same
// arguments, so that the host has one launch for them.
#define ATTENTION_BACKWARD_QUERY(D, NAME, DROPS)                                                                \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                             \
        NAME(bf16* __restrict__ d_qkv, float2* __restrict__ statistics, const bf16* __restrict__ d_ctx,         \
             const bf16* __restrict__ qkv, const bf16* __restrict__ ctx, const float* __restrict__ lse,         \
             Sequences sequences, Heads heads, Dropout dropout, Mark mark) {                                    \
        leave_mark(mark);                                                                                       \
        attention_backward_query<D, DROPS>(d_qkv, statistics, d_ctx, qkv, ctx, lse, sequences, heads, dropout); \
    }
#define ATTENTION_BACKWARD_KEY_VALUE(D, NAME, DROPS)                                                          \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                           \
        NAME(bf16* __restrict__ d_qkv, const float2* __restrict__ statistics, const bf16* __restrict__ d_ctx, \
             const bf16* __restrict__ qkv, Sequences sequences, Heads heads, Dropout dropout, Mark mark) {    \
        leave_mark(mark);                                                                                     \
        attention_backward_key_value<D, DROPS>(d_qkv, statistics, d_ctx, qkv, sequences, heads, dropout);     \
    }
ATTENTION_BACKWARD_QUERY(16, attention_backward_query_bf16_d16, false)
ATTENTION_BACKWARD_QUERY(32, attention_backward_query_bf16_d32, false)
ATTENTION_BACKWARD_QUERY(64, attention_backward_query_bf16_d64, false)
ATTENTION_BACKWARD_QUERY(96, attention_backward_query_bf16_d96, false)
ATTENTION_BACKWARD_QUERY(128, attention_backward_query_bf16_d128, false)
ATTENTION_BACKWARD_QUERY(16, attention_backward_query_dropout_bf16_d16, true)
ATTENTION_BACKWARD_QUERY(32, attention_backward_query_dropout_bf16_d32, true)
ATTENTION_BACKWARD_QUERY(64, attention_backward_query_dropout_bf16_d64, true)
ATTENTION_BACKWARD_QUERY(96, attention_backward_query_dropout_bf16_d96, true)
ATTENTION_BACKWARD_QUERY(128, attention_backward_query_dropout_bf16_d128, true)
ATTENTION_BACKWARD_KEY_VALUE(16, attention_backward_key_value_bf16_d16, false)
ATTENTION_BACKWARD_KEY_VALUE(32, attention_backward_key_value_bf16_d32, false)
ATTENTION_BACKWARD_KEY_VALUE(64, attention_backward_key_value_bf16_d64, false)
ATTENTION_BACKWARD_KEY_VALUE(96, attention_backward_key_value_bf16_d96, false)
ATTENTION_BACKWARD_KEY_VALUE(128, attention_backward_key_value_bf16_d128, false)
ATTENTION_BACKWARD_KEY_VALUE(16, attention_backward_key_value_dropout_bf16_d16, true)
ATTENTION_BACKWARD_KEY_VALUE(32, attention_backward_key_value_dropout_bf16_d32, true)
ATTENTION_BACKWARD_KEY_VALUE(64, attention_backward_key_value_dropout_bf16_d64, true)
ATTENTION_BACKWARD_KEY_VALUE(96, attention_backward_key_value_dropout_bf16_d96, true)
ATTENTION_BACKWARD_KEY_VALUE(128, attention_backward_key_value_dropout_bf16_d128, true)
