// Instructions of tensor-core products: copies to shared memory, fragments from it, and the products of two precisions.
//
//   Mma<bf16>   m16n8k16, factors as they are stored
//   Mma<float>  m16n8k8 tf32: factors rounded to 10 bits of mantissa (to nearest, ties away from zero), float32 in memory
//
// Both take 32 bytes of a row of A and of B, sum in float32, and leave C in the same registers. So what moves tiles counts bytes.
#pragma once

#include "numbers.cuh"

constexpr int CHUNK_BYTES = 16; // of a copy, and of a row of the 8×8 matrices that ldmatrix moves
constexpr int MMA_M = 16, MMA_N = 8, MMA_BYTES = 2 * CHUNK_BYTES;

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Copies `bytes` (16, or 0 of them) and fills up with zeros.
__device__ __forceinline__ void copy_async(unsigned shared, const void* global, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING groups are under way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8×8 matrices of 16 bits. Of 32-bit numbers each is 8 rows by 4.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], unsigned shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

__device__ __forceinline__ unsigned load_word(unsigned shared) {
    unsigned word;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(shared) : "memory");
    return word;
}

// Two neighbours in one access, which the compiler takes apart here and there.
__device__ __forceinline__ void store_pair(unsigned shared, float low, float high) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(shared), "f"(low), "f"(high) : "memory");
}

template <class T>
struct Mma;

template <>
struct Mma<bf16> {
    // c += a · b.
    static __device__ __forceinline__ void multiply(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }

    // Makes a factor of what was read.
    static __device__ __forceinline__ void round(unsigned (&)[4]) {}

    // c += row sums of a, as read, in each column.
    static __device__ __forceinline__ void sum_rows(float* c, const unsigned (&a)[4]) {
        constexpr unsigned ONES = 0x3f803f80; // two bf16
        multiply(c, a, ONES, ONES);
    }
};

template <>
struct Mma<float> {
    static __device__ __forceinline__ void multiply(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }

    // The tensor core would cut the low bits off: twice the error, and all of it towards zero.
    static __device__ __forceinline__ void round(unsigned (&r)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r[i]) : "f"(__uint_as_float(r[i])));
    }

    // A sum is no product: what rounding takes off is rounded and summed as well, which leaves 21 bits of mantissa.
    static __device__ __forceinline__ void sum_rows(float* c, const unsigned (&a)[4]) {
        constexpr unsigned ONE = 0x3f800000;
        unsigned high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) high[i] = a[i];
        round(high);
#pragma unroll
        for (int i = 0; i < 4; i++) low[i] = __float_as_uint(__uint_as_float(a[i]) - __uint_as_float(high[i]));
        round(low);
        multiply(c, high, ONE, ONE);
        multiply(c, low, ONE, ONE);
    }
};
