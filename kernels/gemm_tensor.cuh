// Tensor-core products with float32 sums, for sm_80 and up: of bf16, and of float32 numbers as tf32 (see mma.cuh).
//
// Tiles of A and B travel global → shared memory through a ring of STAGES, each a tile of A and one of B (cp.async, 16
// bytes a copy, past the first-level cache; what lies outside a matrix is not read and becomes 0), then to registers,
// then through mma. Shared tiles keep the order of memory, but swizzled: the 16-byte chunks of a row are permuted by
// the row's number, so that what is written or read at once falls into different banks.
// Rows along the reduction are read by ldmatrix, of which an 8×8 matrix is 8 rows by 16 bytes of either precision. Rows
// across it are read by ldmatrix transposed in bf16; it moves halves of words, so tf32 takes its words one by one.
//
// Each warp owns WARP_M × WARP_N of the tile. An ldmatrix feeds two to four mma: a warp of 64 × 64 issues 8 ldmatrix
// for 32 mma, or 16 reads of a word in place of 4 ldmatrix where rows lie across.
#pragma once

#include "gemm.cuh"
#include "mma.cuh"

// One operand's tile: OUTER rows (or columns) of it by DEPTH of the reduction.
template <class T, Run RUN, int OUTER, int DEPTH>
struct OperandTile {
    static constexpr int CHUNK = CHUNK_BYTES / sizeof(T); // numbers
    static constexpr int ROWS = RUN == Run::ALONG ? OUTER : DEPTH;
    static constexpr int ROW_CHUNKS = (RUN == Run::ALONG ? DEPTH : OUTER) / CHUNK;
    static constexpr int ROW_BYTES = ROW_CHUNKS * CHUNK_BYTES;
    static constexpr int BYTES = ROWS * ROW_BYTES;
    static constexpr int ROW_STEP = GEMM_THREADS / ROW_CHUNKS; // rows between a thread's copies
    static constexpr int COPIES = ROWS / ROW_STEP;
    // Words have to be read one by one.
    static constexpr bool BY_WORDS = RUN == Run::ACROSS && sizeof(T) == sizeof(unsigned);
    static constexpr int PERIOD = BY_WORDS ? 4 : 8; // rows after which the swizzle repeats
    static_assert(ROW_CHUNKS == 4 || ROW_CHUNKS % 8 == 0, "the swizzle is made for 64 bytes and multiples of 128");
    static_assert(RUN == Run::ALONG || ROW_CHUNKS >= 8,
                  "blocks of 16 columns are told apart by the chunk's bits 1 and 2");
    static_assert(COPIES * ROW_STEP == ROWS && ROW_STEP % PERIOD == 0, "a thread's copies are all swizzled alike");

    const T* source[COPIES];
    size_t advance;  // elements from one tile to the next
    unsigned exists; // bit i: copy i lies inside the matrix, as far as m or n goes
    unsigned target; // of the first copy, in bytes from the tile's start
    int depth;       // of the first copy in the tile

    // Eight rows of 128 bytes take all permutations of eight chunks; of 64 bytes, each pair of rows takes one of four.
    // Of words, two chunks of each of four rows are read at once.
    static __device__ __forceinline__ unsigned swizzle(unsigned row) {
        return BY_WORDS ? row % 4 * 2 : ROW_CHUNKS == 4 ? row / 2 % 4 : row % 8;
    }

