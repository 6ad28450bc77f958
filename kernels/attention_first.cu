// Attention of each sequence's first token only, forward and backward: what the last layer needs. No matrix products:
// the work is T · A, and the floor is reading kv once (and writing d_kv once in the backward pass).
//
//   q [B, A], kv [T, 2A] → ctx [B, A], lse [B, H]            d_ctx, ctx [B, A] → d_q [B, A], d_kv [T, 2A]
//
// A block owns one head of one sequence. `lanes` neighbouring threads (a power of two, eight columns each) form a group
// and work through eight keys at a time, which share a Philox block; groups take turns at the blocks of eight. Each
// group keeps its own running softmax, or its own sum of d_q; they are folded in the order of the groups. Formulas:
// attention.cuh. Overwrites.
#include "attention.cuh"
#include "mark.cuh"

// Keys that a group has in flight.
constexpr int IN_FLIGHT = 4;

// A thread's place in its group, and what the group works on.
struct Group {
    unsigned number, count; // groups of the block
    unsigned column;        // first of the thread's eight columns
    bool there;             // the head has these columns
    unsigned lanes;

    __device__ __forceinline__ Group(unsigned lanes, unsigned columns)
        : number(threadIdx.x / lanes),
          count(ATTENTION_FIRST_THREADS / lanes),
          column(threadIdx.x % lanes * PACK),
          there(column < columns),
          lanes(lanes) {}

    // Sums over the threads of the group, N at once.
    template <int N>
    __device__ __forceinline__ void sum(float (&x)[N]) const {
        for (unsigned offset = lanes / 2; offset > 0; offset /= 2) {
#pragma unroll
            for (int i = 0; i < N; i++) x[i] += __shfl_xor_sync(0xffffffffu, x[i], offset);
        }
    }

    template <class T>
    __device__ __forceinline__ Pack load(const T* row, bool valid) const {
        return valid && there ? load_pack(row + column) : Pack{};
    }
};

__device__ __forceinline__ void add_scaled(Pack& sum, float factor, const Pack& x) {
#pragma unroll
    for (int i = 0; i < PACK; i++) sum.v[i] = fmaf(factor, x.v[i], sum.v[i]);
}

__device__ __forceinline__ Pack scaled(float factor, const Pack& x) {
    Pack y;
#pragma unroll
    for (int i = 0; i < PACK; i++) y.v[i] = factor * x.v[i];
    return y;
}

// One bit for each key of a block of eight: kept or not. Query 0.
template <bool DROPS>
__device__ __forceinline__ unsigned kept_keys(const Dropout& dropout, const Task& task, unsigned block) {
    if constexpr (!DROPS) return (1u << PACK) - 1;
    const uint4 bits = dropout_bits(dropout, mask_block(task, 0) + block, task.slot, task.step);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
    unsigned kept = 0;
#pragma unroll
    for (int i = 0; i < PACK; i++) kept |= unsigned((words[i / 2] >> 16 * (i % 2) & 0xffff) >= dropout.threshold) << i;
    return kept;
}

// The eight sums of each thread in shared memory, the first four of all threads before the last four: 16-byte writes
// and reads by column are both free of conflicts.
struct GroupSums {
    static constexpr int half = ATTENTION_FIRST_THREADS * PACK / 2 + WARP / 2;
    float values[2 * half];

    __device__ __forceinline__ void put(const Pack& sum) {
        const float* v = sum.v;
        *reinterpret_cast<float4*>(values + threadIdx.x * 4) = make_float4(v[0], v[1], v[2], v[3]);
        *reinterpret_cast<float4*>(values + half + threadIdx.x * 4) = make_float4(v[4], v[5], v[6], v[7]);
    }

    // Σ weights[group] · sum of the group, of one column.
    __device__ __forceinline__ float fold(const float* weights, unsigned column, unsigned groups,
                                          unsigned lanes) const {
        const float* own = values + column % PACK / 4 * half + column / PACK * 4 + column % 4;
        float sum = 0;
        for (unsigned i = 0; i < groups; i++) sum = fmaf(weights[i], own[i * lanes * 4], sum);
        return sum;
    }
};

