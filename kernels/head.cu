// The classifier on B rows, logits = dropped · Wᵀ + b, and its backward pass through to the pooler's tanh; the pooler
// is a linear layer (linear.cu). Any number of classes N; B and N are small or skewed, so no tensor cores: every weight
// is read once for HEAD_ROWS rows, which is what bounds it (2NC bytes in bf16, 2BNC FLOPs).
//
//   logits [B, N]   a warp owns (HEAD_ROWS rows, one class), its lanes share the columns; overwrites
//   d_pre [B, C]    = (d_logits · W) ∘ dropout ∘ (1 − pooled²), the gradient before the pooler's tanh; a block owns
//                   (HEAD_BACKWARD_ROWS rows, WARP packs of columns), its warps share the classes; overwrites
//   d_W [N, C], d_b [N]  = d_logitsᵀ · dropped, column sums of d_logits; a warp owns (HEAD_CLASSES classes, WARP packs
//   of
//                   columns) and adds the rows in order; overwrites or accumulates
#include "batch.cuh"
#include "dropout.cuh"
#include "reduce.cuh"
#include "mark.cuh"

constexpr int HEAD_WARPS = HEAD_THREADS / WARP;

// Products of HEAD_ROWS rows of x [rows, C] from `first` on with a weight's row: lane i returns that of row first + i.
template <class T>
__device__ __forceinline__ float rows_product(const T* x, const T* weight, unsigned first, unsigned rows,
                                              unsigned width) {
    const unsigned lane = threadIdx.x % WARP;
    float sums[HEAD_ROWS] = {};
    for (unsigned column = lane * PACK; column < width; column += WARP * PACK) {
        const Pack w = load_pack(weight + column);
#pragma unroll
        for (int i = 0; i < HEAD_ROWS; i++) {
            if (first + i < rows) sums[i] = dot(w, load_pack(x + (size_t)(first + i) * width + column), sums[i]);
        }
    }
    float own = 0;
#pragma unroll
    for (int i = 0; i < HEAD_ROWS; i++) {
        const float sum = warp_sum(sums[i]);
        if (lane == i) own = sum;
    }
    return own;
}

template <class T>
__device__ __forceinline__ void classify(float* __restrict__ logits,     // [B, N]
                                         const T* __restrict__ x,        // [B, C]
                                         const T* __restrict__ weight,   // [N, C]
                                         const float* __restrict__ bias, // [N]
                                         const BatchHeader* __restrict__ header, unsigned classes, unsigned width) {
    const unsigned n = blockIdx.x * HEAD_WARPS + threadIdx.x / WARP, rows = header->sequences;
    const unsigned first = blockIdx.y * HEAD_ROWS, row = first + threadIdx.x % WARP;
    if (n >= classes || first >= rows) return;
    const float product = rows_product(x, weight + (size_t)n * width, first, rows, width);
    if (row < rows && row < first + HEAD_ROWS) logits[(size_t)row * classes + n] = product + bias[n];
}