    __device__ __forceinline__ OperandTile(const Operand<T>& operand, unsigned outer, unsigned begin) {
        const unsigned row = threadIdx.x / ROW_CHUNKS, chunk = threadIdx.x % ROW_CHUNKS;
        target = row * ROW_BYTES + (chunk ^ swizzle(row)) * CHUNK_BYTES;
        exists = 0;
        advance = RUN == Run::ALONG ? DEPTH : static_cast<size_t>(DEPTH) * operand.stride;
        depth = RUN == Run::ALONG ? chunk * CHUNK : row;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const unsigned r = row + i * ROW_STEP;
            if (RUN == Run::ALONG) {
                const bool inside = outer + r < operand.extent;
                const unsigned at = !inside ? 0 : operand.gather ? operand.gather[outer + r] : outer + r;
                source[i] = operand.data + static_cast<size_t>(at) * operand.stride + begin + chunk * CHUNK;
                exists |= static_cast<unsigned>(inside) << i;
            } else {
                const unsigned column = outer + chunk * CHUNK;
                source[i] = operand.data + static_cast<size_t>(begin + r) * operand.stride + column;
                exists |= static_cast<unsigned>(column < operand.extent) << i;
            }
        }
    }

    // Starts the copies of the next tile, of whose depth `left` exists.
    __device__ __forceinline__ void copy(unsigned shared, int left) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const bool inside = (exists >> i & 1) && depth + (RUN == Run::ALONG ? 0 : i * ROW_STEP) < left;
            copy_async<CHUNK_BYTES>(shared + target + i * ROW_STEP * ROW_BYTES, source[i], inside);
            source[i] += advance;
        }
    }

    // What a lane reads first, in bytes from the tile's start, for 16 rows (or columns) from `outer` on and the first
    // 32 bytes of the depth: the row that it names to ldmatrix, or its word. A's four matrices go down its rows first,
    // B's along its depth first.
    static __device__ __forceinline__ unsigned lane_place(unsigned outer, bool is_a) {
        const unsigned lane = threadIdx.x % WARP, matrix = lane / 8;
        if (BY_WORDS) {
            const unsigned row = lane % 4, column = outer + lane / 4;
            return row * ROW_BYTES + (column / CHUNK ^ swizzle(row)) * CHUNK_BYTES + column % CHUNK * sizeof(T);
        }
        const unsigned across = is_a ? matrix % 2 : matrix / 2, along = is_a ? matrix / 2 : matrix % 2;
        const unsigned row = RUN == Run::ALONG ? outer + across * 8 + lane % 8 : along * 8 + lane % 8;
        const unsigned chunk = RUN == Run::ALONG ? along : outer / CHUNK + across;
        return row * ROW_BYTES + (chunk ^ swizzle(row)) * CHUNK_BYTES;
    }

    // Block `i` of 16 rows at step `k` of 32 bytes in depth, of the tile at `tile`. Swizzled chunks differ in bits that
    // an exclusive or moves; it works on the lane's place alone, so that nothing depends on where in shared memory the
    // tile lies.
    static __device__ __forceinline__ void load(unsigned (&r)[4], unsigned tile, unsigned lane_place, int i, int k,
                                                bool is_a) {
        if (RUN == Run::ALONG) {
            load_matrices(r, tile + (lane_place ^ k * MMA_BYTES) + i * 16 * ROW_BYTES);
        } else if (!BY_WORDS) {
            load_matrices_transposed(r, tile + (lane_place ^ i * MMA_BYTES) + k * 16 * ROW_BYTES);
        } else {
            constexpr int SWIZZLED = 8 * CHUNK_BYTES; // bytes within which chunks are permuted
#pragma unroll
            for (int matrix = 0; matrix < 4; matrix++) {
                const int across = is_a ? matrix % 2 : matrix / 2, along = is_a ? matrix / 2 : matrix % 2;
                const int column = (i * 16 + across * 8) * sizeof(T), row = k * 8 + along * 4;
                const int rest = column / SWIZZLED * SWIZZLED + row * ROW_BYTES;
                r[matrix] = load_word(tile + (lane_place ^ column % SWIZZLED) + rest);
            }
        }
    }
};

template <class T, int M_, int N_, int DEPTH_BYTES, int STAGES_, int WARPS_M_>
struct TensorTile {
    using Number = T;
    static constexpr int M = M_, N = N_, K = DEPTH_BYTES / sizeof(T), STAGES = STAGES_;
    static constexpr int WARPS_M = WARPS_M_, WARPS_N = GEMM_THREADS / WARP / WARPS_M;
    static constexpr int WARP_M = M / WARPS_M, WARP_N = N / WARPS_N;
    static constexpr int SUMS = M * N / GEMM_THREADS; // a thread's
    static_assert(WARP_M % MMA_M == 0 && DEPTH_BYTES % MMA_BYTES == 0, "whole mma");
    static_assert(WARP_N == 64 || WARP_N == 32, "the way through shared memory is made for these");
    template <Run RUN_A, Run RUN_B>
    struct Product;
};