template <class T, bool DROPS>
__device__ __forceinline__ void attention_first_forward(T* ctx, float* lse, const T* q, const T* kv,
                                                        const Sequences& sequences, const Heads& heads, unsigned lanes,
                                                        const Dropout& dropout) {
    __shared__ __align__(16) GroupSums sums;
    __shared__ float tops[ATTENTION_FIRST_THREADS], totals[ATTENTION_FIRST_THREADS], weights[ATTENTION_FIRST_THREADS];
    const Task task = task_at(sequences, blockIdx.x, blockIdx.y);
    if (task.length == 0) return;
    const unsigned width = heads.width, columns = heads.columns;
    const Group group(lanes, columns);
    const size_t own = (size_t)task.sequence * width + task.head * columns;
    const T* keys = kv + (size_t)task.start * 2 * width + task.head * columns;
    const float root = heads.root, scale = root * LOG2_E;
    const Pack query = group.load(q + own, true);
    const unsigned blocks = (task.length + PACK - 1) / PACK;
    float top = -INFINITY, total = 0;
    Pack sum = {};
    for (unsigned base = 0; base < blocks; base += group.count) {
        // Groups without a block of their own stay: the threads of a warp exchange numbers.
        const unsigned block = base + group.number;
        if (base + threadIdx.x / WARP * WARP / lanes >= blocks) break;
        const unsigned kept = kept_keys<DROPS>(dropout, task, block);
#pragma unroll
        for (unsigned first = 0; first < PACK; first += IN_FLIGHT) {
            Pack values[IN_FLIGHT];
            float s[IN_FLIGHT];
#pragma unroll
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                const unsigned key = block * PACK + first + i;
                const bool valid = key < task.length;
                const T* row = keys + (size_t)(valid ? key : 0) * 2 * width;
                s[i] = dot(query, group.load(row, valid));
                values[i] = group.load(row + width, valid);
            }
            group.sum(s);
            float next = top;
#pragma unroll
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                if (block * PACK + first + i >= task.length) s[i] = -INFINITY;
                next = fmaxf(next, s[i]);
            }
            if (block * PACK + first >= task.length) continue; // no key: differences of infinities are no numbers
            const float factor = power_of_two((top - next) * scale);
            top = next;
            total *= factor;
            sum = scaled(factor, sum);
#pragma unroll
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                const float p = power_of_two((s[i] - top) * scale);
                total += p;
                add_scaled(sum, kept >> (first + i) & 1 ? p : 0, values[i]);
            }
        }
    }
    sums.put(sum);
    if (threadIdx.x % lanes == 0) {
        tops[group.number] = top;
        totals[group.number] = total;
    }
    __syncthreads();
    const unsigned groups = min(group.count, blocks);
    float largest = -INFINITY, all = 0;
    for (unsigned i = 0; i < groups; i++) largest = fmaxf(largest, tops[i]);
    for (unsigned i = 0; i < groups; i++) all = fmaf(power_of_two((tops[i] - largest) * scale), totals[i], all);
    if (threadIdx.x < groups)
        weights[threadIdx.x] = power_of_two((tops[threadIdx.x] - largest) * scale) * dropout.scale / all;
    __syncthreads();
    if (threadIdx.x < columns) ctx[own + threadIdx.x] = from_float<T>(sums.fold(weights, threadIdx.x, groups, lanes));
    if (threadIdx.x == 0) lse[task.sequence * gridDim.y + task.head] = lse_of_scores(largest, root, all);
}

