// Copies that run beside the program, through the library's pipelines and barriers.
#include <cooperative_groups.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cuda_pipeline.h>

namespace cg = cooperative_groups;

// Tiles of 128 numbers through a ring of two: while one is read the next is on its way.
extern "C" __global__ void block_pipeline(float* out, const float* in, int tiles) {
    constexpr int stages = 2;
    __shared__ float ring[stages][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, stages> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    float sum = 0;
    for (int fetched = 0, t = 0; t < tiles; t++) {
        for (; fetched < tiles && fetched < t + stages; fetched++) {
            pipe.producer_acquire();
            cuda::memcpy_async(block, ring[fetched % stages], in + fetched * 128, sizeof(float) * 128, pipe);
            pipe.producer_commit();
        }
        pipe.consumer_wait();
        sum += ring[t % stages][127 - threadIdx.x];
        pipe.consumer_release();
    }
    out[threadIdx.x] = sum;
}

extern "C" __global__ void thread_pipeline(float* out, const float* in) {
    __shared__ float4 box[128];
    auto pipe = cuda::make_pipeline();
    pipe.producer_acquire();
    auto size = cuda::aligned_size_t<16>(16);
    cuda::memcpy_async(box + threadIdx.x, reinterpret_cast<const float4*>(in) + threadIdx.x, size, pipe);
    pipe.producer_commit();
    cuda::pipeline_consumer_wait_prior<0>(pipe);
    out[threadIdx.x] = box[threadIdx.x].w;
    pipe.consumer_release();
}

extern "C" __global__ void pipeline_primitives(float* out, const float* in) {
    __shared__ float box[128];
    __pipeline_memcpy_async(box + threadIdx.x, in + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    out[threadIdx.x] = box[127 - threadIdx.x];
}

// Each round adds the neighbour's value of the round before.
extern "C" __global__ void barriers(int* out, int rounds) {
    __shared__ cuda::barrier<cuda::thread_scope_block> barrier;
    __shared__ int box[128];
    if (threadIdx.x == 0) init(&barrier, blockDim.x);
    __syncthreads();
    int v = threadIdx.x;
    for (int r = 0; r < rounds; r++) {
        box[threadIdx.x] = v;
        auto token = barrier.arrive();
        barrier.wait(std::move(token));
        v += box[(threadIdx.x + 1) % blockDim.x];
        barrier.arrive_and_wait();
    }
    out[threadIdx.x] = v;
}
