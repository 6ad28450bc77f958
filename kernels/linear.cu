// Linear layers, forward: y = x · Wᵀ + b and what BERT does with it before it is stored.
//
//   linear                   y = x · Wᵀ + b                        x [rows, I], W [O, I], b [O], y [rows, O]
//   linear_gelu              u = x · Wᵀ + b, h = GELU(u)           u is stored where it is wanted; h is that of u as
//   stored linear_gelu_tanh         the same with the tanh form of GELU
//   linear_residual          r = residual + x · Wᵀ + b
//   linear_dropout_residual  r = residual + dropout(x · Wᵀ + b)
//   pooler                   pooled = tanh(x · Wᵀ + b), dropped = dropout(pooled)
//   project_first            kv = x · [Wk; Wv]ᵀ + b of all tokens; q = first · Wqᵀ + b of first tokens, read through
//   the
//                            offsets; first = those rows
//
// A block owns a tile of the output and overwrites it; blocks beyond the true number of rows return. Sums, bias and
// epilogue are float32, rounded once. Floor: 2 · rows · I · O FLOPs, x, W and what the epilogue reads read once,
// outputs written once. No sum is split, so neither the tile nor the bucket of a batch changes a bit.
#include "batch.cuh"
#include "dropout.cuh"
#include "gelu.cuh"
#include "gemm_simt.cuh"
#include "gemm_tensor.cuh"
#include "mark.cuh"

extern __shared__ __align__(128) unsigned char dynamic_shared[];

// x · Wᵀ + b at `place`, in packs: `each(row, column, pack)`.
template <class Tile, class T, class Each>
__device__ __forceinline__ void product_bias(const T* x, const unsigned* gather, const T* weight, const float* bias,
                                             unsigned inputs, const Place& place, Each each) {
    typename Tile::template Product<Run::ALONG, Run::ALONG> product;
    product.run(dynamic_shared, {x, inputs, place.rows, gather}, {weight, inputs, place.columns, nullptr}, place, 0,
                inputs);
    product.for_each_pack(place, [&](unsigned row, unsigned column, Pack pack) {
        const Pack b = load_pack(bias + column);
#pragma unroll
        for (int i = 0; i < PACK; i++) pack.v[i] += b.v[i];
        each(row, column, pack);
    });
}

template <class Tile>
__device__ __forceinline__ Place place_of(unsigned rows, unsigned columns) {
    return {blockIdx.y * Tile::M, blockIdx.x * Tile::N, rows, columns};
}

template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void linear(T* y, const T* x, const T* weight, const float* bias, unsigned inputs,
                                       unsigned outputs, const Rows& rows) {
    const Place place = place_of<Tile>(*rows.count, outputs);
    if (place.row >= place.rows) return;
    product_bias<Tile>(x, nullptr, weight, bias, inputs, place, [&](unsigned row, unsigned column, const Pack& pack) {
        store_pack(y + static_cast<size_t>(row) * outputs + column, pack);
    });
}

template <class Tile, GeluForm FORM, class T = typename Tile::Number>
__device__ __forceinline__ void linear_gelu(T* h, T* u, const T* x, const T* weight, const float* bias, unsigned inputs,
                                            unsigned outputs, const Rows& rows) {
    const Place place = place_of<Tile>(*rows.count, outputs);
    if (place.row >= place.rows) return;
    product_bias<Tile>(x, nullptr, weight, bias, inputs, place, [&](unsigned row, unsigned column, Pack pack) {
        const size_t at = static_cast<size_t>(row) * outputs + column;
        if (u) store_pack(u + at, pack);
#pragma unroll
        for (int i = 0; i < PACK; i++) pack.v[i] = gelu<FORM>(rounded<T>(pack.v[i])).value;
        store_pack(h + at, pack);
    });
}

template <class Tile, bool DROPS, class T = typename Tile::Number>
__device__ __forceinline__ void linear_residual(T* r, const T* x, const T* residual, const T* weight, const float* bias,
                                                unsigned inputs, unsigned outputs, const Rows& rows,
                                                const BatchHeader* header, const Dropout& dropout) {
    const Place place = place_of<Tile>(*rows.count, outputs);
    if (place.row >= place.rows) return;
    const unsigned step = header->step;
    product_bias<Tile>(x, nullptr, weight, bias, inputs, place, [&](unsigned row, unsigned column, Pack pack) {
        const size_t at = static_cast<size_t>(row) * outputs + column;
        const Pack before = load_pack(residual + at);
        if constexpr (DROPS) {
            const unsigned element = (rows.positions ? rows.positions[row] : 0) * outputs + column;
            const Pack factors = dropout_factors(dropout, element / PACK, rows.slots[row], step);
#pragma unroll
            for (int i = 0; i < PACK; i++) pack.v[i] = fmaf(pack.v[i], factors.v[i], before.v[i]);
        } else {
#pragma unroll
            for (int i = 0; i < PACK; i++) pack.v[i] += before.v[i];
        }
        store_pack(r + at, pack);
    });
}