template <class T, bool DROPS>
__device__ __forceinline__ void attention_first_backward(T* d_q, T* d_kv, const T* d_ctx, const T* q, const T* kv,
                                                         const T* ctx, const float* lse, const Sequences& sequences,
                                                         const Heads& heads, unsigned lanes, const Dropout& dropout) {
    __shared__ __align__(16) GroupSums sums;
    __shared__ float weights[ATTENTION_FIRST_THREADS];
    const Task task = task_at(sequences, blockIdx.x, blockIdx.y);
    if (task.length == 0) return;
    const unsigned width = heads.width, columns = heads.columns;
    const Group group(lanes, columns);
    const size_t own = (size_t)task.sequence * width + task.head * columns;
    const size_t keys = (size_t)task.start * 2 * width + task.head * columns;
    const float root = heads.root, own_lse = lse[task.sequence * gridDim.y + task.head];
    const Pack query = group.load(q + own, true), d_out = group.load(d_ctx + own, true);
    float delta[1] = {dot(d_out, group.load(ctx + own, true))};
    group.sum(delta);
    const unsigned blocks = (task.length + PACK - 1) / PACK;
    Pack sum = {};
    for (unsigned base = 0; base < blocks; base += group.count) {
        const unsigned block = base + group.number;
        if (base + threadIdx.x / WARP * WARP / lanes >= blocks) break;
        const unsigned kept = kept_keys<DROPS>(dropout, task, block);
#pragma unroll
        for (unsigned first = 0; first < PACK; first += IN_FLIGHT) {
            Pack key_rows[IN_FLIGHT];
            float products[2 * IN_FLIGHT]; // q · k, d_ctx · v
#pragma unroll
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                const unsigned key = block * PACK + first + i;
                const bool valid = key < task.length;
                const T* row = kv + keys + (size_t)(valid ? key : 0) * 2 * width;
                key_rows[i] = group.load(row, valid);
                products[i] = dot(query, key_rows[i]);
                products[IN_FLIGHT + i] = dot(d_out, group.load(row + width, valid));
            }
            group.sum(products);
#pragma unroll
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                const unsigned key = block * PACK + first + i;
                const float factor = kept >> (first + i) & 1 ? dropout.scale : 0;
                if (key >= task.length || !group.there) continue;
                const float p = probability(products[i], root, own_lse);
                const float d_s = root * p * fmaf(factor, products[IN_FLIGHT + i], -delta[0]);
                T* row = d_kv + keys + (size_t)key * 2 * width + group.column;
                store_pack(row, scaled(d_s, query));
                store_pack(row + width, scaled(p * factor, d_out));
                add_scaled(sum, d_s, key_rows[i]);
            }
        }
    }
    sums.put(sum);
    weights[threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x < columns) {
        d_q[own + threadIdx.x] = from_float<T>(sums.fold(weights, threadIdx.x, min(group.count, blocks), lanes));
    }
}

// Grids: (sequences, heads). Both forms of a pass take the same arguments, so that the host has one launch for them.
#define ATTENTION_FIRST(FORWARD, BACKWARD, T, DROPS)                                                              \
    extern "C" __global__ void __launch_bounds__(ATTENTION_FIRST_THREADS)                                         \
        FORWARD(T* __restrict__ ctx, float* __restrict__ lse, const T* __restrict__ q, const T* __restrict__ kv,  \
                Sequences sequences, Heads heads, unsigned lanes, Dropout dropout, Mark mark) {                   \
        leave_mark(mark);                                                                                         \
        attention_first_forward<T, DROPS>(ctx, lse, q, kv, sequences, heads, lanes, dropout);                     \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(ATTENTION_FIRST_THREADS)                                         \
        BACKWARD(T* __restrict__ d_q, T* __restrict__ d_kv, const T* __restrict__ d_ctx, const T* __restrict__ q, \
                 const T* __restrict__ kv, const T* __restrict__ ctx, const float* __restrict__ lse,              \
                 Sequences sequences, Heads heads, unsigned lanes, Dropout dropout, Mark mark) {                  \
        leave_mark(mark);                                                                                         \
        attention_first_backward<T, DROPS>(d_q, d_kv, d_ctx, q, kv, ctx, lse, sequences, heads, lanes, dropout);  \
    }
ATTENTION_FIRST(attention_first_forward_bf16, attention_first_backward_bf16, bf16, false)
ATTENTION_FIRST(attention_first_forward_dropout_bf16, attention_first_backward_dropout_bf16, bf16, true)
ATTENTION_FIRST(attention_first_forward_f32, attention_first_backward_f32, float, false)
ATTENTION_FIRST(attention_first_forward_dropout_f32, attention_first_backward_dropout_f32, float, true)
