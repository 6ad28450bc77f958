// C[M,N] = A[M,K] · B[N,K]ᵀ as gemm_bf16 has it, for any M and N and any K that is a multiple of 8: copies beyond the
// edges bring zeros, stores beyond them are left out.
#include "tensor.cu"

__device__ void copy_tile_tail(uint32_t to, const __nv_bfloat16* from, int first, int rows, int k, int K) {
    for (int i = threadIdx.x; i < Tile::M * Tile::chunks; i += blockDim.x) {
        int r = i / Tile::chunks, c = i % Tile::chunks;
        bool inside = first + r < rows && k + c * 8 < K;
        const __nv_bfloat16* source = inside ? from + (size_t)(first + r) * K + k + c * 8 : from;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + chunk_offset(r, c)), "l"(source), "r"(inside ? 16 : 0));
    }
}

extern "C" __global__ void gemm_bf16_tails(float* C, const __nv_bfloat16* A, const __nv_bfloat16* B, int M, int N, int K) {
    static_assert(Tile::M == Tile::N, "one function copies both tiles");
    __shared__ __align__(128) char memory[2 * Tile::stage_bytes];
    uint32_t base = shared_address(memory);
    int row0 = blockIdx.y * Tile::M, column0 = blockIdx.x * Tile::N;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, wm = warp / 2 * 32, wn = warp % 2 * 32;
    int steps = (K + Tile::K - 1) / Tile::K;
    float sums[2][4][4] = {};
    auto stage = [&](int step) {
        uint32_t to = base + step % 2 * Tile::stage_bytes;
        copy_tile_tail(to, A, row0, M, step * Tile::K, K);
        copy_tile_tail(to + Tile::M * Tile::K * 2, B, column0, N, step * Tile::K, K);
        asm volatile("cp.async.commit_group;");
    };
    stage(0);
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps) {
            stage(step + 1);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        uint32_t at = base + step % 2 * Tile::stage_bytes, bt = at + Tile::M * Tile::K * 2;
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
            for (int e = 0; e < 4; e++) {
                int row = row0 + wm + i * 16 + e / 2 * 8 + lane / 4, column = column0 + wn + j * 8 + lane % 4 * 2 + e % 2;
                if (row < M && column < N) C[(size_t)row * N + column] = sums[i][j][e];
            }
}
