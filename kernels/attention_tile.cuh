// Tiles of bf16 rows in shared memory, and their products on tensor cores (mma.sync m16n8k16).
//
// A row is D / 8 chunks of 16 bytes. Tiles are swizzled: chunk c of row r lies at chunk c ^ swizzle(r), so that eight
// neighbouring rows have a given chunk in eight different bank groups, and ldmatrix, cp.async and the stores of results
// are free of conflicts. The swizzle depends on r % 8 alone, which makes every address of a fragment a lane's constant
// plus a literal.
//
// Lane l of a warp has the group g = l / 4 and the place t = l % 4: of a result [16, 8] it holds the columns 2t, 2t + 1
// of the rows g and g + 8. A tile may hold its rows in another order than memory does; Order::at says which row of the
// source is where.
#pragma once

#include "geometry.cuh"
#include "numbers.cuh"
#include "ptx.cuh"

// Rows and columns of a fragment.
constexpr int FRAGMENT_ROWS = 16;
constexpr int FRAGMENT_COLUMNS = 8;

template <int D>
struct TileRow {
    static_assert(D % 16 == 0 && (D / PACK % 4 == 0 || D / PACK == 2), "the swizzle knows these row lengths");
    static constexpr int chunks = D / PACK;
    static constexpr unsigned chunk_bytes = PACK * sizeof(bf16);
    static constexpr unsigned bytes = D * sizeof(bf16);

    static __device__ __forceinline__ unsigned swizzle(unsigned row) {
        return chunks % 8 == 0 ? row % 8 : chunks % 4 == 0 ? row / 2 % 4 : row / 4 % 2;
    }
    static __device__ __forceinline__ unsigned offset(unsigned row, unsigned chunk) {
        return row * bytes + (chunk ^ swizzle(row)) * chunk_bytes;
    }
};

struct InOrder {
    static __device__ __forceinline__ unsigned at(unsigned row) { return row; }
};

// Of 32 keys that are columns of a result: row 8j + 2t + e holds key 8t + 2j + e, so that the four results of a thread
// are eight neighbouring keys, which share one Philox block.
struct KeysByQuad {
    static __device__ __forceinline__ unsigned at(unsigned row) {
        return row / 32 * 32 + row % 8 / 2 * 8 + row / 8 % 4 * 2 + row % 2;
    }
};

// Of 16 keys that are rows of a result: rows g and g + 8 hold the keys 2g and 2g + 1, which share one word of a Philox
// block.
struct KeysByPair {
    static __device__ __forceinline__ unsigned at(unsigned row) { return row / 16 * 16 + row % 8 * 2 + row / 8 % 2; }
};

// Starts the copies of rows first.. of a sequence of `length`, `columns` of D columns wide, `stride` elements apart;
// zeros beyond either.
//
// A thread has one chunk of every `pass`-th row. Orders move bits of a row's number to other places, and the bits of
// row and of base do not meet: so everything but one literal of each pass is computed once.
template <int D, int ROWS, class Order>
__device__ __forceinline__ void copy_tile(unsigned tile, const bf16* source, unsigned stride, unsigned columns,
                                          unsigned first, unsigned length) {
    using Row = TileRow<D>;
    constexpr int aligned = ATTENTION_THREADS / Row::chunks / 8 * 8, pass = aligned < ROWS ? aligned : ROWS;
    static_assert((pass & (pass - 1)) == 0 && ROWS % pass == 0, "passes end with the tile");
    const unsigned row = threadIdx.x / Row::chunks, chunk = threadIdx.x % Row::chunks;
    if (pass * Row::chunks < ATTENTION_THREADS && row >= pass) return;
    const bool in_head = chunk * PACK < columns;
    const unsigned position = first + Order::at(row), to = tile + Row::offset(row, chunk);
    const bf16* from = source + position * stride + chunk * PACK;
#pragma unroll
    for (int base = 0; base < ROWS; base += pass) {
        const bool there = in_head && position + Order::at(base) < length;
        copy_async<Row::chunk_bytes>(to + base * Row::bytes, from + Order::at(base) * stride, there);
    }
}

// Where a lane reads fragments: its row's bytes, and its chunk's before that of the fragment is added.
struct LaneRow {
    unsigned row, chunk;

