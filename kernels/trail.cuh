// Where the device has come to, for the host to read when a fault has ended everything else.
#pragma once

// Every kernel's last parameter. Kernels of one stream follow each other, so the last that left its mark is the one that failed.
struct Trail {
    volatile unsigned* last; // a word of the host's memory
    unsigned mark;           // stands for the kernel and what it is launched for; mirrored in src/device/cuda/trail.rs
};

// One write of one thread, which nobody waits for.
__device__ __forceinline__ void leave_mark(const Trail& trail) {
    if (threadIdx.x + blockIdx.x + blockIdx.y + blockIdx.z == 0) *trail.last = trail.mark;
}
