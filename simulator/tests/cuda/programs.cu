// What ordinary programs do: persistent loops, blocks that wait for later ones, output and memory from within kernels.

#include <cstdio>

// A loop that only a return in its middle leaves.
extern "C" __global__ void persistent(int* out, int rounds) {
    for (;;) {
        if (threadIdx.x == 0) atomicAdd(out, 1);
        __syncthreads();
        if (--rounds == 0) return;
        out[1 + threadIdx.x] += out[0];
        __syncthreads();
    }
}

// All blocks but the last wait for it.
extern "C" __global__ void wait_for_last(int* flag, int* out) {
    if (blockIdx.x + 1 < gridDim.x) {
        if (threadIdx.x == 0) {
            while (atomicAdd(flag, 0) != 1) {}
        }
        __syncthreads();
        out[blockIdx.x * blockDim.x + threadIdx.x] = threadIdx.x;
    } else if (threadIdx.x == 0) {
        __threadfence();
        atomicExch(flag, 1);
    }
}

extern "C" __global__ void one_too_far(float* out) { out[threadIdx.x + 1] = 1.0f; }

extern "C" __global__ void width_of_warp(int* out) { out[threadIdx.x] = warpSize; }

extern "C" __global__ void vector_register(float* out) {
    float a = out[0], b = out[1], r;
    asm volatile("{ .reg .v2 .f32 mx; max.f32 mx.x, %1, %2; min.f32 mx.y, %1, %2; sub.f32 %0, mx.x, mx.y; }"
                 : "=f"(r)
                 : "f"(a), "f"(b));
    out[2] = r;
}

extern "C" __global__ void say(int n) {
    if (threadIdx.x < n) printf("thread %d of %s: %.2f %lld %c%%\n", threadIdx.x, "say", 0.5 * threadIdx.x, 1ll << 40, 'x');
}

// A list whose nodes come from the device's heap.
extern "C" __global__ void lists(int* out, int length) {
    struct Node {
        Node* next;
        int value;
    };
    Node* head = nullptr;
    for (int i = 1; i <= length; i++) {
        Node* node = static_cast<Node*>(malloc(sizeof(Node)));
        if (node == nullptr) break;
        node->next = head;
        node->value = i * (threadIdx.x + 1);
        head = node;
    }
    int sum = 0;
    while (head != nullptr) {
        Node* next = head->next;
        sum += head->value;
        free(head);
        head = next;
    }
    out[threadIdx.x] = sum;
}

// Values that are loaded at the edge of a tile and never used.
extern "C" __global__ void edge(float* out, const float* in, int n) {
    float own = in[threadIdx.x];
    float kept = threadIdx.x < n ? own : 0.0f;
    out[threadIdx.x] = kept + __shfl_sync(0xffffffff, own, 0);
}
extern "C" __global__ void decide(int* out, const int* in) {
    if (in[threadIdx.x] > 3) out[threadIdx.x] = 1;
}
extern "C" __global__ void index(int* out, const int* in) { out[in[threadIdx.x] & 31] = 1; }
extern "C" __global__ void through_shared(float* out, const float* in) {
    __shared__ float box[64];
    box[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = threadIdx.x < 32 ? box[threadIdx.x] : 0.0f;
}

// A tensor-core instruction after a branch that only some lanes take.
extern "C" __global__ void product_after_branch(float* out, int together) {
    float c0 = 0, c1 = 0, c2 = 0, c3 = 0;
    if (threadIdx.x % 3 == 0) {
        out[threadIdx.x] = 2.0f;
        for (int i = 0; i < threadIdx.x; i++) out[threadIdx.x] += c0;
    }
    if (together) __syncwarp();
    unsigned one = 0x3f803f80;
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%4,%4}, {%0,%1,%2,%3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(one));
    out[32 + threadIdx.x] = c0;
}

// Each lane overwrites what it has read itself by ldmatrix.
extern "C" __global__ void read_rows_and_write(unsigned* out) {
    __shared__ __align__(16) unsigned tile[32];
    tile[threadIdx.x] = threadIdx.x;
    __syncwarp();
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(tile + 4 * (threadIdx.x % 8))), held;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(held) : "r"(at) : "memory");
    tile[threadIdx.x] = held + 1;
    out[threadIdx.x] = tile[threadIdx.x];
}

// Forty values held at once: within 64 registers for ptxas.
extern "C" __global__ void many_registers(float* out, const float* in, int n) {
    float r[40];
#pragma unroll
    for (int i = 0; i < 40; i++) r[i] = in[(threadIdx.x * 41 + i * 7) % n];
#pragma unroll
    for (int i = 0; i < 40; i++) out[threadIdx.x] += r[(i * 17) % 40] * r[i] + r[39 - i];
}

extern "C" __global__ void feature(int* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    *out = 1;
#else
    *out = 0;
#endif
}
