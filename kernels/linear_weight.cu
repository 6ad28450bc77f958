// Linear layers, backward to the weights: d_W (+)= d_yᵀ · x, d_b (+)= column sums of d_y.
//
//   d_y [rows, O], x [rows, I] in the working precision; d_W [O, I], d_b [O] in the float32 arena of gradients
//
// A block owns a tile of d_W and a part of the rows, gridDim.z parts at most; it reads no row beyond the true number.
// The block that finishes last with a tile adds the parts in their order, and overwrites or adds to the gradient. So
// the bits depend on the true number of rows and the shape of d_W, on nothing else. Blocks of the first column of tiles
// sum d_y as well, from the tiles they have (as one more mma with a matrix of ones). Floor: 2 · rows · I · O FLOPs, d_y
// and x read once, 4 · I · O bytes written.
#include "batch.cuh"
#include "gemm_simt.cuh"
#include "gemm_tensor.cuh"
#include "mark.cuh"

extern __shared__ __align__(128) unsigned char dynamic_shared[];

// Whether this block is the last of `parts` to arrive. What all of them wrote before is then visible to all its
// threads. The counter ends at 0 again.
__device__ __forceinline__ bool arrives_last(unsigned* arrivals, unsigned parts) {
    __threadfence();
    __syncthreads();
    const bool is_last = threadIdx.x == 0 && atomicInc(arrivals, parts - 1) == parts - 1;
    const bool last = __syncthreads_or(is_last);
    __threadfence();
    return last;
}

// partials: [gridDim.z, tiles, M · N + M], arrivals: [tiles], all 0.
template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void linear_backward_weight(float* d_weight, float* d_bias, float* partials,
                                                       unsigned* arrivals, const T* d_y, const T* x, unsigned inputs,
                                                       unsigned outputs, const Rows& rows, int adds) {
    constexpr unsigned PARTIAL = Tile::M * Tile::N + Tile::M;
    const unsigned count = *rows.count;
    const unsigned even = (count + gridDim.z - 1) / gridDim.z;
    const unsigned length = (max(even, GEMM_SPLIT_LEAST) + Tile::K - 1) / Tile::K * Tile::K;
    const unsigned parts = (count + length - 1) / length, part = blockIdx.z;
    if (part >= parts) return;

    const Place place = {blockIdx.y * Tile::M, blockIdx.x * Tile::N, outputs, inputs};
    const bool sums_bias = blockIdx.x == 0;
    typename Tile::template Product<Run::ACROSS, Run::ACROSS> product;
    product.template run<true>(dynamic_shared, {d_y, outputs, outputs, nullptr}, {x, inputs, inputs, nullptr}, place,
                               part * length, min(count, (part + 1) * length), sums_bias);
    if (parts > 1) {
        const unsigned tile = blockIdx.y * gridDim.x + blockIdx.x, tiles = gridDim.x * gridDim.y;
        auto partial = [&](unsigned part) { return partials + (static_cast<size_t>(part) * tiles + tile) * PARTIAL; };
        store_partial(partial(part), product.sums);
        if (sums_bias)
            product.for_each_row_sum(place, [&](unsigned row, float sum) {
                __stcg(partial(part) + Tile::M * Tile::N + (row - place.row), sum);
            });
        if (!arrives_last(arrivals + tile, parts)) return;
#pragma unroll
        for (int i = 0; i < Tile::SUMS; i++) product.sums[i] = 0.0f;
        for (unsigned p = 0; p < parts; p++) add_partial(product.sums, partial(p));
        if (sums_bias)
            product.for_each_row_sum(place, [&](unsigned row, float) {
                float sum = 0.0f;
                for (unsigned p = 0; p < parts; p++) sum += __ldcg(partial(p) + Tile::M * Tile::N + (row - place.row));
                d_bias[row] = adds ? d_bias[row] + sum : sum;
            });
    } else if (sums_bias) {
        product.for_each_row_sum(place, [&](unsigned row, float sum) { d_bias[row] = adds ? d_bias[row] + sum : sum; });
    }
    product.for_each_pack(place, [&](unsigned row, unsigned column, Pack pack) {
        float* at = d_weight + static_cast<size_t>(row) * inputs + column;
        if (adds) {
            const Pack before = load_pack(at);
#pragma unroll
            for (int i = 0; i < PACK; i++) pack.v[i] += before.v[i];
        }
        store_pack(at, pack);
    });
}

// Blocks read what others leave in `partials` and `arrivals`, so these two promise nothing.
#define LINEAR_BACKWARD_WEIGHT(NAME, TILE, T)                                                                    \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS, GEMM_LEAST_BLOCKS)                                \
        NAME(float* __restrict__ d_weight, float* __restrict__ d_bias, float* partials, unsigned* arrivals,      \
             const T* __restrict__ d_y, const T* __restrict__ x, unsigned inputs, unsigned outputs, Rows rows,   \
             int adds, Mark mark) {                                                                              \
        leave_mark(mark);                                                                                        \
        linear_backward_weight<TILE>(d_weight, d_bias, partials, arrivals, d_y, x, inputs, outputs, rows, adds); \
    }
LINEAR_BACKWARD_WEIGHT(linear_backward_weight_bf16_large, Large<bf16>, bf16)
LINEAR_BACKWARD_WEIGHT(linear_backward_weight_bf16_medium, Medium<bf16>, bf16)
LINEAR_BACKWARD_WEIGHT(linear_backward_weight_tf32_large, Large<float>, float)
LINEAR_BACKWARD_WEIGHT(linear_backward_weight_tf32_medium, Medium<float>, float)
LINEAR_BACKWARD_WEIGHT(linear_backward_weight_f32, Simt, float)