// 64 rows and columns of each warp: the fewest reads of shared memory for each mma that registers allow.
template <class T>
using Large = TensorTile<T, GEMM_LARGE_M, GEMM_LARGE_N, GEMM_LARGE_DEPTH_BYTES, GEMM_LARGE_STAGES, 2>;
// Four times the blocks, for products that would leave multiprocessors without one.
template <class T>
using Medium = TensorTile<T, GEMM_MEDIUM_M, GEMM_MEDIUM_N, GEMM_MEDIUM_DEPTH_BYTES, GEMM_MEDIUM_STAGES, 2>;
// One row per sequence, or few tokens: what counts is to have weights of many blocks under way.
template <class T>
using Small = TensorTile<T, GEMM_SMALL_M, GEMM_SMALL_N, GEMM_SMALL_DEPTH_BYTES, GEMM_SMALL_STAGES, 2>;

template <class T, int M_, int N_, int DEPTH_BYTES, int STAGES_, int WARPS_M_>
template <Run RUN_A, Run RUN_B>
struct TensorTile<T, M_, N_, DEPTH_BYTES, STAGES_, WARPS_M_>::Product {
    using TileA = OperandTile<T, RUN_A, M, K>;
    using TileB = OperandTile<T, RUN_B, N, K>;
    static constexpr int STAGE_BYTES = TileA::BYTES + TileB::BYTES;
    static constexpr int BLOCKS_M = WARP_M / MMA_M, BLOCKS_N = WARP_N / MMA_N;

    float sums[SUMS];             // [BLOCKS_M, BLOCKS_N, 4] as mma leaves them
    float row_sums[BLOCKS_M * 4]; // Σ over k of A, likewise: A · 1, all columns alike
    unsigned char* shared;

    // Where this warp begins in the tile.
    static __device__ __forceinline__ unsigned warp_row() { return threadIdx.x / WARP / WARPS_N * WARP_M; }
    static __device__ __forceinline__ unsigned warp_column() { return threadIdx.x / WARP % WARPS_N * WARP_N; }

    // C's tile at `place`; row sums of A as well if WITH_ROW_SUMS and `wants_row_sums`, the same in the whole block.
    template <bool WITH_ROW_SUMS = false>
    __device__ __forceinline__ void run(unsigned char* memory, const Operand<T>& a, const Operand<T>& b,
                                        const Place& place, unsigned begin, unsigned end, bool wants_row_sums = false) {
        shared = memory;
        const unsigned base = shared_address(memory);
        TileA tile_a(a, place.row, begin);
        TileB tile_b(b, place.column, begin);
        const unsigned lane_a = TileA::lane_place(warp_row(), true);
        const unsigned lane_b = TileB::lane_place(warp_column(), false);
#pragma unroll
        for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
#pragma unroll
        for (int i = 0; i < BLOCKS_M * 4; i++) row_sums[i] = 0.0f;

        const int steps = (end - begin + K - 1) / K;
        int left = end - begin; // of the depth that no copy has been started for
        auto fill = [&](int step, unsigned stage) {
            if (step < steps) {
                tile_a.copy(stage, left);
                tile_b.copy(stage + TileA::BYTES, left);
                left -= K;
            }
            commit_copies(); // an empty group where nothing is left, so that the count of groups is that of steps
        };
        __syncwarp(); // lanes may have parted where they looked up their rows; what follows is for whole warps
#pragma unroll
        for (int step = 0; step < STAGES - 1; step++) fill(step, base + step * STAGE_BYTES);

        // A warp outside the matrix has nothing to multiply; it copies all the same.
        const bool works = place.row + warp_row() < place.rows && place.column + warp_column() < place.columns;
        unsigned reading = base, writing = base + (STAGES - 1) * STAGE_BYTES;
        auto next = [&](unsigned stage) {
            return stage == base + (STAGES - 1) * STAGE_BYTES ? base : stage + STAGE_BYTES;
        };
        for (int step = 0; step < steps; step++) {
            wait_copies<STAGES - 2>();
            // This step's tile is there for all warps, and all have done with the one that `fill` overwrites.
            __syncthreads();
            fill(step + STAGES - 1, writing);
            if (works) multiply<WITH_ROW_SUMS>(reading, lane_a, lane_b, wants_row_sums);
            reading = next(reading);
            writing = next(writing);
        }
    }

