// The optimizer: squared gradient norm, then one pass over the arenas.
//
//   g ← min(1, clip / (‖g‖ + 1e-6)) · g                              m, v and θ stay if ‖g‖ is not finite
//   m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//   θ ← θ (1 − lr · decay) − lr / (1 − β₁ⁿ) · m / (√(v / (1 − β₂ⁿ)) + ε)
//   teacher and average follow θ before or after (see src/device/optimizer.rs); copies in the working precision with
//   them
//
// A block owns a chunk of UPDATE_THREADS · PACK neighbouring elements inside one range, so that learning rate and decay
// are the block's. Every arena is read and written once: with a window teacher and bf16, 24 bytes are read and 24
// written a parameter.
#include <cstddef>

#include "geometry.cuh"
#include "numbers.cuh"
#include "reduce.cuh"
#include "mark.cuh"

// First stage of Σ g²: block i adds every gridDim.x-th pack from its own on; the sums of the blocks are added in the
// update.
extern "C" __global__ void __launch_bounds__(NORM_THREADS)
    gradient_norm(double* __restrict__ partials,   // [NORM_BLOCKS]
                  const float* __restrict__ d_theta, // [len]
                  unsigned packs, Mark mark) {
    leave_mark(mark);
    __shared__ double warps[NORM_THREADS / WARP];
    double sum = 0;
    for (unsigned i = blockIdx.x * NORM_THREADS + threadIdx.x; i < packs; i += NORM_BLOCKS * NORM_THREADS) {
        const Pack g = load_pack(d_theta + (size_t)i * PACK);
        float squares = 0;
#pragma unroll
        for (int k = 0; k < PACK; k++) squares = fmaf(g.v[k], g.v[k], squares);
        sum += squares;
    }
    sum = block_sum<NORM_THREADS>(sum, warps);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// The structs below that the host fills are mirrored in src/device/cuda/optimizer.rs, which asserts the same layouts.

// How a follower moves with θ: see Follower in src/device/optimizer.rs.
enum FollowMode : int { FOLLOW_NONE, FOLLOW_WINDOW, FOLLOW_COPY, FOLLOW_BEFORE, FOLLOW_AFTER };

// A teacher or an average: what moves with θ.
struct Follower {
    float* mean;        // [len] the mean; or the copy that θ goes to
    float* rest;        // [len] what float32 rounded off a mean that is blended
    void* working;      // [len] mean or copy in the working precision; null: it is float32
    float* slot;        // [len] the window's slot that θ goes to
    float* const* ring; // [filled] the window's slots in use
    int mode;           // FollowMode
    int filled;
    int sums;     // the window's slots are added up; otherwise the mean moves by what came and went
    float weight; // of θ in a mean that is blended
};
static_assert(sizeof(Follower) == 56 && offsetof(Follower, ring) == 32, "as on the host");
static_assert(offsetof(Follower, mode) == 40 && offsetof(Follower, weight) == 52, "as on the host");

struct AdamW {
    float beta1, beta2, eps, clip;
    unsigned step_number; // from 1; n is smaller by the steps that were skipped
};
static_assert(sizeof(AdamW) == 20 && offsetof(AdamW, clip) == 12 && offsetof(AdamW, step_number) == 16,
              "as on the host");

// What the device remembers and the host reads later.
struct Outcome {
    double norm;  // ‖g‖ of the last step
    double skips; // steps whose ‖g‖ was not finite
};
static_assert(sizeof(Outcome) == 16 && offsetof(Outcome, skips) == 8, "two doubles on the host");

// What a block needs to know of its chunk of the arena.
struct Chunk {
    unsigned start, len, range;
};
static_assert(sizeof(Chunk) == 12 && offsetof(Chunk, len) == 4 && offsetof(Chunk, range) == 8, "as on the host");

// What the parameters of a range share.
struct Rate {
    float lr, decay;
};
static_assert(sizeof(Rate) == 8 && offsetof(Rate, decay) == 4, "as on the host");

// base to a whole power, by squaring.
__device__ __forceinline__ double power(double base, unsigned exponent) {
    double result = 1;
    for (; exponent; exponent /= 2, base *= base) {
        if (exponent % 2) result *= base;
    }
    return result;
}

// mean += weight · (θ − mean), the mean in two floats (Knuth's two-sum keeps what the addition rounds off).
__device__ __forceinline__ void move_towards(Pack& mean, Pack& rest, const Pack& theta, float weight) {
#pragma unroll
    for (int k = 0; k < PACK; k++) {
        const float increment = fmaf(weight, (theta.v[k] - mean.v[k]) - rest.v[k], rest.v[k]);
        const float sum = mean.v[k] + increment, part = sum - mean.v[k];
        rest.v[k] = (mean.v[k] - (sum - part)) + (increment - part);
        mean.v[k] = sum;
    }
}

template <class T>
__device__ __forceinline__ void store_mean(const Follower& f, size_t at, const Pack& mean) {
    store_pack(f.mean + at, mean);
    if (f.working) store_pack(static_cast<T*>(f.working) + at, mean);
}

template <class T>
__device__ __forceinline__ void follow_mean(const Follower& f, size_t at, const Pack& theta) {
    Pack mean = load_pack(f.mean + at), rest = load_pack(f.rest + at);
    move_towards(mean, rest, theta, f.weight);
    store_mean<T>(f, at, mean);
    store_pack(f.rest + at, rest);
}

// θ before the update takes its slot in the ring. The mean is that of the slots in use: added up, θ first and then in
// the order of the slots, or moved by what came and went. Both round; the host says which, and how far off that is.
template <class T>
__device__ __forceinline__ void follow_window(const Follower& f, size_t at, const Pack& theta) {
    Pack mean;
    const float share = 1.0f / f.filled;
    if (f.sums) {
        mean = theta;
        for (int s = 0; s < f.filled; s++) {
            if (f.ring[s] == f.slot) continue;
            const Pack other = load_pack(f.ring[s] + at);
#pragma unroll
            for (int k = 0; k < PACK; k++) mean.v[k] += other.v[k];
        }
#pragma unroll
        for (int k = 0; k < PACK; k++) mean.v[k] *= share;
    } else {
        mean = load_pack(f.mean + at);
        const Pack old = load_pack(f.slot + at);
#pragma unroll
        for (int k = 0; k < PACK; k++) mean.v[k] = fmaf(share, theta.v[k] - old.v[k], mean.v[k]);
    }
    store_pack(f.slot + at, theta);
    store_mean<T>(f, at, mean);
}

template <class T>
__device__ __forceinline__ void follow_before(const Follower& f, size_t at, const Pack& theta) {
    if (f.mode == FOLLOW_WINDOW) follow_window<T>(f, at, theta);
    if (f.mode == FOLLOW_COPY) store_mean<T>(f, at, theta);
    if (f.mode == FOLLOW_BEFORE) follow_mean<T>(f, at, theta);
}

template <class T>
__device__ __forceinline__ void update(float* student, void* working, float* first, float* second, Outcome* outcome,
                                       const Follower& teacher, const Follower& average, const float* d_theta,
                                       const double* partials, const Chunk* chunks, const Rate* rates,
                                       const AdamW& adamw) {
    __shared__ double warps[UPDATE_THREADS / WARP];
    __shared__ float2 corrections; // 1 / (1 − β₁ⁿ), 1 / √(1 − β₂ⁿ)
    static_assert(NORM_BLOCKS == UPDATE_THREADS, "a thread reads one partial sum");
    const double norm = sqrt(block_sum<UPDATE_THREADS>(partials[threadIdx.x], warps));
    const bool finite = isfinite(norm);
    if (threadIdx.x == 0) {
        if (finite) {
            const unsigned n = adamw.step_number - (unsigned)outcome->skips;
            corrections.x = (float)(1 / (1 - power(adamw.beta1, n)));
            corrections.y = (float)rsqrt(1 - power(adamw.beta2, n));
        } else {
            corrections = make_float2(0.0f, 0.0f); // nothing uses it, but all threads read it
        }
        if (blockIdx.x == 0) {
            outcome->norm = norm;
            if (!finite) outcome->skips += 1;
        }
    }
    __syncthreads();
    const Chunk chunk = chunks[blockIdx.x];
    const unsigned offset = threadIdx.x * PACK;
    if (offset >= chunk.len) return;
    const size_t at = (size_t)chunk.start + offset;
    const float scale = fminf(adamw.clip / ((float)norm + 1e-6f), 1.0f);
    const float lr = rates[chunk.range].lr, keep = 1.0f - lr * rates[chunk.range].decay;
    const float step = lr * corrections.x;

    Pack theta = load_pack(student + at);
    follow_before<T>(teacher, at, theta);
    const Pack d = load_pack(d_theta + at);
    Pack m = load_pack(first + at), v = load_pack(second + at);
#pragma unroll
    for (int k = 0; k < PACK; k++) {
        if (!finite) continue;
        const float g = d.v[k] * scale;
        m.v[k] = fmaf(adamw.beta1, m.v[k], (1.0f - adamw.beta1) * g);
        v.v[k] = fmaf(adamw.beta2, v.v[k], (1.0f - adamw.beta2) * g * g);
        theta.v[k] = theta.v[k] * keep - step * m.v[k] / (sqrtf(v.v[k]) * corrections.y + adamw.eps);
    }
    store_pack(first + at, m);
    store_pack(second + at, v);
    store_pack(student + at, theta);
    if (working) store_pack(static_cast<T*>(working) + at, theta);
    if (teacher.mode == FOLLOW_AFTER) follow_mean<T>(teacher, at, theta);
    if (average.mode == FOLLOW_AFTER) follow_mean<T>(average, at, theta);
}

// Overwrites student, its working copy, both moments, teacher, average and outcome.
// Without a least number of blocks ptxas holds itself to 64 registers and spills.
#define UPDATE(NAME, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(UPDATE_THREADS, 3)                                                   \
        NAME(float* student, void* working, float* first, float* second, Outcome* outcome, Follower teacher,          \
             Follower average, const float* d_theta, const double* partials, const Chunk* chunks, const Rate* rates,  \
             AdamW adamw, Mark mark) {                                                                                \
        leave_mark(mark);                                                                                             \
        update<T>(student, working, first, second, outcome, teacher, average, d_theta, partials, chunks, rates,       \
                  adamw);                                                                                             \
    }
UPDATE(update_f32, float)
UPDATE(update_bf16, bf16)

// copy [len] = x [len] in the working precision: after weights are written from the host.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    working_copy_bf16(bf16* __restrict__ copy, const float* __restrict__ x, unsigned packs, Mark mark) {
    leave_mark(mark);
    const unsigned i = blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x;
    if (i < packs) store_pack(copy + (size_t)i * PACK, load_pack(x + (size_t)i * PACK));
}