template <class T>
__device__ __forceinline__ void classify_backward(T* __restrict__ d_pre,              // [B, C]
                                                  const float* __restrict__ d_logits, // [B, N]
                                                  const T* __restrict__ pooled,       // [B, C]
                                                  const T* __restrict__ weight,       // [N, C]
                                                  const BatchHeader* __restrict__ header, const Rows& rows,
                                                  unsigned classes, unsigned width, const Dropout& dropout) {
    __shared__ __align__(16) float sums[HEAD_WARPS][HEAD_BACKWARD_ROWS][WARP * PACK];
    static_assert(HEAD_BACKWARD_ROWS <= HEAD_WARPS, "a warp finishes a row");
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned column = (blockIdx.x * WARP + lane) * PACK;
    const unsigned first = blockIdx.y * HEAD_BACKWARD_ROWS, count = *rows.count;
    if (first >= count) return;
    Pack partial[HEAD_BACKWARD_ROWS] = {};
    if (column < width) {
#pragma unroll 2
        for (unsigned n = warp; n < classes; n += HEAD_WARPS) {
            const Pack w = load_pack(weight + (size_t)n * width + column);
#pragma unroll
            for (int i = 0; i < HEAD_BACKWARD_ROWS; i++) {
                const float d = first + i < count ? d_logits[(size_t)(first + i) * classes + n] : 0.0f;
#pragma unroll
                for (int k = 0; k < PACK; k++) partial[i].v[k] = fmaf(d, w.v[k], partial[i].v[k]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < HEAD_BACKWARD_ROWS; i++) store_pack(&sums[warp][i][lane * PACK], partial[i]);
    __syncthreads();
    const unsigned row = first + warp;
    if (warp >= HEAD_BACKWARD_ROWS || row >= count || column >= width) return;
    Pack d = {};
#pragma unroll
    for (int w = 0; w < HEAD_WARPS; w++) {
        const Pack part = load_pack(&sums[w][warp][lane * PACK]);
#pragma unroll
        for (int k = 0; k < PACK; k++) d.v[k] += part.v[k];
    }
    const Pack factors = dropout_factors_if_any(dropout, column / PACK, rows.slots[row], header->step);
    const Pack y = load_pack(pooled + (size_t)row * width + column);
#pragma unroll
    for (int k = 0; k < PACK; k++) d.v[k] = d.v[k] * factors.v[k] * (1.0f - y.v[k] * y.v[k]);
    store_pack(d_pre + (size_t)row * width + column, d);
}

template <class T>
__device__ __forceinline__ void classify_backward_weight(float* __restrict__ d_weight,       // [N, C]
                                                         float* __restrict__ d_bias,         // [N]
                                                         const float* __restrict__ d_logits, // [B, N]
                                                         const T* __restrict__ dropped,      // [B, C]
                                                         const BatchHeader* __restrict__ header, unsigned classes,
                                                         unsigned width, int add) {
    const unsigned lane = threadIdx.x % WARP, column = (blockIdx.y * WARP + lane) * PACK;
    const unsigned first = (blockIdx.x * HEAD_WARPS + threadIdx.x / WARP) * HEAD_CLASSES;
    const unsigned rows = header->sequences;
    if (column >= width) return;
    Pack sums[HEAD_CLASSES] = {};
    float bias[HEAD_CLASSES] = {};
#pragma unroll 2
    for (unsigned b = 0; b < rows; b++) {
        const Pack x = load_pack(dropped + (size_t)b * width + column);
#pragma unroll
        for (int i = 0; i < HEAD_CLASSES; i++) {
            const float d = first + i < classes ? d_logits[(size_t)b * classes + first + i] : 0.0f;
            bias[i] += d;
#pragma unroll
            for (int k = 0; k < PACK; k++) sums[i].v[k] = fmaf(d, x.v[k], sums[i].v[k]);
        }
    }
#pragma unroll
    for (int i = 0; i < HEAD_CLASSES; i++) {
        if (first + i >= classes) return;
        float* const out = d_weight + (size_t)(first + i) * width + column;
        if (add) {
            const Pack before = load_pack(out);
#pragma unroll
            for (int k = 0; k < PACK; k++) sums[i].v[k] += before.v[k];
        }
        store_pack(out, sums[i]);
        if (column == 0) d_bias[first + i] = add ? d_bias[first + i] + bias[i] : bias[i];
    }
}

#define HEAD(FORWARD, BACKWARD, BACKWARD_WEIGHT, T)                                                            \
    extern "C" __global__ void __launch_bounds__(HEAD_THREADS)                                                 \
        FORWARD(float* logits, const T* x, const T* weight, const float* bias, const BatchHeader* header,      \
                unsigned classes, unsigned width, Mark mark) {                                                 \
        leave_mark(mark);                                                                                      \
        classify(logits, x, weight, bias, header, classes, width);                                             \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(HEAD_THREADS)                                                 \
        BACKWARD(T* d_pre, const float* d_logits, const T* pooled, const T* weight, const BatchHeader* header, \
                 Rows rows, unsigned classes, unsigned width, Dropout dropout, Mark mark) {                    \
        leave_mark(mark);                                                                                      \
        classify_backward(d_pre, d_logits, pooled, weight, header, rows, classes, width, dropout);             \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(HEAD_THREADS)                                                 \
        BACKWARD_WEIGHT(float* d_weight, float* d_bias, const float* d_logits, const T* dropped,               \
                        const BatchHeader* header, unsigned classes, unsigned width, int add, Mark mark) {     \
        leave_mark(mark);                                                                                      \
        classify_backward_weight(d_weight, d_bias, d_logits, dropped, header, classes, width, add);            \
    }
HEAD(classify_forward_f32, classify_backward_f32, classify_backward_weight_f32, float)
HEAD(classify_forward_bf16, classify_backward_bf16, classify_backward_weight_bf16, bf16)