template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void pooler(T* pooled, T* dropped, const T* first, const T* weight, const float* bias,
                                       unsigned inputs, unsigned outputs, const Rows& rows, const BatchHeader* header,
                                       const Dropout& dropout) {
    const Place place = place_of<Tile>(*rows.count, outputs);
    if (place.row >= place.rows) return;
    const unsigned step = header->step;
    product_bias<Tile>(first, nullptr, weight, bias, inputs, place, [&](unsigned row, unsigned column, Pack pack) {
        const size_t at = static_cast<size_t>(row) * outputs + column;
        const Pack factors = dropout_factors_if_any(dropout, column / PACK, rows.slots[row], step);
#pragma unroll
        for (int i = 0; i < PACK; i++) pack.v[i] = tanhf(pack.v[i]);
        store_pack(pooled + at, pack);
#pragma unroll
        for (int i = 0; i < PACK; i++) pack.v[i] *= factors.v[i];
        store_pack(dropped + at, pack);
    });
}

// Rows of blocks: `token_tiles` of keys and values, then those of queries, which have half as many columns. Weight and
// bias are those of queries, keys and values, in this order.
template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void project_first(T* kv, T* q, T* first, const T* x, const T* weight, const float* bias,
                                              const unsigned* offsets, const BatchHeader* header, unsigned inputs,
                                              unsigned outputs, unsigned token_tiles) {
    const bool queries = blockIdx.y >= token_tiles;
    Place place = place_of<Tile>(queries ? header->sequences : header->tokens, queries ? outputs : 2 * outputs);
    if (queries) place.row -= token_tiles * Tile::M;
    if (place.row >= place.rows || place.column >= place.columns) return;
    if (queries && blockIdx.x == 0) {
        const unsigned row_packs = inputs / PACK, rows = min(place.rows - place.row, Tile::M);
        for (unsigned i = threadIdx.x; i < rows * row_packs; i += GEMM_THREADS) {
            const unsigned row = place.row + i / row_packs, column = i % row_packs * PACK;
            store_pack(first + static_cast<size_t>(row) * inputs + column,
                       load_pack(x + static_cast<size_t>(offsets[row]) * inputs + column));
        }
    }
    const size_t past_queries = queries ? 0 : static_cast<size_t>(outputs) * inputs;
    T* y = queries ? q : kv;
    product_bias<Tile>(x, queries ? offsets : nullptr, weight + past_queries, bias + (queries ? 0 : outputs), inputs,
                       place, [&](unsigned row, unsigned column, const Pack& pack) {
                           store_pack(y + static_cast<size_t>(row) * place.columns + column, pack);
                       });
}

#define LINEAR(NAME, TILE, T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                                      \
        NAME(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias, \
             unsigned inputs, unsigned outputs, Rows rows, Mark mark) {                                                \
        leave_mark(mark);                                                                                              \
        linear<TILE>(y, x, weight, bias, inputs, outputs, rows);                                                       \
    }
LINEAR(linear_forward_bf16_large, Large<bf16>, bf16)
LINEAR(linear_forward_bf16_medium, Medium<bf16>, bf16)
LINEAR(linear_forward_bf16_small, Small<bf16>, bf16)
LINEAR(linear_forward_tf32_large, Large<float>, float)
LINEAR(linear_forward_tf32_medium, Medium<float>, float)
LINEAR(linear_forward_tf32_small, Small<float>, float)
LINEAR(linear_forward_f32, Simt, float)

#define LINEAR_GELU(NAME, TILE, T, FORM)                                                                  \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                         \
        NAME(T* __restrict__ h, T* __restrict__ u, const T* __restrict__ x, const T* __restrict__ weight, \
             const float* __restrict__ bias, unsigned inputs, unsigned outputs, Rows rows, Mark mark) {   \
        leave_mark(mark);                                                                                 \
        linear_gelu<TILE, GeluForm::FORM>(h, u, x, weight, bias, inputs, outputs, rows);                  \
    }
