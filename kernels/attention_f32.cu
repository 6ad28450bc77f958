// Attention of packed sequences in float32, forward and backward: the formulas, owners and outputs of attention.cu and
// attention_backward.cu, on tiles of 32 rows in shared memory and without tensor cores. From the query pass to the
// key-value pass go (lse, δ): probabilities are made with the scores rounded as in the forward pass.
//
// Thread i has row i / 4 of a tile of probabilities [32 queries, 32 keys] and, of it, the eight neighbouring keys of
// quarter i % 4: they share one Philox block. Of a result [32, D] it has row i / 4 and every fourth chunk of four
// columns. Keys lie in shared memory in the order of spread_key, and rows are an odd number of 16-byte chunks apart:
// the lanes of a warp then read different bank groups.
#include "attention.cuh"
#include "mark.cuh"

constexpr int TILE_ROWS = ATTENTION_ROWS_F32;
constexpr int QUARTERS = 4;
static_assert(TILE_ROWS * QUARTERS == ATTENTION_THREADS, "four threads a row");
static_assert(TILE_ROWS == QUARTERS * PACK, "a thread has a pack of keys");

// Chunks of four floats.
constexpr int CHUNK = 4;
// Floats from row to row of a tile [32, D], and of a tile of probabilities [32, 32].
template <int D>
constexpr int ROW = D + ATTENTION_PAD_F32;
constexpr int P_ROW = TILE_ROWS + ATTENTION_PAD_F32;

// Row 4i + quarter of a tile of keys holds key 8 · quarter + i.
__device__ __forceinline__ unsigned spread_key(unsigned row) { return row % QUARTERS * PACK + row / QUARTERS; }

__device__ __forceinline__ float4 chunk_at(const float* p) { return *reinterpret_cast<const float4*>(p); }

__device__ __forceinline__ float dot_add(float sum, float4 a, float4 b) {
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

// Rows first.. of a sequence of `length`, `columns` of D columns wide, `stride` elements apart; zeros beyond either.
template <int D, bool SPREAD>
__device__ __forceinline__ void load_tile(float* tile, const float* source, unsigned stride, unsigned columns,
                                          unsigned first, unsigned length) {
    constexpr int CHUNKS = D / CHUNK;
#pragma unroll
    for (int base = 0; base < TILE_ROWS * CHUNKS; base += ATTENTION_THREADS) {
        const unsigned row = (base + threadIdx.x) / CHUNKS, chunk = (base + threadIdx.x) % CHUNKS;
        const unsigned position = first + (SPREAD ? spread_key(row) : row);
        float4 values = make_float4(0, 0, 0, 0);
        if (position < length && chunk * CHUNK < columns) values = chunk_at(source + position * stride + chunk * CHUNK);
        *reinterpret_cast<float4*>(tile + row * ROW<D> + chunk * CHUNK) = values;
    }
}

// s[i] = a · row 4i + quarter of b.
template <int D>
__device__ __forceinline__ void multiply_rows(float (&s)[PACK], const float* a, const float* b, unsigned quarter) {
#pragma unroll
    for (int i = 0; i < PACK; i++) s[i] = 0;
#pragma unroll 4
    for (int column = 0; column < D; column += CHUNK) {
        const float4 x = chunk_at(a + column);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            s[i] = dot_add(s[i], x, chunk_at(b + (QUARTERS * i + quarter) * ROW<D> + column));
        }
    }
}

// o += Σ over the 32 rows of b, row r times p[r · p_step].
template <int D>
__device__ __forceinline__ void add_weighted_rows(float4 (&o)[D / 16], const float* p, int p_step, const float* b,
                                                  unsigned quarter) {
#pragma unroll 4
    for (int row = 0; row < TILE_ROWS; row++) {
        const float factor = p[row * p_step];
#pragma unroll
        for (int m = 0; m < D / 16; m++) {
            const float4 x = chunk_at(b + row * ROW<D> + (QUARTERS * m + quarter) * CHUNK);
            o[m].x = fmaf(factor, x.x, o[m].x);
            o[m].y = fmaf(factor, x.y, o[m].y);
            o[m].z = fmaf(factor, x.z, o[m].z);
            o[m].w = fmaf(factor, x.w, o[m].w);
        }
    }
}

template <int D>
__device__ __forceinline__ void store_row(float* out, const float4 (&o)[D / 16], float factor, unsigned columns,
                                          unsigned quarter) {
#pragma unroll
    for (int m = 0; m < D / 16; m++) {
        const unsigned column = (QUARTERS * m + quarter) * CHUNK;
        if (column >= columns) break;
        *reinterpret_cast<float4*>(out + column) =
            make_float4(o[m].x * factor, o[m].y * factor, o[m].z * factor, o[m].w * factor);
    }
}

