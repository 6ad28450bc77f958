// PTX instructions that CUDA C++ has no functions for: copies to shared memory, what tensor cores read and multiply,
// fast powers.
//
// What touches shared memory is volatile and keeps its order, as the compiler does not see the memory behind an
// address; arithmetic is free to move.
#pragma once

// The address that the instructions below take.
__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Starts a copy of BYTES (4, 8 or 16) to shared memory; where there is nothing to copy it writes zeros and reads
// nothing, wherever `global` may point. 16 bytes go past the first-level cache.
template <int BYTES>
__device__ __forceinline__ void copy_async(unsigned shared, const void* global, bool there) {
    const int size = there ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared), "l"(global), "r"(size), "n"(BYTES)
                     : "memory");
    }
}

// Makes a group of this thread's copies since the last group.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING groups of this thread are under way; a barrier makes that so for the block.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Waits for all of this thread's copies, in groups or not.
__device__ __forceinline__ void wait_all_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four 8×8 matrices of 16 bits, or of 32 bits 8 rows by 4: lane l names row l % 8 of matrix l / 8, and gets of each
// matrix the two numbers (or the one) at 2 (l % 4) of row l / 4.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

// The same of the transposed matrices, of 16 bits only.
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

// c [16, 8] += a [16, 16] · b [16, 8], of bf16. Lane l has of c the columns 2 (l % 4) and the next of the rows l / 4
// and l / 4 + 8.
__device__ __forceinline__ void mma_bf16(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c [16, 8] += a [16, 8] · b [8, 8], of tf32; c as above.
__device__ __forceinline__ void mma_tf32(float* c, const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Rounded to 10 bits of mantissa, to nearest, ties away from zero.
__device__ __forceinline__ unsigned round_to_tf32(float x) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

// 2 to the x, within 2 units in the last place; denormal results are 0.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