LINEAR_GELU(linear_gelu_forward_bf16_large, Large<bf16>, bf16, ERF)
LINEAR_GELU(linear_gelu_forward_bf16_medium, Medium<bf16>, bf16, ERF)
LINEAR_GELU(linear_gelu_forward_bf16_small, Small<bf16>, bf16, ERF)
LINEAR_GELU(linear_gelu_forward_tf32_large, Large<float>, float, ERF)
LINEAR_GELU(linear_gelu_forward_tf32_medium, Medium<float>, float, ERF)
LINEAR_GELU(linear_gelu_forward_tf32_small, Small<float>, float, ERF)
LINEAR_GELU(linear_gelu_forward_f32, Simt, float, ERF)
LINEAR_GELU(linear_gelu_tanh_forward_bf16_large, Large<bf16>, bf16, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_bf16_medium, Medium<bf16>, bf16, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_bf16_small, Small<bf16>, bf16, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_tf32_large, Large<float>, float, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_tf32_medium, Medium<float>, float, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_tf32_small, Small<float>, float, TANH)
LINEAR_GELU(linear_gelu_tanh_forward_f32, Simt, float, TANH)

// Both forms take the same arguments, so that the host has one launch for them.
#define LINEAR_RESIDUAL(NAME, TILE, T, DROPS)                                                                          \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                                      \
        NAME(T* __restrict__ r, const T* __restrict__ x, const T* __restrict__ residual, const T* __restrict__ weight, \
             const float* __restrict__ bias, unsigned inputs, unsigned outputs, Rows rows,                             \
             const BatchHeader* __restrict__ header, Dropout dropout, Mark mark) {                                     \
        leave_mark(mark);                                                                                              \
        linear_residual<TILE, DROPS>(r, x, residual, weight, bias, inputs, outputs, rows, header, dropout);            \
    }
LINEAR_RESIDUAL(linear_residual_forward_bf16_large, Large<bf16>, bf16, false)
LINEAR_RESIDUAL(linear_residual_forward_bf16_medium, Medium<bf16>, bf16, false)
LINEAR_RESIDUAL(linear_residual_forward_bf16_small, Small<bf16>, bf16, false)
LINEAR_RESIDUAL(linear_residual_forward_tf32_large, Large<float>, float, false)
LINEAR_RESIDUAL(linear_residual_forward_tf32_medium, Medium<float>, float, false)
LINEAR_RESIDUAL(linear_residual_forward_tf32_small, Small<float>, float, false)
LINEAR_RESIDUAL(linear_residual_forward_f32, Simt, float, false)
LINEAR_RESIDUAL(linear_dropout_residual_forward_bf16_large, Large<bf16>, bf16, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_bf16_medium, Medium<bf16>, bf16, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_bf16_small, Small<bf16>, bf16, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_tf32_large, Large<float>, float, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_tf32_medium, Medium<float>, float, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_tf32_small, Small<float>, float, true)
LINEAR_RESIDUAL(linear_dropout_residual_forward_f32, Simt, float, true)

#define POOLER(NAME, TILE, T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                             \
        NAME(T* __restrict__ pooled, T* __restrict__ dropped, const T* __restrict__ first,                    \
             const T* __restrict__ weight, const float* __restrict__ bias, unsigned inputs, unsigned outputs, \
             Rows rows, const BatchHeader* __restrict__ header, Dropout dropout, Mark mark) {                 \
        leave_mark(mark);                                                                                     \
        pooler<TILE>(pooled, dropped, first, weight, bias, inputs, outputs, rows, header, dropout);           \
    }
POOLER(pooler_forward_bf16, Small<bf16>, bf16)
POOLER(pooler_forward_tf32, Small<float>, float)
POOLER(pooler_forward_f32, Simt, float)

#define PROJECT_FIRST(NAME, TILE, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS) NAME(                               \
        T* __restrict__ kv, T* __restrict__ q, T* __restrict__ first, const T* __restrict__ x,                        \
        const T* __restrict__ weight, const float* __restrict__ bias, const unsigned* __restrict__ offsets,           \
        const BatchHeader* __restrict__ header, unsigned inputs, unsigned outputs, unsigned token_tiles, Mark mark) { \
        leave_mark(mark);                                                                                             \
        project_first<TILE>(kv, q, first, x, weight, bias, offsets, header, inputs, outputs, token_tiles);            \
    }
PROJECT_FIRST(project_first_forward_bf16_large, Large<bf16>, bf16)
PROJECT_FIRST(project_first_forward_bf16_medium, Medium<bf16>, bf16)
PROJECT_FIRST(project_first_forward_bf16_small, Small<bf16>, bf16)
PROJECT_FIRST(project_first_forward_tf32_large, Large<float>, float)
PROJECT_FIRST(project_first_forward_tf32_medium, Medium<float>, float)
PROJECT_FIRST(project_first_forward_tf32_small, Small<float>, float)
PROJECT_FIRST(project_first_forward_f32, Simt, float)