    template <bool WITH_ROW_SUMS>
    __device__ __forceinline__ void multiply(unsigned stage, unsigned lane_a, unsigned lane_b, bool wants_row_sums) {
#pragma unroll
        for (int k = 0; k < DEPTH_BYTES / MMA_BYTES; k++) {
            unsigned a[BLOCKS_M][4], b[BLOCKS_N / 2][4];
#pragma unroll
            for (int i = 0; i < BLOCKS_M; i++) TileA::load(a[i], stage, lane_a, i, k, true);
            if (WITH_ROW_SUMS && wants_row_sums && warp_column() == 0)
#pragma unroll
                for (int i = 0; i < BLOCKS_M; i++) Mma<T>::sum_rows(row_sums + i * 4, a[i]);
#pragma unroll
            for (int j = 0; j < BLOCKS_N / 2; j++) TileB::load(b[j], stage + TileA::BYTES, lane_b, j, k, false);
#pragma unroll
            for (int i = 0; i < BLOCKS_M; i++) Mma<T>::round(a[i]);
#pragma unroll
            for (int j = 0; j < BLOCKS_N / 2; j++) Mma<T>::round(b[j]);
#pragma unroll
            for (int i = 0; i < BLOCKS_M; i++)
#pragma unroll
                for (int j = 0; j < BLOCKS_N; j++)
                    Mma<T>::multiply(sums + (i * BLOCKS_N + j) * 4, a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }

    // Σ over k of A of the rows in C: `each(row, sum)`.
    template <class Each>
    __device__ __forceinline__ void for_each_row_sum(const Place& place, Each each) const {
        if (warp_column() != 0 || threadIdx.x % 4 != 0) return;
#pragma unroll
        for (int i = 0; i < BLOCKS_M * 2; i++) {
            const unsigned row = place.row + warp_row() + i * 8 + threadIdx.x % WARP / 4;
            if (row < place.rows) each(row, row_sums[i * 2]);
        }
    }

    // The tile, eight columns at a time, where they lie in C: `each(row, column, pack)`. 16 rows of a warp at a time go
    // through shared memory, float4 chunks swizzled by the row so that neither the writes of mma's pairs nor the reads
    // of packs collide.
    template <class Each>
    __device__ __forceinline__ void for_each_pack(const Place& place, Each each) {
        constexpr int ROW_FLOATS = WARP_N, SLAB = MMA_M * ROW_FLOATS, ROW_PACKS = WARP_N / PACK;
        static_assert(GEMM_THREADS / WARP * SLAB * 4 <= STAGES * STAGE_BYTES, "the slabs take the place of the stages");
        wait_copies<0>();
        __syncwarp();    // lanes may have parted over the row sums
        __syncthreads(); // all warps have done with the stages
        float* slab = reinterpret_cast<float*>(shared) + threadIdx.x / WARP * SLAB;
        const unsigned lane = threadIdx.x % WARP, row = lane / 4, pair = lane % 4;
        auto swizzle = [](unsigned row) { return row % 4 * 2 ^ row / 4 % 2; };
        const unsigned first = row * ROW_FLOATS + (pair / 2 ^ swizzle(row)) * 4 + pair % 2 * 2;
#pragma unroll
        for (int i = 0; i < BLOCKS_M; i++) {
#pragma unroll
            for (int j = 0; j < BLOCKS_N; j++) {
                const float* c = sums + (i * BLOCKS_N + j) * 4;
                const unsigned to = shared_address(slab) + (first ^ j * 8) * 4;
                store_pair(to, c[0], c[1]);
                store_pair(to + 8 * ROW_FLOATS * 4, c[2], c[3]);
            }
            __syncwarp();
#pragma unroll
            for (int pass = 0; pass < MMA_M * ROW_PACKS / WARP; pass++) {
                // Eight lanes, which are served at once, take four packs of a row and four of the row four below.
                const unsigned unit = lane / 8 + pass * 4, group = ROW_PACKS == 8 ? unit / 2 : unit;
                const unsigned p = lane % 4 + (ROW_PACKS == 8 ? unit % 2 * 4 : 0);
                const unsigned r = group % 4 + lane / 4 % 2 * 4 + group / 4 * 8;
                const float4* packed = reinterpret_cast<const float4*>(slab + r * ROW_FLOATS);
                const float4 low = packed[p * 2 ^ swizzle(r)], high = packed[p * 2 + 1 ^ swizzle(r)];
                const unsigned at_row = place.row + warp_row() + i * MMA_M + r,
                               at_column = place.column + warp_column() + p * PACK;
                if (at_row < place.rows && at_column < place.columns)
                    each(at_row, at_column, Pack{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}});
            }
            __syncwarp(); // the next 16 rows overwrite the slab
        }
    }
};
