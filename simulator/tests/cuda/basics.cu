// Programs a GPU course would have, at any size: each guards its own tail.
#include <cuda_bf16.h>

extern "C" __global__ void vector_add(float* out, const float* a, const float* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = a[i] + b[i];
}

__device__ float warp_sum(float x) {
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
    return x;
}

// One block a row; blockDim is a multiple of 32.
extern "C" __global__ void row_sum_shuffle(float* out, const float* in, int n) {
    __shared__ float parts[32];
    const float* row = in + (size_t)blockIdx.x * n;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = warp_sum(threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.f);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

extern "C" __global__ void row_sum_shared(float* out, const float* in, int n) {
    __shared__ float parts[256];
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += 256) sum += in[(size_t)blockIdx.x * n + i];
    parts[threadIdx.x] = sum;
    __syncthreads();
    for (int d = 128; d > 0; d /= 2) {
        if (threadIdx.x < d) parts[threadIdx.x] += parts[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = parts[0];
}

extern "C" __global__ void transpose(float* out, const float* in, int rows, int columns) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (x < columns && y + k < rows) tile[threadIdx.y + k][threadIdx.x] = in[(size_t)(y + k) * columns + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (x < rows && y + k < columns) out[(size_t)(y + k) * rows + x] = tile[threadIdx.x][threadIdx.y + k];
}

// Inclusive scan of one block's worth, any n up to 1024.
extern "C" __global__ void scan(int* out, const int* in, int n) {
    __shared__ int sums[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int x = threadIdx.x < n ? in[threadIdx.x] : 0;
    for (int d = 1; d < 32; d *= 2) {
        int y = __shfl_up_sync(~0u, x, d);
        if (lane >= d) x += y;
    }
    if (lane == 31) sums[warp] = x;
    __syncthreads();
    if (warp == 0) {
        int s = lane < blockDim.x / 32 ? sums[lane] : 0;
        for (int d = 1; d < 32; d *= 2) {
            int y = __shfl_up_sync(~0u, s, d);
            if (lane >= d) s += y;
        }
        sums[lane] = s;
    }
    __syncthreads();
    if (warp > 0) x += sums[warp - 1];
    if (threadIdx.x < n) out[threadIdx.x] = x;
}

extern "C" __global__ void histogram(unsigned* bins, const unsigned char* in, int n) {
    __shared__ unsigned local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[in[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], local[i]);
}

// C[M,N] = A[M,K] · B[K,N], 16x16 tiles.
extern "C" __global__ void gemm_simt(float* C, const float* A, const float* B, int M, int N, int K) {
    __shared__ float a[16][16], b[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < K; k += 16) {
        a[threadIdx.y][threadIdx.x] = row < M && k + threadIdx.x < K ? A[row * K + k + threadIdx.x] : 0.f;
        b[threadIdx.y][threadIdx.x] = column < N && k + threadIdx.y < K ? B[(k + threadIdx.y) * N + column] : 0.f;
        __syncthreads();
        for (int i = 0; i < 16; i++) sum += a[threadIdx.y][i] * b[i][threadIdx.x];
        __syncthreads();
    }
    if (row < M && column < N) C[row * N + column] = sum;
}

// One warp a row.
extern "C" __global__ void softmax_online(float* out, const float* in, int rows, int n) {
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    float m = -INFINITY, s = 0;
    for (int i = threadIdx.x; i < n; i += 32) {
        float x = in[row * n + i], next = fmaxf(m, x);
        s = s * __expf(m - next) + __expf(x - next);
        m = next;
    }
    for (int d = 16; d > 0; d /= 2) {
        float m2 = __shfl_xor_sync(~0u, m, d), s2 = __shfl_xor_sync(~0u, s, d), next = fmaxf(m, m2);
        s = (m == -INFINITY ? 0.f : s * __expf(m - next)) + (m2 == -INFINITY ? 0.f : s2 * __expf(m2 - next));
        m = next;
    }
    for (int i = threadIdx.x; i < n; i += 32) out[row * n + i] = __expf(in[row * n + i] - m) / s;
}

extern "C" __global__ void layer_norm(float* out, const float* in, const float* gamma, const float* beta, int n, float eps) {
    const float* row = in + (size_t)blockIdx.x * n;
    float sum = 0, square = 0;
    for (int i = threadIdx.x; i < n; i += 32) sum += row[i];
    float mean = warp_sum(sum) / n;
    for (int i = threadIdx.x; i < n; i += 32) square += (row[i] - mean) * (row[i] - mean);
    float scale = rsqrtf(warp_sum(square) / n + eps);
    for (int i = threadIdx.x; i < n; i += 32) out[(size_t)blockIdx.x * n + i] = (row[i] - mean) * scale * gamma[i] + beta[i];
}

extern "C" __global__ void philox(unsigned* out, unsigned key0, unsigned key1, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned c0 = i, c1 = 0, c2 = 7, c3 = 0;
    for (int round = 0; round < 10; round++) {
        unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ key0, c1 = l1, c2 = h0 ^ c3 ^ key1, c3 = l0;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    reinterpret_cast<uint4*>(out)[i] = make_uint4(c0, c1, c2, c3);
}

// Steps of the Collatz sequence: every lane leaves the loop at its own time; a cut ends the longest early.
extern "C" __global__ void collatz(int* out, int n, int cut) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned long long x = i + 1;
    int steps = 0;
    while (x != 1) {
        if (steps == cut) {
            out[i] = -1;
            return;
        }
        x = x % 2 ? 3 * x + 1 : x / 2;
        steps++;
    }
    out[i] = steps;
}

__device__ __noinline__ int ackermann(int m, int n) {
    if (m == 0) return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

extern "C" __global__ void recursion(int* out) { out[threadIdx.x] = ackermann(threadIdx.x % 3, threadIdx.x / 8); }

__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __noinline__ int square(int x) { return x * x; }
__device__ __noinline__ int minus(int x) { return -x; }

extern "C" __global__ void pointers(int* out, const int* which) {
    int (*f)(int) = which[threadIdx.x] == 0 ? twice : which[threadIdx.x] == 1 ? square : minus;
    out[threadIdx.x] = f(threadIdx.x);
}

// Warps, not lanes, take the lock; the sum is guarded by it alone.
extern "C" __global__ void spin_lock(int* lock, volatile int* sum, int rounds) {
    for (int r = 0; r < rounds; r++) {
        if (threadIdx.x % 32 == 0) {
            while (atomicCAS(lock, 0, 1) != 0) {}
            __threadfence();
            *sum = *sum + 1;
            __threadfence();
            atomicExch(lock, 0);
        }
        __syncwarp();
    }
}

// Lanes of one warp take it one after another.
extern "C" __global__ void lane_lock(int* lock, volatile int* sum) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            *sum = *sum + 1;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        }
    }
}

extern "C" __global__ void asserts(const int* in) { 
    if (in[threadIdx.x] >= 100) __assert_fail("in[i] < 100", "basics.cu", 42, "asserts");
}

// Both sides of a branch meet in one __syncwarp and exchange through shared memory.
extern "C" __global__ void split_sync(int* out) {
    __shared__ int box[32];
    int lane = threadIdx.x;
    if (lane < 16) {
        box[lane] = lane * 3;
        __syncwarp();
        out[lane] = box[lane + 16];
    } else {
        box[lane] = lane * 5;
        __syncwarp();
        out[lane] = box[lane - 16];
    }
}

// Threads beyond n leave before the barrier of the others.
extern "C" __global__ void early_return(int* out, int n) {
    __shared__ int box[64];
    if (threadIdx.x >= n) return;
    box[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = box[n - 1 - threadIdx.x];
}