// Over the four threads of a row.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Zeros what the mask drops of a thread's eight keys of a query.
__device__ __forceinline__ void drop(float (&p)[PACK], const Dropout& dropout, const Task& task, unsigned query,
                                     unsigned first_key) {
    const uint4 bits = dropout_bits(dropout, mask_block(task, query) + first_key / PACK, task.slot, task.step);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        if ((words[i / 2] >> 16 * (i % 2) & 0xffff) < dropout.threshold) p[i] = 0;
    }
}

// A row of a tile of probabilities; row 4i + quarter has a thread's key i.
__device__ __forceinline__ void put(float* row, const float (&p)[PACK], unsigned quarter) {
#pragma unroll
    for (int i = 0; i < PACK; i++) row[QUARTERS * i + quarter] = p[i];
}

// Shared memory: queries, keys, values [32, D], probabilities [32, 32].
template <int D, bool DROPS>
__device__ __forceinline__ void attention_forward(float* ctx, float* lse, const float* qkv, const Sequences& sequences,
                                                  const Heads& heads, const Dropout& dropout) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *keys = queries + TILE_ROWS * ROW<D>, *values = keys + TILE_ROWS * ROW<D>;
    const unsigned row = threadIdx.x / QUARTERS, quarter = threadIdx.x % QUARTERS;
    float* probabilities = values + TILE_ROWS * ROW<D> + row * P_ROW;
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * TILE_ROWS, query = first + row;
    if (first >= task.length) return;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width;
    const float* q = qkv + (size_t)task.start * stride + task.head * columns;
    load_tile<D, false>(queries, q, stride, columns, first, task.length);
    const float root = heads.root, scale = root * LOG2_E;
    float largest = -INFINITY, sum = 0;
    float4 o[D / 16] = {};
    for (unsigned tile = 0; tile < task.length; tile += TILE_ROWS) {
        load_tile<D, true>(keys, q + width, stride, columns, tile, task.length);
        load_tile<D, true>(values, q + 2 * width, stride, columns, tile, task.length);
        __syncthreads();
        const unsigned first_key = tile + quarter * PACK;
        float p[PACK];
        multiply_rows<D>(p, queries + row * ROW<D>, keys, quarter);
        float top = largest;
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            if (first_key + i >= task.length) p[i] = -INFINITY;
            top = fmaxf(top, p[i]);
        }
        top = quad_max(top);
        const float factor = power_of_two((largest - top) * scale), shift = top * scale;
        largest = top;
        float total = 0;
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            p[i] = power_of_two(fmaf(p[i], scale, -shift));
            total += p[i];
        }
        sum = fmaf(sum, factor, total);
        if constexpr (DROPS) drop(p, dropout, task, query, first_key);
        put(probabilities, p, quarter);
        __syncwarp();
#pragma unroll
        for (int m = 0; m < D / 16; m++) {
            o[m] = make_float4(o[m].x * factor, o[m].y * factor, o[m].z * factor, o[m].w * factor);
        }
        add_weighted_rows<D>(o, probabilities, 1, values, quarter);
        __syncthreads();
    }
    sum = quad_sum(sum);
    if (query >= task.length) return;
    if (quarter == 0) lse[(size_t)task.head * task.tokens + task.start + query] = lse_of_scores(largest, root, sum);
    store_row<D>(ctx + (size_t)(task.start + query) * width + task.head * columns, o, dropout.scale / sum, columns,
                 quarter);
}

