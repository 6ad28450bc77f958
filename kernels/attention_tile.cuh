// Tiles of bf16 rows in shared memory, and their products on tensor cores (mma.sync m16n8k16).
//
// A row is D / 8 chunks of 16 bytes. Chunk c of row r lies at chunk c ^ turn(r): eight neighbouring rows have a given chunk in
// eight different bank groups, so that ldmatrix, cp.async and the stores of results are free of conflicts. turn depends on
// r % 8 alone, which makes every address of a fragment a lane's constant plus a literal.
//
// Lane l of a warp has the group g = l / 4 and the place t = l % 4: of a result [16, 8] it holds the columns 2t, 2t + 1 of the
// rows g and g + 8. A tile may hold its rows in another order than memory does; Order::at says which row of the source is where.
#pragma once

#include "geometry.cuh"
#include "numbers.cuh"

// Rows and columns of a fragment.
constexpr int FRAGMENT_ROWS = 16;
constexpr int FRAGMENT_COLUMNS = 8;

template <int D>
struct TileRow {
    static_assert(D % 16 == 0 && (D / PACK % 4 == 0 || D / PACK == 2), "the swizzle knows these row lengths");
    static constexpr int chunks = D / PACK;
    static constexpr unsigned chunk_bytes = PACK * sizeof(bf16);
    static constexpr unsigned bytes = D * sizeof(bf16);

    static __device__ __forceinline__ unsigned turn(unsigned row) {
        return chunks % 8 == 0 ? row % 8 : chunks % 4 == 0 ? row / 2 % 4 : row / 4 % 2;
    }
    static __device__ __forceinline__ unsigned offset(unsigned row, unsigned chunk) {
        return row * bytes + (chunk ^ turn(row)) * chunk_bytes;
    }
};

struct InOrder {
    static __device__ __forceinline__ unsigned at(unsigned row) { return row; }
};

// Of 32 keys that are columns of a result: row 8j + 2t + e holds key 8t + 2j + e, so that the four results of a thread are eight
// neighbouring keys, which share one Philox block.
struct KeysByQuad {
    static __device__ __forceinline__ unsigned at(unsigned row) {
        return row / 32 * 32 + row % 8 / 2 * 8 + row / 8 % 4 * 2 + row % 2;
    }
};

// Of 16 keys that are rows of a result: rows g and g + 8 hold the keys 2g and 2g + 1, which share one word of a Philox block.
struct KeysByPair {
    static __device__ __forceinline__ unsigned at(unsigned row) { return row / 16 * 16 + row % 8 * 2 + row / 8 % 2; }
};

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Copies BYTES to shared memory behind the program's back; where there is nothing to copy it writes zeros and reads nothing,
// wherever `from` may point.
template <int BYTES>
__device__ __forceinline__ void copy_async(unsigned to, const void* from, bool there) {
    const int size = there ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(to), "l"(from), "r"(size), "n"(BYTES)
                     : "memory");
    }
}

// This thread's copies have arrived; a barrier makes that so for the block.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Rows first.. of a sequence of `length`, `columns` of D columns wide, `stride` elements apart; zeros beyond either.
//
// A thread has one chunk of every `pass`-th row. Orders move bits of a row's number to other places, and the bits of row and of
// base do not meet: so everything but a literal a pass is made once.
template <int D, int ROWS, class Order>
__device__ __forceinline__ void load_tile(unsigned tile, const bf16* source, unsigned stride, unsigned columns,
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
    return {row * TileRow<D>::bytes, (lane / 16 ^ TileRow<D>::turn(row)) * TileRow<D>::chunk_bytes};
}

// For a right operand [16, 8] twice whose columns are the tile's rows.
template <int D>
__device__ __forceinline__ LaneRow lane_column(unsigned lane) {
    const unsigned row = lane % 8 + lane / 16 * 8;
    return {row * TileRow<D>::bytes, (lane / 8 % 2 ^ TileRow<D>::turn(row)) * TileRow<D>::chunk_bytes};
}

__device__ __forceinline__ void load_fragments(unsigned (&f)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void load_fragments_transposed(unsigned (&f)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(address)
                 : "memory");
}

// c [16, 8] += a [16, 16] · b [16, 8]
__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The left operand [16, D] of a warp.
template <int D>
__device__ __forceinline__ void load_left(unsigned (&a)[D / 16][4], unsigned rows, const LaneRow& lane) {
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_fragments(a[k], rows + lane.at(k));
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
            load_fragments(b, tile + n * FRAGMENT_COLUMNS * TileRow<D>::bytes + lane.at(k));
            mma(s[n], a[k], b[0], b[1]);
            mma(s[n + 1], a[k], b[2], b[3]);
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
        load_fragments_transposed(b, tile + lane.at(n));
        mma(o[2 * n], p, b[0], b[1]);
        mma(o[2 * n + 1], p, b[2], b[3]);
    }
}

// Two neighbouring results [16, 8] as a left operand [16, 16].
__device__ __forceinline__ void to_left(unsigned (&a)[4], const float (&low)[4], const float (&high)[4]) {
    a[0] = bf16_pair(low[0], low[1]);
    a[1] = bf16_pair(low[2], low[3]);
    a[2] = bf16_pair(high[0], high[1]);
    a[3] = bf16_pair(high[2], high[3]);
}

// Writes a warp's o [16, D], row r times factor[r / 8], to rows first + Order::at(r) of a sequence, in whole chunks by way of
// `tile`, which no other warp uses.
template <int D, class Order>
__device__ __forceinline__ void store_result(bf16* out, bf16* tile, const float (&o)[D / 8][4], const float (&factor)[2],
                                             unsigned stride, unsigned columns, unsigned first, unsigned length) {
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
