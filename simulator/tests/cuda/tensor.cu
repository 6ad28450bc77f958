// C[M,N] = A[M,K] · B[N,K]ᵀ in bf16 with f32 sums: cp.async double buffering, swizzled shared memory, ldmatrix,
// mma.sync. M, N multiples of 64, K of 32; 128 threads, each warp 32x32 of the 64x64 tile.
#include <cuda_bf16.h>
#include <cstdint>

struct Tile { static constexpr int M = 64, N = 64, K = 32, chunks = K / 8, stage_bytes = (M + N) * K * 2; };

__device__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// 16-byte chunk `c` of row `r`: neighbours in a column of chunks land in different banks.
__device__ uint32_t chunk_offset(int r, int c) { return (r * Tile::chunks + (c ^ (r / 2 % Tile::chunks))) * 16; }

__device__ void copy_tile(uint32_t to, const __nv_bfloat16* from, int rows, int stride) {
    for (int i = threadIdx.x; i < rows * Tile::chunks; i += blockDim.x) {
        int r = i / Tile::chunks, c = i % Tile::chunks;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + chunk_offset(r, c)), "l"(from + (size_t)r * stride + c * 8));
    }
}

__device__ void ldmatrix_x4(uint32_t (&d)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(address) : "memory");
}

__device__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

extern "C" __global__ void gemm_bf16(float* C, const __nv_bfloat16* A, const __nv_bfloat16* B, int N, int K) {
    __shared__ __align__(128) char memory[2 * Tile::stage_bytes];
    uint32_t base = shared_address(memory);
    const __nv_bfloat16* a = A + (size_t)blockIdx.y * Tile::M * K;
    const __nv_bfloat16* b = B + (size_t)blockIdx.x * Tile::N * K;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, wm = warp / 2 * 32, wn = warp % 2 * 32;
    float sums[2][4][4] = {};
    auto stage = [&](int k) {
        uint32_t to = base + k % 2 * Tile::stage_bytes;
        copy_tile(to, a + k * Tile::K, Tile::M, K);
        copy_tile(to + Tile::M * Tile::K * 2, b + k * Tile::K, Tile::N, K);
        asm volatile("cp.async.commit_group;");
    };
    stage(0);
    for (int k = 0; k < K / Tile::K; k++) {
        if (k + 1 < K / Tile::K) {
            stage(k + 1);
#ifndef FORGET_WAIT
            asm volatile("cp.async.wait_group 1;" ::: "memory");
#endif
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        uint32_t at = base + k % 2 * Tile::stage_bytes, bt = at + Tile::M * Tile::K * 2;
        for (int kk = 0; kk < Tile::K / 16; kk++) {
            uint32_t fa[2][4], fb[2][4];
            for (int i = 0; i < 2; i++) {
                ldmatrix_x4(fa[i], at + chunk_offset(wm + i * 16 + lane % 16, kk * 2 + lane / 16));
                ldmatrix_x4(fb[i], bt + chunk_offset(wn + i * 16 + lane / 16 * 8 + lane % 8, kk * 2 + lane / 8 % 2));
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++) mma(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int h = 0; h < 2; h++) {
                size_t row = blockIdx.y * Tile::M + wm + i * 16 + h * 8 + lane / 4;
                int column = blockIdx.x * Tile::N + wn + j * 8 + lane % 4 * 2;
                *reinterpret_cast<float2*>(C + row * N + column) = make_float2(sums[i][j][2 * h], sums[i][j][2 * h + 1]);
            }
}

__device__ void mbarrier_wait(uint32_t bar, uint32_t parity) {
    asm volatile("{\n.reg .pred p;\nWAIT:\nmbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n@p bra DONE;\nbra WAIT;\nDONE:\n}" ::"r"(bar), "r"(parity) : "memory");
}

__device__ void mbarrier_arrive(uint32_t bar) {
    asm volatile("{\n.reg .b64 t;\nmbarrier.arrive.shared.b64 t, [%0];\n}" ::"r"(bar) : "memory");
}

// Warp 0 fills a ring of two slots, warp 1 empties it: `full` and `empty` say which may go on.
extern "C" __global__ void producer_consumer(int* out, const int* in, int n) {
    __shared__ int slots[2][32];
    __shared__ __align__(8) uint64_t full[2], empty[2];
    int lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        for (int s = 0; s < 2; s++) {
            asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(shared_address(&full[s])));
            asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(shared_address(&empty[s])));
        }
    __syncthreads();
    for (int i = 0; i < n; i++) {
        int s = i % 2, turn = i / 2;
        if (threadIdx.x < 32) {
            if (turn > 0) mbarrier_wait(shared_address(&empty[s]), (turn - 1) & 1);
            slots[s][lane] = in[i * 32 + lane] * 2;
            mbarrier_arrive(shared_address(&full[s]));
        } else {
            mbarrier_wait(shared_address(&full[s]), turn & 1);
            out[i * 32 + lane] = slots[s][31 - lane] + 1;
            mbarrier_arrive(shared_address(&empty[s]));
        }
    }
}

// Eight independent chains of fused multiply-adds.
extern "C" __global__ void ffma_chains(float* out, float a, float b, int rounds) {
    float x[8];
    for (int i = 0; i < 8; i++) x[i] = threadIdx.x + i;
    for (int r = 0; r < rounds; r++)
        for (int k = 0; k < 8; k++)
            for (int i = 0; i < 8; i++) x[i] = fmaf(x[i], a, b);
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += x[i];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