// Shared memory: queries, d_ctx, keys, values [32, D], d_s [32, 32].
template <int D, bool DROPS>
__device__ __forceinline__ void attention_backward_query(float* d_qkv, float2* statistics, const float* d_ctx,
                                                         const float* qkv, const float* ctx, const float* lse,
                                                         const Sequences& sequences, const Heads& heads,
                                                         const Dropout& dropout) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *d_out = queries + TILE_ROWS * ROW<D>;
    float *keys = d_out + TILE_ROWS * ROW<D>, *values = keys + TILE_ROWS * ROW<D>;
    const unsigned row = threadIdx.x / QUARTERS, quarter = threadIdx.x % QUARTERS;
    float* d_s = values + TILE_ROWS * ROW<D> + row * P_ROW;
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * TILE_ROWS, query = first + row;
    if (first >= task.length) return;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width;
    const size_t qkv_at = (size_t)task.start * stride + task.head * columns;
    const size_t ctx_at = (size_t)task.start * width + task.head * columns;
    const float* q = qkv + qkv_at;
    load_tile<D, false>(queries, q, stride, columns, first, task.length);
    load_tile<D, false>(d_out, d_ctx + ctx_at, width, columns, first, task.length);
    __syncthreads();
    float delta = 0, own_lse = 0;
    if (query < task.length) {
        const float* own = ctx + ctx_at + (size_t)query * width;
        for (unsigned column = quarter * CHUNK; column < columns; column += QUARTERS * CHUNK) {
            delta = dot_add(delta, chunk_at(own + column), chunk_at(d_out + row * ROW<D> + column));
        }
        own_lse = lse[(size_t)task.head * task.tokens + task.start + query];
    }
    delta = quad_sum(delta);
    if (quarter == 0 && query < task.length) {
        statistics[(size_t)task.head * task.tokens + task.start + query] = make_float2(own_lse, delta);
    }
    const float root = heads.root;
    float4 d_q[D / 16] = {};
    for (unsigned tile = 0; tile < task.length; tile += TILE_ROWS) {
        load_tile<D, true>(keys, q + width, stride, columns, tile, task.length);
        load_tile<D, true>(values, q + 2 * width, stride, columns, tile, task.length);
        __syncthreads();
        const unsigned first_key = tile + quarter * PACK;
        float s[PACK], d[PACK];
        multiply_rows<D>(s, queries + row * ROW<D>, keys, quarter);
        multiply_rows<D>(d, d_out + row * ROW<D>, values, quarter);
        if constexpr (DROPS) drop(d, dropout, task, query, first_key);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            d[i] = probability(s[i], root, own_lse) * fmaf(d[i], dropout.scale, -delta);
            if (first_key + i >= task.length) d[i] = 0;
        }
        put(d_s, d, quarter);
        __syncwarp();
        add_weighted_rows<D>(d_q, d_s, 1, keys, quarter);
        __syncthreads();
    }
    if (query < task.length) store_row<D>(d_qkv + qkv_at + (size_t)query * stride, d_q, root, columns, quarter);
}

// Shared memory: queries, d_ctx, keys, values [32, D], probabilities and d_s [32, 32].
template <int D, bool DROPS>
__device__ __forceinline__ void attention_backward_key_value(float* d_qkv, const float2* statistics, const float* d_ctx,
                                                             const float* qkv, const Sequences& sequences,
                                                             const Heads& heads, const Dropout& dropout) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *d_out = queries + TILE_ROWS * ROW<D>;
    float *keys = d_out + TILE_ROWS * ROW<D>, *values = keys + TILE_ROWS * ROW<D>;
    float *probabilities = values + TILE_ROWS * ROW<D>, *d_s = probabilities + TILE_ROWS * P_ROW;
    const unsigned row = threadIdx.x / QUARTERS, quarter = threadIdx.x % QUARTERS;
    const Task task = task_at(sequences, blockIdx.y, blockIdx.z);
    const unsigned first = blockIdx.x * TILE_ROWS;
    if (first >= task.length) return;
    const unsigned width = heads.width, columns = heads.columns;
    const unsigned stride = 3 * width, first_key = first + quarter * PACK;
    const size_t qkv_at = (size_t)task.start * stride + task.head * columns;
    const float* q = qkv + qkv_at;
    const float* own_d = d_ctx + (size_t)task.start * width + task.head * columns;
    load_tile<D, true>(keys, q + width, stride, columns, first, task.length);
    load_tile<D, true>(values, q + 2 * width, stride, columns, first, task.length);
    const float root = heads.root;
    float4 d_k[D / 16] = {}, d_v[D / 16] = {};
    for (unsigned tile = 0; tile < task.length; tile += TILE_ROWS) {
        load_tile<D, false>(queries, q, stride, columns, tile, task.length);
        load_tile<D, false>(d_out, own_d, width, columns, tile, task.length);
        // Queries beyond the sequence are rows of zeros with the statistics 0, 0: they add nothing.
        const unsigned query = tile + row;
        float2 own = make_float2(0, 0);
        if (query < task.length) own = statistics[(size_t)task.head * task.tokens + task.start + query];
        __syncthreads();
        float s[PACK], d[PACK];
        multiply_rows<D>(s, queries + row * ROW<D>, keys, quarter);
        multiply_rows<D>(d, d_out + row * ROW<D>, values, quarter);
        if constexpr (DROPS) drop(d, dropout, task, query, first_key);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            s[i] = probability(s[i], root, own.x);
            d[i] = s[i] * fmaf(d[i], dropout.scale, -own.y);
        }
        if constexpr (DROPS) drop(s, dropout, task, query, first_key);
        put(probabilities + row * P_ROW, s, quarter);
        put(d_s + row * P_ROW, d, quarter);
        __syncthreads();
        add_weighted_rows<D>(d_v, probabilities + row, P_ROW, d_out, quarter);
        add_weighted_rows<D>(d_k, d_s + row, P_ROW, queries, quarter);
        __syncthreads();
    }
    const unsigned key = first + spread_key(row);
    if (key >= task.length) return;
    float* out = d_qkv + qkv_at + (size_t)key * stride;
    store_row<D>(out + width, d_k, root, columns, quarter);
    store_row<D>(out + 2 * width, d_v, dropout.scale, columns, quarter);
}