    __device__ __forceinline__ unsigned at(unsigned pair_of_chunks) const {
        return row + (chunk ^ pair_of_chunks * (2 * PACK * sizeof(bf16)));
    }
};

// For a left operand [16, 16], and for a right operand [16, 8] twice whose rows are those of the tile.
template <int D>
__device__ __forceinline__ LaneRow lane_row(unsigned lane) {
    const unsigned row = lane % 16;
    return {row * TileRow<D>::bytes, (lane / 16 ^ TileRow<D>::swizzle(row)) * TileRow<D>::chunk_bytes};
}

// For a right operand [16, 8] twice whose columns are the tile's rows.
template <int D>
__device__ __forceinline__ LaneRow lane_column(unsigned lane) {
    const unsigned row = lane % 8 + lane / 16 * 8;
    return {row * TileRow<D>::bytes, (lane / 8 % 2 ^ TileRow<D>::swizzle(row)) * TileRow<D>::chunk_bytes};
}

// The left operand [16, D] of a warp.
template <int D>
__device__ __forceinline__ void load_left(unsigned (&a)[D / 16][4], unsigned rows, const LaneRow& lane) {
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_matrices(a[k], rows + lane.at(k));
}

// s [16, 8 N] = a [16, D] · tile [8 N, D]ᵀ; `lane` is a lane_column.
template <int D, int N>
__device__ __forceinline__ void multiply_transposed(float (*s)[4], const unsigned (&a)[D / 16][4], unsigned tile,
                                                    const LaneRow& lane) {
#pragma unroll
    for (int n = 0; n < N; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b[4];
            load_matrices(b, tile + n * FRAGMENT_COLUMNS * TileRow<D>::bytes + lane.at(k));
            mma_bf16(s[n], a[k], b[0], b[1]);
            mma_bf16(s[n + 1], a[k], b[2], b[3]);
        }
    }
}

// o [16, D] += p [16, 16] · tile [16, D]; `lane` is a lane_row.
template <int D>
__device__ __forceinline__ void multiply_add(float (&o)[D / 8][4], const unsigned (&p)[4], unsigned tile,
                                             const LaneRow& lane) {
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
        unsigned b[4];
        load_matrices_transposed(b, tile + lane.at(n));
        mma_bf16(o[2 * n], p, b[0], b[1]);
        mma_bf16(o[2 * n + 1], p, b[2], b[3]);
    }
}

// Two neighbouring results [16, 8] as a left operand [16, 16].
__device__ __forceinline__ void to_left(unsigned (&a)[4], const float (&low)[4], const float (&high)[4]) {
    a[0] = bf16_pair(low[0], low[1]);
    a[1] = bf16_pair(low[2], low[3]);
    a[2] = bf16_pair(high[0], high[1]);
    a[3] = bf16_pair(high[2], high[3]);
}

// Writes a warp's o [16, D], row r times factor[r / 8], to rows first + Order::at(r) of a sequence, in whole chunks by
// way of `tile`, which no other warp uses.
template <int D, class Order>
__device__ __forceinline__ void store_result(bf16* out, bf16* tile, const float (&o)[D / 8][4],
                                             const float (&factor)[2], unsigned stride, unsigned columns,
                                             unsigned first, unsigned length) {
    using Row = TileRow<D>;
    const unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    char* bytes = reinterpret_cast<char*>(tile);
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const unsigned at = Row::offset(g + 8 * half, n) + t * sizeof(unsigned);
            *reinterpret_cast<unsigned*>(bytes + at) =
                bf16_pair(o[n][2 * half] * factor[half], o[n][2 * half + 1] * factor[half]);
        }
    }
    __syncwarp();
#pragma unroll
    for (int base = 0; base < FRAGMENT_ROWS * Row::chunks; base += WARP) {
        const unsigned row = (base + lane) / Row::chunks, chunk = (base + lane) % Row::chunks;
        const unsigned position = first + Order::at(row);
        if (position < length && chunk * PACK < columns) {
            *reinterpret_cast<uint4*>(out + (size_t)position * stride + chunk * PACK) =
                *reinterpret_cast<const uint4*>(bytes + Row::offset(row, chunk));
        }
    }
    __syncwarp();
}
