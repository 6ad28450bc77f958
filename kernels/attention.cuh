// What all attention kernels share: the sequence and head a block works on, and the numbers of its dropout masks.
//
//   S = q kᵀ / √D      P = softmax(S)      f: dropout factors, 0 or `scale`      ctx = (P ∘ f) v      lse = log Σ exp S
//   δ = d_ctx · ctx    d_v = (P ∘ f)ᵀ d_ctx    d_s = P ∘ (f ∘ (d_ctx vᵀ) − δ)    d_q = d_s k / √D     d_k = d_sᵀ q / √D
//
// Exponentials are powers of two: log₂e is folded into the factor 1 / √D of the scores.
#pragma once

#include "dropout.cuh"
#include "geometry.cuh"
#include "ptx.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// Where the sequences of the batch lie. Mirrored in src/device/cuda/attention.rs.
struct Sequences {
    const BatchHeader* header;
    const unsigned* offsets; // [B + 1]
    const unsigned* slots;   // [B]
};
static_assert(sizeof(Sequences) == 24 && __builtin_offsetof(Sequences, slots) == 16, "SequencesArgs of the host");

// How the columns of q, k, v and ctx are cut into heads. Mirrored in src/device/cuda/attention.rs.
struct Heads {
    unsigned width;   // A = H · columns
    unsigned columns; // of a head, with the zeros that fill it up to a multiple of 8
    float root;       // 1 / √D, D without them
};
static_assert(sizeof(Heads) == 12 && __builtin_offsetof(Heads, root) == 8, "HeadsArgs of the host");

// One head of one sequence; a block beyond the batch has the length 0.
struct Task {
    unsigned sequence, head;
    unsigned start, length; // its tokens
    unsigned tokens;        // T
    unsigned slot, step;    // place in the dropout masks
};

__device__ __forceinline__ Task task_at(const Sequences& sequences, unsigned sequence, unsigned head) {
    Task task = {sequence, head, 0, 0, sequences.header->tokens, 0, sequences.header->step};
    if (sequence < sequences.header->sequences) {
        task.start = sequences.offsets[sequence];
        task.length = sequences.offsets[sequence + 1] - task.start;
        task.slot = sequences.slots[sequence];
    }
    return task;
}

// Number of the Philox block of the keys 0..8 of a query; the next eight keys have the next block.
__device__ __forceinline__ unsigned mask_block(const Task& task, unsigned query) {
    return (task.head * task.length + query) * ((task.length + PACK - 1) / PACK);
}

// log Σ exp(s / √D), from the largest s and the sum relative to it.
__device__ __forceinline__ float lse_of_scores(float largest, float root, float sum) {
    return __fadd_rn(__fmul_rn(largest, root), logf(sum));
}

// exp(s / √D − lse). The score is rounded as it was for lse, so that a single winner has the probability 1 whatever its
// score.
__device__ __forceinline__ float probability(float s, float root, float lse) {
    return power_of_two(__fsub_rn(__fmul_rn(s, root), lse) * LOG2_E);
}
