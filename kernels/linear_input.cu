// Linear layers, backward to the input: d_x = d_y · W and what follows it.
//
//   linear_backward_input         d_x = d_y · W (+ residual)            d_y [rows, O], W [O, I], d_x [rows, I]
//   linear_backward_input_gelu    d_u = (d_y · W) ∘ GELU'(u), h = GELU(u) recomputed where it is wanted
//   linear_backward_input_gelu_tanh   the same with the tanh form of GELU
//   project_first_backward_input  d_x[first row of sequence b] += d_q · Wq + residual; d_q [B, A], residual [B, C],
//                                 d_x [T, C]
//
// A block owns a tile of the output and overwrites it (the last form adds to rows that no other block has); blocks
// beyond the true number of rows return. W is read as it lies, across the reduction, and transposed by ldmatrix. Floor:
// 2 · rows · I · O FLOPs, everything read and written once. No sum is split, so neither the tile nor the bucket of a
// batch changes a bit.
#include "batch.cuh"
#include "gelu.cuh"
#include "gemm_simt.cuh"
#include "gemm_tensor.cuh"
#include "mark.cuh"

extern __shared__ __align__(128) unsigned char dynamic_shared[];

// This block's tile of d_y · W, in packs: `each(row, column, pack)`.
template <class Tile, class T, class Each>
__device__ __forceinline__ void input_product(const T* d_y, const T* weight, unsigned inputs, unsigned outputs,
                                              const unsigned* count, Each each) {
    const Place place = {blockIdx.y * Tile::M, blockIdx.x * Tile::N, *count, inputs};
    if (place.row >= place.rows) return;
    typename Tile::template Product<Run::ALONG, Run::ACROSS> product;
    product.run(dynamic_shared, {d_y, outputs, place.rows, nullptr}, {weight, inputs, inputs, nullptr}, place, 0,
                outputs);
    product.for_each_pack(place, each);
}

__device__ __forceinline__ void add(Pack& sum, const Pack& other) {
#pragma unroll
    for (int i = 0; i < PACK; i++) sum.v[i] += other.v[i];
}

template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void linear_backward_input(T* d_x, const T* d_y, const T* residual, const T* weight,
                                                      unsigned inputs, unsigned outputs, const Rows& rows) {
    input_product<Tile>(d_y, weight, inputs, outputs, rows.count, [&](unsigned row, unsigned column, Pack pack) {
        const size_t at = static_cast<size_t>(row) * inputs + column;
        if (residual) add(pack, load_pack(residual + at));
        store_pack(d_x + at, pack);
    });
}

template <class Tile, GeluForm FORM, class T = typename Tile::Number>
__device__ __forceinline__ void linear_backward_input_gelu(T* d_u, T* h, const T* d_y, const T* u, const T* weight,
                                                           unsigned inputs, unsigned outputs, const Rows& rows) {
    input_product<Tile>(d_y, weight, inputs, outputs, rows.count, [&](unsigned row, unsigned column, Pack pack) {
        const size_t at = static_cast<size_t>(row) * inputs + column;
        Pack values = load_pack(u + at);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            const Gelu made = gelu<FORM>(values.v[i]);
            values.v[i] = made.value;
            pack.v[i] *= made.slope;
        }
        if (h) store_pack(h + at, values);
        store_pack(d_u + at, pack);
    });
}

template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void project_first_backward_input(T* d_x, const T* d_q, const T* residual, const T* weight,
                                                             const unsigned* offsets, unsigned inputs, unsigned outputs,
                                                             const Rows& sequences) {
    input_product<Tile>(d_q, weight, inputs, outputs, sequences.count, [&](unsigned row, unsigned column, Pack pack) {
        T* at = d_x + static_cast<size_t>(offsets[row]) * inputs + column;
        add(pack, load_pack(residual + static_cast<size_t>(row) * inputs + column));
        add(pack, load_pack(at));
        store_pack(at, pack);
    });
}

#define LINEAR_BACKWARD_INPUT(NAME, TILE, T)                                                          \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                     \
        NAME(T* __restrict__ d_x, const T* __restrict__ d_y, const T* __restrict__ residual,          \
             const T* __restrict__ weight, unsigned inputs, unsigned outputs, Rows rows, Mark mark) { \
        leave_mark(mark);                                                                             \
        linear_backward_input<TILE>(d_x, d_y, residual, weight, inputs, outputs, rows);               \
    }
LINEAR_BACKWARD_INPUT(linear_backward_input_bf16_large, Large<bf16>, bf16)
LINEAR_BACKWARD_INPUT(linear_backward_input_bf16_medium, Medium<bf16>, bf16)
LINEAR_BACKWARD_INPUT(linear_backward_input_bf16_small, Small<bf16>, bf16)
LINEAR_BACKWARD_INPUT(linear_backward_input_tf32_large, Large<float>, float)
LINEAR_BACKWARD_INPUT(linear_backward_input_tf32_medium, Medium<float>, float)
LINEAR_BACKWARD_INPUT(linear_backward_input_tf32_small, Small<float>, float)
LINEAR_BACKWARD_INPUT(linear_backward_input_f32, Simt, float)

#define LINEAR_BACKWARD_INPUT_GELU(NAME, TILE, T, FORM)                                                  \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                        \
        NAME(T* __restrict__ d_u, T* __restrict__ h, const T* __restrict__ d_y, const T* __restrict__ u, \
             const T* __restrict__ weight, unsigned inputs, unsigned outputs, Rows rows, Mark mark) {    \
        leave_mark(mark);                                                                                \
        linear_backward_input_gelu<TILE, GeluForm::FORM>(d_u, h, d_y, u, weight, inputs, outputs, rows); \
    }
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_bf16_large, Large<bf16>, bf16, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_bf16_medium, Medium<bf16>, bf16, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_bf16_small, Small<bf16>, bf16, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tf32_large, Large<float>, float, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tf32_medium, Medium<float>, float, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tf32_small, Small<float>, float, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_f32, Simt, float, ERF)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_bf16_large, Large<bf16>, bf16, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_bf16_medium, Medium<bf16>, bf16, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_bf16_small, Small<bf16>, bf16, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_tf32_large, Large<float>, float, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_tf32_medium, Medium<float>, float, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_tf32_small, Small<float>, float, TANH)
LINEAR_BACKWARD_INPUT_GELU(linear_backward_input_gelu_tanh_f32, Simt, float, TANH)

#define PROJECT_FIRST_BACKWARD_INPUT(NAME, TILE, T)                                                                   \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS) NAME(                               \
        T* __restrict__ d_x, const T* __restrict__ d_q, const T* __restrict__ residual, const T* __restrict__ weight, \
        const unsigned* __restrict__ offsets, unsigned inputs, unsigned outputs, Rows sequences, Mark mark) {         \
        leave_mark(mark);                                                                                             \
        project_first_backward_input<TILE>(d_x, d_q, residual, weight, offsets, inputs, outputs, sequences);          \
    }
PROJECT_FIRST_BACKWARD_INPUT(project_first_backward_input_bf16, Small<bf16>, bf16)
PROJECT_FIRST_BACKWARD_INPUT(project_first_backward_input_tf32, Small<float>, float)
PROJECT_FIRST_BACKWARD_INPUT(project_first_backward_input_f32, Simt, float)
