// Dropout masks in the layouts of tensor-core results: each Philox block is made once, by one thread of a warp.
#pragma once

#include "attention.cuh"

// Drops results [16, 32 keys] in the order KeysByQuad; `block` is the Philox block of the keys 8t.. of the rows g and g
// + 8.
__device__ __forceinline__ void drop_by_quad(float (*p)[4], const Dropout& dropout, const unsigned (&block)[2],
                                             const Task& task) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint4 bits = dropout_bits(dropout, block[half], task.slot, task.step);
        const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int n = 0; n < 4; n++) {
            if ((words[n] & 0xffff) < dropout.threshold) p[n][2 * half] = 0;
            if (words[n] >> 16 < dropout.threshold) p[n][2 * half + 1] = 0;
        }
    }
}

// Bits of results [16 keys, 16 queries] whose keys are in the order KeysByPair: words[2n + e] has those of query 8n +
// 2t + e, row g in the low half, row g + 8 in the high one.
//
// `block` is the Philox block of the first eight keys of query 0. The four lanes with the same t and g / 4 need the
// four words of the same four blocks, word g % 4 each: each makes one block, and they trade.
__device__ __forceinline__ void bits_by_pair(unsigned (&words)[4], const Dropout& dropout, const Task& task,
                                             unsigned query, unsigned first_key) {
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, member = g % 4;
    const unsigned own = query + member / 2 * 8 + 2 * t + member % 2;
    const uint4 bits = dropout_bits(dropout, mask_block(task, own) + first_key / PACK + g / 4, task.slot, task.step);
    const bool odd = member % 2, upper = member / 2;
    // For the member that differs from this one by 0, 1, 2, 3 (exclusive or): its word of this block.
    const unsigned low_same = odd ? bits.y : bits.x, low_other = odd ? bits.x : bits.y;
    const unsigned high_same = odd ? bits.w : bits.z, high_other = odd ? bits.z : bits.w;
    const unsigned from0 = upper ? high_same : low_same;
    const unsigned from1 = __shfl_xor_sync(0xffffffffu, upper ? high_other : low_other, 4);
    const unsigned from2 = __shfl_xor_sync(0xffffffffu, upper ? low_same : high_same, 8);
    const unsigned from3 = __shfl_xor_sync(0xffffffffu, upper ? low_other : high_other, 12);
    // From the differing member to the member: words[m] comes from m ^ member.
    const unsigned near_even = odd ? from1 : from0, near_odd = odd ? from0 : from1;
    const unsigned far_even = odd ? from3 : from2, far_odd = odd ? from2 : from3;
    words[0] = upper ? far_even : near_even;
    words[1] = upper ? far_odd : near_odd;
    words[2] = upper ? near_even : far_even;
    words[3] = upper ? near_odd : far_odd;
}