// Grids: (blocks of queries or of keys, sequences, heads). statistics: [H, T]. Shared memory holds two blocks where
// rows are long, so that registers need not make room for more. Both forms of a pass take the same arguments, so that
// the host has one launch.
#define ATTENTION_FORWARD(D, NAME, DROPS)                                                                          \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)                                             \
        NAME(float* __restrict__ ctx, float* __restrict__ lse, const float* __restrict__ qkv, Sequences sequences, \
             Heads heads, Dropout dropout, Mark mark) {                                                            \
        leave_mark(mark);                                                                                          \
        attention_forward<D, DROPS>(ctx, lse, qkv, sequences, heads, dropout);                                     \
    }
#define ATTENTION_BACKWARD_QUERY(D, NAME, DROPS)                                                                \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)                                          \
        NAME(float* __restrict__ d_qkv, float2* __restrict__ statistics, const float* __restrict__ d_ctx,       \
             const float* __restrict__ qkv, const float* __restrict__ ctx, const float* __restrict__ lse,       \
             Sequences sequences, Heads heads, Dropout dropout, Mark mark) {                                    \
        leave_mark(mark);                                                                                       \
        attention_backward_query<D, DROPS>(d_qkv, statistics, d_ctx, qkv, ctx, lse, sequences, heads, dropout); \
    }
#define ATTENTION_BACKWARD_KEY_VALUE(D, NAME, DROPS)                                                            \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)                                          \
        NAME(float* __restrict__ d_qkv, const float2* __restrict__ statistics, const float* __restrict__ d_ctx, \
             const float* __restrict__ qkv, Sequences sequences, Heads heads, Dropout dropout, Mark mark) {     \
        leave_mark(mark);                                                                                       \
        attention_backward_key_value<D, DROPS>(d_qkv, statistics, d_ctx, qkv, sequences, heads, dropout);       \
    }
ATTENTION_FORWARD(16, attention_forward_f32_d16, false)
ATTENTION_FORWARD(32, attention_forward_f32_d32, false)
ATTENTION_FORWARD(64, attention_forward_f32_d64, false)
ATTENTION_FORWARD(96, attention_forward_f32_d96, false)
ATTENTION_FORWARD(128, attention_forward_f32_d128, false)
ATTENTION_FORWARD(16, attention_forward_dropout_f32_d16, true)
ATTENTION_FORWARD(32, attention_forward_dropout_f32_d32, true)
ATTENTION_FORWARD(64, attention_forward_dropout_f32_d64, true)
ATTENTION_FORWARD(96, attention_forward_dropout_f32_d96, true)
ATTENTION_FORWARD(128, attention_forward_dropout_f32_d128, true)
ATTENTION_BACKWARD_QUERY(16, attention_backward_query_f32_d16, false)
ATTENTION_BACKWARD_QUERY(32, attention_backward_query_f32_d32, false)
ATTENTION_BACKWARD_QUERY(64, attention_backward_query_f32_d64, false)
ATTENTION_BACKWARD_QUERY(96, attention_backward_query_f32_d96, false)
ATTENTION_BACKWARD_QUERY(128, attention_backward_query_f32_d128, false)
ATTENTION_BACKWARD_QUERY(16, attention_backward_query_dropout_f32_d16, true)
ATTENTION_BACKWARD_QUERY(32, attention_backward_query_dropout_f32_d32, true)
ATTENTION_BACKWARD_QUERY(64, attention_backward_query_dropout_f32_d64, true)
ATTENTION_BACKWARD_QUERY(96, attention_backward_query_dropout_f32_d96, true)
ATTENTION_BACKWARD_QUERY(128, attention_backward_query_dropout_f32_d128, true)
ATTENTION_BACKWARD_KEY_VALUE(16, attention_backward_key_value_f32_d16, false)
ATTENTION_BACKWARD_KEY_VALUE(32, attention_backward_key_value_f32_d32, false)
ATTENTION_BACKWARD_KEY_VALUE(64, attention_backward_key_value_f32_d64, false)
ATTENTION_BACKWARD_KEY_VALUE(96, attention_backward_key_value_f32_d96, false)
ATTENTION_BACKWARD_KEY_VALUE(128, attention_backward_key_value_f32_d128, false)
ATTENTION_BACKWARD_KEY_VALUE(16, attention_backward_key_value_dropout_f32_d16, true)
ATTENTION_BACKWARD_KEY_VALUE(32, attention_backward_key_value_dropout_f32_d32, true)
ATTENTION_BACKWARD_KEY_VALUE(64, attention_backward_key_value_dropout_f32_d64, true)
ATTENTION_BACKWARD_KEY_VALUE(96, attention_backward_key_value_dropout_f32_d96, true)
ATTENTION_BACKWARD_KEY_VALUE(128, attention_backward_key_value_dropout_f32_d128, true)
