// One bug a kernel; the comment says which check finds it.

// mem: the last thread stores one element too far
extern "C" __global__ void off_by_one(int* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) out[i] = i;
}

// race: a neighbour's element is read without a barrier
extern "C" __global__ void missing_syncthreads(int* out) {
    __shared__ int box[64];
    box[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = box[63 - threadIdx.x];
}

// init: only half of the output is written, all of it is read by the next kernel
extern "C" __global__ void half_output(int* out, int n) {
    if (threadIdx.x < n / 2) out[threadIdx.x] = 1;
}
extern "C" __global__ void read_all(int* out, const int* in, int n) {
    if (threadIdx.x < n) out[threadIdx.x] = in[threadIdx.x] + 1;
}

// sync: half a warp never comes
extern "C" __global__ void divergent_barrier(int* out) {
    if (threadIdx.x % 2) __syncthreads();
    out[threadIdx.x] = 1;
}

// race, between blocks: all blocks write one element
extern "C" __global__ void shared_counter(int* out) { *out = *out + 1; }

extern "C" __global__ void fill(int* out, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = value;
}
extern "C" __global__ void misaligned(char* out) { *reinterpret_cast<int*>(out + 1) = 3; }
extern "C" __global__ void forever(volatile int* flag) { while (*flag == 0) {} }
extern "C" __global__ void big_shared(int* out) {
    extern __shared__ int box[];
    box[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = box[threadIdx.x];
}
