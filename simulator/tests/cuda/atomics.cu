// Atomics of every type, by many threads of several blocks; what each leaves is the same in whatever order they come.
#include <cuda/atomic>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void integer_atomics(int* i, unsigned* u, unsigned long long* l) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(i, t);
    atomicSub(i + 1, t);
    atomicMin(i + 2, -t);
    atomicMax(i + 3, t);
    atomicAnd(i + 4, ~(1 << t % 30));
    atomicOr(i + 5, 1 << t % 30);
    atomicXor(i + 6, t);
    atomicInc(u, 99);
    atomicDec(u + 1, 99);
    atomicAdd(l, 1ull << 33);
    atomicMax(l + 1, (unsigned long long)t << 40);
    atomicMin(reinterpret_cast<long long*>(l) + 2, -((long long)t << 40));
    atomicXor(l + 3, (unsigned long long)t << 32);
    // A product of odd numbers by compare and swap.
    for (unsigned old = u[2], seen;; old = seen) {
        seen = atomicCAS(u + 2, old, old * (2 * t + 3));
        if (seen == old) break;
    }
    atomicAdd_block(i + 7, 1);
    atomicAdd_system(i + 8, 1);
    cuda::atomic_ref<int, cuda::thread_scope_device> by_reference(i[9]);
    by_reference.fetch_add(2, cuda::memory_order_relaxed);
    by_reference.fetch_max(5, cuda::memory_order_acq_rel);
    cuda::atomic_ref<unsigned char, cuda::thread_scope_device> byte(reinterpret_cast<unsigned char*>(i + 10)[1]);
    byte.fetch_add(1);
}

// Sums of ones are exact in every format.
extern "C" __global__ void float_atomics(float* f, double* d, __half* h, __half2* h2, __nv_bfloat16* b, __nv_bfloat162* b2) {
    __shared__ float shared_sum;
    __shared__ double shared_double;
    if (threadIdx.x == 0) shared_sum = 0, shared_double = 0;
    __syncthreads();
    atomicAdd(f, 1.f);
    atomicAdd(d, 1.0);
    atomicAdd(h, __float2half(1.f));
    atomicAdd(h2, __floats2half2_rn(1.f, 2.f));
    atomicAdd(b, __float2bfloat16(1.f));
    atomicAdd(b2, __floats2bfloat162_rn(1.f, 2.f));
    atomicAdd(&shared_sum, 1.f);
    atomicAdd(&shared_double, 0.5);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(f + 1, shared_sum), atomicAdd(d + 1, shared_double);
}
