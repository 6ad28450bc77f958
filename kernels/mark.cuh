// Which kernel began last, for the host to read when a fault has ended everything else.
#pragma once

// Every kernel's last parameter. Kernels of one stream follow each other, so the last that left its mark is the one
// that failed.
struct Mark {
    volatile unsigned*
        last_begun; // a word of the host's memory; null: no marks are wanted, and no kernel waits for the bus
    unsigned mark;  // stands for the kernel and what it is launched for; mirrored in src/device/cuda/last_begun.rs
};

// One write of one thread.
__device__ __forceinline__ void leave_mark(const Mark& mark) {
    if (mark.last_begun && threadIdx.x + blockIdx.x + blockIdx.y + blockIdx.z == 0) *mark.last_begun = mark.mark;
}
