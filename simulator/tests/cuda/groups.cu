// Cooperative groups, warp and block primitives: out[i * 16 + k].
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>

namespace cg = cooperative_groups;

extern "C" __global__ void tiles(int* out, const int* in, int n) {
    auto block = cg::this_thread_block();
    auto warp = cg::tiled_partition<32>(block);
    auto eight = cg::tiled_partition<8>(warp);
    auto four = cg::tiled_partition<4>(block);
    int i = block.group_index().x * block.size() + block.thread_rank();
    int x = i < n ? in[i] : 0;
    int* o = out + i * 16;
    *o++ = cg::reduce(warp, x, cg::plus<int>());
    *o++ = cg::reduce(eight, x, cg::less<int>());
    *o++ = cg::reduce(four, x, cg::bit_xor<int>());
    *o++ = cg::inclusive_scan(eight, x);
    *o++ = cg::exclusive_scan(warp, x, cg::plus<int>());
    *o++ = eight.shfl_xor(x, 3);
    *o++ = eight.shfl(x, 2);
    *o++ = warp.ballot(x & 1);
    *o++ = eight.any(x > 50);
    *o++ = warp.match_any(x & 3);
    *o++ = eight.meta_group_rank() * 100 + eight.thread_rank();
    *o++ = (int)cg::reduce(warp, (float)x, cg::plus<float>());
    *o++ = (int)cg::reduce(warp, (long long)x << 33, cg::greater<long long>() ) + (int)(cg::reduce(warp, (long long)x << 33, cg::greater<long long>()) >> 33);
    if (x % 3 == 0) {
        auto those = cg::coalesced_threads();
        *o++ = those.size() * 100 + those.thread_rank();
        *o++ = cg::reduce(those, x, cg::plus<int>());
        *o++ = those.shfl(x, 0);
    } else {
        auto like = cg::labeled_partition(cg::coalesced_threads(), x & 1);
        *o++ = like.size();
        *o++ = cg::reduce(like, x, cg::plus<int>());
        *o++ = -1;
    }
}

// Every thread of the grid waits for all: neighbours' values move on one place a round.
extern "C" __global__ void whole_grid(int* data, int rounds) {
    auto grid = cg::this_grid();
    int t = grid.thread_rank();
    for (int r = 0; r < rounds; r++) {
        int next = data[(t + 1) % grid.size()];
        grid.sync();
        data[t] = next + 1;
        grid.sync();
    }
}

extern "C" __global__ void reversed_copy(int* out, const int* in, int n) {
    extern __shared__ int box[];
    auto block = cg::this_thread_block();
    cg::memcpy_async(block, box, in, sizeof(int) * n);
    cg::wait(block);
    for (int i = block.thread_rank(); i < n; i += block.size()) out[i] = box[n - 1 - i];
}

// Warp and block primitives by their intrinsics.
extern "C" __global__ void primitives(int* out, const int* in) {
    int t = threadIdx.x, x = in[t], same;
    int* o = out + t * 16;
    *o++ = __shfl_sync(~0u, x, 5);
    *o++ = __shfl_up_sync(~0u, x, 3, 16);
    *o++ = __shfl_down_sync(~0u, x, 3, 8);
    *o++ = (int)(__shfl_xor_sync(~0u, (long long)x << 20, 7) >> 20);
    *o++ = __ballot_sync(~0u, x & 1);
    *o++ = __match_any_sync(~0u, x & 3);
    __match_all_sync(~0u, x >> 31, &same);
    *o++ = same;
    *o++ = __reduce_add_sync(~0u, x);
    *o++ = __reduce_max_sync(~0u, x);
    *o++ = __reduce_xor_sync(~0u, (unsigned)x);
    *o++ = __syncthreads_count(x & 1);
    *o++ = __syncthreads_and(x & 1);
    *o++ = __syncthreads_or(x & 1);
    if (x & 1) {
        unsigned mask = __activemask();
        *o++ = __popc(mask);
        *o++ = __shfl_sync(mask, x, __ffs(mask) - 1);
        __syncwarp(mask);
    } else {
        *o++ = 0;
        *o++ = 0;
    }
    *o++ = (int)__shfl_down_sync(~0u, (double)x, 2);
}
